"""Run a function of arrays as a few asynchronous launches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from threading import get_ident
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.backends.captures import tell_refused
from mlpgpu.cuda.binding import Pointer, bind
from mlpgpu.cuda.indexing import NotCaptured
from mlpgpu.cuda.products import Multiplier
from mlpgpu.cuda.program import Program
from mlpgpu.cuda.recording import DeviceRecorder, returned
from mlpgpu.fusion.trace import Recorder, Traced, leaves, rebuild

if TYPE_CHECKING:
    from mlpgpu.backends.cupy import CupyBackend

# The most programs that a function keeps, one per stream and argument shapes: full chunks, and the last chunks of a few
# data sets.
KEPT = 8
# Tracing a function and loading its kernels takes about as long as this many calls line by line.
PATIENCE = 64


class Recorded:
    """A function traced with arguments of given shapes and dtypes.

    Parameters
    ----------
    recorder : Recorder
    function : callable
        Its array functions must be those that record.
    given : tuple
        Arguments, of which only shapes and dtypes are used.

    Attributes
    ----------
    inputs : list of Traced
        The leaves of the arguments.
    result : Traced or tuple
        The traced return value of the function.
    results : list of Traced
        Leaves of `result`.
    parts : list of list of (Traced, int)
        `parts_of` each leaf.

    Raises
    ------
    NotCaptured
        If an array is empty.
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
        """Return the kernels and products; `epilogues` allows products with one.

        Raises
        ------
        NotCaptured
            If an operation is not supported.
        """
        return Program(self.made, outside=self.made, epilogues=epilogues)


class Launched:
    """A traced function bound to a device.

    Parameters
    ----------
    cupy : module
    recorded : Recorded
    given : tuple
        Arguments of the first call.
    precision : str
        Of the products: ``float32``, ``tf32`` or ``bf16``.
    multiplier : Multiplier
        That of the stream on which it is launched.
    """

    def __init__(self, cupy: Any, recorded: Recorded, given: Any, precision: str, multiplier: Multiplier) -> None:
        self._cupy, self._recorded = cupy, recorded
        pointers = {node: Pointer(0) for node in recorded.made}
        pointers |= {node: Pointer(leaf.data.ptr) for node, leaf in zip(recorded.inputs, leaves(given), strict=True)}
        self._inputs = [pointers[node] for node in recorded.inputs]
        self._parts = [[(pointers[node], offset) for node, offset in of_result] for of_result in recorded.parts]
        self._bound = bind(cupy, recorded.program, pointers, precision, [multiplier, multiplier])

    def __call__(self, given: Any, stream: int) -> Any:
        """Launch the function and return its results in new arrays, valid in stream order."""
        # All arguments but the parameters may move from one chunk to the next.
        arrays = [self._cupy.ascontiguousarray(leaf) for leaf in leaves(given)]
        results = [self._cupy.empty(node.shape, node.dtype) for node in self._recorded.results]
        for pointer, array in zip(self._inputs, arrays, strict=True):
            pointer.move(array.data.ptr)
        for parts, array in zip(self._parts, results, strict=True):
            for pointer, offset in parts:
                pointer.move(array.data.ptr + offset)
        # It may be freed while the launches run: CuPy's pool reuses it in stream order.
        memory = self._cupy.empty(self._bound.program.n_bytes, np.uint8)
        self._bound.work_in(memory)
        for call in self._bound.calls:
            call(stream)
        return rebuild(self._recorded.result, iter(results))


def parts_of(recorder: Recorder, result: Traced, taken: set[Traced]) -> list[tuple[Traced, int]]:
    """Return the nodes that make up a result, with their offsets in bytes: a concatenation is written in place."""
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
    """A function that is traced once for each combination of argument shapes and dtypes. Not thread-safe.

    Parameters
    ----------
    backend : CupyBackend
        `function` uses its array namespace.
    function : callable
        Pure; takes and returns arrays and nested tuples of them.
    patience : int
        Number of calls with the same shapes that run line by line before the function is traced.
    """

    def __init__(self, backend: CupyBackend, function: Callable[..., Any], patience: int) -> None:
        self._backend, self._function, self._patience = backend, function, patience
        # By stream, shapes and dtypes.
        self._launched: dict[Any, Launched] = {}
        self._seen: Counter[Any] = Counter()
        self._is_refused = False

    def __call__(self, *given: Any) -> Any:
        """Return the function's results in new arrays."""
        # Within a step that is being traced, its operations become part of that trace.
        if self._is_refused or self._backend.xp.is_recording:
            return self._function(*given)
        stream = self._backend.cupy.cuda.get_current_stream().ptr
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
            # A user's function may use operations that cannot be traced; if it is wrong, the error shows line by line.
            # At a launch, cuBLASLt may not support a product with the new alignment of its operands.
            self._is_refused = True
            tell_refused("the evaluation of rows", self._backend.device, error)
            return self._function(*given)

    def _record(self, key: Any, given: Any, stream: int) -> Launched:
        cupy, backend = self._backend.cupy, self._backend
        multiplier = multiplier_of(cupy, backend.device, stream, get_ident())
        with backend.xp.recording():
            recorded = Recorded(DeviceRecorder(cupy), self._function, given)
        launched = Launched(cupy, recorded, given, backend.precision, multiplier)
        if len(self._launched) == KEPT:
            del self._launched[next(iter(self._launched))]
        self._launched[key] = launched
        return launched


@lru_cache(maxsize=4)
def multiplier_of(cupy: Any, device: str, stream: int, thread: int) -> Multiplier:
    """Return the multiplier that all functions of a thread share on a stream, where products run one after the other.

    Threads do not share one, even on the same stream: two may choose algorithms at the same time, and per-thread
    default streams all have the same handle.
    """
    return Multiplier(cupy)


def _shapes(tree: Any) -> Any:
    return tuple(map(_shapes, tree)) if isinstance(tree, tuple) else (tree.shape, tree.dtype)
