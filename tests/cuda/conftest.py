import sys
from pathlib import Path

import hosted
import pytest

from mlpgpu import backends
from mlpgpu.backends import base
from mlpgpu.cuda import kernels, products

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("backends", "fusion")]
import fakes


@pytest.fixture
def cupy(monkeypatch):
    """A stand-in for CuPy whose device is the host. The host's compiler compiles the kernels."""
    if hosted.COMPILER is None:
        pytest.skip("no C++ compiler is installed: kernels cannot be run on the host")
    module = hosted.cupy()
    fakes.put(monkeypatch, "cupy", module)
    # Otherwise the short runs of these tests would not be captured.
    monkeypatch.setattr(base, "FEW_STEPS", 0)
    monkeypatch.setattr(products, "library", lambda cupy: cupy.lt)
    monkeypatch.setattr(kernels.Writer, "level", with_sizes(kernels.Writer.level))
    return module


def with_sizes(level):
    """Wrap `Writer.level` to list the sizes of a kernel's arguments in a comment, for bounds checks; -1 if unknown."""

    def write(self, number):
        written = level(self, number)
        if written is not None:
            sizes = " ".join(str(-1 if buffer in self.per_step else buffer.size) for buffer in written.arguments)
            written.text = written.text.replace(") {", f") {{ // of {sizes}", 1)
        return written

    return write


@pytest.fixture
def cuda(cupy):
    """The backend on the stand-in."""
    return backends.select("cuda")[0]


@pytest.fixture
def workspaces(cupy, monkeypatch):
    """Addresses of the workspaces that products use, by the handle of their stream."""
    multiply, workspaces = cupy.lt.cublasLtMatmul, {}

    def watched(*given):
        workspaces.setdefault(given[-1].value, set()).add(given[-3].value)
        return multiply(*given)

    monkeypatch.setattr(cupy.lt, "cublasLtMatmul", watched, raising=False)
    return workspaces
