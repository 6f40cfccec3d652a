"""The barrier of a compiled loop's threads, and a switch that makes BLAS single-threaded while they run."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import threading
from collections.abc import Iterator
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from mlpgpu.fusion.blas import library

# Reads of the counter before a waiting thread yields its core: some microseconds.
SPINS_PER_YIELD = 4096
NAMES = (
    "scipy_openblas_{}_num_threads64_",
    "openblas_{}_num_threads64_",
    "scipy_openblas_{}_num_threads",
    "openblas_{}_num_threads",
)


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


@functools.cache
def _switch() -> tuple[Any, Any] | None:
    """Return the functions that get and set the number of threads of NumPy's BLAS; None if it has none."""
    for name in NAMES:
        with contextlib.suppress(AttributeError, OSError):
            return getattr(library(), name.format("get")), getattr(library(), name.format("set"))
    return None


class _Cores:
    """Cores, which the loops of concurrent fits share, and the number of BLAS threads, which is one per process.

    Attributes
    ----------
    free : Condition
        Notified when a loop ends.
    taken : int
        Threads of the loops that run.
    before : int
        Threads of a product while no loop runs.
    """

    def __init__(self) -> None:
        self.free, self.taken, self.before = threading.Condition(), 0, 1


_cores = _Cores()


def product_threads() -> int:
    """Return the threads of a product while no compiled loop runs; 1 if their number cannot be set."""
    switch = _switch()
    with _cores.free:
        return _cores.before if _cores.taken else int(switch[0]()) if switch else 1


@contextlib.contextmanager
def products_by_one_thread(n_threads: int) -> Iterator[None]:
    """Make BLAS single-threaded within the context, which is entered when `n_threads` cores are free.

    If there are more threads than cores, those at a barrier wait long for the others. A single thread meets no others,
    so its loop is entered at once.
    """
    switch = _switch()
    if switch is None:
        yield
        return
    with _cores.free:
        _cores.free.wait_for(lambda: n_threads == 1 or not _cores.taken or _cores.taken + n_threads <= _cores.before)
        if not _cores.taken:
            _cores.before = product_threads()
            switch[1](1)
        _cores.taken += n_threads
    try:
        yield
    finally:
        with _cores.free:
            _cores.taken -= n_threads
            if not _cores.taken:
                switch[1](_cores.before)
            _cores.free.notify_all()


def _reset_after_fork() -> None:
    """Make a forked child forget loops that ran in other threads of its parent."""
    # A new object, since the thread that held the lock of the old one may not exist here.
    global _cores
    switch, left, _cores = _switch(), _cores, _Cores()
    if switch is not None and left.taken:
        switch[1](left.before)


# Windows does not fork.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
