"""The plot of a confusion matrix."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from mlpgpu.plots.style import FAINT, INK, LOSS, QUIET, SMALL, TEXT, PathLike, new_figure, note, save, width, written

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_COUNTED, MAX_NAMED = 20, 36
# With more classes, a cell would be smaller than a pixel.
MAX_CLASSES = 500


def confusion(
    matrix: ArrayLike, classes: Sequence[object], path: PathLike | None = None, *, title: str = ""
) -> "Figure":
    """Plot the confusion matrix.

    Parameters
    ----------
    matrix : array-like of int, shape (k, k)
        Counts, with one row per true class and one column per predicted class. Of more than 500 classes, the 500 with
        the most rows are drawn.
    classes : sequence
        Names of the k classes, in the order of the matrix.
    path, title
        As for `mlpgpu.plots.curves`.

    Returns
    -------
    matplotlib.figure.Figure
        Its first axes hold the matrix.
    """
    from matplotlib.colors import LinearSegmentedColormap, ListedColormap, PowerNorm

    matrix = np.asarray(matrix)
    figure, k, total, right = new_figure((8, 8), title), len(matrix), int(matrix.sum()), int(np.trace(matrix))
    axes = figure.add_subplot()
    share = f"{100 * right / total:.2f} %" if total else "undefined"
    axes.set_title(f"accuracy {share}\n{right:,} of {total:,} rows", loc="left", fontsize=TEXT, color=INK)
    rows = matrix.sum(axis=1, keepdims=True, dtype=np.int64)
    drawn = np.sort(np.argsort(-rows[:, 0], kind="stable")[:MAX_CLASSES])
    if k > MAX_CLASSES:
        note(figure, f"the {MAX_CLASSES} of {k:,} classes with the most rows")
    matrix, k = matrix[np.ix_(drawn, drawn)], len(drawn)
    fractions = matrix / np.maximum(rows[drawn], 1)
    diagonal = np.eye(k, dtype=bool)
    mistakes = np.where(diagonal | (matrix == 0), np.nan, fractions)
    worst = float(np.nan_to_num(mistakes).max())
    steps = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
    top = next(step for step in steps if step >= worst - 1e-12)
    # The diagonal is grey: in colour, the many correct predictions would hide the errors. The colours of errors
    # start at a visible tint and scale with the square root, so that one error in hundreds of rows shows.
    axes.imshow(np.where(diagonal, 1, np.nan), cmap=ListedColormap([FAINT]), interpolation="nearest")
    tints = LinearSegmentedColormap.from_list("mistakes", ["#fdeadd", "#f3a670", LOSS, "#8a3d00"])
    image = axes.imshow(mistakes, cmap=tints, norm=PowerNorm(0.5, 0, top), interpolation="nearest")
    if worst:
        bar = figure.colorbar(image, cax=axes.inset_axes((0.6, 1.02, 0.4, 0.015)), orientation="horizontal")
        bar.set_ticks([0, top / 10, top / 2, top])
        bar.ax.xaxis.set_major_formatter(lambda fraction, _: f"{100 * fraction:g} %")
        bar.ax.tick_params(labelsize=10, colors=INK, length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        bar.ax.set_title("share of the true class", fontsize=10, color=INK)
        bar.outline.set_visible(False)
    names = written([classes[i] for i in drawn])
    longest = max(map(width, names))
    side = (6.4 - 0.085 * longest) * 72
    if k <= MAX_COUNTED:
        # Two font sizes: wide counts on the diagonal, such as 10000, must not shrink the counts of errors.
        right_size, size = (
            min(16, side / k / (0.64 * len(str(counts.max())) + 0.3)) for counts in (matrix, matrix * ~diagonal)
        )
        for (row, column), count in np.ndenumerate(matrix):
            dark = row != column and fractions[row, column] > 0.47 * top
            color = "white" if dark else INK if count else QUIET
            axes.text(
                column,
                row,
                str(count),
                ha="center",
                va="center",
                color=color,
                fontsize=right_size if row == column else size,
            )
    step = next(step for step in (1, 2, 5, 10, 20) if k <= step * MAX_NAMED)
    shown, cell = range(0, k, step), side * step / k
    turn = 0 if cell > 0.62 * SMALL * (longest + 1) else 45 if cell > 1.8 * SMALL else 90
    slant: dict[str, Any] = {"ha": "right", "rotation_mode": "anchor"} if turn == 45 else {}
    axes.set_xticks(shown, [names[i] for i in shown], rotation=turn, parse_math=False, **slant)
    axes.set_yticks(shown, [names[i] for i in shown], parse_math=False)
    axes.tick_params(labelsize=10 if cell < 16 else SMALL, colors=INK, length=0 if step == 1 else 3)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.spines[:].set_color(FAINT)
    return save(figure, path)
