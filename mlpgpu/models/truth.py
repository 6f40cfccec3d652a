"""Encode the targets of a file for a model: as indices of classes, 0 or 1 for labels, or numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.errors import InputError, listed
from mlpgpu.figures import counted
from mlpgpu.maths.losses import LOSSES

if TYPE_CHECKING:
    from mlpgpu.models.model import Model


def codes(model: Model, y: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
    """Return the index of each row's label in the classes of `model`.

    Parameters
    ----------
    model : Model
        Classifier with one label per row.
    y : array of shape (n_rows,) or (n_rows, 1)
        Labels, possibly as text.

    Returns
    -------
    codes : int array of shape (n_rows,)
        Labels that are not among the classes have indices after those of the classes.
    unknown : dict of str to int
        The labels that are not among the classes, and the number of rows with each.

    Raises
    ------
    InputError
        If `y` has several columns, a value is missing, or no row has a label among the classes.
    """
    if y.size != len(y):
        raise InputError(
            f"the targets have shape {y.shape}; the model tells classes apart: give one label for each row"
        )
    if y.dtype.kind == "f":
        _refuse_missing(y)
    labels = y.reshape(-1).tolist()
    found = _places(model.classes, labels)
    unknown = Counter(str(label) for label, code in zip(labels, found, strict=True) if code is None)
    if None not in found:
        return np.array(found), {}
    if unknown.total() == len(labels):
        raise InputError(
            f"row 1 has the label {labels[0]!r}, which is no class of the model, nor is that of any other row; its "
            f"classes are {_named(model.classes)}"
        )
    others = {label: code for code, label in enumerate(unknown, len(model.classes))}
    known = [others[str(label)] if code is None else code for label, code in zip(labels, found, strict=True)]
    return np.array(known), dict(unknown)


def flags(model: Model, y: np.ndarray) -> np.ndarray:
    """Return the labels of each row as 0 or 1.

    Parameters
    ----------
    model : Model
        Classifier with several labels per row.
    y : array of shape (n_rows, n_labels)
        For each label one of its two values, possibly as text.

    Returns
    -------
    float64 array of shape (n_rows, n_labels)

    Raises
    ------
    InputError
        If `y` has a different number of columns, or a value is not one of the two.
    """
    expected = len(model.alternatives)
    if y.reshape(len(y), -1).shape[1] != expected:
        raise InputError(
            f"the targets have shape {y.shape}; the model predicts {expected} labels ({listed(model.target_names)}): "
            "give a column for each, for each row"
        )
    columns = []
    for name, values, column in zip(model.target_names, model.alternatives, y.T.tolist(), strict=True):
        columns.append(_places(values, column))
        if None in columns[-1]:
            row = columns[-1].index(None)
            raise InputError(
                f"row {row + 1:,} has the label {column[row]!r} for {name!r}, which is no class of the model; its "
                f"classes are {_named(values)}"
            )
    return np.array(columns, np.float64).T


def numbers(model: Model, y: np.ndarray) -> np.ndarray:
    """Return the targets as float64 of shape (n_rows, n_outputs).

    Raises
    ------
    InputError
        If they are not numeric, not finite, too low for the loss, or have a different number of columns.
    """
    expected = model.sizes[-1]
    if y.dtype.kind not in "biuf" or y.reshape(len(y), -1).shape[1] != expected:
        text = [value for value in y.ravel().tolist() if isinstance(value, str)] if y.dtype.kind == "O" else []
        what = f"are text, such as {text[0]!r}" if text else f"have type {y.dtype} and shape {y.shape}"
        raise InputError(
            f"the targets {what}; the model predicts {counted(expected, 'number')} for each row "
            f"({listed(model.target_names)}); give as many numbers"
        )
    found = y.reshape(len(y), -1).astype(np.float64)
    _refuse_missing(found)
    if found.min(initial=np.inf) < (lowest := LOSSES[model.loss].lowest):
        raise InputError(
            f"the targets go down to {found.min():g}, and the model's loss {model.loss!r} takes those from {lowest:g} "
            "up; leave out rows with lower ones"
        )
    return found


def _places(values: Sequence[Any], labels: Sequence[Any]) -> list[int | None]:
    """Return the index of each label among the values, compared as it is or else as text; None where absent."""
    known = {value: code for code, value in enumerate(values)}
    as_text = {str(value): code for value, code in known.items()}
    return [known.get(label, as_text.get(str(label))) for label in labels]


def _named(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values[:20])) + (", ..." if len(values) > 20 else "")


def _refuse_missing(y: np.ndarray) -> None:
    if n_bad := int(np.count_nonzero(~np.isfinite(y))):
        raise InputError(f"the targets have {counted(n_bad, 'missing or infinite value')}; remove those rows")
