"""The installed CuPy: a wheel for one version of CUDA, with libraries and a driver that may be of another."""

from __future__ import annotations

import logging
import re
import warnings
from importlib import metadata
from typing import Any

from mlpgpu.backends.cuda_devices import Library, absent, broken, major, ordinal, with_old_driver, without_driver
from mlpgpu.errors import InputError, one_line
from mlpgpu.gpus import dotted
from mlpgpu.machine import CUPY, clash

log = logging.getLogger(__name__)

INSTALL = {12: "pip install 'mlpgpu[cuda12]'", 13: "pip install 'mlpgpu[cuda13]'"}
# File name of a CUDA library on Linux and Windows.
LIBRARY = re.compile(r"lib(?:cu|nv)\w+\.so[.\d]*|(?:cu|nv)\w*64_\w+\.dll")


def cuda_device(device: str, dtype: str) -> tuple[Any, Any, int]:
    """Return CuPy, its array API namespace and the number of a device, after a first computation there.

    The device becomes the current one of this thread.

    Raises
    ------
    ModuleNotFoundError
        If CuPy, or a Python package that it needs, is not installed.
    InputError
        If there is no such device, if it does not work, or if a part of CUDA is missing.
    """
    cupy, xp = _imported(device)
    runtime = cupy.cuda.runtime
    library = Library(f"CuPy {cupy.__version__}", dotted(runtime.runtimeGetVersion()), _install())
    try:
        found = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise _count_failed(device, library, runtime, error) from None
    if (at := ordinal(device)) >= found:
        raise absent(device, library, found)
    try:
        cupy.cuda.Device(at).use()
        cupy.arange(2, dtype=dtype).sum().item()
        # CuPy loads cuBLAS at this first access.
        _ = cupy.cuda.cublas
    except Exception as error:
        # Any error of CUDA, NVRTC or cuBLAS here: the user can only choose another device or repair the installation.
        raise (
            _library_missing(device, library, error) or _cache_failed(device, error) or broken(device, library, error)
        ) from None
    return cupy, xp, at


def _imported(device: str) -> tuple[Any, Any]:
    try:
        with warnings.catch_warnings():
            # CuPy's warning takes twenty lines; `clash` says the same in one.
            warnings.filterwarnings("ignore", r"\s*-+\s+CuPy may not function correctly")
            import array_api_compat.cupy as xp
            import cupy
    except ModuleNotFoundError:
        raise
    except ImportError as error:
        # CuPy puts a page of general advice before the original error.
        said = one_line(error).rpartition("Original error: ")[2].rstrip("= ")
        missing = LIBRARY.search(said)
        raise InputError(
            f"device {device!r} needs CuPy, which cannot be imported ({said[:160]})"
            f"{f': {missing[0]} is a part of CUDA' if missing else ''}; {_repair()}, or use device cpu"
        ) from None
    except OSError as error:
        raise _cache_failed(device, error) or error from None
    if line := clash(_wheels()):
        log.warning(line)
    return cupy, xp


def _count_failed(device: str, library: Library, runtime: Any, error: RuntimeError) -> InputError:
    """Return the error for a failure of CUDA to count its devices."""
    said, able = str(error), runtime.driverGetVersion()
    if "cudaErrorInsufficientDriver" in said:
        return with_old_driver(device, library, dotted(able)) if able else without_driver(device, library)
    if "cudaErrorNoDevice" in said:
        return absent(device, library, 0)
    return broken(device, library, error)


def _library_missing(device: str, library: Library, error: Exception) -> InputError | None:
    """Return the error for a CUDA library that CuPy does not find at its first use; None for other errors."""
    missing = LIBRARY.search(str(error))
    if missing is None or not isinstance(error, ImportError | OSError | RuntimeError):
        return None
    return InputError(
        f"device {device!r} is there, but {library.label} does not find {missing[0]}, a part of CUDA "
        f"{major(library.built)}; {_repair()}, or use device cpu"
    )


def _cache_failed(device: str, error: Exception) -> InputError | None:
    """Return the error for a kernel cache that CuPy cannot write or, at import, create; None for other errors."""
    # An OSError of the dynamic loader has no errno.
    if not isinstance(error, OSError) or error.errno is None:
        return None
    return InputError(
        f"device {device!r} needs CuPy, which cannot keep its kernels ({one_line(error)}); "
        "set CUPY_CACHE_DIR to a folder that can be written, or use device cpu"
    )


def _install() -> dict[int, str]:
    """Return the install command by CUDA version; it removes other wheels of CuPy, since they share files."""
    others = {cuda: [wheel for wheel in _wheels() if wheel != f"cupy-cuda{cuda}x"] for cuda in INSTALL}
    return {
        cuda: f"pip uninstall {' '.join(others[cuda])} && {command}" if others[cuda] else command
        for cuda, command in INSTALL.items()
    }


def _repair() -> str:
    """Return the command that installs missing CUDA libraries for the installed wheel."""
    wheels = _wheels()
    if line := clash(wheels):
        return line
    (wheel,) = wheels or ("",)
    # Only wheels (cupy-cudaNNx) have the extra ctk, and only from CuPy 14 on.
    if wheel.endswith("x"):
        return f"pip install '{wheel}[ctk]>=14', which brings them, or put that CUDA's folder in LD_LIBRARY_PATH"
    return f"{INSTALL[13]} or {INSTALL[12]}, whichever CUDA is there"


def _wheels() -> list[str]:
    return [name for name in CUPY if _installed(name)]


def _installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
