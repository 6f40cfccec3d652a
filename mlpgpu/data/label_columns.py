"""Multilabel targets: one column per label, whose two values say whether a row has the label."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlpgpu.errors import InputError

# The value for rows without a label, and that for rows with it.
Pair = tuple[Any, Any]
_KINDS = {bool: "truth values", str: "text"}


def kinds(y: np.ndarray) -> list[str]:
    """Return what each column holds: ``numbers``, ``truth values`` or ``text``."""
    return [_KINDS.get(type(value), "numbers") for value in y[0].tolist()]


def encode(y: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, tuple[Pair, ...]]:
    """Encode columns of two values each as 0 and 1.

    Parameters
    ----------
    y : array of shape (n_rows, n_labels)
        Each column holds numbers, truth values or text.
    names : sequence of str
        Names of the columns.

    Returns
    -------
    codes : float64 array of shape (n_rows, n_labels)
        0 for the first value of a column in sorted order, 1 for the second.
    values : tuple of tuple
        The two sorted values of each column, as Python str, int, bool or float.

    Raises
    ------
    InputError
        If a column does not have exactly two values, or has one that is not finite.
    """
    codes, values = np.empty(y.shape, np.float64), []
    for i, name in enumerate(names):
        distinct, codes[:, i] = np.unique(y[:, i], return_inverse=True)
        found = distinct[:3].tolist()
        if any(isinstance(value, float) and not math.isfinite(value) for value in found):
            raise InputError(f"the target, column {name!r}, has infinite values; remove those rows")
        if len(distinct) != 2:
            has = f"{len(distinct):,} distinct values, such as {found}" if len(distinct) > 1 else f"only {found}"
            raise InputError(
                f"the target, column {name!r}, has {has}; each of several labels has two values, such as 0 and 1, or "
                "no and yes; leave it out, or give it as the one target"
            )
        values.append((found[0], found[1]))
    return codes, tuple(values)
