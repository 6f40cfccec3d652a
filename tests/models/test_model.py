import dataclasses
import json
import os
import stat

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from scipy import sparse, special
from small_networks import model_of
from unsealed import unsealed

from mlpgpu import backends
from mlpgpu.errors import InputError
from mlpgpu.models.model import Model
from mlpgpu.settings.config import Config
from mlpgpu.training.evaluation import Evaluation
from mlpgpu.training.feed import Scaled

COLUMNS = [
    {"name": "colour", "kind": "category", "fill": None, "categories": ["red", "grün"]},
    {"name": "size", "kind": "number", "fill": 1.5},
    {"name": "x", "kind": "bool", "fill": 0.0},
    {"name": "y", "kind": "number", "fill": None},
]


MODELS = {
    "classes": model_of(),
    "single precision": model_of(dtype="float32"),
    "two classes": model_of("logistic", sizes=(5, 8, 1), activations=("relu",)),
    "values": model_of("squared_error", sizes=(5, 8, 2), activations=("tanh",)),
    "counts": model_of("poisson", sizes=(5, 1), activations=()),
    "a scaled target": model_of(
        "huber",
        sizes=(5, 8, 2),
        activations=("relu",),
        dtype="float32",
        target_shift=np.array([1.7e9, -2.0]),
        target_factor=np.array([1e-3, 1e6]),
    ),
    "a quantile": model_of("quantile", sizes=(5, 8, 1), activations=("relu",)),
    "linear": model_of("cross_entropy", sizes=(5, 3), activations=()),
    "labels": model_of(
        "logistic",
        sizes=(5, 2),
        activations=(),
        classes=(0, 1),
        targets=("drama", "crime"),
        label_values=(("no", "yes"), (False, True)),
    ),
    "one scale": model_of(shift=np.array(0.0), factor=np.array(1 / 255)),
    "a table": model_of(
        feature_names=("colour=red", "colour=grün", "size", "x", "y"),
        target="price",
        columns=COLUMNS,
        classes=(1, 2, 3, 4),
    ),
}


def x_of(n=20):
    return 2 * np.random.default_rng(9).normal(size=(n, 5))


@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back_from_its_file(tmp_path, name):
    model, path = MODELS[name], tmp_path / "model.safetensors"
    model.save(path)
    again = Model.load(path)
    for field in dataclasses.fields(Model):
        ours, theirs = getattr(model, field.name), getattr(again, field.name)
        if isinstance(ours, np.ndarray):
            assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
            np.testing.assert_array_equal(theirs, ours)
        else:
            assert theirs == ours
            assert type(theirs) is type(ours)
    np.testing.assert_array_equal(again.predict_proba(x_of()), model.predict_proba(x_of()))
    np.testing.assert_array_equal(again.predict(x_of()), model.predict(x_of()))
    again.save(str(path))
    np.testing.assert_array_equal(Model.load(str(path)).params, model.params)


def test_labels_of_several_kinds_are_predicted_in_their_own_words():
    pairs = ((False, True), (0, 1))
    model = dataclasses.replace(MODELS["labels"], label_values=pairs)
    chosen = (model.predict_proba(x_of()) > 0.5).astype(int)
    expected = [[str(pair[code]) for pair, code in zip(pairs, row, strict=True)] for row in chosen]
    assert model.predict(x_of()).tolist() == expected


def test_a_model_is_the_same_bytes_each_time(tmp_path):
    """Runs with the same seed can therefore be compared by the checksums of their files."""
    written = set()
    for n in range(5):
        MODELS["classes"].save(tmp_path / f"{n}.safetensors")
        written.add((tmp_path / f"{n}.safetensors").read_bytes())
    assert len(written) == 1


