"""CuPy on a CUDA device."""

from typing import Any

import numpy as np

from mlpgpu.backends import cupy_wheel
from mlpgpu.backends.base import Eager
from mlpgpu.backends.cuda_devices import absent, broken, ordinal

NEEDS = (
    "device {device!r} needs CuPy, which {why}; "
    "install it for your CUDA with pip install 'mlpgpu[cuda13]' or 'mlpgpu[cuda12]', or use device cpu"
)


class CupyBackend(Eager):
    """See `mlpgpu.backends.base.Backend`."""

    name = "cupy"
    # What its pool cannot have is a MemoryError; these are what CUDA and cuBLAS have no room for.
    out_of_memory = ("cudaErrorMemoryAllocation", "ALLOC_FAILED")

    def __init__(self, cupy: Any, xp: Any, ordinal: int) -> None:
        self.cupy, self.xp, self.ordinal = cupy, xp, ordinal
        self.device = f"cuda:{ordinal}"
        name = cupy.cuda.runtime.getDeviceProperties(ordinal)["name"].decode()
        self.description = f"{self.device}, {name}, CuPy {cupy.__version__}"

    def asarray(self, array: np.ndarray, dtype: str | None = None) -> Any:
        """See `Backend.asarray`."""
        # By way of pinned memory, which CuPy holds for that.
        return self.cupy.asarray(array, dtype=dtype)

    def to_host(self, array: Any) -> np.ndarray:
        """See `Backend.to_host`."""
        return self.cupy.asnumpy(array)

    def free_memory(self) -> int:
        """See `Backend.free_memory`."""
        free, _ = self.cupy.cuda.runtime.memGetInfo()
        return int(free + self.cupy.get_default_memory_pool().free_bytes())


def open_beside(array: Any) -> CupyBackend:
    """CuPy on the device of `array`, made the current one of this thread."""
    import array_api_compat.cupy as xp
    import cupy

    array.device.use()
    return CupyBackend(cupy, xp, array.device.id)


def open_backend(device: str, dtype: str) -> CupyBackend:
    """CuPy on `device`, made the current one of this thread.

    Raises
    ------
    InputError
        Where there is no driver that it can use, no such device, or one that does not work.
    """
    cupy, xp = cupy_wheel.imported(device)
    library, runtime = cupy_wheel.library(cupy), cupy.cuda.runtime
    try:
        found = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise cupy_wheel.unusable(device, library, runtime, error) from None
    if (at := ordinal(device)) >= found:
        raise absent(device, library, found)
    try:
        cupy.cuda.Device(at).use()
        cupy.arange(2, dtype=dtype).sum().item()
        # CuPy loads cuBLAS when it is first asked for.
        _ = cupy.cuda.cublas
    except Exception as error:
        # Whatever CUDA, NVRTC or cuBLAS raise here, the user can only choose another device or mend the installation.
        raise cupy_wheel.incomplete(device, library, error) or broken(device, library, error) from None
    return CupyBackend(cupy, xp, at)
