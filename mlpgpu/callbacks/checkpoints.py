"""Callbacks that save a run, for predictions or to resume it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mlpgpu.callbacks.base import Callback
from mlpgpu.callbacks.monitored import Monitored
from mlpgpu.errors import InputError
from mlpgpu.files import expanded
from mlpgpu.settings.setting import Interval, Setting

if TYPE_CHECKING:
    import numpy as np

    from mlpgpu.training.run import Record, Run


# File names in the folder of checkpoints.
LAST, PREVIOUS, BEST = "last.safetensors", "previous.safetensors", "best.safetensors"


def kept(folder: Path) -> list[Path]:
    """Return the checkpoints in `folder` that a run can be resumed from, the latest first."""
    return [path for name in (LAST, PREVIOUS) if (path := folder / name).exists()]


class RunCheckpoint(Callback):
    """Writes checkpoints, from which a run that was stopped or killed is resumed with the same results.

    ``last.safetensors`` is the latest checkpoint, and ``previous.safetensors`` the one before it. ``best.safetensors``
    is the latest checkpoint written after an epoch that was the best so far; the other two have the best weights too.
    Each is also a model for `Model.load`.

    A run that ends by Ctrl-C, SIGTERM, SIGHUP or a `TimeLimit` writes one more checkpoint, whatever `every` is.

    Parameters
    ----------
    folder : path
        Folder of the checkpoints, created if missing.
    every : int or str
        Interval in epochs; or in seconds, such as ``"60s"``, also within an epoch; or ``"none"``.

    Raises
    ------
    InputError
        If `every` is none of these.
    """

    def __init__(self, folder: str | Path, every: int | str = "60s") -> None:
        self.folder, self.every = expanded(folder), Interval.parse(every, "every")

    def on_begin(self, run: Run) -> None:
        """Start the clock."""
        self._written = time.perf_counter()

    def on_steps(self, run: Run, done: int, losses: Callable[[], np.ndarray]) -> None:
        """Write a checkpoint if one is due."""
        if self._is_due():
            self._write(run)

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Write a checkpoint if one is due by time or epoch."""
        if self._is_due(run.epoch):
            self._write(run)
            if run.whole and run.best_epoch == run.epoch:
                run.checkpoint(self.folder / BEST)

    def on_pause(self, run: Run) -> None:
        """Write the checkpoint that the run is to be resumed from."""
        self._write(run)

    def _is_due(self, epoch: int = 0) -> bool:
        return self.every.is_due(time.perf_counter() - self._written, epoch)

    def _write(self, run: Run) -> None:
        # After an incomplete epoch, `run.checkpoint` writes a model alone, which must not replace a checkpoint.
        if run.whole:
            self._written = time.perf_counter()
            run.checkpoint(self.folder / LAST, self.folder / PREVIOUS)


class ModelCheckpoint(Monitored):
    """Saves a checkpoint after an epoch, which is also a model for `Model.load`.

    An incomplete epoch is saved with `weights_only` alone, since a run cannot be resumed from its end.

    Parameters
    ----------
    path : path
        Path of the file, which may have fields of the record, such as ``{epoch:03d}-{loss:.4f}.safetensors``. Missing
        folders are created, and an existing file is replaced atomically.
    monitor, mode
        See `Monitored`; used with `save_best_only`.
    save_best_only : bool
        Whether to save only if `monitor` is better than at every earlier save.
    save_every : int
        Interval in epochs.
    weights_only : bool
        Whether to save the model alone, which takes a third of the size or less.

    Raises
    ------
    InputError
        See `Monitored`; also if `save_every` is below 1, and at the end of the first epoch if `path` has a field that
        the record lacks.
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
        self.path = expanded(path)
        self.save_best_only = Setting(bool).checked("save_best_only", save_best_only)
        self.save_every = Setting(int, "[1, inf)").checked("save_every", save_every)
        self.weights_only = Setting(bool).checked("weights_only", weights_only)

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Save if it is due."""
        # Outside the condition, so that a wrong path or monitor is an error after the first epoch.
        path = self._format_path(record)
        value = self._value(record) if self.save_best_only else None
        # After an incomplete epoch, `run.checkpoint` writes a model alone, which must not replace a checkpoint.
        due = run.epoch % self.save_every == 0 and (run.whole or self.weights_only)
        if due and (value is None or self._improves(value)):
            run.checkpoint(path, weights_only=self.weights_only)

    def _format_path(self, record: Record) -> Path:
        try:
            return Path(str(self.path).format(**record))
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f"the path {str(self.path)!r} cannot be filled in ({error!r}); "
                f"allowed: the fields {', '.join(record)}, written as {{epoch:03d}} or {{loss:.4f}}"
            ) from None
