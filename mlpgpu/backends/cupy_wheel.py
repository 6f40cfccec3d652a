"""CuPy as it is installed: a wheel for one CUDA, beside libraries and a driver that may be for another."""

from __future__ import annotations

import logging
import re
import warnings
from importlib import metadata
from typing import Any

from mlpgpu.backends.cuda_devices import Library, absent, broken, with_old_driver, without_driver
from mlpgpu.errors import InputError, one_line
from mlpgpu.gpus import dotted
from mlpgpu.machine import CUPY, clash

log = logging.getLogger(__name__)

INSTALL = {12: "pip install 'mlpgpu[cuda12]'", 13: "pip install 'mlpgpu[cuda13]'"}
# A library of CUDA's own, as Linux and Windows name it.
LIBRARY = re.compile(r"lib(?:cu|nv)\w+\.so[.\d]*|(?:cu|nv)\w*64_\w+\.dll")


def imported(device: str) -> tuple[Any, Any]:
    """CuPy, and its namespace of the array API.

    Raises
    ------
    ModuleNotFoundError
        Where it, or something that it needs of Python, is not installed.
    InputError
        Where a library of CUDA is missing.
    """
    try:
        with warnings.catch_warnings():
            # Twenty lines, which `clash` says in one.
            warnings.filterwarnings("ignore", r"\s*-+\s+CuPy may not function correctly")
            import cupy
        import array_api_compat.cupy as xp
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
    if line := clash(_wheels()):
        log.warning(line)
    return cupy, xp


def library(cupy: Any) -> Library:
    """What messages say of it."""
    return Library(f"CuPy {cupy.__version__}", dotted(cupy.cuda.runtime.runtimeGetVersion()), INSTALL)


def unusable(device: str, library: Library, runtime: Any, error: RuntimeError) -> InputError:
    """Said where CUDA does not even count its devices."""
    said, able = str(error), runtime.driverGetVersion()
    if "cudaErrorInsufficientDriver" in said:
        return with_old_driver(device, library, dotted(able)) if able else without_driver(device, library)
    if "cudaErrorNoDevice" in said:
        return absent(device, library, 0)
    return broken(device, library, error)


def incomplete(device: str, library: Library, error: Exception) -> InputError | None:
    """Said where CuPy does not find a library of CUDA when it comes to use it; None for other errors."""
    missing = LIBRARY.search(str(error))
    if missing is None or not isinstance(error, ImportError | OSError | RuntimeError):
        return None
    return InputError(
        f"device {device!r} is there, but {library.label} does not find {missing[0]}, a part of CUDA "
        f"{library.built.partition('.')[0]}; {_repair()}, or use device cpu"
    )


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
