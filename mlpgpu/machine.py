"""What the speed of a run depends on besides the code: processor, libraries, threads, environment variables, GPUs."""

import os
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from mlpgpu import __version__, gpus

CUPY = ("cupy", "cupy-cuda12x", "cupy-cuda13x")
JAX_CUDA = ("jax-cuda12-plugin", "jax-cuda13-plugin")
CUDA = tuple(f"nvidia-{part}{of}" for part in ("cuda-runtime", "cuda-nvrtc", "cublas") for of in ("", "-cu12"))
ARRAYS = ("numpy", "scipy", "scikit-learn", "array-api-compat", "numba", *CUPY, "torch", "jax", "jaxlib", *JAX_CUDA)

# Prefixes of the environment variables that change the speed of the same code; those that name a folder do not.
CPU_VARIABLES = ("BLIS_", "GOTO_", "MKL_", "NPY_DISABLE_CPU_FEATURES", "OMP_", "OPENBLAS_", "VECLIB_")
CUDA_VARIABLES = ("CUDA_DEVICE_ORDER", "CUDA_LAUNCH_BLOCKING", "CUDA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE")
VARIABLES = (*CPU_VARIABLES, *CUDA_VARIABLES, "CUPY_", "MLPGPU_", "NUMBA_", "XLA_FLAGS")

CPUINFO = Path("/proc/cpuinfo")
MEMINFO = Path("/proc/meminfo")
# Control groups of this process, and the folder with their limits (cgroup v2).
CGROUP, LIMITS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")

# Variables from which each BLAS takes its number of threads; the first that is set counts.
THREADS = {
    "openblas": ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"),
    "mkl": ("MKL_NUM_THREADS", "OMP_NUM_THREADS"),
    "blis": ("BLIS_NUM_THREADS", "OMP_NUM_THREADS"),
}
# Load average at which the machine still counts as idle.
IDLE_LOAD = 0.5
# Core types of OpenBLAS whose kernels use AVX-512.
AVX512_CORES = {"skylakex", "cooperlake", "sapphirerapids"}


def describe() -> dict[str, Any]:
    """Describe this machine and the libraries installed on it, as JSON-able values.

    NumPy is the only array library imported. CUDA devices are those of ``nvidia-smi``, or of CuPy if it is already
    imported.

    Returns
    -------
    dict
        Always with the keys

        - ``python``, ``platform``: version of Python, and operating system.
        - ``cpu``: name of the processor.
        - ``simd``: SIMD extensions of the processor, as detected by NumPy.
        - ``cores``: number of cores that this process may use.
        - ``memory_bytes``: memory of the machine; None if unknown.
        - ``versions``: versions of mlpgpu and of the installed array and CUDA libraries.
        - ``blas``: for each BLAS library in this process its ``internal_api``, ``version``,
          ``architecture`` (OpenBLAS: the core type whose kernels it runs), ``num_threads`` and ``filepath``
          (file name only); unknown values are None.
        - ``environment``: environment variables that are set and change the speed.
        - ``cuda``, ``cuda_versions``: see `mlpgpu.gpus.listed` and `mlpgpu.gpus.versions`.
    """
    import numpy as np

    built: Any = np.show_config(mode="dicts")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "simd": [name for found in ("baseline", "found") for name in built["SIMD Extensions"].get(found, ())],
        "cores": _cores(),
        "memory_bytes": _memory_bytes(),
        "versions": _versions(),
        "blas": _blas(built["Build Dependencies"]["blas"]),
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(VARIABLES) and not name.endswith("_DIR")
        },
        "cuda": gpus.listed(),
        "cuda_versions": gpus.versions(),
    }


def load() -> float:
    """Return the load average of the last minute; 0 where it is unknown, as on Windows."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return 0.0


def warnings(description: dict[str, Any], load: float = 0.0) -> list[str]:
    """List what makes a machine slower than it could be, and what to do about it.

    Parameters
    ----------
    description : dict
        From `describe`.
    load : float
        From `load`, called before this program puts load on the machine.

    Returns
    -------
    list of str
        One line each.
    """
    lines = (*_presets(description), *_few_threads(description), *_busy(description, load), *_missing(description))
    # NumPy and SciPy may each bundle the same BLAS.
    return list(dict.fromkeys(lines))


def name_of(description: dict[str, Any], device: str) -> str:
    """Return the hardware of a device for use in a file name, such as ``nvidia-h200``; `device` if it is unknown.

    Parameters
    ----------
    description : dict
        From `describe`.
    device : str
        ``cpu``, ``cuda`` or ``cuda:N``.
    """
    number = int(device.partition(":")[2] or 0)
    gpus_there = [gpu["name"] for gpu in description["cuda"] if gpu["device"] == f"cuda:{number}"]
    name = description["cpu"] if device == "cpu" else next(iter(gpus_there), device)
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")


def available_memory() -> int | None:
    """Return the bytes that this process can still allocate, by the free memory and the limits of its control groups.

    The page cache counts as free, since the kernel reclaims it on demand. Returns None where nothing is known, as on
    Windows, and the total memory where only that is known, as on macOS.
    """
    left = (_numbers(MEMINFO) or {}).get("MemAvailable")
    known = [_memory_bytes() if left is None else left * 1024]
    with suppress(OSError):
        own = next((line[3:] for line in CGROUP.read_text().splitlines() if line.startswith("0::")), "/")
        group = LIMITS / own.strip("/")
        known += [_left_of(folder) for folder in (group, *group.parents) if folder.is_relative_to(LIMITS)]
    return min((n for n in known if n is not None), default=None)


def _left_of(group: Path) -> int | None:
    """Return the bytes that a control group can still allocate; None if it has no limit."""
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
    except (OSError, ValueError):
        return None
    return max(0, limit - used + (_numbers(group / "memory.stat") or {}).get("inactive_file", 0))


def _numbers(path: Path) -> dict[str, int] | None:
    """Read a kernel file with a name and a number per line; None if there is no such file."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return {name.rstrip(":"): int(number) for name, number, *_ in map(str.split, lines)}


