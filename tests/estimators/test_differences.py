"""Deliberate differences from scikit-learn's estimators."""

import itertools
import pickle

import numpy as np
import pytest
from beside import (
    BINARY,
    COUNTED,
    COUNTS,
    MULTILABEL,
    OURS,
    TARGETS,
    WEIGHTS,
    X_NEW,
    X,
    both,
    fit_both,
    quietly,
    relative_error,
)
from scipy import special
from sklearn.metrics import r2_score

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_a_warm_start_that_finds_no_better_weights_keeps_the_best(solver):
    """scikit-learn keeps training in the arrays that hold its best weights, and so ends with the last weights."""
    ours, theirs = pair = both("classifier", solver=solver, early_stopping=True, warm_start=True)
    fit_both(pair, X, BINARY)
    # No score is better than 1.
    for estimator in pair:
        estimator.best_validation_score_ = 1.0
    before, loss = [[w.copy() for w in estimator.coefs_] for estimator in pair], ours.loss_
    fit_both(pair, X, BINARY)
    for name in COUNTED:
        assert getattr(ours, name) == getattr(theirs, name)
    assert max(itertools.starmap(relative_error, zip(ours.coefs_, before[0], strict=True))) == 0
    assert ours.loss_ == loss
    assert max(itertools.starmap(relative_error, zip(theirs.coefs_, before[1], strict=True))) > 0.01


LOUD = 1e4 * X_NEW


@pytest.mark.parametrize("y", [BINARY, TARGETS["classifier"], MULTILABEL], ids=["binary", "multiclass", "multilabel"])
def test_log_probabilities_are_finite_however_sure_the_network(y):
    ours, theirs = pair = both("classifier", activation="identity")
    fit_both(pair, X, y)
    with np.errstate(divide="ignore"):
        assert not np.isfinite(theirs.predict_log_proba(LOUD)).all()
        # For two classes, scikit-learn takes the logarithm of 1 - p, which loses its digits where p is close to 1.
        quiet = 0.1 * X_NEW
        np.testing.assert_allclose(ours.predict_log_proba(quiet), theirs.predict_log_proba(quiet), rtol=1e-9)
    found = ours.predict_log_proba(LOUD)
    assert np.isfinite(found).all()
    if y is MULTILABEL:
        # Logarithms of the probabilities of predict_proba, which are strictly between 0 and 1.
        assert found.max() < 0
        return
    z = LOUD
    for w, b in zip(ours.coefs_, ours.intercepts_, strict=True):
        z = z @ w + b
    wanted = special.log_expit(np.c_[-z, z]) if y is BINARY else special.log_softmax(z, axis=1)
    # As in predict_proba, no probability is below the smallest normal number.
    wanted = np.maximum(wanted, np.log(np.finfo(np.float64).smallest_normal))
    # Values close to 0 are differences of large numbers.
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9 * np.abs(z).max())


@pytest.mark.parametrize("task", OURS)
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_the_loss_after_early_stopping_is_that_of_the_weights_kept(solver, task):
    """scikit-learn's `loss_` is that of the last epoch."""
    ours, theirs = pair = both(task, solver=solver, early_stopping=True, tol=0.0, max_iter=100)
    fit_both(pair, X, TARGETS[task])
    best = int(np.argmax(theirs.validation_scores_))
    assert best + 1 < theirs.n_iter_ < 100
    assert relative_error(ours.loss_, theirs.loss_curve_[best]) < 1e-10
    assert theirs.loss_ == theirs.loss_curve_[-1]


def test_a_pickle_holds_what_prediction_needs_and_no_more():
    """scikit-learn's also holds the moments of Adam, the best weights and the generator's state."""
    ours, theirs = pair = both("classifier", hidden_layer_sizes=(500, 500), max_iter=2, n_iter_no_change=10)
    fit_both(pair, X, TARGETS["classifier"])
    size = sum(array.nbytes for array in ours.coefs_ + ours.intercepts_)
    held = pickle.dumps(ours)
    assert len(held) < 1.2 * size < len(pickle.dumps(theirs)) / 2
    again = pickle.loads(held)
    for method in ("predict", "predict_proba", "predict_log_proba"):
        np.testing.assert_array_equal(getattr(again, method)(X_NEW), getattr(ours, method)(X_NEW), strict=True)
    assert again.get_params() == ours.get_params()
    assert again.loss_curve_ == ours.loss_curve_


