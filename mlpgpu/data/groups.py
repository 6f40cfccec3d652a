"""Hold out whole groups of rows, with about equal shares of each class where the groups allow it."""

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from mlpgpu.data.source import kind_of
from mlpgpu.errors import InputError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from mlpgpu.data.source import Source
    from mlpgpu.settings.config import Config

# Random orders of the groups from which a hold-out takes the best.
DRAWS = 100


def numbered(groups: np.ndarray) -> np.ndarray:
    """Number the distinct values of an array from 0, in the order in which they occur; they need only be hashable."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in groups.tolist()], np.int64)


def check_apart(rows: "Source", config: "Config") -> None:
    """Refuse a set of which two parts, as they are given, have rows of one group.

    Raises
    ------
    InputError
        Also if the groups of two parts cannot be compared.
    """
    parts = {"training": rows, **rows.own}
    grouped = [(name, part.groups) for name, part in parts.items() if part.groups is not None]
    for (one, ours), (other, theirs) in combinations(grouped, 2):
        if kind_of(ours.dtype) != kind_of(theirs.dtype):
            raise InputError(
                f"the groups of {rows.name} have type {ours.dtype} in {one} rows and {theirs.dtype} in {other} rows; "
                "allowed: the same kind; mend the file"
            )
        shared = np.intersect1d(ours, theirs)
        if len(shared):
            raise InputError(
                f"group is {config.group!r}, and {len(shared):,} of its groups, such as {str(shared[0])!r}, have both "
                f"{one} and {other} rows in {rows.name}; give all rows as one set, to be divided by group, or leave "
                "out group"
            )


def hold_out_groups(groups: np.ndarray, labels: np.ndarray | None, fraction: float, seed: int) -> np.ndarray:
    """Draw groups to hold out, at least one, and keep at least one.

    Of many random orders of the groups, each cut where the number of rows is nearest to the fraction, the one is taken
    whose shares of all rows and of each class differ least from the fraction, by their mean square. A group with all
    rows of a class comes after the others in each order: what is held out, the kept rows cannot teach.

    Parameters
    ----------
    groups : ndarray of int64, shape (n_rows,)
        Number of each row's group, from 0 to at least 1.
    labels : ndarray or None
        As for `mlpgpu.data.split.hold_out`.
    fraction : float
        Share of the rows to hold out, between 0 and 1.
    seed : int
        Seed of the random orders.

    Returns
    -------
    ndarray of bool, shape (n_groups,)
        Whether each group is held out.
    """
    counts, rng = _counts(groups, labels), np.random.default_rng(seed)
    sizes, totals, cells = np.bincount(groups), counts.sum(axis=0), counts.tocoo()
    only = np.zeros(len(sizes), bool)
    only[cells.row[cells.data == totals[cells.col]]] = True
    held, least = only, np.inf
    for _ in range(DRAWS):
        order = np.argsort(only + rng.random(len(sizes)))
        n_held = 1 + np.argmin(np.abs(np.cumsum(sizes[order])[:-1] - fraction * len(groups)))
        drawn = np.zeros(len(sizes), bool)
        drawn[order[:n_held]] = True
        # The total of a class may be 0, if its rows have been held out before.
        deviation = np.mean((drawn @ counts / np.maximum(totals, 1) - fraction) ** 2)
        if deviation < least:
            held, least = drawn, deviation
    return held


def _counts(groups: np.ndarray, labels: np.ndarray | None) -> "csr_array":
    """Return the number of rows of each group (down) and class (across); without classes, the sizes of the groups."""
    from scipy.sparse import csr_array

    columns = np.zeros(len(groups), np.int64) if labels is None else labels
    if columns.ndim == 1:
        return csr_array((np.ones(len(groups)), (groups, columns)))
    # Both values of a label are its classes.
    members = csr_array((np.ones(len(groups)), (groups, np.arange(len(groups)))))
    return csr_array(members @ np.hstack([columns, 1 - columns]))
