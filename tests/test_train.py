"""The command ``mlpgpu train``: its settings, what it prints, and the files of a run."""

import csv
import json
import re
import shlex
import signal
import tomllib

import numpy as np
import pytest
from run_files import FILES, history_in, metrics_in

from mlpgpu import Model, train
from mlpgpu.data import mnist
from mlpgpu.settings.config import settings

METRICS = {
    "dataset", "task", "backend", "device", "dtype", "seed", "n_train", "n_test", "n_parameters", "epochs",
    "epoch_seconds", "train_loss", "test_loss",
}  # fmt: skip


def test_digits_by_default_settings(drawing_command, tmp_path):
    from sklearn import metrics
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    code, out, err = drawing_command("--dataset digits --run-dir run")
    assert (code, err) == (0, "")
    # A slow machine may train for longer than the time between two checkpoints.
    assert {path.name for path in (tmp_path / "run").iterdir()} - {"checkpoints"} == FILES
    found = metrics_in(tmp_path / "run")
    assert found.keys() >= METRICS | {"test_accuracy", "test_f1_weighted"}
    assert found["test_accuracy"] >= 0.97

    # The same metrics from the model file and scikit-learn alone.
    x, y = load_digits(return_X_y=True)
    _, x, _, y = train_test_split(x, y, test_size=0.2, stratify=y, random_state=0)
    model = Model.load(tmp_path / "run" / "model.safetensors")
    assert metrics.accuracy_score(y, model.predict(x)) == pytest.approx(found["test_accuracy"], abs=1e-12)
    assert metrics.f1_score(y, model.predict(x), average="weighted") == pytest.approx(found["test_f1_weighted"])
    assert metrics.log_loss(y, model.predict_proba(x)) == pytest.approx(found["test_loss"], rel=1e-5)

    rows = history_in(tmp_path / "run")
    assert len(rows) == found["epochs"] == len(found["epoch_seconds"])
    lines = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    assert [{key: str(value) for key, value in json.loads(line).items()} for line in lines] == rows
    assert float(rows[-1]["loss"]) == found["train_loss"]
    assert found["n_parameters"] == 64 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10
    for words in ("85,002", "Confusion matrix", f"accuracy {found['test_accuracy']:.2%}", "NumPy", "Saved     run"):
        assert words in out


