"""A run as its callbacks see it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.errors import InputError
from mlpgpu.maths.step import State
from mlpgpu.plan import Plan
from mlpgpu.training import Training

if TYPE_CHECKING:
    from mlpgpu.checkpoint import Checkpoint
    from mlpgpu.model import Model

Record = dict[str, float]
Array = Any


class Diverged(ArithmeticError):
    """The loss is no longer a finite number, or far above that of the weights at the start.

    Attributes
    ----------
    epoch, step : int
        Where, both counted from 1; the step within its epoch.
    what : str
        The same in words.
    """

    def __init__(self, epoch: int, step: int, loss: float) -> None:
        self.epoch, self.step = epoch, step
        self.what = f"the loss is {loss:.4g} in epoch {epoch}, step {step}"
        super().__init__(f"{self.what}; try a lower learning rate, scaled inputs (--scale standard) or --clip-norm 1")


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
        ``samples_per_second``, and ``rollbacks`` (so far), where the run may go back. A run that was taken up has those
        of before.
    losses : list of array
        The loss of every step, an array an epoch.
    steps_before : int
        How many of them were done before the run was taken up.
    monitor : str
        Key of the record that the best weights are chosen by; empty where none are.
    best_epoch : int
        The epoch of the best weights; 0 before there is one.
    best_params : array or None
        Those weights, on the device.
    rollbacks : int
        How often the run went back to the beginning of an epoch that diverged.
    stopped : str
        Why the run ended before its last epoch, such as ``early stopping``; empty where it did not.
    unconverged : str
        What a solver of another kind says where it ended before it had converged; empty where it does not.
    final : bool
        Whether a run that is taken up again is as stopped as this one.
    whole : bool
        Whether the epoch under way is not cut short.
    signal : int
        Number of the signal to end that came in the run; 0 where none did.
    diverged : Diverged or None
        Where the loss was no longer finite, in a run that had weights to bring back.
    restored : bool
        Whether the weights are those of `best_epoch`.
    training : Training or None
        What the run changes; None for a solver of another kind.
    fetch : callable or None
        ``fetch()`` -> the weights and biases as they are, on the host.
    as_model : callable or None
        ``as_model(params)`` -> the `Model` of these weights and biases.
    snapshot : callable or None
        ``snapshot()`` -> the `Checkpoint` of this moment; None after the end.
    """

    plan: Plan
    n_rows: int
    streamed: bool = False
    epoch: int = 0
    history: list[Record] = field(default_factory=list)
    losses: list[np.ndarray] = field(default_factory=list)
    steps_before: int = 0
    monitor: str = ""
    best_epoch: int = 0
    best_params: Array = field(default=None, repr=False)
    rollbacks: int = 0
    stopped: str = ""
    unconverged: str = ""
    final: bool = True
    whole: bool = True
    signal: int = 0
    diverged: Diverged | None = None
    restored: bool = False
    training: Training | None = field(default=None, repr=False)
    fetch: Callable[[], np.ndarray] | None = field(default=None, repr=False)
    as_model: Callable[[np.ndarray], Model] | None = field(default=None, repr=False)
    snapshot: Callable[[], Checkpoint] | None = field(default=None, repr=False)
    _asked: dict[Path, tuple[Path | None, bool]] = field(default_factory=dict, repr=False)

    def stop(self, reason: str, *, final: bool = True) -> None:
        """End the run after this epoch, or after the steps in hand.

        The first reason given is the one that counts, but that a final one goes before one that is not.

        Parameters
        ----------
        reason : str
        final : bool
            Whether a run that is taken up from a checkpoint of here is as stopped.
        """
        # What an epoch that was cut short shows is no reason for a run that does the rest of it.
        if not self.stopped or (final and not self.final and self.whole):
            self.stopped, self.final = reason, final

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
        """The weights and biases as they are now, with normalisation folded in: one flat vector on the host."""
        assert self.fetch is not None
        # Whatever a callback does to it, the run goes on from its own.
        return self.fetch().copy()

    def model(self) -> Model:
        """The network as it is now, to predict with or to save."""
        assert self.as_model is not None
        return self.as_model(self.params)

    def checkpoint(self, path: Path, previous: Path | None = None, *, weights_only: bool = False) -> None:
        """Write a checkpoint as soon as every callback has seen this moment.

        Where there is nothing to go on with (an epoch that was cut short, a solver of another kind), it is the model
        alone.

        Parameters
        ----------
        path : Path
            Its folder is made where there is none.
        previous : Path or None
            Where the file that is there is moved to.
        weights_only : bool
            Whether to write the model alone in any case.
        """
        self._asked[path] = previous, weights_only

    def write_checkpoints(self) -> None:
        """Write those that were asked for."""
        asked, self._asked = self._asked, {}
        taken: Checkpoint | None = None
        for path, (previous, alone) in asked.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if alone or self.snapshot is None or not self.whole:
                self.model().save(path)
            else:
                taken = taken or self.snapshot()
                taken.save(path, previous)


def divergence(epoch: int, losses: np.ndarray, limit: float, training: Training) -> Diverged | None:
    """Where an epoch went wrong.

    Parameters
    ----------
    epoch : int
    losses : array of shape (n_steps,)
    limit : float
        What half of the losses may not be above.
    training : Training
        After those steps.

    Returns
    -------
    Diverged or None
        A loss, or a parameter after the last step, that is not finite; or the first loss above the limit.
    """
    for bad in (~np.isfinite(losses), (losses > limit) & (np.median(losses) > limit)):
        if bad.any():
            step = int(bad.argmax())
            return Diverged(epoch, step + 1, float(losses[step]))
    return None if training.is_finite() else Diverged(epoch, len(losses), math.nan)


def copied(state: State, copy: Callable[[Array], Array]) -> State:
    """`state` with each of its arrays as `copy` makes it."""
    return State(copy(state.params), tuple(map(copy, state.slots)), copy(state.step), copy(state.learning_rate))
