"""A GPU that fails during a run, simulated on NumPy by a loop that raises CUDA's errors."""

import contextlib
import json
import re

import numpy as np
import pytest
from cyclopts import App

from mlpgpu import Config, Model, find_learning_rate, plots, train
from mlpgpu.backends.cuda_failures import described
from mlpgpu.backends.numpy import NumpyBackend
from mlpgpu.callbacks import ModelCheckpoint, RunCheckpoint
from mlpgpu.errors import InputError
from mlpgpu.workflow import train_and_test

ILLEGAL = "an illegal memory access was encountered"
# Messages of CuPy, PyTorch, JAX and cuBLAS, and words of their explanations.
LOST = {
    f"cudaErrorIllegalAddress: {ILLEGAL}": "a kernel went astray",
    f"CUDA error: {ILLEGAL}\nSearch for `cudaErrorIllegalAddress' in https://docs.nvidia.com\n": "a kernel went astray",
    f"INTERNAL: Failed to synchronize: CUDA_ERROR_ILLEGAL_ADDRESS: {ILLEGAL}": "a kernel went astray",
    "CUDA error: device-side assert triggered": "a kernel went astray",
    "cudaErrorECCUncorrectable: uncorrectable ECC error encountered": "is damaged",
    "INTERNAL: CUDA_ERROR_NVLINK_UNCORRECTABLE: uncorrectable NVLink error detected": "is damaged",
    "cudaErrorLaunchFailure: unspecified launch failure": "was reset or is gone",
    "CUDA error: unknown error": "was reset or is gone",
    "CUBLAS_STATUS_EXECUTION_FAILED": "was reset or is gone",
    "CUDA error: the launch timed out and was terminated": "ran too long",
}


@contextlib.contextmanager
def lost(error, calls):
    """Let every use of the device raise `error` after `calls` calls of its loop."""
    compile_loop, to_host, done = NumpyBackend.compile_loop, NumpyBackend.to_host, 0

    def losing(self, step, n_steps=None):
        loop = compile_loop(self, step, n_steps)

        def counted(*given):
            nonlocal done
            done += 1
            if done > calls:
                raise error
            return loop(*given)

        return counted

    def fetch(self, array):
        if done > calls:
            raise error
        return to_host(self, array)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NumpyBackend, "compile_loop", losing)
        patch.setattr(NumpyBackend, "to_host", fetch)
        yield


@pytest.fixture
def run(capsys, monkeypatch):
    """``run("--epochs", 3)`` -> exit code, stdout, stderr."""

    # Plots take longer than the rest.
    monkeypatch.setattr(plots, "available", lambda: False)
    monkeypatch.setenv("MLPGPU_LOOP", "numpy")

    def command(*arguments):
        code = train.run_command(train.app, ["--device=cpu", *map(str, arguments)])
        return code, *capsys.readouterr()

    return command


@pytest.mark.parametrize(("text", "what"), LOST.items())
def test_what_a_failure_means(text, what):
    said = described(RuntimeError(text), "cuda:1")
    assert said.startswith("cuda:1 failed (")
    assert what in said
    assert "\n" not in said
    assert "Search for" not in said


@pytest.mark.parametrize(
    "error",
    [
        ValueError(f"cudaErrorIllegalAddress: {ILLEGAL}"),
        RuntimeError("unknown error"),
        RuntimeError("cudaErrorInvalidValue: invalid argument"),
        RuntimeError("CUBLAS_STATUS_INVALID_VALUE"),
        RuntimeError("shapes (2, 3) and (4, 5) on cuda:0 do not go together"),
        KeyError("cuda"),
    ],
)
def test_what_is_a_mistake_of_the_program_keeps_its_traceback(error):
    assert described(error) is None


def test_a_run_ends_in_one_line_and_goes_on_from_its_checkpoint(run, tmp_path):
    settings = ["--dataset=iris", "--epochs=6", "--batch-size=16", "--checkpoint-every=1"]
    assert run(*settings, f"--run-dir={tmp_path / 'whole'}")[0] == 0
    folder = tmp_path / "lost"
    with lost(RuntimeError(f"cudaErrorIllegalAddress: {ILLEGAL}"), 3):
        code, _, err = run(*settings, f"--run-dir={folder}")
    assert code == 2
    kept = folder / "checkpoints" / "last.safetensors"
    assert re.fullmatch(rf"error: cpu failed \(.*\): .*; go on from {re.escape(str(kept))} by --resume\n", err)
    assert run("--resume", kept)[0] == 0
    one, other = (Model.load(at / "model.safetensors") for at in (tmp_path / "whole", folder))
    np.testing.assert_array_equal(one.params, other.params)
    assert json.loads((folder / "metrics.json").read_text())["complete"]


def test_a_run_without_a_checkpoint(run, tmp_path):
    with lost(RuntimeError("CUDA error: unknown error"), 0):
        code, _, err = run("--dataset=iris", "--epochs=2", f"--run-dir={tmp_path / 'run'}")
    assert code == 2
    assert err.endswith("; no checkpoint was written yet: begin again\n")
    assert err.count("\n") == 1


def test_a_device_lost_in_the_test_of_a_run(monkeypatch, tmp_path):
    def fail(*_):
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr("mlpgpu.workflow._test", fail)
    callbacks = [ModelCheckpoint(tmp_path / "best.safetensors"), RunCheckpoint(tmp_path / "kept", every=1)]
    with pytest.raises(InputError, match="unspecified launch failure") as caught:
        train_and_test(Config(dataset="iris", epochs=2, device="cpu"), callbacks)
    assert str(caught.value).endswith(f"go on from {tmp_path / 'kept' / 'last.safetensors'} by --resume")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_out_of_memory_is_still_reported_as_such():
    error = RuntimeError("cudaErrorMemoryAllocation: out of memory")
    with lost(error, 0), pytest.raises(InputError, match=r"^out of memory on cpu .* lower --"):
        train_and_test(Config(dataset="iris", epochs=2, device="cpu"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CUDA error: unknown error", r"cpu failed \(.*; no checkpoint was written yet: begin again"),
        ("cudaErrorMemoryAllocation: out of memory", "out of memory on cpu .*: the run needs about .*; lower --.*"),
    ],
)
def test_a_range_test_ends_in_one_line(capsys, text, said):
    with lost(RuntimeError(text), 0):
        code = train.run_command(find_learning_rate.app, ["--dataset=iris", "--device=cpu", "--quiet"])
    assert code == 2
    assert re.fullmatch(f"error: {said}\n", capsys.readouterr().err)


def test_other_commands_end_in_one_line_too(capsys):
    def command_that(error):
        app = App(suppress_keyboard_interrupt=False)

        @app.default
        def fail():
            raise error

        return app

    text = "CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronously reported\n"
    assert train.run_command(command_that(RuntimeError(text)), []) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: the CUDA device failed (CUDA error: unspecified launch failure): it was reset")
    assert err.count("\n") == 1
    with pytest.raises(RuntimeError, match="^another$"):
        train.run_command(command_that(RuntimeError("another")), [])
