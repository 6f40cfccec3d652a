"""Calls of `partial_fit`, and warm starts of one epoch, share a loop, which does not change what they do."""

import copy
import gc
import warnings
import weakref

import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import load_iris
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor
from sklearn.preprocessing import scale

from mlpgpu import MLPClassifier, MLPRegressor
from mlpgpu.backends import base
from mlpgpu.backends.base import hesitant
from mlpgpu.callbacks import LambdaCallback
from mlpgpu.fusion import loop
from mlpgpu.training import epoch

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
X = scale(X)
CLASSES = [0, 1, 2]


@pytest.fixture(params=["numpy", "numba"])
def soon(request, monkeypatch):
    """Let a loop be recorded at its second step, and compiled then, or never."""
    monkeypatch.setattr(base, "FEW_STEPS", 2)
    if request.param == "numba":
        pytest.importorskip("numba")
    monkeypatch.setattr(loop, "MANY_CALLS", 0 if request.param == "numba" else 1e9)
    return request.param


# To compile a step takes some seconds, and which loop an estimator keeps has nothing to do with how it runs.
by_numpy = pytest.mark.parametrize("soon", ["numpy"], indirect=True)


@pytest.fixture
def eagerly(monkeypatch):
    """``eagerly(function)`` returns what it returns where nothing is recorded."""

    def call(function):
        with monkeypatch.context() as patch:
            patch.setenv(loop.VARIABLE, "eager")
            return function()

    return call


