"""The command ``mlpgpu train``."""

import csv
import errno
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib

import numpy as np
import pytest

from mlpgpu import Model, __main__
from mlpgpu.config import settings
from mlpgpu.data import mnist

FILES = {
    ".lock", "config.toml", "confusion.png", "curves.png", "history.csv", "history.jsonl", "metrics.json",
    "model.safetensors",
}  # fmt: skip
METRICS = {
    "dataset", "task", "backend", "device", "dtype", "seed", "n_train", "n_test", "n_parameters", "epochs",
    "epoch_seconds", "train_loss", "test_loss",
}  # fmt: skip


def metrics_in(folder):
    return json.loads((folder / "metrics.json").read_text())


def history_in(folder):
    return list(csv.DictReader((folder / "history.csv").read_text().splitlines()))


def run_as_process(arguments, folder, **variables):
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, env={**os.environ, **variables}
    )


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
    assert used["optimizer"] == settings()["optimizer"][1]
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


@pytest.mark.parametrize(("name", "package"), [("tensorboard", "tensorboardX"), ("mlflow", "mlflow")])
def test_a_tracker_that_is_not_installed(command, tmp_path, monkeypatch, name, package):
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name == package else found(name, *more))
    code, out, err = command(f"--dataset iris --log-to {name} --run-dir run")
    assert (code, out) == (2, "")
    assert err == f"error: {name} needs {package}, which is not installed; pip install 'mlpgpu[{name}]'\n"
    assert not (tmp_path / "run").exists()


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


@pytest.mark.filterwarnings("error")
def test_rows_too_large_for_single_precision_end_the_run_in_one_line(command, tmp_path):
    np.savez(tmp_path / "large.npz", x=np.linspace(-1e300, 1e300, 60)[:, None], y=np.arange(60) % 2)
    code, _, err = command("--dataset large.npz --target y --scale none --epochs 2 --quiet")
    assert code == 1
    assert err.count("\n") == 1


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


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--dropout 1.5", "dropout is '1.5'; allowed: a number from 0 to below 1"),
        ("--optimizer adma", "did you mean adam"),
        ("--bach-size 3", "--bach-size is not a flag of this command; did you mean --batch-size?"),
        ("--no-early-stoping", "did you mean --no-early-stopping?"),
        ("--lr 0.1", "did you mean --learning-rate?"),
        ("--gpu", "did you mean --device?"),
        ("--hidden-layer-sizes 10", "did you mean --hidden?"),
        ("--max-iter 10", "did you mean --epochs?"),
        ("--wd 0.1", "--wd is not a flag of this command; --help lists them"),
        ("--epochs 2.5", "epochs is '2.5'"),
        ("--epochs nan", "epochs is 'nan'"),
        ("--hidden 5,x", "hidden is '5,x'"),
        ("--activation step", "activation is 'step'; allowed: identity"),
        ("--activation relu tanh --hidden 3", "2 functions for 1 hidden layers"),
        ("--dataset nowhere.csv --target y", "nowhere.csv"),
        ("--dataset mnits", "did you mean mnist"),
        ("iris --epochs 3", "'iris' belongs to no flag; give --dataset iris"),
        ("--dataset iris --quiet yes", "'yes' belongs to no flag; leave it out"),
        ("--dataset diabetes --loss cross_entropy", "choose squared_error"),
        ("--dataset iris --loss logistic", "choose cross_entropy"),
        ("--dataset diabetes --label-smoothing 0.1", "label_smoothing is for classification"),
        ("--dataset iris --momentum 0.5", "choose momentum, nesterov"),
        ("--config absent.toml", "cannot read the config file absent.toml"),
        ("--device gpu", "allowed: auto, cpu, cuda, or cuda:N"),
        ("--backend numpy --device cuda", "has no device 'cuda'"),
        ("--dataset iris --run-dir taken", "holds a run already"),
        ("--dataset iris --run-dir a-file/run", "cannot write the folder"),
        ("--log-to tensorbord", "did you mean tensorboard"),
        ("--hidden 1e9", "from 1 to 1e6"),
        ("--dataset iris --hidden 1000000,1000000", "lower --hidden"),
        ("surplus", "surplus"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(command, tmp_path, line, words):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "config.toml").touch()
    (tmp_path / "a-file").touch()
    code, _, err = command(line)
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err


