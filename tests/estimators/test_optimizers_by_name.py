"""Optimizers by name, with their settings and schedules, in place of a solver."""

import pickle
import warnings

import numpy as np
import pytest
from quick import THREE, X, classifier, same_weights
from sklearn.utils._param_validation import InvalidParameterError

from mlpgpu.maths.optimizers import OPTIMIZERS
from mlpgpu.maths.schedules import SCHEDULES, with_warmup

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_what_lbfgs_cannot_do_is_said():
    with pytest.warns(UserWarning, match="'lbfgs' has no use for dropout, clip_norm"):
        classifier(solver="lbfgs", dropout=0.2, clip_norm=1.0).fit(X, THREE)


def test_the_optimizer_has_the_settings_of_the_constructor():
    plain = classifier(optimizer="momentum", momentum=0.5, learning_rate_init=0.1).fit(X, THREE)
    assert same_weights(plain, classifier(solver="sgd", nesterovs_momentum=False, momentum=0.5,
                                          learning_rate_init=0.1).fit(X, THREE))  # fmt: skip
    with pytest.raises(InvalidParameterError, match="'optimizer' parameter"):
        classifier(optimizer="sgdd").fit(X, THREE)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(("setting", "value"), [("momentum", 0.5), ("beta_1", 0.5), ("beta_2", 0.5), ("epsilon", 1e-5)])
def test_a_setting_that_the_optimizer_has_no_use_for_is_told_of(name, setting, value):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plain = classifier(optimizer=name).fit(X, THREE)
        assert [one for one in caught if one.category is UserWarning] == []
        changed = classifier(optimizer=name, **{setting: value}).fit(X, THREE)
    told = [one for one in caught if one.category is UserWarning]
    assert bool(told) == same_weights(plain, changed)
    if told:
        assert f"{setting} is not a setting of the optimizer {name!r}; leave it out, or choose " in str(told[0].message)


@pytest.mark.parametrize("course", ["invscaling", "adaptive"])
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_a_course_that_an_optimizer_by_name_does_not_take_is_told_of(name, course):
    plain = classifier(optimizer=name).fit(X, THREE)
    with pytest.warns(UserWarning, match=f"^learning_rate='{course}' is for solver='sgd', and the optimizer '{name}'"):
        changed = classifier(optimizer=name, learning_rate=course).fit(X, THREE)
    assert same_weights(plain, changed)


def test_an_optimizer_takes_the_place_of_lbfgs():
    assert same_weights(classifier(solver="lbfgs", optimizer="adam_hat").fit(X, THREE), classifier().fit(X, THREE))
    assert hasattr(classifier(solver="lbfgs", optimizer="adam"), "partial_fit")


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_learning_rates_are_those_of_the_schedule(schedule):
    settings = {"step": {"every": 2.0 * 3, "decay_rate": 0.3}, "exponential": {"decay_rate": 0.3}}.get(schedule, {})
    fitted = classifier(
        learning_rate_schedule=schedule, warmup=1.5, decay_rate=0.3, decay_epochs=2.0, learning_rate_init=0.01
    ).fit(X, THREE)
    factor = with_warmup(SCHEDULES[schedule], total=18, warmup=4.5, **settings)
    expected = 0.01 * factor(np, np.arange(2, 18, 3, dtype=float))
    np.testing.assert_allclose([record["learning_rate"] for record in fitted.history_], expected, rtol=1e-12)


def test_weight_decay_and_clipping_keep_weights_small():
    def size(**given):
        return sum((w**2).sum() for w in classifier(solver="sgd", learning_rate_init=0.1, **given).fit(X, THREE).coefs_)

    assert size(weight_decay=0.5) < 0.9 * size()
    # Each of the 18 steps is at most as long as the rate times the maximum norm.
    start = classifier(max_iter=1, learning_rate_init=1e-300).fit(X, THREE)
    clipped = classifier(optimizer="sgd", learning_rate_init=0.1, clip_norm=0.01).fit(X, THREE)
    moved = np.sqrt(
        sum(((a - b) ** 2).sum() for a, b in zip(clipped.coefs_, start.coefs_, strict=True))
        + sum(((a - b) ** 2).sum() for a, b in zip(clipped.intercepts_, start.intercepts_, strict=True))
    )
    assert moved <= 18 * 0.1 * 0.01 * (1 + 1e-9)


def test_another_optimizer_starts_its_own_state():
    grown = classifier().fit(X, THREE).set_params(optimizer="lion")
    fresh = pickle.loads(pickle.dumps(classifier().fit(X, THREE))).set_params(optimizer="lion")
    assert same_weights(grown.partial_fit(X, THREE), fresh.partial_fit(X, THREE))