def forward(path, x):
    """Predict from the file by a few lines of NumPy, as in docs/models.md."""
    with safe_open(path, "numpy") as file:
        known = json.loads(file.metadata()["mlpgpu"])
        params, shift, factor = (file.get_tensor(name) for name in ("params", "shift", "factor"))
        target = [file.get_tensor(name) for name in ("target_shift", "target_factor") if name in file.keys()]  # noqa: SIM118
    part = {}
    for block in known["layout"]:
        size = int(np.prod(block["shape"]))
        part[block["name"]] = params[block["start"] : block["start"] + size].reshape(block["shape"])
    y, n_layers = (x - shift) * factor, len(known["sizes"]) - 1
    for i, name in enumerate(known["activations"], 1):
        y = {"relu": lambda z: np.maximum(z, 0), "tanh": np.tanh}[name](y @ part[f"w{i}"] + part[f"b{i}"])
    z = y @ part[f"w{n_layers}"] + part[f"b{n_layers}"]
    softmax = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    link = {"softmax": softmax, "logistic": 1 / (1 + np.exp(-z)), "identity": z, "exponential": np.exp(z)}
    return link[known["link"]] / target[1] + target[0] if target else link[known["link"]]


@pytest.mark.parametrize("name", MODELS)
def test_the_file_can_be_read_without_this_package(tmp_path, name):
    model, path = MODELS[name], tmp_path / "model.safetensors"
    model.save(path)
    expected = forward(path, x_of())
    if name == "two classes":
        expected = np.hstack([1 - expected, expected])
    np.testing.assert_allclose(
        model.predict_proba(x_of()), expected, rtol=1e-4 if model.params.dtype == np.float32 else 1e-12
    )


@pytest.mark.parametrize("name", ["classes", "two classes", "values", "counts"])
def test_predictions_are_those_of_the_device(backend, name):
    model = MODELS[name]
    evaluation = Evaluation(backend, model.network, Scaled(backend, model.shift, model.factor, "float64"))
    z = evaluation.logits(backend.asarray(model.params), x_of())
    outputs = backend.to_host(model.network.loss.link(backend.xp, z))
    ours = model.predict_proba(x_of())
    np.testing.assert_allclose(ours[:, 1:] if name == "two classes" else ours, outputs, rtol=1e-12)


def test_classes_are_what_is_predicted():
    model = MODELS["classes"]
    p = model.predict_proba(x_of())
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
    assert model.predict(x_of()).tolist() == ["abcd"[i] for i in p.argmax(axis=1)]
    assert len(set(model.predict(x_of()))) > 1
    two = MODELS["two classes"]
    p = two.predict_proba(x_of())
    assert p.shape == (20, 2)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert two.predict(x_of()).tolist() == ["b" if q > 0.5 else "a" for q in p[:, 1]]


def test_values_are_predicted_as_they_are():
    model = MODELS["values"]
    assert model.predict(x_of()).shape == (20, 2)
    np.testing.assert_array_equal(model.predict(x_of()), model.predict_proba(x_of()))


@pytest.mark.parametrize(
    "classes", [(1.5, 2.5, 3.5, 4.5), (True, False), (0, 1, 2, 3), (5, 2**63 + 6), ("a b", "ü", "", "\n")]
)
def test_labels_keep_their_type(tmp_path, classes):
    sizes = (5, 3, len(classes))
    model = model_of(sizes=sizes, activations=("relu",), classes=classes)
    model.save(tmp_path / "m.safetensors")
    again = Model.load(tmp_path / "m.safetensors")
    assert again.classes == classes
    assert [type(label) for label in again.classes] == [type(label) for label in classes]
    assert set(again.predict(x_of()).tolist()) <= set(classes)


def test_bytes_and_lists_and_no_rows():
    model = MODELS["classes"]
    x = np.arange(10, dtype=np.uint8).reshape(2, 5)
    np.testing.assert_array_equal(model.predict_proba(x), model.predict_proba(x.astype(float)))
    np.testing.assert_array_equal(model.predict_proba(x.tolist()), model.predict_proba(x))
    assert model.predict(np.empty((0, 5))).shape == (0,)
    assert MODELS["single precision"].predict_proba(x_of()).dtype == np.float32


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_how_rows_lie_changes_no_bit(rng, dtype):
    scaling = {"shift": rng.normal(size=37), "factor": rng.normal(size=37)}
    model = model_of(sizes=(37, 8, 4), activations=("tanh",), dtype=dtype, **scaling)
    for n_rows in (1, 3, 230):
        x = rng.normal(size=(n_rows, 37))
        expected = model.predict_proba(x)
        for same in (np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2], np.asfortranarray(x[::-1])[::-1]):
            np.testing.assert_array_equal(model.predict_proba(same), expected)


