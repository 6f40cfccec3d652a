"""Rows given to a trained model in Python, as numbers: one column for each of its features."""

from __future__ import annotations

import math
import operator
import reprlib
import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.errors import InputError

if TYPE_CHECKING:
    from mlpgpu.models.model import Model

# Attribute warnings to the caller of `Model.predict` or `Model.predict_proba`.
_STACK_LEVEL = 4
_ARE_SAME = np.frompyfunc(operator.is_, 2, 1)


def features_of(model: Model, x: Any) -> np.ndarray:
    """Return rows as an unscaled array of shape (n_rows, n_features); those of a table are encoded.

    Raises
    ------
    InputError
        If they are not the features of the model.
    """
    if model.encoding is not None and hasattr(x, "columns"):
        from mlpgpu.data.columns import encode
        from mlpgpu.data.remarks import Remarks

        # Another library's data frame, such as Polars'. The index is reset because messages give row numbers.
        x = x.to_pandas() if hasattr(x, "to_pandas") else x
        remarks = Remarks()
        x = encode(x.reset_index(drop=True), model.encoding, remarks)
        for note in remarks.new():
            warnings.warn(note, stacklevel=_STACK_LEVEL)
    n_features = model.sizes[0]
    table = "" if model.columns is None else ", or a DataFrame with the columns of its table"
    allowed = f"the model takes numbers of shape (n_rows, {n_features}){table}"
    x = _numbers(unmasked(x), allowed)
    if x.ndim != 2 or x.shape[1] != n_features:
        # Images, one image, or one row.
        fits = n_features in (x.size, math.prod(x.shape[1:]))
        instead = f"; give np.reshape(x, (-1, {n_features}))" if fits else ""
        raise InputError(f"x has shape {x.shape}; {allowed}{instead}")
    if _seems_divided(model, x):
        warnings.warn(
            "no feature is above 1, as if divided by 255, which the model does itself; give bytes from 0 to 255",
            stacklevel=_STACK_LEVEL,
        )
    return x


def unmasked(array: Any) -> Any:
    """Return `array` if it has no masked values, whose content NumPy's functions would take for numbers like others.

    Raises
    ------
    InputError
        If it has.
    """
    # The mask of records has fields, and no sum. No one takes records.
    if np.ma.isMaskedArray(array) and array.dtype.names is None and array.mask.any():
        raise InputError(
            f"an array of shape {array.shape} has masked values; allowed: none are missing; fill them, or leave out "
            "their rows"
        )
    return array


def are_na(values: np.ndarray) -> np.ndarray:
    """Return where `pandas.NA` is among objects: of what stands for a missing value, only this has no float."""
    # Where pandas is not imported, there is none.
    na = getattr(sys.modules.get("pandas"), "NA", object())
    return np.asarray(_ARE_SAME(values, np.array(na, object)), bool)


def _numbers(x: Any, allowed: str) -> np.ndarray:
    """Return `x` as an array of real numbers; text, objects and dates are converted, as in a fit of the estimators."""
    try:
        found = np.asarray(x)
    except ValueError:
        raise InputError(f"x has items of different shapes; {allowed}") from None
    if found.dtype.kind in "biuf":
        return found
    if found.dtype == object:
        found = np.where(are_na(found), np.nan, found)
    # Of a complex number, NumPy would drop the imaginary part.
    if found.dtype.kind != "c":
        try:
            return found.astype(np.float64)
        except (TypeError, ValueError, OverflowError):
            pass
    of_values = f"has values of type {found.dtype.type.__name__.rstrip('_')}"
    if found.dtype == object:
        odd = next(filter(_has_no_float, found.flat), found.flat[0])
        of_values = f"has values that have no float, such as {reprlib.repr(odd)}"
    instead = "; give x.toarray()" if hasattr(x, "toarray") else ""
    raise InputError(f"x {of_values if found.ndim else f'is of type {type(x).__name__}'}; {allowed}{instead}")


def _has_no_float(value: Any) -> bool:
    try:
        # Unlike `float`, NumPy takes None for NaN.
        np.array(value, object).astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        return True
    return False


def _seems_divided(model: Model, x: np.ndarray) -> bool:
    """Whether a model of bytes, which divides them by 255, is given fractions or black and white."""
    takes_bytes = model.shift.shape == model.factor.shape == () and model.shift == 0 and model.factor == 1 / 255
    return bool(takes_bytes and x.size and 0 < x.max() <= 1)
