"""With scikit-learn's array API dispatch on, results have the library, device and precision of X."""

import copy
import pickle
from unittest import SkipTest

import array_api_compat
import numpy as np
import pytest
import sklearn
from scipy.sparse import csr_matrix
from sklearn.datasets import make_classification, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlpgpu import MLPClassifier, MLPRegressor
from mlpgpu.protocol import arrays

_array_api = pytest.importorskip("sklearn.utils._array_api", reason="this scikit-learn has no array API dispatch")

# The runs are far too short to converge.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# --- scikit-learn's own checks --------------------------------------------------------------------------------------

ESTIMATORS = {
    "classifier": MLPClassifier(max_iter=3),
    "regressor": MLPRegressor(max_iter=3),
    "lbfgs": MLPClassifier(solver="lbfgs", max_iter=3),
    "early stopping": MLPRegressor(early_stopping=True, max_iter=3),
}


def own_checks():
    try:
        from sklearn.utils import estimator_checks as checks

        found = [(check.func, check.keywords) for check in checks._yield_array_api_checks(ESTIMATORS["classifier"])]
        for namespace, device, dtype in _array_api.yield_namespace_device_dtype_combinations():
            where = {"array_namespace": namespace, "device_name": device, "dtype_name": dtype or "float64"}
            found += [
                (checks.check_array_api_input_and_values, where | {"check_sample_weight": weighted})
                for weighted in (False, True)
            ]
    except (ImportError, AttributeError):
        return [pytest.param(None, {}, marks=pytest.mark.skip(reason="this scikit-learn has no such checks"))]
    return [pytest.param(*check, id=f"{check[0].__name__}-{'-'.join(map(str, check[1].values()))}") for check in found]


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize(("check", "keywords"), own_checks())
def test_checks_of_scikit_learn(check, keywords, name):
    estimator = ESTIMATORS[name]
    try:
        check(type(estimator).__name__, estimator, **keywords)
    except SkipTest as reason:
        pytest.skip(str(reason))


# --- every library, device and dtype --------------------------------------------------------------------------------


class Home:
    """An array library, device and floating-point dtype; a call moves an array there."""

    def __init__(self, library, device, dtype):
        self.dtype = dtype
        self.module = pytest.importorskip(library, reason=f"{library} is not installed")
        self.device = self.module.Device(device) if library == "array_api_strict" else None
        self.of = self(np.zeros(1))

    def __call__(self, array):
        """Return `array` in this library and on this device, floats in this dtype."""
        array = np.asarray(array, self.dtype if np.asarray(array).dtype.kind == "f" else None)
        return self.module.asarray(array, **({} if self.device is None else {"device": self.device}))

    def assert_holds(self, array, dtype=None):
        assert array_api_compat.array_namespace(array) is array_api_compat.array_namespace(self.of)
        assert array_api_compat.device(array) == array_api_compat.device(self.of)
        assert arrays.dtype_name(array) == (dtype or self.dtype)

    @property
    def rtol(self):
        return {"float64": 1e-9, "float32": 1e-4}[self.dtype]


HOMES = {
    "numpy": ("numpy", "cpu", "float64"),
    "torch-float64": ("torch", "cpu", "float64"),
    "torch-float32": ("torch", "cpu", "float32"),
    "strict": ("array_api_strict", "CPU_DEVICE", "float64"),
    "strict-device1": ("array_api_strict", "device1", "float64"),
    "strict-device1-float32": ("array_api_strict", "device1", "float32"),
    "jax-float64": ("jax.numpy", "cpu", "float64"),
    "jax-float32": ("jax.numpy", "cpu", "float32"),
}
# JAX compiles everything that a test calls, which takes seconds, so it runs only tests that do more than move arrays.
EAGER = [name for name in HOMES if not name.startswith("jax")]


