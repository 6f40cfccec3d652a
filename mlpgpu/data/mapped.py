"""Rows that stay in their file: memory-mapped, and read as they are asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Batches", "Mapped", "pieces", "take"]

# Bytes of a block: rows that lie together in the file and are read together. A disk reads so much nearly as fast as a
# file from end to end, and a window of blocks that a shuffle mixes is still small in memory.
BLOCK = 2**18
# Rows read through one mapping. Its pages count as memory of the process until it goes, up to 64 KiB around each row.
ROWS = 2048
# Bytes of rows that are read at once where batches of them are asked for.
AHEAD = 2**26
# Elements of a piece: 8 MiB in float64, whatever the size of the data.
PIECE = 2**20


@dataclass(frozen=True, eq=False)
class Mapped:
    """A two-dimensional array in a file, or some rows of it; an index reads those rows into memory.

    Nothing of the file is held between two reads, so the memory of a process that goes through a file is that of
    the rows it has asked for.

    Parameters
    ----------
    path : Path
    offset : int
        Bytes of the file before its first row.
    stored : dtype
        Of the file, in its byte order.
    stored_shape : tuple of int
        Rows of the file, and features a row.
    chosen : int64 array of shape (n_rows,) or None
        Numbers of the rows in the file, ascending; None for all.
    """

    path: Path
    offset: int
    stored: np.dtype
    stored_shape: tuple[int, int]
    chosen: np.ndarray | None = None
    ndim = 2

    @property
    def dtype(self) -> np.dtype:
        """Of the rows that are read: that of the file, in native byte order."""
        return self.stored.newbyteorder("=")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, and features a row."""
        return len(self), self.stored_shape[1]

    def __len__(self) -> int:
        return self.stored_shape[0] if self.chosen is None else len(self.chosen)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return len(self) * self.row_bytes

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.stored_shape[1] * self.stored.itemsize

    @property
    def block(self) -> int:
        """How many rows are worth being read together."""
        return max(1, BLOCK // self.row_bytes)

    def rows(self, numbers: np.ndarray) -> Mapped:
        """Some of the rows, not read.

        Parameters
        ----------
        numbers : int64 array of shape (n_rows,)
            Ascending, so that what is read together lies together.
        """
        return dataclasses.replace(self, chosen=numbers if self.chosen is None else self.chosen[numbers])

    def __getitem__(self, key: Any) -> np.ndarray:
        """Rows in memory.

        Parameters
        ----------
        key : slice or int array of any shape, alone or before an ellipsis

        Returns
        -------
        array of shape (n_rows, n_features), or that of the key and (n_features,)
        """
        key = key[0] if isinstance(key, tuple) else key
        numbers = np.arange(*key.indices(len(self))) if isinstance(key, slice) else np.asarray(key)
        wanted = numbers.ravel()
        # In the order of the file, each page is met once.
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
    """The batches of an order, many of them read at a time: they share pages of the file, which are then met once.

    Parameters
    ----------
    x : Mapped
    rows : int64 array of shape (n_batches, batch_size)
        Numbers of the rows of each.
    """

    def __init__(self, x: Mapped, rows: np.ndarray) -> None:
        self.x, self.rows = x, rows
        self._start, self._read = 0, x[rows[:0]]

    def __call__(self, start: int, stop: int) -> np.ndarray:
        """Consecutive batches, an array of shape (stop - start, batch_size, n_features)."""
        if not self._start <= start <= stop <= self._start + len(self._read):
            # Let go of first: two of them need not be in memory.
            del self._read
            n_batches = max(stop - start, AHEAD // (self.rows.shape[1] * self.x.row_bytes))
            self._start, self._read = start, self.x[self.rows[start : start + n_batches]]
        return self._read[start - self._start : stop - self._start]


def take(x: Any, numbers: np.ndarray) -> Any:
    """Rows of an array, or of one in a file, where they stay in it."""
    return x.rows(numbers) if isinstance(x, Mapped) else x[numbers]


def pieces(x: np.ndarray | Mapped) -> Iterator[np.ndarray]:
    """All rows in order, few enough at a time that what is made of them does not matter in memory."""
    n_rows = max(1, PIECE // x.shape[1])
    return (x[start : start + n_rows] for start in range(0, len(x), n_rows))
