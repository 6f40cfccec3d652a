"""The plot of predicted against true values."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlpgpu.plots.style import INK, QUIET, SCORE, SMALL, PathLike, new_figure, note, save
from mlpgpu.results import regression_figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_POINTS, MAX_PANELS = 5000, 6


def predictions(
    true: ArrayLike,
    predicted: ArrayLike,
    path: PathLike | None = None,
    *,
    title: str = "",
    target: str | Sequence[str] = "target",
    weights: ArrayLike | None = None,
    loss: str = "squared_error",
    **settings: float,
) -> "Figure":
    """Plot predicted against true values.

    Parameters
    ----------
    true, predicted : array-like, shape (n,) or (n, n_outputs)
        Values. Figures are computed from all finite rows, even if only some of them are drawn.
    path, title
        As for `mlpgpu.plots.curves`.
    target : str or sequence of str
        Names of the targets, with units: one per output, or a single name, to which the number of the output is added.
    weights : array-like of shape (n,) or None
        Weights of the rows in the figures.
    loss : str
        Loss of the regression, which decides what figures there are: RMSE and R² for most.
    **settings : float
        Those of the loss, such as ``quantile``.

    Returns
    -------
    matplotlib.figure.Figure
        One axes per output, at most six.
    """
    from matplotlib.ticker import EngFormatter, FuncFormatter

    true, predicted = np.asarray(true, float), np.asarray(predicted, float)
    figure, rows, outputs = new_figure((8, 5), title), len(true), 1 if true.ndim == 1 else true.shape[1]
    true, predicted = true.reshape(rows, outputs), predicted.reshape(rows, outputs)
    of_rows = np.ones(rows) if weights is None else np.asarray(weights, float)
    if isinstance(target, str):
        target = [target] if outputs == 1 else [f"{target} {i + 1}" for i in range(outputs)]
    panels = min(outputs, MAX_PANELS)
    lines = 1 if panels <= 3 else 2
    for i in range(panels):
        axes = figure.add_subplot(lines, -(-panels // lines), i + 1)
        finite = np.isfinite(true[:, i]) & np.isfinite(predicted[:, i])
        x, y = true[finite, i], predicted[finite, i]
        quality = ("   " if panels < 3 else "\n").join(_quality(x, y, of_rows[finite], loss, settings))
        axes.set_title(quality, loc="left", fontsize=SMALL, color=INK)
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
        axes.set_xlabel(f"true {target[i]}", fontsize=SMALL, parse_math=False)
        axes.set_ylabel("predicted", fontsize=SMALL)
        axes.tick_params(labelsize=10, colors=INK)
        axes.spines[["top", "right"]].set_visible(False)
    notes = [f"first {panels} of {outputs} outputs"] * (outputs > panels)
    notes += [f"{MAX_POINTS:,} of {rows:,} points drawn"] * (rows > MAX_POINTS)
    notes += ["figures by weight"] * (weights is not None)
    note(figure, "; ".join(notes))
    return save(figure, path)


def _quality(
    true: NDArray[Any], predicted: NDArray[Any], weights: NDArray[Any], loss: str, settings: dict[str, float]
) -> list[str]:
    if not weights.any():
        return ["no finite values"]
    figures = regression_figures.measure(true[:, None], predicted[:, None], ("",), weights, loss=loss, **settings)
    return regression_figures.in_caption(figures)
