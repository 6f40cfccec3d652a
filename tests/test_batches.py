import itertools
import math

import numpy as np
import pytest
from scipy import stats

from mlpgpu.data.batches import batches, order

SHAPES = [(1, 1), (7, 7), (7, 3), (8, 4), (8, 1), (9, 4), (100, 33)]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("n_rows", [1, 2, 100])
def test_an_order_has_each_row_once(n_rows, shuffle):
    rows = order(n_rows, shuffle=shuffle, seed=3, epoch=2)
    assert rows.shape == (n_rows,)
    assert rows.dtype == np.int64
    assert sorted(rows) == list(range(n_rows))


def test_with_replacement_each_row_is_as_likely_as_any_other():
    drawn = np.concatenate([order(50, replacement=True, seed=3, epoch=epoch) for epoch in range(400)])
    assert drawn.dtype == np.int64
    counts = np.bincount(drawn, minlength=50)
    assert len(counts) == 50
    assert stats.chisquare(counts).pvalue > 0.001
    # An epoch omits a given row with a probability of nearly 1/e.
    missing = [50 - len(set(order(50, replacement=True, seed=4, epoch=epoch))) for epoch in range(400)]
    assert np.mean(missing) == pytest.approx(50 * (1 - 1 / 50) ** 50, abs=0.6)


@pytest.mark.parametrize(("n_rows", "block"), [(1, 2), (700, 2), (701, 2), (5000, 3), (10, 4), (100, 1000)])
def test_a_block_wise_order_has_each_row_once_and_is_another_each_epoch(n_rows, block):
    orders = {tuple(order(n_rows, seed=3, epoch=epoch, block=block)) for epoch in range(5)}
    assert all(sorted(rows) == list(range(n_rows)) for rows in orders)
    assert len(orders) == (5 if n_rows > 1 else 1)
    assert tuple(order(n_rows, seed=3, epoch=2, block=block)) in orders
    assert list(order(n_rows, shuffle=False, seed=3, epoch=2, block=block)) == list(range(n_rows))


def test_a_block_of_one_row_is_a_shuffle_of_all():
    np.testing.assert_array_equal(order(900, seed=1, epoch=2, block=1), order(900, seed=1, epoch=2))


def test_a_window_reads_few_blocks_from_all_over_the_rows():
    block, n_rows = 5, 5 * 256 * 20
    for window in order(n_rows, seed=0, epoch=1, block=block).reshape(20, 256 * block):
        blocks, counts = np.unique(window // block, return_counts=True)
        assert len(blocks) == 256
        assert (counts == block).all()
        # The blocks are spread evenly over the four quarters of the rows.
        assert stats.chisquare(np.bincount(blocks // (256 * 5))).pvalue > 1e-4


def test_what_a_block_wise_order_keeps_and_loses():
    """Rows of different blocks are as far apart as in a full shuffle: on average, a third of the number of rows."""
    block, n_rows = 10, 10 * 256 * 20
    near, far, place = [], [], np.empty(n_rows, int)
    for epoch in range(20):
        place[order(n_rows, seed=0, epoch=epoch, block=block)] = np.arange(n_rows)
        far.append(np.abs(place[:-block] - place[block:]).mean() / n_rows)
        near.append(np.abs(place[0::block] - place[1::block]).max())
    assert np.mean(far) == pytest.approx(1 / 3, abs=0.005)
    assert max(near) < 256 * block
    # The position of a row in one epoch does not predict its position in the next.
    first, second = (np.argsort(order(n_rows, seed=0, epoch=epoch, block=block)) for epoch in (1, 2))
    assert abs(stats.pearsonr(first, second).statistic) < 0.05


def test_unshuffled_is_in_order():
    for seed, epoch in itertools.product(range(2), range(3)):
        assert list(order(50, shuffle=False, seed=seed, epoch=epoch)) == list(range(50))


def test_the_order_is_that_of_seed_and_epoch_alone():
    def of(seed=0, epoch=0):
        return tuple(order(50, seed=seed, epoch=epoch))

    np.random.seed(1)  # noqa: NPY002
    first = of(seed=4, epoch=7)
    np.random.seed(2)  # noqa: NPY002
    of(epoch=8)
    assert of(seed=4, epoch=7) == first
    orders = {of(seed=seed, epoch=epoch) for seed, epoch in itertools.product(range(10), range(10))}
    assert len(orders) == 100


def test_the_largest_seed():
    assert sorted(order(5, seed=4294967295, epoch=10**6)) == list(range(5))


def test_every_permutation_is_as_likely():
    counts = dict.fromkeys(itertools.permutations(range(4)), 0)
    for epoch in range(2400):
        counts[tuple(order(4, seed=0, epoch=epoch))] += 1
    assert stats.chisquare(list(counts.values())).pvalue > 0.01


@pytest.mark.parametrize(("n_rows", "batch_size"), SHAPES)
def test_batches_are_the_order_cut_up_and_padding_is_last(rng, n_rows, batch_size):
    given = rng.permutation(n_rows)
    rows, present = batches(given, batch_size)
    assert rows.shape == present.shape == (math.ceil(n_rows / batch_size), batch_size)
    assert rows.dtype == np.int64
    assert present.dtype == np.bool_
    for i in range(len(rows)):
        assert list(rows[i][present[i]]) == list(given[i * batch_size : (i + 1) * batch_size])
    assert list(present.ravel()) == [True] * n_rows + [False] * (present.size - n_rows)
    # Padding is the index of an existing row, so that a device can gather it without a check.
    assert set(rows[~present]) <= {0}
    assert present.any(axis=1).all()


def test_an_order_may_leave_rows_out_and_repeat_others():
    rows, present = batches(np.array([5, 5, 9, 5, 2], np.int32), 2)
    assert rows.tolist() == [[5, 5], [9, 5], [2, 0]]
    assert present.tolist() == [[True, True], [True, True], [True, False]]
    assert rows.dtype == np.int64
