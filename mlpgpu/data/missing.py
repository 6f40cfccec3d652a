"""Missing and infinite values in plain arrays: refuse them, or impute missing ones from the training rows."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.data.mapped import Mapped, pieces
from mlpgpu.errors import InputError, first_of

if TYPE_CHECKING:
    from mlpgpu.data.remarks import Remarks


def instead(by_model: bool) -> str:
    """Advise on missing values that are not filled, in training or, if `by_model`, for a trained model."""
    if by_model:
        return "the model cannot fill them: remove those rows, or train one with impute mean or median"
    return "give impute mean or median, or remove those rows"


def refuse(x: np.ndarray | Mapped, names: tuple[str, ...], *, filled: bool, by_model: bool = False) -> bool:
    """Refuse values that cannot be used; otherwise return whether values are missing.

    Parameters
    ----------
    x : ndarray or Mapped of shape (n_rows, n_features)
        Numbers of any type.
    names : tuple of str
        Name of each column; empty for images.
    filled : bool
        Whether missing values will be filled.
    by_model : bool
        Whether x is for a trained model.

    Raises
    ------
    InputError
        If values are infinite, or missing and not to be filled.
    """
    # Minimum and maximum reveal NaN and infinity without a temporary array as large as x.
    if x.dtype.kind != "f" or all(np.isfinite(part.min()) and np.isfinite(part.max()) for part in pieces(x)):
        return False
    for test, what, cure in (
        (np.isinf, "infinite", "allowed: finite numbers; remove those rows"),
        (np.isnan, "missing", instead(by_model)),
    ):
        counts = sum(test(part).sum(axis=0) for part in pieces(x))
        bad = np.flatnonzero(counts)
        if bad.size and (what == "infinite" or not filled):
            shown = [f"{names[i] if names else i} ({counts[i]:,})" for i in bad]
            raise InputError(f"{what} values in feature {first_of(shown, 10)}; {cure}")
    return True


def fit(x_train: np.ndarray, names: tuple[str, ...], impute: str) -> list[dict[str, Any]]:
    """Fit the value that fills each column, as records like those of `mlpgpu.data.columns`.

    Parameters
    ----------
    x_train : ndarray of shape (n_rows, n_features)
        Training rows, with missing values as NaN.
    names : tuple of str
        Name of each column; empty for images.
    impute : str
        ``mean`` or ``median``.

    Raises
    ------
    InputError
        If a column has no values.
    """
    empty = np.flatnonzero(np.isnan(x_train).all(axis=0))
    names = names or tuple(map(str, range(x_train.shape[1])))
    if empty.size:
        raise InputError(
            f"feature {names[empty[0]]} has no values in the training rows, so impute {impute!r} cannot fill it; "
            "remove it"
        )
    average: Any = {"mean": np.nanmean, "median": np.nanmedian}[impute]
    values = np.asarray(average(x_train.astype(np.float64, copy=False), axis=0))
    return [{"name": name, "kind": "number", "fill": float(v)} for name, v in zip(names, values, strict=True)]


def fill(x: np.ndarray, columns: list[dict[str, Any]], remarks: "Remarks") -> np.ndarray:
    """Return x with missing values filled, in its own dtype; integers are returned as they are.

    Parameters
    ----------
    x : ndarray of shape (n_rows, n_features)
        Missing values are NaN.
    columns : list of dict
        One record per column, from `fit`.
    remarks : Remarks
        Counts the missing values.
    """
    if x.dtype.kind != "f":
        return x
    gaps = np.isnan(x)
    remarks.add_filled(zip(gaps.sum(axis=0).tolist(), columns, strict=True))
    return np.where(gaps, np.array([record["fill"] for record in columns], x.dtype), x)


def filling(columns: list[dict[str, Any]] | None, n_features: int) -> list[dict[str, Any]] | None:
    """Return the records of a model if they fill arrays, by a number for each feature; otherwise None."""
    if columns is None or len(columns) != n_features:
        return None
    return columns if all(isinstance(record["fill"], int | float) for record in columns) else None
