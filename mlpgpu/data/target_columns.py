"""Select the target columns of a table, and extract their values."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.data.columns import OBJECTS, floats
from mlpgpu.data.header import if_values
from mlpgpu.errors import InputError, did_you_mean, listed
from mlpgpu.figures import counted

if TYPE_CHECKING:
    import pandas as pd

    from mlpgpu.settings.config import Config


def named(target: str, names: Sequence[str]) -> list[str]:
    """Return the columns that `target` names: the one of exactly this name, or else those of a comma-separated list.

    Parameters
    ----------
    target : str
    names : sequence of str
        Names of the table's columns; the returned names need not be among them.

    Raises
    ------
    InputError
        If a column is named twice.
    """
    if target in names or "," not in target:
        return [target]
    parts = joined(target.split(","), names)
    if twice := [part for part in parts if parts.count(part) > 1]:
        raise InputError(f"target is {target!r}, which has {twice[0]!r} twice; name each column once")
    return parts


def joined(parts: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the columns in a list that was split at commas: their names may contain commas, and have spaces around."""
    most = 1 + max((name.count(",") for name in names), default=0)
    whole: list[str] = []
    while parts:
        texts = (",".join(parts[:n]) for n in range(1, most + 1))
        known = (name for text in texts for name in (text, text.strip()) if name in names)
        whole.append(next(known, parts[0].strip()))
        parts = parts[whole[-1].count(",") + 1 :]
    return whole


def chosen(names: Sequence[str], config: "Config", path: Path) -> list[str]:
    """Return the target columns that a config names, checked against the columns of the table in `path`.

    Raises
    ------
    InputError
        If no target is given, one is not in the table or is dropped, or no column is left for features.
    """
    target, shown = config.target, listed(names)
    if target is None:
        raise InputError(
            f"target is not given; {path} has the columns {shown}; give the one to predict as target{if_values(names)}"
        )
    targets = named(target, names)
    if absent := [name for name in targets if name not in names]:
        lacking = f"which {path} does not have" if len(targets) == 1 else f"and {path} does not have {absent[0]!r}"
        hint = did_you_mean(absent[0], names, 0.5, repr) or if_values(names)
        raise InputError(f"target is {target!r}, {lacking}; allowed: {shown}{hint}")
    dropped = joined(config.drop, names)
    if both := [name for name in targets if name in dropped]:
        raise InputError(f"drop has {both[0]!r}, which is one of the targets; leave it out, or choose other targets")
    if len(targets) == len(names):
        raise InputError(f"target is {target!r}, all columns of {path}; leave at least one to learn from")
    return targets


def values(frame: "pd.DataFrame") -> tuple[np.ndarray, bool]:
    """Return the values of the targets, and whether they are known to be labels.

    Parameters
    ----------
    frame : DataFrame
        The target columns.

    Returns
    -------
    ndarray of shape (n_rows,), or (n_rows, n_targets) for several targets
        Its dtype is object if several targets hold values of different kinds.
    bool

    Raises
    ------
    InputError
        If values are missing, or a column holds values other than numbers, truth values and text.
    """
    if len(frame.columns) == 1:
        return _labels(frame.iloc[:, 0])
    columns = []
    for _, column in frame.items():
        found, categorical = _labels(column)
        # As text, since the flag that tells numeric categories from numbers exists for a single target only.
        columns.append(found.astype(str).astype(object) if categorical else found)
    if len({"n" if found.dtype.kind in "iuf" else found.dtype.kind for found in columns}) > 1:
        columns = [found.astype(object) for found in columns]
    return np.column_stack(columns), False


def check_varied(targets: Sequence[str], y: np.ndarray) -> None:
    """Refuse a constant column among several targets."""
    for name, column in zip(targets, y.T, strict=True):
        if (column == column[0]).all():
            raise InputError(
                f"the target, column {name!r}, has the one value {column[0]!s}; it needs at least two to learn from; "
                "leave it out"
            )


def _labels(column: "pd.Series") -> tuple[np.ndarray, bool]:
    import pandas as pd

    if n_missing := int(column.isna().sum()):
        first = int(column.index[column.isna()][0]) + 1
        raise InputError(
            f"the target, column {column.name!r}, has {counted(n_missing, 'missing value')}, the first in row "
            f"{first:,}; remove those rows"
        )

    categorical = isinstance(column.dtype, pd.CategoricalDtype)
    if categorical:
        column = column.astype(column.cat.categories.dtype)
    inferred = pd.api.types.infer_dtype(column)
    if pd.api.types.is_numeric_dtype(column.dtype) or inferred in OBJECTS:
        dtype: Any = getattr(column.dtype, "numpy_dtype", column.dtype)
        return floats(column) if dtype.kind == "O" else column.to_numpy(dtype), categorical
    if inferred not in {"string", "boolean"}:
        raise InputError(
            f"the target, column {column.name!r}, holds values of type {inferred} ({column.dtype}); "
            "allowed: numbers, truth values, text; convert it, or choose another target"
        )
    return column.to_numpy(bool if inferred == "boolean" else object), categorical
