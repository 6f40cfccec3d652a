"""Callbacks: actions at points of a run, such as saving, logging and early stopping."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlpgpu.callbacks.base import Callback
from mlpgpu.callbacks.checkpoints import ModelCheckpoint, RunCheckpoint
from mlpgpu.callbacks.logs import CSVLogger, JSONLogger
from mlpgpu.callbacks.mlflow import MLflowLogger
from mlpgpu.callbacks.monitored import EarlyStopping, ReduceLROnPlateau
from mlpgpu.callbacks.progress import ProgressBar
from mlpgpu.callbacks.tensorboard import TensorBoard
from mlpgpu.errors import InputError
from mlpgpu.settings.setting import Setting

if TYPE_CHECKING:
    import numpy as np

    from mlpgpu.training.run import Record, Run

__all__ = [
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "JSONLogger",
    "LambdaCallback",
    "LearningRateScheduler",
    "MLflowLogger",
    "ModelCheckpoint",
    "ProgressBar",
    "ReduceLROnPlateau",
    "RunCheckpoint",
    "TensorBoard",
    "TerminateOnNaN",
    "TimeLimit",
]


class LearningRateScheduler(Callback):
    """Sets the learning rate of each epoch.

    Parameters
    ----------
    schedule : callable
        ``schedule(epoch, learning_rate)`` -> learning rate of that epoch; epochs count from 1. It is still multiplied
        by the factor of the schedule in the settings.

    Raises
    ------
    InputError
        If `schedule` is not callable, or does not return a number above 0.
    """

    def __init__(self, schedule: Callable[[int, float], float]) -> None:
        if not callable(schedule):
            raise InputError(f"schedule is {schedule!r}; allowed: a function of the epoch and the learning rate")
        self.schedule = schedule

    def on_epoch_begin(self, run: Run) -> None:
        """Set the learning rate."""
        rate = self.schedule(run.epoch, run.learning_rate)
        run.learning_rate = Setting(float, "(0, inf)").checked(f"what schedule returns for epoch {run.epoch}", rate)


class TerminateOnNaN(Callback):
    """Stops a run within an epoch if the loss of a step is not finite.

    The run ends with the best weights, or with an error if there are none. It does not roll back, as it may if the
    trainer itself finds such a loss at the end of an epoch. The callback waits for the device after every few steps.
    """

    def on_steps(self, run: Run, done: int, losses: Callable[[], np.ndarray]) -> None:
        """Check the losses of the last few steps."""
        if not all(map(math.isfinite, losses())):
            run.stop("loss is not finite")


class TimeLimit(Callback):
    """Stops a run within or after an epoch when its time is up. A resumed run has the full time again.

    Parameters
    ----------
    seconds : float
        Time from the beginning of the run; above 0.

    Raises
    ------
    InputError
        If `seconds` is not a number above 0.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = Setting(float, "(0, inf)").checked("seconds", seconds)

    def on_begin(self, run: Run) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def on_steps(self, run: Run, done: int, losses: Callable[[], np.ndarray]) -> None:
        """Check the clock."""
        self._check_time(run)

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Check the clock again: the device may have done the steps only now, and the evaluation took time."""
        self._check_time(run)

    def _check_time(self, run: Run) -> None:
        if time.perf_counter() - self._began >= self.seconds:
            run.stop("time limit", final=False)


class LambdaCallback(Callback):
    """Calls functions at points of a run.

    Parameters
    ----------
    on_begin, on_epoch_begin, on_steps, on_epoch_end, on_end : callable or None
        Functions with the arguments of the methods of `Callback` of these names.

    Raises
    ------
    InputError
        If one is not callable.
    """

    def __init__(
        self,
        *,
        on_begin: Callable[[Run], Any] | None = None,
        on_epoch_begin: Callable[[Run], Any] | None = None,
        on_steps: Callable[[Run, int, Callable[[], np.ndarray]], Any] | None = None,
        on_epoch_end: Callable[[Run, Record], Any] | None = None,
        on_end: Callable[[Run], Any] | None = None,
    ) -> None:
        given = {
            "on_begin": on_begin,
            "on_epoch_begin": on_epoch_begin,
            "on_steps": on_steps,
            "on_epoch_end": on_epoch_end,
            "on_end": on_end,
        }
        for name, hook in given.items():
            if hook is not None:
                if not callable(hook):
                    raise InputError(f"{name} is {hook!r}; allowed: a function that takes what Callback.{name} takes")
                setattr(self, name, hook)
