"""Columns that number the rows of a file: if the rows are sorted by target, they leak it, and do not generalise."""

import shlex
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

# The name that pandas gives to a first column without one, such as the index that `DataFrame.to_csv` writes.
_INDEX = "Unnamed: 0"


def without(frame: "pd.DataFrame") -> tuple["pd.DataFrame", list[str]]:
    """Drop an index column that pandas wrote, and note other columns that number the rows.

    Parameters
    ----------
    frame : DataFrame
        All rows, in the order of the file. An index that is the only column is kept.

    Returns
    -------
    frame : DataFrame
    notes : list of str
    """
    notes, names = [], [name for name in frame.columns if _numbers_rows(frame[name])]
    if _INDEX in names and len(frame.columns) > 1:
        frame = frame.drop(columns=_INDEX)
        names.remove(_INDEX)
        notes.append(f"column {_INDEX!r}, the numbers of the rows, is left out")
    for name in names:
        notes.append(
            f"column {name!r} numbers the rows of the file; where that tells nothing of a new row, leave it out with "
            f"--drop {shlex.quote(name)}"
        )
    return frame, notes


def _numbers_rows(column: "pd.Series") -> bool:
    """Return whether a column counts the rows from 0 or 1."""
    import pandas as pd

    if not pd.api.types.is_integer_dtype(column.dtype) or column.isna().any() or column.iloc[0] not in (0, 1):
        return False
    return np.array_equal(column.to_numpy(np.int64), np.arange(len(column)) + int(column.iloc[0]))
