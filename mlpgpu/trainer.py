"""The epoch loop: no maths, no device names."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mlpgpu.backends import Backend
from mlpgpu.callbacks import Callback, finalised
from mlpgpu.evaluation import Evaluation
from mlpgpu.feed import Rows, Scaling, Streamed, open_feed
from mlpgpu.interrupt import interruptible
from mlpgpu.plan import Plan
from mlpgpu.training import Training

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
    diverged : Diverged or None
        Where the loss was no longer finite, in a run that had weights to bring back.
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
    diverged: Diverged | None = None
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
        Where the loss is not finite and there are no best weights to bring back.
    """
    scaling = Scaling(backend, shift, factor, plan.dtype)
    training = Training(backend, plan, train, scaling)
    evaluation = Evaluation(backend, plan.network, scaling)
    few = len(train) <= SCORED_ROWS
    watched = {"train": training.feed if few else open_feed(backend, _thinned(train), scaling)}
    if validation is not None:
        watched["validation"] = open_feed(backend, validation, scaling)
    run = Run(plan, len(train), streamed=isinstance(training.feed, Streamed))
    best_params = None

    with interruptible() as interrupted, finalised(callbacks, run):

        def after_steps(done: int) -> bool:
            for callback in callbacks:
                callback.on_steps(run, done)
            return interrupted()

        for run.epoch in range(1, plan.epochs + 1):
            started = time.perf_counter()
            losses, counts = training.epoch(run.epoch, after_steps)
            seconds = time.perf_counter() - started
            run.losses.append(losses)

            measured = {name: evaluation.measure(training.state.params, feed) for name, feed in watched.items()}
            run.diverged = _not_finite(run.epoch, losses, measured["train"]["loss"])
            if run.diverged:
                if best_params is None:
                    raise run.diverged
                run.stop("diverged")
                break
            record: Record = {"epoch": run.epoch, "train_loss": float(np.average(losses, weights=counts))}
            # The training loss is that of the steps themselves.
            del measured["train"]["loss"]
            record |= {f"{name}_{key}": value for name, of in measured.items() for key, value in of.items()}
            record["learning_rate"] = training.learning_rate()
            record |= {"seconds": seconds, "samples_per_second": float(counts.sum() / seconds)}
            run.history.append(record)
            if validation is not None and _is_best(run):
                run.best_epoch, best_params = run.epoch, training.state.params
            for callback in callbacks:
                callback.on_epoch_end(run, record)
            if interrupted():
                run.stop("interrupted")
            if run.stopped:
                break
    run.restored = bool(run.stopped) and best_params is not None
    return backend.to_host(best_params if run.restored else training.state.params), run


def _thinned(rows: Rows) -> Rows:
    """Every n-th row, so that a sorted set is scored on all its classes."""
    every = slice(None, None, -(-len(rows) // SCORED_ROWS))
    return Rows(rows.x[every], rows.targets[every], None if rows.weights is None else rows.weights[every])


def _not_finite(epoch: int, losses: np.ndarray, loss_after: float) -> Diverged | None:
    """Where a step of the epoch had, or the weights after it have, a loss that is not finite."""
    for step, loss in enumerate([*losses, loss_after], 1):
        if not math.isfinite(loss):
            return Diverged(epoch, min(step, len(losses)), float(loss))
    return None


def _is_best(run: Run) -> bool:
    best = run.history[run.best_epoch - 1]["validation_loss"] if run.best_epoch else math.inf
    return run.history[-1]["validation_loss"] < best
