"""Class labels on the one side, what a network is trained on and gives on the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import column_or_1d

from mlpgpu.backends import Backend
from mlpgpu.feed import is_sparse

Array = Any


@dataclass(frozen=True)
class Labels:
    """The classes of a problem, in order.

    Attributes
    ----------
    classes : array of shape (n_classes,)
        On the host; for multilabel targets their numbers.
    multilabel : bool
        Whether a row may have several, given as columns of 0 and 1.
    sparse : bool
        Whether those columns were given, and are handed back, as a sparse matrix.
    """

    classes: np.ndarray
    multilabel: bool = False
    sparse: bool = False

    @classmethod
    def of(cls, y: Any) -> Labels:
        """Those of the targets `y`, on the host."""
        check_classification_targets(y)
        multilabel = type_of_target(y).startswith("multilabel")
        return cls(unique_labels(y), multilabel, multilabel and is_sparse(y))

    @classmethod
    def given(cls, classes: Any, y: Any) -> Labels:
        """Those that a user names, for targets such as `y`."""
        of_y = cls.of(y)
        return of_y if of_y.multilabel else cls(unique_labels(classes))

    @property
    def binary(self) -> bool:
        """Whether one output stands for two classes, or for the only one."""
        return not self.multilabel and len(self.classes) <= 2

    @property
    def on_host(self) -> bool:
        """Whether predictions are on the host: those that are no numbers, and sparse ones."""
        return self.sparse or self.classes.dtype.kind not in "iufb"

    @property
    def n_outputs(self) -> int:
        """Outputs of a network for them: one for two classes."""
        return 1 if self.binary else len(self.classes)

    def encode(self, y: Any) -> np.ndarray:
        """What a loss takes: int64 class numbers of shape (n_rows,), or floats of shape (n_rows, n_labels).

        Raises
        ------
        ValueError
            Where there are others in `y`.
        """
        if self.multilabel:
            y = np.asarray(y.toarray() if is_sparse(y) else y, np.float64)
            if y.ndim != 2 or y.shape[1] != len(self.classes):
                raise ValueError(f"`y` has shape {y.shape}, and there are {len(self.classes)} labels, a column each.")
            return y
        y = column_or_1d(y)
        unknown = np.setdiff1d(y, self.classes)
        if len(unknown):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes}. 'y' has {np.unique(y)}."
            )
        return np.searchsorted(self.classes, y).astype(np.int64)

    def decode(self, probabilities: Array, at: Backend) -> Array:
        """The most probable class of each row, where the probabilities are; on the host for labels that are no numbers.

        Parameters
        ----------
        probabilities : array of shape (n_rows, n_outputs)
            Of `at`.
        """
        xp = at.xp
        # JAX has int64 only where it is told so.
        whole = at.asarray(np.zeros(1, np.int64)).dtype
        if self.multilabel:
            chosen = xp.astype(probabilities > 0.5, whole)
            return self._as_sparse(at.to_host(chosen)) if self.sparse else chosen
        if probabilities.shape[1] > 1:
            numbers = xp.argmax(probabilities, axis=1)
        else:
            # The only class there is has number 0, however sure the network.
            numbers = xp.astype((probabilities[:, 0] > 0.5) & (len(self.classes) > 1), whole)
        if self.on_host:
            return self.classes[at.to_host(numbers)]
        return xp.take(at.asarray(self.classes), numbers, axis=0)

    @staticmethod
    def _as_sparse(chosen: np.ndarray) -> Any:
        from scipy.sparse import csr_matrix

        return csr_matrix(chosen)
