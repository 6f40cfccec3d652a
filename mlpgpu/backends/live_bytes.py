"""How much memory a function of arrays takes that runs line by line: it is called with arrays that only have a size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlpgpu.fusion.trace import VIEWS, Recorder, Traced, leaves, rebuild

Array = Any
# Both CuPy and PyTorch give memory in pieces of so many bytes.
PIECE = 512


class Bytes(NamedTuple):
    """Memory that something compiled takes beside what it is given.

    Attributes
    ----------
    kept : int
        From its first call on, as long as it is there.
    call : int
        Beside that, at most, while a call runs.
    first : int
        The same for its first call; that of a loop may copy the state, which from then on is its own.
    """

    kept: int
    call: int
    first: int


def in_pieces(array: Any) -> int:
    """Bytes that are taken for an array."""
    return -(-array.size * array.dtype.itemsize // PIECE) * PIECE


def total(arrays: Iterable[Any]) -> int:
    """Bytes that are taken for all of them."""
    return sum(map(in_pieces, arrays))


class Counted(Traced):
    """An array without values, whose bytes are taken until nothing holds it; a view holds what it is a view of."""

    recorder: Counter
    __hash__ = object.__hash__

    def __del__(self) -> None:
        if self.operation not in VIEWS:
            self.recorder.now -= in_pieces(self)


class Counter(Recorder):
    """Counts what arrays take, as they come and go.

    Attributes
    ----------
    now, most : int
        Bytes that are taken, and that were at most.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0

    def record(
        self, operation: str, arguments: tuple[Any, ...], settings: tuple[Any, ...], shape: Sequence[int], dtype: Any
    ) -> Traced:
        """See `Recorder.record`; of its arguments, only a view holds one, and nothing is done once for several."""
        made = Counted(self, operation, arguments if operation in VIEWS else (), settings, tuple(shape), dtype)
        if operation not in VIEWS:
            self.now += in_pieces(made)
            self.most = max(self.most, self.now)
        return made

    def full_like(self, x: Traced, fill_value: Any) -> Traced:
        """See `Recorder.full_like`."""
        return self.record("fill", (), (), x.shape, x.dtype)

    def argmax(self, x: Traced, axis: int, *, keepdims: bool = False) -> Traced:
        """See `Recorder.argmax`; every library has it in one piece."""
        return self.record("argmax", (), (), self.max(x, axis, keepdims).shape, np.int64)


def of_function(function: Callable[..., Any], given: Any) -> Bytes:
    """What a call of a pure function takes, with what it returns.

    Parameters
    ----------
    function : callable
        Of arrays and nested tuples of them, written in NumPy's namespace.
    given : tuple
        Arguments, which are asked for their shapes and types.
    """
    counter = Counter()
    function(*_inputs(counter, given))
    return _counted(counter)


def of_loop(step: Callable[..., Any], state: Any, data: Any, items: Any) -> Bytes:
    """What a loop of `step` takes, as `of_function` has it; arguments as `Backend.compile_loop` has them."""
    counter = Counter()
    now, data, items = _inputs(counter, (state, data, items))
    # Whoever calls the loop holds the state that went in; from the second step on there is one more.
    for _ in range(2):
        now, _loss = step(now, data, rebuild(items, (item[0, ...] for item in leaves(items))))
    return _counted(counter)


def _counted(counter: Counter) -> Bytes:
    # A device holds what NumPy holds here.
    return Bytes(total(counter.constants), counter.most, counter.most)


def _inputs(counter: Counter, given: Any) -> Any:
    return rebuild(given, (counter.input(leaf.shape, leaf.dtype) for leaf in leaves(given)))
