"""Rows as read from a source of data, before they are split."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from mlpgpu.data.mapped import Mapped
from mlpgpu.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

X = TypeVar("X", bound="np.ndarray | Mapped | pd.DataFrame")
Array = TypeVar("Array", np.ndarray, Mapped)


@dataclass(frozen=True, eq=False)
class Source(Generic[X]):
    """Rows as read.

    Attributes
    ----------
    name : str
        Name of the set.
    x : ndarray or Mapped of shape (n_rows, n_features), or DataFrame
        A DataFrame is encoded after the split, since the encoding is fitted on the training rows.
    y : ndarray of shape (n_rows,) or (n_rows, n_outputs)
        Codes if `classes` is given, otherwise labels or numbers as read.
    own : mapping of str to Source
        Validation and test rows that are given as such, under ``validation`` and ``test``, in this order. They have
        weights if these rows have, and may lack groups. Their name is that of their arrays or file, or of the set.
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
    x: X
    y: np.ndarray
    own: Mapping[str, "Source[X]"] = field(default_factory=dict)
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

    @property
    def parts(self) -> tuple["Source[X]", ...]:
        """These rows, then those of their own parts."""
        return self, *self.own.values()

    def joined(self, attribute: str) -> np.ndarray | None:
        """Return x, y, weights or groups of all `parts`, one below the other; None if these rows have none."""
        first, *others = (getattr(part, attribute) for part in self.parts)
        # No copy of a single array: its order in memory may be another, and sums over it another rounding.
        return np.concatenate([first, *others]) if others and first is not None else first


def of_arrays(name: str, x: Array, y: np.ndarray, shape: tuple[int, ...], target: str, **more: Any) -> Source[Array]:
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


def kind_of(dtype: np.dtype) -> str:
    """Return a kind of dtype; arrays of the same kind can be compared and concatenated."""
    return "number" if dtype.kind in "biuf" else str(dtype) if dtype.kind == "V" else dtype.kind


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
