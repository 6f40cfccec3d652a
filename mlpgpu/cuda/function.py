"""A function of arrays as a few launches, none of which the host waits for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from mlpgpu.cuda.binding import Multiplier, Place, bind
from mlpgpu.cuda.indexing import NotCaptured
from mlpgpu.cuda.namespace import Recordable
from mlpgpu.cuda.program import Program
from mlpgpu.cuda.recording import DeviceRecorder, returned, tell_refused
from mlpgpu.fusion.trace import Recorder, Traced, leaves, rebuild

Array = Any
# Shapes of arguments for which a function is kept: those of whole chunks, and of the last chunk of some data sets.
KEPT = 8
# About as many calls line by line take as long as to record a function and to load its kernels.
PATIENCE = 64


class Launched:
    """A function recorded for arguments of some shapes and types, in memory of its own.

    Parameters
    ----------
    cupy : module
    function : callable
        Its functions record.
    given : tuple
        Arguments, as the first call has them.
    precision : str
        Of products.
    multiplier : Multiplier
        Of the stream that it will be launched on.

    Raises
    ------
    NotCaptured
        Where there is an operation that is not known here.
    """

    def __init__(
        self, cupy: Any, function: Callable[..., Any], given: Any, precision: str, multiplier: Multiplier
    ) -> None:
        self._cupy, recorder = cupy, DeviceRecorder(cupy)
        inputs = [recorder.input(leaf.shape, leaf.dtype) for leaf in leaves(given)]
        self._result = function(*rebuild(given, iter(inputs)))
        self._results = [recorder.constant(leaf) for leaf in leaves(self._result)]
        if not all(node.size for node in (*inputs, *self._results)):
            raise NotCaptured("arrays without elements")
        taken: set[Traced] = set()
        parts = [parts_of(recorder, node, taken) for node in self._results]
        made = [node for of_result in parts for node, _ in of_result]
        places = {node: Place(0) for node in made}
        places |= {node: Place(leaf.data.ptr) for node, leaf in zip(inputs, leaves(given), strict=True)}
        self._inputs = [places[node] for node in inputs]
        self._parts = [[(places[node], offset) for node, offset in of_result] for of_result in parts]
        # It holds the memory that the kernels work in.
        self._bound = bind(cupy, partial(Program, made, outside=made), places, precision, [multiplier, multiplier])

    def __call__(self, given: Any, stream: int) -> Any:
        """New arrays, which hold what they should when the stream has come to that."""
        # From a chunk to the next, all but the parameters lie elsewhere.
        arrays = [self._cupy.ascontiguousarray(leaf) for leaf in leaves(given)]
        results = [self._cupy.empty(node.shape, node.dtype) for node in self._results]
        for place, array in zip(self._inputs, arrays, strict=True):
            place.move(array.data.ptr)
        for parts, array in zip(self._parts, results, strict=True):
            for place, offset in parts:
                place.move(array.data.ptr + offset)
        for call in self._bound.calls:
            call(stream)
        return rebuild(self._result, iter(results))


def parts_of(recorder: Recorder, result: Traced, taken: set[Traced]) -> list[tuple[Traced, int]]:
    """What makes up a result, and at how many bytes from its beginning: what is joined is made where it belongs."""
    if result.operation != "concatenate" or result.settings[0] != 0:
        return [(returned(recorder, result, taken), 0)]
    found, offset = [], 0
    for part in result.parents:
        node = recorder.astype(part, result.dtype)
        while node.operation == "reshape":
            node = node.parents[0]
        found.append((returned(recorder, node, taken), offset))
        offset += part.size * result.dtype.itemsize
    return found


class Function:
    """A function that is recorded when it is first called with arguments of some shapes and types; for one thread.

    Parameters
    ----------
    cupy : module
    xp : Recordable
        In which `function` is written.
    function : callable
        Pure; of arrays and nested tuples of them, and so is what it returns.
    device : str
    precision : str
        Of products.
    patience : int
        How many calls of the same shapes run line by line before.
    """

    def __init__(
        self, cupy: Any, xp: Recordable, function: Callable[..., Any], device: str, precision: str, patience: int = 0
    ) -> None:
        self._cupy, self._xp, self._function = cupy, xp, function
        self._device, self._precision, self._patience = device, precision, patience
        # By stream, shapes and types.
        self._launched: dict[Any, Launched] = {}
        self._seen: Counter[Any] = Counter()
        self._is_refused = False

    def __call__(self, *given: Any) -> Any:
        """What the function returns, in new arrays."""
        # One that is recorded with it is told all of its operations.
        if self._is_refused or self._xp.is_recording:
            return self._function(*given)
        stream = self._cupy.cuda.get_current_stream().ptr
        key = stream, _shapes(given)
        launched = self._launched.get(key)
        if launched is not None:
            return launched(given, stream)
        self._seen[key] += 1
        if self._seen[key] <= self._patience:
            return self._function(*given)
        return self._record(key, given, stream)

    def _record(self, key: Any, given: Any, stream: int) -> Any:
        try:
            multiplier = _multiplier(self._cupy, self._device, stream)
            with self._xp.recording():
                launched = Launched(self._cupy, self._function, given, self._precision, multiplier)
            result = launched(given, stream)
        except MemoryError:
            raise
        except Exception as error:
            # A function of the user may do what is not recorded, and what is wrong with it shows line by line.
            self._is_refused = True
            tell_refused("the evaluation of rows", self._device, error)
            return self._function(*given)
        if len(self._launched) == KEPT:
            del self._launched[next(iter(self._launched))]
        self._launched[key] = launched
        return result


@lru_cache(maxsize=4)
def _multiplier(cupy: Any, device: str, stream: int) -> Multiplier:
    """What all functions on a stream have in common, for it does one product after the other."""
    return Multiplier(cupy)


def _shapes(tree: Any) -> Any:
    return tuple(map(_shapes, tree)) if isinstance(tree, tuple) else (tree.shape, tree.dtype)
