"""CuPy on a CUDA device."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from mlpgpu.backends.base import Backend, Step, are_few, hesitant, is_eager, quiet
from mlpgpu.backends.cupy_wheel import cuda_device
from mlpgpu.backends.live_bytes import Bytes
from mlpgpu.backends.precision import emulated, in_words
from mlpgpu.cuda import needs
from mlpgpu.cuda.function import PATIENCE, Function
from mlpgpu.cuda.loop import Loop
from mlpgpu.cuda.recording import Recordable

NEEDS = (
    "device {device!r} needs CuPy, which {why}; "
    "install it for your CUDA with pip install 'mlpgpu[cuda13]' or 'mlpgpu[cuda12]', or use device cpu"
)
# CuPy copies through pinned memory of the next power of 2, and keeps that: larger arrays are copied in parts.
PART_BYTES = 2**28


class CupyBackend(Backend):
    """See `mlpgpu.backends.base.Backend`."""

    name = "cupy"
    # They keep a call to some hundredths of a second: the first for a small network, the second for a large one.
    steps_per_call = 512
    products_per_call = 2.0**39

    def __init__(self, cupy: Any, xp: Any, ordinal: int, precision: str = "float32") -> None:
        self.cupy, self.ordinal, self.precision = cupy, ordinal, precision
        # Eager products are rounded as the tensor cores of a captured step round them.
        self.xp = Recordable(emulated(xp, precision))
        self.device = f"cuda:{ordinal}"
        name = cupy.cuda.runtime.getDeviceProperties(ordinal)["name"].decode()
        self.description = f"{self.device}, {name}, CuPy {cupy.__version__}{in_words(precision, emulated=False)}"

    @quiet
    def asarray(self, array: np.ndarray, dtype: str | None = None) -> Any:
        """See `Backend.asarray`."""
        if isinstance(array, np.ndarray) and array.nbytes > PART_BYTES:
            whole = self.cupy.empty(array.shape, dtype or array.dtype)
            n = max(1, PART_BYTES // array[0].nbytes)
            for start in range(0, len(array), n):
                whole[start : start + n] = self.cupy.asarray(array[start : start + n], dtype=dtype)
            return whole
        # C order, since a captured step takes row-major arrays only.
        return self.cupy.asarray(array, dtype=dtype, order="C")

    def to_host(self, array: Any) -> np.ndarray:
        """See `Backend.to_host`."""
        return self.cupy.asnumpy(array)

    def compile_loop(self, step: Step, n_steps: int | None = None) -> Step:
        """See `Backend.compile_loop`."""
        eager = super().compile_loop(step)
        if are_few(n_steps):
            return eager
        captured = Loop(self, step, eager)
        return hesitant(eager, captured) if n_steps is None else captured

    def compile(self, function: Callable[..., Any], *, once: bool = False) -> Callable[..., Any]:
        """See `Backend.compile`."""
        if is_eager():
            return function
        return Function(self, function, PATIENCE if once else 0)

    def loop_bytes(self, step: Step, state: Any, data: Any, items: Any, n_steps: int | None = None) -> Bytes:
        """See `Backend.loop_bytes`."""
        if not are_few(n_steps):
            # A step that cannot be captured runs eagerly; `Loop` warns of that when it does.
            with suppress(Exception):
                return needs.of_loop(step, state, data, items)
        return super().loop_bytes(step, state, data, items)

    def function_bytes(self, function: Callable[..., Any], *given: Any) -> Bytes:
        """See `Backend.function_bytes`."""
        if not is_eager():
            with suppress(Exception):
                return needs.of_function(function, given)
        return super().function_bytes(function, *given)

    def free_memory(self) -> int:
        """See `Backend.free_memory`."""
        free, _ = self.cupy.cuda.runtime.memGetInfo()
        return int(free + self.cupy.get_default_memory_pool().free_bytes())


def open_beside(array: Any) -> CupyBackend:
    """Return the backend on the device of `array`, and make that device current in this thread."""
    import array_api_compat.cupy as xp
    import cupy

    array.device.use()
    return CupyBackend(cupy, xp, array.device.id)


def open_backend(device: str, dtype: str, precision: str) -> CupyBackend:
    """Return the backend on `device`, and make that device current in this thread.

    Raises
    ------
    InputError
        If there is no usable driver or no such device, or if the device does not work.
    """
    cupy, xp, at = cuda_device(device, dtype)
    return CupyBackend(cupy, xp, at, precision)