@pytest.fixture(params=[*EAGER, "jax-float64"])
def home(request):
    library, *_, dtype = HOMES[request.param]
    if library != "jax.numpy":
        yield Home(*HOMES[request.param])
        return
    # JAX has float64 only when it is enabled.
    with pytest.importorskip("jax", reason="JAX is not installed").enable_x64(dtype == "float64"):
        yield Home(*HOMES[request.param])


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Limit PyTorch to one thread: with arrays as small as these, threads would only wait for each other."""
    try:
        import torch
    except ImportError:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def dispatch():
    with sklearn.config_context(array_api_dispatch=True):
        yield


@pytest.fixture
def undispatched():
    with sklearn.config_context(array_api_dispatch=False):
        yield


def host(array):
    return arrays.home(array).to_host(array)


X, CLASSES = make_classification(n_samples=60, n_features=6, n_informative=4, n_classes=3, random_state=0)
_, TARGETS = make_regression(n_samples=60, n_features=6, n_targets=2, random_state=0)
TARGETS /= TARGETS.std()
LABELS = (TARGETS[:, [0, 1, 0]] > [0, 0, 1]).astype(np.int64)
WEIGHTS = np.random.default_rng(0).uniform(0.5, 2, 60)
SMALL = {"hidden_layer_sizes": (5, 4), "activation": "tanh", "max_iter": 6, "batch_size": 16, "random_state": 0}
# Estimator class, parameters, targets, other arrays for fit.
CASES = {
    "three classes": (MLPClassifier, {}, CLASSES, {}),
    "two classes": (MLPClassifier, {}, CLASSES > 1, {}),
    "float classes": (MLPClassifier, {}, CLASSES - 1.0, {}),
    "multilabel": (MLPClassifier, {}, LABELS, {}),
    "one output": (MLPRegressor, {}, TARGETS[:, 0], {}),
    "column": (MLPRegressor, {"loss": "huber"}, TARGETS, {}),
    "two outputs": (MLPRegressor, {}, TARGETS, {}),
    "poisson": (MLPRegressor, {"loss": "poisson"}, np.exp(TARGETS[:, 0]), {}),
    "weighted": (MLPClassifier, {"class_weight": "balanced"}, CLASSES, {"sample_weight": WEIGHTS}),
    "early stopping": (MLPClassifier, {"early_stopping": True}, CLASSES, {}),
    "validation": (
        MLPRegressor,
        {"early_stopping": True},
        TARGETS[:40],
        {"X_val": X[40:], "y_val": TARGETS[40:], "sample_weight_val": WEIGHTS[40:]},
    ),
    "scoring": (MLPClassifier, {"early_stopping": True, "scoring": "neg_log_loss"}, CLASSES, {}),
    "lbfgs": (MLPClassifier, {"solver": "lbfgs"}, CLASSES, {}),
    "sgd": (MLPRegressor, {"solver": "sgd", "learning_rate": "adaptive"}, TARGETS, {}),
    "dropout": (MLPClassifier, {"dropout": 0.3, "input_dropout": 0.1}, CLASSES, {}),
    "schedule": (
        MLPRegressor,
        {"optimizer": "lion", "learning_rate_schedule": "cosine", "clip_norm": 0.1},
        TARGETS,
        {},
    ),
}


def fitted(name, put, put_rest=None, **params):
    """Fit the estimator of a case: `put` moves X, and `put_rest` (by default `put`) moves targets and weights."""
    kind, own, y, more = CASES[name]
    put_rest = put_rest or put
    given = {key: (put if key == "X_val" else put_rest)(array) for key, array in more.items()}
    return kind(**SMALL | own | params).fit(put(X[: len(y)]), put_rest(y), **given)


METHODS = ("predict", "predict_proba", "predict_log_proba", "hidden_activations")


def outputs(estimator, x):
    return {name: getattr(estimator, name)(x) for name in METHODS if hasattr(estimator, name)}


def on_each(cases, **compiled):
    """Parametrise with all cases on each eager library, and with the cases named for each dtype on JAX."""
    pairs = [(home, name) for home in EAGER for name in cases]
    pairs += [(f"jax-{dtype}", name) for dtype, names in compiled.items() for name in names]
    return pytest.mark.parametrize(("home", "name"), pairs, indirect=["home"])


@on_each(
    CASES,
    float64=["two outputs", "scoring", "lbfgs", "dropout"],
    float32=["two classes", "multilabel"],
)
def test_everything_follows_x_and_numbers_are_those_of_numpy(home, name):
    expected = fitted(name, lambda array: array.astype(home.dtype) if array.dtype.kind == "f" else array)
    found = fitted(name, home)
    for attribute in ("coefs_", "intercepts_"):
        for ours, reference in zip(getattr(found, attribute), getattr(expected, attribute), strict=True):
            home.assert_holds(ours)
            np.testing.assert_allclose(host(ours), reference, rtol=home.rtol, atol=home.rtol)
    np.testing.assert_allclose(found.history_[-1]["loss"], expected.history_[-1]["loss"], rtol=home.rtol)
    x = X.astype(home.dtype)
    found_here = outputs(found, home(x))
    for method, reference in outputs(expected, x).items():
        got = found_here[method]
        if method == "predict" and hasattr(found, "classes_"):
            home.assert_holds(found.classes_, arrays.dtype_name(home(expected.classes_)))
            home.assert_holds(got, arrays.dtype_name(home(reference)))
            np.testing.assert_array_equal(host(got), reference)
        else:
            home.assert_holds(got)
            np.testing.assert_allclose(host(got), reference, rtol=home.rtol, atol=home.rtol)
    *_, y, _ = CASES[name]
    score = found.score(home(X[: len(y)]), home(y))
    assert type(score) is float
    assert score == pytest.approx(expected.score(x[: len(y)], y), rel=home.rtol)


def test_jax_without_double_precision_rounds_what_is_wider():
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    with jax.enable_x64(False):
        found = MLPRegressor(**SMALL).fit(jax.numpy.asarray(X), jax.numpy.asarray(TARGETS))
        assert found.coefs_[0].dtype == found.predict(jax.numpy.asarray(X)).dtype == np.float32
    np.testing.assert_allclose(
        host(found.coefs_[0]), MLPRegressor(**SMALL).fit(X.astype(np.float32), TARGETS).coefs_[0], atol=1e-5
    )


def test_names_of_classes_come_back_as_numpy(home):
    names = np.array(["ant", "bee", "cow"])
    found = MLPClassifier(**SMALL).fit(home(X), names[CLASSES])
    expected = MLPClassifier(**SMALL).fit(X.astype(home.dtype), names[CLASSES])
    assert type(found.classes_) is type(found.predict(home(X))) is np.ndarray
    np.testing.assert_array_equal(found.predict(home(X)), expected.predict(X.astype(home.dtype)))
    assert found.score(home(X), names[CLASSES]) == expected.score(X.astype(home.dtype), names[CLASSES])
    home.assert_holds(found.predict_proba(home(X)))


OTHERS = {"numpy": ("numpy", "cpu", "float64"), "torch": ("torch", "cpu", "float32")} | {
    "strict": ("array_api_strict", "device1", "float64")
}


@pytest.mark.parametrize("other", OTHERS)
@on_each(["weighted", "validation", "multilabel"])
def test_targets_and_weights_may_be_elsewhere(home, other, name):
    other = Home(*OTHERS[other])
    expected = fitted(name, home, lambda array: host(other(array)))
    found = fitted(name, home, other)
    for ours, reference in zip(found.coefs_, expected.coefs_, strict=True):
        home.assert_holds(ours)
        np.testing.assert_array_equal(host(ours), host(reference))
    *_, y, _ = CASES[name]
    assert found.score(home(X[: len(y)]), other(y)) == expected.score(home(X[: len(y)]), host(other(y)))


@pytest.mark.parametrize("home", EAGER, indirect=True)
def test_validation_rows_may_be_elsewhere(home):
    given = {"y_val": TARGETS[40:], "sample_weight_val": WEIGHTS[40:]}
    found = MLPRegressor(**SMALL).fit(home(X[:40]), home(TARGETS[:40]), X_val=X[40:].astype(home.dtype), **given)
    expected = MLPRegressor(**SMALL).fit(home(X[:40]), home(TARGETS[:40]), X_val=home(X[40:]), **given)
    assert found.validation_loss_curve_ == expected.validation_loss_curve_


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_partial_fit_goes_on_where_it_is(home, kind):
    y = CLASSES if kind is MLPClassifier else TARGETS
    first = {"classes": [0, 1, 2]} if kind is MLPClassifier else {}
    found, expected = kind(**SMALL), kind(**SMALL)
    for part, more in ((slice(40), first), (slice(20, 60), {}), (slice(40), {})):
        found.partial_fit(home(X[part]), home(y[part]), **more)
        expected.partial_fit(X[part].astype(home.dtype), y[part], **more)
    for ours, reference in zip(found.coefs_, expected.coefs_, strict=True):
        home.assert_holds(ours)
        np.testing.assert_allclose(host(ours), reference, rtol=home.rtol, atol=home.rtol)


@pytest.mark.parametrize("home", EAGER, indirect=True)
def test_warm_start_goes_on_where_it_is(home):
    found, expected = (MLPClassifier(**SMALL, warm_start=True) for _ in range(2))
    for _ in range(2):
        found.fit(home(X), home(CLASSES))
        expected.fit(X.astype(home.dtype), CLASSES)
    assert len(found.history_) == 12
    home.assert_holds(found.coefs_[-1])
    np.testing.assert_allclose(host(found.coefs_[-1]), expected.coefs_[-1], rtol=home.rtol, atol=home.rtol)


# --- from one library or device to another --------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_rows_of_another_home_are_refused(method):
    torch, strict = Home(*HOMES["torch-float64"]), Home(*HOMES["strict-device1"])
    found = MLPClassifier(**SMALL).fit(strict(X), strict(CLASSES))
    for other in (X, X.tolist(), torch(X), Home(*HOMES["strict"])(X)):
        with pytest.raises(
            ValueError,
            match=rf"^Inputs passed to MLPClassifier.{method}\(\) must use the same namespace and the same device",
        ) as caught:
            getattr(found, method)(other)
        assert "device1" in str(caught.value)
    with pytest.raises(ValueError, match="must use the same namespace"):
        MLPRegressor(**SMALL).fit(X, TARGETS).predict(torch(X))


@pytest.fixture
def pair():
    """Two libraries on which a fit gives the same numbers."""
    return Home(*HOMES["torch-float64"]), Home(*HOMES["strict-device1"])


@pytest.mark.parametrize("name", ["three classes", "multilabel", "two outputs", "early stopping", "lbfgs"])
def test_scikit_learn_moves_an_estimator(pair, name):
    there, here = pair
    found = fitted(name, there)
    for home in (here, Home(*HOMES["numpy"])):
        moved = _array_api.move_estimator_to(
            found, array_api_compat.array_namespace(home.of), array_api_compat.device(home.of)
        )
        for method, reference in outputs(found, there(X)).items():
            got = outputs(moved, home(X))[method]
            home.assert_holds(got, arrays.dtype_name(reference))
            np.testing.assert_allclose(host(got), host(reference), rtol=1e-9)
        there.assert_holds(found.coefs_[0])


def test_a_moved_estimator_goes_on_as_if_it_had_stayed(pair):
    there, here = pair
    stayed = MLPRegressor(**SMALL)
    moved = MLPRegressor(**SMALL).partial_fit(there(X), there(TARGETS))
    moved = _array_api.move_estimator_to(moved, array_api_compat.array_namespace(here.of), here.device)
    for estimator, home in ((stayed, there), (stayed, there), (moved, here)):
        estimator.partial_fit(home(X), home(TARGETS))
    here.assert_holds(moved.coefs_[0])
    np.testing.assert_allclose(host(moved.coefs_[0]), host(stayed.coefs_[0]), rtol=1e-9)


@pytest.mark.parametrize("name", ["torch-float64", "torch-float32", "strict"])
@pytest.mark.usefixtures("undispatched")
def test_without_dispatch_arrays_of_others_are_numpy(name):
    home = Home(*HOMES[name])

    def on_host(array):
        # scikit-learn converts arrays to float64 if NumPy does not know their dtype.
        return np.asarray(home(array), np.float64 if array.dtype.kind == "f" else None)

    found, expected = fitted("weighted", home), fitted("weighted", on_host)
    for method, got in outputs(found, home(X)).items():
        assert type(got) is np.ndarray
        np.testing.assert_array_equal(got, outputs(expected, on_host(X))[method])
    assert found.score(home(X), home(CLASSES)) == expected.score(on_host(X), CLASSES)


@on_each(["three classes", "multilabel", "two outputs", "early stopping", "lbfgs"], float64=["two classes"])
def test_a_pickle_brings_arrays_home(home, name):
    found = fitted(name, home)
    read = pickle.loads(pickle.dumps(found))
    for array in (*read.coefs_, *read.intercepts_, getattr(read, "classes_", read.coefs_[0])):
        assert type(array) is np.ndarray
    x = X.astype(home.dtype)
    for method, got in outputs(read, x).items():
        assert type(got) is np.ndarray
        np.testing.assert_allclose(got, host(outputs(found, home(x))[method]), rtol=home.rtol, atol=home.rtol)
    home.assert_holds(found.coefs_[0])


@pytest.mark.parametrize("name", ["torch-float64", "strict-device1"])
def test_a_pickle_can_be_fitted_further(name):
    home = Home(*HOMES[name])
    read = pickle.loads(pickle.dumps(MLPClassifier(**SMALL).partial_fit(home(X), home(CLASSES), classes=[0, 1, 2])))
    before = read.coefs_[0].copy()
    read.partial_fit(X, CLASSES)
    assert type(read.coefs_[0]) is np.ndarray
    assert not np.array_equal(before, read.coefs_[0])


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
@pytest.mark.parametrize("home", EAGER, indirect=True)
def test_a_copy_stays_where_it_is_and_goes_on_alike(home, copied):
    found = MLPClassifier(**SMALL).partial_fit(home(X), home(CLASSES), classes=[0, 1, 2])
    other = copied(found)
    home.assert_holds(other.coefs_[0])
    home.assert_holds(other.classes_, arrays.dtype_name(found.classes_))
    np.testing.assert_array_equal(host(other.predict_proba(home(X))), host(found.predict_proba(home(X))))
    if copied is copy.deepcopy:
        before = host(found.coefs_[0]).copy()
        other.partial_fit(home(X), home(CLASSES))
        np.testing.assert_array_equal(host(found.coefs_[0]), before)
        found.partial_fit(home(X), home(CLASSES))
        np.testing.assert_array_equal(host(other.coefs_[0]), host(found.coefs_[0]))


# PyTorch warns scikit-learn, which copies the tensor, that the copy requires a gradient too.
@pytest.mark.filterwarnings("ignore:torch.asarray. unspecified requires_grad:UserWarning")
def test_tensors_that_ask_for_a_gradient_get_none():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x = torch.asarray(X, requires_grad=True)
    found = MLPClassifier(**SMALL).fit(x, torch.asarray(CLASSES))
    assert not found.coefs_[0].requires_grad
    assert not found.predict_proba(x).requires_grad
    np.testing.assert_array_equal(
        host(found.coefs_[0]), host(MLPClassifier(**SMALL).fit(x.detach(), torch.asarray(CLASSES)).coefs_[0])
    )


def test_all_of_an_estimator_follows_the_rows_of_the_last_fit():
    torch = Home(*HOMES["torch-float64"])
    found = MLPClassifier(**SMALL, warm_start=True).fit(torch(X), torch(CLASSES)).fit(X, CLASSES)
    assert type(found.classes_) is type(found.coefs_[0]) is type(found.predict(X)) is np.ndarray


@pytest.mark.parametrize("home", EAGER, indirect=True)
def test_targets_may_be_lists_and_sparse(home):
    listed = MLPRegressor(**SMALL).fit(home(X), TARGETS.tolist())
    home.assert_holds(listed.predict(home(X)))
    sparse = MLPClassifier(**SMALL).fit(home(X), csr_matrix(LABELS))
    dense = MLPClassifier(**SMALL).fit(home(X), LABELS)
    np.testing.assert_array_equal(sparse.predict(home(X)).toarray(), host(dense.predict(home(X))))


# --- inside scikit-learn --------------------------------------------------------------------------------------------


# The statistics of StandardScaler divide 0 by 0, and scikit-learn silences the warning for NumPy's arrays only.
@pytest.mark.filterwarnings("ignore:invalid value encountered in divide:RuntimeWarning")
def test_a_pipeline_stays_where_the_rows_are(home):
    if home.module.__name__ == "jax.numpy":
        pytest.skip("StandardScaler writes into its arrays, which JAX does not allow")
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(**SMALL)).fit(home(X), home(CLASSES))
    expected = make_pipeline(StandardScaler(), MLPClassifier(**SMALL)).fit(X.astype(home.dtype), CLASSES)
    home.assert_holds(pipeline[-1].coefs_[0])
    home.assert_holds(pipeline.predict_proba(home(X)))
    np.testing.assert_allclose(
        host(pipeline.predict_proba(home(X))), expected.predict_proba(X.astype(home.dtype)), rtol=home.rtol
    )
    assert pipeline.score(home(X), home(CLASSES)) == expected.score(X.astype(home.dtype), CLASSES)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_grid_search_stays_on_torch(dtype):
    home = Home("torch", "cpu", dtype)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), MLPClassifier(**SMALL)), {"mlpclassifier__alpha": [1e-4, 10]}, cv=2
    )
    search.fit(home(X), home(CLASSES))
    home.assert_holds(search.best_estimator_[-1].coefs_[0])
    home.assert_holds(search.predict_proba(home(X)))
    expected = GridSearchCV(search.estimator, search.param_grid, cv=2).fit(X.astype(dtype), CLASSES)
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"])
    np.testing.assert_allclose(
        host(search.predict_proba(home(X))), expected.predict_proba(X.astype(dtype)), rtol=home.rtol
    )


@pytest.mark.parametrize("home", EAGER, indirect=True)
def test_a_warning_of_a_run_too_short_is_the_same(home):
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(6\) reached"):
        fitted("three classes", home)
