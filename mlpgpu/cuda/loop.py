"""Capture a training step as a CUDA graph, and replay it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.backends.captures import suits, tell_refused, without_collection
from mlpgpu.cuda.binding import Pointer, bind
from mlpgpu.cuda.indexing import NotCaptured
from mlpgpu.cuda.program import Program
from mlpgpu.cuda.recording import DeviceRecorder, returned
from mlpgpu.fusion.trace import Recorder, Traced, leaves, moved, rebuild

if TYPE_CHECKING:
    from mlpgpu.backends.cupy import CupyBackend

Array = Any
# Steps per graph, in descending order: launching a graph takes as long as several steps of a small network.
STEPS = (64, 8, 1)


class Recorded:
    """A traced step.

    Parameters
    ----------
    recorder : Recorder
    step : callable
        ``step(state, data, item) -> (state, loss)``, pure. Its array functions must be those that record.
    state, data, items : tuple of array
        Arguments of the loop, of which only shapes and dtypes are used.

    Attributes
    ----------
    state, data, items : list of Traced
    counter, loss : Traced
    """

    def __init__(self, recorder: Recorder, step: Callable[..., Any], state: Any, data: Any, items: Any) -> None:
        self.state, self.data = (
            [recorder.input(leaf.shape, leaf.dtype) for leaf in leaves(tree)] for tree in (state, data)
        )
        self.items = [recorder.input(leaf.shape[1:], leaf.dtype) for leaf in leaves(items)]
        self.counter = recorder.input((), np.int64)
        # A product cannot index by the counter; a node between lets it read a copy of the step's row.
        item = [recorder.record("astype", (rows,), (rows.dtype,), rows.shape, rows.dtype) for rows in self.items]
        given = [rebuild(state, iter(self.state)), rebuild(data, iter(self.data)), rebuild(items, iter(item))]
        new, loss = step(*given)
        replaces = [(self.counter, recorder.elementwise(np.add, self.counter, 1))]
        taken: set[Traced] = set()
        for leaf, old in zip(leaves(new), self.state, strict=True):
            if leaf is not old:
                made = returned(recorder, leaf, taken)
                if (made.shape, made.dtype) != (old.shape, old.dtype):
                    raise TypeError(f"a state of {old.dtype} {old.shape} becomes one of {made.dtype} {made.shape}")
                replaces.append((old, made))
        self.loss = returned(recorder, loss, taken)
        if self.loss.ndim:
            raise NotCaptured("losses of several models")
        self._replaces = replaces

    def program(self, *, epilogues: bool = True) -> Program:
        """Return the kernels and products; `epilogues` allows products with one."""
        results = [*(made for _, made in self._replaces), self.loss]
        per_step = [*self.items, self.loss]
        return Program(results, self._replaces, self.counter, per_step, epilogues=epilogues)


class Captured:
    """A traced step captured in graphs, with the memory that they use.

    Parameters
    ----------
    cupy : module
    recorded : Recorded
    state, data, items : tuple of array
        On the device. The data are not copied. The length of `items` is the most steps per call.
    precision : str
        Of the products: ``float32``, ``tf32`` or ``bf16``.
    """

    def __init__(self, cupy: Any, recorded: Recorded, state: Any, data: Any, items: Any, precision: str) -> None:
        self._cupy = cupy
        self.data = tuple(leaves(data))
        if not all(leaf.flags.c_contiguous for leaf in self.data):
            raise NotCaptured("data whose rows do not follow each other")
        self.state = tuple(cupy.zeros(leaf.shape, leaf.dtype) for leaf in leaves(state))
        # The first run reads these: as row numbers, zeros are valid.
        self.items = tuple(cupy.zeros(leaf.shape, leaf.dtype) for leaf in leaves(items))
        self.losses = cupy.zeros(len(self.items[0]), recorded.loss.dtype)
        self.counter = cupy.zeros((), np.int64)
        given = [*recorded.state, *recorded.data, *recorded.items, recorded.counter, recorded.loss]
        arrays = [*self.state, *self.data, *self.items, self.counter, self.losses]
        pointers = {node: Pointer(array.data.ptr) for node, array in zip(given, arrays, strict=True)}
        self._bound = bind(cupy, recorded.program, pointers, precision)
        self._memory = cupy.empty(self._bound.program.n_bytes, np.uint8)
        self._bound.work_in(self._memory)
        # Non-blocking, since a captured stream must not synchronise with the legacy default stream.
        self._stream, self._side_stream = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
        self._event = cupy.cuda.Event(disable_timing=True)
        self._joined = self._bound.program.joined
        # The first run reads what the current stream has yet to write.
        cupy.cuda.get_current_stream().synchronize()
        # Warm up: nothing may be loaded, chosen or allocated during the capture.
        try:
            with self._stream:
                self._step()
        finally:
            # If a launch fails, those before it must not go on to write to memory that is freed.
            for stream in (self._stream, self._side_stream):
                stream.synchronize()
        self._graphs = [(n, self._capture(n)) for n in STEPS if n <= len(self.losses)]

    def __call__(self, state: Any, items: Any) -> tuple[Any, Array]:
        """Run the loop as in `Backend.compile_loop`. The next call overwrites the state that is returned."""
        for own, leaf in moved(self.state, list(leaves(state))):
            self._cupy.copyto(own, leaf)
        n = len(next(leaves(items)))
        for own, leaf in zip(self.items, leaves(items), strict=True):
            self._cupy.copyto(own[:n], leaf)
        self.counter.fill(0)
        left = n
        for n_steps, graph in self._graphs:
            for _ in range(left // n_steps):
                graph.launch()
            left %= n_steps
        return rebuild(state, iter(self.state)), self.losses[:n].copy()

    def _step(self) -> None:
        """Launch a step on the main and the side stream."""
        waited_for = set(self._joined.values())
        for time, call in enumerate(self._bound.calls):
            if time in waited_for:
                self._wait(self._stream, self._side_stream)
            if time in self._joined:
                self._wait(self._side_stream, self._stream)
                with self._side_stream:
                    call(self._side_stream.ptr)
            else:
                call(self._stream.ptr)

    def _wait(self, stream: Any, other: Any) -> None:
        """Make `stream` wait for the work that is queued on `other`."""
        other.record(self._event)
        stream.wait_event(self._event)

    def _capture(self, n_steps: int) -> Any:
        runtime = self._cupy.cuda.runtime
        with self._stream, without_collection():
            self._stream.begin_capture(runtime.streamCaptureModeThreadLocal)
            try:
                for _ in range(n_steps):
                    self._step()
            except BaseException:
                # Do not leave the stream in capture mode.
                with suppress(Exception):
                    self._stream.end_capture()
                raise
            return self._stream.end_capture()


class Loop:
    """A loop over a step, which is captured at the first call.

    Parameters
    ----------
    backend : CupyBackend
        `step` uses its array namespace.
    step : callable
        ``step(state, data, item) -> (state, loss)``, pure.
    eager : callable
        The eager loop over `step`, used if the step cannot be captured.
    """

    def __init__(self, backend: CupyBackend, step: Callable[..., Any], eager: Callable[..., Any]) -> None:
        self._backend, self._step, self._eager = backend, step, eager
        self._captured: Captured | None = None
        self._is_refused = False

    def __call__(self, state: Any, data: Any, items: Any) -> tuple[Any, Array]:
        """Run the loop as in `Backend.compile_loop`. The next call overwrites the state that is returned."""
        if not self._is_refused and (self._captured is None or not suits(self._captured, state, data, items)):
            self._capture(state, data, items)
        if self._captured is None:
            return self._eager(state, data, items)
        return self._captured(state, items)

    def _capture(self, state: Any, data: Any, items: Any) -> None:
        # Free the memory of the old capture first. If `state` is in it, the caller still holds that part.
        self._captured, backend = None, self._backend
        try:
            with backend.xp.recording():
                recorded = Recorded(DeviceRecorder(backend.cupy), self._step, state, data, items)
            self._captured = Captured(backend.cupy, recorded, state, data, items, backend.precision)
        except MemoryError:
            raise
        except Exception as error:
            # A user's function may use operations that cannot be traced; if it is wrong, the error shows line by line.
            self._is_refused = True
            tell_refused("the step", backend.device, error)
