import sys
from pathlib import Path

import hosted
import pytest

from mlpgpu import backends
from mlpgpu.backends import base
from mlpgpu.cuda import binding, kernels, source
from mlpgpu.fusion.trace import Traced

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("backends", "fusion")]
import fakes


@pytest.fixture
def cupy(monkeypatch):
    """CuPy whose device is the host, for kernels that a compiler of the host compiles."""
    if hosted.COMPILER is None:
        pytest.skip("no C++ compiler is installed: kernels cannot be run on the host")
    module = hosted.cupy()
    fakes.put(monkeypatch, "cupy", module)
    # Small networks are captured here, however few their steps are.
    monkeypatch.setattr(base, "FEW_STEPS", 0)
    monkeypatch.setattr(binding, "library", lambda cupy: cupy.lt)
    monkeypatch.setattr(kernels.Writer, "level", with_sizes(kernels.Writer.level))
    return module


def with_sizes(level):
    """`Writer.level`, whose kernels have a comment on how many elements they are told of, where that is known."""

    def size(buffer, per_step):
        if isinstance(buffer, Traced):
            return -1 if buffer in per_step else buffer.size
        return buffer.n_bytes // (buffer.reduction.dtype.itemsize if isinstance(buffer, source.Parts) else 4)

    def write(self, number):
        written = level(self, number)
        if written is not None:
            sizes = " ".join(str(size(buffer, self.per_step)) for buffer in written.arguments)
            written.text = written.text.replace(") {", f") {{ // of {sizes}", 1)
        return written

    return write


@pytest.fixture
def cuda(cupy):
    """The backend on that device."""
    return backends.select("cuda")[0]


@pytest.fixture
def spaces(cupy, monkeypatch):
    """By stream, the work spaces of the products on it, as they are done."""
    multiply, spaces = cupy.lt.cublasLtMatmul, {}

    def watched(*given):
        spaces.setdefault(given[-1].value, set()).add(given[-3].value)
        return multiply(*given)

    monkeypatch.setattr(cupy.lt, "cublasLtMatmul", watched, raising=False)
    return spaces
