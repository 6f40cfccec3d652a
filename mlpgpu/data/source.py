"""What a source of data hands over: rows as read, before they are split."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.data.mapped import Mapped
from mlpgpu.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Source", "are_images", "flat", "of_arrays"]


@dataclass(frozen=True)
class Source:
    """Rows as read.

    Attributes
    ----------
    name : str
        Name of the set.
    x : ndarray or Mapped of shape (n_rows, n_features), or DataFrame
        A frame is encoded once it is known which of its rows are for training.
    y : ndarray of shape (n_rows,) or (n_rows, n_outputs)
        Codes where `classes` is given, else labels or numbers as read.
    x_test, y_test : ndarray or None
        Test rows, where the set has its own.
    task : str
        ``auto`` where it is to be inferred from y.
    classes : tuple
        What codes in y stand for.
    scale : str
        The scaling that ``auto`` means for this set.
    categorical : bool
        Whether numbers in y are known to be labels.
    decimal : str
        What is before decimals in its text, in words.
    feature_names, target, targets, notes
        As in `mlpgpu.data.DataSet`.
    """

    name: str
    x: "np.ndarray | Mapped | pd.DataFrame"
    y: np.ndarray
    x_test: np.ndarray | None = None
    y_test: np.ndarray | None = None
    task: str = "auto"
    classes: tuple[Any, ...] = ()
    scale: str = "standard"
    categorical: bool = False
    decimal: str = "decimal point"
    feature_names: tuple[str, ...] = ()
    target: str | None = None
    targets: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def of_arrays(name: str, x: np.ndarray | Mapped, y: np.ndarray, images: bool, target: str, **test: Any) -> Source:
    """Rows of files that hold arrays, of which `images` is what `are_images` says; `test` are rows of their own."""
    return Source(
        name,
        x,
        y,
        **test,
        scale="255" if images and x.dtype == np.uint8 else "standard",
        feature_names=() if images else tuple(f"x{i}" for i in range(x.shape[1])),
        target=target,
    )


def are_images(dtype: np.dtype, shape: tuple[int, ...], where: str) -> bool:
    """Whether the rows of an array of this type and shape are images.

    Raises
    ------
    InputError
        Where they are no rows of numbers; `where` says of what in the message.
    """
    if dtype.kind not in "biuf" or dtype.itemsize > 8 or len(shape) < 2 or 0 in shape:
        raise InputError(
            f"{where} has type {dtype} and shape {shape}; "
            "allowed: numbers of shape (rows, features) or (rows, height, width); convert it"
        )
    return len(shape) == 3 or (len(shape) == 4 and shape[3] == 1)


def flat(x: np.ndarray, where: str) -> np.ndarray:
    """Rows of numbers of shape (n_rows, n_features), in native byte order; truth values as bytes."""
    are_images(x.dtype, x.shape, where)
    if x.dtype == bool:
        x = x.view(np.uint8)
    return np.ascontiguousarray(x.reshape(len(x), -1), dtype=x.dtype.newbyteorder("="))
