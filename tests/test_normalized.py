"""Whole runs of networks with batch normalisation."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from mlpgpu import Config, InputError, Model, train_and_test
from mlpgpu.callbacks import Callback, RunCheckpoint
from mlpgpu.maths.parameters import count
from mlpgpu.prepared import prepare
from mlpgpu.training.checkpoint import Checkpoint

DIGITS = {"dataset": "digits", "hidden": (16, 8), "normalization": "batch", "dropout": 0, "epochs": 5}


@pytest.fixture(scope="module")
def digits():
    prepared = prepare(Config(**DIGITS))
    return prepared, train_and_test(prepared)


def test_the_command_trains_one_and_its_model_is_plain(command):
    more = "--dataset digits --hidden 16,8 --epochs 3 --dropout 0"
    code, out, _ = command(f"{more} --normalization batch,none --run-dir run")
    assert code == 0
    rows = [line.split() for line in out.splitlines() if line.strip().startswith(("dense", "total"))]
    # Weights, biases and, in the normalised layer, scales.
    assert rows == [
        ["dense,", "batch", "normalisation,", "relu", "(16,)", "1,056"],
        ["dense,", "relu", "(8,)", "136"],
        ["dense,", "softmax", "(10,)", "90"],
        ["total", "1,282"],
    ]
    assert json.loads(Path("run/metrics.json").read_text())["n_parameters"] == count((64, 16, 8, 10)) == 1282 - 16
    model = Model.load("run")
    assert model.network.normalized == ()
    assert model.config["normalization"] == ["batch", "none"]
    code, out, _ = command(f"{more} --normalization btach")
    assert code == 2


def test_the_figures_are_those_of_its_model(digits):
    prepared, outcome = digits
    data, model = prepared.data, outcome.model
    outputs = model.predict(data.x_test)
    assert outcome.metrics["test_accuracy"] == accuracy_score(data.y_test, outputs)
    assert outcome.metrics["test_accuracy"] > 0.6
    last = outcome.run.history[-1]
    assert last["validation_accuracy"] == accuracy_score(data.y_validation, model.predict(data.x_validation))


def test_the_best_weights_come_with_their_means():
    """If later epochs are worse, the model predicts as it did at the end of the best epoch."""
    given = DIGITS | {"epochs": 60, "learning_rate": 0.3, "schedule": "constant"}
    outcome = train_and_test(Config(**given, early_stopping=True, patience=3))
    run, data = outcome.run, prepare(Config(**given)).data
    assert run.restored
    assert run.best_epoch < len(run.history)
    found = accuracy_score(data.y_validation, outcome.model.predict(data.x_validation))
    assert found == run.history[run.best_epoch - 1]["validation_accuracy"]


class Look(Callback):
    def __init__(self):
        self.seen = []

    def on_epoch_end(self, run, record):
        self.seen.append((record["validation_accuracy"], run.params, run.model()))


def test_callbacks_see_weights_that_predict():
    look = Look()
    prepared = prepare(Config(**DIGITS))
    train_and_test(prepared, [look])
    data = prepared.data
    for accuracy, params, model in look.seen:
        np.testing.assert_array_equal(params, model.params)
        assert accuracy == accuracy_score(data.y_validation, model.predict(data.x_validation))


@pytest.mark.parametrize("freeze", [0, 1])
def test_layers_of_a_trained_model_are_not_normalised_again(tmp_path, digits, freeze):
    """Their normalisation is folded into their weights, so the new run begins with the same predictions."""
    _, outcome = digits
    outcome.model.save(tmp_path / "m.safetensors")
    given = {"start_from": tmp_path / "m.safetensors", "freeze": freeze, "learning_rate": 1e-12, "epochs": 1}
    again = prepare(Config(**DIGITS | given))
    assert again.plan.network.normalized == (False, False)
    same = train_and_test(again)
    assert same.metrics["test_accuracy"] == outcome.metrics["test_accuracy"]
    wider = prepare(Config(**DIGITS | given | {"hidden": (16, 12)}))
    assert wider.plan.network.normalized == (False, True)
    assert len(wider.plan.params) == len(wider.plan.drawn) == count((64, 16, 12, 10), (False, True))
    assert train_and_test(wider).metrics["n_parameters"] == count((64, 16, 12, 10))


def test_a_run_that_takes_some_layers_of_a_model_is_resumed(tmp_path, digits, not_compiled):
    """Its checkpoint holds all of its layers, of which only some are from the model."""
    digits[1].model.save(tmp_path / "m.safetensors")
    config = Config(**DIGITS | {"hidden": (16, 12), "start_from": tmp_path / "m.safetensors", "epochs": 3})
    whole = train_and_test(config)
    with pytest.raises(Fails):
        train_and_test(config, [RunCheckpoint(tmp_path / "kept", every=1), Stop()])
    assert Checkpoint.load(tmp_path / "kept").plan["normalized layers"] == [2]
    again = train_and_test(config, resume=tmp_path / "kept")
    np.testing.assert_array_equal(again.model.params, whole.model.params)


def test_frozen_layers_are_not_normalised():
    assert prepare(Config(**DIGITS, freeze=1)).plan.network.normalized == (False, True)


class Fails(Exception):
    pass


class Stop(Callback):
    def on_epoch_end(self, run, record):
        if run.epoch == 2:
            raise Fails


def test_another_normalization_is_another_run(tmp_path):
    with pytest.raises(Fails):
        train_and_test(Config(**DIGITS), [RunCheckpoint(tmp_path, every=1), Stop()])
    checkpoint = Checkpoint.load(tmp_path)
    assert checkpoint.plan["normalized layers"] == [1, 2]
    with pytest.raises(InputError, match="normalization is .*none.*, and the run to resume has .*batch"):
        train_and_test(Config(**DIGITS | {"normalization": "none"}), resume=tmp_path)
    for wrong in ([1], [], 3, None):
        checkpoint.plan["normalized layers"] = wrong
        checkpoint.save(tmp_path / "wrong.safetensors")
        with pytest.raises(InputError, match="damaged"):
            Checkpoint.load(tmp_path / "wrong.safetensors")


def test_batches_of_one_row_are_refused():
    with pytest.raises(InputError, match="normalization is 'batch', and a batch is one sample"):
        prepare(Config(**DIGITS, batch_size=1))
    prepare(Config(**DIGITS | {"normalization": "none"}, batch_size=1))


def test_it_learns_where_inputs_are_of_all_sizes():
    """The initial weights are so large that without normalisation the network hardly learns."""
    found = {}
    for kind in ("none", "batch"):
        config = Config(
            dataset="iris", scale="none", hidden=(16,), activation="logistic", normalization=kind, init="normal",
            init_std=100.0, optimizer="sgd", learning_rate=0.1, epochs=60, dropout=0, input_dropout=0,
        )  # fmt: skip
        found[kind] = train_and_test(config).metrics["test_accuracy"]
    assert found["batch"] >= 0.9 > found["none"]
