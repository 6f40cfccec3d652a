"""Conversion of estimators to model files and back."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin

from mlpgpu.errors import InputError, one_line
from mlpgpu.maths.activations import TRAINABLE
from mlpgpu.maths.losses import LOSSES
from mlpgpu.models.model import Model
from mlpgpu.protocol.choices import activations_of, by_name, in_words
from mlpgpu.protocol.held import keep_shape, loss_of, parts_of
from mlpgpu.protocol.labels import Labels
from mlpgpu.protocol.progress import RECORD

# Parameters that may change when a fit is resumed: output, and the device, which changes only the last digits.
UNBOUND = ("callbacks", "verbose", "device", "backend", "warm_start")


def to_model(
    estimator: Any, sizes: tuple[int, ...], params: np.ndarray, drawn_from: dict[str, Any] | None = None
) -> Model:
    """Return the model file's content for an estimator.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        Estimator that is fitted, or in the middle of a fit; its fitted attributes are then those before the fit.
    sizes : tuple of int
        Units of each layer, from the inputs to the outputs.
    params : array of shape (n_parameters,)
        Parameters, on the host.
    drawn_from : dict or None
        State of the random generator at the start of the fit, from `drawing.state_of`, for a checkpoint.

    Raises
    ------
    ValueError
        If it has functions or labels that JSON cannot represent.
    """
    activations, _ = activations_of(estimator.activation, len(sizes) - 2)
    loss_name, loss = loss_of(estimator, sizes[-1])
    own = [f"activation {name!r}" for name in activations if name not in TRAINABLE]
    own += ["loss"] if loss_name not in LOSSES else []
    if own:
        raise ValueError(
            f"a model file holds functions by name, and the {own[0]} is given as functions; give a name, or pickle the "
            "estimator."
        )
    labels = getattr(estimator, "_labels", None)
    return Model(
        params=params,
        shift=np.array(0.0),
        factor=np.array(1.0),
        sizes=sizes,
        activations=activations,
        loss=loss_name,
        task=loss.task,
        classes=() if labels is None else _plain_classes(labels.classes),
        feature_names=tuple(getattr(estimator, "feature_names_in_", ())),
        estimator={
            "class": type(estimator).__name__,
            "parameters": _parameters(estimator),
            "labels": labels and {"dtype": labels.classes.dtype.str, "sparse": labels.sparse},
            # Copies, since a later fit extends the curves in place.
            "fitted": {name: copy.copy(getattr(estimator, name)) for name in RECORD if hasattr(estimator, name)},
            **({"drawn_from": drawn_from} if drawn_from else {}),
        },
    )


def check_same(estimator: Any, model: Model) -> None:
    """Check that the parameters are those of the fit to be resumed.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
    model : Model
        Model of the checkpoint.

    Raises
    ------
    ValueError
        If a parameter differs; the message names it.
    """
    ours, theirs = _parameters(estimator), (model.estimator or {}).get("parameters", {})
    for name, value in estimator.get_params(deep=False).items():
        if name in theirs and name not in UNBOUND and ours.get(name) != theirs[name]:
            raise ValueError(
                f"{name} is {value!r}, and the run to resume has {_restored(theirs[name])!r}; give what it has, "
                "or begin a new run, from its weights by load, warm_start=True and fit; "
                f"allowed to differ: {', '.join(UNBOUND)}."
            )


def from_model(kind: type, model: Model, path: str | Path) -> Any:
    """Return the fitted estimator of a model read from `path`.

    Parameters
    ----------
    kind : type
        `mlpgpu.MLPClassifier` or `mlpgpu.MLPRegressor`.
    model : Model
    path : path
        File of the model, for error messages.

    Raises
    ------
    InputError
        If the model is not of that kind, or scales or encodes its data, which an estimator does not.
    """
    task, other = "classification", "MLPRegressor"
    if not issubclass(kind, ClassifierMixin):
        task, other = "regression", "MLPClassifier"
    if model.task != task:
        raise InputError(f"{path} holds a model for {model.task}; load it with {other}.load")
    scales = model.shift.any() or (model.factor != 1).any() or model.target_shift is not None
    # The label values of an estimator are 0 and 1.
    words = any(pair != (0, 1) for pair in model.label_values)
    if model.columns is not None or scales or words:
        raise InputError(
            f"{path} scales its features or its target, encodes the columns of a table, or has words for its labels, "
            "which an estimator does not; load it with mlpgpu.Model.load"
        )
    known = model.estimator or _of_command(model)
    try:
        estimator: Any = kind(**{name: _restored(value) for name, value in known["parameters"].items()})
        estimator._validate_params()
        if model.classes:
            estimator._labels = _labels(model, known["labels"])
            estimator.classes_ = estimator._labels.classes
        names, _ = activations_of(estimator.activation, len(model.activations))
        keep_shape(estimator, model.sizes, LOSSES[model.loss])
        loss_name, _ = estimator._choose_loss(model.sizes[-1])
        fitted = {name: known["fitted"][name] for name in RECORD if name in known["fitted"]}
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"{path} holds no estimator that this mlpgpu knows: {one_line(error)}") from None
    # A regressor may have any of its losses, even one that differs from its parameter.
    if names != model.activations or (
        model.classes and (loss_name, estimator._labels.n_outputs) != (model.loss, model.sizes[-1])
    ):
        raise InputError(f"{path} holds a network that no {kind.__name__} has; load it with mlpgpu.Model.load")
    vars(estimator).update(parts_of(np, model.params.copy(), model.sizes))
    estimator.n_features_in_ = model.sizes[0]
    # Except for tables, the command names the features itself.
    if model.estimator and model.feature_names:
        estimator.feature_names_in_ = np.array(model.feature_names, dtype=object)
    vars(estimator).update(fitted)
    return estimator


def _parameters(estimator: Any) -> dict[str, Any]:
    """Return the parameters that JSON can represent, converted by `_plain`."""
    parameters = {}
    for name, value in in_words(estimator.get_params(deep=False)).items():
        with contextlib.suppress(TypeError):
            parameters[name] = _plain(by_name(value) if name == "activation" else value)
    return parameters


def _of_command(model: Model) -> dict[str, Any]:
    """Return the estimator entry for a model of the command, which predicts in the dtype of its weights."""
    names = set(model.activations)
    parameters = {
        "hidden_layer_sizes": list(model.sizes[1:-1]),
        "activation": names.pop() if len(names) == 1 else list(model.activations),
        "dtype": str(model.params.dtype),
        **{name: model.config[name] for name in model.network.loss.settings if name in model.config},
    }
    if model.task == "regression":
        parameters["loss"] = model.loss
    return {"parameters": parameters, "labels": None, "fitted": {}}


def _labels(model: Model, known: Mapping[str, Any] | None) -> Labels:
    known = known or {"dtype": None, "sparse": False}
    return Labels(np.array(model.classes, known["dtype"]), model.multilabel, known["sparse"])


def _plain_classes(classes: np.ndarray) -> tuple[Any, ...]:
    found = tuple(classes.tolist())
    for label in found:
        if not isinstance(label, str | int | float):
            raise ValueError(
                f"a model file holds labels that are text or numbers, and {label!r} is neither; pickle the estimator."
            )
    return found


# Tuples and dicts are tagged, since JSON has only lists and keys of text.
def _plain(value: Any) -> Any:
    """Convert `value` to JSON types; raise a TypeError if that is impossible."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 1):
        value = value.tolist()
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list | range):
        return [_plain(item) for item in value]
    if isinstance(value, tuple):
        return {"tuple": _plain(list(value))}
    if isinstance(value, dict):
        return {"dict": _plain([list(pair) for pair in value.items()])}
    raise TypeError(f"JSON cannot hold {value!r}")


def _restored(value: Any) -> Any:
    """Invert `_plain`."""
    if isinstance(value, list):
        return [_restored(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "tuple" in value:
        return tuple(_restored(value["tuple"]))
    return dict(_restored(value["dict"]))
