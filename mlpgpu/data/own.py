"""Validation and test rows that are given as such: beside the training rows in their file, or in files of their own."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mlpgpu import endings
from mlpgpu.data import npz, table
from mlpgpu.data.mapped import Mapped
from mlpgpu.data.source import Source, kind_of
from mlpgpu.data.target import Target
from mlpgpu.errors import InputError, listed
from mlpgpu.figures import counted
from mlpgpu.files import expanded
from mlpgpu.settings.config import OWN_ROWS, settings

if TYPE_CHECKING:
    from mlpgpu.settings.config import Config

T = TypeVar("T")


def with_files(rows: Source, config: "Config") -> Source:
    """Add the rows of the files that the settings name.

    Raises
    ------
    InputError
        If a file cannot be read, or lacks what the training rows have, or the set has such rows already.
    """
    own, notes = dict(rows.own), list(rows.notes)
    in_arrays = isinstance(rows.x, np.ndarray | Mapped)
    load: Callable[[Path, Config, Source], Source] = npz.load_own if in_arrays else table.load_own
    kind, called = ("npz", ".npz file") if in_arrays else ("table", endings.TABLE_FILE)
    for part, setting in OWN_ROWS.items():
        if (given := getattr(config, setting)) is None:
            continue
        if part in own:
            raise InputError(f"{setting} is {given}, and {rows.name} has {part} rows of its own; leave it out")
        if endings.kind(expanded(given)) != kind:
            raise InputError(f"{setting} is {given}; allowed for {rows.name}: a {called}, as its own rows are in")
        try:
            own[part] = load(expanded(given), config, rows)
        except InputError as error:
            raise InputError(f"{setting}: {error}") from None
        notes += [f"{given}: {note}" for note in own[part].notes if note not in rows.notes]
    found = dataclasses.replace(rows, own={part: own[part] for part in OWN_ROWS if part in own}, notes=tuple(notes))
    _check_alike(found)
    return found


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
    """Return notes on where own rows come from, if they are also trained on, and on fractions that are not used."""
    known = settings(type(config))
    named = [f"{part} rows: those of {other.name}" for part, other in rows.own.items() if other.name != rows.name]
    seen = [
        f"{setting} is the file of dataset, whose rows are trained on: figures of these {part} rows do not tell how "
        "well unseen rows are predicted"
        for part, setting in OWN_ROWS.items()
        if (given := getattr(config, setting)) and _same_file(given, config.dataset)
    ]
    unused = [
        f"{setting} {given:g} is not used: {rows.name} has {counted(len(other.x), f'{part} row')} of its own"
        for part, other in rows.own.items()
        if (given := getattr(config, setting := f"{part}_fraction")) != known[setting].default
    ]
    return [*named, *seen, *unused]


def refuse_files(config: "Config") -> None:
    """Refuse files of validation or test rows where all rows are tested on in turn.

    Raises
    ------
    InputError
    """
    for setting in OWN_ROWS.values():
        if (given := getattr(config, setting)) is not None:
            raise InputError(
                f"{setting} is {given}, and folds, on each of which a network is tested, are drawn from the rows of "
                "dataset; leave it out, or add its rows to dataset"
            )


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


def _check_alike(rows: Source) -> None:
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
        if rows.y.shape[1:] != other.y.shape[1:] or kind_of(rows.y.dtype) != kind_of(other.y.dtype):
            raise InputError(
                f"the target of {rows.name} has type {rows.y.dtype} and shape {rows.y.shape}, that of {other.name} "
                f"{other.y.dtype} and {other.y.shape}; allowed: the same kind; mend the file"
            )


def _same_file(one: str, other: str | None) -> bool:
    return other is not None and expanded(one).resolve() == expanded(other).resolve()
