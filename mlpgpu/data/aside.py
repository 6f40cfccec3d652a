"""Columns and arrays that are neither features nor target: the weights of rows, and the groups that rows belong to."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlpgpu.errors import InputError, did_you_mean, listed
from mlpgpu.figures import counted

if TYPE_CHECKING:
    import pandas as pd

    from mlpgpu.settings.config import Config

# Setting that names the column or array -> the attribute of `Source` that holds its values.
SETTINGS = {"sample_weight": "weights", "group": "groups"}
# Range of weights that are not 0: their sums, and those of their products with losses, are numbers of float32.
LEAST, MOST = 1e-15, 1e15
IN_WORDS = {"train": "training", "validation": "validation", "test": "test"}


def given(config: "Config") -> dict[str, str]:
    """Return those settings that name a column or array, with that name."""
    return {setting: name for setting in SETTINGS if (name := getattr(config, setting)) is not None}


def named(
    given: Mapping[str, str],
    names: Sequence[str],
    lacking: str,
    taken: Mapping[str, str],
    *,
    optional: Collection[str] = (),
) -> dict[str, str]:
    """Return attribute of `Source` -> name of the column or array that a setting names.

    Parameters
    ----------
    given : mapping of str to str
        Setting -> name.
    names : sequence of str
        Names of the columns of a table, or of the arrays of an .npz file.
    lacking : str
        The end of a sentence about a name that is not among them, such as ``data.csv does not have``.
    taken : mapping of str to str
        Names with another role -> the end of a sentence about it, such as ``is the target``.
    optional : collection of str
        Settings whose column or array is left out if it is absent, instead of refused.

    Raises
    ------
    InputError
        If there is no such column or array, or it has another role.
    """
    found = {setting: name for setting, name in given.items() if name in names or setting not in optional}
    for setting, name in found.items():
        if name not in names:
            free = [name for name in names if name not in taken]
            allowed = f"allowed: {listed(free)}{did_you_mean(name, free, 0.5, repr)}" if free else "leave it out"
            raise InputError(f"{setting} is {name!r}, which {lacking}; {allowed}")
        if name in taken:
            raise InputError(f"{setting} is {name!r}, which {taken[name]}; choose another, or leave it out")
    return {SETTINGS[setting]: name for setting, name in found.items()}


def checked(attribute: str, values: "np.ndarray | pd.Series", where: str) -> np.ndarray:
    """Return the values of an attribute of `Source`: weights as float64, groups as they are.

    Parameters
    ----------
    attribute : str
        ``weights`` or ``groups``.
    values : ndarray of shape (n_rows,) or (n_rows, 1), or Series
        The index of a Series numbers the rows of the file from 0.
    where : str
        What messages call it, such as ``column 'area'``.

    Returns
    -------
    ndarray of shape (n_rows,)

    Raises
    ------
    InputError
        If there is more than one value for a row, or a record, a value is missing, or a weight is neither 0 nor from
        `LEAST` to `MOST`.
    """
    if values.size != len(values) or values.dtype.kind == "V":
        raise InputError(
            f"{where} has type {values.dtype} and shape {values.shape}; allowed for {attribute}: one value for each row"
        )
    if isinstance(values, np.ndarray):
        first, values = 0, values.reshape(-1)
        is_missing = values != values
    else:
        first, is_missing, values = int(values.index[0]), values.isna().to_numpy(), values.to_numpy()
    if is_missing.any():
        raise InputError(
            f"{where} has {counted(int(is_missing.sum()), 'missing value')}, the first in row "
            f"{first + int(np.argmax(is_missing)) + 1:,}; allowed for {attribute}: no missing values; fill them, or "
            "remove those rows"
        )
    return values if attribute == "groups" else _weights(values, where, first)


def weighed(config: "Config", weights: Mapping[str, np.ndarray]) -> str:
    """Return a note that rows are weighted by the column or array that `config` names; `weights` are by part.

    Raises
    ------
    InputError
        If no row of a part has weight.
    """
    for part, each in weights.items():
        if len(each) and not each.any():
            seed = "choose another seed, " if config.hold_out == "random" else ""
            raise InputError(
                f"sample_weight is {config.sample_weight!r}, which is 0 in every {IN_WORDS[part]} row; allowed: some "
                f"weight in each part; {seed}remove rows without weight, or hold out other fractions"
            )
    ours = weights["train"]
    return (
        f"rows are weighted by {config.sample_weight!r}, from {ours.min():.4g} to {ours.max():.4g} in training, where "
        f"they count as much as {effective(ours):,.0f} of equal weight"
    )


def effective(weights: np.ndarray) -> float:
    """Return the number of rows of equal weight whose mean varies as much as that of these (Kish, 1965)."""
    if not len(weights):
        return 0.0
    shares = weights / weights.max()
    return float(shares.sum() ** 2 / (shares @ shares))


def _weights(values: np.ndarray, where: str, first: int) -> np.ndarray:
    if values.dtype.kind in "biuf":
        weights = values.astype(np.float64)
    else:
        weights = np.array([_number(cell) for cell in values], np.float64)
    is_wrong = ~((weights == 0) | ((weights >= LEAST) & (weights <= MOST)))
    if is_wrong.any():
        row = int(np.argmax(is_wrong))
        raise InputError(
            f"{where} has {str(values[row])!r} in row {first + row + 1:,}; allowed for weights: 0, and numbers "
            f"from {LEAST:g} to {MOST:g}; correct it, or remove that row"
        )
    return weights


def _number(cell: object) -> float:
    try:
        # Dates would be converted to numbers, but not if they are text; bytes need not be text.
        return float(cell if isinstance(cell, bytes) else str(cell))
    except ValueError:
        return np.nan
