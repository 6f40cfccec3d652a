"""A backend on array-api-strict, which raises an error for code that leaves the standard or mixes devices."""

import array_api_strict as xp

from mlpgpu.backends.standard import StandardBackend

Array = type(xp.zeros(()))


class StrictBackend(StandardBackend):
    xp = xp

    def __init__(self, device="CPU_DEVICE", free=None):
        super().__init__(xp.zeros((), device=xp.Device(device)))
        self._free = free

    def asarray(self, array, dtype=None):
        assert not isinstance(array, Array) or array.device == self._device
        return super().asarray(array, dtype)

    def free_memory(self):
        return self._free
