"""A run as its callbacks see it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.errors import InputError
from mlpgpu.figures import counted, in_words
from mlpgpu.files import expanded
from mlpgpu.training.epoch import Training
from mlpgpu.training.plan import Plan

if TYPE_CHECKING:
    from mlpgpu.models.model import Model
    from mlpgpu.training.checkpoint import Checkpoint

Record = dict[str, float]
Array = Any


class Diverged(ArithmeticError):
    """Raised when the loss is not finite, or far above that of the initial weights.

    Attributes
    ----------
    epoch, step : int
        Epoch, and step within that epoch, both counted from 1.
    what : str
        The loss, epoch and step in words.
    """

    def __init__(self, epoch: int, step: int, loss: float) -> None:
        self.epoch, self.step = epoch, step
        self.what = f"the loss is {loss:.4g} in epoch {epoch}, step {step}"
        super().__init__(f"{self.what}; try a lower learning rate, scaled inputs (--scale standard) or --clip-norm 1")


@dataclass(frozen=True)
class Best:
    """How the best weights of a run are chosen, and when they are restored.

    Attributes
    ----------
    monitor : str
        Key of the record that is compared.
    greater : bool
        Whether greater values are better.
    restore : str
        When to restore the best weights: ``stopped``, if the run stops before its last epoch; ``always``; or ``never``.
    than : float or None
        Value of the initial weights, which an epoch must improve on; None to ignore the initial weights.
    """

    monitor: str = "validation_loss"
    greater: bool = False
    restore: str = "stopped"
    than: float | None = None

    def improves(self, record: Record, best: Record | None) -> bool:
        """Whether `record` is better than `best`, or than the initial weights; NaN or a missing value never is."""
        sign = -1 if self.greater else 1
        before = best[self.monitor] if best else self.than
        return sign * record.get(self.monitor, math.nan) < (math.inf if before is None else sign * before)


@dataclass(eq=False, repr=False)
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
        Current epoch, counted from 1.
    history : list of dict
        One record per epoch, including those before the run was resumed: ``epoch``; ``loss`` (mean of the steps, with
        dropout and penalty); loss and score of each watched set of rows (without dropout), such as ``validation_loss``
        and ``validation_accuracy``; ``learning_rate`` (of the last step); ``seconds`` (of the steps);
        ``samples_per_second``; and, if the run may roll back, ``rollbacks`` (so far).
    losses : list of array
        The loss of every step, one array per epoch.
    steps_before : int
        Number of steps done before the run was resumed.
    monitor : str
        Key of the record that selects the best weights, where the record has it; empty for a solver that keeps none.
    best_epoch : int
        The epoch of the best weights; 0 before there is one.
    best_params : array or None
        The best weights, on the device.
    rollbacks : int
        How often the run returned to the start of an epoch that diverged.
    stopped : str
        Why the run ended before its last epoch, such as ``early stopping``; empty if it did not.
    unconverged : str
        Message of a solver without steps, such as L-BFGS, that ended before it converged; else empty.
    final : bool
        Whether the run stays stopped when it is resumed.
    whole : bool
        False once the current epoch has been ended before its last step.
    signal : int
        Number of the termination signal received during the run; 0 if there was none.
    diverged : Diverged or None
        Set if the run ended because it diverged, and has weights to restore.
    restored : bool
        Whether the weights are those of `best_epoch`.
    training : Training or None
        The training state; None for a solver without steps, such as L-BFGS.
    fetch : callable or None
        ``fetch()`` returns the current weights and biases, on the host.
    as_model : callable or None
        ``as_model(params)`` returns the `Model` with these weights and biases.
    snapshot : callable or None
        ``snapshot()`` returns a `Checkpoint` of the current state; None after the end.
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
    best_params: Array = None
    rollbacks: int = 0
    stopped: str = ""
    unconverged: str = ""
    final: bool = True
    whole: bool = True
    signal: int = 0
    diverged: Diverged | None = None
    restored: bool = False
    training: Training | None = None
    fetch: Callable[[], np.ndarray] | None = None
    as_model: Callable[[np.ndarray], Model] | None = None
    snapshot: Callable[[], Checkpoint] | None = None
    _asked: dict[Path, tuple[Path | None, bool]] = field(default_factory=dict)

    def __repr__(self) -> str:
        loss = f", loss {in_words(self.history[-1]['loss'])}" if self.history else ""
        why = f"; stopped: {self.stopped}" if self.stopped else ""
        return f"Run({len(self.history)} of {counted(self.plan.epochs, 'epoch')}{loss}{why})"

    def stop(self, reason: str, *, final: bool = True) -> None:
        """End the run after this epoch, or after the current steps.

        The first reason given is kept, but a final one replaces one that is not final.

        Parameters
        ----------
        reason : str
        final : bool
            Whether the run stays stopped when it is resumed from here.
        """
        # A reason found in an epoch that was cut short does not count: the resumed run completes that epoch.
        if not self.stopped or (final and not self.final and self.whole):
            self.stopped, self.final = reason, final

    @property
    def learning_rate(self) -> float:
        """The learning rate that the schedule's factor multiplies; may be set."""
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
        """The current weights and biases, with normalisation folded in: a flat vector on the host."""
        assert self.fetch is not None
        # A copy, so that a callback cannot change the weights of the run.
        return self.fetch().copy()

    def model(self) -> Model:
        """Return the current network as a `Model`, to predict with or to save."""
        assert self.as_model is not None
        return self.as_model(self.params)

    def checkpoint(self, path: str | Path, previous: str | Path | None = None, *, weights_only: bool = False) -> None:
        """Write a checkpoint once all callbacks of the current event have run.

        If the run could not be resumed from it (in `on_end`, after an epoch that was cut short, or with a solver such
        as L-BFGS), only the model is written.

        Parameters
        ----------
        path : path
            Its folder is created if necessary.
        previous : path or None
            Where to move a file that already exists at `path`.
        weights_only : bool
            Whether to write only the model in any case.
        """
        self._asked[expanded(path)] = None if previous is None else expanded(previous), weights_only

    def write_checkpoints(self) -> None:
        """Write the checkpoints that `checkpoint` was asked for."""
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
    """Find where an epoch diverged.

    Parameters
    ----------
    epoch : int
    losses : array of shape (n_steps,)
    limit : float
        The epoch has diverged if the median loss is above this.
    training : Training
        State after these steps.

    Returns
    -------
    Diverged or None
        The first loss that is not finite or, in a diverged epoch, above the limit; or the last step, if a parameter is
        not finite after it. None if the epoch did not diverge.
    """
    bad, high = ~np.isfinite(losses), losses > limit
    if not bad.any() and high.any() and np.median(losses) > limit:
        bad = high
    if bad.any():
        step = int(bad.argmax())
        return Diverged(epoch, step + 1, float(losses[step]))
    return None if training.is_finite() else Diverged(epoch, len(losses), math.nan)
