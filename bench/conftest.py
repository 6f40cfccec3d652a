"""The 70,000 samples and the devices that every benchmark here runs on."""

import importlib.util
import platform
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl

from mlpgpu import backends
from mlpgpu.config import Config
from mlpgpu.data import load
from mlpgpu.errors import InputError
from mlpgpu.feed import Rows


def _devices():
    """CPU, and every CUDA device that CuPy finds."""
    found = ["cpu"]
    while importlib.util.find_spec("cupy"):
        try:
            backends.select(f"cuda:{len(found) - 1}")
        except InputError:
            break
        found.append(f"cuda:{len(found) - 1}")
    return found


@pytest.fixture(params=_devices())
def backend(request):
    return backends.select(request.param)[0]


@pytest.fixture(scope="session")
def samples():
    """All 70,000 MNIST images, or as many synthetic rows of that size where MNIST is not found."""
    try:
        data = load(Config(dataset="mnist", validation_fraction=0))
    except InputError:
        data = load(Config(dataset="synthetic", validation_fraction=0))
    rows = Rows(np.concatenate([data.x_train, data.x_test]), np.concatenate([data.y_train, data.y_test]))
    return data, rows


@pytest.fixture(scope="session")
def machine():
    """What a figure depends on beside the code."""
    cpus = Path("/proc/cpuinfo")
    models = [line for line in cpus.read_text().splitlines() if line.startswith("model name")] if cpus.exists() else []
    blas = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    return {
        "cpu": models[0].partition(": ")[2] if models else platform.processor(),
        "blas": ", ".join(
            f"{pool['internal_api']} {pool['version']} {pool.get('architecture', '')} x {pool['num_threads']}"
            for pool in blas
        ),
        "python": platform.python_version(),
    }
