"""Columns and arrays that are neither features nor target: the weights of rows, and the groups that rows belong to."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlpgpu.errors import InputError, did_you_mean, listed

if TYPE_CHECKING:
    import pandas as pd

    from mlpgpu.config import Config

__all__ = ["SETTINGS", "checked", "named"]

# Setting that names the column or array -> the attribute of `Source` that holds its values.
SETTINGS = {"sample_weight": "weights", "group": "groups"}


def named(config: "Config", names: Sequence[str], lacking: str, taken: Mapping[str, str]) -> dict[str, str]:
    """Return attribute of `Source` -> name of the column or array that a setting of `config` names.

    Parameters
    ----------
    config : Config
    names : sequence of str
        Names of the columns of a table, or of the arrays of an .npz file.
    lacking : str
        The end of a sentence about a name that is not among them, such as ``data.csv does not have``.
    taken : mapping of str to str
        Names with another role -> the end of a sentence about it, such as ``is the target``.

    Raises
    ------
    InputError
        If there is no such column or array, or it has another role.
    """
    found = {attribute: (setting, getattr(config, setting)) for setting, attribute in SETTINGS.items()}
    found = {attribute: pair for attribute, pair in found.items() if pair[1] is not None}
    for setting, name in found.values():
        if name not in names:
            hint = did_you_mean(name, names, 0.5, repr)
            raise InputError(f"{setting} is {name!r}, which {lacking}; allowed: {listed(names)}{hint}")
        if name in taken:
            raise InputError(f"{setting} is {name!r}, which {taken[name]}; choose another, or leave it out")
    return {attribute: name for attribute, (_, name) in found.items()}


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
        If there is more than one value for a row, a value is missing, or a weight is not a finite number from 0 up.
    """
    if values.size != len(values):
        raise InputError(f"{where} has shape {values.shape}; allowed for {attribute}: one value for each row")
    if isinstance(values, np.ndarray):
        first, values = 0, values.reshape(-1)
        is_missing = values != values
    else:
        first, is_missing, values = int(values.index[0]), values.isna().to_numpy(), values.to_numpy()
    if is_missing.any():
        raise InputError(
            f"{where} has {np.count_nonzero(is_missing):,} missing values, the first in row "
            f"{first + int(np.argmax(is_missing)) + 1:,}; allowed for {attribute}: no missing values; fill them, or "
            "remove those rows"
        )
    return values if attribute == "groups" else _weights(values, where, first)


def _weights(values: np.ndarray, where: str, first: int) -> np.ndarray:
    if values.dtype.kind in "biuf":
        weights = values.astype(np.float64)
    else:
        # Dates would be converted to numbers, but not if they are text.
        weights = np.array([_number(cell) for cell in values.astype(str).tolist()], np.float64)
    is_wrong = ~(np.isfinite(weights) & (weights >= 0))
    if is_wrong.any():
        row = int(np.argmax(is_wrong))
        raise InputError(
            f"{where} has {str(values[row])!r} in row {first + row + 1:,}; allowed for weights: finite numbers from 0 "
            "up; correct it, or remove that row"
        )
    return weights


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return np.nan
