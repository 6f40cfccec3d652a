"""CuPy as it is installed: a wheel for one CUDA, beside libraries and a driver that may be for another."""

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
# A library of CUDA's own, as Linux and Windows name it.
LIBRARY = re.compile(r"lib(?:cu|nv)\w+\.so[.\d]*|(?:cu|nv)\w*64_\w+\.dll")


def cuda_device(device: str, dtype: str) -> tuple[Any, Any, int]:
    """CuPy, its array API namespace, and the number of the device that is asked for, when it has computed something.

    The device is made the current one of this thread.

    Raises
    ------
    ModuleNotFoundError
        Where CuPy, or something that it needs of Python, is not installed.
    InputError
        Where there is no such device, one that does not work, or a part of CUDA is missing.
    """
    cupy, xp = _imported(device)
    runtime = cupy.cuda.runtime
    library = Library(f"CuPy {cupy.__version__}", dotted(runtime.runtimeGetVersion()), _install())
    try:
        found = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise _uncounted(device, library, runtime, error) from None
    if (at := ordinal(device)) >= found:
        raise absent(device, library, found)
    try:
        cupy.cuda.Device(at).use()
        cupy.arange(2, dtype=dtype).sum().item()
        # CuPy loads cuBLAS when it is first asked for.
        _ = cupy.cuda.cublas
    except Exception as error:
        # Whatever CUDA, NVRTC or cuBLAS raise here, the user can only choose another device or mend the installation.
        raise _incomplete(device, library, error) or _unkept(device, error) or broken(device, library, error) from None
    return cupy, xp, at


def _imported(device: str) -> tuple[Any, Any]:
    try:
        with warnings.catch_warnings():
            # Twenty lines, which `clash` says in one.
            warnings.filterwarnings("ignore", r"\s*-+\s+CuPy may not function correctly")
            import array_api_compat.cupy as xp
            import cupy
    except ModuleNotFoundError:
        raise
    except ImportError as error:
        # CuPy puts a page of general advice before the error itself.
        said = one_line(error).rpartition("Original error: ")[2].rstrip("= ")
        missing = LIBRARY.search(said)
        raise InputError(
            f"device {device!r} needs CuPy, which cannot be imported ({said[:160]})"
            f"{f': {missing[0]} is a part of CUDA' if missing else ''}; {_repair()}, or use device cpu"
        ) from None
    except OSError as error:
        raise _unkept(device, error) or error from None
    if line := clash(_wheels()):
        log.warning(line)
    return cupy, xp


def _uncounted(device: str, library: Library, runtime: Any, error: RuntimeError) -> InputError:
    """Said where CUDA does not even count its devices."""
    said, able = str(error), runtime.driverGetVersion()
    if "cudaErrorInsufficientDriver" in said:
        return with_old_driver(device, library, dotted(able)) if able else without_driver(device, library)
    if "cudaErrorNoDevice" in said:
        return absent(device, library, 0)
    return broken(device, library, error)


def _incomplete(device: str, library: Library, error: Exception) -> InputError | None:
    """Said where CuPy does not find a library of CUDA when it comes to use it; None for other errors."""
    missing = LIBRARY.search(str(error))
    if missing is None or not isinstance(error, ImportError | OSError | RuntimeError):
        return None
    return InputError(
        f"device {device!r} is there, but {library.label} does not find {missing[0]}, a part of CUDA "
        f"{major(library.built)}; {_repair()}, or use device cpu"
    )


def _unkept(device: str, error: Exception) -> InputError | None:
    """Said where CuPy cannot write the kernels that it keeps, whose folder it makes as it is imported; else None."""
    # An error of the loader of libraries has no number.
    if not isinstance(error, OSError) or error.errno is None:
        return None
    return InputError(
        f"device {device!r} needs CuPy, which cannot keep its kernels ({one_line(error)}); "
        "set CUPY_CACHE_DIR to a folder that can be written, or use device cpu"
    )


def _install() -> dict[int, str]:
    """CUDA -> what puts the wheel for it in the place of another: two of them overwrite each other's files."""
    others = {cuda: [wheel for wheel in _wheels() if wheel != f"cupy-cuda{cuda}x"] for cuda in INSTALL}
    return {
        cuda: f"pip uninstall {' '.join(others[cuda])} && {command}" if others[cuda] else command
        for cuda, command in INSTALL.items()
    }


def _repair() -> str:
    """The command that brings the missing libraries beside the wheel that is there."""
    wheels = _wheels()
    if line := clash(wheels):
        return line
    (wheel,) = wheels or ("",)
    # Only a wheel has that extra, and only from CuPy 14 on.
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
