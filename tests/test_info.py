"""The command ``mlpgpu info``."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import platformdirs
import pytest
import smi
from backends import fakes

from mlpgpu import backends, commands, info, train
from mlpgpu.data import mnist
from mlpgpu.machine import describe, warnings

MACHINE = {
    "python": "3.13.1",
    "platform": "Linux-6.1",
    "cpu": "Swift [bold]CPU[/bold]",
    "simd": ["AVX2"],
    "cores": 1,
    "memory_bytes": 16 * 2**30,
    "versions": {"mlpgpu": "1.0", "numpy": "2.4.6"},
    "blas": [
        {"internal_api": "openblas", "version": "0.3", "architecture": "Zen", "num_threads": 1, "filepath": "a.so"},
        {"internal_api": "mkl", "version": "2025", "architecture": None, "num_threads": 4, "filepath": "b.so"},
        {"internal_api": "accelerate", "version": "1", "architecture": None, "num_threads": None, "filepath": None},
    ],
    "environment": {"OPENBLAS_CORETYPE": "Haswell"},
    "cuda": [
        {
            "name": "NVIDIA H100",
            "compute_capability": "9.0",
            "memory_bytes": 80 * 2**30,
            "free_bytes": 3 * 2**28,
            "driver": "550.54",
            "hidden": False,
            "device": "cuda:0",
        },
        {
            **dict.fromkeys(("compute_capability", "memory_bytes", "free_bytes", "driver", "device")),
            "name": "NVIDIA GB10",
            "hidden": True,
        },
    ],
    "cuda_versions": {"driver": "13.0", "runtime": "13.2", "cublas": "13.1.0", "torch": "12.8"},
}


@pytest.fixture(autouse=True)
def _at_rest(monkeypatch):
    """Simulate a machine on which no other program is busy."""
    monkeypatch.setattr(info, "load", lambda: 0.0)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Folder of MNIST in an empty cache, with no other folder to look in."""
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / "cache" / name))
    monkeypatch.delenv(mnist.FOLDER_VARIABLE, raising=False)
    return tmp_path / "cache" / "mlpgpu" / "mnist"


@pytest.fixture
def command(capsys):
    """``command("--json")`` -> stdout, if the command succeeds."""

    def run(*arguments):
        assert train.run_command(info.app, arguments) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return out

    return run


@pytest.fixture
def cells(command, monkeypatch):
    """``cells(**changes)`` -> the values by label in the table for `MACHINE` with these changes."""

    def rows(**changes):
        monkeypatch.setattr(info, "describe", lambda: {**MACHINE, **changes})
        found = {}
        for line in command().splitlines():
            label, _, value = line.partition("  ")
            found.setdefault(label, []).append(value.strip())
        return found

    return rows


def put_idx_files(folder, files=mnist.FILES):
    folder.mkdir(parents=True)
    for file in files:
        (folder / f"{file}.gz").touch()


# --- JSON -----------------------------------------------------------------------------------------------------------


def test_json_is_the_description_with_what_was_chosen(command, cache):
    found = json.loads(command("--json"))
    backend, reason = backends.select()
    assert found.pop("selected") == {
        "backend": backend.name,
        "device": backend.device,
        "description": backend.description,
        "reason": reason,
    }
    assert found.pop("mnist") == {"folder": str(cache), "found": False}
    assert found.pop("warnings") == warnings(found)
    assert found == describe()


