"""The description of the machine, against the system, the libraries and a fresh interpreter."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlpgpu import machine
from mlpgpu.machine import describe, warnings

KEYS = ["python", "platform", "cpu", "simd", "cores", "memory_bytes", "versions", "blas", "environment"]
KEYS += ["cuda", "cuda_versions"]
needs_sh = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell script")
needs_openblas = pytest.mark.skipif(
    np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"] != "scipy-openblas",
    reason="NumPy was built with another BLAS",
)


def run(code, **variables):
    """Return what a fresh interpreter prints; of the variables that `describe` reads, only these are set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(machine.VARIABLES)}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**kept, **variables})
    return json.loads(done.stdout)


DESCRIBE = "import json; from mlpgpu.machine import describe; print(json.dumps(describe()))"


@pytest.fixture
def program(tmp_path, monkeypatch):
    """``program("name", "lines of sh")`` puts a program on an otherwise empty PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def put(name, lines):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{lines}\n")
        path.chmod(0o755)

    return put


# --- description ----------------------------------------------------------------------------------------------------


def test_it_is_json_with_the_same_keys_everywhere():
    found = describe()
    assert list(found) == KEYS
    assert json.loads(json.dumps(found)) == found
    assert found["python"] == sys.version.split()[0]
    assert found["platform"] == platform.platform()


def test_versions_are_those_of_the_modules():
    import scipy
    import sklearn

    import mlpgpu

    versions = describe()["versions"]
    assert versions["mlpgpu"] == mlpgpu.__version__
    assert versions["numpy"] == np.__version__
    assert versions["scipy"] == scipy.__version__
    assert versions["scikit-learn"] == sklearn.__version__


def test_what_is_not_installed_has_no_version(monkeypatch):
    asked = []

    def version(name):
        asked.append(name)
        if name != "torch":
            raise machine.metadata.PackageNotFoundError(name)
        return "2.9.0"

    monkeypatch.setattr(machine.metadata, "version", version)
    assert describe()["versions"] == {"mlpgpu": machine.__version__, "torch": "2.9.0"}
    assert set(asked) >= {"numpy", "numba", "cupy-cuda13x", "jax", "nvidia-cuda-runtime"}


def test_no_library_is_loaded_but_numpy():
    loaded = run(
        "import json, sys; from mlpgpu.machine import describe; describe();"
        "print(json.dumps([name for name in sys.modules if '.' not in name]))"
    )
    assert "numpy" in loaded
    assert not {"scipy", "sklearn", "numba", "torch", "jax", "cupy", "rich", "matplotlib"} & set(loaded)


def test_cores_are_those_that_the_process_may_use():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("a process cannot be held to a core here")
    assert describe()["cores"] == len(os.sched_getaffinity(0))
    core = min(os.sched_getaffinity(0))
    assert run(f"import os; os.sched_setaffinity(0, {{{core}}}); {DESCRIBE}")["cores"] == 1


def test_cores_where_a_process_is_not_held_to_any(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert describe()["cores"] == 12
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert describe()["cores"] == 1


def test_memory():
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        pytest.skip("no /proc/meminfo")
    kibibytes = int(next(line for line in meminfo.read_text().splitlines() if line.startswith("MemTotal")).split()[1])
    assert describe()["memory_bytes"] == pytest.approx(kibibytes * 1024, rel=0.01)


def test_memory_where_it_is_not_told(monkeypatch):
    monkeypatch.delattr(os, "sysconf", raising=False)
    assert describe()["memory_bytes"] is None


def test_only_variables_that_change_the_speed(monkeypatch):
    for name in [name for name in os.environ if name.startswith(machine.VARIABLES)]:
        monkeypatch.delenv(name)
    told = {"CUDA_VISIBLE_DEVICES": "", "NUMBA_NUM_THREADS": "3", "OMP_NUM_THREADS": "2"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    for name in ("MLPGPU_DATA_DIR", "NUMBA_CACHE_DIR", "COMPUTER_NAME"):
        monkeypatch.setenv(name, "here")
    found = describe()["environment"]
    assert found == told
    assert list(found) == sorted(found)


# --- processor ------------------------------------------------------------------------------------------------------


@pytest.fixture
def linux(tmp_path, monkeypatch):
    """``linux(text)`` simulates a Linux system with this ``/proc/cpuinfo``."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    return lambda text: (tmp_path / "cpuinfo").write_text(text)