def test_the_same_settings_give_the_same_weights(command, tmp_path):
    command("--dataset iris --epochs 5 --seed 3 --hidden 20,10 --activation tanh relu --run-dir one")
    settings_of_run = tomllib.loads((tmp_path / "one" / "config.toml").read_text())
    assert settings_of_run["hidden"] == [20, 10]
    assert "run_dir" not in settings_of_run
    code, *_ = command("--config one/config.toml --run-dir two")
    assert code == 0
    one, two = (Model.load(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    np.testing.assert_array_equal(one.params, two.params)
    changed = metrics_in(tmp_path / "one").keys() - {"epoch_seconds", "samples_per_second"}
    assert all(metrics_in(tmp_path / "one")[key] == metrics_in(tmp_path / "two")[key] for key in changed)


def test_flags_go_before_the_file_and_the_file_before_defaults(command, tmp_path):
    (tmp_path / "mine.yaml").write_text("dataset: iris\nepochs: 7\nbatch-size: full\nhidden: none\n")
    command("--config mine.yaml --epochs 2 --run-dir run")
    used = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert (used["epochs"], used["batch_size"], used["hidden"]) == (2, "full", [])
    assert used["optimizer"] == settings()["optimizer"].default
    assert metrics_in(tmp_path / "run")["n_parameters"] == 4 * 3 + 3


def test_widths_with_spaces_or_commas(command, tmp_path):
    for run, widths in (("a", "--hidden 6 5"), ("b", "--hidden 6,5")):
        command(f"--dataset iris --epochs 1 {widths} --run-dir {run}")
        assert Model.load(tmp_path / run / "model.safetensors").sizes == (4, 6, 5, 3)


def test_summary_counts_as_keras_does(command):
    _, out, _ = command("--dataset synthetic --samples 200 --hidden 100 --epochs 1")
    assert "79,510" in out
    assert "78,500" in out
    assert "1,010" in out


def test_json_is_the_last_line(command, tmp_path):
    _, out, _ = command("--dataset iris --epochs 2 --json --run-dir run")
    found = json.loads(out.splitlines()[-1])
    assert found.pop("run_dir") == "run"
    assert found == metrics_in(tmp_path / "run")
    assert "epoch 2/2" in out
    assert "Confusion" not in out


def test_quiet_prints_the_result_only(command):
    _, out, _ = command("--dataset iris --epochs 2 --quiet")
    assert out.startswith("Test ")
    _, out, _ = command("--dataset iris --epochs 2 --quiet --json")
    assert len(out.splitlines()) == 1


def test_settings_stay_text_where_pydantic_is_imported(command):
    pytest.importorskip("pydantic", reason="Pydantic is not installed")
    assert command("--dataset iris --epochs 1 --hidden 5")[0] == 0
    assert command("--epochs 2.5")[2].startswith("error: epochs is '2.5'; allowed: ")


def test_each_epoch_is_told_to_the_trackers(drawing_command, tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")
    uri = (tmp_path / "mlruns").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
    code, _, err = drawing_command("--dataset iris --epochs 3 --log-to tensorboard,mlflow --run-dir run")
    assert (code, err) == (0, "")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {*FILES, "tensorboard"}
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 1
    client = mlflow.MlflowClient(uri)
    (run,) = client.search_runs(["0"])
    assert (run.info.run_name, run.info.status, run.data.params["dataset"]) == ("run", "FINISHED", "iris")
    losses = [metric.value for metric in client.get_metric_history(run.info.run_id, "loss")]
    assert losses == [float(row["loss"]) for row in history_in(tmp_path / "run")]
    assert client.list_artifacts(run.info.run_id)[0].path == "model.safetensors"
    # A run that is repeated from these settings logs to the same trackers.
    assert tomllib.loads((tmp_path / "run" / "config.toml").read_text())["log_to"] == ["tensorboard", "mlflow"]


def test_log_every(command):
    _, out, _ = command("--dataset iris --epochs 5 --log-every 2")
    assert [line.split()[1] for line in out.splitlines() if line.startswith("epoch")] == ["2/5", "4/5", "5/5"]


def test_regression_from_a_table(drawing_command, tmp_path):
    from sklearn.metrics import r2_score

    rng = np.random.default_rng(0)
    size, colour = rng.normal(size=200), rng.choice(["red", "green"], size=200)
    price = 3 * size + np.where(colour == "red", 2.0, -1.0) + 0.1 * rng.normal(size=200)
    with (tmp_path / "houses.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("size", "colour", "price"), *zip(size, colour, price, strict=True)])
    code, out, _ = drawing_command("--dataset houses.csv --target price --dropout 0 --input-dropout 0 --run-dir run")
    assert code == 0
    written = {path.name for path in (tmp_path / "run").iterdir()} - {"checkpoints"}
    assert written == FILES - {"confusion.png"} | {"predictions.png"}
    found = metrics_in(tmp_path / "run")
    assert found["task"] == "regression"
    assert found["test_r2"] > 0.97
    model = Model.load(tmp_path / "run" / "model.safetensors")
    x = np.column_stack([size, colour == "green", colour == "red"]).astype(float)
    assert model.feature_names == ("size", "colour=green", "colour=red")
    assert r2_score(price, model.predict(x)[:, 0]) > 0.97
    assert "regression" in out


@pytest.mark.parametrize(("factor", "offset"), [(10, 2000), (1e-6, 0), (1e3, 0), (1e3, 1.7e9)])
def test_a_target_far_from_the_outputs_of_a_new_network_is_learnt(command, tmp_path, factor, offset):
    x = np.random.default_rng(0).normal(size=200)
    np.savez(tmp_path / "far.npz", x=x[:, None], y=offset + factor * x)
    code, out, _ = command(
        "--dataset far.npz --hidden 16 --epochs 60 --batch-size 16 --learning-rate 0.01 --dropout 0 "
        "--input-dropout 0 --run-dir run"
    )
    assert code == 0
    assert ", scaled: standard" in next(line for line in out.splitlines() if line.startswith("Target"))
    predicted = Model.load(tmp_path / "run").predict(x[:, None])[:, 0]
    assert np.abs(predicted - offset - factor * x).mean() < 0.05 * factor


def test_rows_that_are_learnt_by_heart_are_told_of(command, tmp_path, not_compiled):
    """On the few noisy rows of diabetes, the validation loss is lowest long before the end."""
    line = "--dataset diabetes --epochs 100 --run-dir "
    _, out, _ = command(line + "end")
    (note,) = (row for row in out.splitlines() if row.startswith("Note") and "--early-stopping" in row)
    history = history_in(tmp_path / "end")
    best = min(history, key=lambda record: float(record["validation_loss"]))
    then, now = (f"{float(record['validation_r2']):.4f}" for record in (best, history[-1]))
    assert f"validation R² was {then} in epoch {best['epoch']}, and is {now} at the end" in note
    for kept in (line + "best --early-stopping", "--dataset iris --hidden 8 --epochs 60 --run-dir iris"):
        assert "--early-stopping" not in command(kept)[1]


def test_a_column_that_single_precision_cannot_hold(command, tmp_path):
    """Half a minute of a time in seconds decides the class; it is learnt in float32."""
    seconds = 1_700_000_000 + np.tile(np.arange(100), 4)
    late = seconds - 1_700_000_000 >= 30
    with (tmp_path / "times.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("seconds", "late"), *zip(seconds, late, strict=True)])
    command("--dataset times.csv --target late --dropout 0 --input-dropout 0 --run-dir run")
    assert metrics_in(tmp_path / "run")["test_accuracy"] > 0.95
    model = Model.load(tmp_path / "run" / "model.safetensors")
    assert np.mean(model.predict(seconds[:, None]) == late) > 0.95


def test_early_stopping_brings_back_the_best(command, tmp_path):
    _, out, _ = command("--dataset breast-cancer --epochs 200 --early-stopping --patience 3 --run-dir run")
    found = metrics_in(tmp_path / "run")
    rows = history_in(tmp_path / "run")
    losses = [float(row["validation_loss"]) for row in rows]
    assert found["stopped"] == "early stopping"
    assert found["weights_of_epoch"] == int(np.argmin(losses)) + 1 == found["epochs"] - 3
    assert f"weights of epoch {found['weights_of_epoch']}" in out


@pytest.mark.parametrize("more", ["", "--validation-fraction 0 --memory-map always"])
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_a_run_on_all_rows(drawing_command, tmp_path, task, more):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", x[:, 0] if task == "regression" else np.arange(60) % 3)
    code, out, err = drawing_command(
        f"--dataset x.npy --target y.npy --test-fraction 0 --epochs 2 --run-dir run {more}"
    )
    assert (code, err) == (0, "")
    assert f"Data      x: {60 if more else 54} training, {0 if more else 6} validation and 0 test rows" in out
    assert "Test      no rows: all were trained or validated on" in out
    found = metrics_in(tmp_path / "run")
    assert (found["n_train"], found["n_test"], found["complete"]) == (60 if more else 54, 0, True)
    assert not [key for key in found if key.startswith("test_")]
    pictures = {"confusion.png", "predictions.png"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES - pictures
    assert len(Model.load(tmp_path / "run").predict(x)) == 60
    assert drawing_command("--resume run")[0] == 0


@pytest.mark.parametrize(("dataset", "score"), [("digits", "accuracy"), ("diabetes", "r2")])
def test_the_best_weights_are_those_of_the_best_score(command, tmp_path, dataset, score):
    line = f"--dataset {dataset} --hidden 8 --epochs 60 --schedule constant --early-stopping --patience 3"
    line += " --monitor score --run-dir "
    command(line + "all")
    found, rows = metrics_in(tmp_path / "all"), history_in(tmp_path / "all")
    scores = [float(row[f"validation_{score}"]) for row in rows]
    assert found["weights_of_epoch"] == int(np.argmax(scores)) + 1 == found["epochs"] - 3
    command(line + "large --min-delta 0.02")
    scores = [float(row[f"validation_{score}"]) for row in history_in(tmp_path / "large")]
    counted = [0]
    for epoch, value in enumerate(scores):
        if value > scores[counted[-1]] + 0.02:
            counted.append(epoch)
    assert len(scores) == counted[-1] + 4 <= len(rows)
    assert metrics_in(tmp_path / "large")["weights_of_epoch"] == int(np.argmax(scores)) + 1


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_another_backend_gives_the_same_figures(command, tmp_path, backend):
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    line = "--dataset digits --epochs 3 --dtype float64 --optimizer lion --run-dir"
    command(f"{line} numpy")
    command(f"{line} other --backend {backend} --device cpu")
    ours, theirs = metrics_in(tmp_path / "numpy"), metrics_in(tmp_path / "other")
    assert (ours["backend"], theirs["backend"]) == ("numpy", backend)
    assert theirs["test_loss"] == pytest.approx(ours["test_loss"], rel=1e-10)
    assert theirs["test_accuracy"] == ours["test_accuracy"]


def test_without_matplotlib_all_but_the_pictures(drawing_command, tmp_path, monkeypatch):
    monkeypatch.setattr("mlpgpu.plots.available", lambda: False)
    code, out, _ = drawing_command("--dataset iris --epochs 1 --run-dir run")
    assert code == 0
    assert "pip install 'mlpgpu[plots]'" in out
    assert {path.name for path in (tmp_path / "run").iterdir()} == {name for name in FILES if not name.endswith("png")}


def test_names_are_printed_as_they_are(command, tmp_path):
    names = ("[red]", "[/bold]", ":x:", "C:\\")
    (tmp_path / "t.csv").write_text("a,b,y\n" + "".join(f"{i & 1},{i & 2},{names[i % 4]}\n" for i in range(80)))
    code, out, err = command("--dataset t.csv --target y --epochs 60 --run-dir [b]:m:")
    assert (code, err) == (0, "")
    for name in names:
        # In the class counts, and in the rows and columns of the confusion matrix.
        assert len(re.findall(rf"{re.escape(name)}[: ]", out)) == 3
    assert "Saved     [b]:m:\n" in out


def test_many_classes_make_no_table(command):
    _, out, _ = command("--dataset synthetic --samples 600 --features 30 --classes 25 --epochs 1")
    assert "and 5 more (training rows)" in out
    assert "Confusion" not in out


def test_no_network_and_no_mnist_falls_back_to_digits(command, tmp_path, monkeypatch):
    monkeypatch.delenv("MLPGPU_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(mnist, "MIRRORS", {"mnist": ("http://127.0.0.1:9/",)})
    monkeypatch.setattr("mlpgpu.data.openml.SERVER", "http://127.0.0.1:9/")
    code, out, _ = command("--epochs 1")
    assert code == 0
    note = next(line for line in out.splitlines() if line.startswith("Note"))
    assert "using digits" in note
    assert "--data-dir" in note
    code, _, err = command("--dataset mnist --epochs 1")
    assert code == 2
    assert err.count("\n") == 1


def test_the_line_that_says_how_to_go_on_can_be_copied(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = ["--dataset", "iris", "--hidden", "3", "--epochs", "3", "--run-dir", "it's a run"]
    with monkeypatch.context() as patch:
        patch.setattr("mlpgpu.callbacks.CSVLogger.on_epoch_end", lambda *_: signal.raise_signal(signal.SIGTERM))
        assert train.run_command(train.app, line) == 143
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("Resume    go on with it by mlpgpu train ")
    again = shlex.split(last.partition(" mlpgpu train ")[2])
    assert train.run_command(train.app, again) == 0
    assert metrics_in(tmp_path / "it's a run")["complete"]
    assert train.run_command(train.app, again) == 0
    assert capsys.readouterr().out.endswith(f"--start-from {shlex.quote(again[1])}\n")


def test_a_signal_in_a_first_epoch_that_goes_back(command, tmp_path, monkeypatch):
    """No epoch is complete yet: the weights are the initial ones, and the run can be resumed."""
    line = (
        "--dataset diabetes --hidden 8 --dropout 0.2 --input-dropout 0.1 --epochs 4 --batch-size 8 --optimizer lion "
        "--learning-rate 30 --run-dir "
    )
    assert command(line + "whole")[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr("mlpgpu.callbacks.CSVLogger.on_steps", lambda *_: signal.raise_signal(signal.SIGTERM))
        code, out, err = command(line + "run")
    assert (code, err) == (143, "")
    assert "weights are again those from before the epoch" in out
    found = metrics_in(tmp_path / "run")
    assert (found["epochs"], found["stopped"], found["complete"], found["rollbacks"]) == (0, "interrupted", False, 0)
    assert command("--resume run")[0] == 0
    whole, found = metrics_in(tmp_path / "whole"), metrics_in(tmp_path / "run")
    assert found["rollbacks"] == whole["rollbacks"] > 0
    assert found["test_loss"] == whole["test_loss"]


def test_runs_get_a_folder_each(command, tmp_path):
    for _ in range(2):
        command("--dataset iris --epochs 1 --quiet")
    names = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert len(names) == 2
    assert all(name.startswith("iris-20") for name in names)


@pytest.mark.usefixtures("not_compiled")
def test_real_mnist(command, data_dir, tmp_path):
    code, *_ = command("--dataset mnist --epochs 3 --quiet --run-dir run")
    assert code == 0
    found = metrics_in(tmp_path / "run")
    assert found["n_train"] + found["n_validation"] == 60_000
    assert found["test_accuracy"] >= 0.97
