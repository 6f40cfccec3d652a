"""Runs that are killed and resumed end as if they had never been stopped, to the last bit."""

import csv
import json
import random
import signal
import time
from pathlib import Path

import killed
import numpy as np
import pytest

from mlpgpu import Model, train
from mlpgpu.errors import InputError
from mlpgpu.settings.resumed import UNBOUND
from mlpgpu.training.checkpoint import Checkpoint

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")

OPTIMIZERS = {
    "sgd": "--optimizer sgd --learning-rate 0.05",
    "adam": "--optimizer adam",
    "lion": "--optimizer lion --weight-decay 0.01",
}
WAYS = {
    "dropout": "--dropout 0.3,0.1 --input-dropout 0.1 --schedule constant",
    "early stopping": "--early-stopping --patience 4 --schedule constant --epochs 200",
    "one-cycle": "--schedule one_cycle --warmup 1 --clip-norm 1",
}
DATA = "--dataset synthetic --samples 900 --features 20 --classes 4 --hidden 32,16 --batch-size 16 --epochs 25"
KILLS = 3


def arguments(optimizer, way, more=""):
    """Return the arguments of a run into the folder ``run``; a later value of a flag replaces an earlier one."""
    given = {}
    words = iter(f"{DATA} --run-dir run {OPTIMIZERS[optimizer]} {WAYS[way]} {more}".split())
    for word in words:
        given[word] = [] if word == "--early-stopping" else [next(words)]
    return [word for name, value in given.items() for word in (name, *value)]


def results(folder):
    """Return all results of a run except times, and settings that results do not depend on."""
    with (folder / "history.csv").open(newline="") as file:
        history = [
            {name: value for name, value in row.items() if name not in {"seconds", "samples_per_second"}}
            for row in csv.DictReader(file)
        ]
    lines = (folder / "history.jsonl").read_text().splitlines()
    assert [str(json.loads(line)["epoch"]) for line in lines] == [row["epoch"] for row in history]
    metrics = json.loads((folder / "metrics.json").read_text())
    timeless = {name: value for name, value in metrics.items() if name not in {"epoch_seconds", "samples_per_second"}}
    content, arrays = Model.load(folder).parts()
    content["config"] = {name: value for name, value in content["config"].items() if name not in UNBOUND}
    return {name: array.tobytes() for name, array in arrays.items()}, content, history, timeless


def run(arguments, folder, **more):
    process = killed.start(arguments, folder, **more)
    process.join()
    return process.exitcode


@pytest.fixture
def here(tmp_path):
    def of(name):
        (tmp_path / name).mkdir()
        return tmp_path / name

    return of


# A checkpoint treats the slots of all optimizers alike, and knows nothing of the way.
@pytest.mark.parametrize(("optimizer", "way"), list(zip(OPTIMIZERS, WAYS, strict=True)))
def test_a_run_that_is_killed_ends_as_one_that_is_not(here, optimizer, way):
    """It is killed at random moments, some before the first checkpoint, and some in the middle of a write."""
    chance = random.Random(f"{optimizer} {way}")
    whole = here("whole")
    began = time.perf_counter()
    assert run(arguments(optimizer, way, "--checkpoint-every 0.01s"), whole) == 0
    longest = time.perf_counter() - began
    expected = results(whole / "run")
    if way == "early stopping":
        assert expected[-1]["stopped"] == "early stopping"

    kills, tries = 0, 0
    while kills < KILLS:
        tries += 1
        folder, every = here(f"try-{tries}"), chance.choice(["1", "3", "0.01s", "0.03s"])
        starts = [arguments(optimizer, way, f"--checkpoint-every {every}"), ["--resume", "run"]]
        code = None
        while code is None:
            process = killed.start(starts[(folder / "run" / "config.toml").exists()], folder)
            process.join(chance.uniform(0, 0.6 * longest) if kills < KILLS else None)
            code = process.exitcode
            if code is None:
                process.kill()
                process.join()
                kills += 1
        assert code == 0, (folder / "said.txt").read_text()
        assert results(folder / "run") == expected
    assert kills == KILLS


