"""Encoding of table columns as features, fitted on the training rows and stored as JSON.

A record describes one column by its ``name``; its ``kind``, one of ``number``, ``bool``, ``category`` and ``date``;
``fill``, the value imputed for missing ones, or None if missing values are refused; and, for a category, its
``categories`` as text, of which ``fill`` is one. A column of numbers or truth values becomes one feature, and a column
of categories is one-hot encoded. `mlpgpu.data.dates` describes the records and features of dates.
"""

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.data import dates, missing, text
from mlpgpu.data.header import if_values
from mlpgpu.data.remarks import Remarks
from mlpgpu.errors import InputError, first_of, listed

if TYPE_CHECKING:
    import pandas as pd

Record = dict[str, Any]

# Types that pandas infers for numbers stored as Python objects: decimals, integers of more than 64 bits, mixed columns.
OBJECTS = ("decimal", "integer", "floating", "mixed-integer-float")


def fit(
    frame: "pd.DataFrame", impute: str, decimal: str = "decimal point", rows: np.ndarray | None = None
) -> tuple[list[Record], list[str]]:
    """Fit the encoding of a table's columns on its training rows.

    Parameters
    ----------
    frame : DataFrame
        A table without the target. The index numbers the rows of the file from 0, here and in `encode`.
    impute : str
        ``none``, ``mean`` or ``median``: what fills missing numbers and dates. Missing truth values are filled with
        the most frequent one. Missing text is a category of its own if the training rows have missing text, and
        otherwise the most frequent category.
    decimal : str
        The decimal mark of the table, in words.
    rows : int array, optional
        Indices of the training rows; all rows by default.

    Returns
    -------
    records : list of dict
        One per column that has values, serialisable as JSON.
    notes : list of str
        One-line notes for the user.

    Raises
    ------
    InputError
        If a column holds values other than numbers, truth values, dates and text, or dates that cannot be read, or too
        many categories; the message names all such columns. Also if no column has values.
    """
    records, notes = [], []
    refused: dict[str, InputError] = {}
    for name in frame.columns:
        column = frame[name] if rows is None else frame[name].iloc[rows]
        if not column.count():
            notes.append(f"column {name!r} has no values in the training rows, and is left out")
            continue
        try:
            record, note = _fit_column(column, frame[name], impute, decimal)
        except InputError as error:
            refused[str(name)] = error
            continue
        records.append(record)
        notes += note
    if refused:
        why, *others = map(str, refused.values())
        names = [*refused]
        also = f"; nor can {listed(names[1:])} be used: --drop {shlex.quote(','.join(names))} leaves out all of these"
        raise InputError(why + also if others else why)
    if not records:
        raise InputError(f"no column has values in the training rows: {listed(list(frame.columns))}; fill some")
    return records, notes


def _fit_column(column: "pd.Series", whole: "pd.Series", impute: str, decimal: str) -> tuple[Record, list[str]]:
    """Return the record of a column of training rows, and notes on it; `whole` is the column in all rows."""
    record: Record = {"name": str(column.name), "kind": _kind(column), "fill": None}
    notes = []
    if record["kind"] in {"category", "date"}:
        record |= dates.learn(column)
    if record["kind"] == "date" and record["first"] != "year":
        notes.append(f"column {column.name!r} holds dates with the {record['first']} first")
    if record["kind"] == "category":
        record["categories"], doubt = text.categories_of(column, whole, decimal)
        if doubt:
            n = len(record["categories"])
            notes.append(f"column {column.name!r} is text, one feature for each of its {n} values, though {doubt}")
    if impute != "none":
        record["fill"] = _fill(column, record, impute)
    return record, notes


def numbers(names: Iterable[str]) -> list[Record]:
    """Return records of numeric columns that become features unchanged, and in which missing values are refused."""
    return [{"name": name, "kind": "number", "fill": None} for name in names]


def encode(frame: "pd.DataFrame", columns: list[Record], remarks: Remarks | None = None) -> np.ndarray:
    """Encode the rows of a table as features.

    Parameters
    ----------
    frame : DataFrame
        A table with at least the recorded columns, in any order.
    columns : list of dict
        The records from `fit`, or loaded from JSON.
    remarks : Remarks, optional
        Counts the rows, those with categories that were not in the training rows, and the missing values.

    Returns
    -------
    ndarray of shape (n_rows, n_features)
        C-contiguous, in the smallest common dtype of the columns. A category that was not in the training rows is 0 in
        all features of its column.

    Raises
    ------
    InputError
        If a column is absent or duplicated, holds values of another kind, or has infinite values or missing ones that
        its record does not fill.
    """
    if absent := [record["name"] for record in columns if record["name"] not in frame.columns]:
        raise InputError(
            f"the table has no column {listed(absent)}, which the model takes; it has {listed(list(frame.columns))}; "
            f"add what is missing, under the names of training{if_values(list(frame.columns))}"
        )
    doubled = set(frame.columns[frame.columns.duplicated()])
    if twice := [record["name"] for record in columns if record["name"] in doubled]:
        raise InputError(f"the table has more than one column {listed(twice)}; give each column its own name")
    remarks = remarks or Remarks(by_model=False)
    gaps = [(int(np.count_nonzero(frame[record["name"]].isna())), record) for record in columns]
    _refuse_missing(frame, gaps, missing.instead(remarks.by_model))
    remarks.add_filled(gaps)
    parts: dict[str, np.ndarray] = {}
    for record in columns:
        name: str = record["name"]
        features = {"category": text.one_hot, "date": dates.features}.get(record["kind"], _numbers)
        parts[name] = features(frame[name], record)
        if record["kind"] == "category":
            remarks.add_new(frame[name], parts[name].sum(axis=1) == 0)
    infinite = [name for name, part in parts.items() if part.dtype.kind == "f" and not np.isfinite(part).all()]
    if infinite:
        raise InputError(f"infinite values in column {listed(infinite)}; allowed: finite numbers; remove those rows")
    x = np.empty((len(frame), len(feature_names(columns))), np.result_type(np.uint8, *parts.values()))
    remarks.n_rows += len(frame)
    at = 0
    for part in parts.values():
        width = 1 if part.ndim == 1 else part.shape[1]
        x[:, at : at + width] = part.reshape(len(frame), width)
        at += width
    return x


