"""Figures of a regression: those that every one has, and those that say how well it does what its loss asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlpgpu.figures import in_digits, in_words, or_undefined, spoken


class Figure(NamedTuple):
    """A figure of each target.

    Attributes
    ----------
    called : str
        What it is called on the screen.
    words : callable
        ``words(figure)`` -> text.
    of : callable
        ``of(truth, outputs, weights, **settings)`` -> figure of each column; of finite numbers, by the settings of
        `loss`.
    relative : bool
        Whether it compares with the best constant, which is exactly right for a single row: undefined there. Of a
        target that is constant it is that of `beside_constant`.
    loss : str
        The only loss that has it; empty if all have it.
    asked : str
        Setting of `loss` that it is to be compared with; or empty.
    error : str
        The figure in units of the target that it relates to that of the best constant; or empty.
    """

    called: str
    words: Callable[[float | None], str]
    of: Callable[..., np.ndarray]
    relative: bool = False
    loss: str = ""
    asked: str = ""
    error: str = ""


def _metric(name: str) -> Callable[..., np.ndarray]:
    """Return a metric of scikit-learn, by column, which is imported when it is called."""

    def of(truth: np.ndarray, outputs: np.ndarray, weights: np.ndarray | None, **settings: Any) -> np.ndarray:
        from sklearn import metrics

        found: np.ndarray = getattr(metrics, name)(
            truth, outputs, sample_weight=weights, multioutput="raw_values", **settings
        )
        return found

    return of


def _coverage(truth: np.ndarray, outputs: np.ndarray, weights: np.ndarray | None, quantile: float) -> np.ndarray:
    """Return the fraction of rows whose target is at or below the prediction."""
    return np.average(truth <= outputs, axis=0, weights=weights)


def _d2_pinball(truth: np.ndarray, outputs: np.ndarray, weights: np.ndarray | None, quantile: float) -> np.ndarray:
    return _metric("d2_pinball_score")(truth, outputs, weights, alpha=quantile)


def _d2_poisson(truth: np.ndarray, outputs: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    from sklearn.metrics import d2_tweedie_score

    # A mean that rounds to 0 would have an infinite deviance from any count but 0.
    outputs = np.maximum(outputs, np.finfo(outputs.dtype).tiny)
    # Of a constant, scikit-learn divides by 0.
    return np.array(
        [
            d2_tweedie_score(y, mean, sample_weight=weights, power=1) if np.any(y != y[0]) else 0.0
            for y, mean in zip(truth.T, outputs.T, strict=True)
        ]
    )


# In the order in which they are shown, by their names in metrics.json.
FIGURES = {
    "rmse": Figure("RMSE", in_digits, _metric("root_mean_squared_error")),
    "mae": Figure("MAE", in_digits, _metric("mean_absolute_error")),
    "r2": Figure("R²", or_undefined, _metric("r2_score"), relative=True, error="rmse"),
    "coverage": Figure("coverage", in_words, _coverage, loss="quantile", asked="quantile"),
    "d2_pinball": Figure("D²", or_undefined, _d2_pinball, relative=True, loss="quantile"),
    "d2_absolute_error": Figure(
        "D²", or_undefined, _metric("d2_absolute_error_score"), relative=True, loss="absolute_error", error="mae"
    ),
    "d2_poisson": Figure("D²", or_undefined, _d2_poisson, relative=True, loss="poisson"),
}


def measure(
    truth: np.ndarray,
    outputs: np.ndarray,
    targets: Sequence[str],
    weights: np.ndarray | None = None,
    *,
    loss: str = "squared_error",
    **settings: float,
) -> dict[str, Any]:
    """Compare the outputs of a regression with the truth.

    Parameters
    ----------
    truth, outputs : array of shape (n_rows, n_outputs)
    targets : sequence of str
        Names of the outputs.
    weights : float array of shape (n_rows,) or None
        Weights of the rows, not all 0; None for equal weights.
    loss : str
    **settings : float
        Those of the loss.

    Returns
    -------
    dict
        The mean over the targets of each of `FIGURES` that the loss has, with the settings that they are compared with;
        if there are several targets, ``targets`` has the figures of each, keyed by its name. They are NaN for outputs
        that are not finite, and None where they are not defined.
    """
    if weights is not None:
        counted = weights > 0
        truth, outputs, weights = truth[counted], outputs[counted], weights[counted]
    finite = np.isfinite(outputs).all(axis=0)
    outputs = np.where(finite, outputs, 0)
    means: dict[str, Any] = {}
    each: dict[str, dict[str, float | None]] = {name: {} for name in targets}
    for name, figure in FIGURES.items():
        if figure.loss not in ("", loss):
            continue
        if figure.relative and len(truth) < 2:
            means[name], columns = None, [None] * len(targets)
        else:
            # Targets may be finite, and their squares not.
            with np.errstate(all="ignore"):
                found = figure.of(truth, outputs, weights, **(settings if figure.loss else {}))
            if figure.relative:
                found = beside_constant(found, truth, outputs)
            found = np.where(finite, found, np.nan)
            means[name], columns = float(found.mean()), found.tolist()
        if figure.asked:
            means[figure.asked] = settings[figure.asked]
        for target, column in zip(targets, columns, strict=True):
            each[target][name] = column
    return means | ({"targets": each} if len(targets) > 1 else {})


def beside_constant(found: np.ndarray, truth: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Return `found`, R² or D² of each column, but for constant targets 1 where they are met, and else 0.

    This is scikit-learn's rule too, which it misses where the mean of equal numbers is rounded: R² is then about -1e31.
    """
    return np.where((truth == truth[0]).all(axis=0), (truth == outputs).all(axis=0), found)


def shown(figures: Mapping[str, Any], spread: Mapping[str, Any] | None = None) -> list[str]:
    """Format those of `figures` that are of a regression, each followed by its `spread`, if given."""
    return [_one(name, figures, spread) for name in FIGURES if name in figures]


def in_title(figures: Mapping[str, Any], spread: Mapping[str, Any] | None = None) -> str:
    """Format as `shown` those that say how well the loss is served: its own, or else R²."""
    return ", ".join(_one(name, figures, spread) for name in _of_loss(figures))


def in_caption(figures: Mapping[str, Any]) -> list[str]:
    """Format those of `in_title`, without what is asked for, and the errors that they relate to."""
    names = [name for own in _of_loss(figures) for name in (FIGURES[own].error, own) if name]
    return [spoken(FIGURES[name].called, name, FIGURES[name].words, figures) for name in names]


def _of_loss(figures: Mapping[str, Any]) -> list[str]:
    return [name for name, figure in FIGURES.items() if figure.loss and name in figures] or ["r2"]


def _one(name: str, figures: Mapping[str, Any], spread: Mapping[str, Any] | None) -> str:
    called, words, asked = FIGURES[name].called, FIGURES[name].words, FIGURES[name].asked
    return spoken(called, name, words, figures, spread) + (f" ({figures[asked]:g} asked)" if asked else "")
