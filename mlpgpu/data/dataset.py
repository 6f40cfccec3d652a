"""A data set ready for training: split arrays on the host, and their description."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlpgpu.data.label_columns import Pair
from mlpgpu.data.mapped import Mapped
from mlpgpu.data.scaling import Scaling


@dataclass(frozen=True, eq=False, repr=False)
class DataSet:
    """A split data set on the host, not yet scaled.

    If its rows stay in a file, the arrays x are `Mapped`, each with its rows in the order of the file.

    Attributes
    ----------
    name : str
        Name of a set, or of a file without its extension.
    task : str
        ``classification`` or ``regression``.
    x_train, x_test : ndarray of shape (n_rows, n_features)
        C-contiguous, in the dtype in which they were read: ``uint8`` for images, otherwise integers or floats.
        ``x_test`` may be empty.
    y_train, y_test : ndarray
        For classification ``int64`` codes 0 to k - 1 of shape (n_rows,). For regression ``float64`` of shape
        (n_rows, n_outputs); for multilabel classification the same with values 0 and 1.
    x_validation, y_validation : ndarray or None
        As above; None if no rows are held out.
    weights_train, weights_validation, weights_test : float64 ndarray of shape (n_rows,) or None
        Weight of each row; None if all rows have weight 1.
    classes : tuple
        The class of each code, as Python str, int, bool or float; for multilabel classification the indices of the
        labels; empty for regression.
    feature_names : tuple of str
        One per column of x; empty for images.
    target : str or None
        Name of the target in a file: a column, comma-separated columns, or an array.
    targets : tuple of str
        One per column of y if there are several, otherwise empty.
    scaling : Scaling
        Fitted on the training rows; `mlpgpu.training.feed.Scaled` applies it.
    columns : list of dict or None
        Encoding of a table's columns, serialisable as JSON; `mlpgpu.data.columns.encode` applies it.
    notes : tuple of str
        One-line notes for the user.
    label_values : tuple of tuple
        For multilabel classification the two values of each label, indexed by the 0 and 1 of y; otherwise empty.
    """

    name: str
    task: str
    x_train: np.ndarray | Mapped
    y_train: np.ndarray
    x_validation: np.ndarray | Mapped | None
    y_validation: np.ndarray | None
    x_test: np.ndarray | Mapped
    y_test: np.ndarray
    classes: tuple[Any, ...]
    feature_names: tuple[str, ...]
    target: str | None
    targets: tuple[str, ...]
    scaling: Scaling
    columns: list[dict[str, Any]] | None
    notes: tuple[str, ...]
    label_values: tuple[Pair, ...]
    weights_train: np.ndarray | None = None
    weights_validation: np.ndarray | None = None
    weights_test: np.ndarray | None = None

    def __repr__(self) -> str:
        named = [f"{kind}_{part}" for part in ("train", "validation", "test") for kind in "xy"]
        arrays = [(name, array) for name in named if (array := getattr(self, name)) is not None]
        return f"DataSet({', '.join([self.name, self.task, *(f'{name} {a.dtype} {a.shape}' for name, a in arrays)])})"

    @property
    def n_features(self) -> int:
        """Number of columns of x."""
        return self.x_train.shape[1]

    @property
    def target_names(self) -> tuple[str, ...]:
        """Name of each column of y."""
        return self.targets or (self.target or "y",)

    @property
    def multilabel(self) -> bool:
        """Whether a row may have several labels."""
        return bool(self.label_values)

    @property
    def block(self) -> int:
        """Number of training rows that are best read together; 1 for rows in memory."""
        return self.x_train.block if isinstance(self.x_train, Mapped) else 1

    @property
    def dimensions(self) -> dict[str, Any]:
        """Properties that a plan depends on, as arguments of `mlpgpu.training.plan.make_plan`."""
        return {
            "n_rows": len(self.x_train),
            "n_features": self.n_features,
            "n_outputs": self.n_targets,
            "task": self.task,
            "multilabel": self.multilabel,
            "block": self.block,
        }

    @property
    def n_targets(self) -> int:
        """Number of classes or labels for classification, of columns of y for regression."""
        return len(self.classes) if self.task == "classification" else self.y_train.shape[1]
