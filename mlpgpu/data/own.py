"""Validation and test rows that are given as such, beside the training rows in their file."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mlpgpu.config import settings
from mlpgpu.data.source import Source
from mlpgpu.data.target import Target
from mlpgpu.errors import InputError, listed
from mlpgpu.figures import counted

if TYPE_CHECKING:
    from mlpgpu.config import Config

T = TypeVar("T")


def places(rows: Source) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the indices of the training rows among all rows, and those of each part of own rows, by part."""
    ends = np.cumsum([len(part.x) for part in rows.parts])
    ours, *others = np.split(np.arange(ends[-1]), ends[:-1])
    return ours, dict(zip(rows.own, others, strict=True))


def each(rows: Source, read: Callable[[Any], T]) -> list[T]:
    """Return what `read` makes of x of each of the parts; where it refuses own rows, the message names them."""
    found = [read(rows.x)]
    for part in rows.own.values():
        try:
            found.append(read(part.x))
        except InputError as error:
            raise InputError(f"{part.name}: {error}") from None
    return found


def noted(rows: Source, config: "Config") -> list[str]:
    """Return notes on where own rows come from, and on fractions that are given and not used."""
    known = settings(type(config))
    named = [f"{part} rows: those of {each.name}" for part, each in rows.own.items() if each.name != rows.name]
    return named + [
        f"{setting} {given:g} is not used: {rows.name} has {counted(len(each.x), f'{part} row')} of its own"
        for part, each in rows.own.items()
        if (given := getattr(config, setting := f"{part}_fraction")) != known[setting].default
    ]


def check_known(rows: Source, target: Target) -> None:
    """Refuse own validation rows of a class that no training row has: their loss is none that training can lower.

    Raises
    ------
    InputError
    """
    train, own = places(rows)
    if "validation" not in own or target.task != "classification" or target.label_values:
        return
    unknown = np.setdiff1d(target.y[own["validation"]], target.y[train])
    if len(unknown):
        what, labels = "class" if len(unknown) == 1 else "classes", [target.classes[i] for i in unknown]
        raise InputError(
            f"{rows.own['validation'].name}: no training rows of {what} {listed(labels)}, which validation rows have; "
            "allowed: classes of the training rows; mend the labels, or remove those rows"
        )


def check_alike(rows: Source) -> None:
    """Refuse own rows that cannot be compared with the training rows.

    Raises
    ------
    InputError
    """
    for other in rows.own.values():
        if isinstance(other.x, np.ndarray) and other.x.shape[1] != rows.x.shape[1]:
            raise InputError(
                f"{rows.name} has {counted(rows.x.shape[1], 'feature')} in its training rows, and {other.x.shape[1]} "
                f"in {other.name}; allowed: as many; mend the file"
            )
        if rows.y.shape[1:] != other.y.shape[1:] or _kind(rows.y.dtype) != _kind(other.y.dtype):
            raise InputError(
                f"the target of {rows.name} has type {rows.y.dtype} and shape {rows.y.shape}, that of {other.name} "
                f"{other.y.dtype} and {other.y.shape}; allowed: the same kind; mend the file"
            )


def _kind(dtype: np.dtype) -> str:
    """Return a kind of dtype; arrays of the same kind can be concatenated."""
    return "number" if dtype.kind in "biuf" else dtype.kind if dtype.kind in "US" else str(dtype)
