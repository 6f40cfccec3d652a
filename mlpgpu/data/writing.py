"""Write predictions to a file, or to standard output as CSV, chunk by chunk."""

import csv
import io
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from mlpgpu.errors import InputError
from mlpgpu.files import check_out, ending, replacing

FORMATS = (".csv", ".parquet", ".npy")


def check(path: Path, *read: Path) -> None:
    """Refuse a path that `write` cannot write, or that is one of the files to `read`.

    Raises
    ------
    InputError
        If the extension is unknown, the folder does not exist, or `path` is one of `read`.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"out is {path}, which {ending(path)}; allowed: {', '.join(FORMATS)}")
    check_out(path, *read)


def write(path: Path | None, names: Sequence[str], chunks: Iterable[np.ndarray]) -> None:
    """Write rows to a file, completely or not at all, or to standard output chunk by chunk. Text is UTF-8.

    Parameters
    ----------
    path : Path or None
        A .csv, .parquet or .npy file; None for standard output.
    names : sequence of str
        Names of the columns.
    chunks : iterable of array of shape (n_rows,) or (n_rows, n_columns)

    Raises
    ------
    InputError
        If pyarrow is needed and not installed.
    """
    if path is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # UTF-8 as in a file: the encoding of the locale may lack characters of names and labels.
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
            # Only once there are rows: reading the first chunk may raise an error.
            writer.writerow(names)
        # As str does: the shortest text that parses to the same number in its own precision.
        writer.writerows(chunk.reshape(len(chunk), -1))


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
