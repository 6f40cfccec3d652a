"""Where the estimators compute, and CuPy without scikit-learn's dispatch, on arrays that stand in for CuPy's."""

import array_api_strict
import numpy as np
import pytest
from sklearn.datasets import load_iris

from mlpgpu import InputError, MLPClassifier, MLPRegressor, backends
from mlpgpu.backends.standard import StandardBackend
from mlpgpu.protocol import arrays

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
QUICK = {"max_iter": 5, "hidden_layer_sizes": (5,), "random_state": 0}


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("given", [{}, {"solver": "lbfgs"}, {"early_stopping": True}, {"dropout": 0.2}])
def test_host_arrays_go_and_come_back(real_backend, kind, given):
    device = "cuda" if real_backend.device.startswith("cuda") else "cpu"
    there = kind(**QUICK | given, backend=real_backend.name, device=device).fit(X, Y)
    here = kind(**QUICK | given).fit(X, Y)
    assert all(type(array) is np.ndarray for array in [*there.coefs_, *there.intercepts_, there.predict(X)])
    for one, other in zip(there.coefs_, here.coefs_, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(there.predict(X), here.predict(X), rtol=1e-9)
    there.set_params(early_stopping=False)
    if kind is MLPClassifier and "solver" not in given:
        assert there.partial_fit(X, Y).t_ > here.t_


def test_the_float_type_of_ones_own():
    fitted = MLPClassifier(**QUICK, dtype="float32").fit(X, Y)
    assert fitted.coefs_[0].dtype == fitted.predict_proba(X).dtype == np.float32


def test_auto_is_there_everywhere():
    assert MLPClassifier(**QUICK, device="auto").fit(X, Y).score(X, Y) > 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"device": "tpu"}, "device is 'tpu'; allowed: auto, cpu, cuda"),
        ({"device": "cuda", "backend": "numpy"}, "has no device 'cuda'"),
        ({"device": "cuda:99", "backend": "torch"}, "cuda:99"),
    ],
)
def test_a_device_that_is_not_there(given, said):
    if given.get("backend") == "torch":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    with pytest.raises(InputError, match=said):
        MLPClassifier(**QUICK, **given).fit(X, Y)


DEVICE = array_api_strict.Device("device1")


@pytest.fixture
def stand_in(monkeypatch):
    """Strict arrays taken for CuPy's: like those they do not become NumPy arrays by themselves."""

    def is_ours(array):
        return isinstance(array, type(array_api_strict.zeros(1)))

    monkeypatch.setattr("array_api_compat.is_cupy_array", is_ours)
    monkeypatch.setattr(backends, "beside", lambda array: StandardBackend(array) if is_ours(array) else arrays.HOST)
    return lambda array: array_api_strict.asarray(array, device=DEVICE)


@pytest.mark.parametrize("given", [{}, {"early_stopping": True}, {"solver": "lbfgs"}])
def test_cupy_needs_no_switch(stand_in, given):
    fitted = MLPClassifier(**QUICK | given).fit(stand_in(X), stand_in(Y))
    plain = MLPClassifier(**QUICK | given).fit(X, Y)
    for array in (*fitted.coefs_, fitted.predict(stand_in(X)), fitted.predict_proba(stand_in(X))):
        assert array.device == DEVICE
    np.testing.assert_allclose(arrays.to_host(fitted.coefs_[0]), plain.coefs_[0], rtol=1e-9, atol=1e-12)
    assert fitted.score(stand_in(X), stand_in(Y)) == plain.score(X, Y)
    assert fitted.predict(stand_in(X)).dtype == array_api_strict.int64
    with pytest.raises(ValueError, match=r"MLPClassifier.predict\(\) must use the same namespace"):
        MLPClassifier(**QUICK).fit(X, Y).predict(stand_in(X))


def test_cupy_of_whole_numbers_and_float32(stand_in):
    assert MLPRegressor(**QUICK).fit(stand_in(X.astype(int)), Y).predict(stand_in(X)).dtype == array_api_strict.float64
    narrow = stand_in(X.astype(np.float32))
    assert MLPRegressor(**QUICK).fit(narrow, stand_in(Y)).predict(narrow).dtype == array_api_strict.float32


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (X[:, 0], "Expected 2D array, got 1D array"),
        (np.full((150, 2), np.nan), "contains NaN"),
        (np.full((150, 2), np.inf), "infinity"),
        (X[:0], r"Found array with 0 sample\(s\)"),
        (X[:, :0], r"Found array with 0 feature\(s\)"),
        (X + 1j, "Complex data not supported"),
        (X[:5], "inconsistent numbers of samples"),
    ],
)
def test_wrong_arrays_of_cupy(stand_in, x, said):
    with pytest.raises(ValueError, match=said):
        MLPClassifier(**QUICK).fit(stand_in(x), Y)


def test_cupy_with_other_columns_or_no_targets(stand_in):
    fitted = MLPClassifier(**QUICK).fit(stand_in(X), Y)
    with pytest.raises(ValueError, match="X has 2 features, but MLPClassifier is expecting 4"):
        fitted.predict(stand_in(X[:, :2]))
    with pytest.raises(ValueError, match="y cannot be None|requires y to be passed"):
        MLPClassifier(**QUICK).fit(stand_in(X), None)
