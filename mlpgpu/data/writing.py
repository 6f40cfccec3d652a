"""Predictions written to a file, or to standard output as CSV, as they come."""

import csv
import io
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from mlpgpu.errors import InputError
from mlpgpu.files import check_out, replacing

__all__ = ["FORMATS", "check", "write"]

FORMATS = (".csv", ".parquet", ".npy")


def check(path: Path, *read: Path) -> None:
    """Refuse what `write` could not write, and what is read for it.

    Raises
    ------
    InputError
        Where the ending is not known, the folder is not there, or `path` is one of `read`.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"out is {path}, which ends in {path.suffix!r}; allowed: {', '.join(FORMATS)}")
    check_out(path, *read)


def write(path: Path | None, names: Sequence[str], chunks: Iterable[np.ndarray]) -> None:
    """Write rows whole or not at all; to standard output as they come. Text is UTF-8.

    Parameters
    ----------
    path : Path or None
        A .csv, .parquet or .npy file; None for standard output.
    names : sequence of str
        Of the columns.
    chunks : iterable of array of shape (n_rows,) or (n_rows, n_columns)

    Raises
    ------
    InputError
        Where pyarrow is needed and not installed.
    """
    if path is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # As in a file: the encoding of a locale may lack a character, and names and labels are no messages.
            sys.stdout.reconfigure(encoding="utf-8", errors=sys.stdout.errors)
        _write_csv(sys.stdout, names, chunks)
        return
    with replacing(path) as unfinished:
        if path.suffix.lower() == ".csv":
            with unfinished.open("w", newline="", encoding="utf-8") as file:
                _write_csv(file, names, chunks)
        elif path.suffix.lower() == ".npy":
            np.save(unfinished, np.concatenate(list(chunks)), allow_pickle=False)
        else:
            _write_parquet(unfinished, names, chunks)


def _write_csv(file: IO[str], names: Sequence[str], chunks: Iterable[np.ndarray]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    for number, chunk in enumerate(chunks):
        if not number:
            # Not before there is something to write: what is wrong with the rows shows when they are read.
            writer.writerow(names)
        # The shortest text that reads as the same number, in the number's own precision.
        writer.writerows([[str(value) for value in row] for row in chunk.reshape(len(chunk), -1)])


def _write_parquet(path: Path, names: Sequence[str], chunks: Iterable[np.ndarray]) -> None:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise InputError(
            "writing .parquet needs pyarrow, which is not installed; pip install 'mlpgpu[tables]', or write .csv"
        ) from None
    writer = None
    try:
        for chunk in chunks:
            columns = chunk.reshape(len(chunk), -1).T
            table = pa.table({name: pa.array(column) for name, column in zip(names, columns, strict=True)})
            writer = writer or parquet.ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer:
            writer.close()
