"""Plots of a run: learning curves, confusion matrix, predicted against true values.

Each function builds a figure (``*_figure``), which a notebook shows, and saves it as a PNG, atomically. The other plots
of the package use the colours, the sizes, `new_figure`, `apart` and `save` of this module. Matplotlib is an optional
dependency: it is imported where it is used. Pyplot, which keeps global state, is not used.
"""

import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlpgpu.figures import in_words
from mlpgpu.files import replacing
from mlpgpu.plots import glyphs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["LOSS", "SCORE", "apart", "available", "confusion", "curves", "new_figure", "predictions", "save", "written"]

# Vermilion and blue of Okabe and Ito's palette, which colour-blind readers can tell apart. Vermilion is for what
# should be small (loss, errors), blue for what should be large or correct (accuracy, R², predictions).
LOSS, SCORE = "#d55e00", "#0072b2"
INK, QUIET, FAINT = "#222222", "#707070", "#dedede"
TITLE, TEXT, SMALL = 14, 12, 11
STYLES: dict[str, Any] = {"train": (0, (3, 1.5)), "validation": "-"}
MAX_POINTS, MAX_PANELS, MAX_COUNTED, MAX_NAMED = 5000, 6, 20, 36
# With more classes, a cell would be smaller than a pixel.
MAX_CLASSES = 500

PathLike = str | os.PathLike[str]
History = Sequence[Mapping[str, Any]]
Series = dict[str, dict[int, float]]


def available() -> bool:
    """Whether matplotlib is installed; does not import it."""
    return find_spec("matplotlib") is not None


def curves(history: History, path: PathLike | None = None, *, title: str = "") -> "Figure":
    """Plot loss and accuracy (or R²) against epochs.

    Parameters
    ----------
    history : sequence of mapping
        One record per epoch, as in ``history_`` of an estimator: ``epoch``, ``loss``, where known ``validation_loss``,
        and either ``train_accuracy`` and ``validation_accuracy`` (fractions), ``train_r2`` and ``validation_r2``, or
        ``validation_score``.
    path : path-like or None
        PNG file to write; None for no file.
    title : str
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        The figure, which a notebook shows if it is the result of a cell.
    """
    return _saved(curves_figure(history, title), path)


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
        As for `curves`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    return _saved(confusion_figure(np.asarray(matrix), classes, title), path)


def predictions(
    true: ArrayLike,
    predicted: ArrayLike,
    path: PathLike | None = None,
    *,
    title: str = "",
    target: str | Sequence[str] = "target",
) -> "Figure":
    """Plot predicted against true values.

    Parameters
    ----------
    true, predicted : array-like, shape (n,) or (n, n_outputs)
        Values. RMSE and R² are computed from all finite rows, even if only some of them are drawn.
    path, title
        As for `curves`.
    target : str or sequence of str
        Names of the targets, with units: one per output, or a single name, to which the number of the output is added.

    Returns
    -------
    matplotlib.figure.Figure
    """
    return _saved(predictions_figure(np.asarray(true, float), np.asarray(predicted, float), title, target), path)


def curves_figure(history: History, title: str) -> "Figure":
    """Build the figure of `curves`: axes for the loss and, where there is one, for the score."""
    figure = new_figure((8, 5), title)
    axes = figure.add_subplot()
    losses, accuracies = _series(history, "loss"), _series(history, "accuracy", 100)
    r2s, scores = _series(history, "r2"), _series(history, "score")
    labels = _draw(axes, losses, LOSS, "loss", _loss_words)
    _scale_loss(axes, _finite(losses))
    if accuracies:
        labels += _draw(right := axes.twinx(), accuracies, SCORE, "accuracy", lambda share: f"{share:.2f} %")
        _scale_score(right, _finite(accuracies), floor=0, top=100, least=5)
        right.yaxis.set_major_formatter(lambda share, _: f"{share:g} %")
    elif r2s:
        labels += _draw(right := axes.twinx(), r2s, SCORE, "R²", lambda r2: in_words(r2, 3))
        values = _finite(r2s)
        # An R² of -50 after the first epoch would flatten the rest of the curve.
        floor = -1 if any(value > -1 for value in values) else -math.inf
        _scale_score(right, [max(value, floor) for value in values], floor=floor, top=1, least=0.05)
        right.set_ylabel("R²" if min(values, default=0) >= floor else "R² (below -1 not drawn)")
    elif scores:
        labels += _draw(right := axes.twinx(), scores, SCORE, "score", lambda score: in_words(score, 3))
        _scale_score(right, _finite(scores), floor=-math.inf, top=math.inf, least=0.01)
    epochs = [record["epoch"] for record in history] or [1]
    first, last = min(epochs), max(epochs)
    span = max(last - first, 1)
    # Lines are labelled inside the axes, right of the last epoch: outside, labels would overlap the right axis.
    width = max((len(text) for *_, text in labels), default=0) * 0.083 + 0.3
    axes.set_xlim(first - 0.02 * span, last + span * width / (6.5 - width))
    axes.set_xticks([first, *(x for x in _ticks(first, last, integer=True) if first + span / 10 < x <= last)])
    axes.set_xlabel("epoch", fontsize=TEXT, color=INK)
    axes.tick_params(axis="x", labelsize=SMALL, colors=INK)
    _name_lines(labels, last + 0.04 * span)
    _mark_best(axes, losses.get("validation", {}))
    return figure


