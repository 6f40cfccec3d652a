"""Any other library that follows the array API standard, on the device of one of its arrays."""

from typing import Any

import array_api_compat
import numpy as np

from mlpgpu.backends.base import Backend, quiet


class StandardBackend(Backend):
    """See `mlpgpu.backends.base.Backend`.

    Parameters
    ----------
    array : array
        Array whose library and device the backend uses.
    """

    def __init__(self, array: Any) -> None:
        self.xp, self._device = array_api_compat.array_namespace(array), array_api_compat.device(array)
        self.name, self.device = self.xp.__name__.rpartition(".")[2], str(self._device)
        self.description = f"{self.device}, {self.name}"

    @quiet
    def asarray(self, array: Any, dtype: str | None = None) -> Any:
        """See `Backend.asarray`."""
        if array_api_compat.is_array_api_obj(array) and array_api_compat.array_namespace(array) is self.xp:
            return array if dtype is None else self.xp.astype(array, getattr(self.xp, dtype), copy=False)
        return self.xp.asarray(np.asarray(array, dtype=dtype), device=self._device)

    def to_host(self, array: Any) -> np.ndarray:
        """See `Backend.to_host`."""
        return np.from_dlpack(array, device="cpu")


def open_beside(array: Any) -> StandardBackend:
    """Return the backend of the library and device of `array`."""
    return StandardBackend(array)
