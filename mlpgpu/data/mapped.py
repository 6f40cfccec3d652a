"""Rows that stay in their file, memory-mapped and read on demand."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# Bytes per block of adjacent rows that are read together: enough for a disk to read almost as fast as sequentially, and
# few enough that a window of blocks to shuffle is small in memory.
BLOCK = 2**18
# Rows read through one mapping. Its pages, up to 64 KiB around each row, count as memory of the process until the
# mapping is closed.
ROWS = 2048
# Bytes of rows that are read at once for batches.
AHEAD = 2**26
# Elements per piece: 8 MiB in float64.
PIECE = 2**20


@dataclass(frozen=True, eq=False)
class Mapped:
    """A two-dimensional array in a file, or some of its rows; indexing reads rows into memory.

    The mapping is closed after each read, so a process that iterates over a file only needs memory for the rows that it
    has read.

    Parameters
    ----------
    path : Path
    offset : int
        Bytes before the first row of the file.
    stored : dtype
        The dtype in the file, with its byte order.
    stored_shape : tuple of int
        Number of rows in the file, and of features.
    chosen : int64 array of shape (n_rows,) or None
        Ascending indices of the rows in the file; None for all rows.
    """

    path: Path
    offset: int
    stored: np.dtype
    stored_shape: tuple[int, int]
    chosen: np.ndarray | None = None
    ndim = 2

    @property
    def dtype(self) -> np.dtype:
        """The dtype of rows in memory: that of the file, in native byte order."""
        return self.stored.newbyteorder("=")

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows, and of features."""
        return len(self), self.stored_shape[1]

    def __len__(self) -> int:
        return self.stored_shape[0] if self.chosen is None else len(self.chosen)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return len(self) * self.row_bytes

    @property
    def row_bytes(self) -> int:
        """Bytes per row."""
        return self.stored_shape[1] * self.stored.itemsize

    @property
    def block(self) -> int:
        """Number of rows per block: those that are best read together."""
        return max(1, BLOCK // self.row_bytes)

    def rows(self, numbers: np.ndarray) -> Mapped:
        """Select rows without reading them.

        Parameters
        ----------
        numbers : int64 array of shape (n_rows,)
            Ascending indices, so that rows read together are adjacent in the file.
        """
        return dataclasses.replace(self, chosen=numbers if self.chosen is None else self.chosen[numbers])

    def __getitem__(self, key: Any) -> np.ndarray:
        """Read rows into memory.

        Parameters
        ----------
        key : slice or int array of any shape, alone or before an ellipsis

        Returns
        -------
        array of shape (n_rows, n_features) for a slice, or (*key.shape, n_features)
        """
        key = key[0] if isinstance(key, tuple) else key
        numbers = np.arange(*key.indices(len(self))) if isinstance(key, slice) else np.asarray(key)
        wanted = numbers.ravel()
        # In file order, so that each page is read once.
        ascending = np.argsort(wanted, kind="stable")
        wanted = wanted[ascending] if self.chosen is None else self.chosen[wanted[ascending]]
        read = np.empty((wanted.size, self.stored_shape[1]), self.dtype)
        for start in range(0, wanted.size, ROWS):
            part = slice(start, start + ROWS)
            file = np.memmap(self.path, self.stored, "r", self.offset, self.stored_shape)
            read[ascending[part]] = file[wanted[part]]
            del file
        return read.reshape(*numbers.shape, self.stored_shape[1])


class Batches:
    """Read batches of rows, many batches at a time, since they share pages of the file.

    Parameters
    ----------
    x : Mapped
    rows : int64 array of shape (n_batches, batch_size)
        Indices of the rows of each batch.
    """

    def __init__(self, x: Mapped, rows: np.ndarray) -> None:
        self.x, self.rows = x, rows
        self._start, self._read = 0, x[rows[:0]]

    def __call__(self, start: int, stop: int) -> np.ndarray:
        """Return consecutive batches, an array of shape (stop - start, batch_size, n_features)."""
        if not self._start <= start <= stop <= self._start + len(self._read):
            # Freed first, so that two buffers are never in memory at once.
            del self._read
            n_batches = max(stop - start, AHEAD // (self.rows.shape[1] * self.x.row_bytes))
            self._start, self._read = start, self.x[self.rows[start : start + n_batches]]
        return self._read[start - self._start : stop - self._start]


def take(x: Any, numbers: np.ndarray) -> Any:
    """Select rows of an array; those of a `Mapped` stay in their file."""
    return x.rows(numbers) if isinstance(x, Mapped) else x[numbers]


def pieces(x: np.ndarray | Mapped) -> Iterator[np.ndarray]:
    """Iterate over all rows in order, in pieces so small that temporaries made from one take little memory."""
    n_rows = max(1, PIECE // x.shape[1])
    return (x[start : start + n_rows] for start in range(0, len(x), n_rows))
