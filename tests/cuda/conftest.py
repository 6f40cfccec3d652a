import sys
from pathlib import Path

import hosted
import pytest

from mlpgpu import backends
from mlpgpu.cuda import binding

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("backends", "fusion")]
import fakes


@pytest.fixture
def cupy(monkeypatch):
    """CuPy whose device is the host, for kernels that a compiler of the host compiles."""
    if hosted.COMPILER is None:
        pytest.skip("no C++ compiler is installed: kernels cannot be run on the host")
    module = hosted.cupy()
    fakes.put(monkeypatch, "cupy", module)
    monkeypatch.setattr(binding, "library", lambda cupy: cupy.lt)
    return module


@pytest.fixture
def cuda(cupy):
    """The backend on that device."""
    return backends.select("cuda")[0]
