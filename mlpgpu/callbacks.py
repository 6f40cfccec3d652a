"""What happens beside the training: when is told by the trainer, what is told here."""

from __future__ import annotations

import contextlib
import csv
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from mlpgpu.trainer import Record, Run


class Callback:
    """Does nothing; a base for those that do something. Whatever happens in a run, `on_end` is called."""

    def on_begin(self, run: Run) -> None:
        """Before the first epoch."""

    def on_steps(self, run: Run, done: int) -> None:
        """After some steps of the epoch, `done` of them so far."""

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """After an epoch and its evaluation; `record` is also the last of ``run.history``."""

    def on_end(self, run: Run) -> None:
        """After the last epoch, or after an error."""


@contextlib.contextmanager
def finalised(callbacks: Sequence[Callback], run: Run) -> Iterator[None]:
    """Begin every callback, and end those that have begun, last first, whatever happens between."""
    with contextlib.ExitStack() as stack:
        for callback in callbacks:
            callback.on_begin(run)
            stack.callback(callback.on_end, run)
        yield


class EarlyStopping(Callback):
    """Stops when the validation loss has not fallen for `patience` epochs.

    Parameters
    ----------
    patience : int
        Epochs to wait for a lower validation loss.
    """

    def __init__(self, patience: int = 10) -> None:
        self.patience = patience

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Stop the run where its best epoch lies `patience` epochs back."""
        if run.best_epoch and run.epoch - run.best_epoch >= self.patience:
            run.stop("early stopping")


class HistoryFile(Callback):
    """Writes a row an epoch to a CSV file, as soon as there is one.

    Parameters
    ----------
    path : path
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_begin(self, run: Run) -> None:
        """Open the file."""
        self.file = self.path.open("w", newline="", encoding="utf-8")

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Write the row, so that what ends the program does not end the file."""
        writer = csv.DictWriter(self.file, list(record))
        if len(run.history) == 1:
            writer.writeheader()
        writer.writerow(record)
        self.file.flush()

    def on_end(self, run: Run) -> None:
        """Close the file."""
        self.file.close()


STREAMED = "Note      the data set does not fit on the device; batches are copied from the host as they come"


class EpochLines(Callback):
    """Prints one line for every `every` epochs, and for the last one.

    Parameters
    ----------
    every : int or None
        None for every epoch, or for as many as make 100 lines in a long run.
    write : callable
        Takes a line.
    """

    def __init__(self, every: int | None = None, write: Callable[[str], Any] = print) -> None:
        self.every, self.write = every, write

    def on_begin(self, run: Run) -> None:
        """Say how the rows reach the device, where that is not the usual way."""
        if run.streamed:
            self.write(STREAMED)

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Print the line of this epoch where it is due."""
        every = self.every or -(-run.plan.epochs // 100)
        if run.epoch % every == 0 or run.epoch == run.plan.epochs or run.stopped:
            self.write(f"epoch {run.epoch:>{len(str(run.plan.epochs))}}/{run.plan.epochs}  {describe(record)}")


def describe(record: Record) -> str:
    """The figures of an epoch in words."""
    parts = [f"loss {record['train_loss']:.4f}"]
    for key in ("train_accuracy", "validation_loss", "validation_accuracy", "train_r2", "validation_r2"):
        if key in record:
            value = f"{record[key]:.2%}" if key.endswith("accuracy") else f"{record[key]:.4f}"
            parts.append(f"{key.replace('_', ' ').replace('r2', 'R²')} {value}")
    return "  ".join([*parts, f"{record['samples_per_second']:,.0f} samples/s"])


class ProgressBar(Callback):
    """A bar over all steps, with the figures of the last epoch, for a terminal.

    Parameters
    ----------
    file : text stream or None
        None for the standard output.
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

    def on_steps(self, run: Run, done: int) -> None:
        """Move the bar, ten times a second at most: drawing it takes longer than a small step."""
        now = time.perf_counter()
        if now - self.shown < 0.1:
            return
        self.shown = now
        steps = (run.epoch - 1) * run.plan.steps_per_epoch + done
        speed = steps * run.n_rows / run.plan.steps_per_epoch / (now - self.began)
        self.progress.update(self.bar, completed=steps, epoch=run.epoch, speed=f"{speed:,.0f} samples/s", refresh=True)

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Show the figures of the epoch."""
        figures = f"loss {record['train_loss']:.4f}"
        for key, text in (("validation_accuracy", "val accuracy {:.2%}"), ("validation_r2", "val R² {:.4f}")):
            if key in record:
                figures += "  " + text.format(record[key])
        self.progress.update(
            self.bar, completed=run.epoch * run.plan.steps_per_epoch, epoch=run.epoch, figures=figures, refresh=True
        )

    def on_end(self, run: Run) -> None:
        """Leave the bar as it stands."""
        self.progress.stop()
