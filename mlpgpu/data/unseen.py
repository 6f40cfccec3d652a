"""Count categories that were not in the training rows while a file is read, and keep the dialect of the file."""

from typing import TYPE_CHECKING

import numpy as np

from mlpgpu.data.dialect import Dialect
from mlpgpu.figures import counted

if TYPE_CHECKING:
    import pandas as pd


class Unseen:
    """Number of rows per column with categories that were not in the training rows, over all chunks of a file.

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
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, column: "pd.Series", is_unseen: np.ndarray) -> None:
        """Count the rows of a chunk in which a column has a new category."""
        if is_unseen.any():
            name = str(column.name)
            count, example = self._found.get(name, (0, str(column[is_unseen].iloc[0])))
            self._found[name] = count + int(np.count_nonzero(is_unseen)), example

    def notes(self) -> list[str]:
        """Return the notes on the dialect, and one line for each column with new categories."""
        new = "new to the model" if self.by_model else "that no training row has"
        columns = (
            f"column {name!r}: {counted(count, 'row')} of {self.n_rows:,} with a value {new}, such as {example!r}"
            for name, (count, example) in self._found.items()
        )
        return [*(note for dialect in self.written for note in dialect.notes()), *columns]
