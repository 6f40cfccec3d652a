"""Where the threads of a compiled loop wait for each other, and the switch that gives each a core of its own."""

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

# Looks at the meeting place before a thread lets others have its core: some microseconds.
PATIENCE = 4096
NAMES = (
    "scipy_openblas_{}_num_threads64_",
    "openblas_{}_num_threads64_",
    "scipy_openblas_{}_num_threads",
    "openblas_{}_num_threads",
)


@intrinsic
def _arrive(typing, address):
    """One more thread is there."""

    def emit(context, builder, signature, given):
        place = builder.inttoptr(given[0], ir.IntType(64).as_pointer())
        builder.atomic_rmw("add", place, ir.IntType(64)(1), "seq_cst")
        return context.get_dummy_value()

    return types.void(types.intp), emit


@intrinsic
def _arrived(typing, address):
    """How many have arrived so far."""

    def emit(context, builder, signature, given):
        place = builder.inttoptr(given[0], ir.IntType(64).as_pointer())
        return builder.load_atomic(place, "seq_cst", 8)

    return types.int64(types.intp), emit


@intrinsic
def _call(typing, address):
    """Call a C function that takes nothing and returns a whole number."""

    def emit(context, builder, signature, given):
        function = ir.FunctionType(ir.IntType(32), []).as_pointer()
        builder.call(builder.inttoptr(given[0], function), [])
        return context.get_dummy_value()

    return types.void(types.intp), emit


@numba.njit
def wait(meeting, waits, n_threads, give_way):
    """Wait until all threads are here.

    Parameters
    ----------
    meeting : int64 array
        0 before the first meeting.
    waits : int
        What the meeting before returned; 0 for the first.
    n_threads : int
    give_way : int
        Address of the function that lets other threads have the core.
    """
    if n_threads > 1:
        waits += n_threads
        _arrive(meeting.ctypes.data)
        looks = 0
        while _arrived(meeting.ctypes.data) < waits:
            looks += 1
            if looks % PATIENCE == 0 and give_way != 0:
                _call(give_way)
    return waits


@functools.cache
def give_way() -> int:
    """Address of ``sched_yield``; 0 where there is none."""
    try:
        return ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value or 0
    except (AttributeError, OSError, TypeError):
        return 0


@functools.cache
def _switch() -> tuple[Any, Any] | None:
    """What asks and what sets how many threads the products of NumPy's library have."""
    for name in NAMES:
        with contextlib.suppress(AttributeError, OSError):
            return getattr(library(), name.format("get")), getattr(library(), name.format("set"))
    return None


class _Cores:
    """What loops of several fits at once share: the cores, and the threads of a product, a number of the process.

    Attributes
    ----------
    free : Condition
        For where a loop leaves.
    taken : int
        Threads of the loops that run.
    before : int
        Threads of a product where none runs.
    """

    def __init__(self) -> None:
        self.free, self.taken, self.before = threading.Condition(), 0, 1


_cores = _Cores()


def product_threads() -> int:
    """Threads of a product where no compiled loop runs; 1 where they cannot be set."""
    switch = _switch()
    with _cores.free:
        return _cores.before if _cores.taken else int(switch[0]()) if switch else 1


@contextlib.contextmanager
def products_by_one_thread(n_threads: int) -> Iterator[None]:
    """Within it, each product is done by the thread that asks for it; it is entered when there are cores for so many.

    Threads that wait for each other wait long where there are more of them than cores; one alone has none to wait for.
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


def _begin_anew() -> None:
    """Have a child know nothing of loops that ran in other threads when it was forked."""
    # Who held the lock of the old one is not there.
    global _cores
    switch, left, _cores = _switch(), _cores, _Cores()
    if switch is not None and left.taken:
        switch[1](left.before)


# Windows does not fork.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
