"""``mlpgpu train`` as a process: its signals, its streams, and what it imports."""

import json
import os
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest
from run_files import FILES, history_in, metrics_in

from mlpgpu import __main__, __version__
from mlpgpu.settings.config import settings


def run_as_process(arguments, folder, **variables):
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, env={**os.environ, **variables}
    )


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


def test_ctrl_c_while_the_command_is_imported(monkeypatch, capsys):
    def interrupted(name, path=None, target=None):
        if name == "mlpgpu.commands":
            raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "mlpgpu.commands", raising=False)
    monkeypatch.setattr(sys, "meta_path", [types.SimpleNamespace(find_spec=interrupted), *sys.meta_path])
    with pytest.raises(SystemExit, match="130"):
        __main__.main()
    assert capsys.readouterr() == ("", "error: interrupted\n")


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
    assert run_as_process(["-m", "mlpgpu", "--version"], tmp_path).stdout.strip() == __version__


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