@pytest.mark.parametrize("shape", [(5,), (3, 4), (3, 6), (2, 3, 5), ()])
def test_x_of_another_shape(shape):
    with pytest.raises(InputError) as caught:
        MODELS["classes"].predict(np.zeros(shape))
    instead = "; give np.reshape(x, (-1, 5))" if shape == (5,) else ""
    assert str(caught.value) == f"x has shape {shape}; the model takes numbers of shape (n_rows, 5){instead}"


@pytest.mark.parametrize(
    ("x", "what"),
    [
        ([list("abcde")], "has values of type str"),
        ([[1.0, "a", 2.0, 3.0, 4.0]], "has values of type str"),
        ([[1, 2, 3, 4, 5], [1, 2]], "has items of different shapes"),
        (x_of() + 1j, "has values of type complex128"),
        ([[1, 2, 3, 4, 1j]], "has values of type complex128"),
        ([[1, 2, 3, 4, 10**400]], r"has values that have no float, such as 1000*\.\.\.0*"),
        (np.array([[1, None, 3, "a", 5]], object), "has values that have no float, such as 'a'"),
        (x_of().astype(object) + 1j, r"has values that have no float, such as \(.*j\)"),
        ({"a": 1}, "is of type dict"),
    ],
)
def test_x_that_is_not_of_real_numbers(x, what):
    with pytest.raises(InputError, match=f"^x {what}; the model takes numbers of shape \\(n_rows, 5\\)$"):
        MODELS["classes"].predict(x)


def test_sparse_x():
    x = sparse.csr_array(x_of())
    with pytest.raises(InputError, match=r"^x is of type csr_array; .*; give x\.toarray\(\)$"):
        MODELS["classes"].predict(x)
    np.testing.assert_array_equal(MODELS["classes"].predict(x.toarray()), MODELS["classes"].predict(x_of()))


def test_numbers_as_text_and_objects_and_dates():
    """As an estimator takes them."""
    x = x_of().round()
    for dtype in (str, object, "M8[s]"):
        given = x.astype(dtype)
        np.testing.assert_array_equal(MODELS["classes"].predict_proba(given), MODELS["classes"].predict_proba(x))


def test_masked_values_are_refused():
    x = np.ma.masked_array(x_of())
    np.testing.assert_array_equal(MODELS["classes"].predict(x), MODELS["classes"].predict(x_of()))
    x[1, 2] = np.ma.masked
    for predict in (MODELS["classes"].predict, MODELS["classes"].predict_proba, MODELS["classes"].logits):
        with pytest.raises(InputError, match=r"^an array of shape .* has masked values; allowed: none are missing;"):
            predict(x)


def test_masked_records_are_refused_as_records_are():
    records = np.zeros(3, [("a", float), ("b", float)])
    for x in (records, np.ma.masked_array(records, [(True, False)] * 3)):
        with pytest.raises(InputError, match="^x has values of type void; the model takes numbers of shape"):
            MODELS["classes"].predict(x)


def test_missing_values_of_any_kind():
    pd = pytest.importorskip("pandas", reason="pandas is not installed: no tables")
    x = x_of().astype(object)
    for value in (None, np.nan, pd.NA):
        x[1, 2] = value
        for given in (x, x.tolist(), pd.DataFrame(x), pd.DataFrame(x).convert_dtypes()):
            with pytest.raises(InputError, match=r"^for 1 of \d+ rows the model's output .* features are missing or"):
                MODELS["classes"].predict(given)