def _series(history: History, quantity: str, scale: float = 1) -> Series:
    """Return epoch -> value for train and validation, where recorded; values that are not finite become NaN."""
    found: Series = {}
    for part in STYLES:
        for record in history:
            # The key of the training loss has no prefix.
            key = "loss" if (part, quantity) == ("train", "loss") else f"{part}_{quantity}"
            if (value := record.get(key)) is not None:
                found.setdefault(part, {})[record["epoch"]] = value * scale if math.isfinite(value) else math.nan
    return found


def _finite(series: Series) -> list[float]:
    return [value for values in series.values() for value in values.values() if math.isfinite(value)]


def _loss_words(loss: float) -> str:
    return f"{loss:,.0f}" if 1000 <= loss < 1e9 else f"{loss:#.3g}".rstrip(".")


def _draw(axes: "Axes", series: Series, color: str, name: str, words: Any) -> list[tuple["Axes", int, float, str]]:
    """Draw the lines of one axis; return the axes, the last finite point (x, y) and the label of each."""
    labels = []
    for part, values in series.items():
        x, y = list(values), list(values.values())
        finite = [epoch for epoch in x if math.isfinite(values[epoch])]
        marker = "o" if len(finite) == 1 else ""
        # Hollow for train, as its line is dashed: a line may consist of a single marker.
        face = "white" if part == "train" else color
        axes.plot(x, y, marker=marker, color=color, ls=STYLES[part], lw=1.8, mfc=face, label=f"{part} {name}")
        end = (finite[-1], values[finite[-1]]) if finite else (x[-1], math.nan)
        labels.append((axes, *end, f"{part} {words(y[-1]) if math.isfinite(y[-1]) else 'not finite'}"))
    axes.set_ylabel(name, color=color, fontsize=TEXT)
    axes.tick_params(axis="y", labelcolor=color, color=color, labelsize=SMALL)
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.spines["bottom"].set_color(QUIET)
    return labels


def _scale_loss(axes: "Axes", values: list[float]) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    if not values:
        axes.set_yticks([])
    elif min(values) > 0 and max(values) > 10 * min(values):
        axes.set(yscale="log", ylabel="loss (log scale)")
        subs = (1.0,) if max(values) > 1000 * min(values) else (1.0, 2.0, 5.0)
        axes.yaxis.set_major_locator(LogLocator(subs=subs))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(lambda loss, _: f"{loss:g}")


def _scale_score(axes: "Axes", values: list[float], floor: float, top: float, least: float) -> None:
    """Fit the axis to the values, spanning at least `least` so that noise does not look like progress."""
    low, high = min(values, default=0), max(values, default=top)
    room = max(least - (high - low), 0) / 2
    high = min(max(high + room, floor + least), top)
    ticks = _ticks(max(min(low - room, high - least), floor), high)
    low, high = max(ticks[0], floor), min(ticks[-1], top)
    # A margin, so that a line at the limit keeps its full width.
    axes.set_ylim(low - 0.02 * (high - low), high + 0.02 * (high - low))


def _ticks(low: float, high: float, integer: bool = False) -> list[float]:
    """Return round tick values that span `low` to `high`."""
    from matplotlib.ticker import MaxNLocator

    return [float(tick) for tick in MaxNLocator(6, integer=integer, steps=[1, 2, 5, 10]).tick_values(low, high)]


