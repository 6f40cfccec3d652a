"""Predictions use the current weight arrays without copies, and a later fit leaves the earlier arrays unchanged."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor as Theirs

from mlpgpu import MLPClassifier, MLPRegressor, Model
from mlpgpu.callbacks import LambdaCallback
from mlpgpu.protocol import arrays
from mlpgpu.protocol.held import params_of

X = np.random.default_rng(0).normal(size=(40, 4))
Y = X @ [1.0, -2.0, 0.5, 3.0]


@pytest.fixture
def regressor():
    return fitted(MLPRegressor)


def fitted(kind, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return kind(hidden_layer_sizes=(5, 5), max_iter=3, random_state=0, **settings).fit(X, Y)


def by_hand(estimator, x):
    for w, b in zip(estimator.coefs_[:-1], estimator.intercepts_[:-1], strict=True):
        x = np.maximum(x @ w + b, 0)
    return (x @ estimator.coefs_[-1] + estimator.intercepts_[-1])[:, 0]


def read_from_a_file(estimator, folder):
    estimator.save(folder / "m.safetensors")
    return MLPRegressor.load(folder / "m.safetensors")


WAYS = {
    "fit": lambda one, _: one,
    "batch normalisation": lambda *_: fitted(MLPRegressor, normalization="batch"),
    "pickle": lambda one, _: pickle.loads(pickle.dumps(one)),
    "load": read_from_a_file,
    "from_sklearn": lambda *_: MLPRegressor.from_sklearn(fitted(Theirs)),
}


@pytest.mark.parametrize("way", WAYS)
def test_weights_are_read_where_they_lie(regressor, way, tmp_path):
    one = WAYS[way](regressor, tmp_path)
    np.testing.assert_allclose(one.predict(X), by_hand(one, X), rtol=1e-12)
    params = params_of(one, arrays.HOST)
    assert all(np.shares_memory(params, part) for part in (*one.coefs_, *one.intercepts_))


@pytest.mark.parametrize("epochs", [1, 2])
def test_weights_of_recorded_steps_are_read_where_they_lie(epochs, monkeypatch):
    """They are views of the memory of the recording, which has no type."""
    monkeypatch.setenv("MLPGPU_LOOP", "numpy")
    one = MLPRegressor(hidden_layer_sizes=(5,), max_iter=epochs, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        one.fit(X, Y)
    assert all(np.shares_memory(params_of(one, arrays.HOST), part) for part in (*one.coefs_, *one.intercepts_))


def in_place(one):
    one.coefs_[0][:, 1] = 7


def another_array(one):
    one.coefs_[2] = one.coefs_[2] * 2


def transposed(one):
    one.coefs_[1] = one.coefs_[1].T


def swapped(one):
    one.intercepts_[:2] = one.intercepts_[1::-1]


@pytest.mark.parametrize("change", [in_place, another_array, transposed, swapped])
def test_weights_that_their_user_changes(regressor, change):
    before = regressor.predict(X)
    change(regressor)
    np.testing.assert_allclose(regressor.predict(X), by_hand(regressor, X), rtol=1e-12)
    assert not np.allclose(regressor.predict(X), before)


@pytest.mark.parametrize("way", ["fit", "pickle"])
@pytest.mark.parametrize("settings", [{}, {"solver": "lbfgs"}, {"optimizer": "lion"}], ids=str)
def test_a_warm_start_leaves_the_weights_that_it_begins_with(regressor, way, settings, tmp_path):
    one = WAYS[way](regressor, tmp_path)
    params = params_of(one, arrays.HOST)
    before = params.copy()
    # A run of this many steps is recorded and uses preallocated buffers.
    one.set_params(warm_start=True, batch_size=2, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        one.fit(X, Y)
    np.testing.assert_array_equal(params, before)
    assert not np.array_equal(params_of(one, arrays.HOST), before)


def test_a_warm_start_that_is_broken_off_leaves_them_too(regressor):
    one = pickle.loads(pickle.dumps(regressor))

    def fail(run, record):
        raise KeyError("mine")

    before = one.predict(X)
    with pytest.raises(KeyError, match="mine"):
        one.set_params(warm_start=True, callbacks=[LambdaCallback(on_epoch_end=fail)]).fit(X, Y)
    np.testing.assert_array_equal(one.predict(X), before)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16, ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_of_any_kind_are_what_scikit_learn_takes_them_for(dtype, order):
    ours, theirs = fitted(MLPRegressor), fitted(Theirs)
    rows = np.asarray(X * 10, dtype=dtype, order=order)
    np.testing.assert_allclose(ours.predict(rows), theirs.predict(rows), rtol=1e-12)


def test_rows_whose_sum_is_too_large_are_finite_rows_still(recwarn):
    x = np.array([[1e308, 1e308, -1e308, 0.0], [1e308, 1e308, 1e308, 0.0]])
    classifier = MLPClassifier((3,), max_iter=1, random_state=0).fit(X, X[:, 0] > 0)
    recwarn.clear()
    assert classifier.predict(x).shape == (2,)
    assert not recwarn.list


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_refused(regressor, value):
    x = X.copy()
    x[3, 2] = value
    with pytest.raises(ValueError, match="NaN" if np.isnan(value) else "infinity"):
        regressor.predict(x)


@pytest.mark.parametrize("size", [1e-300, 1e3])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_numbers_too_small_are_zero_even_where_numpy_raises_an_error_for_them(size, solver, tmp_path):
    def probabilities():
        classifier = MLPClassifier((3,), max_iter=3, random_state=0, solver=solver, dtype="float32")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            classifier.fit(size * X, Y > 0).save(tmp_path / "m.safetensors")
        return classifier.predict_proba(size * X), Model.load(tmp_path / "m.safetensors").predict_proba(size * X)

    expected = probabilities()
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(probabilities(), expected)
