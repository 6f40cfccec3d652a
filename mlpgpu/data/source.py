"""What a source of data hands over: rows as read, before they are split."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Source"]


@dataclass(frozen=True)
class Source:
    """Rows as read.

    Attributes
    ----------
    name : str
        Name of the set.
    x : ndarray of shape (n_rows, n_features), or DataFrame
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
    feature_names, target, image_shape, notes
        As in `mlpgpu.data.DataSet`.
    """

    name: str
    x: "np.ndarray | pd.DataFrame"
    y: np.ndarray
    x_test: np.ndarray | None = None
    y_test: np.ndarray | None = None
    task: str = "auto"
    classes: tuple[Any, ...] = ()
    scale: str = "standard"
    categorical: bool = False
    feature_names: tuple[str, ...] = ()
    target: str | None = None
    image_shape: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
