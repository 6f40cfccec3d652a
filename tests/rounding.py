"""Rounding by another method than the package's."""

import numpy as np


def by_bits(array, bits):
    """Return float32 numbers rounded to `bits` explicit bits, halves to even, by integer arithmetic."""
    words, dropped = np.ascontiguousarray(array).view(np.uint32).astype(np.uint64), 23 - bits
    half = np.uint64((1 << dropped - 1) - 1) + ((words >> np.uint64(dropped)) & np.uint64(1))
    return ((words + half) >> np.uint64(dropped) << np.uint64(dropped)).astype(np.uint32).view(np.float32)
