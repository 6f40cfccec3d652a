"""Scaling of inputs and targets, fitted on the host in chunks of rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlpgpu.data.mapped import Mapped, pieces
from mlpgpu.errors import InputError

# Kinds that are the same for any rows.
NOT_FITTED = ("none", "255")


@dataclass(frozen=True, eq=False)
class Scaling:
    """The scaling ``(x - shift) * factor``.

    Attributes
    ----------
    kind : str
        ``none``, ``standard``, ``minmax`` or ``255``; or another word if it was not fitted by `fit`.
    shift, factor : ndarray of float64
        Of shape (n_features,), or () if all features share one value.
    """

    kind: str
    shift: np.ndarray
    factor: np.ndarray


def fit(
    kind: str,
    x_train: np.ndarray | Mapped,
    *,
    names: Sequence[str] = (),
    setting: str = "scale",
    column: str = "feature",
) -> Scaling:
    """Fit a scaling on training rows.

    Parameters
    ----------
    kind : str
        ``none``, ``standard`` (mean 0, variance 1), ``minmax`` (0 to 1) or ``255`` (divide by 255).
    x_train : ndarray or Mapped of shape (n_rows, n_features)
        Numbers of any type. A constant column is only shifted, as in scikit-learn.
    names : sequence of str
        Names of the columns for messages; if empty, messages give their indices.
    setting, column : str
        Words for messages: the name of the setting that gave `kind`, and that for a column.

    Raises
    ------
    InputError
        If the values of a column are too far apart for float64.
    """
    if kind == "none":
        return Scaling(kind, np.array(0.0), np.array(1.0))
    if kind == "255":
        return Scaling(kind, np.array(0.0), np.array(1 / 255))
    # Overflow is reported below, with the name of the column.
    with np.errstate(all="ignore"):
        shift, spread = _standard(x_train) if kind == "standard" else _minmax(x_train)
    wide = np.flatnonzero(~np.isfinite(spread))
    if wide.size:
        name = repr(names[wide[0]]) if names else wide[0]
        raise InputError(
            f"{setting} is {kind!r}, but the values of {column} {name} are too far apart for it; "
            f"allowed: a variance below 1e308; rescale that column, or give {setting} none"
        )
    return Scaling(kind, shift, 1 / spread)


def of_model(shift: np.ndarray, factor: np.ndarray) -> Scaling:
    """Return the scaling of a trained model."""
    return Scaling("as in the model", shift, factor)


def _standard(x: np.ndarray | Mapped) -> tuple[np.ndarray, np.ndarray]:
    n_rows = len(x)
    mean = sum(chunk.astype(np.float64).sum(axis=0) for chunk in pieces(x)) / n_rows
    squares = errors = np.zeros(x.shape[1])
    for piece in pieces(x):
        chunk = piece.astype(np.float64)
        chunk -= mean
        errors = errors + chunk.sum(axis=0)
        squares = squares + np.square(chunk, out=chunk).sum(axis=0)
    # The second term would be zero in exact arithmetic; it corrects for the rounding of the mean.
    variance = (squares - errors**2 / n_rows) / n_rows
    # A variance below this bound may be the rounding error of a constant column (Chan, Golub and LeVeque, 1983).
    eps = np.finfo(np.float64).eps
    constant = variance <= n_rows * eps * variance + (n_rows * mean * eps) ** 2
    constant &= np.isfinite(variance)
    # A large mean has a large rounding error, so a constant column is shifted by its exact value.
    spread = np.where(constant, np.maximum(1.0, n_rows * np.abs(mean) * eps), np.sqrt(variance))
    return np.where(constant, x[0].astype(np.float64), mean), spread


def _minmax(x: np.ndarray | Mapped) -> tuple[np.ndarray, np.ndarray]:
    ends = [(piece.min(axis=0), piece.max(axis=0)) for piece in pieces(x)]
    low, high = np.min([least for least, _ in ends], axis=0), np.max([most for _, most in ends], axis=0)
    low, high = low.astype(np.float64), high.astype(np.float64)
    spread, limits = high - low, np.finfo(np.float64)
    # The range of a constant column is only rounding error, which is proportional to its values.
    rounding = np.maximum(limits.eps * np.maximum(np.abs(low), np.abs(high)), limits.smallest_normal)
    return low, np.where(spread <= rounding, 1.0, spread)
