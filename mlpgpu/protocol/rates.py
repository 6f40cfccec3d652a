"""Learning rate range test of an estimator."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from sklearn.base import clone
from sklearn.utils._param_validation import Interval, validate_parameter_constraints

from mlpgpu.protocol.choices import by_lbfgs
from mlpgpu.protocol.constraints import Floats
from mlpgpu.protocol.fitting import Fit
from mlpgpu.settings.search import check_range
from mlpgpu.training.feed import Unscaled
from mlpgpu.training.learning_rates import NotFinite, RangeTest, range_test

LIMITS = {
    "low": [Floats(0, None, closed="neither")],
    "high": [Floats(0, None, closed="neither")],
    "steps": [Interval(Integral, 10, None, closed="left")],
}


def find_learning_rate(
    estimator: Any, x: Any, y: Any, sample_weight: Any, *, low: float, high: float, steps: int
) -> RangeTest:
    """Do the range test of `Perceptron.find_learning_rate`, on all rows, with an unfitted copy of the estimator."""
    validate_parameter_constraints(LIMITS, {"low": low, "high": high, "steps": steps}, "find_learning_rate")
    check_range(low, high)
    if by_lbfgs(estimator):
        raise ValueError("solver='lbfgs' has no learning rate to find; choose 'adam' or 'sgd', or name an optimizer.")
    probe = clone(estimator)
    # Train on all rows, without holding any out.
    probe.early_stopping = False
    probe._validate_params()
    fit = Fit(probe, x, y, sample_weight, incremental=False)
    plan = fit.prepare()
    rows, placement = fit.rows(fit.x, fit.targets, fit.weights), Unscaled(fit.backend, fit.dtype)
    try:
        return range_test(fit.backend, plan, rows, placement, low=low, high=high, steps=steps)
    except NotFinite as error:
        raise ValueError(f"{error}; scale X and y, such as with StandardScaler.") from None
