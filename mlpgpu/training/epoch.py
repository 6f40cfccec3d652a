"""The state of a network in training on a device, and an epoch of steps."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from mlpgpu.backends import Backend
from mlpgpu.backends.base import Step, eager_loop, is_eager
from mlpgpu.data.batches import batches
from mlpgpu.maths.parameters import count
from mlpgpu.maths.step import Batch, State, train_step
from mlpgpu.training.dropout import Dropout
from mlpgpu.training.feed import Feed, Gathered, Placement, Resident, Rows, Streamed, open_feed
from mlpgpu.training.plan import Plan

Array = Any
# Called with the number of steps done and a function that fetches the losses of the last ones; True ends the epoch.
AfterSteps = Callable[[int, Callable[[], np.ndarray]], bool]


def make_step(backend: Backend, plan: Plan, feed: Feed, placement: Placement, dtype: Any) -> Step:
    """Return the training step for `Backend.compile_loop`; `dtype` is the backend's own type of the parameters."""
    # All that a step keeps: neither the plan's parameters nor, if it can do without, the rows of the feed.
    xp, network, recipe, take = backend.xp, plan.network, plan.recipe, feed.batch
    dropout = Dropout(backend, dtype, plan.batch_size, network.sizes[:-1], plan.dropout, plan.seed)

    def step(state: State, data: tuple[Array, ...], item: tuple[Array, ...]) -> tuple[State, Array]:
        x, targets, weights = take(data, item)
        batch = Batch(placement(x), targets, weights)
        return train_step(xp, network, recipe, state, batch, dropout(state.step))

    return step


def is_captured(plan: Plan) -> bool:
    """Whether the backend is to compile steps, if it can."""
    return plan.capture and not is_eager()


def steps_per_call(backend: Backend, plan: Plan) -> int:
    """Return the number of steps per call of a compiled loop, for rows that are on the device."""
    products = plan.batch_size * count(plan.network.sizes)
    return max(1, int(min(backend.steps_per_call, backend.products_per_call / products)))


class Lasting:
    """A compiled loop that outlasts its run, for the next one with the same step; it belongs to one run at a time."""

    def __init__(self) -> None:
        self._key: tuple[Any, ...] = ()
        self._loop: Step | None = None

    def of(self, backend: Backend, plan: Plan, make: Callable[[], Step]) -> Step:
        """Return the loop of the step of `plan`, which is made if the last one was of another."""
        # The threads of a compiled loop do not survive a fork.
        key = os.getpid(), backend.name, backend.device, plan.of_step
        if self._loop is None or self._key != key:
            self._key, self._loop = key, make()
        return self._loop


