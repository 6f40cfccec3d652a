"""What the `TensorBoard` callback writes, as TensorBoard's own reader reads it."""

import math
import re
import struct

import numpy as np
import pytest
from irises import cut_short, iris

from mlpgpu import InputError, MLPClassifier
from mlpgpu.callbacks import LambdaCallback, TensorBoard
from mlpgpu.callbacks import tensorboard as module
from mlpgpu.maths.parameters import split

pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
processing = "tensorboard.backend.event_processing"
reader = pytest.importorskip(f"{processing}.event_accumulator", reason="TensorBoard is not installed")
plugins = pytest.importorskip(f"{processing}.plugin_event_accumulator", reason="TensorBoard is not installed")

SCALARS = {
    "loss": "loss/train",
    "train_accuracy": "accuracy/train",
    "validation_loss": "loss/validation",
    "validation_accuracy": "accuracy/validation",
    "learning_rate": "learning_rate",
    "seconds": "seconds",
    "samples_per_second": "samples_per_second",
    "rollbacks": "rollbacks",
}


def read(folder):
    """Return a reader that has loaded all events of a folder."""
    found = reader.EventAccumulator(str(folder), dict.fromkeys(("scalars", "histograms", "tensors"), 0))
    return found.Reload()


def steps(folder, tag="loss/train"):
    return [event.step for event in read(folder).Scalars(tag)]


def settings_in(folder):
    # Texts need another EventAccumulator of TensorBoard than scalars and histograms do.
    text = plugins.EventAccumulator(str(folder)).Reload().Tensors("settings/text_summary")
    assert [event.step for event in text] == [0]
    rows = text[0].tensor_proto.string_val[0].decode().splitlines()
    assert rows[:2] == ["| setting | value |", "| --- | --- |"]
    return dict(re.fullmatch(r"\| (\S+) \| (.*) \|", row).groups() for row in rows[2:])


def test_the_scalars_are_the_records(tmp_path):
    history = iris(TensorBoard(tmp_path / "to" / "come")).run.history
    found = read(tmp_path / "to" / "come")
    assert set(found.Tags()["scalars"]) == {SCALARS[name] for name in history[0] if name != "epoch"}
    for name in history[0].keys() - {"epoch"}:
        events = found.Scalars(SCALARS[name])
        assert [event.step for event in events] == [1, 2, 3, 4, 5, 6]
        # TensorBoard stores values in single precision.
        assert [event.value for event in events] == [np.float32(record[name]) for record in history]
    assert found.Tags()["histograms"] == []


def test_the_scalars_of_a_regression(tmp_path):
    iris(TensorBoard(tmp_path), dataset="diabetes", epochs=1)
    assert {"loss/train", "loss/validation", "r2/train", "r2/validation"} <= set(read(tmp_path).Tags()["scalars"])


def test_each_epoch_is_there_when_it_ends(tmp_path):
    seen = []
    iris(TensorBoard(tmp_path), LambdaCallback(on_epoch_end=lambda run, record: seen.append(len(steps(tmp_path)))))
    assert seen == [1, 2, 3, 4, 5, 6]


def test_a_value_that_is_no_number(tmp_path):
    iris(
        LambdaCallback(on_epoch_end=lambda run, record: record.update(extra=math.nan)), TensorBoard(tmp_path), epochs=1
    )
    assert math.isnan(read(tmp_path).Scalars("extra")[0].value)


def test_the_settings_are_a_text(tmp_path):
    iris(TensorBoard(tmp_path), optimizer="momentum", learning_rate=0.05, momentum=0.8, dropout=0.25, seed=3)
    assert settings_in(tmp_path).items() >= {
        "dataset": "iris", "layers": "4,8,3", "activation": "relu", "loss": "cross_entropy", "optimizer": "momentum",
        "momentum": "0.8", "learning_rate": "0.05", "batch_size": "10", "epochs": "6", "seed": "3", "dtype": "float32",
        "dropout": "0.25", "input_dropout": "0.1", "n_train": "108",
    }.items()  # fmt: skip