def _name_lines(labels: Sequence[tuple["Axes", int, float, str]], x: float) -> None:
    """Label each line at its end, and move labels apart where ends are close."""
    ends = [(a.transScale + a.transLimits).transform((epoch, value))[1] for a, epoch, value, _ in labels]
    ends = [float(np.clip(np.nan_to_num(end, nan=0.5), 0, 1)) for end in ends]
    heights = apart(ends, 0.06)
    for (axes, epoch, _, text), end, height in zip(labels, ends, heights, strict=True):
        leader = {"arrowstyle": "-", "color": FAINT, "shrinkA": 0, "shrinkB": 2}
        across = axes.get_xaxis_transform()
        axes.annotate(
            text, (epoch, end), (x, height), xycoords=across, textcoords=across, va="center", arrowprops=leader,
            fontsize=SMALL, color=axes.yaxis.label.get_color(), annotation_clip=False,
        )  # fmt: skip


def apart(heights: Sequence[float], gap: float) -> list[float]:
    """Move heights in [0, 1] until neighbours are `gap` apart; their order is kept."""
    order = np.argsort(heights, kind="stable")
    moved = [heights[i] for i in order]
    for _ in range(100):
        for i in range(1, len(moved)):
            push = max(gap - moved[i] + moved[i - 1], 0) / 2
            moved[i - 1], moved[i] = max(moved[i - 1] - push, gap / 2), min(moved[i] + push, 1 - gap / 2)
    return [moved[i] for i in np.argsort(order)]


def _mark_best(axes: "Axes", losses: Mapping[int, float]) -> None:
    finite = {epoch: loss for epoch, loss in losses.items() if math.isfinite(loss)}
    if len(finite) > 1:
        best = min(finite, key=finite.__getitem__)
        axes.axvline(best, color=FAINT, linewidth=1, zorder=0)
        axes.plot(best, finite[best], "o", color=LOSS, markersize=7, markerfacecolor="white", label="best")
        # Above the axes, where no curve can run through it.
        where = axes.transLimits.transform((best, 0))[0]
        text = f"lowest validation loss {_loss_words(finite[best])}, epoch {best}"
        side = "left" if where < 0.4 else "right"
        place = axes.get_xaxis_transform()
        axes.text(best, 1.015, text, transform=place, ha=side, fontsize=SMALL, color=QUIET)


def confusion_figure(matrix: NDArray[Any], classes: Sequence[object], title: str) -> "Figure":
    """Build the figure of `confusion`; its first axes hold the matrix."""
    from matplotlib.colors import LinearSegmentedColormap, ListedColormap, PowerNorm

    figure, k, total, right = new_figure((8, 8), title), len(matrix), int(matrix.sum()), int(np.trace(matrix))
    axes = figure.add_subplot()
    share = f"{100 * right / total:.2f} %" if total else "undefined"
    axes.set_title(f"accuracy {share}\n{right:,} of {total:,} rows", loc="left", fontsize=TEXT, color=INK)
    rows = matrix.sum(axis=1, keepdims=True, dtype=np.int64)
    drawn = np.sort(np.argsort(-rows[:, 0], kind="stable")[:MAX_CLASSES])
    if k > MAX_CLASSES:
        note = f"the {MAX_CLASSES} of {k:,} classes with the most rows"
        figure.supxlabel(note, x=0.99, ha="right", fontsize=10, color=QUIET)
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
    longest = max(map(_width, names))
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
    axes.set_xlabel("predicted class", fontsize=TEXT, color=INK)
    axes.set_ylabel("true class", fontsize=TEXT, color=INK)
    axes.spines[:].set_color(FAINT)
    return figure


def written(names: Sequence[object]) -> list[str]:
    """Shorten names for a plot, and put a number in front of those that no installed font can render."""
    short = _shortened([" ".join(str(name).split()) for name in names])
    boxes = glyphs.lacking("".join(short))
    return [f"{number}: {name}" if boxes.intersection(name) else name for number, name in enumerate(short, 1)]


