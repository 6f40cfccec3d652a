"""Calls of partial_fit: the numbers of scikit-learn's where nothing is drawn, and the epochs of one fit."""

import itertools
import math

import numpy as np
import pytest
from beside import BINARY, MULTILABEL, OURS, SETTINGS, TARGETS, WEIGHTS, X, both, difference, quietly

pytestmark = pytest.mark.usefixtures("one_thread")


# Never ends before max_iter.
ENDLESS = SETTINGS | {"max_iter": 6, "tol": 0.0, "n_iter_no_change": math.inf}


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("task", OURS)
def test_the_first_call_of_partial_fit_is_scikit_learns(task, solver):
    ours, theirs = both(task, solver=solver, learning_rate="invscaling")
    classes = {"classes": [0, 1, 2]} if task == "classifier" else {}
    for estimator in (ours, theirs):
        estimator.partial_fit(X, TARGETS[task], sample_weight=WEIGHTS, **classes)
    assert difference(ours, theirs) < 1e-10


@pytest.mark.parametrize("learning_rate", ["constant", "invscaling", "adaptive"])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_later_calls_of_partial_fit_are_scikit_learns_where_nothing_is_drawn(solver, learning_rate):
    ours, theirs = both("regressor", solver=solver, learning_rate=learning_rate, shuffle=False)
    for part in (X, -X, X[:30], X, X, X, X, X):
        for estimator in (ours, theirs):
            estimator.partial_fit(part, part[:, 0] ** 2)
        assert difference(ours, theirs) < 1e-10


SET_LATER = {
    "solver": {"adam": "sgd", "sgd": "adam"},
    "learning_rate": {"constant": "invscaling", "invscaling": "adaptive", "adaptive": "constant"},
    "learning_rate_init": {0.001: 0.1},
    "power_t": {0.5: 0.1},
    "momentum": {0.9: 0.1},
    "nesterovs_momentum": {True: False},
    "beta_1": {0.9: 0.1},
    "beta_2": {0.999: 0.5},
    "epsilon": {1e-8: 0.1},
    "alpha": {0.0001: 1.0},
    "n_iter_no_change": {2: 1},
}


@pytest.mark.parametrize("name", SET_LATER)
@pytest.mark.parametrize("learning_rate", ["constant", "invscaling", "adaptive"])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_what_is_set_between_calls_of_partial_fit_does_what_it_does_in_scikit_learn(solver, learning_rate, name):
    """scikit-learn creates the optimizer in the first call, and reads the other parameters in each call."""
    ours, theirs = both("regressor", solver=solver, learning_rate=learning_rate, shuffle=False, tol=0.1)
    for estimator in (ours, theirs):
        for _ in range(3):
            estimator.partial_fit(X, TARGETS["regressor"])
        estimator.set_params(**{name: SET_LATER[name].get(getattr(estimator, name), 0.1)})
        for _ in range(4):
            estimator.partial_fit(X, TARGETS["regressor"])
    assert difference(ours, theirs) < 1e-10


@pytest.mark.parametrize("first", [np.float32, np.float64])
def test_partial_fit_keeps_the_float_type_and_the_optimizer_of_its_first_call(first):
    ours, theirs = both("regressor", shuffle=False)
    for kind in (first, np.float64, np.float32, np.float64):
        for estimator in (ours, theirs):
            estimator.partial_fit(X.astype(kind), TARGETS["regressor"])
    assert {array.dtype for array in ours.coefs_} == {array.dtype for array in theirs.coefs_} == {np.dtype(first)}
    # scikit-learn computes partly in the dtype of the rows.
    assert difference(ours, theirs) < 100 * np.finfo(np.float32).eps


UNINTERRUPTED = {
    "Adam": {},
    "descent": {"solver": "sgd"},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling"},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 0.1},
    "dropout": {"dropout": 0.3, "input_dropout": 0.1},
    "in order": {"shuffle": False},
    "an optimizer": {"optimizer": "lion", "learning_rate_init": 0.003, "weight_decay": 0.1},
}


