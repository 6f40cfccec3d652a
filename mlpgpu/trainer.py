"""The epoch loop: no maths, no device names."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.backends import Backend
from mlpgpu.callbacks import Callback, finalised
from mlpgpu.errors import InputError
from mlpgpu.evaluation import Evaluation
from mlpgpu.feed import Placement, Rows, Streamed, open_feed
from mlpgpu.interrupt import interruptible
from mlpgpu.maths.step import State
from mlpgpu.plan import Plan
from mlpgpu.training import Training

if TYPE_CHECKING:
    from mlpgpu.model import Model

Record = dict[str, float]
Array = Any


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


@dataclass(frozen=True)
class Best:
    """Which weights are the best of a run, and when they are brought back.

    Attributes
    ----------
    monitor : str
        Key of the record.
    greater : bool
        Whether more of it is better.
    restore : str
        When they are brought back: ``stopped``, where the run is stopped before its end; ``always``; or ``never``.
    than : float or None
        What the weights have that the run starts from; None where they do not count.
    """

    monitor: str = "validation_loss"
    greater: bool = False
    restore: str = "stopped"
    than: float | None = None

    def improves(self, record: Record, best: Record | None) -> bool:
        """Whether `record` is better than `best`, or than the start; what is no number never is."""
        sign = -1 if self.greater else 1
        before = best[self.monitor] if best else self.than
        return sign * record.get(self.monitor, math.nan) < (math.inf if before is None else sign * before)


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
        A record an epoch: ``epoch``, ``loss`` (the mean of its steps, with dropout and penalty), the loss and the
        score of each set of rows that is watched (without dropout, such as ``validation_loss`` and
        ``validation_accuracy``), ``learning_rate`` (of its last step), ``seconds`` (of its steps),
        ``samples_per_second``.
    losses : list of array
        The loss of every step, an array an epoch.
    best_epoch : int
        The epoch of the best weights; 0 before there is one.
    stopped : str
        Why the run ended before its last epoch, such as ``early stopping``; empty where it did not.
    diverged : Diverged or None
        Where the loss was no longer finite, in a run that had weights to bring back.
    restored : bool
        Whether the weights are those of `best_epoch`.
    training : Training or None
        What the run changes; None for a solver of another kind.
    fetch : callable or None
        ``fetch()`` -> the parameters as they are, on the host.
    as_model : callable or None
        ``as_model(params)`` -> the `Model` of these weights.
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
    training: Training | None = field(default=None, repr=False)
    fetch: Callable[[], np.ndarray] | None = field(default=None, repr=False)
    as_model: Callable[[np.ndarray], Model] | None = field(default=None, repr=False)

    def stop(self, reason: str) -> None:
        """End the run after this epoch, or after the steps in hand; the first reason given is the one that counts."""
        self.stopped = self.stopped or reason

    @property
    def learning_rate(self) -> float:
        """The learning rate that the schedule multiplies with its factor; set it to change it."""
        return self._steps().base_rate

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self._steps().base_rate = rate

    def _steps(self) -> Training:
        if self.training is None:
            raise InputError("this solver has no learning rate; leave out what changes it, or choose another solver")
        return self.training

    @property
    def params(self) -> np.ndarray:
        """The weights and biases as they are now, one flat vector on the host."""
        assert self.fetch is not None
        # Whatever a callback does to it, the run goes on from its own.
        return self.fetch().copy()

    def model(self) -> Model:
        """The network as it is now, to predict with or to save."""
        assert self.as_model is not None
        return self.as_model(self.params)


def fit(
    backend: Backend,
    plan: Plan,
    train: Rows,
    watched: Mapping[str, Rows],
    placement: Placement,
    callbacks: Sequence[Callback] = (),
    *,
    state: State | None = None,
    best: Best | None = None,
    score: Callable[[Array], float] | None = None,
    as_model: Callable[[np.ndarray], Model] | None = None,
) -> tuple[State, Run]:
    """Train a network.

    Ctrl-C ends the run after the step in hand.

    Parameters
    ----------
    backend : Backend
    plan : Plan
    train : Rows
    watched : mapping of str to Rows
        Rows whose loss and score are measured after each epoch: ``train``, ``validation``.
    placement : Placement
        Of all rows.
    callbacks : sequence of Callback
    state : State or None
        To go on from; None for the start that the plan gives.
    best : Best or None
        None for the lowest validation loss, where there is one.
    score : callable or None
        ``score(params)`` of the validation rows, for parameters on the device, in place of the network's own.
    as_model : callable or None
        See `Run`.

    Returns
    -------
    state : State
        On the device: that after the last epoch, with the best weights where they are brought back.
    run : Run

    Raises
    ------
    Diverged
        Where the loss is not finite and there are no best weights to bring back.
    """
    training = Training(backend, plan, train, placement, state)
    evaluation = Evaluation(backend, plan.network, placement, plan.score_name)
    feeds = {
        name: training.feed if rows is train else open_feed(backend, rows, placement) for name, rows in watched.items()
    }
    best = best or Best()
    run = Run(
        plan,
        len(train),
        isinstance(training.feed, Streamed),
        training=training,
        fetch=lambda: backend.to_host(training.state.params),
        as_model=as_model,
    )

    def kept() -> Array:
        # The next step may write over the parameters.
        return backend.xp.asarray(training.state.params, copy=True)

    best_params = kept() if best.than is not None else None

    with interruptible() as interrupted, finalised(callbacks, run):

        def after_steps(done: int, losses: Callable[[], np.ndarray]) -> bool:
            for callback in callbacks:
                callback.on_steps(run, done, losses)
            return interrupted() or bool(run.stopped)

        for run.epoch in range(1, plan.epochs + 1):
            for callback in callbacks:
                callback.on_epoch_begin(run)
            started = time.perf_counter()
            losses, counts = training.epoch(run.epoch, after_steps)
            seconds = time.perf_counter() - started
            run.losses.append(losses)

            run.diverged = _not_finite(run.epoch, losses, training)
            if run.diverged:
                if best_params is None or best.restore == "never":
                    raise run.diverged
                run.stop("diverged")
                break
            record: Record = {"epoch": run.epoch, "loss": float(np.average(losses, weights=counts))}
            record |= evaluation.watch(training.state.params, feeds, score)
            # The loss of the training rows is that of the steps themselves.
            record.pop("train_loss", None)
            record["learning_rate"] = training.learning_rate()
            record |= {"seconds": seconds, "samples_per_second": float(counts.sum() / seconds)}
            run.history.append(record)
            if best.improves(record, run.history[run.best_epoch - 1] if run.best_epoch else None):
                run.best_epoch, best_params = run.epoch, kept()
            for callback in callbacks:
                callback.on_epoch_end(run, record)
            if interrupted():
                run.stop("interrupted")
            if run.stopped:
                break
        wanted = best.restore == "always" or (best.restore == "stopped" and bool(run.stopped))
        run.restored = wanted and best_params is not None
        if run.restored:
            # Within, so that the end that callbacks see has the weights that the run gives.
            training.state = training.state._replace(params=best_params)
    return training.state, run


def _not_finite(epoch: int, losses: np.ndarray, training: Training) -> Diverged | None:
    """Where a step of the epoch had a loss that is not finite, or left parameters that are not."""
    for step, loss in enumerate(losses, 1):
        if not math.isfinite(loss):
            return Diverged(epoch, step, float(loss))
    return None if training.is_finite() else Diverged(epoch, len(losses), math.nan)
