"""Conversion between class labels and the targets and outputs of a network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import column_or_1d

from mlpgpu.backends import Backend
from mlpgpu.maths.losses import LOSSES, Loss
from mlpgpu.protocol import arrays
from mlpgpu.protocol.advice import advised, on_labels
from mlpgpu.training.feed import is_sparse

Array = Any


@dataclass(frozen=True, eq=False)
class Labels:
    """The sorted classes of a classification problem.

    Attributes
    ----------
    classes : array of shape (n_classes,)
        Class labels, on the host; for multilabel targets, the column indices.
    multilabel : bool
        Whether a row may have several labels, as columns of zeros and ones.
    sparse : bool
        Whether these columns are given and predicted as a sparse matrix.
    """

    classes: np.ndarray
    multilabel: bool = False
    sparse: bool = False

    @classmethod
    def of(cls, y: Any) -> Labels:
        """Return the labels of the targets `y`, which are on the host."""
        with advised(on_labels, y):
            check_classification_targets(y)
        multilabel = _is_multilabel(y)
        return cls(classes_of(y), multilabel, multilabel and is_sparse(y))

    @classmethod
    def given(cls, classes: Any, y: Any) -> Labels:
        """Return the labels that the user lists for targets such as `y`."""
        of_y = cls.of(y)
        return of_y if of_y.multilabel else cls(classes_of(classes))

    @classmethod
    def of_binarizer(cls, binarizer: Any) -> Labels:
        """Return the labels of a fitted scikit-learn ``LabelBinarizer``."""
        multilabel = binarizer.y_type_.startswith("multilabel")
        return cls(binarizer.classes_, multilabel, multilabel and binarizer.sparse_input_)

    @property
    def binary(self) -> bool:
        """Whether a single output stands for two classes, or for one."""
        return not self.multilabel and len(self.classes) <= 2

    @property
    def single(self) -> bool:
        """Whether all rows are of one class."""
        return self.binary and len(self.classes) == 1

    @property
    def on_host(self) -> bool:
        """Whether predictions are on the host: labels that are not numbers, and sparse matrices."""
        return self.sparse or self.classes.dtype.kind not in "iufb"

    @property
    def n_outputs(self) -> int:
        """Number of network outputs: one for two classes."""
        return 1 if self.binary else len(self.classes)

    def same_as(self, classes: Any) -> bool:
        """Whether the classes that the user lists are these; several labels are columns, whatever is listed."""
        same = self.multilabel or np.array_equal(self.classes, classes)
        return same or np.array_equal(self.classes, classes_of(classes))

    def encode(self, y: Any) -> np.ndarray:
        """Encode `y` for the loss: int64 class indices of shape (n_rows,), or floats of shape (n_rows, n_labels).

        Raises
        ------
        ValueError
            If `y` has other classes.
        """
        if self.multilabel:
            # Any nonzero number marks a label, such as 255.
            y = np.asarray((y.toarray() if is_sparse(y) else np.asarray(y)) != 0, np.float64)
            if y.ndim != 2 or y.shape[1] != len(self.classes):
                raise ValueError(f"`y` has shape {y.shape}, and there are {len(self.classes)} labels, a column each.")
            return y
        if is_sparse(y):
            raise _sparse_column(y)
        y = y if y.ndim == 1 else column_or_1d(y)
        try:
            codes = np.searchsorted(self.classes, y)
            known = np.array_equal(self.classes.take(codes, mode="clip"), y)
        except TypeError:
            # Labels of types that have no common order.
            known = False
        if not known:
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes}. 'y' has {classes_of(y)}."
            )
        return codes.astype(np.int64)

    def chosen(self, xp: Any, probabilities: Array) -> Array:
        """Return the index of the most probable class of each row; for multilabel targets and two classes, booleans."""
        if self.multilabel:
            return probabilities > 0.5
        return xp.argmax(probabilities, axis=1) if probabilities.shape[1] > 1 else probabilities[:, 0] > 0.5

    def decode(self, chosen: Array, source: Backend, at: Backend) -> Array:
        """Return the classes that `chosen` found, on `at`, or on the host for labels that are not numbers.

        Parameters
        ----------
        chosen : array of shape (n_rows,) or (n_rows, n_labels)
            On `source`.
        """
        # JAX has int64 only when it is enabled.
        numbers = source.xp.astype(chosen, source.asarray(np.zeros(1, np.int64)).dtype)
        if self.multilabel:
            return self._as_sparse(source.to_host(numbers)) if self.sparse else arrays.move(numbers, source, at)
        if self.single:
            # It is chosen whatever the output.
            numbers = source.xp.zeros_like(numbers)
        if self.on_host:
            return self.classes[source.to_host(numbers)]
        # On `at`, because `source` may lack the dtype of the labels.
        return at.asarray(self.classes)[arrays.move(numbers, source, at)]

    def probabilities(self, xp: Any, loss: Loss, z: Array) -> Array:
        """Return the probability of each class, of shape (n_rows, n_classes), for the logits `z`."""
        p = loss.link(xp, z)
        if self.binary:
            # `1 - p` would lose the digits of a small complement.
            p = xp.concat([loss.link(xp, -z) if loss.link is LOSSES["logistic"].link else 1 - p, p], axis=1)
        if loss.task != "classification":
            # `out_activation_` was set to the identity, to get the logits.
            return p
        # No class is impossible, however large the logit of another.
        limits = xp.finfo(p.dtype)
        p = xp.maximum(p, limits.smallest_normal)
        return xp.minimum(p, 1 - limits.eps / 2) if self.multilabel else p

    def log_probabilities(self, xp: Any, loss: Loss, z: Array) -> Array:
        """Return the logarithms of `probabilities`, from the logits, which keep more digits, where the loss can."""
        if loss.log_link is None or self.multilabel:
            return xp.log(self.probabilities(xp, loss, z))
        logs = loss.log_link(xp, z)
        if self.binary:
            logs = xp.concat([loss.log_link(xp, -z), logs], axis=1)
        # The minimum of `probabilities`, so that both rank the classes alike.
        return xp.maximum(logs, math.log(xp.finfo(z.dtype).smallest_normal))

    def binarizer(self) -> LabelBinarizer:
        """Return a scikit-learn ``LabelBinarizer`` fitted on these labels."""
        if not self.multilabel:
            return LabelBinarizer().fit(self.classes)
        each = np.eye(len(self.classes), dtype=int)
        return LabelBinarizer().fit(self._as_sparse(each) if self.sparse else each)

    def weigh(self, given: Any, y: Any) -> list[np.ndarray]:
        """Return the class weights.

        Parameters
        ----------
        given : dict, list of dict, or "balanced"
            scikit-learn's ``class_weight``; a class that it does not name has weight 1.
        y : array
            Targets from which ``balanced`` takes the class frequencies.

        Returns
        -------
        list of array
            One array of shape (n_classes,); for multilabel targets, one array per label, with the weights of its
            absence and its presence.

        Raises
        ------
        ValueError
            If the weights are not a dict, are negative or not finite, or name an unknown class.
        """
        if not self.multilabel:
            return [_class_weights(given, self.classes, y)]
        each = [given] * self.n_outputs if given == "balanced" else given
        if isinstance(each, dict) or len(each) != self.n_outputs:
            raise ValueError(
                f"class_weight is {given!r}; allowed for multilabel targets: 'balanced', or a list of dicts, one for "
                f"each of the {self.n_outputs} labels."
            )
        columns = self.encode(y).T
        return [_class_weights(one, np.arange(2), column) for one, column in zip(each, columns, strict=True)]

    def row_weights(self, weights: list[np.ndarray], targets: np.ndarray) -> np.ndarray:
        """Return the weight of each row, given the results of `weigh` and `encode`; several labels multiply."""
        columns = targets.T.astype(int) if self.multilabel else [targets]
        return np.prod([each[column] for each, column in zip(weights, columns, strict=True)], axis=0)

    @staticmethod
    def _as_sparse(chosen: np.ndarray) -> Any:
        from scipy.sparse import csr_matrix

        return csr_matrix(chosen)


def _is_multilabel(y: Any) -> bool:
    return np.ndim(y) > 1 and type_of_target(y).startswith("multilabel")


def _sparse_column(y: Any) -> TypeError:
    return TypeError(
        f"y is a sparse matrix of shape {y.shape}, which is for several labels, a column of 0 and 1 for each; allowed "
        "here: class labels as an array, such as y.toarray().ravel() for one column."
    )


def classes_of(y: Any) -> np.ndarray:
    """Return the sorted classes in `y`.

    Raises
    ------
    ValueError
        With scikit-learn's own messages.
    TypeError
        If `y` is a sparse matrix other than of several labels.
    """
    if is_sparse(y) and not _is_multilabel(y):
        raise _sparse_column(y)
    try:
        return unique_labels(y)
    except ValueError:
        # scikit-learn's message would contain all of `y`.
        if type_of_target(y) != "multiclass-multioutput":
            raise
        raise ValueError(
            "Multioutput target data is not supported with label binarization; give y as one column of classes, or as "
            "columns of 0 and 1, one for each of several labels."
        ) from None


def _class_weights(given: Any, classes: np.ndarray, y: Any) -> np.ndarray:
    found = np.ones(len(classes))
    if isinstance(given, str):
        # A class without rows has no balanced weight.
        there = np.isin(classes, y)
        found[there] = compute_class_weight(given, classes=classes[there], y=y)
    elif not isinstance(given, dict):
        labels = classes.tolist()
        raise ValueError(
            f"class_weight has {given!r} for the classes {labels}; allowed: 'balanced', or a dict of their weights, "
            f"such as {{{labels[-1]!r}: 2.0}}; where there are several labels, a list of such dicts, one for each."
        )
    else:
        # scikit-learn looks up numbers if labels are strings of digits.
        named = np.array([label in given for label in classes])
        if not named.all() and named.sum() < len(given):
            others = [label for label in given if label not in set(classes)]
            raise ValueError(
                f"class_weight names {others}, which the classes {classes.tolist()} are not; write them as y has them."
            )
        found[named] = [given[label] for label in classes[named]]
    if not (np.isfinite(found) & (found >= 0)).all():
        raise ValueError(f"class_weight is {given!r}; allowed: weights of 0 and above.")
    return found


class Labelled:
    """The labels of a fitted classifier, also by scikit-learn's private name for them."""

    def _kept_labels(self) -> Any:
        """Return the stored `Labels` or `LabelBinarizer`; pickles hold either under the name ``_labels``."""
        if "_labels" not in self.__dict__:
            raise AttributeError(f"this {type(self).__name__} has no labels; fit it, or set its _label_binarizer.")
        return self.__dict__["_labels"]

    @property
    def _labels(self) -> Labels:
        labels = self._kept_labels()
        return labels if isinstance(labels, Labels) else Labels.of_binarizer(labels)

    @_labels.setter
    def _labels(self, labels: Labels) -> None:
        self.__dict__["_labels"] = labels

    @property
    def _label_binarizer(self) -> Any:
        """The labels as scikit-learn's ``LabelBinarizer``, which programs read, modify, and set along with weights."""
        labels = self._kept_labels()
        if isinstance(labels, Labels):
            labels = self.__dict__["_labels"] = labels.binarizer()
        return labels

    @_label_binarizer.setter
    def _label_binarizer(self, binarizer: Any) -> None:
        self.__dict__["_labels"] = binarizer
