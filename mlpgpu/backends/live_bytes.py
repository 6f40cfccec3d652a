"""Peak memory of a function that runs eagerly, found by calling it with arrays that have a size and no values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlpgpu.fusion.trace import VIEWS, Recorder, Traced, leaves, rebuild

# CuPy and PyTorch allocate memory in multiples of this many bytes.
ALLOCATION_UNIT = 512


class Bytes(NamedTuple):
    """Memory that a compiled function or loop takes in addition to its arguments, in bytes.

    Attributes
    ----------
    kept : int
        Memory held from the first call on, for the lifetime of the function.
    call : int
        Peak memory of a call beyond `kept`.
    first : int
        Peak memory of the first call beyond `kept`. It may be larger, since a loop may copy the state at first.
    """

    kept: int
    call: int
    first: int


def in_pieces(array: Any) -> int:
    """Return the bytes allocated for an array."""
    return -(-array.size * array.dtype.itemsize // ALLOCATION_UNIT) * ALLOCATION_UNIT


def total(arrays: Iterable[Any]) -> int:
    """Return the bytes allocated for several arrays."""
    return sum(map(in_pieces, arrays))


class Counted(Traced):
    """An array without values, counted as allocated while it is referenced; a view references its base."""

    recorder: Counter
    __hash__ = object.__hash__

    def __del__(self) -> None:
        if self.operation not in VIEWS:
            self.recorder.now -= in_pieces(self)


class Counter(Recorder):
    """Counts the allocated bytes as arrays are created and freed.

    Attributes
    ----------
    now, peak : int
        Bytes allocated at present, and at most so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0

    def record(
        self, operation: str, arguments: tuple[Any, ...], settings: tuple[Any, ...], shape: Sequence[int], dtype: Any
    ) -> Traced:
        """See `Recorder.record`; only a view references its argument, and equal operations are not merged."""
        made = Counted(self, operation, arguments if operation in VIEWS else (), settings, tuple(shape), dtype)
        if operation not in VIEWS:
            self.now += in_pieces(made)
            self.peak = max(self.peak, self.now)
        return made

    def full_like(self, x: Traced, fill_value: Any) -> Traced:
        """See `Recorder.full_like`."""
        return self.record("fill", (), (), x.shape, x.dtype)

    def argmax(self, x: Traced, axis: int, *, keepdims: bool = False) -> Traced:
        """See `Recorder.argmax`; in an eager library it is a single operation."""
        return self.record("argmax", (), (), self.max(x, axis, keepdims).shape, np.int64)


def of_function(function: Callable[..., Any], given: Any) -> Bytes:
    """Return the memory of a call of a pure function, including its results.

    Parameters
    ----------
    function : callable
        Function of arrays and nested tuples of them, written in NumPy's namespace.
    given : tuple
        Arguments, of which only shapes and dtypes are used.
    """
    counter = Counter()
    function(*_inputs(counter, given))
    return _counted(counter)


def of_loop(step: Callable[..., Any], state: Any, data: Any, items: Any) -> Bytes:
    """Return the memory of a call of an eager loop; arguments as in `Backend.compile_loop`."""
    counter = Counter()
    state, data, items = _inputs(counter, (state, data, items))
    # The caller holds the first state throughout, so the second step has one state more in memory.
    for _ in range(2):
        state, _loss = step(state, data, rebuild(items, (item[0, ...] for item in leaves(items))))
    return _counted(counter)


def _counted(counter: Counter) -> Bytes:
    # Constants of a step are NumPy arrays here; a device keeps a copy of them.
    return Bytes(total(counter.constants), counter.peak, counter.peak)


def _inputs(counter: Counter, given: Any) -> Any:
    return rebuild(given, (counter.input(leaf.shape, leaf.dtype) for leaf in leaves(given)))
