"""The plot of a test with several labels per row: true positives, false negatives and false positives of each label."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlpgpu import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw", "labels_figure"]

# Both kinds of error have one hue; this pale tint of it is for false positives.
PALE = "#f3a670"
MAX_LABELS = 30


def draw(true: ArrayLike, predicted: ArrayLike, names: Sequence[str], path: plots.PathLike, *, title: str) -> None:
    """Plot a stacked bar per label: true positives, false negatives and false positives.

    Parameters
    ----------
    true, predicted : array-like of 0 and 1, shape (n_rows, n_labels)
    names : sequence of str
        Names of the labels.
    path : path-like
        PNG file to write.
    title : str
        Title of the figure.
    """
    plots.save(labels_figure(np.asarray(true) > 0, np.asarray(predicted) > 0, names, title), path)


def labels_figure(true: NDArray[np.bool_], predicted: NDArray[np.bool_], names: Sequence[str], title: str) -> "Figure":
    """Build the figure of `draw`, with the most common labels first."""
    from matplotlib.ticker import MaxNLocator

    order = np.argsort(-true.sum(axis=0), kind="stable")[:MAX_LABELS]
    true, predicted = true[:, order], predicted[:, order]
    counts = {
        "true positives": (plots.SCORE, np.sum(true & predicted, axis=0)),
        "false negatives": (plots.LOSS, np.sum(true & ~predicted, axis=0)),
        "false positives": (PALE, np.sum(~true & predicted, axis=0)),
    }
    figure = plots.new_figure((8, 1.9 + 0.34 * max(len(order), 3)), title)
    axes, places, left = figure.add_subplot(), np.arange(len(order)), np.zeros(len(order))
    for name, (color, widths) in counts.items():
        axes.barh(places, widths, left=left, height=0.72, color=color, label=name)
        left = left + widths
    (_, right), (_, missed), (_, wrong) = counts.values()
    # 2 TP / (2 TP + FN + FP); 0 if the label occurs nowhere, as in the metrics of the run.
    f1 = 2 * right / np.maximum(2 * right + missed + wrong, 1)
    ends = (left + 0.012 * left.max()).tolist()
    for place, (end, value) in enumerate(zip(ends, f1, strict=True)):
        axes.text(end, place, f"F1 {value:.2f}", va="center", fontsize=plots.SMALL, color=plots.INK)
    axes.set_yticks(places, plots.written([names[i] for i in order]), parse_math=False)
    axes.set_xlim(0, 1.14 * max(left.max(), 1))
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.xaxis.set_major_formatter(lambda rows, _: f"{rows:,.0f}")
    axes.set_xlabel("test rows", fontsize=plots.TEXT, color=plots.INK)
    axes.tick_params(labelsize=plots.SMALL, colors=plots.INK)
    axes.tick_params(axis="y", length=0)
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.spines["bottom"].set_color(plots.QUIET)
    # Above the axes, where it covers no bar.
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, fontsize=plots.SMALL, labelcolor=plots.INK,
        borderpad=0.2, borderaxespad=0, handlelength=1, columnspacing=1.4,
    )  # fmt: skip
    if len(names) > len(order):
        note = f"the {len(order)} most common of {len(names)} labels"
        figure.supxlabel(note, x=0.99, ha="right", fontsize=10, color=plots.QUIET)
    return figure