def assert_identical(one, other):
    for name in ("coefs_", "intercepts_"):
        for a, b in zip(getattr(one, name), getattr(other, name), strict=True):
            np.testing.assert_array_equal(a, b, strict=True)
    assert one.loss_curve_ == other.loss_curve_
    assert (one.t_, one.loss_, one.best_loss_) == (other.t_, other.loss_, other.best_loss_)
    assert [record["epoch"] for record in one.history_] == [record["epoch"] for record in other.history_]


@pytest.mark.parametrize("fitted_first", [False, True])
@pytest.mark.parametrize("seed", [int, np.random.RandomState])
@pytest.mark.parametrize("task", OURS)
@pytest.mark.parametrize("settings", UNINTERRUPTED)
def test_calls_of_partial_fit_are_the_epochs_of_one_fit(settings, task, seed, fitted_first):
    """scikit-learn restarts its random generator in each call, so every epoch has the same row order."""
    y, first = TARGETS[task], 2 if fitted_first else 0
    whole, parts = (OURS[task](**ENDLESS | UNINTERRUPTED[settings] | {"random_state": seed(4)}) for _ in range(2))
    quietly(whole, X, y, sample_weight=WEIGHTS)
    if settings == "adaptive":
        assert whole.history_[-1]["learning_rate"] < whole.history_[0]["learning_rate"]
    if fitted_first:
        quietly(parts.set_params(max_iter=first), X, y, sample_weight=WEIGHTS)
    classes = {"classes": np.unique(y)} if task == "classifier" else {}
    for _ in range(ENDLESS["max_iter"] - first):
        parts.partial_fit(X, y, sample_weight=WEIGHTS, **classes)
    assert_identical(parts, whole)


@pytest.mark.parametrize("task", OURS)
@pytest.mark.parametrize(
    ("settings", "why"), [({"solver": "lbfgs"}, "stochastic"), ({"early_stopping": True}, "early_stopping=True")]
)
def test_partial_fit_is_there_only_where_it_works(task, settings, why):
    estimator = OURS[task](**settings)
    assert not hasattr(estimator, "partial_fit")
    # The error is of both classes, for callers that catch those of scikit-learn.
    for kind in (AttributeError, ValueError):
        with pytest.raises(kind, match=why):
            estimator.partial_fit(X, TARGETS[task])
    assert hasattr(OURS[task](), "partial_fit")


@pytest.mark.parametrize("by", ["fit", "partial_fit"])
@pytest.mark.parametrize("task", OURS)
def test_other_layers_need_another_fit(task, by):
    estimator = quietly(OURS[task](**SETTINGS, warm_start=True), X, TARGETS[task])
    before = [w.copy() for w in estimator.coefs_]
    estimator.set_params(hidden_layer_sizes=(6, 4))
    instead = "warm_start=False" if by == "fit" else "give the same again"
    with pytest.raises(ValueError, match=rf"hidden_layer_sizes=\(6, 4\).*{instead}, or fit a new estimator"):
        getattr(estimator, by)(X, TARGETS[task])
    assert all(itertools.starmap(np.array_equal, zip(estimator.coefs_, before, strict=True)))


def test_columns_of_labels_may_be_listed_by_any_names():
    estimator, _ = both("classifier", max_iter=1)
    for _ in range(2):
        estimator.partial_fit(X, MULTILABEL, classes=["a", "b", "c"])
    assert estimator.predict(X).shape == MULTILABEL.shape


def test_words_after_numbers_are_refused_though_they_have_no_common_order():
    estimator, _ = both("classifier", max_iter=1)
    estimator.partial_fit(X, BINARY, classes=[0, 1])
    with pytest.raises(ValueError, match=r"`self.classes_` has \[0 1\]\. 'y' has \['no' 'yes'\]"):
        estimator.partial_fit(X, np.array(["no", "yes"], object)[BINARY])
