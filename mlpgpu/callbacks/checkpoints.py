"""Callbacks that save a run, to predict with it or to take it up."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mlpgpu.callbacks.base import Callback, checked
from mlpgpu.callbacks.monitored import Monitored
from mlpgpu.errors import InputError
from mlpgpu.setting import Interval

if TYPE_CHECKING:
    import numpy as np

    from mlpgpu.trainer import Record, Run


# What they are called in the folder that they are kept in.
LAST, PREVIOUS, BEST = "last.safetensors", "previous.safetensors", "best.safetensors"


def kept(folder: Path) -> list[Path]:
    """Checkpoints in `folder` to go on from, the last one first."""
    return [path for name in (LAST, PREVIOUS) if (path := folder / name).exists()]


class RunCheckpoint(Callback):
    """Writes checkpoints, from which a run that was stopped or killed is taken up as if nothing had happened.

    ``last.safetensors`` is the last; the one before it stays as ``previous.safetensors``. ``best.safetensors`` is the
    last one of an epoch that was the best so far; the best weights are in the others too. All of them are models for
    `Model.load` as well.

    A run that ends by Ctrl-C, SIGTERM or SIGHUP, or at a `TimeLimit` writes one more, whatever `every` is.

    Parameters
    ----------
    folder : path
        Made where there is none.
    every : int or str
        Epochs from one to the next; or seconds, such as ``"60s"``, also within an epoch; or ``"none"``.

    Raises
    ------
    InputError
        Where `every` is none of these.
    """

    def __init__(self, folder: str | Path, every: int | str = "60s") -> None:
        self.folder, self.every = Path(folder), Interval.parse(every, "every")

    def on_begin(self, run: Run) -> None:
        """Start the clock."""
        self._written = time.perf_counter()

    def on_steps(self, run: Run, done: int, losses: Callable[[], np.ndarray]) -> None:
        """Write where the time has come."""
        if self._is_due():
            self._write(run)

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Write where the time has come, or the epoch is one of those."""
        if self._is_due(run.epoch):
            self._write(run)
            if run.whole and run.best_epoch == run.epoch:
                run.checkpoint(self.folder / BEST)

    def on_pause(self, run: Run) -> None:
        """Write what the next run takes up."""
        self._write(run)

    def _is_due(self, epoch: int = 0) -> bool:
        return self.every.is_due(time.perf_counter() - self._written, epoch)

    def _write(self, run: Run) -> None:
        # A model alone is no checkpoint to put in the place of one.
        if run.whole:
            self._written = time.perf_counter()
            run.checkpoint(self.folder / LAST, self.folder / PREVIOUS)


class ModelCheckpoint(Monitored):
    """Saves the run as it is after an epoch: a checkpoint, which is also a model for `Model.load`.

    After an epoch that was cut short, which cannot be gone on with from its end, it saves with `weights_only` alone.

    Parameters
    ----------
    path : path
        May have fields of the record, such as ``{epoch:03d}-{loss:.4f}.safetensors``. Folders are made where there
        are none; a file is replaced whole.
    monitor, mode
        See `Monitored`; of use to `save_best_only`.
    save_best_only : bool
        Whether to save only where `monitor` is better than at every earlier save.
    save_every : int
        Epochs from one save to the next.
    weights_only : bool
        Whether to save the model alone, which is a third as large or less.

    Raises
    ------
    InputError
        See `Monitored`; also for a `save_every` below 1, and at the end of the first epoch for a field that its record
        lacks.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        monitor: str = "validation_loss",
        mode: str = "auto",
        save_best_only: bool = False,
        save_every: int = 1,
        weights_only: bool = False,
    ) -> None:
        super().__init__(monitor, mode)
        self.path = Path(path)
        self.save_best_only = checked("save_best_only", save_best_only, bool)
        self.save_every = checked("save_every", save_every, int, "[1, inf)")
        self.weights_only = checked("weights_only", weights_only, bool)

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Save where it is due; a wrong name is told after the first epoch all the same."""
        path = self._filled_in(record)
        value = self._value(record) if self.save_best_only else None
        # A model alone is no checkpoint to put in the place of one.
        due = run.epoch % self.save_every == 0 and (run.whole or self.weights_only)
        if due and (value is None or self._improves(value)):
            run.checkpoint(path, weights_only=self.weights_only)

    def _filled_in(self, record: Record) -> Path:
        try:
            return Path(str(self.path).format(**record))
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f"the path {str(self.path)!r} cannot be filled in ({error!r}); "
                f"allowed: the fields {', '.join(record)}, written as {{epoch:03d}} or {{loss:.4f}}"
            ) from None
