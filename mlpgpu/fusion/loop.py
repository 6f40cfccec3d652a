"""Trace a step at its first call, and run it repeatedly on the same memory."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from mlpgpu.backends.base import VARIABLE, are_few
from mlpgpu.backends.csr import Csr
from mlpgpu.blas_threads import OF_NUMPY
from mlpgpu.errors import InputError, one_line
from mlpgpu.fusion.calls import calls_of
from mlpgpu.fusion.compiled import function_of, has_numba
from mlpgpu.fusion.loops import NotCompiled
from mlpgpu.fusion.memory import Memory, empty
from mlpgpu.fusion.schedule import Schedule
from mlpgpu.fusion.trace import GIVEN, Recorder, Traced, base, leaves, moved, rebuild

log = logging.getLogger(__name__)

# ``run(items, losses)`` runs a traced step in its memory, once for each row of the items, and stores the losses.
Run = Callable[[list[Any], np.ndarray], None]

# The ways to run a step.
WAYS = ("auto", "eager", "numpy", "numba")
# Total microseconds of NumPy calls from which Numba pays: loading it takes some tenths of a second, and the first
# compilation on a machine some seconds. A call takes about one microsecond, plus one per `ELEMENTS_PER_CALL` elements.
MANY_CALLS, ELEMENTS_PER_CALL = 1_000_000, 4_000
# Elements of the state times steps from which recording pays however few the steps are, unless there is only one: an
# eager step allocates several arrays of the size of the parameters.
MANY_ELEMENTS = 2**24
# Multiplications per step and thread: enough to keep a thread busy for some tens of microseconds.
PRODUCTS_PER_THREAD = 2**20


def wanted_way() -> str:
    """Return the way that the environment asks for, by default ``auto``.

    Raises
    ------
    InputError
        If the environment names an unknown way, or one that is not installed.
    """
    way = os.environ.get(VARIABLE, "auto")
    if way not in WAYS:
        raise InputError(f"{VARIABLE} is {way!r}; allowed: {', '.join(WAYS)}")
    if way == "numba" and not has_numba():
        raise InputError(f"{VARIABLE} is 'numba', which is not installed; pip install 'mlpgpu[fast]'")
    return way


class Recorded:
    """A step traced with arrays of given shapes and dtypes, and the memory in which it runs.

    Parameters
    ----------
    step : callable
        ``step(state, data, item) -> (state, loss)``, pure.
    state, data, items : tuple of array
        Arguments of the first call of the loop. The data are not copied.

    Attributes
    ----------
    state, data : list of array
    item : list of array or Csr
    loss : array
    schedule : Schedule
    memory : Memory
    """

    def __init__(self, step: Callable[..., Any], state: Any, data: Any, items: Any) -> None:
        recorder = Recorder()
        self.data = list(leaves(data))
        self.state = [empty(leaf.shape, leaf.dtype) for leaf in leaves(state)]
        # Sparse rows are not copied: see `Csr`.
        self.item: list[Any] = [
            leaf[0] if isinstance(leaf, Csr) else empty(leaf.shape[1:], leaf.dtype) for leaf in leaves(items)
        ]
        arrays = [*self.state, *self.data, *self.item]
        inputs = [recorder.input(array.shape, array.dtype) for array in arrays]
        feed = iter(inputs)
        new, loss = step(rebuild(state, feed), rebuild(data, feed), rebuild(items, feed))
        before = inputs[: len(self.state)]
        results = [_result(recorder, leaf, old) for leaf, old in zip(leaves(new), before, strict=True)]
        for leaf, old in zip(results, before, strict=True):
            if (leaf.shape, leaf.dtype) != (old.shape, old.dtype):
                raise TypeError(f"a state of {old.dtype} {old.shape} becomes one of {leaf.dtype} {leaf.shape}")
        self.schedule = Schedule([*results, _result(recorder, loss)])
        replaces = list(zip(before, results, strict=True))
        self.memory = Memory(self.schedule, dict(zip(inputs, arrays, strict=True)), replaces)
        self.loss = self.memory[self.schedule.results[-1]]

    def suits(self, state: Any, data: Any, items: Any) -> bool:
        """Whether it was traced with these data arrays, and with a state and items of these shapes and dtypes."""
        own, given = [*self.state, *self.item], [*leaves(state), *(leaf[0, ...] for leaf in leaves(items))]
        return all(mine is leaf for mine, leaf in zip(self.data, leaves(data), strict=True)) and all(
            (type(mine), mine.shape, mine.dtype) == (type(leaf), leaf.shape, leaf.dtype)
            for mine, leaf in zip(own, given, strict=True)
        )

    def by_calls(self) -> tuple[Run, int]:
        """Return a `Run` by NumPy alone, and roughly the microseconds of its calls per step, without products."""
        calls, item, loss = calls_of(self.schedule, self.memory), self.item, self.loss
        elements = sum(node.size for group in self.schedule.groups if group.domain is not None for node in group.nodes)

        def run(items: list[Any], losses: np.ndarray) -> None:
            copyto = np.copyto
            for i in range(len(losses)):
                for own, row in zip(item, items, strict=True):
                    copyto(own, row[i])
                for function, arguments in calls:
                    function(*arguments)
                losses[i] = loss

        return run, len(calls) + elements // ELEMENTS_PER_CALL

    def compiled(self, items: list[Any]) -> Run:
        """Return a `Run` by a function that Numba compiles, on at most as many threads as NumPy's products use.

        Raises
        ------
        NotCompiled
            If Numba cannot compile the step.
        """
        from mlpgpu.fusion import meeting
        from mlpgpu.fusion.source import Source

        products = sum(
            node.size * node.parents[0].shape[-1] for node in self.schedule.group_of if node.operation == "matmul"
        )
        n_threads = max(1, min(OF_NUMPY.number(), products // PRODUCTS_PER_THREAD))
        source = Source(self.schedule, self.memory, self.item, self.loss, n_threads)
        function = function_of(source.text)
        arrays = [source.arrays, *(source.private.copies(source.arrays) for _ in range(n_threads - 1))]
        # Padded on both sides, so that nothing else shares the cache line of the counter.
        barrier = np.zeros(64, np.int64)
        helpers = ThreadPoolExecutor(n_threads - 1, "mlpgpu") if n_threads > 1 else None

        def part(thread: int, items: list[Any], losses: np.ndarray, n_steps: int) -> None:
            given = [array for item in items for array in (item.arrays() if isinstance(item, Csr) else (item,))]
            fixed = meeting.sched_yield_address(), source.numbers, source.whole_numbers, losses
            function(n_steps, thread, n_threads, barrier[32:], *fixed, *arrays[thread], *given)

        try:
            # Compile before several threads run.
            part(0, items, np.empty(0, self.loss.dtype), 0)
        except Exception as error:
            # Numba raises various errors if it does not support a type, or cannot read its cache.
            raise NotCompiled(str(error)) from error

        def run(items: list[Any], losses: np.ndarray) -> None:
            if helpers is None:
                part(0, items, losses, len(losses))
                return
            barrier[:] = 0
            for own in arrays[1:]:
                for mine, official in zip(own, source.arrays, strict=True):
                    if mine is not official:
                        np.copyto(mine, official)
            with OF_NUMPY.one_thread(n_threads):
                others = [helpers.submit(part, i, items, losses, len(losses)) for i in range(1, n_threads)]
                part(0, items, losses, len(losses))
                for other in others:
                    other.result()

        return run


def _result(recorder: Recorder, leaf: Any, old: Traced | None = None) -> Traced:
    """Return the node of a leaf that a step returns: a copy of an input, which may be overwritten before it is read."""
    node = recorder.constant(leaf)
    given = node is not old and base(node).operation in GIVEN
    return recorder.record("astype", (node,), (node.dtype,), node.shape, node.dtype) if given else node


class Loop:
    """A loop over a step, run in the way that is fastest for the number of steps.

    Parameters
    ----------
    step : callable
        ``step(state, data, item) -> (state, loss)``, pure.
    eager : callable
        The eager loop over `step`.
    n_steps : int or None
        Total number of steps, over all calls. If it is unknown, None, it is that of the calls so far.
    """

    def __init__(self, step: Callable[..., Any], eager: Callable[..., Any], n_steps: int | None) -> None:
        self.step, self.eager, self.n_steps = step, eager, n_steps
        self.way = wanted_way()
        self._done = 0
        self._recorded: Recorded | None = None
        self._may_compile = False

    def __call__(self, state: Any, data: Any, items: Any) -> tuple[Any, Any]:
        """Run the loop as in `Backend.compile_loop`. The next call overwrites the state that is returned."""
        self._done += len(next(leaves(items)))
        n_steps = self._done if self.n_steps is None else self.n_steps
        if self.way != "eager" and not (self.way == "auto" and _is_short(n_steps, state)):
            self._prepare(state, data, items, n_steps)
        if self._recorded is None:
            return self.eager(state, data, items)
        for own, leaf in moved(self._recorded.state, list(leaves(state))):
            np.copyto(own, leaf)
        rows = list(leaves(items))
        losses = np.empty((len(rows[0]), *self._recorded.loss.shape), self._recorded.loss.dtype)
        self._run(rows, losses)
        return rebuild(state, iter(self._recorded.state)), losses

    def _prepare(self, state: Any, data: Any, items: Any, n_steps: int) -> None:
        """Record the step, and compile it, unless that is done or does not pay for `n_steps` steps."""
        try:
            if self._recorded is None or not self._recorded.suits(state, data, items):
                self._recorded = None
                recorded = Recorded(self.step, state, data, items)
                self._run, self._cost = recorded.by_calls()
                self._recorded, self._may_compile = recorded, has_numba() and self.way != "numpy"
            if self._may_compile and (self.way == "numba" or n_steps * self._cost > MANY_CALLS):
                self._may_compile = False
                self._run = self._compiled(self._recorded, items)
        except Exception as error:
            # A user's function may use operations that cannot be traced; if it is wrong, the error shows line by line.
            self._recorded, self.way = None, "eager"
            log.warning("the step runs line by line, for it cannot be recorded: %s", one_line(error))

    def _compiled(self, recorded: Recorded, items: Any) -> Run:
        try:
            return recorded.compiled(list(leaves(items)))
        except (NotCompiled, ImportError) as error:
            log.info("the step runs by NumPy alone, for it cannot be compiled: %s", one_line(error))
            return self._run


def _is_short(n_steps: int, state: Any) -> bool:
    """Whether a run is over sooner eagerly than a step can be recorded and its state copied."""
    if not are_few(n_steps):
        return False
    return n_steps <= 1 or n_steps * sum(leaf.size for leaf in leaves(state)) < MANY_ELEMENTS
