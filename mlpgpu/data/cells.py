"""Description of a table cell for messages."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def first(cells: "pd.Series") -> str:
    """Describe the cell in the earliest row of the file; shuffled training rows are not in the order of the file."""
    row = cells.index.min()
    return f"{str(cells[row])!r} in row {row + 1:,}"