def test_targets_that_a_loss_cannot_take(command, tmp_path):
    rows = "x,y\n" + "".join(f"{i},{i - 20.5}\n" for i in range(40))
    (tmp_path / "t.csv").write_text(rows)
    code, _, err = command("--dataset t.csv --target y --loss poisson")
    assert code == 2
    assert "takes targets from 0 up, and the smallest here is -20.5" in err


def test_a_loss_that_is_not_finite_stops_the_run(command, tmp_path):
    with np.errstate(all="ignore"):
        code, _, err = command(
            "--dataset diabetes --optimizer sgd --schedule constant --learning-rate 1e6 --epochs 50 --run-dir run"
        )
    assert code == 1
    assert err.count("\n") == 1
    assert "epoch 1, step " in err
    assert "lower learning rate" in err
    assert (tmp_path / "run" / "config.toml").exists()


def test_what_was_learned_before_it_diverged_is_kept(command, tmp_path):
    # Gradient descent on a linear model, with a slightly unstable learning rate: each step is worse than the last.
    code, out, err = command(
        "--dataset diabetes --hidden none --input-dropout 0 --optimizer sgd --schedule constant --learning-rate 1 "
        "--epochs 900 --on-divergence stop --run-dir run"
    )
    assert code == 1
    assert err.count("\n") == 1
    losses = [float(row["validation_loss"]) for row in history_in(tmp_path / "run")]
    best = int(np.argmin(losses)) + 1
    assert f"the weights of epoch {best} are in run" in err
    assert f"in epoch {len(losses) + 1}, step " in err
    found = metrics_in(tmp_path / "run")
    assert (found["stopped"], found["weights_of_epoch"]) == ("diverged", best)
    assert np.isfinite(Model.load(tmp_path / "run" / "model.safetensors").params).all()
    assert f"diverged in epoch {len(losses) + 1}; weights of epoch {best}" in out


def test_a_loss_that_explodes_stops_the_run_while_it_is_finite(command, tmp_path):
    code, _, err = command(
        "--dataset diabetes --hidden none --optimizer sgd --schedule constant --learning-rate 2 --epochs 8 "
        "--on-divergence stop --run-dir run"
    )
    assert code == 1
    assert 100 < float(re.search(r"the loss is (\S+) in epoch", err)[1]) < np.inf
    # The loss of the initial weights is about 0.5: half the squared error of a target with variance 1.
    assert all(float(row["loss"]) < 1000 for row in history_in(tmp_path / "run"))


def test_without_matplotlib_all_but_the_pictures(drawing_command, tmp_path, monkeypatch):
    monkeypatch.setattr("mlpgpu.plots.available", lambda: False)
    code, out, _ = drawing_command("--dataset iris --epochs 1 --run-dir run")
    assert code == 0
    assert "pip install 'mlpgpu[plots]'" in out
    assert {path.name for path in (tmp_path / "run").iterdir()} == {name for name in FILES if not name.endswith("png")}


def test_a_full_disk_is_said_in_one_line(command, tmp_path, monkeypatch):
    def full(model, path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Model, "save", full)
    code, _, err = command("--dataset iris --epochs 1 --run-dir run")
    assert code == 2
    assert err.count("\n") == 1
    assert "model.safetensors: No space left on device" in err
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        ".lock", "config.toml", "history.csv", "history.jsonl"
    }  # fmt: skip


@pytest.mark.parametrize(("said", "shown"), [("", ""), ("Unable to\nallocate 3 GiB", ": Unable to allocate 3 GiB")])
def test_too_little_memory_is_said_in_one_line(command, monkeypatch, said, shown):
    def fail(*_):
        raise MemoryError(said)

    monkeypatch.setattr("mlpgpu.prepared.load", fail)
    code, out, err = command("--dataset iris")
    assert (code, out) == (2, "")
    assert err == f"error: out of memory{shown}; lower --hidden, --batch-size or --samples\n"


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
    assert "and 5 more classes" in out
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


