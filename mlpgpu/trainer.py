"""The epoch loop: no maths, no device names."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlpgpu.backends import Backend
from mlpgpu.callbacks import Callback, finalised
from mlpgpu.data.batches import order
from mlpgpu.dropout import Dropout
from mlpgpu.evaluation import Evaluation
from mlpgpu.feed import Rows, Scaling, Streamed, open_feed
from mlpgpu.interrupt import interruptible
from mlpgpu.maths.step import Batch, State, train_step
from mlpgpu.plan import Plan

Array = Any
Record = dict[str, float]
# Training rows that the training score is taken of; all, where there are fewer.
SCORED_ROWS = 10_000


class Diverged(ArithmeticError):
    """The loss is no longer a finite number.

    Attributes
    ----------
    epoch, step : int
        Where, both counted from 1; the step within its epoch.
    """

    def __init__(self, epoch: int, step: int, loss: float) -> None:
        super().__init__(
            f"the loss is {loss} in epoch {epoch}, step {step}; "
            "try a lower learning rate, scaled inputs (--scale standard) or --clip-norm 1"
        )
        self.epoch, self.step = epoch, step


@dataclass
class Run:
    """A run as its callbacks see it.

    Attributes
    ----------
    plan : Plan
    n_rows : int
        Training rows.
    streamed : bool
        Whether the rows stay on the host because they do not fit on the device.
    epoch : int
        Number of the epoch under way, from 1.
    history : list of dict
        A record an epoch: ``epoch``, ``train_loss`` (the mean of its steps, with dropout and penalty),
        ``train_accuracy`` or ``train_r2`` (after the epoch, without dropout, on at most 10,000 rows),
        ``validation_loss`` and ``validation_accuracy`` or ``validation_r2`` where there are validation rows,
        ``learning_rate`` (of its last step), ``seconds`` (of its steps), ``samples_per_second``.
    losses : list of array
        The loss of every step, an array an epoch.
    best_epoch : int
        The epoch of the lowest validation loss; 0 before there is one.
    stopped : str
        Why the run ended before its last epoch, such as ``early stopping``; empty where it did not.
    restored : bool
        Whether the weights are those of `best_epoch`.
    """

    plan: Plan
    n_rows: int
    streamed: bool = False
    epoch: int = 0
    history: list[Record] = field(default_factory=list)
    losses: list[np.ndarray] = field(default_factory=list)
    best_epoch: int = 0
    stopped: str = ""
    restored: bool = False

    def stop(self, reason: str) -> None:
        """End the run after this epoch, and bring back the best weights."""
        self.stopped = reason


def fit(
    backend: Backend,
    plan: Plan,
    train: Rows,
    validation: Rows | None,
    shift: np.ndarray,
    factor: np.ndarray,
    callbacks: Sequence[Callback] = (),
) -> tuple[np.ndarray, Run]:
    """Train a network.

    Ctrl-C ends the run after the step in hand.

    Parameters
    ----------
    backend : Backend
    plan : Plan
    train, validation : Rows
    shift, factor : array of shape () or (n_features,)
        Scaling of the inputs.
    callbacks : sequence of Callback

    Returns
    -------
    params : array of shape (n_parameters,)
        On the host, in the dtype of the plan: those of the last epoch; of the best where the run was stopped
        before its end and there are validation rows.
    run : Run

    Raises
    ------
    Diverged
        Where the loss of a step is not finite.
    """
    xp, network = backend.xp, plan.network
    scaling = Scaling(backend, shift, factor, plan.dtype)
    feed = open_feed(backend, train, plan.dtype)
    run = Run(plan, len(train), streamed=isinstance(feed, Streamed))
    evaluation = Evaluation(backend, network, scaling)
    scored = train if len(train) <= SCORED_ROWS else _thinned(train)
    watched = [("train", open_feed(backend, scored, plan.dtype), scored)]
    if validation is not None:
        watched.append(("validation", open_feed(backend, validation, plan.dtype), validation))

    params = backend.asarray(plan.params, plan.dtype)
    dropout = Dropout(backend, params.dtype, plan.batch_size, network.sizes[:-1], plan.dropout, plan.seed)

    def step(state: State, data: tuple[Array, ...], item: tuple[Array, ...]) -> tuple[State, Array]:
        x, targets, weights = feed.batch(data, item)
        return train_step(xp, network, plan.recipe, state, Batch(scaling(x), targets, weights), dropout(state.step))

    loop = backend.compile_loop(step)
    state = State(
        params,
        plan.recipe.optimizer.init(xp, params),
        backend.asarray(np.zeros((), np.int32)),
        backend.asarray(np.asarray(plan.learning_rate), plan.dtype),
    )
    best_params = None
    with interruptible() as interrupted, finalised(callbacks, run):
        for run.epoch in range(1, plan.epochs + 1):
            rows, present = order(len(train), plan.batch_size, shuffle=plan.shuffle, seed=plan.seed, epoch=run.epoch)
            started = time.perf_counter()
            pick, losses = feed.items(rows, present), []
            for start in range(0, plan.steps_per_epoch, backend.steps_per_call):
                stop = min(start + backend.steps_per_call, plan.steps_per_epoch)
                state, loss = loop(state, feed.data, pick(start, stop))
                losses.append(loss)
                for callback in callbacks:
                    callback.on_steps(run, stop)
                if interrupted():
                    run.stop("interrupted")
                    break
            run.losses.append(backend.to_host(xp.concat(losses)))
            seconds = time.perf_counter() - started
            _check_finite(run)

            counts = present[:stop].sum(axis=1)
            record: Record = {"epoch": run.epoch, "train_loss": float(np.average(run.losses[-1], weights=counts))}
            for name, part, host in watched:
                measured = evaluation.measure(state.params, part, host.targets)
                # The training loss is that of the steps themselves.
                record |= {
                    f"{name}_{key}": value for key, value in measured.items() if (name, key) != ("train", "loss")
                }
            record["learning_rate"] = _rate_of_last_step(backend, plan, state)
            record |= {"seconds": seconds, "samples_per_second": float(counts.sum() / seconds)}
            run.history.append(record)
            if validation is not None and _is_best(run):
                run.best_epoch, best_params = run.epoch, state.params
            for callback in callbacks:
                callback.on_epoch_end(run, record)
            if run.stopped:
                break
    run.restored = bool(run.stopped) and best_params is not None
    return backend.to_host(best_params if run.restored else state.params), run


def _thinned(rows: Rows) -> Rows:
    """Every n-th row, so that a sorted set is scored on all its classes."""
    every = slice(None, None, -(-len(rows) // SCORED_ROWS))
    return Rows(rows.x[every], rows.targets[every], None if rows.weights is None else rows.weights[every])


def _check_finite(run: Run) -> None:
    bad = np.flatnonzero(~np.isfinite(run.losses[-1]))
    if bad.size:
        raise Diverged(run.epoch, int(bad[0]) + 1, float(run.losses[-1][bad[0]]))


def _is_best(run: Run) -> bool:
    return not run.best_epoch or run.history[-1]["validation_loss"] < run.history[run.best_epoch - 1]["validation_loss"]


def _rate_of_last_step(backend: Backend, plan: Plan, state: State) -> float:
    done = np.asarray(backend.to_host(state.step) - 1, np.float64)
    return float(backend.to_host(state.learning_rate) * plan.recipe.schedule(np, done))