def test_processor_of_linux(linux):
    one = (
        "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t\t: 2\nmodel name\t: AMD EPYC 9654: 96 cores\nflags\t: fpu\n"
    )
    linux(f"{one}\n{one.replace('9654', '1234')}")
    assert machine._cpu() == "AMD EPYC 9654: 96 cores"


@pytest.mark.parametrize("text", ["processor\t: 0\nCPU part\t: 0xd40\n", None])
@pytest.mark.parametrize(("processor", "said"), [("Neoverse", "Neoverse"), ("", "aarch64")])
def test_processor_that_linux_does_not_name(linux, monkeypatch, text, processor, said):
    if text:
        linux(text)
    monkeypatch.setattr(platform, "processor", lambda: processor)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert machine._cpu() == said


@needs_sh
def test_processor_of_macos(program, monkeypatch, linux):
    linux("")
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    assert machine._cpu() == "arm"
    program("sysctl", '[ "$*" = "-n machdep.cpu.brand_string" ] && echo "Apple M3 Pro"')
    assert machine._cpu() == "Apple M3 Pro"


# --- BLAS -----------------------------------------------------------------------------------------------------------

# Asks OpenBLAS itself, without threadpoolctl, on which the description relies.
ASKED = (
    "import ctypes, json, pathlib, numpy;"
    "folder = pathlib.Path(numpy.__file__).parents[1] / 'numpy.libs';"
    "path, = folder.glob('libscipy_openblas*');"
    "library = ctypes.CDLL(str(path));"
    "name = library.scipy_openblas_get_corename64_; name.restype = ctypes.c_char_p;"
    "print(json.dumps([path.name, name().decode(), library.scipy_openblas_get_num_threads64_()]))"
)


@needs_openblas
@pytest.mark.skipif(sys.platform != "linux", reason="the library lies elsewhere")
@pytest.mark.parametrize("variables", [{}, {"OPENBLAS_CORETYPE": "Haswell"}, {"OPENBLAS_NUM_THREADS": "1"}])
def test_blas_is_what_openblas_says_itself(variables):
    if "OPENBLAS_CORETYPE" in variables and platform.machine() != "x86_64":
        pytest.skip("a core type of another architecture")
    (pool,) = run(DESCRIBE, **variables)["blas"]
    filepath, core, threads = run(ASKED, **variables)
    assert (pool["filepath"], pool["architecture"], pool["num_threads"]) == (filepath, core, threads)
    assert pool["internal_api"] == "openblas"
    assert pool["version"] == np.show_config(mode="dicts")["Build Dependencies"]["blas"]["version"]
    assert core == variables.get("OPENBLAS_CORETYPE", core)
    assert threads == int(variables.get("OPENBLAS_NUM_THREADS", threads))


@needs_openblas
def test_a_preset_core_type_is_warned_of():
    code = f"{DESCRIBE.partition(';')[0]}; from mlpgpu.machine import *; print(json.dumps(warnings(describe())))"
    told = run(code, OPENBLAS_CORETYPE="Haswell", OPENBLAS_L2_SIZE="512")
    assert sum("OPENBLAS_CORETYPE=Haswell is set" in line for line in told) == 1
    assert sum("OPENBLAS_L2_SIZE=512 is set" in line for line in told) == 1
    assert not any("OPENBLAS" in line for line in run(code))


def test_blas_that_cannot_be_asked(monkeypatch):
    import threadpoolctl

    built = np.show_config(mode="dicts")
    built["Build Dependencies"]["blas"] = {"name": "accelerate", "version": "unknown"}
    monkeypatch.setattr(np, "show_config", lambda mode: built)
    monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda: [{"user_api": "openmp", "filepath": "libgomp.so"}])
    found = describe()
    silent = dict.fromkeys(("architecture", "num_threads", "filepath"))
    assert found["blas"] == [{"internal_api": "accelerate", "version": "unknown", **silent}]
    warnings(found)


# --- warnings -------------------------------------------------------------------------------------------------------

OPENBLAS = {"internal_api": "openblas", "version": "0.3", "architecture": "Zen", "num_threads": 8, "filepath": "a"}
H100 = {"name": "NVIDIA H100", "hidden": False}
NUMBA = {"numba": "0.60"}
SLOW = "AVX-512 unused"


