"""A backend on array-api-strict: whatever leaves the standard, or mixes devices, fails here."""

import array_api_strict as xp
import numpy as np

from mlpgpu.backends.base import Eager

Array = type(xp.zeros(()))


class StrictBackend(Eager):
    name = "strict"
    xp = xp

    def __init__(self, device="CPU_DEVICE", free=None):
        self.device = device
        self.description = f"array-api-strict on {device}"
        self._device = xp.Device(device)
        self._free = free

    def asarray(self, array, dtype=None):
        if isinstance(array, Array):
            assert array.device == self._device
            return array if dtype is None else xp.astype(array, getattr(xp, dtype), copy=False)
        return xp.asarray(np.asarray(array, dtype=dtype), device=self._device)

    def to_host(self, array):
        return np.asarray(array.to_device(xp.Device("CPU_DEVICE")))

    def free_memory(self):
        return self._free
