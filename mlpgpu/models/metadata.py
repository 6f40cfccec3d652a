"""Validation of the description in a model file, so that predicting with the model cannot fail later."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from mlpgpu.maths.activations import ACTIVATIONS
from mlpgpu.maths.losses import LOSSES
from mlpgpu.maths.parameters import count
from mlpgpu.settings.config import settings

# Range of NumPy's integers.
_LEAST, _MOST = -(2**63), 2**64 - 1


def check(described: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Check that a description is consistent in itself and with the arrays of the file.

    Parameters
    ----------
    described : mapping
        The fields of a `mlpgpu.Model` that JSON holds, by name, with lists for tuples.
    arrays : mapping
        ``params``, ``shift`` and ``factor``; optionally ``target_shift`` and ``target_factor``.

    Raises
    ------
    ValueError
        If something does not fit; the message says what.
    """
    # JSON escapes can encode a lone surrogate, which no terminal and no file takes.
    json.dumps(described, ensure_ascii=False).encode()
    _network(described)
    _arrays(described["sizes"], arrays)
    _require("target_shift" not in arrays or described["task"] == "regression", "target_shift is there for classes")
    _labels(described)
    _names(described["feature_names"], described["target"], described["sizes"][0])
    multilabel = described["loss"] == "logistic" and described["sizes"][-1] > 1
    _targets(described["targets"], described["sizes"][-1] if multilabel or described["task"] == "regression" else 0)
    _label_values(described["label_values"], described["sizes"][-1] if multilabel else 0)
    if described["columns"] is not None:
        _columns(described["columns"], described["sizes"][0])
    config = described["config"]
    _require(isinstance(config, dict), "config is no table of settings")
    _require(isinstance(described["estimator"], dict | None), "estimator is no table of parameters")
    parameters = (described["estimator"] or {}).get("parameters", {})
    _require(isinstance(parameters, dict), "parameters of the estimator are no table")
    for name, value in {**config, **parameters}.items():
        if name in LOSSES[described["loss"]].settings:
            _require(_is_number(value), f"{name} is no number")
            settings()[name].checked(name, value)


def _network(described: Mapping[str, Any]) -> None:
    sizes, activations, loss, task = (described[name] for name in ("sizes", "activations", "loss", "task"))
    _require(
        isinstance(sizes, list) and len(sizes) > 1 and all(type(size) is int and size > 0 for size in sizes),
        "sizes are not units of layers",
    )
    _require(
        isinstance(activations, list)
        and len(activations) == len(sizes) - 2
        and all(isinstance(name, str) and name in ACTIVATIONS for name in activations),
        "activations are not known ones of its hidden layers",
    )
    _require(isinstance(loss, str) and loss in LOSSES, f"loss is {loss!r}, which is none of {', '.join(LOSSES)}")
    _require(task == LOSSES[loss].task, f"task is {task!r}, which loss {loss!r} is not for")


def _arrays(sizes: list[int], arrays: Mapping[str, np.ndarray]) -> None:
    one_or_each: tuple[tuple[int, ...], ...] = ((), (sizes[0],))
    shapes = {"params": ((count(sizes),),), "shift": one_or_each, "factor": one_or_each}
    if "target_shift" in arrays or "target_factor" in arrays:
        shapes |= dict.fromkeys(("target_shift", "target_factor"), ((sizes[-1],),))
    for name, allowed in shapes.items():
        array = arrays[name]
        _require(array.dtype in (np.float32, np.float64), f"{name} are of type {array.dtype}")
        _require(array.shape in allowed, f"{name} of shape {array.shape} are not those of its layers")
        # In a checkpoint written just before a rollback, parameters may be infinite or NaN.
        _require(name == "params" or bool(np.isfinite(array).all()), f"{name} are not finite")
        _require(name != "target_factor" or bool(array.all()), f"{name} are zero")


def _labels(described: Mapping[str, Any]) -> None:
    classes, outputs = described["classes"], described["sizes"][-1]
    _require(isinstance(classes, list) and all(map(_is_label, classes)), "classes are not labels")
    _distinct("classes", list(map(str, classes)))
    if described["task"] == "regression":
        fits: Collection[int] = {0}
    elif described["loss"] == "logistic" and outputs == 1:
        # With a single class, the output is the probability of a class that was never seen.
        fits = {1, 2}
    else:
        fits = {outputs}
    _require(len(classes) in fits, f"{len(classes)} classes do not fit {outputs} outputs")


def _names(names: Any, target: Any, n_features: int) -> None:
    _texts("feature_names", names)
    _require(len(names) in {0, n_features}, f"{len(names)} feature_names do not fit {n_features} features")
    _require(target is None or isinstance(target, str), "target is not text")


def _targets(names: Any, n_targets: int) -> None:
    _texts("targets", names)
    _require(len(names) in {0, n_targets}, f"{len(names)} targets do not fit the outputs")
    _distinct("targets", names)


def _label_values(values: Any, n_labels: int) -> None:
    _require(
        isinstance(values, list)
        and all(isinstance(pair, list) and len(pair) == 2 and all(map(_is_label, pair)) for pair in values),
        "label_values are not pairs of labels",
    )
    _require(len(values) in {0, n_labels}, f"{len(values)} label_values do not fit the outputs")
    for pair in values:
        _distinct("label_values", list(map(str, pair)))


def _columns(columns: Any, n_features: int) -> None:
    """Check the records of columns, as specified in `mlpgpu.data.columns`."""
    _require(
        isinstance(columns, list) and all(isinstance(record, dict) for record in columns), "columns are not records"
    )
    width = 0
    for record in columns:
        name, kind, fill = record["name"], record["kind"], record["fill"]
        _require(isinstance(name, str), "the name of a column is not text")
        if kind == "category":
            categories = record["categories"]
            _texts(f"categories of column {name!r}", categories)
            _distinct(f"categories of column {name!r}", categories)
            width += len(categories)
        elif kind == "date":
            first, hours = record["first"], record["hours"]
            _require(first in ("year", "day", "month"), f"dates of column {name!r} have {first!r} first")
            _require(isinstance(hours, bool), f"hours of column {name!r} are not a truth value")
            width += 3 + hours
        else:
            _require(kind in ("number", "bool"), f"column {name!r} is of kind {kind!r}")
            width += 1
        fits = isinstance(fill, str) if kind == "category" else _is_number(fill)
        # In days; more would overflow a date in microseconds.
        fits = fits and (kind != "date" or abs(fill) < 1e8)
        _require(fill is None or fits, f"column {name!r} is filled with {fill!r}")
    _distinct("names of columns", [record["name"] for record in columns])
    _require(width == n_features, f"columns make {width} features of {n_features}")


def _is_label(label: Any) -> bool:
    return isinstance(label, str) or _is_number(label) or isinstance(label, bool)


def _is_number(value: Any) -> bool:
    if type(value) is int:
        return _LEAST <= value <= _MOST
    return type(value) is float and math.isfinite(value)


def _texts(what: str, names: Any) -> None:
    _require(isinstance(names, list) and all(isinstance(name, str) for name in names), f"{what} are not text")


def _distinct(what: str, names: list[str]) -> None:
    _require(len(set(names)) == len(names), f"{what} are there twice")


def _require(fits: bool, otherwise: str) -> None:
    if not fits:
        raise ValueError(otherwise)
