"""Hold out rows, once or in folds: at random and stratified by class if possible, in whole groups, or the last rows."""

import math
import warnings
from collections.abc import Iterator

import numpy as np

from mlpgpu.data.groups import hold_out_groups, numbered
from mlpgpu.errors import InputError
from mlpgpu.figures import counted

# With more groups, chance balances the classes of folds, which would take scikit-learn minutes.
MANY_GROUPS = 10_000


def hold_out(
    rows: np.ndarray,
    labels: np.ndarray | None,
    fraction: float,
    seed: int,
    setting: str,
    groups: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, str | None]:
    """Split rows into those to keep and those to hold out, both in random order.

    Parameters
    ----------
    rows : ndarray of int64, shape (n_rows,)
        Indices.
    labels : ndarray of shape (n_rows,) or (n_rows, n_labels), or None
        Class of each of `rows`, to stratify by; for multilabel classification 0 or 1 for each label, to stratify by
        their combinations, where those of a single row are taken together; None for regression. The only row of a class
        is kept.
    fraction : float
        Share to hold out, above 0; it is rounded up to whole rows, or to the nearest that whole groups give.
    seed : int
        Seed of the random order.
    setting : str
        Name of the setting that gave `fraction`, for messages.
    groups : ndarray of shape (n_rows,) or None
        Group of each of `rows`; a group is kept or held out as a whole.

    Returns
    -------
    kept, held : ndarray of int64
        Indices.
    note : str or None
        Why the split is not stratified, if labels were given and it is not; how many classes have a single row; or how
        many groups are held out.

    Raises
    ------
    InputError
        If no row would be kept, or the rows are one group.
    """
    from sklearn.model_selection import train_test_split

    n_held = _n_held(len(rows), fraction, setting)
    n_kept = len(rows) - n_held
    if groups is not None:
        groups = numbered(groups)
        if not groups.any():
            raise InputError(
                f"{setting} is {fraction}, and the {len(rows):,} rows to divide are one group; allowed: at least two "
                f"groups; set {setting} to 0, or give more groups"
            )
        is_held = hold_out_groups(groups, labels, fraction, seed)
        order = np.random.default_rng(seed).permutation(len(rows))
        kept, held = (rows[order[is_held[groups[order]] == side]] for side in (False, True))
        share = len(held) / len(rows)
        return kept, held, f"{setting}: {is_held.sum():,} of {len(is_held):,} groups, with {share:.1%} of the rows"
    only, note = np.zeros(len(rows), bool), None
    if labels is not None:
        strata, what, each = _single(labels)
        n_classes = len(np.unique(strata))
        if labels.ndim > 1:
            # Many a row of many labels is the only one of its combination, and test rows must represent them.
            strata = np.where(_is_only(strata), -1, strata)
        only = _is_only(strata)
        n_only, n_strata = np.count_nonzero(only), len(np.unique(strata))
        if n_held < n_strata - n_only or n_kept < n_strata:
            only[:], labels = False, None
            note = f"{setting}: rows drawn without regard to {what}, as there are fewer than the {n_classes} {each}"
        else:
            labels = strata[~only]
            if n_only:
                note = f"{setting}: {n_only:,} {what if n_only == 1 else each} of a single row, which is not held out"
    kept, held = train_test_split(rows[~only], test_size=n_held, stratify=labels, random_state=seed)
    if only.any():
        kept = np.random.default_rng(seed).permutation(np.concatenate([kept, rows[only]]))
    return kept, held, note


def hold_out_last(rows: np.ndarray, fraction: float, setting: str) -> tuple[np.ndarray, np.ndarray, str]:
    """Split rows into the first ones, to keep, and the last ones, to hold out.

    Parameters and returns are as for `hold_out`; the note says which rows are held out.

    Raises
    ------
    InputError
        If no row would be kept.
    """
    kept, held = np.split(rows, [len(rows) - _n_held(len(rows), fraction, setting)])
    return kept, held, f"{setting}: the last rows, {held[0] + 1:,} to {held[-1] + 1:,}"


