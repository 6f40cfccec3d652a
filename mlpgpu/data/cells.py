"""A cell of a table as a message names it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["first"]


def first(cells: "pd.Series") -> str:
    """The cell that comes first in the file, and its row: of training rows, the order is another."""
    row = cells.index.min()
    return f"{str(cells[row])!r} in row {row + 1:,}"
