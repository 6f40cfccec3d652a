"""Callbacks that follow one figure of the record."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mlpgpu.callbacks.base import Callback, checked
from mlpgpu.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from mlpgpu.trainer import Record, Run


class Monitored(Callback):
    """Follows one figure of the record; a base for those that do something where it gets better, or does not.

    Parameters
    ----------
    monitor : str or None
        Key of the record; None where nothing is followed.
    mode : {"auto", "min", "max"}
        Whether less or more of it is better; ``auto``: more, where its name ends in accuracy, r2 or score.
    min_delta : float
        By how much it must be better to count.

    Raises
    ------
    InputError
        Where `mode` or `min_delta` is not allowed, and at the end of the first epoch where its record lacks `monitor`.
    """

    def __init__(self, monitor: str | None, mode: str = "auto", min_delta: float = 0.0) -> None:
        self.monitor = monitor
        self.mode = checked("mode", mode, str, choices=("auto", "min", "max"))
        self.min_delta = checked("min_delta", min_delta, float, "[0, inf)")
        more = str(monitor).endswith(("accuracy", "r2", "score"))
        self._sign = -1 if mode == "max" or (mode == "auto" and more) else 1

    def on_begin(self, run: Run) -> None:
        """Forget the best of an earlier run."""
        self._best = self._sign * math.inf

    def state(self) -> dict[str, Any]:
        """The best value so far."""
        return {"best": self._best}

    def restore(self, state: dict[str, Any]) -> None:
        """Hold on to the best value of before."""
        self._best = float(state["best"])

    def _value(self, record: Record) -> float:
        if self.monitor not in record:
            # A little like it are also those of other rows.
            hint = did_you_mean(str(self.monitor), record, 0.8)
            raise InputError(
                f"{type(self).__name__} monitors {self.monitor!r}, and this run has {', '.join(record)}; "
                f"name one of these, or give the run validation rows to be measured on{hint}"
            )
        return record[self.monitor]

    def _beats(self, value: float, reference: float) -> bool:
        return self._sign * value + self.min_delta < self._sign * reference

    def _improves(self, value: float) -> bool:
        """Whether `value` is better than the best so far, which it then is; what is no number never is."""
        improves = self._beats(value, self._best)
        if improves:
            self._best = value
        return improves


class Waiting(Monitored):
    """Counts the epochs since the figure was last better; a base for those that act when they are too many."""

    def on_begin(self, run: Run) -> None:
        """Begin to wait."""
        super().on_begin(run)
        self._since = 0

    def state(self) -> dict[str, Any]:
        """The best value so far, and since when it is."""
        return super().state() | {"since": self._since}

    def restore(self, state: dict[str, Any]) -> None:
        """Wait on."""
        super().restore(state)
        self._since = int(state["since"])


class EarlyStopping(Waiting):
    """Stops a run that no longer gets better.

    The command then brings back its best weights; an estimator does so with ``early_stopping=True`` alone.

    Parameters
    ----------
    monitor : str or None
        See `Monitored`; None for what the run chooses its best weights by, in its own direction and to the last digit.
        A run that chooses none, having no validation rows, is then not stopped.
    min_delta, mode
        See `Monitored`; they need a `monitor`.
    patience : int
        Epochs without a better value after which to stop; 10, as the setting has it. 0 is as 1.
    baseline : float or None
        What a value must also be better than to count; it needs a `monitor`.
    start_from_epoch : int
        Epochs at the start that count neither way.

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
        self.patience = checked("patience", patience, int, "[0, inf)")
        self.baseline = None if baseline is None else checked("baseline", baseline, float, "(-inf, inf)")
        self.start_from_epoch = checked("start_from_epoch", start_from_epoch, int, "[0, inf)")
        if monitor is None and (self.mode, self.min_delta, self.baseline) != ("auto", 0, None):
            raise InputError(
                f"mode is {mode!r}, min_delta is {min_delta} and baseline is {baseline} without a monitor to apply to; "
                "give a monitor, such as 'validation_loss', or leave them out"
            )

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Stop the run where the last better epoch lies `patience` epochs back."""
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
    """Lowers the learning rate of a run that no longer gets better. Defaults are those of Keras.

    Parameters
    ----------
    monitor, mode, min_delta
        See `Monitored`.
    factor : float
        What the learning rate is multiplied with; above 0 to below 1.
    patience : int
        Epochs without a better value after which to lower it. 0 is as 1.
    cooldown : int
        Epochs after that, which do not count; Keras counts the last of them.
    min_learning_rate : float
        What it is not lowered beyond.

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
        self.factor = checked("factor", factor, float, "(0, 1)")
        self.patience = checked("patience", patience, int, "[0, inf)")
        self.cooldown = checked("cooldown", cooldown, int, "[0, inf)")
        self.min_learning_rate = checked("min_learning_rate", min_learning_rate, float, "[0, inf)")

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Lower the learning rate where the last better epoch lies `patience` epochs back."""
        if self._improves(self._value(record)):
            # In a cooldown it lies ahead.
            self._since = max(self._since, run.epoch)
        elif run.epoch - self._since >= max(self.patience, 1) and run.learning_rate > self.min_learning_rate:
            run.learning_rate = max(run.learning_rate * self.factor, self.min_learning_rate)
            self._since = run.epoch + self.cooldown
