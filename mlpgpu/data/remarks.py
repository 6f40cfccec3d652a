"""What is to be said of rows while they are read: new categories, missing values filled, the dialect of the file."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.data import missing
from mlpgpu.data.dialect import Dialect
from mlpgpu.figures import counted

if TYPE_CHECKING:
    import pandas as pd


class Remarks:
    """Remarks on the rows of a file, over all its chunks.

    Parameters
    ----------
    by_model : bool
        Whether the rows are encoded for a trained model; otherwise the training rows are among them.

    Attributes
    ----------
    n_rows : int
        Number of all rows.
    written : list of Dialect
        The dialect of the file, if it is text.
    """

    def __init__(self, by_model: bool = True) -> None:
        self.by_model, self.n_rows = by_model, 0
        self.written: list[Dialect] = []
        self._new: dict[str, tuple[int, str]] = {}
        self._gaps: dict[str, tuple[int, dict[str, Any]]] = {}

    def add_new(self, column: "pd.Series", is_new: np.ndarray) -> None:
        """Count the rows of a chunk in which a column has a category that was not in the training rows."""
        if is_new.any():
            name = str(column.name)
            count, example = self._new.get(name, (0, str(column[is_new].iloc[0])))
            self._new[name] = count + int(np.count_nonzero(is_new)), example

    def add_filled(self, counts: Iterable[tuple[int, dict[str, Any]]]) -> None:
        """Count the missing values of a chunk that are filled, with the records of their columns."""
        for count, record in counts:
            self._gaps[record["name"]] = self._gaps.get(record["name"], (0, record))[0] + count, record

    def new(self) -> list[str]:
        """Return a note for each column with new categories."""
        new = "new to the model" if self.by_model else "that no training row has"
        return [
            f"column {name!r}: {counted(count, 'row')} of {self.n_rows:,} with a value {new}, such as {example!r}"
            for name, (count, example) in self._new.items()
        ]

    def notes(self) -> list[str]:
        """Return all notes."""
        dialects = (note for dialect in self.written for note in dialect.notes())
        return [*dialects, *self.new(), *missing.noted(self._gaps.values())]
