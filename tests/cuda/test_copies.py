"""Copies of arrays from the host to the device, on the stand-in for a device."""

import numpy as np
import pytest

from mlpgpu.backends import cupy as module

TABLE = np.arange(42.0).reshape(7, 6) / 3


@pytest.mark.parametrize("array", [TABLE, np.asfortranarray(TABLE), TABLE[:, 1::2], TABLE[:, 0], np.uint8(TABLE)])
@pytest.mark.parametrize("dtype", [None, "float32"])
@pytest.mark.parametrize("most", [1, 100])
def test_large_arrays_are_copied_in_parts(cuda, cupy, monkeypatch, array, dtype, most):
    monkeypatch.setattr(module, "PART_BYTES", most)
    parts, asarray = [], cupy.asarray
    monkeypatch.setattr(cupy, "asarray", lambda part, **more: parts.append(part) or asarray(part, **more))
    copied = cuda.asarray(array, dtype)
    # A row is the smallest part.
    assert max(part.nbytes for part in parts) <= max(most, array[0].nbytes)
    assert copied.flags.c_contiguous
    assert copied.dtype == (dtype or array.dtype)
    np.testing.assert_array_equal(cuda.to_host(copied), array.astype(dtype or array.dtype))
