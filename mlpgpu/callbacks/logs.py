"""The record of each epoch as a line of a file."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mlpgpu.callbacks.base import Callback, checked
from mlpgpu.errors import InputError
from mlpgpu.figures import as_json
from mlpgpu.files import naming

if TYPE_CHECKING:
    from mlpgpu.trainer import Record, Run


class Log(Callback):
    """Writes a line an epoch to a file, as soon as there is one; a base for those that say how.

    A run that is taken up has the lines of before its checkpoint once: they are written again, or, with `append`, what
    the file has beyond them is cut off.

    Parameters
    ----------
    path : path
        In a folder that is there.
    append : bool
        Whether to go on in a file that is there, in place of a new one.

    Raises
    ------
    InputError
        Where `append` is not allowed; and in a run that is taken up, where the file to go on in is shorter than at its
        checkpoint.
    """

    def __init__(self, path: str | Path, *, append: bool = False) -> None:
        self.path = Path(path)
        self.append = checked("append", append, bool)

    def on_begin(self, run: Run) -> None:
        """Make the file, with what there is of the run."""
        with self.path.open("a" if self.append else "w"):
            pass
        if not self.append:
            for record in run.history:
                self.on_epoch_end(run, record)

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Write the line; nothing stays open, so that what ends the program does not end the file."""
        with naming(self.path), self.path.open("a+", newline="", encoding="utf-8") as file:
            self._write(file, record)

    def state(self) -> dict[str, Any]:
        """How long the file is."""
        return {"bytes": self.path.stat().st_size}

    def restore(self, state: dict[str, Any]) -> None:
        """Cut off what came after the checkpoint."""
        if not self.append:
            return
        found = self.path.stat().st_size
        if found < state["bytes"]:
            raise InputError(
                f"{self.path} has {found} bytes, and had {state['bytes']} when the checkpoint was written; put the "
                "file back, or take append=False, which writes all of it again"
            )
        os.truncate(self.path, state["bytes"])

    def _write(self, file: TextIO, record: Record) -> None:
        """Write `record` at the end of `file`, which is also open for reading."""
        raise NotImplementedError


class CSVLogger(Log):
    """Writes a row an epoch to a CSV file, as soon as there is one.

    Parameters
    ----------
    path, append
        See `Log`.

    Raises
    ------
    InputError
        See `Log`; also at the end of the first epoch, where the file to go on in has other columns.
    """

    def _write(self, file: TextIO, record: Record) -> None:
        writer = csv.DictWriter(file, list(record))
        file.seek(0)
        header = file.readline()
        columns = next(csv.reader([header]), [])
        if not header:
            writer.writeheader()
        elif columns != list(record):
            raise InputError(
                f"{self.path} has the columns {', '.join(columns)}, and this run {', '.join(record)}; "
                "append to a file of the same columns, or name a new one"
            )
        file.seek(0, os.SEEK_END)
        writer.writerow(record)


class JSONLogger(Log):
    """Writes a JSON object an epoch to a line of its own (https://jsonlines.org), as soon as there is one.

    What is no finite number becomes ``null``, since JSON has no other word for it (RFC 8259).

    Parameters
    ----------
    path, append
        See `Log`.

    Raises
    ------
    InputError
        See `Log`.
    """

    def _write(self, file: TextIO, record: Record) -> None:
        file.write(as_json(record) + "\n")
