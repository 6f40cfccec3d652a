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
    true: ArrayLike,
    predicted: ArrayLike,
    names: Sequence[str],
    path: style.PathLike | None = None,
    *,
    title: str = "",
    weights: ArrayLike | None = None,
) -> "Figure":
    """Plot a stacked bar per label: true positives, false negatives and false positives.

    Parameters
    ----------
    true, predicted : array-like of 0 and 1, shape (n_rows, n_labels)
    names : sequence of str
        Names of the labels.
    path, title
        As for `mlpgpu.plots.curves`.
    weights : array-like of shape (n_rows,) or None
        Weights of the rows in F1; the bars count rows.

    Returns
    -------
    matplotlib.figure.Figure
        Its most common labels come first.
    """
    from matplotlib.ticker import MaxNLocator

    true, predicted, weighted = np.asarray(true) > 0, np.asarray(predicted) > 0, weights is not None
    order = np.argsort(-true.sum(axis=0), kind="stable")[:MAX_LABELS]
    true, predicted = true[:, order], predicted[:, order]
    kinds = {
        "true positives": (style.SCORE, true & predicted),
        "false negatives": (style.LOSS, true & ~predicted),
        "false positives": (PALE, ~true & predicted),
    }
    figure = style.new_figure((8, 1.9 + 0.34 * max(len(order), 3)), title)
    axes, places, left = figure.add_subplot(), np.arange(len(order)), np.zeros(len(order))
    for name, (color, rows) in kinds.items():
        widths = rows.sum(axis=0)
        axes.barh(places, widths, left=left, height=0.72, color=color, label=name)
        left = left + widths
    weights = np.ones(len(true)) if weights is None else np.asarray(weights)
    right, missed, wrong = (weights @ rows for _, rows in kinds.values())
    # 2 TP / (2 TP + FN + FP); 0 if the label occurs nowhere, as in the metrics of the run.
    whole = 2 * right + missed + wrong
    f1 = 2 * right / np.where(whole > 0, whole, 1)
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
    notes = [f"the {len(order)} most common of {len(names)} labels"] * (len(names) > len(order))
    notes += ["F1 weighted, bars by row"] * weighted
    style.note(figure, "; ".join(notes))
    return style.save(figure, path)
