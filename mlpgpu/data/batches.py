"""The order of rows, epoch by epoch."""

import numpy as np


def order(
    n_rows: int, batch_size: int, *, shuffle: bool = True, seed: int = 0, epoch: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Which rows make each batch of an epoch.

    The order is a function of `seed` and `epoch` alone, so a run can go on at any epoch.

    Parameters
    ----------
    n_rows : int
    batch_size : int
        Rows a batch, at most `n_rows`.
    shuffle : bool
        Whether each epoch has an order of its own, else that of the rows.
    seed, epoch : int

    Returns
    -------
    rows : int64 array of shape (n_batches, batch_size)
    present : bool array of shape (n_batches, batch_size)
        False for the padding that makes the last batch as long as the others; it repeats row 0.
    """
    n_batches = -(-n_rows // batch_size)
    rows = np.zeros(n_batches * batch_size, np.int64)
    rows[:n_rows] = np.random.default_rng([seed, epoch]).permutation(n_rows) if shuffle else np.arange(n_rows)
    present = np.arange(rows.size) < n_rows
    return rows.reshape(n_batches, batch_size), present.reshape(n_batches, batch_size)