def test_a_run_that_is_killed_is_in_each_log_once(here, tmp_path):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="TensorBoard is not installed"
    )
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")
    folder, uri = here("one"), (tmp_path / "mlruns").as_uri()
    given = arguments("adam", "dropout", "--epochs 9 --checkpoint-every 2 --log-to tensorboard,mlflow")
    told = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
    # After epoch 6 is in the logs, and before the third checkpoint is complete.
    assert run(given, folder, kill_in=("written", 3), variables=told) == -signal.SIGKILL
    assert len((folder / "run" / "history.jsonl").read_text().splitlines()) == 6
    assert len(Checkpoint.load(folder / "run" / "checkpoints").history) == 4
    assert run(["--resume", "run"], folder, variables=told) == 0, (folder / "said.txt").read_text()
    history = results(folder / "run")[2]
    assert [row["epoch"] for row in history] == [str(epoch) for epoch in range(1, 10)]
    events = reader.EventAccumulator(str(folder / "run" / "tensorboard")).Reload().Scalars("loss/train")
    assert [(event.step, event.value) for event in events] == [
        (int(row["epoch"]), np.float32(row["loss"])) for row in history
    ]
    client = mlflow.MlflowClient(uri)
    (one,) = client.search_runs(["0"])
    assert one.info.status == "FINISHED"
    sent = client.get_metric_history(one.info.run_id, "loss")
    assert [(metric.step, metric.value) for metric in sent] == [
        (int(row["epoch"]), float(row["loss"])) for row in history
    ]


EVERY_SECOND = arguments("adam", "dropout", "--checkpoint-every 2 --epochs 12")


@pytest.fixture(scope="module")
def of_whole(tmp_path_factory):
    """The results of a run that is never killed."""
    folder = tmp_path_factory.mktemp("whole")
    assert run(EVERY_SECOND, folder) == 0
    return results(folder / "run")


@pytest.mark.parametrize(("moment", "number"), [
    ("written", 1), ("written", 4), ("synced", 1), ("synced", 4), ("replaced", 1), ("replaced", 4), ("kept", 2),
])  # fmt: skip
def test_a_run_that_is_killed_in_the_middle_of_a_write(here, of_whole, moment, number):
    cut = here("cut")
    assert run(EVERY_SECOND, cut, kill_in=(moment, number)) == -signal.SIGKILL
    checkpoints = cut / "run" / "checkpoints"
    if before := number if moment == "replaced" else number - 1:
        assert len(Checkpoint.load(checkpoints).history) == 2 * before
        assert (checkpoints / "last.safetensors").exists() == (moment != "kept")
    else:
        assert not list(checkpoints.glob("[!.]*"))
    assert run(["--resume", "run"], cut) == 0, (cut / "said.txt").read_text()
    assert results(cut / "run") == of_whole
    assert not list((cut / "run").rglob(".*.part*"))


def test_a_disk_that_is_full(here):
    """A limit on file sizes lets a real write fail half-way, without a disk to fill."""
    given = arguments("adam", "dropout", "--checkpoint-every 1")
    whole, cut = here("whole"), here("cut")
    assert run(given, whole) == 0
    # Checkpoints grow with their history, so the first ones are below the limit, and a later one is not.
    checkpoints = whole / "run" / "checkpoints"
    sizes = [(checkpoints / name).stat().st_size for name in ("previous.safetensors", "last.safetensors")]
    assert run(given, cut, largest=sizes[0] - 1500) == 2
    said = (cut / "said.txt").read_text().splitlines()[-1]
    assert said.startswith("error: ")
    assert "checkpoints/last.safetensors: File too large; " in said
    kept = Checkpoint.load(cut / "run" / "checkpoints")
    assert 0 < len(kept.history) < 25
    assert not list((cut / "run").rglob(".*.part*"))
    assert run(["--resume", "run"], cut) == 0, (cut / "said.txt").read_text()
    assert results(cut / "run") == results(whole / "run")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", None)])
def test_a_polite_end(here, number):
    """The results and a checkpoint are written, even with --checkpoint-every none."""
    given = arguments("adam", "dropout", "--checkpoint-every none --epochs 2000")
    folder = here("one")
    process = killed.start(given, folder)
    history = folder / "run" / "history.csv"
    while not (history.exists() and history.read_text().count("\n") > 3):
        time.sleep(0.01)
    killed.os.kill(process.pid, number)
    process.join()
    assert process.exitcode == 128 + number
    assert "go on with it by mlpgpu train --resume run" in (folder / "said.txt").read_text()
    _, _, rows, metrics = results(folder / "run")
    assert metrics["stopped"] == "interrupted"
    kept = Checkpoint.load(folder / "run" / "checkpoints")
    assert len(kept.history) == len(rows) - (len(kept.begun) > 0)
    np.testing.assert_array_equal(
        Model.load(folder / "run" / "checkpoints" / "last.safetensors").params, kept.state.params
    )


