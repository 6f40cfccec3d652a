"""Saving and loading estimators: in model files, by skops and by joblib."""

import io
import json
import re
import subprocess
import sys

import joblib
import numpy as np
import pytest
import scipy.sparse
from safetensors.numpy import save_file
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from unsealed import unsealed

from mlpgpu import Config, InputError, MLPClassifier, MLPRegressor, Model, commands, train, train_and_test
from mlpgpu.callbacks import LambdaCallback, ModelCheckpoint
from mlpgpu.maths.activations import ACTIVATIONS
from mlpgpu.maths.losses import LOSSES

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, THREE = load_iris(return_X_y=True)
QUICK = {"hidden_layer_sizes": (6, 4), "max_iter": 5, "random_state": 0}
TWO_LABELS = np.c_[THREE == 0, THREE > 0].astype(int)
TARGETS = {
    "binary": THREE == 1,
    "multiclass": THREE,
    "small integers": (THREE - 1).astype(np.int8),
    "numbers": THREE.astype(np.float32),
    "strings": np.array(["one", "two", "three"])[THREE],
    "objects": np.array(["one", "two", "three"], dtype=object)[THREE],
    "multilabel": TWO_LABELS,
    "sparse multilabel": scipy.sparse.csr_matrix(TWO_LABELS),
    "one class": np.ones(150),
}
VALUES = {"one target": X[:, 3], "two targets": X[:, 2:]}
SETTINGS = {
    "defaults": {},
    "early stopping": {"early_stopping": True, "n_iter_no_change": np.inf},
    "lbfgs": {"solver": "lbfgs"},
    "settings": {
        "hidden_layer_sizes": [np.int64(6), 4],
        "activation": ["gelu", "silu"],
        "optimizer": "lion",
        "dropout": [0.2, np.float64(0.1)],
        "dtype": "float32",
    },
    "linear": {"hidden_layer_sizes": ()},
}


def dense(y):
    return y.toarray() if scipy.sparse.issparse(y) else y


def same(one, other, x=X):
    """Check that predictions have the same type and dtype, and are equal to the last bit."""
    for method in ("predict", "predict_proba", "predict_log_proba"):
        if hasattr(one, method):
            ours, theirs = getattr(one, method)(x), getattr(other, method)(x)
            assert type(ours) is type(theirs)
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(dense(ours), dense(theirs))


def fitted_attributes(estimator):
    return {
        name: value
        for name, value in vars(estimator).items()
        if name.endswith("_") and not name.startswith("__") and name not in {"coefs_", "intercepts_"}
    }