def in_folds(
    n_rows: int, labels: np.ndarray | None, folds: int, seed: int, groups: np.ndarray | None = None
) -> tuple[Iterator[tuple[np.ndarray, np.ndarray]], list[str]]:
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
    groups : ndarray of shape (n_rows,) or None
        Group of each row; the rows of a group are in one fold.

    Returns
    -------
    parts : iterator of (ndarray of int64, ndarray of int64)
        For each fold the ascending indices to keep and to hold out.
    notes : list of str
        Which classes are not stratified, if any, and the sizes of folds of groups.

    Raises
    ------
    InputError
        If there are fewer rows, or groups, than folds.
    """
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    shuffled = {"shuffle": True, "random_state": seed}
    n_parts, part, notes = n_rows, "row", []
    if groups is not None:
        groups = numbered(groups)
        n_parts, part = int(groups.max()) + 1, "group"
        # GroupKFold takes groups of one size in the order of their numbers.
        groups = np.random.default_rng(seed).permutation(n_parts)[groups]
    if n_parts < folds:
        raise InputError(f"folds is {folds}, for {counted(n_parts, part)}; allowed: at most a fold a {part}; lower it")
    if labels is not None:
        labels, what, each = _single(labels)
        if np.unique(labels, return_counts=True)[1].max() < folds:
            notes.append(f"folds: rows drawn without regard to {what}, as no {what} has {folds} rows")
            labels = None
    if labels is not None:
        parts = labels if groups is None else np.unique(labels * n_parts + groups) // n_parts
        counts = np.unique(parts, return_counts=True)[1]
        if few := np.count_nonzero(counts < folds):
            notes.append(
                f"folds: fewer than {folds} {part}s in {few:,} of {len(counts):,} {each}, and some folds have none of "
                "them"
            )
    if groups is None:
        splitters = [(KFold if labels is None else StratifiedKFold)(folds, **shuffled)]
    else:
        splitters = [GroupKFold(folds)]
        if labels is not None and n_parts <= MANY_GROUPS:
            splitters.insert(0, StratifiedGroupKFold(folds, **shuffled))
    with warnings.catch_warnings():
        # The note replaces this warning.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for splitter in splitters:
            # Stores one fold number per row: the training indices of all folds together would be many times as large.
            fold_of_row = np.empty(n_rows, np.int32)
            for fold, (_, held) in enumerate(splitter.split(np.zeros(n_rows), labels, groups)):
                fold_of_row[held] = fold
            sizes = np.bincount(fold_of_row, minlength=folds)
            # StratifiedGroupKFold leaves a fold empty now and then.
            if sizes.all():
                break
    if groups is not None:
        notes.append(f"folds: {n_parts:,} groups, with {sizes.min():,} to {sizes.max():,} rows in a fold")
    return ((np.flatnonzero(fold_of_row != i), np.flatnonzero(fold_of_row == i)) for i in range(folds)), notes


def _n_held(n_rows: int, fraction: float, setting: str) -> int:
    """Return how many rows a fraction is, rounded up."""
    n_held = math.ceil(fraction * n_rows)
    if n_held >= n_rows:
        raise InputError(
            f"{setting} is {fraction}, which leaves none of {counted(n_rows, 'row')} to train on; lower it, or give "
            "more rows"
        )
    return n_held


def _is_only(labels: np.ndarray) -> np.ndarray:
    """Return for each row whether no other row has its label."""
    _, numbers, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return (counts == 1)[numbers]


def _single(labels: np.ndarray) -> tuple[np.ndarray, str, str]:
    """Return one label per row, a number of its combination for several labels, and the words for one and for many."""
    if labels.ndim == 1:
        return labels, "class", "classes"
    # Packed bits are faster to sort than rows of float64.
    packed = np.packbits(labels.astype(bool), axis=1)
    return np.unique(packed, axis=0, return_inverse=True)[1].reshape(-1), "combination of labels", "combinations"
