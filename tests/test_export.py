"""Predictions of exported models by onnxruntime, against those of the model itself."""

import json
import sys

import numpy as np
import pytest
from small_networks import model_of

from mlpgpu import Model, __version__, commands, train
from mlpgpu.maths.activations import ACTIVATIONS, Activation
from mlpgpu.maths.losses import LOSSES
from mlpgpu.models import onnx_graph
from mlpgpu.models.onnx_graph import to_onnx

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

TOLERANCE = {"float32": 1e-6, "float64": 1e-12}
ONE = {"shift": np.array(0.0), "factor": np.array(1.0)}
MODELS = {
    "classes": {},
    "two classes": {"loss": "logistic", "sizes": (5, 8, 1), "activations": ("relu",)},
    "two classes of two outputs": {"sizes": (5, 8, 2), "activations": ("relu",)},
    "one class": {"loss": "logistic", "sizes": (5, 8, 1), "activations": ("relu",), "classes": (7,)},
    "labels": {"loss": "logistic", "sizes": (5, 8, 3), "activations": ("relu",), "classes": (0, 1, 2)},
    "labels in words": {
        "loss": "logistic",
        "sizes": (5, 8, 2),
        "activations": ("relu",),
        "classes": (0, 1),
        "label_values": (("no", "yes"), ("", "ü")),
    },
    "labels of two kinds": {
        "loss": "logistic",
        "sizes": (5, 8, 2),
        "activations": ("relu",),
        "classes": (0, 1),
        "label_values": ((False, True), (0, 1)),
    },
    "labels of numbers": {
        "loss": "logistic",
        "sizes": (5, 8, 2),
        "activations": ("relu",),
        "classes": (0, 1),
        "label_values": ((0.5, 1.5), (-2.0, 0.0)),
    },
    "a value": {"loss": "squared_error", "sizes": (5, 8, 1), "activations": ("tanh",)},
    "values": {"loss": "squared_error", "sizes": (5, 8, 3), "activations": ("tanh",)},
    "values of a scaled target": {
        "loss": "huber",
        "sizes": (5, 8, 2),
        "activations": ("tanh",),
        "target_shift": np.array([1.7e9, -2.0]),
        "target_factor": np.array([1e-3, 1e6]),
    },
    "linear": {"sizes": (5, 3), "activations": ()},
}


def x_of(n, dtype):
    # The same numbers for both dtypes: all of them are exact in single precision.
    return np.random.default_rng(9).normal(size=(n, 5)).astype(np.float32).astype(dtype)


def session_of(model):
    content, dtype = to_onnx(model)
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    return ort.InferenceSession(content, providers=["CPUExecutionProvider"]), dtype


def compare(model, sizes=(1, 7, 1000), x_of=x_of):
    session, dtype = session_of(model)
    tolerance = TOLERANCE[str(model.params.dtype)]
    for n in sizes:
        x = x_of(n, dtype)
        found = dict(zip([o.name for o in session.get_outputs()], session.run(None, {"x": x}), strict=True))
        expected = model.predict_proba(x)
        if model.task == "regression":
            assert set(found) == {"prediction"}
            values = found["prediction"]
        else:
            assert set(found) == {"label", "probabilities"}
            values = found["probabilities"]
            sure = _sure(model, expected)
            np.testing.assert_array_equal(found["label"][sure], model.predict(x)[sure])
        assert (values.dtype, values.shape) == (expected.dtype, expected.shape)
        np.testing.assert_allclose(values, expected, rtol=tolerance, atol=tolerance)
    return dtype


def _sure(model, p):
    """Return a mask of the rows whose label does not depend on rounding."""
    ordered = np.sort(p, axis=1)
    return (np.abs(p - 0.5) > 1e-5).all(axis=1) if model.multilabel else ordered[:, -1] - ordered[:, -2] > 1e-5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scaled", [True, False], ids=["scaled", "not scaled"])
@pytest.mark.parametrize("name", MODELS)
def test_each_task(name, scaled, dtype):
    assert compare(model_of(dtype=dtype, **MODELS[name] | ({} if scaled else ONE))) == dtype


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_each_activation(name, dtype):
    compare(model_of(activations=(name, name), dtype=dtype))


