"""Prefetch the rows that a pass is about to take."""

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

# Distance from the row in use to the one that is prefetched; twice as many are no faster.
ROWS_AHEAD = 4
# Bytes of a cache line, and the most of a row that is prefetched: hardware prefetches the rest of a long one.
CACHE_LINE, MAX_BYTES = 64, 4096


@intrinsic
def _prefetch(typing, address):
    """Prefetch the cache line at `address`, without waiting for it. An invalid address does no harm."""

    def emit(context, builder, signature, given):
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        read, second_level, data = number(0), number(2), number(1)
        builder.call(prefetch, [builder.inttoptr(given[0], pointer), read, second_level, data])
        return context.get_dummy_value()

    return types.void(types.intp), emit


@numba.njit
def prefetch_row(x, rows, i):
    """Prefetch the row of `x` that is taken `ROWS_AHEAD` rows after row `i`.

    Hardware does not predict rows in random order: the pass would spend half of its time waiting for memory.

    Parameters
    ----------
    x : array of two axes
    rows : array of int, shape (n,)
        Indices of the rows of `x` that are taken, in order.
    i : int
        Index into `rows`.
    """
    later = np.uint64(i) + np.uint64(ROWS_AHEAD)
    if later < rows.shape[0]:
        start = x.ctypes.data + rows[later] * x.strides[0]
        for place in range(0, min(x.shape[1] * x.itemsize, MAX_BYTES), CACHE_LINE):
            _prefetch(start + place)