def test_two_runs_into_one_folder(here):
    folder = here("one")
    given = arguments("sgd", "dropout", "--epochs 3000")
    first = killed.start(given, folder)
    while not (folder / "run" / "history.csv").exists():
        time.sleep(0.01)
    for number, second in enumerate((given, ["--resume", "run"]), 1):
        assert run(second, folder) == 2
        # The first run writes to this file, too.
        said = (folder / "said.txt").read_text().splitlines()
        assert sum(line.startswith("error: another run is writing into run;") for line in said) == number
    assert first.exitcode is None
    first.kill()
    first.join()
    assert run(given, folder) == 2
    assert "holds a run already" in (folder / "said.txt").read_text().splitlines()[-1]


# --- checkpoints that cannot be used --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of six epochs with checkpoints after the fourth and the sixth."""
    folder = tmp_path_factory.mktemp("finished")
    assert run(arguments("adam", "dropout", "--epochs 6 --checkpoint-every 2"), folder) == 0
    return folder / "run"


@pytest.fixture
def taken(finished, tmp_path, monkeypatch, capsys):
    """A copy of `finished` that is not complete, and ``resume("--seed 1")`` -> exit code, stderr."""
    import shutil

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLPGPU_LOOP", "numpy")
    monkeypatch.setattr("mlpgpu.plots.available", lambda: False)
    # As if the run had been killed before it wrote this last result.
    shutil.copytree(finished, "run", ignore=shutil.ignore_patterns("metrics.json"))

    def resume(line="--resume run"):
        code = train.run_command(train.app, line.split())
        return code, capsys.readouterr().err

    return tmp_path / "run", resume


@pytest.mark.parametrize("harm", ["empty", "truncated", "flipped", "foreign", "future", "a model"])
def test_a_checkpoint_that_cannot_be_used(taken, finished, harm):
    """The error is one line and names the previous checkpoint, from which the run can be resumed."""
    folder, resume = taken
    last = folder / "checkpoints" / "last.safetensors"
    whole = last.read_bytes()
    if harm == "empty":
        last.write_bytes(b"")
    elif harm == "truncated":
        last.write_bytes(whole[:-100])
    elif harm == "flipped":
        last.write_bytes(whole[:-1000] + bytes([whole[-1000] ^ 4]) + whole[-999:])
    elif harm == "foreign":
        last.write_bytes(b"hello, this is not a checkpoint at all")
    elif harm == "future":
        last.write_bytes(whole.replace(rb"\"version\": 2,", rb"\"version\": 9,"))
    else:
        last.write_bytes((folder / "model.safetensors").read_bytes())
    code, said = resume()
    assert code == 2
    assert said.count("\n") == 1
    before = "run/checkpoints/previous.safetensors"
    assert said.endswith(f"the one before it is {before}: go on from that one, or move last.safetensors away\n")
    reason = {"foreign": "cannot read", "empty": "cannot read", "future": "version 9", "a model": "no checkpoint"}
    assert reason.get(harm, "damaged" if harm == "flipped" else "cannot read") in said
    code, said = resume("--resume run/checkpoints/previous.safetensors")
    assert (code, said) == (0, "")
    assert results(folder) == results(finished)