class Training:
    """The training state, and the compiled loop that updates it.

    Parameters
    ----------
    backend : Backend
    plan : Plan
    rows : Rows
        Training rows.
    placement : Placement
    state : State or None
        State to continue from, on the device; None for the initial state of the plan.
    beside : callable
        Returns the bytes of device memory that the rows must leave free.
    lasting : Lasting or None
        Loop that outlasts this run; None for one of its own.

    Attributes
    ----------
    state : State
        Current state, on the device.
    feed : Feed
        Source of the training rows.
    """

    def __init__(
        self,
        backend: Backend,
        plan: Plan,
        rows: Rows,
        placement: Placement,
        state: State | None = None,
        beside: Callable[[], int] = lambda: 0,
        lasting: Lasting | None = None,
    ) -> None:
        self.backend, self.plan, xp = backend, plan, backend.xp
        resident = Gathered if lasting else Resident
        # Dropout of inputs multiplies each of them by a mask.
        self.feed = feed = open_feed(backend, rows, placement, beside, bool(plan.dropout[0]), resident)
        if state is None:
            params = backend.asarray(plan.params, plan.dtype)
            slots = plan.recipe.optimizer.init(xp, params)
            state = State(params, slots, backend.asarray(np.zeros((), np.int32)), self._rate(plan.learning_rate))
        if backend.donates:
            # The caller may use its arrays again.
            state = state.copied(partial(xp.asarray, copy=True))
        self.state, self._last_rate = state, state.learning_rate
        # While a GPU is still running the steps, the host is idle.
        self._draws_ahead = plan.draws_ahead and backend.device != "cpu" and not isinstance(feed, Streamed)
        self._ahead: tuple[int, np.ndarray, Callable[[int, int], Any]] | None = None
        self._captured = is_captured(plan)

        def make_loop() -> Step:
            step = make_step(backend, plan, feed, placement, state.params.dtype)
            if not self._captured:
                return eager_loop(xp, step)
            return backend.compile_loop(step, None if lasting else plan.n_steps)

        self._loop = lasting.of(backend, plan, make_loop) if lasting else make_loop()

    def epoch(
        self,
        number: int,
        after_steps: AfterSteps = lambda done, losses: False,
        begun: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Train for one epoch.

        Parameters
        ----------
        number : int
            Epoch, counted from 1; determines the order of the rows.
        after_steps : callable
            ``after_steps(done, losses)``, called every few steps with the number of steps done and a function
            that fetches the losses of the last few. The epoch ends if it returns True.
        begun : array of shape (n_steps,) or None
            Losses of the steps already done, if the epoch is resumed.

        Returns
        -------
        losses : array of shape (n_steps,)
            Loss of each step done, on the host.
        counts : int array of shape (n_steps,)
            Number of rows of each of these steps.
        """
        plan, to_host = self.plan, self.backend.to_host
        ahead, self._ahead = self._ahead, None
        present, pick = ahead[1:] if ahead is not None and ahead[0] == number else self._draw(number)
        done = 0 if begun is None else len(begun)
        self._losses = losses = [self.backend.asarray(begun)] if begun is not None else []
        per_call = steps_per_call(self.backend, plan)
        if not self.feed.data:
            # The rows of all steps of a call are copied together.
            elements = plan.batch_size * max(self.feed.width, 1)
            per_call = max(1, min(per_call, self.backend.elements_per_call // elements))
        while done < len(present):
            end = min(done + per_call, len(present))
            self.state, loss = self._loop(self.state, self.feed.data, pick(done, end))
            # Kept because a callback may change the learning rate after these steps.
            self._last_rate = self.state.learning_rate
            losses.append(loss)
            done = end
            if done == len(present) and self._draws_ahead and number != plan.epochs:
                self._ahead = number + 1, *self._draw(number + 1)
            if after_steps(done, lambda: to_host(losses[-1])):
                break
        return self.losses(), present[:done].sum(axis=1)

    def _draw(self, number: int) -> tuple[np.ndarray, Callable[[int, int], Any]]:
        """Draw the batches of an epoch: a mask of the rows that are not padding, and a function that picks batches."""
        rows, present = batches(self.plan.order(number), self.plan.batch_size)
        return present, self.feed.items(rows, present)

    def losses(self) -> np.ndarray:
        """Return the losses of the steps done in the current epoch, on the host."""
        return self.backend.to_host(self.backend.xp.concat(self._losses))

    @property
    def base_rate(self) -> float:
        """The learning rate that the schedule's factor multiplies."""
        return float(self.backend.to_host(self.state.learning_rate))

    @base_rate.setter
    def base_rate(self, rate: float) -> None:
        self.state = self.state._replace(learning_rate=self._rate(rate))

    def learning_rate(self) -> float:
        """Return the learning rate of the last step."""
        done = np.asarray(self.backend.to_host(self.state.step) - 1, np.float64)
        return float(self.backend.to_host(self._last_rate) * self.plan.recipe.schedule(np, done))

    def arithmetic(self) -> str:
        """Describe what the last digits of the results depend on."""
        return self.backend.arithmetic() + ("" if self._captured else ", line by line")

    def is_finite(self) -> bool:
        """Whether every parameter is a finite number."""
        xp = self.backend.xp
        return bool(self.backend.to_host(xp.all(xp.isfinite(self.state.params))))

    def _rate(self, rate: float) -> Array:
        return self.backend.asarray(np.asarray(rate, np.float64), self.plan.dtype)
