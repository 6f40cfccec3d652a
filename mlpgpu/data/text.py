"""Columns of text: their categories, and one-hot encoding."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.data import cells, dates
from mlpgpu.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

# Each category is a column of x, and text with more distinct values is likely names or IDs of rows.
MAX_CATEGORIES = 1000
# With more categories than this, a note warns if they are too many for the number of rows.
FEW_CATEGORIES = 20
LEAVE_OUT = "leave it out with --drop, or group its values"
# What people add to a number: a currency sign before it, a unit after it, thousands separators.
_AROUND = r"^[^\w.+-]+|(?<=\d)\s*[^\d\s]{1,4}$|(?<=\d)[\s,'\u2019_](?=\d)"


def categories_of(column: "pd.Series", whole: "pd.Series", decimal: str) -> tuple[list[str], str]:
    """Return the categories of a column, and any doubt that they are meant as such.

    Parameters
    ----------
    column : Series
        The column in the training rows.
    whole : Series
        The column in all rows of the table: the cell that makes pandas read it as text may be in any of them.
    decimal : str
        The decimal mark of the table, in words.

    Returns
    -------
    categories : list of str
        Sorted.
    doubt : str
        Why the column is probably not meant as these categories, and what to do; empty if it may be.

    Raises
    ------
    InputError
        If there are more than 1,000.
    """
    # Categories that the dtype declares but these rows do not have would be constant features.
    categories = sorted({str(value) for value in column.dropna().unique()})
    doubt = _meant_as_numbers(whole, decimal) or dates.doubt(whole)
    if len(categories) > MAX_CATEGORIES:
        raise InputError(
            f"column {column.name!r} is text with {len(categories):,} distinct values; "
            f"allowed: at most {MAX_CATEGORIES:,}; {doubt or LEAVE_OUT}"
        )
    n_rows = int(column.count())
    if not doubt and len(categories) > FEW_CATEGORIES and 2 * len(categories) > n_rows:
        doubt = f"there are {n_rows:,} rows, too few to learn from each; {LEAVE_OUT}"
    return categories, doubt


def name_of_gaps(categories: list[str]) -> str:
    """Return the name of the category for missing text: ``missing``, in brackets if that is a category already."""
    name = "missing"
    while name in categories:
        name = f"({name})"
    return name


def unlike(column: "pd.Series", kind: str) -> str:
    """Describe the first cell of a text column that is not a valid ``number`` or ``bool``."""
    import pandas as pd

    present = column.dropna().map(str)
    if kind == "bool":
        fits = present.str.lower().isin({"true", "false"})
    else:
        fits = pd.to_numeric(present.astype(object), errors="coerce").notna()
    return cells.first(present if fits.all() else present[~fits])


def _meant_as_numbers(column: "pd.Series", decimal: str) -> str:
    """Say which share of a text column is numbers, and how to make all of it numbers.

    Empty if at most half of it is numbers, or all of it is. A single ``?`` for a missing number, or a ``%`` after each,
    makes pandas read a whole column as text.
    """
    import pandas as pd

    text = pd.Series(sorted({str(value) for value in column.dropna().unique()}), dtype=object)
    bare, numbers = (
        pd.to_numeric(values, errors="coerce").notna() for values in (text, text.str.replace(_AROUND, "", regex=True))
    )
    if bare.all() or 2 * numbers.sum() <= len(text):
        return ""
    present, written, but, others = column.dropna().map(str), [], "", []
    if (numbers & ~bare).any():
        cell = cells.first(present[present.isin(set(text[numbers & ~bare]))])
        written = [f"write numbers such as {cell} with a {decimal} alone"]
    if not numbers.all():
        but = f", but {cells.first(present[present.isin(set(text[~numbers]))])} is not"
        others = ["leave such cells empty, with impute mean or median"]
    # Rounded down, so that only all of them are 100%.
    share = 100 * int(numbers.sum()) // len(text)
    return f"{share}% of them are numbers{but}; to have one feature, {' and '.join(written + others)}"


def one_hot(column: "pd.Series", record: dict[str, Any]) -> np.ndarray:
    """One-hot encode a column as uint8; a category that is not in the record gives a row of zeros."""
    import pandas as pd

    places = {category: place for place, category in enumerate(record["categories"])}

    def spelled(value: Any) -> str:
        # In a column with missing values, pandas reads the code 1 as 1.0.
        is_code = isinstance(value, float) and value.is_integer() and str(value) not in places
        return str(int(value)) if is_code else str(value)

    # Converted to text first, since objects that pandas takes for equal, such as 1 and True, may be spelt differently.
    spelt = column.map(spelled, na_action="ignore") if column.dtype == object else column
    numbers, distinct = pd.factorize(spelt)
    # Missing values have the code -1, which indexes the last entry, the fill. Without a fill they have been refused.
    codes = np.array([places.get(text, -1) for text in (*map(spelled, distinct), record["fill"])])[numbers]
    return (codes[:, None] == np.arange(len(places))).view(np.uint8)