def test_a_run_that_is_complete_is_left_alone(taken, finished, capsys):
    folder, _ = taken
    (folder / "metrics.json").write_bytes((finished / "metrics.json").read_bytes())
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert train.run_command(train.app, ["--resume", "run"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Complete  the run in run is finished, and its results are there; ")
    assert said.endswith(" --start-from run\n")
    assert train.run_command(train.app, ["--resume", "run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out).pop("run_dir") == "run"
    assert train.run_command(train.app, ["--resume", "run", "--epochs", "7"]) == 2
    assert "epochs is 7, and the run to resume has 6" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_no_checkpoint_yet_begins_again(taken, finished):
    import shutil

    folder, resume = taken
    shutil.rmtree(folder / "checkpoints")
    (folder / "model.safetensors").unlink()
    assert resume() == (0, "")
    assert results(folder) == results(finished)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--resume run --seed 1", "seed is 1, and the run to resume has 0"),
        ("--resume run --hidden 8,4", "hidden is [8, 4], and the run to resume has [32, 16]"),
        ("--resume run --precision bf16", "precision is bf16, and the run to resume has float32"),
        ("--resume run --epochs 7", "epochs is 7, and the run to resume has 6"),
        ("--resume run --samples 901", "samples is 901"),
        ("--resume run --config x.toml", "leave out config and run_dir"),
        ("--resume run --run-dir y", "leave out config and run_dir"),
        ("--resume nowhere", "resume is nowhere, which is neither the folder of a run nor one of its checkpoints"),
        ("--resume run/config.toml", "neither the folder of a run nor one of its checkpoints"),
        ("--dataset iris --run-dir run", "holds a run already"),
        ("--dataset iris --checkpoint-every often", "checkpoint_every is 'often'; allowed: a whole number of epochs"),
        ("--dataset iris --checkpoint-every 0", "checkpoint_every is '0'; allowed"),
        ("--dataset iris --log-every often", "log_every is 'often'; allowed: a whole number of epochs"),
        ("--dataset iris --checkpoint-every 1.5", "checkpoint_every is '1.5'; allowed"),
        ("--dataset iris --checkpoint-every=-3s", "checkpoint_every is '-3s'; allowed"),
    ],
)
def test_what_does_not_go_together(taken, line, says):
    code, said = taken[1](line)
    assert code == 2
    assert said.count("\n") == 1
    assert says in said


def test_settings_that_no_figure_depends_on_may_change(taken, finished):
    folder, resume = taken
    assert resume("--resume run --quiet --log-every 2 --checkpoint-every none") == (0, "")
    assert results(folder) == results(finished)


def test_settings_changed_in_the_file_of_the_run(taken, finished):
    folder, resume = taken
    file = folder / "config.toml"
    begun = file.read_text()
    file.write_text(begun.replace("\nepochs = 6", "\nepochs = 9"))
    code, said = resume()
    assert (code, said.count("\n")) == (2, 1)
    assert "run/config.toml: epochs is 9, and the run to resume has 6; leave it as it was" in said
    # Settings that no figure depends on, and one that this file of an earlier version lacks.
    file.write_text(begun.replace("\nquiet = false", "\nquiet = true").replace('\nprecision = "float32"', ""))
    assert file.read_text().count("\n") == begun.count("\n") - 1
    assert resume() == (0, "")
    assert results(folder) == results(finished)


def test_other_data_under_the_same_name(taken, tmp_path):
    _, resume = taken
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), np.arange(60) % 2
    np.savez("t.npz", x=x, y=y)
    line = "--dataset t.npz --target y --epochs 3 --checkpoint-every 1 --run-dir other"
    assert resume(line)[0] == 0
    (tmp_path / "other" / "metrics.json").unlink()
    x[:, 1] *= -1
    np.savez("t.npz", x=x, y=y)
    code, said = resume("--resume other")
    assert code == 2
    assert "rows are not those of the checkpoint: " in said
    assert said.count("\n") == 1
    np.savez("t.npz", x=x[:50], y=y[:50])
    assert "shape is [" in resume("--resume other")[1]


@pytest.mark.parametrize(
    ("labels", "renamed", "said"),
    [
        (np.arange(60) % 2, np.arange(60) % 2 + 1, "class number 0 is 1, and in the run to resume it is 0;"),
        (np.arange(60) % 2, np.arange(60) % 2 == 1, "class number 0 is False, and in the run to resume it is 0;"),
        (
            np.array(["no", "yes"])[np.arange(120).reshape(60, 2) % 3 % 2],
            np.array([["no", "on"], ["yes", "yes"]])[np.arange(120).reshape(60, 2) % 3 % 2, [0, 1]],
            "class number 0 is 'on', and in the run to resume it is 'no';",
        ),
    ],
    ids=["classes", "truth values", "labels"],
)
def test_classes_under_other_names(taken, tmp_path, labels, renamed, said):
    """Their codes are the same."""
    _, resume = taken
    x = np.random.default_rng(0).normal(size=(60, 3))
    np.savez("t.npz", x=x, y=labels)
    assert resume("--dataset t.npz --task classification --epochs 3 --checkpoint-every 1 --run-dir other")[0] == 0
    (tmp_path / "other" / "metrics.json").unlink()
    np.savez("t.npz", x=x, y=renamed)
    code, found = resume("--resume other")
    assert (code, found.count("\n")) == (2, 1)
    assert said in found
    np.savez("t.npz", x=x, y=labels)
    assert resume("--resume other") == (0, "")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda frame: frame.rename(columns={"b": "c"}),
            "column number 1 is 'c: number', and in the run to resume it is 'b: number';",
        ),
        (
            lambda frame: frame.assign(owner=frame["owner"].astype(int)),
            "column number 2 is 'owner: number', and in the run to resume it is 'owner: bool';",
        ),
        (
            lambda frame: frame.replace({"town": {"u": "U"}}),
            "feature number 3 is 'town=U', and in the run to resume it is 'town=u';",
        ),
        (lambda frame: frame[["b", "a", "owner", "town", "y"]], "rows are not those of the checkpoint: x is"),
    ],
    ids=["renamed", "truth values", "categories", "reordered"],
)
def test_columns_under_other_names(taken, change, said):
    """A model asks for columns by name, and would ask for other ones than the run began with."""
    pd = pytest.importorskip("pandas", reason="pandas is not installed: no tables")
    _, resume = taken
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 2)), columns=["a", "b"])
    frame = frame.assign(owner=rng.random(60) < 0.5, town=rng.choice(["u", "v"], 60), y=np.arange(60) % 2)
    frame.to_csv("t.csv", index=False)
    line = "--dataset t.csv --target y --task classification --epochs 3 --checkpoint-every 1 --run-dir other"
    assert resume(line)[0] == 0
    (Path("other") / "metrics.json").unlink()
    change(frame).to_csv("t.csv", index=False)
    code, found = resume("--resume other")
    assert (code, found.count("\n")) == (2, 1)
    assert said in found
    # The order of the file's columns is no matter where it says nothing of features.
    frame[["y", "a", "b", "owner", "town"]].to_csv("t.csv", index=False)
    assert resume("--resume other") == (0, "")


