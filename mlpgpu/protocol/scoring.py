"""scikit-learn scorers on the validation set of a fit."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import config_context
from sklearn.metrics import check_scoring

from mlpgpu.backends import BACKENDS
from mlpgpu.maths.network import plain
from mlpgpu.protocol.arrays import Array
from mlpgpu.protocol.held import parts_of
from mlpgpu.training.feed import is_sparse

if TYPE_CHECKING:
    from mlpgpu.protocol.fitting import Fit


def scorer_of(fit: Fit, scoring: Any) -> Callable[[Array], float]:
    """Return ``score(params)`` on the validation set, by a scikit-learn scorer, which gets host arrays only."""
    estimator, backend = fit.estimator, fit.backend
    assert fit.held_out is not None
    x, y, weights = fit.held_out
    x = x if is_sparse(x) else fit.at.to_host(x)
    probe = copy.copy(estimator)
    # The validation rows no longer have feature names.
    vars(probe).pop("feature_names_in_", None)
    if backend.name in BACKENDS:
        probe.device, probe.backend = backend.device, backend.name
    if hasattr(probe, "_labels"):
        probe.classes_ = probe._labels.classes
    scorer = check_scoring(estimator, scoring)
    more = {"sample_weight": weights} if weights is not None and _takes_weights(scorer) else {}

    def score(params: Array) -> float:
        vars(probe).update(parts_of(np, plain(np, fit.network, backend.to_host(params)), fit.sizes))
        with config_context(array_api_dispatch=False):
            return float(scorer(probe, x, y, **more))

    return score


def _takes_weights(scorer: Any) -> bool:
    """Whether a scorer, or its metric, accepts sample weights."""
    taken = inspect.signature(getattr(scorer, "_score_func", scorer)).parameters.values()
    return any(one.name == "sample_weight" or one.kind == one.VAR_KEYWORD for one in taken)
