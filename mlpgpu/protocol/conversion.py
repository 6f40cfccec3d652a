"""Conversion of estimators from and to scikit-learn's, and their summary."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin

from mlpgpu import backends
from mlpgpu.errors import InputError
from mlpgpu.maths.parameters import join
from mlpgpu.protocol.choices import activations_of
from mlpgpu.protocol.held import fitted_sizes, parts_of
from mlpgpu.protocol.labels import Labels
from mlpgpu.protocol.progress import RECORD

# Fitted attributes of both, beside weights, biases and labels.
FITTED = (
    "n_features_in_",
    "feature_names_in_",
    "n_outputs_",
    "n_layers_",
    "out_activation_",
    *(name for name in RECORD if name not in {"validation_loss_curve_", "history_"}),
)
THEIR_ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
THEIR_LINKS = ("softmax", "logistic", "identity", "exp")


def to_sklearn(ours: Any) -> Any:
    """Return scikit-learn's estimator with the parameters and weights of a fitted one of mlpgpu.

    Raises
    ------
    InputError
        If scikit-learn does not support the activations or the output.
    """
    from sklearn import neural_network

    names, _ = activations_of(ours.activation, len(ours.coefs_) - 1)
    name = names[0] if names else "identity"
    if len(set(names)) > 1 or name not in THEIR_ACTIVATIONS or ours.out_activation_ not in THEIR_LINKS:
        raise InputError(
            f"scikit-learn has one activation for all layers, of {', '.join(THEIR_ACTIVATIONS)}, and outputs of "
            f"{', '.join(THEIR_LINKS)}; this network has {', '.join([*names, ours.out_activation_])}. Save it as it is."
        )
    kind = getattr(neural_network, "MLPClassifier" if hasattr(ours, "_labels") else "MLPRegressor")
    takes = inspect.signature(kind).parameters
    # A subclass may have other parameters, but it has these as attributes.
    theirs = kind(**{parameter: getattr(ours, parameter) for parameter in takes})
    theirs.set_params(activation=name)
    if "loss" in takes and ours.loss not in {"squared_error", "poisson"}:
        # Predictions do not depend on it: the link is the same.
        theirs.set_params(loss="squared_error")
    for attribute in FITTED:
        if hasattr(ours, attribute):
            setattr(theirs, attribute, copy.copy(getattr(ours, attribute)))
    for attribute in ("coefs_", "intercepts_"):
        arrays = getattr(ours, attribute)
        setattr(theirs, attribute, [backends.beside(array).to_host(array).copy() for array in arrays])
    if ours.early_stopping:
        # scikit-learn restores these if a warm start finds nothing better.
        theirs._best_coefs, theirs._best_intercepts = copy.deepcopy((theirs.coefs_, theirs.intercepts_))
    if hasattr(ours, "_labels"):
        theirs._label_binarizer = ours._labels.binarizer()
        theirs.classes_ = ours._labels.classes
    return theirs


def from_sklearn(kind: type, theirs: Any) -> Any:
    """Return an mlpgpu estimator with the parameters and weights of a fitted one of scikit-learn.

    Raises
    ------
    InputError
        If `theirs` is not the corresponding estimator, or is not fitted.
    """
    from sklearn import neural_network

    wanted = neural_network.MLPClassifier if issubclass(kind, ClassifierMixin) else neural_network.MLPRegressor
    if not isinstance(theirs, wanted) or not hasattr(theirs, "coefs_"):
        raise InputError(
            f"from_sklearn was given {theirs!r}; allowed: a fitted sklearn.neural_network.{wanted.__name__}."
        )
    ours = kind(**{parameter: getattr(theirs, parameter) for parameter in inspect.signature(wanted).parameters})
    for attribute in FITTED:
        if hasattr(theirs, attribute):
            setattr(ours, attribute, copy.copy(getattr(theirs, attribute)))
    params = join(np, list(zip(theirs.coefs_, theirs.intercepts_, strict=True)))
    vars(ours).update(parts_of(np, params, fitted_sizes(theirs)))
    ours.history_ = [{"epoch": i, "loss": loss} for i, loss in enumerate(getattr(theirs, "loss_curve_", []), 1)]
    if hasattr(theirs, "classes_"):
        ours._labels = Labels.of_binarizer(theirs._label_binarizer)
        ours.classes_ = theirs.classes_
    return ours


class Table(str):
    """Text of several lines that a prompt or a notebook shows as it is, and not as a literal."""

    def __repr__(self) -> str:
        return str(self)


def summary(estimator: Any) -> Table:
    """Return the layers of a fitted estimator as a table."""
    names, _ = activations_of(estimator.activation, len(estimator.coefs_) - 1)
    rows = [("layer", "units", "activation", "parameters"), ("input", f"{estimator.n_features_in_:,}", "", "")]
    total = 0
    for number, (w, b, name) in enumerate(
        zip(estimator.coefs_, estimator.intercepts_, (*names, estimator.out_activation_), strict=True), 1
    ):
        own = w.shape[0] * w.shape[1] + b.shape[0]
        total += own
        layer = "output" if number == len(estimator.coefs_) else f"hidden {number}"
        rows.append((layer, f"{b.shape[0]:,}", name, f"{own:,}"))
    rows.append(("total", "", "", f"{total:,}"))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return Table(
        "\n".join(
            f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:<{widths[2]}}  {row[3]:>{widths[3]}}".rstrip()
            for row in rows
        )
    )