def told(load=0.4, **changes):
    """Return the warnings for a machine that has none without these changes."""
    good = {"simd": ["AVX2"], "cores": 8, "versions": NUMBA, "blas": [OPENBLAS], "environment": {}, "cuda": []}
    good["cuda_versions"] = {}
    assert warnings(good, 0.4) == []
    lines = warnings({**good, **changes}, load)
    assert not any("\n" in line for line in lines)
    return lines


def threads(api, n):
    return {**OPENBLAS, "internal_api": api, "num_threads": n}


@pytest.mark.parametrize(
    ("simd", "core", "slow"),
    [
        (["X86_V3", "X86_V4"], "Haswell", True),
        (["AVX2", "AVX512F"], "ZEN", True),
        (["AVX2", "AVX512F"], "SKYLAKEX", False),
        (["AVX2"], "Haswell", False),
    ],
)
def test_a_core_type_that_leaves_half_of_the_processor_unused(simd, core, slow):
    (line,) = told(simd=simd, environment={"OPENBLAS_CORETYPE": core})
    assert line.startswith(f"OPENBLAS_CORETYPE={core} is set")
    assert line.endswith("unset it")
    assert (SLOW in line) == slow


@pytest.mark.parametrize("name", ["OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"])
@pytest.mark.parametrize(("api", "value"), [("mkl", "512"), ("openblas", "")])
def test_a_preset_that_nothing_reads(name, api, value):
    assert told(blas=[threads(api, 8)], environment={name: value}) == []


@pytest.mark.parametrize(
    ("api", "n", "environment", "blamed"),
    [
        ("openblas", 2, {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "1"}, "OPENBLAS_NUM_THREADS=2"),
        ("openblas", 1, {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "3"}, "OMP_NUM_THREADS=1"),
        ("mkl", 3, {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "3"}, "MKL_NUM_THREADS=3"),
        ("blis", 1, {"BLIS_NUM_THREADS": "1"}, "BLIS_NUM_THREADS=1"),
    ],
)
def test_too_few_threads(api, n, environment, blamed):
    (line,) = told(blas=[threads(api, n), threads(api, n)], environment=environment)
    assert line.startswith(f"{blamed} is set: {api} uses {n} of 8 cores")


@pytest.mark.parametrize(
    ("n", "environment"),
    [
        (8, {"OMP_NUM_THREADS": "8"}),
        (16, {"OMP_NUM_THREADS": "16"}),
        (2, {}),
        (2, {"MKL_NUM_THREADS": "2"}),
        (None, {"OMP_NUM_THREADS": "1"}),
    ],
)
def test_threads_that_no_variable_holds_back(n, environment):
    assert told(blas=[threads("openblas", n)], environment=environment) == []


@pytest.mark.parametrize(
    ("n", "load", "busy"), [(8, 0.6, True), (8, 7, True), (4, 4, False), (4, 5, True), (1, 9, False)]
)
def test_other_programs_that_keep_threads_waiting(n, load, busy):
    lines = told(load, blas=[threads("openblas", n), {**OPENBLAS, "num_threads": None}])
    assert len(lines) == busy
    assert all(f"other programs kept {load:.1f} of 8 cores busy" in line for line in lines)
    assert all("OPENBLAS_NUM_THREADS=1" in line for line in lines)


@needs_openblas
@pytest.mark.skipif(not hasattr(os, "getloadavg"), reason="the system does not tell its load")
def test_the_load_is_that_of_the_system():
    before, told, after = os.getloadavg()[0], machine.load(), os.getloadavg()[0]
    assert min(before, after) <= told <= max(before, after)


def test_a_load_that_is_not_known(monkeypatch):
    monkeypatch.delattr(os, "getloadavg", raising=False)
    assert machine.load() == 0


def test_numba_is_missing():
    (line,) = told(versions={"numpy": "2.4"})
    assert "Numba is not installed" in line
    assert "pip install 'mlpgpu[fast]'" in line


@pytest.mark.parametrize(
    ("able", "wheels"),
    [({}, ["mlpgpu[cuda13]", "mlpgpu[cuda12]"]), ({"driver": "12.8"}, ["mlpgpu[cuda12]"])],
)
def test_a_device_without_cupy(able, wheels):
    (line,) = told(cuda=[H100], cuda_versions=able)
    assert line.startswith("NVIDIA H100 is there, but CuPy is not installed")
    assert [wheel for wheel in ("mlpgpu[cuda13]", "mlpgpu[cuda12]") if wheel in line] == wheels


