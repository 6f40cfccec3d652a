"""What every source of data becomes: arrays on the host, and what is known of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlpgpu.data.label_columns import Pair
from mlpgpu.data.mapped import Mapped
from mlpgpu.data.scaling import Scaling

__all__ = ["DataSet"]


@dataclass(frozen=True)
class DataSet:
    """A data set, split, on the host and not yet scaled.

    Where its rows stay in a file, arrays x are `Mapped`, and the rows of each are in the file's order.

    Attributes
    ----------
    name : str
        Name of a set, or a file's name without its ending.
    task : str
        ``classification`` or ``regression``.
    x_train, x_test : ndarray of shape (n_rows, n_features)
        C-contiguous, in the type they were read in: ``uint8`` for images, else integers or floats. Those to test on
        may be none.
    y_train, y_test : ndarray
        ``int64`` codes 0 to k - 1 of shape (n_rows,) for classification; ``float64`` of shape
        (n_rows, n_outputs) for regression, and 0 and 1 for several labels a row.
    x_validation, y_validation : ndarray or None
        As above; None where no rows are held out.
    classes : tuple
        What each code stands for, as Python str, int, bool or float; of several labels a row their numbers; empty for
        regression.
    feature_names : tuple of str
        One a column of x; empty for images.
    target : str or None
        What is predicted, for a file: a column, columns with commas between them, or an array.
    targets : tuple of str
        One a column of y, where there are several.
    scaling : Scaling
        Fitted on the training rows. It is applied on the device, batch by batch.
    columns : list of dict or None
        How columns of a table became features, fit for JSON; `mlpgpu.data.columns.encode` repeats it.
    notes : tuple of str
        One-line things to tell the user.
    label_values : tuple of tuple
        The two values of each of several labels a row, of which y has the number; else empty.
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

    @property
    def n_features(self) -> int:
        """Columns of x."""
        return self.x_train.shape[1]

    @property
    def target_names(self) -> tuple[str, ...]:
        """What each column of y is called."""
        return self.targets or (self.target or "y",)

    @property
    def multilabel(self) -> bool:
        """Whether a row may have several labels."""
        return bool(self.label_values)

    @property
    def block(self) -> int:
        """How many training rows are worth being read together: 1 in memory."""
        return self.x_train.block if isinstance(self.x_train, Mapped) else 1

    @property
    def dimensions(self) -> dict[str, Any]:
        """What a plan depends on, as `mlpgpu.plan.make_plan` takes it."""
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
        """Classes or labels of a classification, columns of y of a regression."""
        return len(self.classes) if self.task == "classification" else self.y_train.shape[1]