def _presets(description: dict[str, Any]) -> Iterator[str]:
    variables = description["environment"]
    if not any(pool["internal_api"] == "openblas" for pool in description["blas"]):
        return
    if core := variables.get("OPENBLAS_CORETYPE"):
        avx512 = any(name.startswith(("AVX512", "X86_V4")) for name in description["simd"])
        effect = (
            "its kernels leave this processor's AVX-512 unused, and matrix products can take twice as long"
            if avx512 and core.lower() not in AVX512_CORES
            else "OpenBLAS obeys it, whatever the processor"
        )
        yield f"OPENBLAS_CORETYPE={core} is set: {effect}; unset it"
    if size := variables.get("OPENBLAS_L2_SIZE"):
        yield f"OPENBLAS_L2_SIZE={size} is set: OpenBLAS cuts its blocks for a cache of that size; unset it"


def _few_threads(description: dict[str, Any]) -> Iterator[str]:
    cores, variables = description["cores"], description["environment"]
    for pool in description["blas"]:
        api, threads = pool["internal_api"], pool["num_threads"]
        name = next((name for name in THREADS.get(api, ()) if name in variables), None)
        if name and threads and threads < cores:
            yield f"{name}={variables[name]} is set: {api} uses {threads} of {cores} cores; unset it to use all"


def _busy(description: dict[str, Any], load: float) -> Iterator[str]:
    cores = description["cores"]
    threads = max((pool["num_threads"] or 1 for pool in description["blas"]), default=1)
    if threads > 1 and load > IDLE_LOAD and load + threads > cores:
        yield (
            f"other programs kept {load:.1f} of {cores} cores busy in the last minute: the {threads} threads of a "
            "product wait for each other, which can take ten times as long; end them, or set OPENBLAS_NUM_THREADS=1"
        )


def _missing(description: dict[str, Any]) -> Iterator[str]:
    versions, devices = description["versions"], description["cuda"]
    cupy = [name for name in CUPY if name in versions]
    if "numba" not in versions:
        yield "Numba is not installed: steps on the CPU are not compiled; pip install 'mlpgpu[fast]'"
    if devices and not cupy:
        able = description["cuda_versions"].get("driver")
        which = f"'mlpgpu[cuda{able.partition('.')[0]}]'" if able else "'mlpgpu[cuda13]' or 'mlpgpu[cuda12]'"
        yield f"{devices[0]['name']} is there, but CuPy is not installed; pip install {which}, as the driver supports"
    if cupy and not devices:
        yield "CuPy is installed, but no CUDA device is found; check the NVIDIA driver with nvidia-smi"
    if line := clash(cupy):
        yield line
    if hidden := sum(bool(device["hidden"]) for device in devices):
        value = description["environment"].get("CUDA_VISIBLE_DEVICES", "")
        yield f"CUDA_VISIBLE_DEVICES={value!r} hides {hidden} of {len(devices)} GPUs; unset it to use all"


def clash(wheels: Sequence[str]) -> str:
    """Return what is wrong with several wheels of CuPy, and the remedy; an empty string if there is at most one."""
    if len(wheels) < 2:
        return ""
    return (
        f"{' and '.join(wheels)} are installed together and overwrite each other's files; "
        f"pip uninstall {' '.join(wheels)}, then install the one for your CUDA"
    )


def _cpu() -> str:
    if sys.platform == "darwin" and (name := gpus.output("sysctl", "-n", "machdep.cpu.brand_string")):
        return name
    with suppress(OSError), CPUINFO.open(encoding="utf-8") as lines:
        for line in lines:
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    # Not os.process_cpu_count: it obeys PYTHON_CPU_COUNT, which no BLAS reads.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _versions() -> dict[str, str]:
    found = {"mlpgpu": __version__}
    for name in (*ARRAYS, *CUDA):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _blas(built: dict[str, Any]) -> list[dict[str, Any]]:
    from threadpoolctl import threadpool_info

    keys = ("internal_api", "version", "architecture", "num_threads", "filepath")
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    # Some, such as Accelerate, cannot be inspected: all that is known is what NumPy was built with.
    pools = pools or [{"internal_api": built.get("name"), "version": built.get("version"), "filepath": ""}]
    found = [{key: pool.get(key) for key in keys} | {"filepath": Path(pool["filepath"]).name or None} for pool in pools]
    # threadpoolctl returns them in arbitrary order, and descriptions are compared.
    return sorted(found, key=lambda pool: pool["filepath"] or "")
