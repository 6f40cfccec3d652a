import datetime as dt
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mlpgpu.errors import InputError
from mlpgpu.models.model import Model
from mlpgpu.results import run_folder
from mlpgpu.settings.config import Config
from mlpgpu.settings.config_file import read_file
from mlpgpu.training.run import Run


def create(name="digits", run_dir=None, **settings):
    with run_folder.new(run_folder.RUN, run_dir, name, Config(**settings).to_dict()) as folder:
        return folder


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_folder_of_its_own_for_every_run():
    before = dt.datetime.now().replace(microsecond=0)
    folders = [create() for _ in range(4)]
    after = dt.datetime.now()
    assert len(set(folders)) == 4
    for folder in folders:
        assert folder.parent == Path("runs")
        time = re.fullmatch(r"digits-(\d{8}-\d{6})(-\d+)?", folder.name)[1]
        assert before <= dt.datetime.strptime(time, "%Y%m%d-%H%M%S") <= after
        assert sorted(path.name for path in folder.iterdir()) == [".lock", "config.toml"]


def test_a_data_set_of_a_file_gives_its_name():
    assert create("houses.csv").name.startswith("houses-")


def test_the_folder_that_was_asked_for(tmp_path):
    asked = tmp_path / "new" / "folder"
    settings = {"hidden": (8, 4), "batch_size": "full", "dropout": 0}
    assert create(run_dir=asked, **settings) == asked
    assert Config(**read_file(asked / "config.toml")) == Config(**settings)


def test_a_folder_at_home(tmp_path, monkeypatch):
    for home in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(home, str(tmp_path))
    assert create(run_dir="~/mine") == tmp_path / "mine"
    assert create(run_dir="~no one/mine") == Path("~no one/mine")


def test_a_folder_that_holds_a_run_is_left_alone(tmp_path):
    create(run_dir="mine")
    before = (tmp_path / "mine" / "config.toml").read_text()
    with pytest.raises(InputError, match="run_dir mine holds a run already; choose another folder, remove that one"):
        create(run_dir="mine", seed=1)
    assert (tmp_path / "mine" / "config.toml").read_text() == before


def test_a_folder_with_other_things_may_be_used(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    create(run_dir="mine")
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {"notes.txt", ".lock", "config.toml"}


@pytest.mark.parametrize("run_dir", ["file", "file/below"])
def test_a_folder_that_cannot_be_made(tmp_path, run_dir):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError) as caught:
        create(run_dir=run_dir)
    assert re.fullmatch(rf"cannot write the folder {run_dir}: .+; choose another with --run-dir", str(caught.value))


def outcome(task):
    run = Run(SimpleNamespace(epochs=2), 10)
    score = "accuracy" if task == "classification" else "r2"
    run.history = [
        {"epoch": n, "loss": 1 / n, f"train_{score}": 0.5, "validation_loss": 1.0, f"validation_{score}": 0.5}
        | {"learning_rate": 0.1, "seconds": 0.1, "samples_per_second": 100.0}
        for n in (1, 2)
    ]
    classes = ("a", "b") if task == "classification" else ()
    loss = "logistic" if classes else "squared_error"
    model = Model(np.zeros(3), np.array(0.0), np.array(1.0), (2, 1), (), loss, task, classes)
    metrics = {"dataset": "toy", "task": task, "n_test": 3, f"test_{score}": 2 / 3, "stopped": None}
    truth, predictions = np.array([0, 1, 1]), np.array([0, 1, 0])
    confusion = np.array([[1, 0], [1, 1]]) if classes else None
    if not classes:
        truth, predictions = truth[:, None] * 1.0, predictions[:, None]
    return SimpleNamespace(
        model=model, run=run, metrics=metrics, truth=truth, predictions=predictions, weights=None, confusion=confusion
    )


@pytest.mark.parametrize(("task", "picture"), [("classification", "confusion.png"), ("regression", "predictions.png")])
def test_what_a_run_leaves_behind(tmp_path, task, picture):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    assert run_folder.write(tmp_path, outcome(task)) == []
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors", "metrics.json", "curves.png", picture}
    assert json.loads((tmp_path / "metrics.json").read_text()) == outcome(task).metrics
    assert Model.load(tmp_path / "model.safetensors").task == task
    for name in ("curves.png", picture):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_without_matplotlib_there_are_no_pictures_and_a_line_that_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    (line,) = run_folder.write(tmp_path, outcome("classification"))
    assert "pip install 'mlpgpu[plots]'" in line
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors", "metrics.json"}


def test_the_folder_of_a_run_that_was_killed_says_how_to_go_on(command):
    given = "--dataset iris --hidden 3 --epochs 2 --quiet"
    assert command(f"{given} --checkpoint-every 1 --run-dir one")[0] == 0
    for name in ("model.safetensors", "metrics.json"):
        Path("one", name).unlink()
    kept = Path("one", "checkpoints")
    resume = "which a run writes when it ends: go on with this one by mlpgpu train --resume one"
    for folder in (Path("one"), kept):
        code, _, err = command(f"{given} --start-from {folder} --run-dir two")
        last = kept / "last.safetensors"
        assert (code, err) == (
            2,
            f"error: {folder} has no model.safetensors, {resume}, or give the model of its last checkpoint, {last}\n",
        )
    (kept / "last.safetensors").unlink()
    with pytest.raises(InputError, match=re.escape(str(kept / "previous.safetensors"))):
        Model.load("one")
    assert command(f"{given} --start-from {kept / 'previous.safetensors'} --run-dir two")[0] == 0
    (kept / "previous.safetensors").unlink()
    (kept / "best.safetensors").unlink()
    with pytest.raises(InputError, match=f"one has no model.safetensors, {resume}$"):
        Model.load("one")
    assert command("--resume one")[0] == 0
    assert Model.load("one").sizes == (4, 3, 3)
