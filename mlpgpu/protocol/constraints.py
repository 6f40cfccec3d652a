"""What the parameters of the estimators may be, as scikit-learn's parameter constraints."""

from __future__ import annotations

import itertools
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

from mlpgpu.config import settings
from mlpgpu.errors import did_you_mean
from mlpgpu.maths.activations import TRAINABLE
from mlpgpu.protocol.choices import in_words


def limits(name: str) -> list[Any]:
    """Return the choices or the range of a setting of `Config` that is no whole number, as parameter constraints."""
    known = settings()[name]
    if known.choices:
        return [StrOptions(set(known.choices))]
    low, high = (None if end.strip().endswith("inf") else float(end) for end in known.within[1:-1].split(","))
    closed = {"[]": "both", "[)": "left", "(]": "right", "()": "neither"}[known.within[0] + known.within[-1]]
    return [Interval(Real, low, high, closed=closed)]


CONSTRAINTS: dict[str, Any] = {
    "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    "activation": [StrOptions(set(TRAINABLE)), list, tuple],
    "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
    "alpha": [Interval(Real, 0, None, closed="left")],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
    "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
    "power_t": limits("power_t"),
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "tol": [Interval(Real, 0, None, closed="left")],
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
    constraints = estimator._parameter_constraints
    try:
        validate_parameter_constraints(constraints, in_words(parameters(estimator)), type(estimator).__name__)
    except InvalidParameterError as error:
        _, name, _ = str(error).split("'", 2)
        choices = [each.options for each in constraints[name] if isinstance(each, StrOptions)]
        hint = did_you_mean(str(getattr(estimator, name)), sorted(itertools.chain(*choices)))
        raise InvalidParameterError(f"{str(error).rstrip('.')}{hint or '.'}") from None
