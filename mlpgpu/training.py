"""A network in training on a device: its state, and one epoch of steps."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from mlpgpu.backends import Backend
from mlpgpu.backends.base import Step, eager_loop, is_eager
from mlpgpu.data.batches import batches
from mlpgpu.dropout import Dropout
from mlpgpu.feed import CHUNK_ELEMENTS, Feed, Placement, Rows, Streamed, open_feed
from mlpgpu.maths.parameters import count
from mlpgpu.maths.step import Batch, State, train_step
from mlpgpu.plan import Plan

Array = Any
# Told how many steps of the epoch are done, and where to fetch the losses of the last of them; True ends the epoch.
AfterSteps = Callable[[int, Callable[[], np.ndarray]], bool]


def make_step(backend: Backend, plan: Plan, feed: Feed, placement: Placement, dtype: Any) -> Step:
    """One step of a run, as `Backend.compile_loop` takes it; with the backend's own `dtype` of the parameters."""
    xp, network = backend.xp, plan.network
    dropout = Dropout(backend, dtype, plan.batch_size, network.sizes[:-1], plan.dropout, plan.seed)

    def step(state: State, data: tuple[Array, ...], item: tuple[Array, ...]) -> tuple[State, Array]:
        x, targets, weights = feed.batch(data, item)
        batch = Batch(placement(x), targets, weights)
        return train_step(xp, network, plan.recipe, state, batch, dropout(state.step))

    return step


def is_captured(plan: Plan) -> bool:
    """Whether steps run in the fast way of the backend, if it can."""
    return plan.capture and not is_eager()


def steps_per_call(backend: Backend, plan: Plan) -> int:
    """How many steps are handed to a compiled loop at once, where their rows are on the device."""
    products = plan.batch_size * count(plan.network.sizes)
    return max(1, int(min(backend.steps_per_call, backend.products_per_call / products)))


class Training:
    """What a run changes, and the compiled loop that changes it.

    Parameters
    ----------
    backend : Backend
    plan : Plan
    rows : Rows
        To train on.
    placement : Placement
    state : State or None
        To go on from, on the device; None for the start that the plan gives.
    beside : callable
        Bytes of the device that the rows have to leave.

    Attributes
    ----------
    state : State
        On the device.
    feed : Feed
        Of the training rows.
    """

    def __init__(
        self,
        backend: Backend,
        plan: Plan,
        rows: Rows,
        placement: Placement,
        state: State | None = None,
        beside: Callable[[], int] = lambda: 0,
    ) -> None:
        self.backend, self.plan, xp = backend, plan, backend.xp
        self.feed = feed = open_feed(backend, rows, placement, beside)
        if state is None:
            params = backend.asarray(plan.params, plan.dtype)
            slots = plan.recipe.optimizer.init(xp, params)
            state = State(params, slots, backend.asarray(np.zeros((), np.int32)), self._rate(plan.learning_rate))
        else:
            # The loop takes what it is handed for its own, and the caller may go on from it again.
            own = partial(xp.asarray, copy=True)
            state = State(own(state.params), tuple(map(own, state.slots)), own(state.step), own(state.learning_rate))
        self.state, self._last_rate = state, state.learning_rate
        step = make_step(backend, plan, feed, placement, state.params.dtype)
        # A GPU is still at the steps that it was told, and the host has nothing else to do.
        self._draws_ahead = plan.draws_ahead and backend.device != "cpu" and not isinstance(feed, Streamed)
        self._ahead: tuple[int, np.ndarray, Callable[[int, int], Any]] | None = None
        self._captured = is_captured(plan)
        self._loop = backend.compile_loop(step, plan.n_steps) if self._captured else eager_loop(xp, step)

    def epoch(
        self,
        number: int,
        after_steps: AfterSteps = lambda done, losses: False,
        begun: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Step through all rows once.

        Parameters
        ----------
        number : int
            Of the epoch, from 1; it makes the order of the rows.
        after_steps : callable
            ``after_steps(done, losses)``, called every few steps with the number of steps done and a function
            that fetches the losses of the last few; ends the epoch where it returns True.
        begun : array of shape (n_steps,) or None
            Losses of the first steps, where those are done already.

        Returns
        -------
        losses : array of shape (n_steps,)
            Of each step done, on the host.
        counts : int array of shape (n_steps,)
            Rows of each of them.
        """
        plan, to_host = self.plan, self.backend.to_host
        ahead, self._ahead = self._ahead, None
        present, pick = ahead[1:] if ahead is not None and ahead[0] == number else self._draw(number)
        done = 0 if begun is None else len(begun)
        self._losses = losses = [self.backend.asarray(begun)] if begun is not None else []
        per_call = steps_per_call(self.backend, plan)
        if isinstance(self.feed, Streamed):
            # The rows of all steps of a call are on the device at once, and dense.
            per_call = max(1, min(per_call, CHUNK_ELEMENTS // (plan.batch_size * plan.network.sizes[0])))
        while done < len(present):
            end = min(done + per_call, len(present))
            self.state, loss = self._loop(self.state, self.feed.data, pick(done, end))
            # A callback may change it after these steps.
            self._last_rate = self.state.learning_rate
            losses.append(loss)
            done = end
            if done == len(present) and self._draws_ahead and number < plan.epochs:
                self._ahead = number + 1, *self._draw(number + 1)
            if after_steps(done, lambda: to_host(losses[-1])):
                break
        return self.losses(), present[:done].sum(axis=1)

    def _draw(self, number: int) -> tuple[np.ndarray, Callable[[int, int], Any]]:
        """Which rows of the batches of an epoch are no padding, and what picks the batches."""
        rows, present = batches(self.plan.order(number), self.plan.batch_size)
        return present, self.feed.items(rows, present)

    def losses(self) -> np.ndarray:
        """Of each step done of the epoch in hand, on the host."""
        return self.backend.to_host(self.backend.xp.concat(self._losses))

    @property
    def base_rate(self) -> float:
        """The learning rate that the schedule multiplies with its factor."""
        return float(self.backend.to_host(self.state.learning_rate))

    @base_rate.setter
    def base_rate(self, rate: float) -> None:
        self.state = self.state._replace(learning_rate=self._rate(rate))

    def learning_rate(self) -> float:
        """That of the last step."""
        done = np.asarray(self.backend.to_host(self.state.step) - 1, np.float64)
        return float(self.backend.to_host(self._last_rate) * self.plan.recipe.schedule(np, done))

    def arithmetic(self) -> str:
        """What the last digits of its results depend on, in words."""
        return self.backend.arithmetic() + ("" if self._captured else ", line by line")

    def is_finite(self) -> bool:
        """Whether every parameter is a finite number."""
        xp = self.backend.xp
        return bool(self.backend.to_host(xp.all(xp.isfinite(self.state.params))))

    def _rate(self, rate: float) -> Array:
        return self.backend.asarray(np.asarray(rate, np.float64), self.plan.dtype)
