"""Callbacks that show the progress of a run: lines, or a bar."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

from mlpgpu.callbacks.base import Callback
from mlpgpu.figures import in_words
from mlpgpu.setting import Interval

if TYPE_CHECKING:
    import numpy as np

    from mlpgpu.trainer import Record, Run

STREAMED = "Note      the data set does not fit on the device, or stays in a file; batches are copied as they come"


class EpochLines(Callback):
    """Prints a line at regular intervals, and for the last epoch.

    Parameters
    ----------
    every : int, str or None
        Interval in epochs; or in seconds, such as ``"30s"``, which prints lines within an epoch as well; or ``"none"``,
        for the last epoch alone. None for every epoch, or an interval that makes 100 lines at most in a long run.
    write : callable
        Function that writes a line.

    Raises
    ------
    InputError
        If `every` is none of these.
    """

    def __init__(self, every: int | str | None = None, write: Callable[[str], Any] = print) -> None:
        self.every = None if every is None else Interval.parse(every, "every")
        self.write = write

    def on_begin(self, run: Run) -> None:
        """Start the clock, and say so if the rows are streamed to the device."""
        self._printed = time.perf_counter()
        if run.streamed:
            self.write(STREAMED)

    def on_steps(self, run: Run, done: int, losses: Callable[[], np.ndarray]) -> None:
        """Print a line within an epoch if it is due, with the mean loss of the last few steps."""
        # The last step of the epoch has the line of `on_epoch_end`.
        if done < run.plan.steps_per_epoch and self._is_due(run):
            loss = in_words(float(losses().mean()))
            self._write(run, f"step {done:,}/{run.plan.steps_per_epoch:,}  loss {loss}")

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Print the line of this epoch if it is due."""
        if self._is_due(run, run.epoch) or run.epoch == run.plan.epochs or run.stopped:
            self._write(run, describe(record))

    def _is_due(self, run: Run, epoch: int = 0) -> bool:
        every = self.every or Interval(epochs=-(-run.plan.epochs // 100))
        return every.is_due(time.perf_counter() - self._printed, epoch)

    def _write(self, run: Run, words: str) -> None:
        self._printed = time.perf_counter()
        self.write(f"epoch {run.epoch:>{len(str(run.plan.epochs))}}/{run.plan.epochs}  {words}")


def describe(record: Record) -> str:
    """Describe the figures of an epoch in one line."""
    parts = [f"loss {in_words(record['loss'])}"]
    for key in ("train_accuracy", "validation_loss", "validation_accuracy", "train_r2", "validation_r2"):
        if key in record:
            value = f"{record[key]:.2%}" if key.endswith("accuracy") else in_words(record[key])
            parts.append(f"{key.replace('_', ' ').replace('r2', 'R²')} {value}")
    return "  ".join([*parts, f"{record['samples_per_second']:,.0f} samples/s"])


class ProgressBar(Callback):
    """Progress bar over all steps, with the figures of the last epoch, for a terminal.

    Parameters
    ----------
    file : text stream or None
        Where to draw the bar; None for the standard output.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self.file = file

    def on_begin(self, run: Run) -> None:
        """Show the bar."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[figures]}"),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=Console(file=self.file),
            auto_refresh=False,
            expand=True,
        )
        if run.streamed:
            self.progress.console.print(STREAMED)
        self.progress.start()
        plan = run.plan
        self.bar = self.progress.add_task(
            "", total=plan.epochs * plan.steps_per_epoch, epoch=1, epochs=plan.epochs, figures="loss …", speed=""
        )
        self.shown, self.began = 0.0, time.perf_counter()

    def on_steps(self, run: Run, done: int, losses: Callable[[], np.ndarray]) -> None:
        """Update the bar at most ten times per second, since drawing it takes longer than a small step."""
        now = time.perf_counter()
        if now - self.shown < 0.1:
            return
        self.shown = now
        steps = (run.epoch - 1) * run.plan.steps_per_epoch + done
        # Steps since the start or the resume; negative if a rollback went back to before the checkpoint.
        new_steps = max(steps - run.steps_before, 0)
        speed = new_steps * run.n_rows / run.plan.steps_per_epoch / (now - self.began)
        self.progress.update(self.bar, completed=steps, epoch=run.epoch, speed=f"{speed:,.0f} samples/s", refresh=True)

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Show the figures of the epoch."""
        figures = f"loss {in_words(record['loss'])}"
        if "validation_accuracy" in record:
            figures += f"  val accuracy {record['validation_accuracy']:.2%}"
        if "validation_r2" in record:
            figures += f"  val R² {in_words(record['validation_r2'])}"
        self.progress.update(
            self.bar, completed=run.epoch * run.plan.steps_per_epoch, epoch=run.epoch, figures=figures, refresh=True
        )

    def on_end(self, run: Run) -> None:
        """Leave the bar as it stands, and drop the progress object, which cannot be copied."""
        self.progress.stop()
        del self.progress