@pytest.mark.parametrize(("shape", "fits"), [((7, 2, 3), True), ((2, 3), True), ((6,), True), ((2, 3, 3), False)])
def test_images_are_told_to_lie_in_rows(shape, fits):
    """Seven images, one, and one in a row; but the channels of one in colour are not three images."""
    model, x = model_of(sizes=(6, 4), activations=(), shift=np.zeros(6), factor=np.ones(6)), np.ones(shape)
    with pytest.raises(InputError) as caught:
        model.predict(x)
    said = str(caught.value)
    assert said.endswith("; give np.reshape(x, (-1, 6))") == fits
    if fits:
        assert len(model.predict(np.reshape(x, (-1, 6)))) == x.size / 6


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
@pytest.mark.parametrize("largest", [1.0, 0.01, 1.5, 255.0])
def test_bytes_that_seem_to_be_divided_already(recwarn, largest, method):
    x = np.linspace(0, largest, 10).reshape(2, 5)
    getattr(MODELS["one scale"], method)(x)
    said = [(str(warning.message), warning.filename) for warning in recwarn]
    words = "no feature is above 1, as if divided by 255, which the model does itself; give bytes from 0 to 255"
    assert said == ([(words, __file__)] if largest <= 1 else [])
    recwarn.clear()
    getattr(MODELS["classes"], method)(x)
    for unlike in (np.full((2, 5), 2, np.uint8), np.zeros((2, 5)), np.empty((0, 5))):
        getattr(MODELS["one scale"], method)(unlike)
    assert not recwarn
    for black_and_white in (x > 0, np.ones((2, 5), np.uint8)):
        with pytest.warns(UserWarning, match="no feature is above 1"):
            getattr(MODELS["one scale"], method)(black_and_white)


@pytest.mark.parametrize(
    ("loss", "weights", "x"),
    [("logistic", [1e30], 1e30), ("poisson", [1], 1e3), ("squared_error", [1e30, 1], 1e30)],
    ids=["the logits", "the outputs", "one of two"],
)
def test_rows_whose_outputs_are_not_finite(loss, weights, x):
    n = len(weights)
    model = model_of(
        loss, (1, n), (), params=np.array([*weights, *[0] * n], np.float32), shift=np.zeros(1), factor=np.ones(1)
    )
    assert np.isfinite(model.predict_proba([[1.0]])).all()
    for function in (model.predict, model.predict_proba):
        with pytest.raises(InputError, match="^for 1 of 2 rows the model's output is not finite"):
            function([[1.0], [x]])


# --- files that are not models --------------------------------------------------------------------------------------


def refused(path):
    with pytest.raises(InputError) as caught:
        Model.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {"format": '"onnx"', "version": "1"}, {"x": "{"}])
def test_a_safetensors_file_of_someone_else(tmp_path, metadata):
    path = tmp_path / "weights.safetensors"
    save_file({"params": np.zeros(3)}, path, metadata)
    assert "not a model of mlpgpu" in refused(path)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 100, -1])
def test_a_file_that_was_cut_off(tmp_path, length):
    path = tmp_path / "model.safetensors"
    MODELS["classes"].save(path)
    path.write_bytes(path.read_bytes()[:length])
    assert f"cannot read the model {path}: it was cut off, or is no safetensors file (" in refused(path)


