"""Columns of text: the categories in them, and one feature for each."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.data import cells, dates
from mlpgpu.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["categories_of", "doubt", "name_of_gaps", "one_hot", "unlike"]

# More would be names or numbers of rows rather than categories, and each is a column of x.
MOST_CATEGORIES = 1000
# As many or fewer are not said to be many for the rows that there are.
FEW_CATEGORIES = 20
LEAVE_OUT = "leave it out with --drop, or group its values"
# What people write about a number: a sign of money before it, a unit after it, something between its thousands.
_AROUND = r"^[^\w.+-]+|(?<=\d)\s*[^\d\s]{1,4}$|(?<=\d)[\s,'\u2019_](?=\d)"


def categories_of(column: "pd.Series", whole: "pd.Series", decimal: str) -> list[str]:
    """The categories in a column of training rows, sorted; `whole` and `decimal` as in `doubt`.

    Raises
    ------
    InputError
        Where they are more than 1,000.
    """
    # The categories that a type declares may be absent from these rows, and would be constant features.
    categories = sorted({str(value) for value in column.dropna().unique()})
    if len(categories) > MOST_CATEGORIES:
        raise InputError(
            f"column {column.name!r} is text with {len(categories):,} distinct values; "
            f"allowed: at most {MOST_CATEGORIES:,}; {_meant_otherwise(whole, decimal) or LEAVE_OUT}"
        )
    return categories


def name_of_gaps(categories: list[str]) -> str:
    """What the category of missing text is called: ``missing``, or with brackets where that is one already."""
    name = "missing"
    while name in categories:
        name = f"({name})"
    return name


def doubt(column: "pd.Series", categories: list[str], whole: "pd.Series", decimal: str) -> str:
    """Why a column is hardly meant as these categories, and what to do; empty where it may well be.

    Parameters
    ----------
    column : Series
        Of the training rows.
    categories : list of str
    whole : Series
        The column in all rows of the table: what makes text of it may lie in any of them.
    decimal : str
        What is before decimals where the column comes from, in words.
    """
    n_rows = int(column.count())
    meant_otherwise = _meant_otherwise(whole, decimal)
    if not meant_otherwise and len(categories) > FEW_CATEGORIES and 2 * len(categories) > n_rows:
        return f"there are {n_rows:,} rows, too few to learn from each; {LEAVE_OUT}"
    return meant_otherwise


def unlike(column: "pd.Series", kind: str) -> str:
    """A cell of a text column that is no value of a ``number`` or ``bool`` column, and its row."""
    import pandas as pd

    present = column.dropna().map(str)
    if kind == "bool":
        fits = present.str.lower().isin({"true", "false"})
    else:
        fits = pd.to_numeric(present.astype(object), errors="coerce").notna()
    return cells.first(present if fits.all() else present[~fits])


def _meant_otherwise(column: "pd.Series", decimal: str) -> str:
    return _meant_as_numbers(column, decimal) or dates.doubt(column)


def _meant_as_numbers(column: "pd.Series", decimal: str) -> str:
    """Which part of some text is numbers, and what would make it so; empty where that is not most of it, or all.

    A mark such as ``?`` for a missing number, or a ``%`` after each, makes text of a whole column.
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
    # Rounded down: all of them are 100%.
    share = 100 * int(numbers.sum()) // len(text)
    return f"{share}% of them are numbers{but}; to have one feature, {' and '.join(written + others)}"


def one_hot(column: "pd.Series", record: dict[str, Any]) -> np.ndarray:
    """A feature for each category of a record: 1 where a row has it; all 0 for one that training had not."""
    import pandas as pd

    places = {category: place for place, category in enumerate(record["categories"])}

    def spelled(value: Any) -> str:
        # Among gaps, pandas makes 1.0 of a code that is 1.
        is_code = isinstance(value, float) and value.is_integer() and str(value) not in places
        return str(int(value)) if is_code else str(value)

    # Objects that pandas takes for equal may be written otherwise, as 1 and True.
    spelt = column.map(spelled, na_action="ignore") if column.dtype == object else column
    numbers, distinct = pd.factorize(spelt)
    # Gaps have the number -1, which is the last here. Without a fill nothing is missing: that was refused.
    codes = np.array([places.get(text, -1) for text in (*map(spelled, distinct), record["fill"])])[numbers]
    return (codes[:, None] == np.arange(len(places))).view(np.uint8)
