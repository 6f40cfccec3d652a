"""Model files of earlier versions can be read and predict as before; `frozen/write.py` writes new ones."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from mlpgpu import InputError, MLPClassifier, MLPRegressor, Model
from mlpgpu.data import read_features
from mlpgpu.training.checkpoint import Checkpoint

FROZEN = Path(__file__).parent / "frozen"
FILES = sorted(FROZEN.glob("*/*.safetensors"))


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def of(name):
    files = [path for path in FILES if path.stem == name]
    return pytest.mark.parametrize("path", files, ids=lambda path: path.parent.name)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_each_predicts_what_it_did(path):
    model, expected = Model.load(path), np.load(path.with_suffix(".npz"))
    assert model.params.dtype == np.float64
    assert path.stat().st_size < 10_000
    close(model.predict_proba(expected["x"]), expected["outputs"])
    if model.task == "classification":
        np.testing.assert_array_equal(model.predict(expected["x"]), expected["predictions"])


@of("table")
def test_a_table_is_encoded_as_it_was(path):
    pytest.importorskip("pandas", reason="pandas is not installed: no tables")
    model = Model.load(path)
    close(read_features(path.with_suffix(".csv"), model.columns), np.load(path.with_suffix(".npz"))["x"])


@of("classification")
def test_a_classifier(path):
    estimator, expected = MLPClassifier.load(path), np.load(path.with_suffix(".npz"))
    close(estimator.predict_proba(expected["x"]), expected["outputs"])
    assert estimator.predict(expected["x"]).tolist() == expected["predictions"].tolist()
    assert (estimator.hidden_layer_sizes, estimator.activation, estimator.n_iter_) == ((4,), "tanh", 6)


@of("regression")
def test_a_regressor(path):
    estimator, expected = MLPRegressor.load(path), np.load(path.with_suffix(".npz"))
    close(estimator.predict(expected["x"]), expected["predictions"])
    assert (estimator.loss, estimator.activation, len(estimator.loss_curve_)) == ("huber", ["gelu", "relu"], 6)


@of("checkpoint")
def test_a_checkpoint(path):
    checkpoint, expected = Checkpoint.load(path), np.load(path.with_suffix(".npz"))
    np.testing.assert_array_equal(checkpoint.state.params, expected["params"])
    np.testing.assert_array_equal(checkpoint.state.slots, expected["slots"])
    np.testing.assert_array_equal(checkpoint.losses, expected["losses"])
    assert (len(checkpoint.history), checkpoint.where()) == (2, "the end of epoch 2")
    close(checkpoint.model.predict_proba(expected["x"]), expected["outputs"])


@of("checkpoint")
def test_a_run_of_before_there_were_precisions_is_one_of_float32(path):
    with safe_open(path, "numpy") as file:
        assert "precision" not in json.loads(file.metadata()["mlpgpu"])["run"]["plan"]
    checkpoint = Checkpoint.load(path)
    facts = {**checkpoint.plan, "precision": "float32"}
    checkpoint.check(facts, checkpoint.data, checkpoint.model)
    with pytest.raises(InputError, match="precision is bf16, and the run to resume has float32"):
        checkpoint.check({**facts, "precision": "bf16"}, checkpoint.data, checkpoint.model)


@of("checkpoint")
def test_a_run_of_before_targets_were_scaled_scales_none(path):
    with safe_open(path, "numpy") as file:
        assert "target_scale" not in json.loads(file.metadata()["mlpgpu"])["config"]
    assert Checkpoint.load(path).model.config["target_scale"] == "none"


def test_one_is_of_before_there_was_a_digest():
    sealed = {}
    for path in FILES:
        with safe_open(path, "numpy") as file:
            sealed[path.parent.name] = "digest" in json.loads(file.metadata()["mlpgpu"])
    assert sealed == {"version1": True, "version1-unsealed": False, "version2": True}
