"""The order of the rows in each epoch, and its division into minibatches."""

import numpy as np

# Blocks whose rows are shuffled together.
WINDOW = 256


def order(
    n_rows: int, epoch: int = 0, *, shuffle: bool = True, replacement: bool = False, seed: int = 0, block: int = 1
) -> np.ndarray:
    """Return the order of the rows in an epoch.

    It depends only on the arguments, so a run can resume at any epoch.

    Rows that are read from a disk are shuffled block-wise [1]_: the blocks are shuffled, and then the rows within each
    window of `WINDOW` blocks. A window reads `WINDOW` places all over the file, but the rows of a block stay near each
    other in the order.

    Parameters
    ----------
    n_rows, epoch : int
    shuffle : bool
        Whether to shuffle the rows in each epoch; otherwise they keep their order.
    replacement : bool
        Whether to sample rows with replacement; `shuffle` is then ignored.
    seed : int
    block : int
        Rows per block; 1 shuffles all rows freely.

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
    """Divide an order into batches.

    Parameters
    ----------
    order : int array of shape (n_rows,)
    batch_size : int
        Rows per batch, at most `n_rows`.

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