def assert_same_weights(ours, expected):
    for name in ("coefs_", "intercepts_"):
        for one, other in zip(getattr(ours, name), getattr(expected, name), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def in_parts(estimator, n_calls=6, size=40):
    """Call `partial_fit` with parts of the rows; the last part is short."""
    given = {"classes": CLASSES} if hasattr(estimator, "predict_proba") else {}
    for i in range(n_calls):
        part = slice(i % 4 * size, (i % 4 + 1) * size)
        estimator.partial_fit(X[part], Y[part], **given)
    return estimator


def is_recorded(estimator):
    made = estimator._continuation.lasting._loop.__wrapped__
    return made._recorded is not None


CLASSIFIERS, REGRESSORS = (MLPClassifier, TheirClassifier), (MLPRegressor, TheirRegressor)


@pytest.mark.parametrize(
    ("soon", "both", "solver"),
    [
        ("numpy", CLASSIFIERS, "adam"),
        ("numpy", CLASSIFIERS, "sgd"),
        ("numpy", REGRESSORS, "adam"),
        ("numpy", REGRESSORS, "sgd"),
        ("numba", CLASSIFIERS, "adam"),
        ("numba", REGRESSORS, "sgd"),
    ],
    indirect=["soon"],
)
def test_partial_fits_are_scikit_learns(soon, both, solver):
    ours, theirs = both
    settings = {"hidden_layer_sizes": (5,), "batch_size": 8, "random_state": 0, "solver": solver, "shuffle": False}
    fitted, expected = in_parts(ours(**settings), n_calls=9), in_parts(theirs(**settings), n_calls=9)
    assert is_recorded(fitted)
    assert_same_weights(fitted, expected)
    np.testing.assert_allclose(fitted.loss_curve_, expected.loss_curve_, rtol=1e-9)


def test_warm_starts_are_scikit_learns(soon):
    settings = {"hidden_layer_sizes": (5,), "batch_size": 50, "random_state": 0, "max_iter": 1, "warm_start": True}
    fitted, expected = MLPClassifier(**settings), TheirClassifier(**settings)
    for _ in range(4):
        fitted.fit(X, Y)
        expected.fit(X, Y)
    assert is_recorded(fitted)
    assert_same_weights(fitted, expected)


CHANGES = {
    "batch_size": 7,
    "alpha": 1.0,
    "dropout": 0.5,
    "input_dropout": 0.5,
    "clip_norm": 1e-3,
    "weight_decay": 0.5,
    "label_smoothing": 0.3,
    "freeze": 1,
    "optimizer": "lion",
    "normalization": "batch",
    "activation": "tanh",
    "learning_rate_init": 1e-5,
    "dtype": "float32",
}


@pytest.mark.parametrize(
    ("soon", "name"),
    [*(("numpy", name) for name in CHANGES), *(("numba", name) for name in ("batch_size", "optimizer"))],
    indirect=["soon"],
)
def test_what_is_set_between_two_calls_counts(soon, eagerly, name):
    def fit():
        fitted = in_parts(MLPClassifier((5,), batch_size=10, random_state=0))
        with warnings.catch_warnings():
            # Normalisation warns that it must begin anew.
            warnings.simplefilter("ignore")
            return in_parts(fitted.set_params(**{name: CHANGES[name]}))

    ours, expected = fit(), eagerly(fit)
    if name == "dtype":
        np.testing.assert_allclose(ours.coefs_[0], expected.coefs_[0], rtol=1e-4, atol=1e-5)
    else:
        assert_same_weights(ours, expected)


def test_weights_that_are_set_by_hand_count(soon, eagerly):
    def fit():
        fitted = in_parts(MLPClassifier((5,), batch_size=10, random_state=0))
        fitted.coefs_[1] = 3 * fitted.coefs_[1]
        fitted.intercepts_[0][:] = 1
        return in_parts(fitted)

    assert_same_weights(fit(), eagerly(fit))


@by_numpy
def test_sparse_rows_after_dense_ones(soon, eagerly):
    def fit():
        fitted = MLPClassifier((5,), batch_size=10, random_state=0)
        for x in [X, scipy.sparse.csr_array(X), X, scipy.sparse.csr_array(X)]:
            fitted.partial_fit(x, Y, classes=CLASSES)
        return fitted

    assert_same_weights(fit(), eagerly(fit))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_goes_on_by_itself(soon, eagerly, copied):
    first = in_parts(MLPClassifier((5,), batch_size=10, random_state=0))
    other, held = copied(first), first.coefs_[0]
    before = held.copy()
    # In turn: each call would change the state of the other, if they shared any.
    for _ in range(3):
        in_parts(first, 1)
        in_parts(other, 1)
    np.testing.assert_array_equal(held, before)
    if copied is copy.deepcopy:
        # Of a shallow copy, the random state is the same.
        expected = eagerly(lambda: in_parts(MLPClassifier((5,), batch_size=10, random_state=0)))
        for _ in range(3):
            eagerly(lambda: in_parts(expected, 1))
        assert_same_weights(first, expected)
        assert_same_weights(other, expected)
    assert first._continuation.lasting is not other._continuation.lasting


def test_a_call_that_fails_leaves_no_trace(soon):
    def fail(run, record):
        raise RuntimeError("broken off")

    ours, expected = (in_parts(MLPClassifier((5,), batch_size=10, random_state=0)) for _ in range(2))
    drawn = copy.deepcopy(ours._continuation.random_state)
    with pytest.raises(RuntimeError, match="broken off"):
        ours.set_params(callbacks=[LambdaCallback(on_epoch_end=fail)]).partial_fit(X, Y)
    # The random state, which may be the user's, goes on.
    ours._continuation.random_state = drawn
    assert_same_weights(in_parts(ours.set_params(callbacks=None), 2), in_parts(expected, 2))


def test_an_estimator_keeps_no_rows(soon):
    x = X.copy()
    gone, fitted = weakref.ref(x), MLPClassifier((5,), batch_size=10, random_state=0)
    fitted.partial_fit(x, Y, classes=CLASSES)
    assert is_recorded(fitted)
    del x
    gc.collect()
    assert gone() is None


@by_numpy
def test_other_fits_keep_no_loop(soon):
    fitted = MLPClassifier((5,), random_state=0, max_iter=2, warm_start=True).fit(X, Y)
    assert fitted._continuation.lasting is None
    assert fitted.set_params(max_iter=1).fit(X, Y)._continuation.lasting is not None
    assert fitted.set_params(warm_start=False).fit(X, Y)._continuation.lasting is None


def test_a_forked_process_makes_its_own_loop(soon, monkeypatch):
    fitted = in_parts(MLPClassifier((5,), batch_size=10, random_state=0), 5)
    before = fitted._continuation.lasting._loop
    in_parts(fitted, 1)
    assert fitted._continuation.lasting._loop is before
    monkeypatch.setattr(epoch.os, "getpid", lambda: -1)
    in_parts(fitted, 1)
    assert fitted._continuation.lasting._loop is not before


def test_parts_on_every_backend(real_backend, monkeypatch):
    monkeypatch.setattr(base, "FEW_STEPS", 2)
    settings = {"hidden_layer_sizes": (5,), "batch_size": 10, "random_state": 0, "shuffle": False}
    at = "cuda" if real_backend.device != "cpu" else "cpu"
    fitted = in_parts(MLPClassifier(**settings, backend=real_backend.name, device=at), 3)
    held, before, kept = fitted.coefs_[0], np.array(fitted.coefs_[0]), fitted._continuation.lasting._loop
    assert_same_weights(in_parts(fitted, 3), in_parts(in_parts(TheirClassifier(**settings), 3), 3))
    np.testing.assert_array_equal(held, before)
    assert fitted._continuation.lasting._loop is kept


def test_a_hesitant_loop_waits_for_many_steps(monkeypatch):
    monkeypatch.setattr(base, "FEW_STEPS", 5)
    loop_ = hesitant(lambda *_: "eager", lambda *_: "compiled")
    assert [loop_((), (), (np.zeros(2),)) for _ in range(5)] == ["eager"] * 2 + ["compiled"] * 3