def test_data_that_have_moved(taken, tmp_path):
    _, resume = taken
    rng = np.random.default_rng(0)
    np.savez("t.npz", x=rng.normal(size=(60, 3)), y=np.arange(60) % 2)
    assert resume("--dataset t.npz --target y --epochs 3 --checkpoint-every 1 --run-dir other")[0] == 0
    (tmp_path / "other" / "metrics.json").unlink()
    (tmp_path / "there").mkdir()
    (tmp_path / "t.npz").rename(tmp_path / "there" / "t.npz")
    assert resume("--resume other")[0] == 2
    assert resume("--resume other --dataset there/t.npz --quiet") == (0, "")
    assert "dataset is there/u.npz, and the run to resume has" in resume("--resume other --dataset there/u.npz")[1]


def test_targets_that_have_moved(taken, tmp_path):
    _, resume = taken
    np.save("x.npy", np.random.default_rng(0).normal(size=(60, 3)))
    np.save("y.npy", np.arange(60) % 2)
    assert resume("--dataset x.npy --target y.npy --epochs 3 --checkpoint-every 1 --run-dir other")[0] == 0
    (tmp_path / "other" / "metrics.json").unlink()
    (tmp_path / "there").mkdir()
    (tmp_path / "y.npy").rename(tmp_path / "there" / "y.npy")
    assert resume("--resume other")[0] == 2
    assert resume("--resume other --target there/y.npy --quiet") == (0, "")


def test_another_way_of_adding_up_is_told(taken, finished, monkeypatch, capsys):
    folder, _ = taken
    (folder / "checkpoints" / "last.safetensors").unlink()
    monkeypatch.setenv("MLPGPU_LOOP", "eager")
    assert train.run_command(train.app, ["--resume", "run"]) == 0
    told = next(line for line in capsys.readouterr().out.splitlines() if "the run began with" in line)
    assert "loop numpy" in told
    assert "loop eager" in told
    ours, theirs = Model.load(folder).params, Model.load(finished).params
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_a_model_is_not_a_checkpoint(finished):
    with pytest.raises(InputError, match="is a model, and no checkpoint to go on from"):
        Checkpoint.load(finished / "model.safetensors")
