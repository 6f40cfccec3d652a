"""Callbacks that show the progress of a run: lines, or a bar."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

from mlpgpu.callbacks.base import Callback
from mlpgpu.figures import in_words
from mlpgpu.settings.setting import Interval

if TYPE_CHECKING:
    import numpy as np
    from rich.progress import Progress

    from mlpgpu.training.run import Record, Run

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
    """Progress bar over all steps, with the figures of the last epoch, for a terminal or a notebook.

    Parameters
    ----------
    file : text stream or None
        Where to draw the bar; None for the standard output, or the output of the cell in a notebook.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self.file = file

    def on_begin(self, run: Run) -> None:
        """Show the bar."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(file=self.file, force_jupyter=None if self.file is None else False)
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[figures]}"),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=console,
            auto_refresh=False,
            expand=True,
        )
        if run.streamed:
            console.print(STREAMED)
        plan, self.figures = run.plan, "loss …"
        self.bar = self.progress.add_task(
            "", total=plan.epochs * plan.steps_per_epoch, epoch=1, epochs=plan.epochs, figures=self.figures, speed=""
        )
        self.refresh, self.stop = (_shown if console.is_jupyter else _drawn)(self.progress)
        self.shown = self.began = time.perf_counter()

    def on_steps(self, run: Run, done: int, losses: Callable[[], np.ndarray]) -> None:
        """Show the steps of the epoch."""
        self._update(run, (run.epoch - 1) * run.plan.steps_per_epoch + done)

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Show the figures of the epoch."""
        self.figures = f"loss {in_words(record['loss'])}"
        if "validation_accuracy" in record:
            self.figures += f"  val accuracy {record['validation_accuracy']:.2%}"
        if "validation_r2" in record:
            self.figures += f"  val R² {in_words(record['validation_r2'])}"
        self._update(run, run.epoch * run.plan.steps_per_epoch)

    def _update(self, run: Run, steps: int) -> None:
        """Update the bar, and draw it at most ten times per second: that takes longer than a small step or epoch."""
        now = time.perf_counter()
        # Steps since the start or the resume; negative if a rollback went back to before the checkpoint.
        epochs = max(steps - run.steps_before, 0) / run.plan.steps_per_epoch
        # The clock may not have advanced since the start.
        speed = f"{epochs * run.n_rows / max(now - self.began, 1e-6):,.0f} samples/s"
        self.progress.update(self.bar, completed=steps, epoch=run.epoch, figures=self.figures, speed=speed)
        if now - self.shown >= 0.1:
            self.shown = now
            self.refresh()

    def on_end(self, run: Run) -> None:
        """Leave the bar as it stands, and drop what cannot be copied."""
        self.stop()
        del self.progress, self.refresh, self.stop


# What refreshes and what ends a bar.
Hands = tuple[Callable[[], None], Callable[[], None]]


def _drawn(progress: Progress) -> Hands:
    """Draw a bar in a terminal."""
    progress.start()
    return progress.refresh, progress.stop


def _shown(progress: Progress) -> Hands:
    """Show a bar in a notebook as an output that is replaced.

    Rich would need ipywidgets for it, and its widget would take all output of the cell meanwhile, also of another bar.
    """
    from IPython.display import display

    handle = display(progress, display_id=True)

    def refresh() -> None:
        handle.update(progress)

    return refresh, refresh
