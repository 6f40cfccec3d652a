"""Fixtures of all benchmarks: devices, estimators and data, and a record of the machine with each result.

Run them with ``pytest bench``. ``--benchmark-autosave`` saves the results under ``.benchmarks``, and
``--benchmark-compare`` compares a later run with them.
"""

import functools
import warnings

import numpy as np
import pytest

# Imported to load SciPy's BLAS before the libraries of this process are listed.
from sklearn import neural_network

import mlpgpu
from mlpgpu import backends, machine
from mlpgpu.data import load
from mlpgpu.errors import InputError
from mlpgpu.fusion.compiled import has_numba
from mlpgpu.fusion.loop import VARIABLE
from mlpgpu.maths.scaling import scale
from mlpgpu.settings.config import Config
from mlpgpu.throughput.contenders import find
from mlpgpu.throughput.study import Study
from mlpgpu.training.feed import Rows

# The CPU and every CUDA device that CuPy finds.
DEVICES = [contender.device for contender in find(Study())[0]]
# Pairs of device and loop: on the CPU, every loop that is installed.
WAYS = [("cpu", "numpy"), *([("cpu", "numba")] if has_numba() else []), *((device, "auto") for device in DEVICES[1:])]
CLASSIFIERS = {"scikit-learn": neural_network.MLPClassifier} | {
    f"mlpgpu-{device}": functools.partial(mlpgpu.MLPClassifier, device=device) for device in DEVICES
}


@functools.cache
def _describe():
    return machine.describe()


def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info["mlpgpu"] = _describe()


@pytest.hookimpl(wrapper=True)
def pytest_benchmark_compare_machine_info(benchmarksession, machine_info, compared_benchmark):
    """Log only what has changed, where pytest-benchmark would print a warning with all of both descriptions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = yield
    then = compared_benchmark["machine_info"].get("mlpgpu", {})
    for name, now in machine_info["mlpgpu"].items():
        if now != then.get(name):
            benchmarksession.logger.info(f"{name} was {then.get(name)}, and is {now}", newline=False)
    return result


@pytest.fixture(params=WAYS, ids="-".join)
def backend(request, benchmark, monkeypatch):
    """Backend of each device, with each loop."""
    device, way = request.param
    monkeypatch.setenv(VARIABLE, way)
    found = backends.select(device)[0]
    benchmark.extra_info.update(device=found.description, loop=way)
    return found


@pytest.fixture(params=CLASSIFIERS)
def classifier(request):
    """Constructor of scikit-learn's ``MLPClassifier``, and of mlpgpu's on each device."""
    return functools.partial(CLASSIFIERS[request.param], random_state=0)


@pytest.fixture(autouse=True)
def _tell(benchmark):
    """Record the machine with each result, and the rate if the test set ``samples``."""
    found, info = _describe(), benchmark.extra_info
    info["cpu"], info["cores"], info["versions"] = found["cpu"], found["cores"], found["versions"]
    # The architecture identifies OpenBLAS's kernels; other BLAS libraries have none.
    info["blas"] = [
        f"{blas['internal_api']} {blas['version']} {blas['architecture'] or ''} x {blas['num_threads']}"
        for blas in found["blas"]
    ]
    yield
    if benchmark.stats and "samples" in info:
        info["samples_per_second"] = info["samples"] / benchmark.stats.stats.median


@pytest.fixture(scope="session")
def samples():
    """All 70,000 MNIST images, or synthetic rows of the same number and size if MNIST is not found."""
    try:
        data = load(Config(dataset="mnist", validation_fraction=0))
    except InputError:
        data = load(Config(dataset="synthetic", validation_fraction=0))
    rows = Rows(np.concatenate([data.x_train, data.x_test]), np.concatenate([data.y_train, data.y_test]))
    return data, rows


@pytest.fixture(scope="session")
def scaled(samples):
    """The first 60,000 and last 10,000 `samples` as an estimator takes them: float32, scaled."""
    data, rows = samples
    scaling = data.scaling
    x = scale(np, rows.x, scaling.shift.astype(np.float32), scaling.factor.astype(np.float32))
    return (x[:60_000], rows.targets[:60_000]), (x[60_000:], rows.targets[60_000:])
