"""What every benchmark here shares: devices, estimators, samples, and a word on the machine with each figure.

Run them with ``pytest bench``. ``--benchmark-autosave`` keeps the figures under ``.benchmarks``, and
``--benchmark-compare`` sets those of a later run beside them.
"""

import functools
import warnings

import numpy as np
import pytest

# scikit-learn brings SciPy's BLAS, which is to be there whenever the libraries in this process are listed.
from sklearn import neural_network

import mlpgpu
from mlpgpu import backends, machine
from mlpgpu.config import Config
from mlpgpu.data import load
from mlpgpu.errors import InputError
from mlpgpu.feed import Rows
from mlpgpu.fusion.compiled import has_numba
from mlpgpu.fusion.loop import VARIABLE
from mlpgpu.maths.scaling import scale
from mlpgpu.throughput.contenders import find
from mlpgpu.throughput.study import Study

# CPU, and every CUDA device that CuPy finds.
DEVICES = [contender.device for contender in find(Study())[0]]
# On the CPU, each way that a step can take there.
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
    """Tell what is not as it was, where pytest-benchmark would warn with all there is of both machines."""
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
    """One of each device, and of each way that a step takes there."""
    device, way = request.param
    monkeypatch.setenv(VARIABLE, way)
    found = backends.select(device)[0]
    benchmark.extra_info.update(device=found.description, loop=way)
    return found


@pytest.fixture(params=CLASSIFIERS)
def classifier(request):
    """scikit-learn's ``MLPClassifier``, and ours on each device: takes its parameters."""
    return functools.partial(CLASSIFIERS[request.param], random_state=0)


@pytest.fixture(autouse=True)
def _tell(benchmark):
    """With each figure, what it depends on beside the code; and a rate, where a test told its ``samples``."""
    found, info = _describe(), benchmark.extra_info
    info["cpu"], info["cores"], info["versions"] = found["cpu"], found["cores"], found["versions"]
    # The core type tells which kernels OpenBLAS runs; another BLAS has none.
    info["blas"] = [
        f"{blas['internal_api']} {blas['version']} {blas['architecture'] or ''} x {blas['num_threads']}"
        for blas in found["blas"]
    ]
    yield
    if benchmark.stats and "samples" in info:
        info["samples_per_second"] = info["samples"] / benchmark.stats.stats.median


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
def scaled(samples):
    """Their first 60,000 and last 10,000 rows as an estimator takes them: float32, scaled."""
    data, rows = samples
    scaling = data.scaling
    x = scale(np, rows.x, scaling.shift.astype(np.float32), scaling.factor.astype(np.float32))
    return (x[:60_000], rows.targets[:60_000]), (x[60_000:], rows.targets[60_000:])
