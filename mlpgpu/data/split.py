"""Holding out rows, with the same share of each class where that can be."""

import math

import numpy as np

from mlpgpu.errors import InputError

__all__ = ["hold_out"]


def hold_out(
    rows: np.ndarray, labels: np.ndarray | None, fraction: float, seed: int, setting: str
) -> tuple[np.ndarray, np.ndarray, str | None]:
    """Part rows into those to keep and those to hold out, both in a random order.

    Parameters
    ----------
    rows : ndarray of int64, shape (n_rows,)
        Indices.
    labels : ndarray of int64, shape (n_rows,), or None
        Class of each of `rows`, for an equal share of each; None for regression.
    fraction : float
        Part to hold out, above 0 and rounded up to whole rows.
    seed : int
        Seeds the order.
    setting : str
        Name of the setting that the fraction is from, for messages.

    Returns
    -------
    kept, held : ndarray of int64
        Indices.
    note : str or None
        Why the classes are not in equal shares, where they are not.

    Raises
    ------
    InputError
        Where no row would be kept.
    """
    from sklearn.model_selection import train_test_split

    n_held = math.ceil(fraction * len(rows))
    n_kept = len(rows) - n_held
    if n_kept < 1:
        raise InputError(
            f"{setting} is {fraction}, which leaves none of {len(rows)} rows to train on; lower it, or give more rows"
        )
    note = None
    if labels is not None:
        counts = np.unique(labels, return_counts=True)[1]
        if counts.min() < 2:
            note = f"{setting}: rows drawn without regard to class, as a class has a single row"
        elif min(n_held, n_kept) < len(counts):
            note = f"{setting}: rows drawn without regard to class, as there are fewer than the {len(counts)} classes"
        if note:
            labels = None
    kept, held = train_test_split(rows, test_size=n_held, stratify=labels, random_state=seed)
    return kept, held, note
