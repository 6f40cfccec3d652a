# ruff: noqa: E402 (the libraries read these settings when they are imported)
import importlib.util
import os
import shlex
import signal
import sys
import tempfile
from collections import OrderedDict

# scikit-learn's array API dispatch needs SciPy's, and SciPy reads its variable only when it is imported.
os.environ.setdefault("SCIPY_ARRAY_API", "1")
# Each xdist worker has one core; with several threads each, the workers would wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
# Tests share the programs that JAX compiles. Each process has a folder of its own, since JAX may read a file that
# another process is still writing.
COMPILED = tempfile.TemporaryDirectory(prefix="mlpgpu-jax-", ignore_cleanup_errors=True)
os.environ |= {
    "JAX_COMPILATION_CACHE_DIR": COMPILED.name,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    # Optimising takes longer than all that is then run; tests of what it must not change ask for `optimised`.
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "true",
}
# A shell starts background processes with SIGINT ignored, which the tested processes would inherit.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# By default, MLflow refuses a folder as its store and sends telemetry.
os.environ |= {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from strict import StrictBackend

from mlpgpu import backends, plots
from mlpgpu.backends import base
from mlpgpu.backends.numpy import NumpyBackend

# The same examples in every run. Each may overwrite the files in the folder of its test, and take its time.
settings.register_profile(
    "tests", derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
settings.load_profile("tests")


def _missing(name):
    """Return why a backend cannot be tested here, or an empty string if it can."""
    if importlib.util.find_spec(name) is None:
        return f"{name} is not installed"
    if name == "cupy":
        try:
            backends.select("cuda", "cupy")
        except ValueError as error:
            return str(error)
    return ""


MISSING = {name: reason for name in backends.BACKENDS if (reason := _missing(name))}
REAL = [name for name in backends.BACKENDS if name not in MISSING]


def pytest_unconfigure():
    COMPILED.cleanup()


def pytest_report_header():
    return [f"backends tested: {', '.join(REAL)}, and array-api-strict on two devices", *MISSING.values()]


def _open(name):
    if name.startswith("strict"):
        return StrictBackend({"strict": "CPU_DEVICE", "strict-device1": "device1"}[name])
    return backends.select("cuda" if name == "cupy" else "cpu", name, "float64")[0]


@pytest.fixture(params=[*REAL, "strict", "strict-device1"])
def backend(request):
    """Each installed backend, and array-api-strict on two devices, in float64."""
    return _open(request.param)


@pytest.fixture(params=REAL)
def real_backend(request):
    """Each installed backend that a user can choose, in float64."""
    return _open(request.param)


@pytest.fixture
def optimised(monkeypatch):
    """Let JAX optimise what it compiles, as it does for users."""
    if "jax" in MISSING:
        yield
        return
    import jax

    monkeypatch.setattr("mlpgpu.backends.jax._programs", OrderedDict())
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def step_by_step(monkeypatch):
    """Report each step to the callbacks on NumPy, which otherwise runs many steps per call."""
    monkeypatch.setattr(NumpyBackend, "steps_per_call", 1)


@pytest.fixture
def no_pictures(monkeypatch):
    """Let the command draw no plots, which take longer than the rest of a short run."""
    monkeypatch.setattr("mlpgpu.results.run_folder._draw", lambda *_: [])


@pytest.fixture
def unrendered(monkeypatch):
    """Leave the files of plots empty: to render them takes longer than the rest of a short command."""
    if plots.available():
        monkeypatch.setattr("mlpgpu.plots.picture.Picture.savefig", lambda _, path, **__: path.touch())


@pytest.fixture
def not_compiled(monkeypatch):
    """Run steps without Numba, in subprocesses too: compiling takes longer than the rest of a short run.

    Runs of different length then agree to the bit: on a GPU, all of them are captured.
    """
    monkeypatch.setenv("MLPGPU_LOOP", "numpy")
    monkeypatch.setattr(base, "FEW_STEPS", 0)


@pytest.fixture
def command(drawing_command, no_pictures):
    """``command("--epochs 1")`` runs ``mlpgpu train`` in an empty folder -> exit code, stdout, stderr."""
    return drawing_command


@pytest.fixture
def drawing_command(command_of):
    """`command`, but with plots."""
    from mlpgpu import train

    return command_of(train.app)


@pytest.fixture
def command_of(tmp_path, monkeypatch, capsys):
    """``command_of(app)`` returns a function like `command` for another app."""
    monkeypatch.chdir(tmp_path)

    from mlpgpu import train

    def of(app):
        def run(line, app=app):
            code = train.run_command(app, shlex.split(line))
            return code, *capsys.readouterr()

        return run

    return of


@pytest.fixture
def small_files():
    """``with small_files(1000):`` limits each file to 1,000 bytes, as on a full disk."""
    pytest.importorskip("resource", reason="this system has no limit on the size of files")
    from limits import limited

    return limited


@pytest.fixture
def rng():
    return np.random.default_rng(20260101)


@pytest.fixture
def data_dir():
    """Folder with the real data sets."""
    folder = os.environ.get("MLPGPU_DATA_DIR")
    if not folder:
        pytest.skip("MLPGPU_DATA_DIR is not set: no real MNIST to test with")
    return folder


@pytest.fixture(autouse=True, scope="module")
def _forget_what_jax_compiled():
    """Free the programs compiled for a module; thousands of them would stay in memory until the end."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()


@pytest.fixture
def programs(tmp_path_factory, monkeypatch):
    """Folder that is the whole PATH, with no variable that hides GPUs: tests see none of this machine's programs."""
    folder = tmp_path_factory.mktemp("programs")
    monkeypatch.setenv("PATH", str(folder))
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "JAX_PLATFORMS"):
        monkeypatch.delenv(name, raising=False)
    # An imported CuPy would be asked for GPUs.
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    return folder