def _width(name: str) -> int:
    """Return the width in characters; those of Chinese, Japanese and Korean count twice."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in name)


def _shortened(names: list[str]) -> list[str]:
    """Shorten names to at most 18 characters, and keep them distinct."""
    # Long names often differ only at their end.
    ends = [name if len(name) <= 18 else f"{name[:9]}…{name[-8:]}" for name in names]
    start = max(len(os.path.commonprefix(names)) - 4, 0)  # noqa: RUF071
    middles = [f"…{name[start : start + 16]}…" for name in names]
    numbered = [f"{number}: {name[:12]}…" for number, name in enumerate(names, 1)]
    return next((short for short in (ends, middles) if len({*short}) == len(names)), numbered)


def predictions_figure(
    true: NDArray[Any], predicted: NDArray[Any], title: str, target: str | Sequence[str]
) -> "Figure":
    """Build the figure of `predictions`: one axes per output, at most six."""
    from matplotlib.ticker import EngFormatter, FuncFormatter

    figure, rows, outputs = new_figure((8, 5), title), len(true), 1 if true.ndim == 1 else true.shape[1]
    true, predicted = true.reshape(rows, outputs), predicted.reshape(rows, outputs)
    if isinstance(target, str):
        target = [target] if outputs == 1 else [f"{target} {i + 1}" for i in range(outputs)]
    panels = min(outputs, MAX_PANELS)
    lines = 1 if panels <= 3 else 2
    for i in range(panels):
        axes = figure.add_subplot(lines, -(-panels // lines), i + 1)
        finite = np.isfinite(true[:, i]) & np.isfinite(predicted[:, i])
        x, y = true[finite, i], predicted[finite, i]
        axes.set_title(_quality(x, y), loc="left", fontsize=SMALL, color=INK)
        drawn = np.random.default_rng(0).permutation(len(x))[:MAX_POINTS]
        alpha = min(0.7, 12 / math.sqrt(len(drawn) + 1))
        axes.scatter(x[drawn], y[drawn], s=24 if len(drawn) < 500 else 9, color=SCORE, alpha=alpha, linewidths=0)
        both = np.concatenate((x, y)) if len(x) else np.asarray([0.0, 1.0])
        low, high = float(both.min()), float(both.max())
        axes.plot([low, high], [low, high], color=QUIET, linewidth=1, zorder=0, label="predicted = true")
        room = 0.03 * (high - low) or 0.5
        axes.set(xlim=(low - room, high + room), ylim=(low - room, high + room), aspect="equal")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(EngFormatter(sep="") if high - low > 1e4 else FuncFormatter(lambda v, _: f"{v:g}"))
        axes.locator_params(nbins=5 if panels < 3 else 3)
        axes.set_xlabel(f"true {target[i]}", fontsize=SMALL, color=INK, parse_math=False)
        axes.set_ylabel("predicted", fontsize=SMALL, color=INK)
        axes.tick_params(labelsize=10, colors=INK)
        axes.spines[["top", "right"]].set_visible(False)
    notes = [f"first {panels} of {outputs} outputs"] * (outputs > panels)
    notes += [f"{MAX_POINTS:,} of {rows:,} points drawn"] * (rows > MAX_POINTS)
    figure.supxlabel("; ".join(notes), x=0.99, ha="right", fontsize=10, color=QUIET)
    return figure


def _quality(true: NDArray[Any], predicted: NDArray[Any]) -> str:
    if not len(true):
        return "no finite values"
    squares, spread = np.sum((true - predicted) ** 2), np.sum((true - true.mean()) ** 2)
    rmse = math.sqrt(squares / len(true))
    words = f"{rmse:,.0f}" if 1000 <= rmse < 1e9 else f"{rmse:.3g}"
    return f"RMSE {words}   R² {in_words(1 - squares / spread, 3) if spread else 'undefined'}"


def new_figure(size: tuple[float, float], title: str) -> "Figure":
    """Return an empty figure of `size` inches; a long title wraps."""
    from mlpgpu.plots.picture import Picture

    figure = Picture(figsize=size, dpi=150, layout="constrained", facecolor="white")
    figure.suptitle(textwrap.fill(title, 68), x=0.012, ha="left", fontsize=TITLE, color=INK, parse_math=False)
    return figure


def save(figure: "Figure", path: PathLike) -> None:
    """Write the PNG atomically: a reader sees the old file or the new one, never a part."""
    with replacing(Path(path)) as unfinished:
        figure.savefig(unfinished, format="png", dpi="figure")


def _saved(figure: "Figure", path: PathLike | None) -> "Figure":
    if path is not None:
        save(figure, path)
    return figure