@pytest.mark.usefixtures("not_compiled")
def test_ctrl_c_keeps_the_run(tmp_path):
    line = "-m mlpgpu.train --dataset synthetic --samples 4000 --features 50 --epochs 5000 --run-dir run"
    process = subprocess.Popen(
        [sys.executable, *line.split()], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    history = tmp_path / "run" / "history.csv"
    while process.poll() is None and not (history.exists() and history.read_text().count("\n") > 3):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {*FILES, "checkpoints"}
    found = metrics_in(tmp_path / "run")
    losses = [float(row["validation_loss"]) for row in history_in(tmp_path / "run")]
    assert found["stopped"] == "interrupted"
    assert found["weights_of_epoch"] == int(np.argmin(losses)) + 1
    assert "interrupted in epoch" in out


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


def test_ctrl_c_before_the_first_step(command, monkeypatch):
    def interrupted(config):
        raise KeyboardInterrupt

    monkeypatch.setattr("mlpgpu.prepared.prepare", interrupted)
    assert command("--dataset iris") == (130, "", "error: interrupted\n")


def test_runs_get_a_folder_each(command, tmp_path):
    for _ in range(2):
        command("--dataset iris --epochs 1 --quiet")
    names = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert len(names) == 2
    assert all(name.startswith("iris-20") for name in names)


def test_the_installed_commands(tmp_path):
    by_module = run_as_process(
        ["-m", "mlpgpu.train", "--dataset", "iris", "--epochs", "1", "--json", "--quiet"], tmp_path
    )
    by_group = run_as_process(
        ["-m", "mlpgpu", "train", "--dataset", "iris", "--epochs", "1", "--json", "--quiet"], tmp_path
    )
    assert by_module.returncode == by_group.returncode == 0
    one, two = (json.loads(done.stdout) for done in (by_module, by_group))
    assert one["test_loss"] == two["test_loss"]
    assert run_as_process(["-m", "mlpgpu", "--version"], tmp_path).stdout.strip() == __main__.__version__


@pytest.mark.parametrize("more", ["", "--quiet --json"])
def test_a_run_whose_reader_has_gone_keeps_its_results(tmp_path, more):
    line = f"-m mlpgpu train --dataset iris --epochs 20 --hidden 4 --run-dir run {more}"
    command, pipe = [sys.executable, *line.split()], subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True) as process:
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == ("", 0)
    assert metrics_in(tmp_path / "run")["complete"]


@pytest.mark.parametrize("line", ["mlpgpu --help", "mlpgpu --version", "mlpgpu train --help", "mlpgpu.predict --help"])
def test_help_whose_reader_has_gone_is_silent(tmp_path, line):
    command, pipe = [sys.executable, "-m", *line.split()], subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True) as process:
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == ("", 0)


def test_an_exit_of_another_kind_stays_one(command, monkeypatch):
    def leave(config):
        raise SystemExit(3)

    monkeypatch.setattr("mlpgpu.prepared.prepare", leave)
    with pytest.raises(SystemExit, match="3"):
        command("--dataset iris")


def test_an_encoding_without_the_characters(tmp_path):
    line = "-m mlpgpu train --dataset diabetes --epochs 1 --hidden 4"
    done = run_as_process(line.split(), tmp_path, PYTHONIOENCODING="ascii", LC_ALL="C")
    assert (done.returncode, done.stderr) == (0, "")
    assert r"R\xb2" in done.stdout


def test_help_names_every_setting_and_imports_no_array_library(tmp_path):
    code = (
        "import sys, mlpgpu.train as t\n"
        "t.run_command(t.app, ['--help'])\n"
        "print([m for m in ('numpy', 'cupy', 'torch', 'jax', 'sklearn', 'pandas') if m in sys.modules])"
    )
    done = run_as_process(["-c", code], tmp_path, COLUMNS="120")
    assert done.stdout.rstrip().endswith("[]")
    for name in settings():
        assert f"--{name.replace('_', '-')}" in done.stdout
    assert "--no-shuffle" in done.stdout


@pytest.mark.usefixtures("not_compiled")
def test_real_mnist(command, data_dir, tmp_path):
    code, *_ = command("--dataset mnist --epochs 3 --quiet --run-dir run")
    assert code == 0
    found = metrics_in(tmp_path / "run")
    assert found["n_train"] + found["n_validation"] == 60_000
    assert found["test_accuracy"] >= 0.97