@pytest.mark.parametrize("arguments", [["-m", "mlpgpu", "info"], ["-m", "mlpgpu.info"]])
def test_it_is_a_command_and_a_module(arguments):
    command = [sys.executable, "-W", "error", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["versions"]["numpy"] == np.__version__


def test_it_stands_in_the_list_of_commands(capsys):
    assert train.run_command(commands.app, ["--help"]) == 0
    assert re.search(r"^. info +Show ", capsys.readouterr().out, re.MULTILINE)


def test_a_mistake_is_one_line(capsys):
    assert train.run_command(info.app, ["--jsno"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"error: .*--jsno.*\n", err)


def test_help_loads_no_library():
    code = (
        "import sys; from mlpgpu import info, train; train.run_command(info.app, ['--help']);"
        "print({'numpy', 'cupy', 'torch', 'jax', 'numba', 'matplotlib', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


# --- table ----------------------------------------------------------------------------------------------------------


def test_the_table(cells, cache):
    found = cells()
    backend, reason = backends.select()
    assert found == {
        "Device": [f"auto takes {backend.description} ({reason})"],
        "Python": ["3.13.1, Linux-6.1"],
        "Processor": ["Swift [bold]CPU[/bold], 1 core, 16.0 GiB memory"],
        "Libraries": ["mlpgpu 1.0, numpy 2.4.6"],
        "BLAS": ["openblas 0.3, kernels for Zen, 1 thread", "mkl 2025, 4 threads", "accelerate 1"],
        "Steps": ["run by NumPy alone"],
        "GPU": [
            "cuda:0, NVIDIA H100, compute capability 9.0, 80.0 GiB memory, 0.8 GiB of it free, driver 550.54",
            "NVIDIA GB10, hidden by CUDA_VISIBLE_DEVICES",
        ],
        "CUDA": ["the driver supports 13.0, CuPy runs 13.2, cuBLAS 13.1.0, PyTorch is built for 12.8"],
        "MNIST": [f"not here yet; a download goes to {cache}"],
        "Variables": ["OPENBLAS_CORETYPE=Haswell"],
        "Warning": warnings(MACHINE),
    }
    assert len(found["Warning"]) == 4


def test_a_machine_with_nothing_to_warn_of(cells):
    found = cells(
        versions={"numba": "0.60"},
        cuda=[],
        cuda_versions={},
        environment={},
        cpu="Swift",
        cores=8,
        memory_bytes=None,
        blas=[],
    )
    assert found["Processor"] == ["Swift, 8 cores"]
    assert found["Steps"] == ["compiled by Numba in long runs"]
    assert found["GPU"] == ["none found"]
    assert not {"Warning", "Variables", "BLAS", "CUDA"} & found.keys()


@pytest.mark.parametrize(
    ("fake", "taken", "listed"),
    [
        (
            lambda: fakes.cupy(devices=2),
            r"cuda:0, Fake 0, CuPy 13\.6\.0 \(a CUDA device works\)",
            ["cuda:0, Fake 0", "cuda:1, Fake 1"],
        ),
        (lambda: fakes.cupy(driver=0), r"cpu, NumPy .*finds no NVIDIA driver.*", ["none found"]),
        (lambda: None, r"cpu, NumPy \S+ \(CuPy is not installed\)", ["none found"]),
    ],
)
def test_the_device_that_auto_takes(cells, monkeypatch, programs, fake, taken, listed):
    fakes.put(monkeypatch, "cupy", fake())
    (device,) = cells(cuda=describe()["cuda"])["Device"]
    assert re.fullmatch(f"auto takes {taken}", device)
    assert cells(cuda=describe()["cuda"])["GPU"] == listed


def test_gpus_from_the_driver_to_the_table(command, cells, programs, monkeypatch):
    """One of two GPUs is hidden, and CuPy works."""
    smi.put(programs, *["NVIDIA H200, 143771, 140000, 9.0"] * 2, driver="580.95.05", cuda="13.0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    fakes.put(monkeypatch, "cupy", fakes.cupy(driver=13010))
    monkeypatch.setitem(sys.modules, "torch", None)
    found = json.loads(command("--json"))
    assert [gpu["hidden"] for gpu in found["cuda"]] == [True, False]
    assert found["cuda_versions"] == {"driver": "13.1", "runtime": "13.0", "cublas": "13.1.0"}
    assert found["selected"]["device"] == found["cuda"][1]["device"] == "cuda:0"
    table = cells(cuda=found["cuda"], cuda_versions=found["cuda_versions"], environment=found["environment"])
    h200 = "NVIDIA H200, compute capability 9.0, 140.4 GiB memory, 136.7 GiB of it free, driver 580.95.05"
    assert table["GPU"] == [f"{h200}, hidden by CUDA_VISIBLE_DEVICES", f"cuda:0, {h200}"]
    assert table["CUDA"] == ["the driver supports 13.1, CuPy runs 13.0, cuBLAS 13.1.0"]
    assert "CUDA_VISIBLE_DEVICES='1' hides 1 of 2 GPUs; unset it to use all" in found["warnings"]


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_lines_keep_to_the_width_of_a_terminal(command, monkeypatch, columns):
    monkeypatch.setattr(info, "describe", lambda: dict(MACHINE))
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    out = command()
    assert "\x1b[" in out
    lines = re.sub(r"\x1b\[[\d;]*m", "", out).splitlines()
    assert max(map(len, lines)) <= columns
    # A long value is wrapped within its column, and nothing of it is lost.
    start = lines[0].index("auto takes")
    assert all(not line[:start].strip() for line in lines if line.startswith(" "))
    values = "".join(line[start:] for line in lines).replace(" ", "")
    assert all(line.replace(" ", "") in values for line in warnings(MACHINE))


def test_what_is_piped_has_no_escapes_and_one_line_a_fact(command, monkeypatch):
    monkeypatch.setattr(info, "describe", lambda: dict(MACHINE))
    monkeypatch.setenv("COLUMNS", "40")
    out = command()
    assert "\x1b" not in out
    assert not any(line.startswith(" ") for line in out.splitlines())


# --- MNIST ----------------------------------------------------------------------------------------------------------


def test_mnist_in_the_folder_of_the_variable_comes_first(command, cache, tmp_path, monkeypatch):
    put_idx_files(cache)
    put_idx_files(tmp_path / "data" / "mnist")
    monkeypatch.setenv(mnist.FOLDER_VARIABLE, str(tmp_path / "data"))
    assert json.loads(command("--json"))["mnist"] == {"folder": str(tmp_path / "data" / "mnist"), "found": True}


def test_mnist_in_the_cache(command, cache, cells, tmp_path, monkeypatch):
    monkeypatch.setenv(mnist.FOLDER_VARIABLE, str(tmp_path))
    put_idx_files(cache)
    assert json.loads(command("--json"))["mnist"] == {"folder": str(cache), "found": True}
    assert cells()["MNIST"] == [str(cache)]


def test_some_of_the_files_of_mnist_are_not_mnist(command, cache):
    put_idx_files(cache, mnist.FILES[:3])
    assert json.loads(command("--json"))["mnist"] == {"folder": str(cache), "found": False}


def test_mnist_is_loaded_from_where_it_is_said_to_be(command, data_dir, monkeypatch):
    from mlpgpu.settings.config import Config

    monkeypatch.setenv(mnist.FOLDER_VARIABLE, data_dir)
    found = json.loads(command("--json"))["mnist"]
    monkeypatch.delenv(mnist.FOLDER_VARIABLE)
    assert found["found"]
    assert os.path.commonpath([data_dir, found["folder"]]) == os.path.normpath(data_dir)
    assert len(mnist.load("mnist", Config(data_dir=found["folder"])).x) == 60_000