@pytest.mark.parametrize("name", ["cupy", "cupy-cuda12x", "cupy-cuda13x"])
def test_cupy_without_a_device(name):
    (line,) = told(versions={**NUMBA, name: "13.6.0"})
    assert line.startswith("CuPy is installed, but no CUDA device is found")
    assert told(versions={**NUMBA, name: "13.6.0"}, cuda=[H100]) == []


def test_several_wheels_of_cupy():
    wheels = {"cupy-cuda12x": "13.6.0", "cupy-cuda13x": "14.2.0"}
    (line,) = told(versions=NUMBA | wheels, cuda=[H100])
    assert line.startswith("cupy-cuda12x and cupy-cuda13x are installed together")
    assert "pip uninstall cupy-cuda12x cupy-cuda13x" in line


def test_hidden_devices():
    environment = {"CUDA_VISIBLE_DEVICES": "1"}
    devices = [{**H100, "hidden": hidden} for hidden in (True, False, True)]
    (line,) = told(versions={**NUMBA, "cupy": "14"}, cuda=devices, environment=environment)
    assert line.startswith("CUDA_VISIBLE_DEVICES='1' hides 2 of 3 GPUs")
    # No warning if it is unknown which are hidden.
    devices = [{**H100, "hidden": None}]
    assert told(versions={**NUMBA, "cupy": "14"}, cuda=devices, environment=environment) == []


@pytest.fixture
def kernel(monkeypatch, tmp_path):
    """A kernel that reports 8 GB of memory, 5 GB available, and one control group within another, without limits."""
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "LIMITS", tmp_path / "limits")
    monkeypatch.setattr(machine, "_memory_bytes", lambda: 8 * 10**9)
    (tmp_path / "meminfo").write_text("MemTotal:  7812500 kB\nMemAvailable:  4882812 kB\nHugePages_Total: 0\n")
    (tmp_path / "cgroup").write_text("4:memory:/old\n0::/outer/inner\n")
    (tmp_path / "limits" / "outer" / "inner").mkdir(parents=True)
    return tmp_path


def limit(group, most, used, cached=0):
    (group / "memory.max").write_text(f"{most}\n")
    (group / "memory.current").write_text(f"{used}\n")
    (group / "memory.stat").write_text(f"anon 7\ninactive_file {cached}\n")


def test_available_memory_is_what_the_kernel_says(kernel):
    assert machine.available_memory() == 4882812 * 1024
    (kernel / "meminfo").unlink()
    assert machine.available_memory() == 8 * 10**9
    (kernel / "cgroup").unlink()
    assert machine.available_memory() == 8 * 10**9


def test_available_memory_is_unknown_where_nothing_is(kernel, monkeypatch):
    (kernel / "meminfo").unlink()
    monkeypatch.setattr(machine, "_memory_bytes", lambda: None)
    assert machine.available_memory() is None


@pytest.mark.parametrize("where", [".", "outer", "outer/inner"])
def test_a_control_group_and_those_around_it_limit_the_memory(kernel, where):
    group = kernel / "limits" / where
    limit(group, 10**9, 3 * 10**8)
    assert machine.available_memory() == 7 * 10**8
    # The page cache of the group can be reclaimed.
    limit(group, 10**9, 3 * 10**8, cached=10**8)
    assert machine.available_memory() == 8 * 10**8
    limit(group, 10**9, 2 * 10**9)
    assert machine.available_memory() == 0
    limit(group, "max", 3 * 10**8)
    assert machine.available_memory() == 4882812 * 1024


def test_available_memory_of_this_machine():
    found = machine.available_memory()
    assert found is None or 0 < found <= machine.describe()["memory_bytes"]


def test_the_name_of_what_computes_is_fit_for_a_file():
    gpus = [{"name": "NVIDIA H200", "device": "cuda:1"}, {"name": "NVIDIA L4 (24 GB)", "device": "cuda:0"}]
    found = {"cpu": "AMD EPYC 9B45", "cuda": gpus}
    names = {"cpu": "amd-epyc-9b45", "cuda": "nvidia-l4-24-gb", "cuda:1": "nvidia-h200", "cuda:2": "cuda-2"}
    assert {device: machine.name_of(found, device) for device in names} == names
