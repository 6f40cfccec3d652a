"""Arrays of CuPy itself in a trace, which needs no GPU."""

import numpy as np
import pytest

from mlpgpu.cuda.recording import DeviceRecorder


def test_operations_keep_its_arrays():
    cupy = pytest.importorskip("cupy")
    from cupy.cuda import MemoryPointer, UnownedMemory

    # Memory of the host, which nothing may read: an operation that CuPy ran would fail.
    values = np.arange(3.0)
    memory = UnownedMemory(values.ctypes.data, values.nbytes, values, device_id=0)
    array = cupy.ndarray(values.shape, values.dtype, MemoryPointer(memory, 0))
    x = DeviceRecorder(cupy).input(values.shape, values.dtype)
    recorded = [
        *(array + x, x + array, array / x, x / array, array < x, x == array),
        *(np.maximum(array, x), np.where(x > 0, array, x), np.concatenate([array, x])),
    ]
    for node in recorded:
        assert node.recorder is x.recorder
        assert any(parent.value is array for parent in node.parents)
