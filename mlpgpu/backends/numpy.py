"""NumPy on the CPU."""

import numpy as np

from mlpgpu.backends.base import Eager


class NumpyBackend(Eager):
    """See `mlpgpu.backends.base.Backend`."""

    name = "numpy"
    device = "cpu"
    xp = np
    description = f"cpu, NumPy {np.__version__}"

    def asarray(self, array: np.ndarray, dtype: str | None = None) -> np.ndarray:
        """See `Backend.asarray`."""
        return np.asarray(array, dtype=dtype)

    def to_host(self, array: np.ndarray) -> np.ndarray:
        """See `Backend.to_host`."""
        return np.asarray(array)

    def free_memory(self) -> None:
        """See `Backend.free_memory`."""


def open_backend(device: str, dtype: str) -> NumpyBackend:
    """NumPy, whatever the dtype."""
    return NumpyBackend()