def check_saved(estimator, path):
    estimator.save(path)
    again = type(estimator).load(path)
    same(estimator, again)
    assert again.get_params() == estimator.get_params()
    ours, theirs = fitted_attributes(estimator), fitted_attributes(again)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert type(theirs[name]) is type(value) or isinstance(value, np.floating), name
        np.testing.assert_equal(theirs[name], value, err_msg=name)
    return again


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("y", TARGETS.values(), ids=TARGETS)
def test_classifiers(tmp_path, y, settings):
    estimator = MLPClassifier(**QUICK | settings).fit(X, y)
    again = check_saved(estimator, tmp_path / "m.safetensors")
    assert again.classes_.dtype == estimator.classes_.dtype


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("y", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("loss", ["squared_error", "poisson", "quantile"])
def test_regressors(tmp_path, y, loss, settings):
    check_saved(MLPRegressor(loss, quantile=0.3, **QUICK | settings).fit(X, y), tmp_path / "m.safetensors")


@pytest.mark.parametrize(("loss", "later"), [("poisson", "squared_error"), ("huber", "poisson")])
def test_another_loss_for_the_next_fit(tmp_path, loss, later):
    estimator = MLPRegressor(loss, **QUICK).fit(X, X[:, 3]).set_params(loss=later)
    again = check_saved(estimator, tmp_path / "m.safetensors")
    np.testing.assert_array_equal(Model.load(tmp_path / "m.safetensors").predict(X)[:, 0], estimator.predict(X))
    for one in (estimator, again):
        one.fit(X, X[:, 3])
    same(estimator, again)


def test_single_precision_and_names(tmp_path):
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pd.DataFrame(X.astype(np.float32), columns=["a", "b", "ü", "d"])
    estimator = MLPClassifier(**QUICK).fit(frame, THREE)
    estimator.save(tmp_path / "m.safetensors")
    again = MLPClassifier.load(tmp_path / "m.safetensors")
    assert again.coefs_[0].dtype == np.float32
    assert again.feature_names_in_.tolist() == list(frame.columns)
    assert again.feature_names_in_.dtype == object
    same(estimator, again, frame)


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_arrays_of_another_library_come_to_the_host(tmp_path, library):
    pytest.importorskip(library, reason=f"{library} is not installed")
    estimator = MLPClassifier(backend=library, device="cpu", **QUICK).fit(X, THREE)
    check_saved(estimator, tmp_path / "m.safetensors")


def test_tensors_come_to_the_host(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from sklearn import config_context

    with config_context(array_api_dispatch=True):
        estimator = MLPClassifier(**QUICK).fit(torch.asarray(X), torch.asarray(THREE))
        estimator.save(tmp_path / "m.safetensors")
        expected = estimator.predict_proba(torch.asarray(X)).numpy()
    again = MLPClassifier.load(tmp_path / "m.safetensors")
    assert all(type(w) is np.ndarray for w in (*again.coefs_, *again.intercepts_, again.classes_))
    np.testing.assert_allclose(again.predict_proba(X), expected, rtol=0, atol=1e-12)


def unpickled(estimator):
    file = io.BytesIO()
    joblib.dump(estimator, file)
    return joblib.load(file)


@pytest.mark.parametrize("early_stopping", [True, False])
def test_it_goes_on_as_an_unpickled_one(tmp_path, early_stopping):
    estimator = MLPClassifier(warm_start=True, early_stopping=early_stopping, **QUICK).fit(X, THREE)
    estimator.save(tmp_path / "m.safetensors")
    ours, theirs = MLPClassifier.load(tmp_path / "m.safetensors"), unpickled(estimator)
    for one in (ours, theirs):
        one.fit(X, THREE)
        if not early_stopping:
            one.partial_fit(X, THREE)
    same(ours, theirs)
    assert ours.loss_curve_ == theirs.loss_curve_
    assert len(ours.history_) == 11 - early_stopping
    # The fitted weights are no read-only views of the file.
    assert all(w.flags.writeable for w in ours.coefs_)


def test_parameters_of_every_plain_kind(tmp_path):
    given = {
        "class_weight": {0: 1.0, np.int64(1): 2, 2: np.float32(0.5)},
        "hidden_layer_sizes": np.array([6, 4]),
        "init": [([[0.1] * 6] * 4, [0.0] * 6)],
    }
    estimator = MLPClassifier(**QUICK | given).fit(X, THREE)
    estimator.save(tmp_path / "m.safetensors")
    found = MLPClassifier.load(tmp_path / "m.safetensors").get_params()
    assert found["hidden_layer_sizes"] == [6, 4]
    MLPClassifier(**QUICK | {"hidden_layer_sizes": range(4, 6)}).fit(X, THREE).save(tmp_path / "m.safetensors")
    assert MLPClassifier.load(tmp_path / "m.safetensors").hidden_layer_sizes == [4, 5]
    assert (found["class_weight"], found["init"]) == (given["class_weight"], given["init"])


def test_parameters_that_json_has_not_are_left_out(tmp_path):
    estimator = MLPClassifier(
        callbacks=[LambdaCallback()],
        scoring=lambda estimator, x, y: 0.5,
        early_stopping=True,
        init=[(np.zeros((4, 6)), np.zeros(6))],
        **QUICK | {"random_state": np.random.RandomState(0)},
    ).fit(X, THREE)
    estimator.save(tmp_path / "m.safetensors")
    again = MLPClassifier.load(tmp_path / "m.safetensors")
    assert [again.callbacks, again.scoring, again.init, again.random_state] == [None] * 4
    assert again.early_stopping
    same(estimator, again)
    clone(again).fit(X, THREE)


def test_functions_and_labels_of_your_own(tmp_path):
    path = tmp_path / "m.safetensors"
    half = (lambda xp, z: z / 2, lambda xp, z, y: xp.ones_like(z) / 2)
    with pytest.raises(ValueError, match="^a model file holds functions by name, and the activation '<lambda>' is"):
        MLPClassifier(activation=half, **QUICK).fit(X, THREE).save(path)
    squares = (lambda xp, z, t: xp.sum((z - t) ** 2, axis=-1), lambda xp, z, t: 2 * (z - t))
    for loss in (squares, LOSSES["huber"]):
        with pytest.raises(ValueError, match="the loss is given as functions; give a name, or pickle the estimator"):
            MLPRegressor(loss=loss, **QUICK).fit(X, X[:, 0]).save(path)
    with pytest.raises(ValueError, match="labels that are text or numbers, and datetime.date"):
        MLPClassifier(**QUICK).fit(X, THREE.astype("M8[D]")).save(path)
    with pytest.raises(NotFittedError):
        MLPClassifier(**QUICK).save(path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("activation", "names"),
    [
        (ACTIVATIONS["tanh"], "tanh"),
        ((ACTIVATIONS["gelu"], "tanh"), ("gelu", "tanh")),
        ([ACTIVATIONS["silu"][:2]], ["silu"]),
    ],
    ids=["all layers", "each", "a pair"],
)
def test_functions_of_this_package_go_by_their_names(tmp_path, activation, names):
    estimator = MLPClassifier(activation=activation, **QUICK).fit(X, THREE)
    estimator.save(tmp_path / "m.safetensors")
    again = MLPClassifier.load(tmp_path / "m.safetensors")
    same(estimator, again)
    assert again.activation == names


@pytest.mark.filterwarnings("ignore::mlpgpu.OwnFunctionWarning")
@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_a_derivative_of_your_own(tmp_path, name):
    straight = (ACTIVATIONS[name].value, lambda xp, z, y: xp.ones_like(z))
    with pytest.raises(ValueError, match=f"the activation 'own {name}' is given as functions; give"):
        MLPClassifier(activation=straight, **QUICK).fit(X, THREE).save(tmp_path / "m.safetensors")


def test_what_a_callback_wrote_is_an_estimator_too(tmp_path):
    path = tmp_path / "best.safetensors"
    estimator = MLPClassifier(callbacks=[ModelCheckpoint(path, monitor="loss")], **QUICK | {"max_iter": 30})
    estimator.fit(X, TARGETS["strings"])
    again = MLPClassifier.load(path)
    same(estimator, again)
    assert again.get_params() == estimator.set_params(callbacks=None).get_params()
    assert (again.n_iter_, again.history_) == (0, [])
    again.partial_fit(X, TARGETS["strings"])
    assert again.n_iter_ == 1


def test_a_model_taken_during_a_fit_has_nothing_of_that_fit_or_an_earlier_one(tmp_path):
    kept = []
    estimator = MLPClassifier(callbacks=[LambdaCallback(on_epoch_end=lambda run, _: kept.append(run.model()))], **QUICK)
    estimator.fit(X, THREE).fit(X, THREE)
    kept[-1].save(tmp_path / "model")
    again = MLPClassifier.load(tmp_path / "model")
    assert (again.n_iter_, again.history_, hasattr(again, "loss_")) == (0, [], False)


@pytest.mark.parametrize("name", ["multiclass", "binary", "strings", "multilabel"])
def test_every_door_reads_the_file(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    y = TARGETS[name]
    estimator = MLPClassifier(**QUICK).fit(X, y)
    estimator.save("m.safetensors")
    model = Model.load("m.safetensors")
    np.testing.assert_array_equal(model.predict(X), estimator.predict(X))
    np.testing.assert_allclose(model.predict_proba(X), estimator.predict_proba(X), rtol=0, atol=1e-15)
    np.savez("rows.npz", x=X)

    def run(*arguments):
        assert train.run_command(commands.app, list(arguments)) == 0
        return capsys.readouterr().out

    said = run("inspect", "m.safetensors")
    assert "Estimator MLPClassifier" in said
    assert "Settings" not in said
    header, *rows = run("predict", "m.safetensors", "rows.npz").splitlines()
    assert header == ("prediction0,prediction1" if name == "multilabel" else "prediction")
    assert rows == [",".join(map(str, np.atleast_1d(label))) for label in estimator.predict(X)]
    p = np.loadtxt(io.StringIO(run("predict", "m.safetensors", "rows.npz", "--proba")), delimiter=",", skiprows=1)
    np.testing.assert_allclose(p, estimator.predict_proba(X), rtol=0, atol=1e-15)


# --- files that are not an estimator's ------------------------------------------------------------------------------


def refused(kind, path):
    with pytest.raises(InputError) as caught:
        kind.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_other_estimator(tmp_path):
    path = tmp_path / "m.safetensors"
    MLPClassifier(**QUICK).fit(X, THREE).save(path)
    assert refused(MLPRegressor, path).endswith("holds a model for classification; load it with MLPClassifier.load")
    MLPRegressor(**QUICK).fit(X, X[:, 3]).save(path)
    assert refused(MLPClassifier, path).endswith("holds a model for regression; load it with MLPRegressor.load")


@pytest.fixture
def trained(tmp_path):
    """Return a function that trains a model as the command does, and returns the path of its file."""

    def run(y, **settings):
        np.savez(tmp_path / "rows.npz", x=X, y=y)
        given = {"dataset": tmp_path / "rows.npz", "hidden": (6, 4), "epochs": 3, "scale": "none", "quiet": True}
        path = tmp_path / "m.safetensors"
        train_and_test(Config(**given | settings)).model.save(path)
        return path

    return run


@pytest.mark.parametrize("y", [THREE, TARGETS["strings"], THREE == 1], ids=["classes", "strings", "two"])
def test_a_classification_of_the_command(trained, y):
    path = trained(y, label_smoothing=0.1, activation=("tanh", "gelu"))
    estimator, model = MLPClassifier.load(path), Model.load(path)
    assert estimator.get_params()["activation"] == ["tanh", "gelu"]
    assert (estimator.dtype, estimator.label_smoothing) == ("float32", 0.1)
    np.testing.assert_array_equal(estimator.predict(X), model.predict(X))
    np.testing.assert_array_equal(estimator.predict_proba(X)[:, -1], model.predict_proba(X)[:, -1])
    estimator.partial_fit(X, y)


def test_a_regression_of_the_command(trained):
    path = trained(X[:, 3], task="regression", loss="quantile", quantile=0.9, target_scale="none")
    estimator = MLPRegressor.load(path)
    assert (estimator.loss, estimator.quantile) == ("quantile", 0.9)
    np.testing.assert_array_equal(estimator.predict(X), Model.load(path).predict(X)[:, 0])


def test_what_the_command_scales_is_not_for_an_estimator(trained):
    assert refused(MLPClassifier, trained(THREE, scale="standard")).endswith("load it with mlpgpu.Model.load")
    path = trained(X[:, 3], task="regression")
    assert "scales its features or its target" in refused(MLPRegressor, path)


def test_a_network_that_no_estimator_has(tmp_path):
    path = tmp_path / "m.safetensors"
    given = {"shift": np.array(0.0), "factor": np.array(1.0), "task": "classification", "classes": ("a", "b")}
    Model(np.zeros(10), sizes=(4, 2), activations=(), loss="cross_entropy", **given).save(path)
    assert "holds a network that no MLPClassifier has" in refused(MLPClassifier, path)
    Model(np.zeros(7), sizes=(4, 1, 1), activations=("step",), loss="logistic", **given).save(path)
    assert "Got 'step' instead" in refused(MLPClassifier, path)


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": {"alpha": -1}},
        {"parameters": {"no_such": 1}},
        {"parameters": {"hidden_layer_sizes": {"set": [3]}}},
        {"parameters": {"activation": "tanh"}},
        {"parameters": 3},
        {"labels": {"dtype": "<i8"}},
        {"labels": {"dtype": "no such", "sparse": False}},
        {"fitted": None},
    ],
)
def test_an_estimator_of_someone_else(tmp_path, change):
    path = tmp_path / "m.safetensors"
    MLPClassifier(**QUICK).fit(X, THREE).save(path)
    tensors, whole = unsealed(path)
    whole["estimator"] |= change
    save_file(tensors, path, {"mlpgpu": json.dumps(whole)})
    refused(MLPClassifier, path)


# --- files of other libraries ---------------------------------------------------------------------------------------


ESTIMATORS = {
    **{name: (MLPClassifier, y) for name, y in TARGETS.items()},
    **{name: (MLPRegressor, y) for name, y in VALUES.items()},
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_joblib(name):
    kind, y = ESTIMATORS[name]
    estimator = kind(**QUICK).fit(X, y)
    same(estimator, unpickled(estimator))


def test_a_pickle_from_before_a_parameter_is_refused():
    estimator = MLPClassifier(**QUICK).fit(X, THREE)
    del estimator.normalization, estimator.warmup
    message = "the pickled MLPClassifier lacks 'normalization', 'warmup': .*; unpickle it by that one, save it"
    with pytest.raises(InputError, match=message):
        unpickled(estimator)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_skops(tmp_path, name):
    skops = pytest.importorskip("skops.io", reason="skops is not installed")
    kind, y = ESTIMATORS[name]
    estimator = kind(**QUICK).fit(X, y)
    skops.dump(estimator, tmp_path / "m.skops")
    unknown = skops.get_untrusted_types(file=tmp_path / "m.skops")
    assert all(word.startswith("mlpgpu.") for word in unknown), unknown
    again = skops.load(tmp_path / "m.skops", trusted=unknown)
    same(estimator, again)
    assert again.get_params() == estimator.get_params()
    again.fit(X, y)


def test_a_folder_that_is_not_there(tmp_path):
    estimator = MLPClassifier(**QUICK).fit(X, THREE)
    path = tmp_path / "no" / "m.safetensors"
    estimator.save(tmp_path / "m.safetensors")
    for one in (estimator, Model.load(tmp_path / "m.safetensors")):
        with pytest.raises(FileNotFoundError, match=f"there is no folder {re.escape(str(path.parent))}; make it first"):
            one.save(path)


def test_the_home_folder_by_its_short_name(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    estimator = MLPClassifier(**QUICK).fit(X, THREE)
    estimator.save("~/m.safetensors")
    same(estimator, MLPClassifier.load(tmp_path / "m.safetensors"))


# --- without CuPy, PyTorch and JAX ----------------------------------------------------------------------------------


def test_prediction_needs_no_library_of_a_device(tmp_path):
    path = tmp_path / "m.safetensors"
    estimator = MLPClassifier(**QUICK).fit(X, THREE)
    estimator.save(path)
    np.savez(tmp_path / "rows.npz", x=X, p=estimator.predict_proba(X))
    code = f"""
import sys
class Blocked:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {{"cupy", "torch", "jax"}}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocked)
import numpy as np
from mlpgpu import MLPClassifier, Model
rows = np.load({str(tmp_path / "rows.npz")!r})
assert (MLPClassifier.load({str(path)!r}).predict_proba(rows["x"]) == rows["p"]).all()
assert np.abs(Model.load({str(path)!r}).predict_proba(rows["x"]) - rows["p"]).max() < 1e-15
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
