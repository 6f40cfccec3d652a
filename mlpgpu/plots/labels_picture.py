"""The plot of a test with several labels per row: true positives, false negatives and false positives of each label."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from mlpgpu.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Both kinds of error have one hue; this pale tint of it is for false positives.
PALE = "#f3a670"
MAX_LABELS = 30


def labels(
    true: ArrayLike, predicted: ArrayLike, names: Sequence[str], path: style.PathLike | None = None, *, title: str = ""
) -> "Figure":
    """Plot a stacked bar per label: true positives, false negatives and false positives.

    Parameters
    ----------
    true, predicted : array-like of 0 and 1, shape (n_rows, n_labels)
    names : sequence of str
        Names of the labels.
    path, title
        As for `mlpgpu.plots.curves`.

    Returns
    -------
    matplotlib.figure.Figure
        Its most common labels come first.
    """
    from matplotlib.ticker import MaxNLocator

    true, predicted = np.asarray(true) > 0, np.asarray(predicted) > 0
    order = np.argsort(-true.sum(axis=0), kind="stable")[:MAX_LABELS]
    true, predicted = true[:, order], predicted[:, order]
    counts = {
        "true positives": (style.SCORE, np.sum(true & predicted, axis=0)),
        "false negatives": (style.LOSS, np.sum(true & ~predicted, axis=0)),
        "false positives": (PALE, np.sum(~true & predicted, axis=0)),
    }
    figure = style.new_figure((8, 1.9 + 0.34 * max(len(order), 3)), title)
    axes, places, left = figure.add_subplot(), np.arange(len(order)), np.zeros(len(order))
    for name, (color, widths) in counts.items():
        axes.barh(places, widths, left=left, height=0.72, color=color, label=name)
        left = left + widths
    (_, right), (_, missed), (_, wrong) = counts.values()
    # 2 TP / (2 TP + FN + FP); 0 if the label occurs nowhere, as in the metrics of the run.
    f1 = 2 * right / np.maximum(2 * right + missed + wrong, 1)
    ends = (left + 0.012 * left.max()).tolist()
    for place, (end, value) in enumerate(zip(ends, f1, strict=True)):
        axes.text(end, place, f"F1 {value:.2f}", va="center", fontsize=style.SMALL, color=style.INK)
    axes.set_yticks(places, style.written([names[i] for i in order]), parse_math=False)
    axes.set_xlim(0, 1.14 * max(left.max(), 1))
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.xaxis.set_major_formatter(lambda rows, _: f"{rows:,.0f}")
    axes.set_xlabel("test rows")
    axes.tick_params(axis="y", length=0)
    style.baseline(axes)
    # Above the axes, where it covers no bar.
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, fontsize=style.SMALL, labelcolor=style.INK,
        borderpad=0.2, borderaxespad=0, handlelength=1, columnspacing=1.4,
    )  # fmt: skip
    if len(names) > len(order):
        style.note(figure, f"the {len(order)} most common of {len(names)} labels")
    return style.save(figure, path)
