"""The plot of loss and score by epoch."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.errors import InputError
from mlpgpu.figures import in_words
from mlpgpu.plots.style import FAINT, LOSS, QUIET, SCORE, SMALL, PathLike, apart, baseline, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES: dict[str, Any] = {"train": (0, (3, 1.5)), "validation": "-"}

History = Sequence[Mapping[str, Any]]
Series = dict[str, dict[int, float]]


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
        The figure, which a notebook shows if it is the result of a cell: axes for the loss and, where there is one, for
        the score.

    Raises
    ------
    InputError
        If `history` is no such sequence, but for example a data frame, an estimator or an outcome.
    """
    if not isinstance(history, Sequence) or not all(isinstance(record, Mapping) for record in history):
        raise InputError(
            f"history is of type {type(history).__name__}; allowed: a list with a record of each epoch, such as "
            "estimator.history_, outcome.run.history, or frame.to_dict('records')"
        )
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
    axes.set_xlabel("epoch")
    _name_lines(labels, last + 0.04 * span)
    _mark_best(axes, losses.get("validation", {}))
    return save(figure, path)


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
    axes.set_ylabel(name, color=color)
    axes.tick_params(axis="y", labelcolor=color, color=color)
    baseline(axes)
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
