"""Callbacks that monitor one figure of the record."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mlpgpu.callbacks.base import Callback
from mlpgpu.errors import InputError, did_you_mean
from mlpgpu.settings.setting import Setting

if TYPE_CHECKING:
    from mlpgpu.training.run import Record, Run


class Monitored(Callback):
    """Base class of callbacks that monitor one figure of the record and keep its best value.

    Parameters
    ----------
    monitor : str or None
        Key of the record; None to monitor nothing.
    mode : {"auto", "min", "max"}
        Whether a lower or a higher value is better; ``auto``: higher, if the key ends in accuracy, r2 or score.
    min_delta : float
        Change that an improvement must exceed.

    Raises
    ------
    InputError
        If `mode` or `min_delta` is not allowed, and at the end of the first epoch if its record lacks `monitor`.
    """

    def __init__(self, monitor: str | None, mode: str = "auto", min_delta: float = 0.0) -> None:
        self.monitor = monitor
        self.mode = Setting(str, choices=("auto", "min", "max")).checked("mode", mode)
        self.min_delta = Setting(float, "[0, inf)").checked("min_delta", min_delta)
        more = str(monitor).endswith(("accuracy", "r2", "score"))
        self._sign = -1 if mode == "max" or (mode == "auto" and more) else 1

    def on_begin(self, run: Run) -> None:
        """Reset the best value, since a callback may serve several runs."""
        self._best = self._sign * math.inf

    def state(self) -> dict[str, Any]:
        """Return the best value so far."""
        return {"best": self._best}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the best value."""
        self._best = float(state["best"])

    def _value(self, record: Record) -> float:
        if self.monitor not in record:
            # A high cutoff, since the same figure of other rows has a similar name.
            hint = did_you_mean(str(self.monitor), record, 0.8)
            raise InputError(
                f"{type(self).__name__} monitors {self.monitor!r}, and this run has {', '.join(record)}; "
                f"name one of these, or give the run validation rows to be measured on{hint}"
            )
        return record[self.monitor]

    def _beats(self, value: float, reference: float) -> bool:
        return self._sign * value + self.min_delta < self._sign * reference

    def _improves(self, value: float) -> bool:
        """Whether `value` is better than the best so far, which it then replaces; NaN never is."""
        improves = self._beats(value, self._best)
        if improves:
            self._best = value
        return improves


class Waiting(Monitored):
    """Base class of callbacks that act after too many epochs without an improvement."""

    def on_begin(self, run: Run) -> None:
        """Reset the best value and its epoch."""
        super().on_begin(run)
        self._since = 0

    def state(self) -> dict[str, Any]:
        """Return the best value so far, and the epoch that the waiting is counted from."""
        return super().state() | {"since": self._since}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the best value and that epoch."""
        super().restore(state)
        self._since = int(state["since"])


class EarlyStopping(Waiting):
    """Stops a run that no longer improves.

    The command then restores the best weights; an estimator does so only with ``early_stopping=True``.

    Parameters
    ----------
    monitor : str or None
        See `Monitored`; None for the figure and direction by which the run chooses its best weights, where any
        improvement counts. A run that chooses none, for lack of validation rows, is then not stopped.
    min_delta, mode
        See `Monitored`; they need a `monitor`.
    patience : int
        Number of epochs without an improvement after which to stop. 0 means 1.
    baseline : float or None
        Value that an improvement must also beat; it needs a `monitor`.
    start_from_epoch : int
        Number of epochs at the start that are neither compared nor counted.

    Raises
    ------
    InputError
        See `Monitored`; also for any other argument that is not allowed.
    """

    def __init__(
        self,
        monitor: str | None = None,
        *,
        min_delta: float = 0.0,
        patience: int = 10,
        mode: str = "auto",
        baseline: float | None = None,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = Setting(int, "[0, inf)").checked("patience", patience)
        self.baseline = None if baseline is None else Setting(float, "(-inf, inf)").checked("baseline", baseline)
        self.start_from_epoch = Setting(int, "[0, inf)").checked("start_from_epoch", start_from_epoch)
        if monitor is None and (self.mode, self.min_delta, self.baseline) != ("auto", 0, None):
            raise InputError(
                f"mode is {mode!r}, min_delta is {min_delta} and baseline is {baseline} without a monitor to apply to; "
                "give a monitor, such as 'validation_loss', or leave them out"
            )

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Stop the run if the last improvement is `patience` epochs ago."""
        if self._is_better(run, record):
            self._since = run.epoch
        elif run.epoch - self._since >= self.patience:
            run.stop("early stopping")

    def _is_better(self, run: Run, record: Record) -> bool:
        value = None if self.monitor is None else self._value(record)
        if run.epoch <= self.start_from_epoch:
            return True
        if value is None:
            return run.best_epoch == run.epoch or run.monitor not in record
        return self._improves(value) and (self.baseline is None or self._beats(value, self.baseline))


class ReduceLROnPlateau(Waiting):
    """Lowers the learning rate of a run that no longer improves. Defaults are those of Keras.

    Parameters
    ----------
    monitor, mode, min_delta
        See `Monitored`.
    factor : float
        Factor by which the learning rate is multiplied; between 0 and 1, exclusive.
    patience : int
        Number of epochs without an improvement after which to lower it. 0 means 1.
    cooldown : int
        Number of epochs after that which do not count as waiting; Keras counts the last of them.
    min_learning_rate : float
        Lower bound of the learning rate.

    Raises
    ------
    InputError
        See `Monitored`; also for any other argument that is not allowed.
    """

    def __init__(
        self,
        monitor: str = "validation_loss",
        *,
        factor: float = 0.1,
        patience: int = 10,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_learning_rate: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.factor = Setting(float, "(0, 1)").checked("factor", factor)
        self.patience = Setting(int, "[0, inf)").checked("patience", patience)
        self.cooldown = Setting(int, "[0, inf)").checked("cooldown", cooldown)
        self.min_learning_rate = Setting(float, "[0, inf)").checked("min_learning_rate", min_learning_rate)

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Lower the learning rate if the last improvement is `patience` epochs ago."""
        if self._improves(self._value(record)):
            # During a cooldown, `_since` is its last epoch, still ahead.
            self._since = max(self._since, run.epoch)
        elif run.epoch - self._since >= max(self.patience, 1) and run.learning_rate > self.min_learning_rate:
            run.learning_rate = max(run.learning_rate * self.factor, self.min_learning_rate)
            self._since = run.epoch + self.cooldown
