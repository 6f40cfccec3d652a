"""A network in training on a device: its state, and one epoch of steps."""

from collections.abc import Callable
from typing import Any

import numpy as np

from mlpgpu.backends import Backend
from mlpgpu.data.batches import order
from mlpgpu.dropout import Dropout
from mlpgpu.feed import Rows, Scaling, open_feed
from mlpgpu.maths.step import Batch, State, train_step
from mlpgpu.plan import Plan

Array = Any


class Training:
    """What a run changes, and the compiled loop that changes it.

    Parameters
    ----------
    backend : Backend
    plan : Plan
    rows : Rows
        To train on.
    scaling : Scaling

    Attributes
    ----------
    state : State
        On the device.
    feed : Feed
        Of the training rows.
    """

    def __init__(self, backend: Backend, plan: Plan, rows: Rows, scaling: Scaling) -> None:
        self.backend, self.plan = backend, plan
        self.feed = feed = open_feed(backend, rows, scaling)
        xp, network = backend.xp, plan.network
        params = backend.asarray(plan.params, plan.dtype)
        self.state = State(
            params,
            plan.recipe.optimizer.init(xp, params),
            backend.asarray(np.zeros((), np.int32)),
            backend.asarray(np.asarray(plan.learning_rate), plan.dtype),
        )
        dropout = Dropout(backend, params.dtype, plan.batch_size, network.sizes[:-1], plan.dropout, plan.seed)

        def step(state: State, data: tuple[Array, ...], item: tuple[Array, ...]) -> tuple[State, Array]:
            x, targets, weights = feed.batch(data, item)
            return train_step(xp, network, plan.recipe, state, Batch(scaling(x), targets, weights), dropout(state.step))

        self._loop = backend.compile_loop(step)

    def epoch(self, number: int, stop: Callable[[int], bool] = lambda done: False) -> tuple[np.ndarray, np.ndarray]:
        """Step through all rows once.

        Parameters
        ----------
        number : int
            Of the epoch, from 1; it makes the order of the rows.
        stop : callable
            Called with the number of steps done, every few steps; ends the epoch where it returns True.

        Returns
        -------
        losses : array of shape (n_steps,)
            Of each step done, on the host.
        counts : int array of shape (n_steps,)
            Rows of each of them.
        """
        plan, per_call = self.plan, self.backend.steps_per_call
        n_rows = len(self.feed.rows)
        rows, present = order(n_rows, plan.batch_size, shuffle=plan.shuffle, seed=plan.seed, epoch=number)
        pick, losses, done = self.feed.items(rows, present), [], 0
        while done < len(rows):
            end = min(done + per_call, len(rows))
            self.state, loss = self._loop(self.state, self.feed.data, pick(done, end))
            losses.append(loss)
            done = end
            if stop(done):
                break
        return self.backend.to_host(self.backend.xp.concat(losses)), present[:done].sum(axis=1)

    def learning_rate(self) -> float:
        """That of the last step."""
        done = np.asarray(self.backend.to_host(self.state.step) - 1, np.float64)
        return float(self.backend.to_host(self.state.learning_rate) * self.plan.recipe.schedule(np, done))
