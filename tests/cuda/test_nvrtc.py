"""NVRTC, CUDA's own compiler, compiles the kernels for three generations of GPUs. It needs no GPU."""

import ctypes
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from small_networks import ALL_AT_ONCE, plan_of, rows_of

from mlpgpu.cuda import binding
from mlpgpu.maths import scores
from mlpgpu.training.epoch import Training
from mlpgpu.training.feed import Scaled


def _library():
    found = importlib.util.find_spec("nvidia")
    folders = [] if found is None else map(Path, found.submodule_search_locations)
    return next((path for folder in folders for path in sorted(folder.rglob("libnvrtc.so*"))), None)


pytestmark = pytest.mark.skipif(_library() is None, reason="nvidia-cuda-nvrtc is not installed: nothing compiles CUDA")


def errors_of(text, architecture):
    """Return the log of a compilation that fails; empty if it succeeds."""
    nvrtc, program = ctypes.CDLL(str(_library())), ctypes.c_void_p()
    assert not nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"step.cu", 0, None, None)
    # Those of CuPy.
    options = [b"--std=c++17", b"-ftz=true", f"-arch={architecture}".encode(), b"--device-as-default-execution-space"]
    failed = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    return log.value.decode() if failed else ""


@pytest.fixture
def texts(cupy, monkeypatch):
    """A list of the sources that are compiled."""
    found, module = [], cupy.RawModule
    monkeypatch.setattr(
        cupy, "RawModule", lambda code, options: found.append(code) or module(code=code, options=options)
    )
    return found


ARCHITECTURES = ["sm_75", "sm_90", "sm_120"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("loss", ["cross_entropy", "poisson"])
def test_kernels_compile(cuda, texts, loss, architecture):
    rows = rows_of(loss, dtype="uint8")
    plan = plan_of(rows, loss, dtype="float32", activation=("gelu", "softplus"), **ALL_AT_ONCE)
    placement = Scaled(cuda, np.full(5, 127.5), np.full(5, 1 / 64), plan.dtype)
    Training(cuda, plan, rows, placement).epoch(1)
    (text,) = texts
    assert text.startswith(binding.PRELUDE)
    assert not errors_of(text, architecture)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_extremes_of_numbers_that_are_whole_or_true(cuda, texts, architecture):
    z, xp = cuda.asarray(np.ones((40, 3), np.float32)), cuda.xp
    labels, right = cuda.asarray(np.zeros(40, np.int64)), cuda.asarray(np.ones((40, 3)) > 0)
    # `many` has enough rows for a reduction by several blocks.
    small, many = cuda.asarray(np.ones((40, 3), np.uint8)), cuda.asarray(np.ones((2000, 3), np.uint8))

    def function(z, labels, right, small, many):
        whole = xp.all(many > 0), xp.max(many, axis=0)
        return *whole, scores.correct(xp, z, labels), xp.all(right, axis=1), xp.max(small, axis=1), xp.max(right)

    found = cuda.compile(function)(z, labels, right, small, many)
    assert found[0]
    assert found[3].all()
    (text,) = texts
    assert not errors_of(text, architecture)