def test_batches_without_weight_change_nothing():
    settings = {"solver": "sgd", "momentum": 0.0, "shuffle": False, "batch_size": 12, "alpha": 0.0}
    weights, idle = WEIGHTS.copy(), slice(24, 36)
    weights[idle] = 0
    ours, theirs = both("regressor", **settings)
    with pytest.raises(ZeroDivisionError):
        theirs.fit(X, TARGETS["regressor"], sample_weight=weights)
    quietly(ours, X, TARGETS["regressor"], sample_weight=weights)
    _, rest = both("regressor", **settings)
    quietly(rest, np.delete(X, idle, 0), np.delete(TARGETS["regressor"], idle), sample_weight=np.delete(WEIGHTS, idle))
    assert max(itertools.starmap(relative_error, zip(ours.coefs_, rest.coefs_, strict=True))) < 1e-10


@pytest.mark.parametrize(("task", "y"), [("classifier", [0, 1] * 5), ("regressor", np.arange(10.0))])
def test_early_stopping_works_with_ten_rows(task, y):
    ours, theirs = both(task, early_stopping=True)
    with pytest.raises(ValueError, match=r"validation set is too small|should be greater or equal"):
        theirs.fit(X[:10], y)
    quietly(ours, X[:10], y)
    assert len(ours.validation_scores_) == ours.n_iter_
    # Two rows are held out.
    assert ours.t_ == 8 * ours.n_iter_


def test_r2_of_constant_validation_targets_is_0():
    """scikit-learn divides by the square of what the rounding of their mean leaves."""
    ours, theirs = pair = both("regressor", early_stopping=True)
    for estimator in pair:
        quietly(estimator, X, np.full(len(X), 0.1), sample_weight=WEIGHTS)
    assert theirs.best_validation_score_ < -1e20
    assert set(ours.validation_scores_) == {0.0}


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("target", ["varying", "constant", "both"])
def test_score_is_that_of_the_validation(target, weights):
    """To the last digit it is scikit-learn's, but for a constant target."""
    y = {"varying": X[:, 0], "constant": np.full(len(X), 0.1)}
    y = y.get(target, np.column_stack([*y.values()]))
    ours = quietly(both("regressor", early_stopping=True)[0], X, y, X_val=X, y_val=y, sample_weight_val=weights)
    found = ours.score(X, y, weights)
    assert found == pytest.approx(ours.best_validation_score_, rel=1e-12)
    if target == "constant":
        assert found == 0
        assert ours.score(X[:1].repeat(9, axis=0), ours.predict(X[:1]).repeat(9)) == 1
    if target == "varying":
        assert found == r2_score(y, ours.predict(X), sample_weight=weights)


def test_the_poisson_loss_is_finite_where_the_mean_rounds_to_0():
    settings = {"loss": "poisson", "hidden_layer_sizes": (), "alpha": 0.0, "max_iter": 1, "batch_size": len(X)}
    ours, theirs = pair = both("regressor", learning_rate_init=1e-12, random_state=0, **settings)
    x, y = -1e4 * np.abs(X[:, :1]), 1.0 + COUNTS
    for estimator in pair:
        quietly(estimator, x, y)
    z = ours.coefs_[0] * x + ours.intercepts_[0]
    assert (np.exp(z) == 0).any()
    assert theirs.loss_ == np.inf
    assert ours.loss_ == pytest.approx(np.mean(y * np.log(y) - y * z[:, 0] - y + np.exp(z[:, 0])), rel=1e-6)


def test_lbfgs_computes_in_float32():
    """scikit-learn's weights are float64 after the first iteration."""
    ours, theirs = pair = both("regressor", solver="lbfgs", max_iter=3)
    fit_both(pair, X.astype(np.float32), TARGETS["regressor"])
    assert {array.dtype for array in ours.coefs_ + ours.intercepts_} == {np.dtype(np.float32)}
    assert {array.dtype for array in theirs.coefs_ + theirs.intercepts_} == {np.dtype(np.float64)}
