"""Selection of a backend by device name; its module is imported only when it is selected."""

import importlib
import importlib.util
from contextlib import suppress
from typing import Any

from mlpgpu.backends.base import Backend
from mlpgpu.backends.cuda_devices import check_name
from mlpgpu.errors import InputError, one_line

__all__ = ["BACKENDS", "Backend", "beside", "select"]

# A new backend is one module with `open_backend(device, dtype, precision)`, `open_beside(array)` and NEEDS, the message
# if its library is missing; and its name here.
BACKENDS = ("numpy", "cupy", "torch", "jax")
NO_CUPY = "CuPy is not installed"


def select(
    device: str = "auto", backend: str = "auto", dtype: str = "float32", precision: str = "float32"
) -> tuple[Backend, str]:
    """Select the backend for a device.

    Parameters
    ----------
    device : str
        ``auto``, ``cpu``, ``cuda`` (which is ``cuda:0``) or ``cuda:N``.
    backend : str
        ``auto``, or one of `BACKENDS`. With ``auto``, NumPy serves the CPU and CuPy serves CUDA. If CuPy is not
        installed, PyTorch or JAX serves a CUDA device that is named and that it finds.
    dtype : str
        Floating-point type that the backend must support.
    precision : str
        Rounding of the operands of matrix products: one of `mlpgpu.backends.precision.PRECISIONS`.

    Returns
    -------
    backend : Backend
    note : str
        Reason for the choice of ``auto``, if it needs one; else empty.

    Raises
    ------
    InputError
        If the device or backend that was asked for is not available: there is no silent fallback.
    """
    check_name(device)
    if backend == "numpy" and device not in {"auto", "cpu"}:
        raise InputError(f"backend 'numpy' has no device {device!r}; use device cpu, or backend cupy, torch or jax")
    if backend == "cupy" and device == "cpu":
        raise InputError("backend 'cupy' has no CPU; use device cuda, or backend numpy")
    if backend == "numpy" or (backend, device) == ("auto", "cpu"):
        return _open("numpy", "cpu", dtype, precision), ""
    if backend != "auto":
        opened = _open(backend, "cuda" if (backend, device) == ("cupy", "auto") else device, dtype, precision)
        return opened, "it finds no CUDA device" if (device, opened.device) == ("auto", "cpu") else ""
    if device != "auto":
        return _open_cuda(device, dtype, precision)
    if importlib.util.find_spec("cupy") is None:
        # Importing PyTorch or JAX to look for a device would take seconds.
        return _open("numpy", "cpu", dtype, precision), NO_CUPY
    try:
        return _open("cupy", "cuda", dtype, precision), "a CUDA device works"
    except InputError as error:
        # The user did not ask for CUDA, so the advice after the semicolon is left out.
        return _open("numpy", "cpu", dtype, precision), str(error).partition(";")[0]


def beside(array: Any) -> Backend:
    """Return the backend of the library and device that hold `array`.

    Parameters
    ----------
    array : array
        Array of one of `BACKENDS`, or of any other library that follows the array API standard.
    """
    import array_api_compat

    own = (name for name in BACKENDS if getattr(array_api_compat, f"is_{name}_array")(array))
    module = importlib.import_module(f"mlpgpu.backends.{next(own, 'standard')}")
    backend: Backend = module.open_beside(array)
    return backend


def _open_cuda(device: str, dtype: str, precision: str) -> tuple[Backend, str]:
    """Open CuPy or, if it is not installed, PyTorch or JAX, whichever finds the device first; return the reason too."""
    if importlib.util.find_spec("cupy") is None:
        for name in filter(importlib.util.find_spec, ("torch", "jax")):
            with suppress(InputError):
                return _open(name, device, dtype, precision), NO_CUPY
    return _open("cupy", device, dtype, precision), ""


def _open(name: str, device: str, dtype: str, precision: str) -> Backend:
    module = importlib.import_module(f"mlpgpu.backends.{name}")
    try:
        backend: Backend = module.open_backend(device, dtype, precision)
    except ImportError as error:
        # The missing module may be a dependency of the library.
        missing = isinstance(error, ModuleNotFoundError) and (error.name or "").rpartition(".")[2] == name
        why = "is not installed" if missing else f"cannot be imported ({one_line(error)})"
        raise InputError(module.NEEDS.format(device=device, why=why)) from None
    return backend
