"""What is to be said of rows while they are read: new categories, missing values filled, the dialect of the file."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.data.dialect import Dialect
from mlpgpu.figures import counted, in_digits

if TYPE_CHECKING:
    import pandas as pd

# Maximum number of columns that a note names.
MAX_NAMES = 5


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
        return [*dialects, *self.new(), *self._filled()]

    def _filled(self) -> list[str]:
        """Return one note of the filled values and of what they are filled with; none if no value is missing."""
        gaps = [(count, record) for count, record in self._gaps.values() if count]
        if not gaps:
            return []
        shown = [f"{count:,} of {record['name']!r} with {_in_words(record)}" for count, record in gaps[:MAX_NAMES]]
        more = f", and those of {counted(len(gaps) - MAX_NAMES, 'column')} more" if len(gaps) > MAX_NAMES else ""
        total = counted(sum(count for count, _ in gaps), "missing value")
        return [f"{total} filled: {', '.join(shown)}{more}"]


def _in_words(record: dict[str, Any]) -> str:
    fill = record["fill"]
    if record["kind"] == "category":
        return f"the category {fill!r}"
    if record["kind"] == "date":
        return str(np.datetime64(math.floor(fill), "D"))
    if record["kind"] == "bool":
        return "true" if fill else "false"
    # The number may be a year, which has no comma.
    return in_digits(fill) if abs(fill) >= 10_000 else f"{fill:.4g}"
