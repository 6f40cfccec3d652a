"""Rows asked of memory before they are needed."""

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

# Rows between the one that is asked for and the one in use; twice as many bring no more.
ROWS = 4
# What memory hands over at a time, and how much of a row is asked for: the rest of a long one hardware foresees.
LINE, MOST = 64, 4096


@intrinsic
def _ask(typing, address):
    """Have the line of memory at `address` brought into the cache; any number will do, and nothing waits for it."""

    def emit(context, builder, signature, given):
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        read, second_level, data = number(0), number(2), number(1)
        builder.call(prefetch, [builder.inttoptr(given[0], pointer), read, second_level, data])
        return context.get_dummy_value()

    return types.void(types.intp), emit


@numba.njit
def ask(x, rows, i):
    """Ask for the row of `x` that is taken some rows after row `i`.

    No hardware foresees rows that are taken in a random order: half the time of the pass would be spent waiting.

    Parameters
    ----------
    x : array of two axes
    rows : array of int, shape (n,)
        Which rows are taken, in turn.
    i : int
    """
    later = np.uint64(i) + np.uint64(ROWS)
    if later < rows.shape[0]:
        start = x.ctypes.data + rows[later] * x.strides[0]
        for place in range(0, min(x.shape[1] * x.itemsize, MOST), LINE):
            _ask(start + place)
