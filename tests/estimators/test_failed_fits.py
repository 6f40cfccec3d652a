"""A fit that is refused, fails, diverges or is interrupted says so, and leaves the earlier fitted state in place."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from beside import both, quietly
from quick import THREE as Y
from quick import X_REG, Y_REG, X, regressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import InvalidParameterError

from mlpgpu import MLPClassifier
from mlpgpu.callbacks import LambdaCallback

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

WORDS = np.array(["no", "yes"])[(Y == 2).astype(int)]


def broken(run, record):
    raise RuntimeError("broken off")


FAILS = {
    "labels that are not there to validate on": ({}, {"X_val": X[:5], "y_val": [7] * 5}, ValueError),
    "too many frozen layers": ({"freeze": 5}, {}, ValueError),
    "a function too many": ({"activation": ["relu", "tanh"]}, {}, ValueError),
    "negative weights": ({}, {"sample_weight": -np.ones(150)}, ValueError),
    "a callback": ({"callbacks": [LambdaCallback(on_epoch_end=broken)]}, {}, RuntimeError),
    "a loss without an end": ({"solver": "sgd", "learning_rate_init": 1e300, "activation": "identity"}, {}, ValueError),
}


@pytest.mark.parametrize("case", FAILS)
def test_a_fit_that_fails(case):
    params, given, error = FAILS[case]
    fitted = MLPClassifier((4,), max_iter=5, random_state=0).fit(X, WORDS)
    before, predicted = fitted.get_params(), fitted.predict_proba(X)
    with pytest.raises(error):
        fitted.set_params(**params).fit(1e9 * X, Y, **given)
    fitted.set_params(**before)
    np.testing.assert_array_equal(fitted.predict_proba(X), predicted)
    assert set(fitted.predict(X)) <= {"no", "yes"}
    assert (list(fitted.classes_), fitted.n_outputs_, len(fitted.loss_curve_)) == (["no", "yes"], 1, 5)
    # A failed first fit leaves no state.
    new = MLPClassifier((4,), max_iter=5, random_state=0, **params)
    with pytest.raises(error):
        new.fit(1e9 * X, Y, **given)
    new.set_params(**before).partial_fit(X, WORDS, classes=["no", "yes"])
    assert list(new.classes_) == ["no", "yes"]


@pytest.mark.parametrize(
    "given",
    [
        {"batch_size": 0},
        {"batch_size": "x"},
        {"optimizer": "x"},
        {"solver": "x"},
        {"max_iter": "x"},
        {"tol": None},
        {"n_iter_no_change": "x"},
        {"input_dropout": 1.5},
        {"freeze": -1},
        {"callbacks": 3},
        {"dtype": "x"},
        {"loss": 3},
    ],
    ids=str,
)
def test_what_is_set_between_calls_of_partial_fit_is_checked(given):
    """scikit-learn checks only what is set before the first call."""
    (name,) = given
    begun = MLPClassifier((4,), random_state=0).partial_fit(X, WORDS, classes=["no", "yes"])
    before, predicted = begun.get_params(), begun.predict_proba(X)
    for estimator in (begun, copy.deepcopy(begun), pickle.loads(pickle.dumps(begun))):
        with pytest.raises(InvalidParameterError, match=f"'{name}' parameter"):
            estimator.set_params(**given).partial_fit(X, WORDS)
        np.testing.assert_array_equal(estimator.set_params(**before).predict_proba(X), predicted)
        estimator.partial_fit(X, WORDS)


def test_parameters_that_stay_are_checked_once(monkeypatch):
    begun = MLPClassifier((4,), random_state=0).partial_fit(X, WORDS, classes=["no", "yes"])
    with monkeypatch.context() as patched:
        patched.setattr(MLPClassifier, "_validate_params", lambda self: pytest.fail("checked again"))
        begun.partial_fit(X, WORDS).partial_fit(X, WORDS)
    begun.set_params(alpha=0.5).partial_fit(X, WORDS)


@pytest.mark.parametrize(("solver", "said"), [("adam", "hasn't converged"), ("lbfgs", "failed to converge")])
def test_a_warning_that_is_an_error_comes_after_the_fit(solver, said):
    fitted = MLPClassifier((4,), solver=solver, max_iter=5, random_state=0).fit(X, WORDS)
    with pytest.warns(match=said) as caught:
        again = MLPClassifier((4,), solver=solver, max_iter=5, random_state=0).fit(X, Y)
    assert [warning.filename for warning in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Warning, match=said):
            fitted.fit(X, Y)
    np.testing.assert_array_equal(fitted.predict_proba(X), again.predict_proba(X))


def test_weights_that_are_no_numbers_fail_in_lbfgs_as_in_scikit_learn():
    for estimator in both("regressor", solver="lbfgs", warm_start=True):
        quietly(estimator, X_REG, Y_REG)
        estimator.coefs_[0][0, 0] = np.nan
        with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
            estimator.fit(X_REG, Y_REG)


def test_a_loss_that_is_no_number_says_where():
    with pytest.raises(ValueError, match=r"non-finite parameter weights.*It happened in epoch 1, step \d; try"):
        regressor(activation="identity", solver="sgd", learning_rate_init=1e200).fit(1e3 * X_REG, Y_REG)
    with pytest.warns(ConvergenceWarning, match="Training diverged in epoch"):
        # Few steps per epoch, so that the first epoch is finite.
        fitted = regressor(
            activation="identity",
            solver="sgd",
            learning_rate_init=3.0,
            early_stopping=True,
            max_iter=50,
            batch_size=390,
        ).fit(X_REG, Y_REG)
    assert np.isfinite(fitted.predict(X_REG)).all()
    assert np.isnan(fitted.validation_scores_[-1])


@pytest.mark.parametrize(
    ("targets", "weight", "tol"), [(1e200, 1, 1e-4), (1, 1e300, 1e-4), (1e200, 1, 1e300)], ids=["y", "w", "converged"]
)
def test_lbfgs_says_that_the_loss_is_no_number(targets, weight, tol):
    given = regressor(solver="lbfgs", dtype="float32" if weight > 1 else "float64", tol=tol)
    said = r"^lbfgs failed to converge after 0 iteration.* The loss is (nan|inf): give smaller weights"
    with pytest.warns(ConvergenceWarning, match=said):
        given.fit(X_REG, targets * Y_REG, np.full(len(Y_REG), weight))
    assert not np.isfinite(given.loss_)