def feature_names(columns: list[Record]) -> tuple[str, ...]:
    """Return feature names: ``column=category`` for a category, ``column (month)`` and so on for parts of a date."""
    names: list[str] = []
    for record in columns:
        if record["kind"] == "category":
            names += (f"{record['name']}={category}" for category in record["categories"])
        elif record["kind"] == "date":
            names += dates.names(record)
        else:
            names.append(record["name"])
    return tuple(names)


def floats(column: "pd.Series") -> np.ndarray:
    """Convert numbers stored as Python objects to float64; missing ones become NaN.

    Raises
    ------
    InputError
        If a number is too large for float64.
    """
    try:
        return column.to_numpy(np.float64, na_value=np.nan)
    except OverflowError:
        raise InputError(
            f"column {column.name!r} holds a number that is too large; allowed: up to 1e308; remove those rows"
        ) from None


def _kind(column: "pd.Series") -> str:
    import pandas as pd

    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return "category"
    if pd.api.types.is_bool_dtype(dtype):
        return "bool"
    if pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype):
        return "number"
    inferred = pd.api.types.infer_dtype(column, skipna=True)
    # A column of rows to predict for may be empty, though it had values in training.
    kinds = {"string": "category", "boolean": "bool", "empty": "number"} | dict.fromkeys(OBJECTS, "number")
    kinds |= dict.fromkeys(dates.TYPES, "date")
    if inferred not in kinds:
        raise InputError(
            f"column {column.name!r} holds values of type {inferred} ({dtype}); "
            "allowed: numbers, truth values, dates, text; convert it, or leave it out with --drop"
        )
    return kinds[inferred]


def _fill(column: "pd.Series", record: Record, impute: str) -> Any:
    present = column.dropna()
    if record["kind"] == "category":
        categories = record["categories"]
        if len(present) == len(column):
            return str(present.map(str).mode()[0])
        categories.append(text.name_of_gaps(categories))
        return categories[-1]
    numbers = (dates.days if record["kind"] == "date" else _numbers)(present, record).astype(np.float64)
    if record["kind"] == "bool":
        return float(numbers.mean() > 0.5)
    # Infinite values are refused when the column is encoded.
    with np.errstate(invalid="ignore"):
        return float(np.mean(numbers) if impute == "mean" else np.median(numbers))


def _refuse_missing(frame: "pd.DataFrame", gaps: list[tuple[int, Record]], cure: str) -> None:
    counts: dict[str, int] = {record["name"]: count for count, record in gaps if count and record["fill"] is None}
    if counts:
        first = int(frame.index[frame[[*counts]].isna().any(axis=1)].min()) + 1
        shown = [f"{name!r} ({count:,})" for name, count in counts.items()]
        raise InputError(f"missing values in column {first_of(shown, 10)}, the first in row {first:,}; {cure}")


def _numbers(column: "pd.Series", record: Record) -> np.ndarray:
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        # Its categories may be numbers or truth values.
        column = column.astype(object)
    kind = _kind(column)
    if kind in {"category", "date"}:
        held = "text" if kind == "category" else "dates"
        allowed = "truth values" if record["kind"] == "bool" else "numbers"
        raise InputError(
            f"column {column.name!r} holds {held}, such as {text.unlike(column, record['kind'])}; "
            f"allowed: {allowed}, as in training; convert it"
        )
    if kind == "bool":
        column = column.astype("boolean").astype("UInt8")
    if isinstance(column.dtype, pd.SparseDtype):
        column = column.astype(column.dtype.subtype)
    dtype: Any = getattr(column.dtype, "numpy_dtype", column.dtype)
    if dtype.kind not in "iuf":
        # Python objects, or missing values only.
        column = pd.Series(floats(column))
        dtype = column.dtype
    if not column.isna().any():
        return column.to_numpy(dtype)
    floating = dtype if dtype.kind == "f" else np.dtype(np.float64)
    filled = column.to_numpy(floating, na_value=np.nan)
    return np.where(np.isnan(filled), floating.type(record["fill"]), filled)
