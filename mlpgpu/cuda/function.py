"""A function of arrays as a few launches, none of which the host waits for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from threading import get_ident
from typing import Any

import numpy as np

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


class Recorded:
    """What a function does with arguments of some shapes and types, as a program.

    Parameters
    ----------
    recorder : Recorder
    function : callable
        Its functions record.
    given : tuple
        Arguments. Their shapes and types are looked at, nothing else.

    Attributes
    ----------
    inputs : list of Traced
        The leaves of the arguments.
    result : Traced or tuple
        What the function returns.
    results : list of Traced
        Its leaves.
    parts : list of list of (Traced, int)
        For each of these, see `parts_of`.

    Raises
    ------
    NotCaptured
        Where an array has no elements.
    """

    def __init__(self, recorder: Recorder, function: Callable[..., Any], given: Any) -> None:
        self.inputs = [recorder.input(leaf.shape, leaf.dtype) for leaf in leaves(given)]
        self.result = function(*rebuild(given, iter(self.inputs)))
        self.results = [recorder.constant(leaf) for leaf in leaves(self.result)]
        if not all(node.size for node in (*self.inputs, *self.results)):
            raise NotCaptured("arrays without elements")
        taken: set[Traced] = set()
        self.parts = [parts_of(recorder, node, taken) for node in self.results]
        self.made = [node for of_result in self.parts for node, _ in of_result]

    def program(self, *, epilogues: bool = True) -> Program:
        """Its kernels and products, those with epilogues where it may have some.

        Raises
        ------
        NotCaptured
            Where there is an operation that is not known here.
        """
        return Program(self.made, outside=self.made, epilogues=epilogues)


class Launched:
    """A recorded function on a device.

    Parameters
    ----------
    cupy : module
    recorded : Recorded
    given : tuple
        Arguments, as the first call has them.
    precision : str
        Of products.
    multiplier : Multiplier
        Of the stream that it will be launched on.
    """

    def __init__(self, cupy: Any, recorded: Recorded, given: Any, precision: str, multiplier: Multiplier) -> None:
        self._cupy, self._recorded = cupy, recorded
        places = {node: Place(0) for node in recorded.made}
        places |= {node: Place(leaf.data.ptr) for node, leaf in zip(recorded.inputs, leaves(given), strict=True)}
        self._inputs = [places[node] for node in recorded.inputs]
        self._parts = [[(places[node], offset) for node, offset in of_result] for of_result in recorded.parts]
        self._bound = bind(cupy, recorded.program, places, precision, [multiplier, multiplier])

    def __call__(self, given: Any, stream: int) -> Any:
        """New arrays, which hold what they should when the stream has come to that."""
        # From a chunk to the next, all but the parameters lie elsewhere.
        arrays = [self._cupy.ascontiguousarray(leaf) for leaf in leaves(given)]
        results = [self._cupy.empty(node.shape, node.dtype) for node in self._recorded.results]
        for place, array in zip(self._inputs, arrays, strict=True):
            place.move(array.data.ptr)
        for parts, array in zip(self._parts, results, strict=True):
            for place, offset in parts:
                place.move(array.data.ptr + offset)
        # When all is launched, it is for what this stream does next: CuPy's pool minds that.
        memory = self._cupy.empty(self._bound.program.n_bytes, np.uint8)
        self._bound.work_in(memory)
        for call in self._bound.calls:
            call(stream)
        return rebuild(self._recorded.result, iter(results))


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
        if launched is None:
            self._seen[key] += 1
            if self._seen[key] <= self._patience:
                return self._function(*given)
        try:
            launched = launched or self._record(key, given, stream)
            return launched(given, stream)
        except MemoryError:
            raise
        except Exception as error:
            # A function of the user may do what is not recorded, and what is wrong with it shows line by line. For
            # arguments that lie elsewhere, cuBLASLt may have no product.
            self._is_refused = True
            tell_refused("the evaluation of rows", self._device, error)
            return self._function(*given)

    def _record(self, key: Any, given: Any, stream: int) -> Launched:
        multiplier = multiplier_of(self._cupy, self._device, stream, get_ident())
        with self._xp.recording():
            recorded = Recorded(DeviceRecorder(self._cupy), self._function, given)
        launched = Launched(self._cupy, recorded, given, self._precision, multiplier)
        if len(self._launched) == KEPT:
            del self._launched[next(iter(self._launched))]
        self._launched[key] = launched
        return launched


@lru_cache(maxsize=4)
def multiplier_of(cupy: Any, device: str, stream: int, thread: int) -> Multiplier:
    """What all functions of a thread on a stream have in common, which does one product after the other; kept for more.

    Another thread may choose algorithms at the same time; and threads' own default streams have one address.
    """
    return Multiplier(cupy)


def _shapes(tree: Any) -> Any:
    return tuple(map(_shapes, tree)) if isinstance(tree, tuple) else (tree.shape, tree.dtype)
