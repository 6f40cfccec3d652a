"""What the parameters of the estimators may be, as scikit-learn's parameter constraints."""

from __future__ import annotations

import contextlib
import itertools
import sys
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.metrics import get_scorer_names
from sklearn.utils._param_validation import (
    Interval,
    InvalidParameterError,
    Options,
    StrOptions,
    validate_parameter_constraints,
)

from mlpgpu.errors import alike, did_you_mean
from mlpgpu.maths.activations import TRAINABLE
from mlpgpu.protocol.choices import in_words
from mlpgpu.settings.config import settings


class Floats(Interval):
    """Numbers of an interval that have a float to compute with, which Python's largest whole numbers lack."""

    def __init__(self, low: float | None, high: float | None, *, closed: str) -> None:
        super().__init__(Real, low, high, closed=closed)

    def __contains__(self, given: Any) -> bool:
        return super().__contains__(given) and (not isinstance(given, int) or abs(given) <= sys.float_info.max)


def limits(name: str) -> list[Any]:
    """Return the choices or the range of a setting of `Config` that is no whole number, as parameter constraints."""
    known = settings()[name]
    if known.choices:
        return [StrOptions(set(known.choices))]
    low, high = (None if end.strip().endswith("inf") else float(end) for end in known.within[1:-1].split(","))
    closed = {"[]": "both", "[)": "left", "(]": "right", "()": "neither"}[known.within[0] + known.within[-1]]
    return [Floats(low, high, closed=closed)]


CONSTRAINTS: dict[str, Any] = {
    "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    "activation": [StrOptions(set(TRAINABLE)), list, tuple],
    "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
    "alpha": [Floats(0, None, closed="left")],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
    "learning_rate_init": [Floats(0, None, closed="neither")],
    "power_t": limits("power_t"),
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "tol": [Floats(0, None, closed="left")],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "momentum": limits("momentum"),
    "nesterovs_momentum": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": limits("validation_fraction"),
    **{name: limits(name) for name in ("beta_1", "beta_2", "epsilon")},
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
    "max_fun": [Interval(Integral, 1, None, closed="left")],
    "device": [str, None],
    "backend": [*limits("backend"), None],
    "dtype": [*limits("dtype"), None],
    "precision": limits("precision"),
    "optimizer": [*limits("optimizer"), None],
    "learning_rate_schedule": [*limits("schedule"), None],
    **{name: limits(name) for name in ("warmup", "decay_rate", "decay_epochs", "input_dropout")},
    "normalization": [*limits("normalization"), list, tuple],
    "dropout": [*limits("dropout"), "array-like"],
    **{name: [*limits(name), None] for name in ("weight_decay", "clip_norm", "bias_init")},
    "init": [*limits("init"), list, tuple, None],
    "init_std": limits("init_std"),
    "freeze": [Interval(Integral, 0, None, closed="left")],
    "replacement": ["boolean"],
    "scoring": [StrOptions(set(get_scorer_names())), callable, None],
    "callbacks": [list, tuple, None],
}


# What one of these refuses may be meant for another.
BESIDE = {
    "learning_rate": ("learning_rate_init", "learning_rate_schedule"),
    "learning_rate_init": ("learning_rate", "learning_rate_schedule"),
    "solver": ("optimizer",),
    "optimizer": ("solver",),
}


def parameters(estimator: Any) -> dict[str, Any]:
    """Return the parameters that `validate` checks."""
    # `get_params` would read the signature of the constructor anew.
    return {name: getattr(estimator, name) for name in estimator._parameter_constraints if hasattr(estimator, name)}


def validate(estimator: Any) -> None:
    """Validate the parameters as scikit-learn does, and suggest a choice for a misspelt one.

    Raises
    ------
    InvalidParameterError
        If a parameter is not allowed.
    """
    constraints, given, kind = estimator._parameter_constraints, parameters(estimator), type(estimator).__name__
    try:
        validate_parameter_constraints(constraints, in_words(given), kind)
    except InvalidParameterError as error:
        _, name, _ = str(error).split("'", 2)
        hint = _hint(constraints, name, given[name])
        raise InvalidParameterError(f"{str(error).rstrip('.')}{hint or '.'}") from None


def _hint(constraints: dict[str, Any], name: str, given: Any) -> str:
    """Return the end of a message: another parameter that takes what is given, or else the most similar choice."""
    if given is not None and _alike(given, constraints[name]) is given:
        for other in BESIDE.get(name, ()):
            meant = _alike(given, constraints[other])
            with contextlib.suppress(InvalidParameterError):
                validate_parameter_constraints({other: constraints[other]}, {other: meant}, "")
                return f"; did you mean {other}={meant!r}?"
    if callable(given) and tuple in constraints[name]:
        return "; a function goes with its derivative, as a pair."
    return did_you_mean(str(given), _words(constraints[name]))


def _words(allowed: list[Any]) -> list[str]:
    """Return the choices among the constraints of a parameter."""
    return sorted(itertools.chain(*(each.options for each in allowed if isinstance(each, StrOptions))))


def _alike(given: Any, allowed: list[Any]) -> Any:
    """Return the choice that is written like `given` but for capitals and hyphens, or else `given` itself."""
    return alike(str(given), _words(allowed)) or given
