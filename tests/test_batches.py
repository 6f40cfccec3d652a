import itertools
import math

import numpy as np
import pytest
from scipy import stats

from mlpgpu.data.batches import order

SHAPES = [(1, 1), (7, 7), (7, 3), (8, 4), (8, 1), (9, 4), (100, 33)]


@pytest.mark.parametrize(("n_rows", "batch_size"), SHAPES)
@pytest.mark.parametrize("shuffle", [True, False])
def test_each_row_is_present_once_and_padding_is_last(n_rows, batch_size, shuffle):
    rows, present = order(n_rows, batch_size, shuffle=shuffle, seed=3, epoch=2)
    assert rows.shape == present.shape == (math.ceil(n_rows / batch_size), batch_size)
    assert rows.dtype == np.int64
    assert present.dtype == np.bool_
    assert sorted(rows[present]) == list(range(n_rows))
    assert list(present.ravel()) == [True] * n_rows + [False] * (present.size - n_rows)
    # Padding is a row that exists, which a device can take without looking.
    assert set(rows[~present]) <= {0}
    assert present.any(axis=1).all()


@pytest.mark.parametrize(("n_rows", "batch_size"), SHAPES)
def test_unshuffled_is_in_order(n_rows, batch_size):
    for seed, epoch in itertools.product(range(2), range(3)):
        rows, present = order(n_rows, batch_size, shuffle=False, seed=seed, epoch=epoch)
        assert list(rows[present]) == list(range(n_rows))


def test_the_order_is_that_of_seed_and_epoch_alone():
    def of(batch_size=8, seed=0, epoch=0):
        rows, present = order(50, batch_size, seed=seed, epoch=epoch)
        return tuple(rows[present])

    np.random.seed(1)  # noqa: NPY002
    first = of(seed=4, epoch=7)
    np.random.seed(2)  # noqa: NPY002
    of(epoch=8)
    assert of(seed=4, epoch=7) == first
    # The rows of an epoch do not depend on where its batches are cut.
    assert of(batch_size=13, seed=4, epoch=7) == first
    orders = {of(seed=seed, epoch=epoch) for seed, epoch in itertools.product(range(10), range(10))}
    assert len(orders) == 100


def test_the_largest_seed():
    assert sorted(order(5, 5, seed=4294967295, epoch=10**6)[0].ravel()) == list(range(5))


def test_every_permutation_is_as_likely():
    counts = dict.fromkeys(itertools.permutations(range(4)), 0)
    for epoch in range(2400):
        counts[tuple(order(4, 4, seed=0, epoch=epoch)[0].ravel())] += 1
    assert stats.chisquare(list(counts.values())).pvalue > 0.01
