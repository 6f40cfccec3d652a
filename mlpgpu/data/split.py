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
    labels : ndarray of shape (n_rows,) or (n_rows, n_labels), or None
        Class of each of `rows`, for an equal share of each; of several labels a 0 or 1 each, for an equal share of each
        combination; None for regression.
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
        what, each = "class", "classes"
        if labels.ndim > 1:
            what, each = "combination of labels", "combinations"
            # Bytes are told apart in less time than rows of numbers.
            packed = np.packbits(labels.astype(bool), axis=1)
            labels = np.unique(packed, axis=0, return_inverse=True)[1].reshape(-1)
        counts = np.unique(labels, return_counts=True)[1]
        if counts.min() < 2:
            note = f"{setting}: rows drawn without regard to {what}, as a {what} has a single row"
        elif min(n_held, n_kept) < len(counts):
            note = f"{setting}: rows drawn without regard to {what}, as there are fewer than the {len(counts)} {each}"
        if note:
            labels = None
    kept, held = train_test_split(rows, test_size=n_held, stratify=labels, random_state=seed)
    return kept, held, note
