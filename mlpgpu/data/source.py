"""Rows as read from a source of data, before they are split."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.data.mapped import Mapped
from mlpgpu.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Source:
    """Rows as read.

    Attributes
    ----------
    name : str
        Name of the set.
    x : ndarray or Mapped of shape (n_rows, n_features), or DataFrame
        A DataFrame is encoded after the split, since the encoding is fitted on the training rows.
    y : ndarray of shape (n_rows,) or (n_rows, n_outputs)
        Codes if `classes` is given, otherwise labels or numbers as read.
    x_test : ndarray or None
        Test rows, if the set has its own: the last rows of `y`, `weights` and `groups` are theirs.
    weights : float64 ndarray of shape (n_rows,) or None
        Weight of each row.
    groups : ndarray of shape (n_rows,) or None
        Group of each row, as read.
    task : str
        ``auto`` if it is to be inferred from y.
    classes : tuple
        The class of each code in y.
    scale : str
        The scaling that ``auto`` selects for this set.
    categorical : bool
        Whether numbers in y are known to be labels.
    decimal : str
        The decimal mark of its text, in words.
    feature_names, target, targets, notes
        As in `mlpgpu.data.DataSet`.
    """

    name: str
    x: "np.ndarray | Mapped | pd.DataFrame"
    y: np.ndarray
    x_test: np.ndarray | None = None
    weights: np.ndarray | None = None
    groups: np.ndarray | None = None
    task: str = "auto"
    classes: tuple[Any, ...] = ()
    scale: str = "standard"
    categorical: bool = False
    decimal: str = "decimal point"
    feature_names: tuple[str, ...] = ()
    target: str | None = None
    targets: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def of_arrays(
    name: str, x: np.ndarray | Mapped, y: np.ndarray, shape: tuple[int, ...], target: str, **more: Any
) -> Source:
    """Make a source of arrays; `shape` is that of x before `flat`, and `more` has other attributes of `Source`."""
    images = len(shape) > 2
    return Source(
        name,
        x,
        y,
        **more,
        scale="255" if images and x.dtype == np.uint8 else "standard",
        feature_names=() if images else tuple(f"x{i}" for i in range(x.shape[1])),
        target=target,
    )


def check_rows(dtype: np.dtype, shape: tuple[int, ...], where: str) -> None:
    """Refuse an array that does not hold rows of numbers; the message calls it `where`.

    Raises
    ------
    InputError
    """
    if dtype.kind not in "biuf" or dtype.itemsize > 8 or len(shape) < 2 or 0 in shape:
        raise InputError(
            f"{where} has type {dtype} and shape {shape}; "
            "allowed: numbers of shape (rows, features) or (rows, height, width); convert it"
        )


def flat(x: np.ndarray, where: str) -> np.ndarray:
    """Return rows as a C-contiguous array of shape (n_rows, n_features) in native byte order, bool as uint8."""
    check_rows(x.dtype, x.shape, where)
    if x.dtype == bool:
        x = x.view(np.uint8)
    return np.ascontiguousarray(x.reshape(len(x), -1), dtype=x.dtype.newbyteorder("="))
