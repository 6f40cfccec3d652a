"""Hold out rows, once or in folds, stratified by class if possible."""

import math
import warnings
from collections.abc import Iterator

import numpy as np

from mlpgpu.errors import InputError

__all__ = ["hold_out", "in_folds"]


def hold_out(
    rows: np.ndarray, labels: np.ndarray | None, fraction: float, seed: int, setting: str
) -> tuple[np.ndarray, np.ndarray, str | None]:
    """Split rows into those to keep and those to hold out, both in random order.

    Parameters
    ----------
    rows : ndarray of int64, shape (n_rows,)
        Indices.
    labels : ndarray of shape (n_rows,) or (n_rows, n_labels), or None
        Class of each of `rows`, to stratify by; for multilabel classification 0 or 1 for each label, to stratify by
        their combinations; None for regression.
    fraction : float
        Share to hold out, above 0; it is rounded up to whole rows.
    seed : int
        Seed of the random order.
    setting : str
        Name of the setting that gave `fraction`, for messages.

    Returns
    -------
    kept, held : ndarray of int64
        Indices.
    note : str or None
        Why the split is not stratified, if labels were given and it is not.

    Raises
    ------
    InputError
        If no row would be kept.
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
        labels, what, each = _single(labels)
        counts = np.unique(labels, return_counts=True)[1]
        if counts.min() < 2:
            note = f"{setting}: rows drawn without regard to {what}, as a {what} has a single row"
        elif min(n_held, n_kept) < len(counts):
            note = f"{setting}: rows drawn without regard to {what}, as there are fewer than the {len(counts)} {each}"
        if note:
            labels = None
    kept, held = train_test_split(rows, test_size=n_held, stratify=labels, random_state=seed)
    return kept, held, note


def in_folds(
    n_rows: int, labels: np.ndarray | None, folds: int, seed: int
) -> tuple[Iterator[tuple[np.ndarray, np.ndarray]], str | None]:
    """Split rows at random into folds of about equal size, each of which is held out once.

    Parameters
    ----------
    n_rows : int
    labels : ndarray or None
        As for `hold_out`, for all rows.
    folds : int
        At least 2.
    seed : int
        Seed of the random split.

    Returns
    -------
    parts : iterator of (ndarray of int64, ndarray of int64)
        For each fold the ascending indices to keep and to hold out.
    note : str or None
        Which classes are not stratified, if any.

    Raises
    ------
    InputError
        If there are fewer rows than folds.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    if n_rows < folds:
        raise InputError(f"folds is {folds}, and there are {n_rows} rows; allowed: at most a fold a row; lower it")
    note = None
    if labels is not None:
        labels, what, each = _single(labels)
        counts = np.unique(labels, return_counts=True)[1]
        if counts.max() < folds:
            note, labels = f"folds: rows drawn without regard to {what}, as no {what} has {folds} rows", None
        elif counts.min() < folds:
            few = np.count_nonzero(counts < folds)
            note = f"folds: {few:,} of {len(counts):,} {each} have fewer than {folds} rows, and some folds none of them"
    splitter = (KFold if labels is None else StratifiedKFold)(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # The note replaces this warning.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        # Stores one fold number per row: the training indices of all folds together would be many times as large.
        fold_of_row = np.empty(n_rows, np.int32)
        for fold, (_, held) in enumerate(splitter.split(np.zeros(n_rows), labels)):
            fold_of_row[held] = fold
    return ((np.flatnonzero(fold_of_row != i), np.flatnonzero(fold_of_row == i)) for i in range(folds)), note


def _single(labels: np.ndarray) -> tuple[np.ndarray, str, str]:
    """Return one label per row, a number of its combination for several labels, and the words for one and for many."""
    if labels.ndim == 1:
        return labels, "class", "classes"
    # Packed bits are faster to sort than rows of float64.
    packed = np.packbits(labels.astype(bool), axis=1)
    return np.unique(packed, axis=0, return_inverse=True)[1].reshape(-1), "combination of labels", "combinations"
