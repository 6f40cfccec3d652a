"""Categories that training had not, counted while the rows of a file are read, and how that is written."""

from typing import TYPE_CHECKING

import numpy as np

from mlpgpu.data.dialect import Dialect

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Unseen"]


class Unseen:
    """How many rows of which columns hold values that training had not, over all chunks of a file.

    Attributes
    ----------
    n_rows : int
        All rows.
    written : list of Dialect
        How the file is written, where it is text.
    """

    def __init__(self) -> None:
        self.n_rows = 0
        self.written: list[Dialect] = []
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, column: "pd.Series", is_unseen: np.ndarray) -> None:
        """Count the rows of a chunk in which a column holds such a value."""
        if is_unseen.any():
            name = str(column.name)
            count, example = self._found.get(name, (0, str(column[is_unseen].iloc[0])))
            self._found[name] = count + int(np.count_nonzero(is_unseen)), example

    def notes(self) -> list[str]:
        """Those on how the file is written, and one line for each column that has some."""
        columns = (
            f"column {name!r}: {count:,} of {self.n_rows:,} rows hold values new to the model, such as {example!r}"
            for name, (count, example) in self._found.items()
        )
        return [*(note for dialect in self.written for note in dialect.notes()), *columns]
