"""What to do about rows, targets and weights that are refused, added to the words of scikit-learn and NumPy."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from sklearn.utils._missing import is_pandas_na

from mlpgpu.errors import listed
from mlpgpu.models.inputs import are_na
from mlpgpu.training.feed import is_sparse


@contextlib.contextmanager
def advised(advice: Callable[..., str], *given: Any) -> Iterator[None]:
    """While active, add ``advice(*given)`` to an error; its type and its own words stay, which programs look for."""
    try:
        yield
    except (TypeError, ValueError) as error:
        more = ""
        # Anything may have been given, and what fails here must not take the place of the error.
        with contextlib.suppress(Exception):
            more = advice(*given)
        if more:
            said = str(error).rstrip()
            error.args = (f"{said}{'' if said.endswith(('.', '!')) else '.'} {more}",)
        raise


def on_fit(x: Any, y: Any) -> str:
    """Advise on rows and targets."""
    return " ".join(filter(None, [on_rows(x), on_targets(y)]))


def on_rows(x: Any) -> str:
    """Advise on rows that are no array, have more than two dimensions, differ in length, or hold text or dates."""
    kind = type(x).__name__
    if not _is_array(x):
        how = ""
        if isinstance(x, str | os.PathLike):
            how = "; read the file first, such as by pandas.read_csv"
        elif isinstance(x, Mapping):
            how = "; make it one by pandas.DataFrame(X)"
        elif hasattr(x, "collect"):
            how = "; make it a data frame by X.collect()"
        elif hasattr(x, "__iter__") or hasattr(x, "__getitem__"):
            how = (
                "; collect rows by np.array(list(X)), and pairs of a row and a target by X, y = map(np.stack, "
                "zip(*pairs)); give batches to partial_fit, one at a time"
            )
        return (
            f"X is of type {kind}; allowed: an array, a data frame or a sparse matrix of shape (n_rows, n_features), "
            f"or a list of rows{how}."
        )
    if getattr(getattr(x, "dtype", None), "names", None):
        return f"X is a {kind} of records with fields; make it a data frame by pandas.DataFrame(X)."
    if hasattr(x, "columns") and not len(x.columns):
        return f"X is a {kind} without columns; allowed: at least one."
    try:
        n_dimensions = np.ndim(x)
    except ValueError:
        return f"X is a {kind} of {len(x)} items of different shapes; give rows of equally many numbers."
    if n_dimensions > 2:
        flat = "X.reshape(len(X), -1)" if hasattr(x, "reshape") else "np.reshape(X, (len(X), -1))"
        return f"Give each sample as one row: {flat}."
    if n_dimensions < 2 and not _are_numbers(x):
        return (
            f"X is a {kind} of text; allowed: numbers of shape (n_rows, n_features), such as from "
            "sklearn.feature_extraction.text.TfidfVectorizer."
        )
    columns = [] if is_sparse(x) or n_dimensions < 2 else _columns(x)
    if others := [name for name, column in columns if not _are_numbers(column)]:
        return (
            f"X has text or dates in its columns {listed(others)}; encode them as numbers, such as by "
            "sklearn.preprocessing.OneHotEncoder, or leave them out."
        )
    if lacking := [name for name, column in columns if len(_present(column)) < len(column)]:
        return f"X has pandas.NA in its columns {listed(lacking)}; fill in these values, or leave out their rows."
    return ""


def on_targets(y: Any) -> str:
    """Advise on targets that are no array, or that lack values."""
    if y is None or is_sparse(y):
        return ""
    return on_missing(y) if _is_array(y) else f"y is of type {type(y).__name__}; allowed: an array or list of targets."


def on_missing(y: Any) -> str:
    """Advise on targets of which some are missing: None, NaN, or what pandas has for them."""
    rows = np.asarray(y, object).reshape(len(y), -1)
    gone = [i for i, row in enumerate(rows) if any(v is None or is_pandas_na(v) or v != v for v in row)]
    if not gone:
        return ""
    first = rows[gone[0]]
    return (
        f"y is missing in {len(gone):,} of {len(rows):,} rows: y[{gone[0]}] is "
        f"{first[0] if len(first) == 1 else first.tolist()}; fill in the targets, or leave these rows out of X and y."
    )


def on_labels(y: Any) -> str:
    """Advise on labels that are missing, or of several types."""
    labels = np.asarray(y)
    if labels.dtype != object:
        return ""
    kinds = " and ".join(sorted({type(label).__name__ for label in labels.ravel()}))
    return on_missing(labels) or f"y has values of type {kinds}; give y.astype(str), or whole numbers by y.astype(int)."


def on_weights(weights: Any) -> str:
    """Advise on weights that are no numbers."""
    numbers = np.asarray(weights).dtype.kind in "biuf"
    return "" if numbers else "sample_weight is one number for each row; those of classes are class_weight."


def _is_array(given: Any) -> bool:
    return isinstance(given, list | tuple | range) or hasattr(given, "shape") or hasattr(given, "__array__")


def _columns(x: Any) -> list[tuple[Any, Any]]:
    return [(name, x[name]) for name in x.columns] if hasattr(x, "columns") else list(enumerate(np.asarray(x).T))


def _present(column: Any) -> np.ndarray:
    """Return the values but `pandas.NA`."""
    values = np.asarray(column)
    return values if values.dtype != object else values[~are_na(values)]


def _are_numbers(column: Any) -> bool:
    values = _present(column)
    try:
        values.astype(float)
    except (TypeError, ValueError):
        return False
    return values.dtype.kind not in "mM"
