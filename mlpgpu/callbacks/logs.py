"""Callbacks that log the record of each epoch to a line of a file."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mlpgpu.callbacks.base import Callback
from mlpgpu.errors import InputError
from mlpgpu.figures import as_json
from mlpgpu.files import expanded, naming
from mlpgpu.settings.setting import Setting

if TYPE_CHECKING:
    from mlpgpu.training.run import Record, Run


class Log(Callback):
    """Base class of callbacks that write one line per epoch to a file, at the end of the epoch.

    In a resumed run, each line from before the checkpoint is there once: all of them are written again, or with
    `append` the file is truncated to its length at the checkpoint.

    Parameters
    ----------
    path : path
        Path of the file, in an existing folder.
    append : bool
        Whether to append to an existing file; otherwise it is replaced.

    Raises
    ------
    InputError
        If `append` is not allowed; and in a resumed run, if the file to append to is shorter than at the checkpoint.
    """

    def __init__(self, path: str | Path, *, append: bool = False) -> None:
        self.path = expanded(path)
        self.append = Setting(bool).checked("append", append)

    def on_begin(self, run: Run) -> None:
        """Create the file, with the records so far."""
        with self.path.open("ab+" if self.append else "wb") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                # A crash or an editor may have left the last line without its end.
                if file.read() != b"\n":
                    file.write(b"\n")
        if not self.append:
            for record in run.history:
                self.on_epoch_end(run, record)

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Write the line, and close the file, so that a crash of the program loses nothing."""
        with naming(self.path), self.path.open("a+", newline="", encoding="utf-8") as file:
            self._write(file, record)

    def state(self) -> dict[str, Any]:
        """Return the length of the file."""
        return {"bytes": self.path.stat().st_size}

    def restore(self, state: dict[str, Any]) -> None:
        """Cut off the lines from after the checkpoint."""
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
    """Writes one row per epoch to a CSV file, at the end of the epoch.

    Parameters
    ----------
    path, append
        See `Log`.

    Raises
    ------
    InputError
        See `Log`; also at the end of the first epoch, if the file to append to has other columns.
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
    """Writes one JSON object per epoch to a line of its own (https://jsonlines.org), at the end of the epoch.

    NaN and infinite numbers become ``null``, since JSON has none (RFC 8259).

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
