"""A step captured as a CUDA graph, and replayed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from mlpgpu.backends.collection import without_collection
from mlpgpu.cuda.binding import Place, bind
from mlpgpu.cuda.indexing import NotCaptured
from mlpgpu.cuda.namespace import Recordable
from mlpgpu.cuda.program import Program
from mlpgpu.cuda.recording import DeviceRecorder, returned, tell_refused
from mlpgpu.fusion.trace import Recorder, Traced, leaves, moved, rebuild

Array = Any
# Steps of a graph, the most first: a launch costs what some steps of a small network take.
STEPS = (64, 8, 1)


class Recorded:
    """What a step does, as a program.

    Parameters
    ----------
    recorder : Recorder
    step : callable
        ``step(state, data, item) -> (state, loss)``, pure; its functions record.
    state, data, items : tuple of array
        As the loop is called with. Their shapes and types are looked at, nothing else.

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
        # Of the steps' rows, a product takes a copy: it does not know of the counter.
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
        """Its kernels and products, those with epilogues where it may have some."""
        results = [*(made for _, made in self._replaces), self.loss]
        a_step = [*self.items, self.loss]
        return Program(results, self._replaces, self.counter, a_step, epilogues=epilogues)


class Captured:
    """A recorded step in memory of its own, which lives as long as the graphs that work on it.

    Parameters
    ----------
    cupy : module
    recorded : Recorded
    state, data, items : tuple of array
        On the device. The data are read where they are; at one call there may be as many steps as here.
    precision : str
        Of products.
    """

    def __init__(self, cupy: Any, recorded: Recorded, state: Any, data: Any, items: Any, precision: str) -> None:
        self._cupy = cupy
        self.data = list(leaves(data))
        if not all(leaf.flags.c_contiguous for leaf in self.data):
            raise NotCaptured("data whose rows do not follow each other")
        self.state = [cupy.zeros(leaf.shape, leaf.dtype) for leaf in leaves(state)]
        # Zeros are rows that are there, which the first run takes.
        self.items = [cupy.zeros(leaf.shape, leaf.dtype) for leaf in leaves(items)]
        self.n_steps = len(self.items[0])
        self.losses = cupy.zeros(self.n_steps, recorded.loss.dtype)
        self.counter = cupy.zeros((), np.int64)
        given = [*recorded.state, *recorded.data, *recorded.items, recorded.counter, recorded.loss]
        arrays = [*self.state, *self.data, *self.items, self.counter, self.losses]
        places = {node: Place(array.data.ptr) for node, array in zip(given, arrays, strict=True)}
        self._bound = bind(cupy, recorded.program, places, precision)
        self._memory = cupy.empty(self._bound.program.n_bytes, np.uint8)
        self._bound.work_in(self._memory)
        # Those that do not wait for the others, for what is captured must not.
        self._stream, self._aside = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
        self._event = cupy.cuda.Event(disable_timing=True)
        self._joined = self._bound.program.joined
        # What is done before, on the stream in use, is there when the first run begins.
        cupy.cuda.get_current_stream().synchronize()
        # So that nothing is loaded, chosen or allocated while it is captured.
        try:
            with self._stream:
                self._step()
        finally:
            # Where a part of it fails, what was begun must not go on in memory that is then another's.
            for stream in (self._stream, self._aside):
                stream.synchronize()
        self._graphs = [(n, self._capture(n)) for n in STEPS if n <= self.n_steps]

    def suits(self, state: Any, data: Any, items: Any) -> bool:
        """Whether it was made for these data, and for a state and items of these shapes and types."""
        own = [
            *((leaf.shape, leaf.dtype) for leaf in self.state),
            *((leaf.shape[1:], leaf.dtype) for leaf in self.items),
        ]
        given = [
            *((leaf.shape, leaf.dtype) for leaf in leaves(state)),
            *((leaf.shape[1:], leaf.dtype) for leaf in leaves(items)),
        ]
        same = all(mine is leaf for mine, leaf in zip(self.data, leaves(data), strict=True))
        return same and own == given and len(next(leaves(items))) <= self.n_steps

    def __call__(self, state: Any, items: Any) -> tuple[Any, Array]:
        """As `Backend.compile_loop` has it; the state that comes back is written over by the next call."""
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
        """Launch all of it, on the stream that is in use and on that aside."""
        waited_for = set(self._joined.values())
        for time, call in enumerate(self._bound.calls):
            if time in waited_for:
                self._wait(self._stream, self._aside)
            if time in self._joined:
                self._wait(self._aside, self._stream)
                with self._aside:
                    call(self._aside.ptr)
            else:
                call(self._stream.ptr)

    def _wait(self, stream: Any, other: Any) -> None:
        """Have `stream` go on when `other` has done what it was told so far."""
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
                # A stream that goes on capturing is of no use to anyone.
                with suppress(Exception):
                    self._stream.end_capture()
                raise
            return self._stream.end_capture()


class Loop:
    """A loop of a step, captured at its first call.

    Parameters
    ----------
    cupy : module
    xp : Recordable
        In which `step` is written.
    step : callable
        ``step(state, data, item) -> (state, loss)``.
    eager : callable
        The loop of `step` line by line.
    device : str
    precision : str
        Of products.
    """

    def __init__(
        self,
        cupy: Any,
        xp: Recordable,
        step: Callable[..., Any],
        eager: Callable[..., Any],
        device: str,
        precision: str,
    ) -> None:
        self._cupy, self._xp, self._step, self._eager = cupy, xp, step, eager
        self._device, self._precision = device, precision
        self._captured: Captured | None = None
        self._is_refused = False

    def __call__(self, state: Any, data: Any, items: Any) -> tuple[Any, Array]:
        """As `Backend.compile_loop` has it; the state that comes back is written over by the next call."""
        if not self._is_refused and (self._captured is None or not self._captured.suits(state, data, items)):
            self._capture(state, data, items)
        if self._captured is None:
            return self._eager(state, data, items)
        return self._captured(state, items)

    def _capture(self, state: Any, data: Any, items: Any) -> None:
        # What it holds makes room first; what of it is handed in is held by the caller.
        self._captured = None
        try:
            with self._xp.recording():
                recorded = Recorded(DeviceRecorder(self._cupy), self._step, state, data, items)
            self._captured = Captured(self._cupy, recorded, state, data, items, self._precision)
        except MemoryError:
            raise
        except Exception as error:
            # A function of the user may do what is not recorded, and what is wrong with it shows line by line.
            self._is_refused = True
            tell_refused("the step", self._device, error)