ADDED = {
    "squareplus": lambda xp, z: (z + xp.sqrt(z**2 + 4)) / 2,
    "signed logarithm": lambda xp, z: xp.sign(z) * xp.log1p(xp.abs(z)),
    "snake": lambda xp, z: z + xp.square(xp.sin(z)),
    "logistic": lambda xp, z: xp.reciprocal(1 + xp.exp(-z)),
    "stairs": lambda xp, z: z + (xp.floor(z) - xp.ceil(z)) / 8,
    "hard shrinkage": lambda xp, z: xp.where((z <= 0.5) & (z >= -0.5), z / 8, z),
    "outside": lambda xp, z: xp.where((z < -0.5) | (z > 0.5), z / 8, z),
    "logical": lambda xp, z: xp.where(xp.logical_not(xp.logical_or(z > 1, xp.logical_and(z < 0, z > -1))), z, z / 8),
    "equal": lambda xp, z: xp.where(xp.maximum(z, 0) == z, z, z / 8),
    "not equal": lambda xp, z: xp.where(xp.maximum(z, 0) != z, z, z / 8),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ADDED)
def test_an_activation_that_is_added(monkeypatch, name, dtype):
    monkeypatch.setitem(ACTIVATIONS, "added", Activation(ADDED[name], None))
    compare(model_of(activations=("added", "added"), dtype=dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LOSSES)
def test_each_link(name, dtype):
    compare(model_of(name, sizes=(5, 8, 3), activations=("relu",), dtype=dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["cross_entropy", "logistic"])
def test_probabilities_stay_in_range_however_far(loss, dtype):
    """Logits are in the thousands."""
    model = model_of(loss, sizes=(5, 8, 1 if loss == "logistic" else 3), activations=("elu",), dtype=dtype)
    compare(model, x_of=lambda n, dtype: 1e4 * x_of(n, dtype))


SECONDS = {"shift": np.array([1.7e9, 0, 0, 0, 0]), "factor": np.array([1 / 25_000, 1, 1, 1, 1])}


def day_of(n, dtype):
    """Return times within a day or so, in seconds; single precision resolves two minutes there."""
    return (x_of(n, "float64") / SECONDS["factor"] + SECONDS["shift"]).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_seconds_since_1970(dtype):
    assert compare(model_of(dtype=dtype, **SECONDS), x_of=day_of) == "float64"


def test_folded_seconds_would_be_lost(monkeypatch):
    monkeypatch.setattr(onnx_graph, "FARTHEST", np.inf)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        compare(model_of(dtype="float32", **SECONDS), x_of=day_of)


def test_the_scale_of_images_is_folded():
    """A single factor for all features adds no node."""
    plain = onnx.load_from_string(to_onnx(model_of(dtype="float32", **ONE))[0])
    content, dtype = to_onnx(model_of(dtype="float32", shift=np.array(0.0), factor=np.array(1 / 255)))
    assert dtype == "float32"
    assert [node.op_type for node in onnx.load_from_string(content).graph.node] == [
        node.op_type for node in plain.graph.node
    ]
    compare(model_of(dtype="float32", shift=np.array(0.0), factor=np.array(1 / 255)))


@pytest.mark.parametrize("factor", [1e-35, 1e35])
def test_a_factor_that_single_precision_has_no_weights_for(factor):
    factor = np.array([factor, 1, 1, 1, 1])
    model = model_of(shift=np.array(0.0), factor=factor, dtype="float32")
    assert compare(model, x_of=lambda n, dtype: x_of(n, dtype) / factor) == "float64"


@pytest.mark.parametrize(
    ("classes", "kind"),
    [
        ((3, 5, 8, 9), "int64"),
        ((False, True), "int64"),
        ((0.5, 1.5, 2.5), "float64"),
        (("ä", "b c", ""), "object"),
        ((5, 2**63 + 6), "object"),
    ],
)
def test_labels_keep_their_type(classes, kind):
    model = model_of(sizes=(5, 8, len(classes)), activations=("relu",), classes=classes)
    session, dtype = session_of(model)
    x = x_of(50, dtype)
    label = session.run(["label"], {"x": x})[0]
    assert label.dtype == kind
    predicted = model.predict(x)
    assert label.tolist() == (predicted.astype(str) if kind == "object" else predicted).tolist()
    assert len(set(label.tolist())) > 1


def test_what_the_file_says_of_itself():
    names = ("a", "b=ü", "c", "d", "e")
    session, _ = session_of(model_of(feature_names=names, classes=("p", "q", "r", "s")))
    said = session.get_modelmeta()
    assert said.producer_name == "mlpgpu"
    assert {name: json.loads(value) for name, value in said.custom_metadata_map.items()} == {
        "task": "classification",
        "feature_names": list(names),
        "targets": [],
        "label_values": [],
        "classes": ["p", "q", "r", "s"],
        "columns": None,
    }
    columns = [{"name": name, "kind": "number", "fill": 0.5} for name in names]
    session, _ = session_of(model_of(feature_names=names, columns=columns))
    assert json.loads(session.get_modelmeta().custom_metadata_map["columns"]) == columns
    assert onnx.load_from_string(to_onnx(model_of())[0]).producer_version == __version__


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """``command("export", ...)`` runs in a folder with ``m.safetensors`` -> exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    model_of(dtype="float32").save(tmp_path / "m.safetensors")

    def run(*arguments):
        code = train.run_command(commands.app, [*arguments])
        return code, *capsys.readouterr()

    return run


def test_the_command_writes_what_onnxruntime_reads(command, tmp_path):
    code, out, err = command("export", "m.safetensors", "--to", "onnx")
    assert (code, err) == (0, "")
    assert out == "Saved     m.onnx: x, float32 of shape (n_rows, 5), to label and probabilities\n"
    session, x = ort.InferenceSession(tmp_path / "m.onnx"), x_of(5, "float32")
    expected = Model.load(tmp_path / "m.safetensors").predict_proba(x)
    np.testing.assert_allclose(session.run(["probabilities"], {"x": x})[0], expected, atol=1e-6)
    (tmp_path / "run").mkdir()
    (tmp_path / "m.safetensors").rename(tmp_path / "run" / "model.safetensors")
    assert command("export", "run")[0] == 0
    assert (tmp_path / "run" / "model.onnx").read_bytes() == (tmp_path / "m.onnx").read_bytes()


def test_the_command_tells_what_x_is(command, tmp_path):
    columns = [{"name": name, "kind": "number", "fill": None} for name in "abcde"]
    shift, factor = np.full(5, 1e6), np.ones(5)
    model_of(dtype="float32", columns=columns, shift=shift, factor=factor).save(tmp_path / "t.safetensors")
    code, out, err = command("export", "t.safetensors", "--to", "onnx", "--out", "o.onnx")
    assert (code, err) == (0, "")
    assert "x, float64 of shape (n_rows, 5)" in out
    assert "the scaling would lose digits in float32: give x as float64" in out
    assert "x is the features of the table, encoded" in out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("m.safetensors --to onyx", "to is 'onyx'; allowed: onnx; did you mean onnx?"),
        ("none.safetensors --to onnx", "cannot read the model none.safetensors"),
        ("m.safetensors --to onnx --out no/m.onnx", "out is no/m.onnx, and there is no folder no; make it first"),
        ("m.safetensors --to onnx --out .", "out is ., which is a folder; give a file"),
        ("m.safetensors --to onnx --out m.safetensors", "out is m.safetensors, which is read here and would be lost"),
    ],
)
def test_bad_input_is_one_line(command, tmp_path, line, said):
    code, out, err = command("export", *line.split())
    assert (code, out) == (2, "")
    assert said in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]


def test_without_onnx(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    code, _, err = command("export", "m.safetensors", "--to", "onnx")
    assert (code, err) == (
        2,
        "error: writing ONNX needs the package onnx, which is not installed; pip install 'mlpgpu[onnx]'\n",
    )


def test_the_old_file_stands_where_the_new_one_cannot_be_written(command, tmp_path, monkeypatch):
    (tmp_path / "m.onnx").write_text("old")

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    code, _, err = command("export", "m.safetensors", "--to", "onnx")
    assert code == 2
    assert "m.onnx: No space left on device" in err
    assert (tmp_path / "m.onnx").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
