"""Choose classification or regression for a target, and encode it."""

import re
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mlpgpu.data.label_columns import Pair, encode, kinds
from mlpgpu.errors import InputError
from mlpgpu.figures import counted

# Maximum number of distinct values with which a target of whole numbers is taken for classes.
MAX_CODES = 20
# A number with currency sign, thousands separators or unit, as people write it, but not a date.
_NUMBER = re.compile(r"(?!\d\d?\.\d\d?\.)\W{0,4}\d[\d.,'\u2019_\s]{0,40}[^\d\s]{0,4}")


class Target(NamedTuple):
    """A target, encoded for training.

    Attributes
    ----------
    task : str
        ``classification`` or ``regression``.
    y : ndarray
        For classification ``int64`` codes of shape (n_rows,). For regression ``float64`` of shape (n_rows, n_outputs);
        for multilabel classification the same with values 0 and 1.
    classes : tuple
        The sorted class of each code, in the type in which it was read; for multilabel classification the indices of
        the labels; empty for regression.
    note : str or None
        How the task was inferred, if it was.
    label_values : tuple of tuple
        For multilabel classification the two values of each label; otherwise empty.
    """

    task: str
    y: np.ndarray
    classes: tuple[Any, ...]
    note: str | None
    label_values: tuple[Pair, ...] = ()

    @property
    def labels(self) -> np.ndarray | None:
        """Labels to stratify by when rows are held out; None for regression."""
        return self.y if self.task == "classification" else None


def decide(
    y: np.ndarray,
    task: str,
    where: str,
    *,
    categorical: bool = False,
    names: Sequence[str] = (),
    decimal: str = "decimal point",
) -> Target:
    """Choose the task if it is ``auto``, and encode the target for it.

    Text, truth values and categories are classified, and so are whole numbers, of any dtype, with at most 20 distinct
    values, and fewer than half as many as there are rows. Everything else is a regression. Several columns are labels
    of two values each if none holds numbers, and a regression if all do.

    Parameters
    ----------
    y : ndarray of shape (n_rows,) or (n_rows, n_outputs)
        Numbers, truth values or text.
    task : str
        ``auto``, or the task that the user asks for.
    where : str
        What messages call the target, such as ``column 'species'``.
    categorical : bool
        Whether numbers in y are known to be labels.
    names : sequence of str
        Names of its columns, if there are several.
    decimal : str
        The decimal mark of the table, in words.

    Raises
    ------
    InputError
        If y cannot be predicted, or not by the given task.
    """
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if (
        y.ndim not in (1, 2)
        or 0 in y.shape
        or y.dtype.kind not in "biufUO"
        or (y.dtype.kind == "f" and y.dtype.itemsize > 8)
    ):
        raise InputError(
            f"the target, {where}, has type {y.dtype} and shape {y.shape}; allowed: one label or number a row, "
            "or several; choose another target"
        )
    if y.dtype.kind == "U" and not _is_unicode(y):
        raise InputError(f"the target, {where}, holds text that is not Unicode; write it again")
    if y.dtype.kind == "f" and (bad := int(np.count_nonzero(~np.isfinite(y)))):
        raise InputError(f"the target, {where}, has {counted(bad, 'missing or infinite value')}; remove those rows")
    if y.ndim == 2:
        return _several(y, task, where, names)
    distinct, codes = np.unique(y, return_inverse=True)
    if len(distinct) < 2:
        raise InputError(
            f"the target, {where}, has the one value {distinct[0]!s}; it needs at least two to learn from; "
            "choose another target"
        )
    note = None
    if task == "auto":
        task, reason = _infer(y, len(distinct), where, categorical)
        note = f"task: {task}, inferred from {reason}"
    if task == "regression":
        if y.dtype.kind not in "biuf":
            raise InputError(f"task is 'regression', but the target, {where}, holds text; give task classification")
        return Target(task, y.reshape(len(y), -1).astype(np.float64), (), note)
    if y.dtype.kind in "fUO" and len(distinct) > len(y) / 2:
        is_number = y.dtype.kind == "f"
        cure = "give task regression, or " if is_number else ""
        if not is_number and _NUMBER.fullmatch(str(distinct[0])):
            cure = f"write numbers such as {str(distinct[0])!r} with a {decimal} alone, or "
        raise InputError(
            f"the target, {where}, has {len(distinct):,} distinct {'numbers' if is_number else 'texts'} in {len(y):,} "
            f"rows, too many for classes; allowed: at most half as many as rows; {cure}choose another target"
        )
    return Target(task, codes.astype(np.int64), tuple(distinct.tolist()), note)


def _several(y: np.ndarray, task: str, where: str, names: Sequence[str]) -> Target:
    """Encode several columns: numbers for regression, or labels of two values each."""
    held, note = kinds(y), None
    if task == "auto":
        task, reason = _infer_several(y, held, where, names)
        note = f"task: {task}, inferred from {reason}"
    if task == "classification":
        codes, values = encode(y, names)
        return Target(task, codes, tuple(range(len(values))), note, values)
    if odd := [i for i, kind in enumerate(held) if kind != "numbers"]:
        raise InputError(
            f"task is 'regression', but column {names[odd[0]]!r} of the target, {where}, holds {held[odd[0]]}; "
            "allowed: numbers; convert it, leave it out, or give task classification for labels of two values each"
        )
    if (y == y[0, 0]).all():
        raise InputError(
            f"the target, {where}, has the one value {y[0, 0]!s}; it needs at least two to learn from; "
            "choose another target"
        )
    return Target(task, y.astype(np.float64), (), note)


def _infer_several(y: np.ndarray, held: Sequence[str], where: str, names: Sequence[str]) -> tuple[str, str]:
    if "numbers" not in held:
        what = " and ".join(sorted(set(held), reverse=True))
        return "classification", f"the {what} in {where}"
    if odd := [i for i, kind in enumerate(held) if kind != "numbers"]:
        number = names[held.index("numbers")]
        raise InputError(
            f"column {number!r} of the target, {where}, holds numbers, and {names[odd[0]]!r} {held[odd[0]]}; give task "
            "classification where each has two values, or targets that are all numbers"
        )
    flags = "; all are 0 and 1: give task classification for labels" if np.isin(y, (0, 1)).all() else ""
    return "regression", f"the {y.shape[1]} numbers a row of {where}{flags}"


def numbered(name: str, n: int) -> tuple[str, ...]:
    """Return names for `n` columns that share one name."""
    return tuple(f"{name}{i}" for i in range(n))


def _is_unicode(y: np.ndarray) -> bool:
    """Return whether text is valid Unicode: an array from a file may have any 32 bits as a character."""
    points = np.ascontiguousarray(y).view(np.dtype(np.uint32).newbyteorder(y.dtype.byteorder))
    return not ((points > sys.maxunicode) | ((points >= 0xD800) & (points < 0xE000))).any()


def _infer(y: np.ndarray, n_distinct: int, where: str, categorical: bool) -> tuple[str, str]:
    if categorical:
        return "classification", f"the categories of {where}"
    if y.dtype.kind in "UO":
        return "classification", f"the text in {where}"
    if y.dtype.kind == "b":
        return "classification", f"the truth values in {where}"
    if n_distinct <= MAX_CODES and n_distinct < len(y) / 2 and np.array_equal(y, np.trunc(y)):
        return "classification", f"the {n_distinct} distinct whole numbers in {where}"
    return "regression", f"the {n_distinct} distinct numbers in {where}"
