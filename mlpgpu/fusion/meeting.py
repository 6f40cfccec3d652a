"""The barrier at which the threads of a compiled loop meet."""

from __future__ import annotations

import ctypes
import functools

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

# Reads of the counter before a waiting thread yields its core: some microseconds.
SPINS_PER_YIELD = 4096


@intrinsic
def _arrive(typing, address):
    """Count a thread that has reached the barrier."""

    def emit(context, builder, signature, given):
        place = builder.inttoptr(given[0], ir.IntType(64).as_pointer())
        builder.atomic_rmw("add", place, ir.IntType(64)(1), "seq_cst")
        return context.get_dummy_value()

    return types.void(types.intp), emit


@intrinsic
def _arrived(typing, address):
    """Return how many threads have arrived so far."""

    def emit(context, builder, signature, given):
        place = builder.inttoptr(given[0], ir.IntType(64).as_pointer())
        return builder.load_atomic(place, "seq_cst", 8)

    return types.int64(types.intp), emit


@intrinsic
def _call(typing, address):
    """Call a C function without arguments, and ignore the integer that it returns."""

    def emit(context, builder, signature, given):
        function = ir.FunctionType(ir.IntType(32), []).as_pointer()
        builder.call(builder.inttoptr(given[0], function), [])
        return context.get_dummy_value()

    return types.void(types.intp), emit


@numba.njit
def wait(barrier, arrivals, n_threads, sched_yield):
    """Wait at a barrier until all threads have arrived.

    Parameters
    ----------
    barrier : int64 array
        Number of arrivals at all barriers, 0 before the first.
    arrivals : int
        The value that the previous barrier returned; 0 at the first.
    n_threads : int
    sched_yield : int
        Address of a function that yields the core to other threads; 0 if there is none.

    Returns
    -------
    int
        Number of arrivals that completes this barrier.
    """
    if n_threads > 1:
        arrivals += n_threads
        _arrive(barrier.ctypes.data)
        spins = 0
        while _arrived(barrier.ctypes.data) < arrivals:
            spins += 1
            if spins % SPINS_PER_YIELD == 0 and sched_yield != 0:
                _call(sched_yield)
    return arrivals


@functools.cache
def sched_yield_address() -> int:
    """Return the address of ``sched_yield``; 0 if there is none."""
    try:
        return ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value or 0
    except (AttributeError, OSError, TypeError):
        return 0
