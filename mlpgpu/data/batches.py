"""The order of rows, epoch by epoch, and the batches it makes."""

import numpy as np

# Blocks whose rows are mixed.
WINDOW = 256


def order(
    n_rows: int, *, shuffle: bool = True, replacement: bool = False, seed: int = 0, epoch: int = 0, block: int = 1
) -> np.ndarray:
    """The order of rows in an epoch: a function of `seed` and `epoch` alone, so a run can go on at any epoch.

    Rows that are read from a disk are shuffled block-wise [1]_: the blocks are put in a random order, and then the rows
    within each `WINDOW` of them. What a window reads lies in as many places, all over the file; but rows of a block are
    never far from each other.

    Parameters
    ----------
    n_rows : int
    shuffle : bool
        Whether each epoch has an order of its own, else that of the rows.
    replacement : bool
        Whether each row of an epoch is drawn from all of them, so that some come more than once and others not at all.
    seed, epoch : int
    block : int
        Rows that lie together; 1 where it does not matter, for a shuffle of all rows.

    Returns
    -------
    int64 array of shape (n_rows,)

    References
    ----------
    .. [1] Xu et al., In-Database Machine Learning with CorgiPile: Stochastic Gradient Descent without Full Data
       Shuffle, SIGMOD 2022, https://doi.org/10.1145/3514221.3526150
    """
    rng = np.random.default_rng([seed, epoch])
    if replacement:
        return rng.integers(n_rows, size=n_rows)
    if not shuffle or block == 1:
        return rng.permutation(n_rows) if shuffle else np.arange(n_rows)
    first = rng.permutation(-(-n_rows // block)) * block
    rows = (first[:, None] + np.arange(block)).ravel()
    rows = rows[rows < n_rows]
    for start in range(0, n_rows, WINDOW * block):
        rng.shuffle(rows[start : start + WINDOW * block])
    return rows


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
