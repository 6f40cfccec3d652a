"""The device, library and dtype of a fit, and arrays of a fake CuPy, which need no array API dispatch."""

import copy
import pickle
import sys
from types import ModuleType, SimpleNamespace

import array_api_strict
import numpy as np
import pytest
import sklearn
from sklearn.datasets import load_iris

from mlpgpu import InputError, MLPClassifier, MLPRegressor
from mlpgpu.protocol import arrays

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
QUICK = {"max_iter": 5, "hidden_layer_sizes": (5,), "random_state": 0}


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (MLPClassifier, {}),
        (MLPRegressor, {}),
        (MLPClassifier, {"solver": "lbfgs"}),
        (MLPRegressor, {"early_stopping": True}),
        (MLPClassifier, {"dropout": 0.2}),
    ],
)
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


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", "float16"])
def test_classes_of_host_arrays_are_of_any_type(real_backend, dtype):
    """PyTorch's ``index_select`` does not accept some of these dtypes."""
    device = "cuda" if real_backend.device.startswith("cuda") else "cpu"
    there = MLPClassifier(**QUICK, backend=real_backend.name, device=device).fit(X, Y.astype(dtype)).predict(X)
    here = MLPClassifier(**QUICK).fit(X, Y.astype(dtype)).predict(X)
    assert there.dtype == here.dtype == dtype
    np.testing.assert_array_equal(there, here)


@pytest.mark.parametrize("classes", [[7, 5_000_000_001, 2**53 + 1], [2.0**24, 2.0**24 + 1, 2.0**40 + 1]])
def test_classes_of_host_arrays_keep_digits_that_jax_has_not(classes):
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    given = X.astype(np.float32), np.array(classes)[Y]
    with jax.enable_x64(False):
        there = MLPClassifier(**QUICK, backend="jax", device="cpu").fit(*given).predict(X.astype(np.float32))
    here = MLPClassifier(**QUICK).fit(*given).predict(X.astype(np.float32))
    assert there.dtype == here.dtype
    np.testing.assert_array_equal(there, here)


@pytest.mark.parametrize("name", ["float32", "float64"])
@pytest.mark.parametrize("library", ["numpy", "numpy dtype", "torch", "jax.numpy"])
def test_a_float_type_of_a_library(tmp_path, name, library):
    """It is kept as it is given, as scikit-learn's clone wants it, and written as the word for it."""
    given = getattr(pytest.importorskip(library.split()[0]), name)
    given = np.dtype(given) if library == "numpy dtype" else given
    estimator = sklearn.clone(MLPClassifier(**QUICK, dtype=given))
    assert type(estimator.dtype) is type(given)
    assert estimator.fit(X, Y).coefs_[0].dtype == estimator.predict_proba(X).dtype == name
    estimator.save(tmp_path / "m.safetensors")
    assert MLPClassifier.load(tmp_path / "m.safetensors").dtype == name


def test_a_float_type_that_is_none_of_ours():
    with pytest.raises(ValueError, match=r"The 'dtype' parameter of MLPClassifier must be .* Got 'float16' instead"):
        MLPClassifier(**QUICK, dtype=np.float16).fit(X, Y)


def test_a_device_of_pytorch(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    fitted = sklearn.clone(MLPRegressor(**QUICK, device=torch.device("cpu"))).fit(X, Y)
    np.testing.assert_array_equal(fitted.predict(X), MLPRegressor(**QUICK, device="cpu").fit(X, Y).predict(X))
    fitted.save(tmp_path / "m.safetensors")
    assert MLPRegressor.load(tmp_path / "m.safetensors").device == "cpu"
    with pytest.raises(InputError, match=r"^device is 'mps'; allowed"):
        MLPRegressor(**QUICK, device=torch.device("mps")).fit(X, Y)


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


def test_no_cuda_without_its_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(InputError, match="'cuda' needs CuPy, which is not installed; .*pip install"):
        MLPClassifier(**QUICK, device="cuda").fit(X, Y)


@pytest.mark.parametrize("given", [{"backend": "numpy"}, {"device": "cpu"}, {"backend": "torch", "device": "cpu"}])
@pytest.mark.parametrize("more", [{}, {"early_stopping": True, "scoring": "neg_log_loss"}, {"solver": "lbfgs"}])
def test_arrays_of_torch_go_where_they_are_told_and_come_back(given, more):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    with sklearn.config_context(array_api_dispatch=True):
        found = MLPClassifier(**QUICK | given | more).fit(torch.asarray(X), torch.asarray(Y))
        arrays_of_it = [*found.coefs_, found.predict(torch.asarray(X)), found.predict_proba(torch.asarray(X))]
    assert all(type(array) is torch.Tensor for array in arrays_of_it)
    expected = MLPClassifier(**QUICK | more).fit(X, Y).predict_proba(X)
    np.testing.assert_allclose(arrays_of_it[-1], expected, rtol=1e-9)


DEVICE = array_api_strict.Device("device1")


@pytest.fixture
def stand_in(monkeypatch):
    """Fake CuPy of array-api-strict's arrays: like CuPy's, they do not convert to NumPy arrays implicitly."""
    strict = type(array_api_strict.zeros(1))

    def asarray(array, dtype=None, order=None):
        if isinstance(array, strict):
            return array if dtype is None else array_api_strict.astype(array, getattr(array_api_strict, dtype))
        return array_api_strict.asarray(np.asarray(array, dtype), device=DEVICE)

    def asnumpy(array):
        assert isinstance(array, strict)
        return np.from_dlpack(array, device="cpu")

    cupy = ModuleType("cupy")
    cupy.__version__, cupy.asarray, cupy.asnumpy = "13.6.0", asarray, asnumpy
    # Other libraries only test whether an array is an instance of this, and none may take a strict array for CuPy's.
    cupy.ndarray = type("ndarray", (), {})
    cupy.cuda = SimpleNamespace(
        get_current_stream=lambda: SimpleNamespace(ptr=0),
        runtime=SimpleNamespace(
            getDeviceProperties=lambda ordinal: {"name": b"Fake"}, memGetInfo=lambda: (10**9, 10**9)
        ),
    )
    cupy.get_default_memory_pool = lambda: SimpleNamespace(free_bytes=lambda: 0)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "array_api_compat.cupy", array_api_strict)
    monkeypatch.setattr("array_api_compat.cupy", array_api_strict, raising=False)
    monkeypatch.setattr("array_api_compat.is_cupy_array", lambda array: isinstance(array, strict))
    monkeypatch.setattr(array_api_strict.Device, "use", lambda device: None, raising=False)
    monkeypatch.setattr(array_api_strict.Device, "id", 0, raising=False)
    return asarray


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


def test_cupy_goes_on_and_comes_home(stand_in):
    there, here = MLPClassifier(**QUICK), MLPClassifier(**QUICK)
    for _ in range(2):
        there.partial_fit(stand_in(X), stand_in(Y), classes=stand_in(np.arange(3)))
        here.partial_fit(X, Y, classes=np.arange(3))
    assert copy.deepcopy(there).coefs_[0].device == there.classes_.device == DEVICE
    read = pickle.loads(pickle.dumps(there))
    assert type(read.coefs_[0]) is type(read.classes_) is np.ndarray
    np.testing.assert_allclose(read.predict_proba(X), here.predict_proba(X), rtol=1e-9)


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