@pytest.mark.parametrize("content", [b"hello, world, this is text", b"\x00" * 100, b"\xff" * 100])
def test_a_file_of_something_else(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    said = refused(path)
    assert f"cannot read the model {path}: it was cut off, or is no safetensors file (" in said
    assert said.endswith("give a .safetensors file that a run of mlpgpu has written, or its folder")


def test_no_file_and_a_folder(tmp_path):
    assert "No such file" in refused(tmp_path / "none.safetensors")
    assert "cannot read the model" in refused(tmp_path)


@pytest.mark.parametrize("given", [3, None, b"model.safetensors", MODELS["classes"]])
def test_a_path_that_is_none(given):
    for function in (Model.load, MODELS["classes"].save):
        with pytest.raises(InputError, match=f"^a path is of type {type(given).__name__}; allowed: a text or"):
            function(given)


def test_the_system_says_why_a_file_cannot_be_opened(tmp_path):
    (tmp_path / "m.safetensors").symlink_to("m.safetensors")
    assert "m.safetensors: Too many levels of symbolic links; give" in refused(tmp_path / "m.safetensors")


def changed(path, **metadata):
    """Write a model file again with other metadata and no digest; None removes a key."""
    tensors, whole = unsealed(path)
    whole = {key: value for key, value in (whole | metadata).items() if value is not None or key not in metadata}
    save_file(tensors, path, {"mlpgpu": json.dumps(whole)})


def test_a_version_of_the_future(tmp_path):
    path = tmp_path / "model.safetensors"
    MODELS["classes"].save(path)
    changed(path, version=3, sizes=None, layers=[1, 2])
    said = refused(path)
    assert "has format version 3; this mlpgpu reads up to 2: upgrade it" in said


@pytest.mark.parametrize(
    "metadata", [{"version": None}, {"version": "two"}, {"sizes": None}, {"loss": "no-such-loss"}, {"sizes": [5, 8, 4]}]
)
def test_metadata_that_does_not_fit(tmp_path, metadata):
    """Without a digest, only the metadata can show that the file is wrong."""
    path = tmp_path / "model.safetensors"
    MODELS["classes"].save(path)
    changed(path, **metadata)
    refused(path)


def test_tensors_that_are_missing(tmp_path):
    path = tmp_path / "model.safetensors"
    MODELS["classes"].save(path)
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    save_file({"params": MODELS["classes"].params}, path, metadata)
    assert "not those that were written" in refused(path)
    changed(path)
    assert "KeyError('shift')" in refused(path)


def test_every_bit_is_sealed(tmp_path):
    """A flipped bit is detected or has no effect, as in the padding of the header."""
    path = tmp_path / "model.safetensors"
    model = model_of(sizes=(5, 3), activations=())
    model.save(path)
    whole, found = path.read_bytes(), 0
    for bit in range(0, 8 * len(whole), 7):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        try:
            again = Model.load(path)
        except InputError:
            found += 1
        else:
            np.testing.assert_array_equal(again.params, model.params)
            assert (again.sizes, again.classes, again.config) == (model.sizes, model.classes, model.config)
    assert found > 0.95 * 8 * len(whole) / 7


# --- the file itself ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has a umask")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_file_may_be_read_as_any_other(tmp_path, umask):
    before = os.umask(umask)
    try:
        MODELS["classes"].save(tmp_path / "model.safetensors")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model.safetensors").stat().st_mode) == 0o666 & ~umask


def test_the_old_model_stands_where_the_new_one_cannot_be_written(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    MODELS["classes"].save(path)
    before = path.read_bytes()

    def full(file):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        MODELS["values"].save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_trained_model_predicts_as_its_run_did(tmp_path):
    """From training to the file and back, against a forward pass in plain NumPy."""
    from mlpgpu.data.scaling import fit as fit_scaling
    from mlpgpu.training.feed import Rows
    from mlpgpu.training.plan import make_plan
    from mlpgpu.training.trainer import fit

    x = x_of(60)
    rows = Rows(x, (x[:, 0] + x[:, 1] ** 2 > 3).astype(int))
    plan = make_plan(
        Config(hidden=(6,), epochs=3, dtype="float64"), n_rows=60, n_features=5, n_outputs=2, task="classification"
    )
    scaling = fit_scaling("standard", x)
    backend = backends.select("cpu", "numpy", "float64")[0]
    state, _ = fit(backend, plan, rows, {}, Scaled(backend, scaling.shift, scaling.factor, "float64"))
    params = backend.to_host(state.params)
    Model(params, scaling.shift, scaling.factor, (5, 6, 1), ("relu",), "logistic", "classification", (0, 1)).save(
        tmp_path / "m.safetensors"
    )
    w1, w2, b1, b2 = np.split(params, [30, 36, 42])
    z = np.maximum((x - x.mean(0)) / x.std(0) @ w1.reshape(5, 6) + b1, 0) @ w2 + b2
    np.testing.assert_allclose(
        Model.load(tmp_path / "m.safetensors").predict_proba(x)[:, 1], special.expit(z), rtol=1e-9
    )
