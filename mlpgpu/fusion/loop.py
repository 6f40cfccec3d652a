"""A step recorded at its first call, and run again and again on the same memory."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from mlpgpu.backends.base import VARIABLE, are_few
from mlpgpu.errors import InputError, one_line
from mlpgpu.fusion.calls import calls_of
from mlpgpu.fusion.compiled import function_of, has_numba
from mlpgpu.fusion.loops import NotCompiled
from mlpgpu.fusion.memory import Memory
from mlpgpu.fusion.schedule import GIVEN, Schedule, base
from mlpgpu.fusion.trace import Recorder, Traced, leaves, moved, rebuild

log = logging.getLogger(__name__)

# How a step may run.
WAYS = ("auto", "eager", "numpy", "numba")
# Microseconds of NumPy's calls that are worth the start of Numba: some tenths of a second, and now and then the seconds
# of a first compilation. A call takes about one, and another for so many elements.
MANY_CALLS, ELEMENTS_A_CALL = 1_000_000, 4_000
# Multiplications a step that keep a thread busy for some tens of microseconds.
PRODUCTS_A_THREAD = 2**20


def wanted_way() -> str:
    """The way that the environment asks for; ``auto`` where it does not.

    Raises
    ------
    InputError
        Where it names no way, or one that is not installed.
    """
    way = os.environ.get(VARIABLE, "auto")
    if way not in WAYS:
        raise InputError(f"{VARIABLE} is {way!r}; allowed: {', '.join(WAYS)}")
    if way == "numba" and not has_numba():
        raise InputError(f"{VARIABLE} is 'numba', which is not installed; pip install 'mlpgpu[fast]'")
    return way


class Run(Protocol):
    """Steps on the memory of a recorded step, one for each row of `items`; their losses go into `losses`."""

    def __call__(self, items: list[np.ndarray], losses: np.ndarray) -> None:
        """Do them."""


class Recorded:
    """A step on arrays of one shape: what it does, and the memory that it does it in.

    Parameters
    ----------
    step : callable
        ``step(state, data, item) -> (state, loss)``, pure.
    state, data, items : tuple of array
        As the loop is first called with. The data are read where they are.

    Attributes
    ----------
    state, data, item : list of array
    loss : array
    schedule : Schedule
    memory : Memory
    """

    def __init__(self, step: Callable[..., Any], state: Any, data: Any, items: Any) -> None:
        recorder = Recorder()
        self.data = list(leaves(data))
        self.state = [np.empty_like(leaf) for leaf in leaves(state)]
        self.item = [np.empty(leaf.shape[1:], leaf.dtype) for leaf in leaves(items)]
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
        """Whether it was made for these data, and for a state and items of these shapes and types."""
        own, given = [*self.state, *self.item], [*leaves(state), *(leaf[0, ...] for leaf in leaves(items))]
        return all(mine is leaf for mine, leaf in zip(self.data, leaves(data), strict=True)) and all(
            mine.shape == leaf.shape and mine.dtype == leaf.dtype for mine, leaf in zip(own, given, strict=True)
        )

    def by_calls(self) -> tuple[Run, int]:
        """Run by NumPy alone, and about how many microseconds its calls take a step, products left out."""
        calls, item, loss = calls_of(self.schedule, self.memory), self.item, self.loss
        elements = sum(node.size for group in self.schedule.groups if group.domain is not None for node in group.nodes)

        def run(items: list[np.ndarray], losses: np.ndarray) -> None:
            copyto = np.copyto
            for i in range(len(losses)):
                for own, row in zip(item, items, strict=True):
                    copyto(own, row[i])
                for function, arguments in calls:
                    function(*arguments)
                losses[i] = loss

        return run, len(calls) + elements // ELEMENTS_A_CALL

    def compiled(self, items: list[np.ndarray]) -> Run:
        """Run by a function that Numba compiles for such items, on as many threads as products have.

        Raises
        ------
        NotCompiled
            Where that cannot be done.
        """
        from mlpgpu.fusion import meeting
        from mlpgpu.fusion.source import Source

        products = sum(
            node.size * node.parents[0].shape[-1] for node in self.schedule.group_of if node.operation == "matmul"
        )
        n_threads = max(1, min(meeting.product_threads(), products // PRODUCTS_A_THREAD))
        source = Source(self.schedule, self.memory, self.item, self.loss, n_threads)
        function = function_of(source.text)
        arrays = [source.arrays, *(source.private.copies(source.arrays) for _ in range(n_threads - 1))]
        # Where they meet; long, so that nothing else shares its line of the cache.
        place = np.zeros(64, np.int64)
        helpers = ThreadPoolExecutor(n_threads - 1, "mlpgpu") if n_threads > 1 else None

        def part(thread: int, items: list[np.ndarray], losses: np.ndarray, n_steps: int) -> None:
            fixed = source.numbers, source.whole_numbers, losses
            function(n_steps, thread, n_threads, place[32:], meeting.give_way(), *fixed, *arrays[thread], *items)

        try:
            # Compiled before threads meet.
            part(0, items, np.empty(0, self.loss.dtype), 0)
        except Exception as error:
            # Whatever Numba raises where it does not know a type, or cannot read what it kept.
            raise NotCompiled(one_line(error)) from error

        def run(items: list[np.ndarray], losses: np.ndarray) -> None:
            if helpers is None:
                part(0, items, losses, len(losses))
                return
            place[:] = 0
            for own in arrays[1:]:
                for mine, official in zip(own, source.arrays, strict=True):
                    if mine is not official:
                        np.copyto(mine, official)
            with meeting.products_by_one_thread(n_threads):
                others = [helpers.submit(part, i, items, losses, len(losses)) for i in range(1, n_threads)]
                part(0, items, losses, len(losses))
                for other in others:
                    other.result()

        return run


def _result(recorder: Recorder, leaf: Any, old: Traced | None = None) -> Traced:
    """What a step returns; a copy of it where it is given, for what is given may be written over before it is read."""
    node = recorder.constant(leaf)
    given = node is not old and base(node).operation in GIVEN
    return recorder.record("astype", (node,), (node.dtype,), node.shape, node.dtype) if given else node


class Loop:
    """A loop of a step, in the way that suits it.

    Parameters
    ----------
    step : callable
        ``step(state, data, item) -> (state, loss)``.
    eager : callable
        The loop of `step` line by line.
    n_steps : int or None
        How many steps it will do in all; None where that is not known.
    """

    def __init__(self, step: Callable[..., Any], eager: Callable[..., Any], n_steps: int | None) -> None:
        self.step, self.eager, self.n_steps = step, eager, n_steps
        self.way = wanted_way()
        if self.way == "auto" and are_few(n_steps):
            self.way = "eager"
        self._recorded: Recorded | None = None
        self._run: Run | None = None

    def __call__(self, state: Any, data: Any, items: Any) -> tuple[Any, Any]:
        """As `Backend.compile_loop` has it; the state that comes back is written over by the next call."""
        if self.way != "eager" and (self._recorded is None or not self._recorded.suits(state, data, items)):
            self._record(state, data, items)
        if self._recorded is None or self._run is None:
            return self.eager(state, data, items)
        for own, leaf in moved(self._recorded.state, list(leaves(state))):
            np.copyto(own, leaf)
        rows = list(leaves(items))
        losses = np.empty((len(rows[0]), *self._recorded.loss.shape), self._recorded.loss.dtype)
        self._run(rows, losses)
        return rebuild(state, iter(self._recorded.state)), losses

    def _record(self, state: Any, data: Any, items: Any) -> None:
        self._recorded = self._run = None
        try:
            recorded = Recorded(self.step, state, data, items)
            self._run = self._choose(recorded, list(leaves(items)))
            self._recorded = recorded
        except Exception as error:
            # A function of the user may do what is not recorded, and what is wrong with it shows line by line.
            self.way = "eager"
            log.warning("the step runs line by line, for it cannot be recorded: %s", error)

    def _choose(self, recorded: Recorded, items: list[np.ndarray]) -> Run:
        if self.way == "numba":
            return self._compiled(recorded, items) or recorded.by_calls()[0]
        run, cost = recorded.by_calls()
        worth = self.n_steps is not None and has_numba() and self.n_steps * cost > MANY_CALLS
        return (self._compiled(recorded, items) if self.way == "auto" and worth else None) or run

    @staticmethod
    def _compiled(recorded: Recorded, items: list[np.ndarray]) -> Run | None:
        try:
            return recorded.compiled(items)
        except (NotCompiled, ImportError) as error:
            log.info("the step runs by NumPy alone, for it cannot be compiled: %s", error)
            return None