def test_the_histograms_are_those_of_the_layers(tmp_path):
    kept = {}
    keep = LambdaCallback(on_epoch_end=lambda run, record: kept.update({run.epoch: run.params}))
    iris(TensorBoard(tmp_path, histogram_freq=2), keep, epochs=5)
    found = read(tmp_path)
    assert set(found.Tags()["histograms"]) == {f"layer_{n}/{what}" for n in (1, 2) for what in ("weights", "biases")}
    for number, what in ((1, "weights"), (2, "biases")):
        events = found.Histograms(f"layer_{number}/{what}")
        assert [event.step for event in events] == [2, 4]
        for event in events:
            values = split(np, kept[event.step], (4, 8, 3))[number - 1][what == "biases"].astype(float)
            shown = event.histogram_value
            assert (shown.num, shown.min, shown.max) == (values.size, values.min(), values.max())
            assert shown.sum == pytest.approx(values.sum(), abs=1e-12)
            edges, counts = np.array(shown.bucket_limit), np.array(shown.bucket)
            assert counts.sum() == values.size
            for edge, up_to in zip(edges[:-1], counts.cumsum()[:-1], strict=True):
                # Up to rounding of the edge.
                assert (values < edge - 1e-9).sum() <= up_to <= (values < edge + 1e-9).sum()


def test_a_run_that_is_resumed_has_each_epoch_once(tmp_path):
    folder = tmp_path / "logs"
    checkpoint = cut_short(tmp_path, TensorBoard(folder, histogram_freq=1))
    assert steps(folder) == [1, 2, 3]
    assert len(checkpoint.history) == 2
    # As if the process had been killed in the middle of a write.
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:-11])
    run = iris(TensorBoard(folder, histogram_freq=1), resume=checkpoint).run
    found = read(folder)
    assert [event.step for event in found.Histograms("layer_2/weights")] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in found.Scalars("loss/train")] == [1, 2, 3, 4, 5, 6]
    assert [event.value for event in found.Scalars("loss/train")] == [np.float32(r["loss"]) for r in run.history]
    assert settings_in(folder)["layers"] == "4,8,3"


def test_a_run_that_is_resumed_elsewhere_has_each_epoch_once(tmp_path):
    checkpoint = cut_short(tmp_path, TensorBoard(tmp_path / "one"))
    iris(TensorBoard(tmp_path / "two"), resume=checkpoint)
    assert steps(tmp_path / "two") == [1, 2, 3, 4, 5, 6]
    assert settings_in(tmp_path / "two")["layers"] == "4,8,3"


def test_a_run_takes_the_place_of_an_earlier_one(tmp_path):
    callback = TensorBoard(tmp_path)
    iris(callback, epochs=5)
    run = iris(callback, epochs=3, seed=1).run
    assert len(list(tmp_path.iterdir())) == 2
    assert steps(tmp_path) == [1, 2, 3]
    assert read(tmp_path).Scalars("loss/train")[0].value == np.float32(run.history[0]["loss"])
    assert settings_in(tmp_path)["seed"] == "1"


def test_an_estimator(tmp_path):
    x = np.random.default_rng(0).normal(size=(80, 3))
    fitted = MLPClassifier(
        (5,), max_iter=200, early_stopping=True, n_iter_no_change=2, random_state=0, callbacks=[TensorBoard(tmp_path)]
    ).fit(x, x[:, 0] > 0)
    assert steps(tmp_path, "score/validation") == [record["epoch"] for record in fitted.history_]
    assert settings_in(tmp_path).items() >= {"optimizer": "adam_hat", "layers": "3,5,1", "loss": "logistic"}.items()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_another_solver_and_functions_of_ones_own(tmp_path):
    x = np.random.default_rng(0).normal(size=(80, 3))
    square = (lambda xp, z: z * z, lambda xp, z, y: 2 * z)
    fitted = MLPClassifier(
        (5,), activation=square, solver="lbfgs", max_iter=5, callbacks=[TensorBoard(tmp_path, histogram_freq=1)]
    ).fit(x, x[:, 0] > 0)
    assert steps(tmp_path) == list(range(1, fitted.n_iter_ + 1))
    assert settings_in(tmp_path)["optimizer"] == "lbfgs"
    assert "learning_rate" not in settings_in(tmp_path)


def test_a_record_is_one_of_a_tfrecord_file():
    """Its checksum is CRC-32C (RFC 3720), here the standard check value of these digits, rotated and offset."""
    framed = module._framed(b"123456789")
    assert framed[:8] == struct.pack("<Q", 9)
    assert framed[12:21] == b"123456789"
    crc = 0xE3069283
    assert framed[21:] == struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def test_a_full_disk_is_named(tmp_path, small_files):
    with small_files(5000), pytest.raises(OSError, match="too large") as caught:
        iris(TensorBoard(tmp_path, histogram_freq=1), epochs=50)
    (file,) = tmp_path.iterdir()
    assert caught.value.filename == str(file)


def test_without_tensorboardx_nothing_begins(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    begun = []
    with pytest.raises(InputError, match=re.escape("not installed; pip install 'mlpgpu[tensorboard]'")):
        iris(TensorBoard(tmp_path / "logs"), LambdaCallback(on_epoch_begin=begun.append))
    assert begun == []
    assert not (tmp_path / "logs").exists()
