"""The order of rows, epoch by epoch, and the batches it makes."""

import numpy as np


def order(n_rows: int, *, shuffle: bool = True, replacement: bool = False, seed: int = 0, epoch: int = 0) -> np.ndarray:
    """The order of rows in an epoch: a function of `seed` and `epoch` alone, so a run can go on at any epoch.

    Parameters
    ----------
    n_rows : int
    shuffle : bool
        Whether each epoch has an order of its own, else that of the rows.
    replacement : bool
        Whether each row of an epoch is drawn from all of them, so that some come more than once and others not at all.
    seed, epoch : int

    Returns
    -------
    int64 array of shape (n_rows,)
    """
    rng = np.random.default_rng([seed, epoch])
    if replacement:
        return rng.integers(n_rows, size=n_rows)
    return rng.permutation(n_rows) if shuffle else np.arange(n_rows)


def batches(order: np.ndarray, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Which rows make each batch.

    Parameters
    ----------
    order : int array of shape (n_rows,)
    batch_size : int
        Rows a batch, at most `n_rows`.

    Returns
    -------
    rows : int64 array of shape (n_batches, batch_size)
    present : bool array of shape (n_batches, batch_size)
        False for the padding that makes the last batch as long as the others; it repeats row 0.
    """
    n_batches = -(-len(order) // batch_size)
    rows = np.zeros(n_batches * batch_size, np.int64)
    rows[: len(order)] = order
    present = np.arange(rows.size) < len(order)
    return rows.reshape(n_batches, batch_size), present.reshape(n_batches, batch_size)
