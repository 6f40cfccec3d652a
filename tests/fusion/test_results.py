"""Steps with unusual results and arguments, whose results replace their state, compared with the eager loop."""

import numpy as np
import pytest
from scipy import special
from ways import assert_alike, logged, loop_by, run

A, B = np.random.default_rng(0).normal(size=(2, 5))
TABLE = np.random.default_rng(1).normal(size=(5, 4))
ORDER = np.array([3, 2, 1, 0, 4])
NUMBER = np.array(3.0)

# What a step returns -> the step, and its first state.
RETURNS = {
    "each other": (lambda s, d, i: ((s[1], s[0]), np.sum(s[0])), (A, B)),
    "the one before": (lambda s, d, i: ((0.5 * s[0] + 1, s[0]), np.sum(s[0])), (A, B)),
    "another": (lambda s, d, i: ((s[1], 0.5 * s[1]), np.sum(s[0])), (A, B)),
    "the same": (lambda s, d, i: ((s[0], 0.5 * s[1]), np.sum(s[1])), (A, B)),
    "one twice": (lambda s, d, i: ((s[0] + s[1], s[0] + s[1]), np.sum(s[1])), (A, B)),
    "a loss that is its state": (lambda s, d, i: ((0.5 * s[0],), s[0]), (NUMBER,)),
    "a loss that is a view of its state": (lambda s, d, i: ((0.5 * s[0],), s[0][..., 1]), (A,)),
    "a loss that is its data": (lambda s, d, i: ((0.5 * s[0],), d[0]), (A,)),
    "a loss that is a number": (lambda s, d, i: ((0.5 * s[0],), 1.5), (A,)),
    "backwards": (lambda s, d, i: ((s[0][::-1],), np.sum(s[0] * A)), (B,)),
    "the sum with its reverse": (lambda s, d, i: ((s[0] + s[0][::-1],), np.sum(s[0])), (B,)),
    "turned": (lambda s, d, i: ((np.matrix_transpose(s[0]),), np.sum(s[0] * TABLE[:4])), (TABLE[1:],)),
    "other rows": (lambda s, d, i: ((np.take(s[0], ORDER, axis=0),), np.sum(s[0])), (A,)),
    "other rows and more": (lambda s, d, i: ((np.take(s[0], ORDER, axis=0) + 1,), np.sum(s[0])), (A,)),
    "zeros": (lambda s, d, i: ((0.5 * s[0], np.zeros_like(s[1])), np.sum(s[0] + s[1])), (A, B)),
    "joined with ones": (
        lambda s, d, i: ((np.concat([2 * s[0][:2], np.ones_like(s[0][2:])]),), np.sum(s[0])),
        (A,),
    ),
    "joined with what has fewer digits": (
        lambda s, d, i: ((np.concat([np.astype(s[0][:2] / 3, np.float32), s[0][2:] / 3]),), np.sum(s[0])),
        (A,),
    ),
    "what another pass reads the double of": (
        lambda s, d, i: ((s[0] + s[0][::-1],), np.sum((2 * (s[0] + s[0][::-1]))[::-1] * A)),
        (B,),
    ),
    "a choice of its own": (lambda s, d, i: ((np.where(s[0] > 0, -s[0], 0.5 * s[0]),), np.sum(s[0])), (A,)),
    "itself or another": (lambda s, d, i: ((np.where(s[0] > 0, s[0], 0.5 * s[0]),), np.sum(s[0])), (A,)),
    "one more than a choice": (lambda s, d, i: ((np.where(s[0] > 0, -s[0], B) + 1,), np.sum(s[0])), (A,)),
}

READS = {
    "one number": (lambda s, d, i: ((0.5 * s[0], s[1]), np.sum(s[0]) * s[0][0] + s[1][-1, 2]), (A, TABLE)),
    "an extreme first": (lambda s, d, i: ((np.max(s[0], axis=-1, keepdims=True) - s[0],), np.sum(s[0])), (TABLE,)),
    "a sum of ones": (lambda s, d, i: ((s[0] / np.sum(np.ones_like(s[0])),), np.sum(s[0])), (A,)),
    "a sum along no axis": (
        lambda s, d, i: ((s[0] + np.sum(s[0], axis=(), keepdims=True), s[1] + np.sum(s[1], axis=())), np.sum(s[0])),
        (A, TABLE),
    ),
    "a product with ones": (
        lambda s, d, i: ((s[0] + np.matmul(np.ones_like(s[0]), TABLE[1:]),), np.sum(s[0])),
        (TABLE,),
    ),
    "a number as its truth": (
        lambda s, d, i: ((s[0] + np.astype(np.astype(s[0] - A[0], bool), float),), np.sum(s[0])),
        (A,),
    ),
    "the sum of truths": (lambda s, d, i: ((s[0] + np.astype((s[0] > -5) + (s[0] > -4), float),), np.sum(s[0])), (A,)),
    "a function that NumPy has not": (lambda s, d, i: ((special.erf(s[0]),), np.sum(s[0])), (A,)),
    "a function that is another in NumPy": (lambda s, d, i: ((0.1 * special.round(s[0]),), np.sum(s[0])), (9 * A,)),
    "a zero of each sign": (
        lambda s, d, i: ((np.copysign(s[0], -0.0) + 2 * np.copysign(s[0], 0.0),), np.sum(s[0])),
        (A,),
    ),
    "the first of the largest": (
        lambda s, d, i: ((s[0] + np.argmax(np.where(TABLE > 1, np.nan, np.rint(TABLE + s[0][0])), axis=-1),), s[0][0]),
        (A,),
    ),
    "whether all are": (lambda s, d, i: ((s[0] + np.all(s[0][0] - 1 < TABLE, axis=1),), np.sum(s[0])), (A,)),
    "rows from the end": (lambda s, d, i: ((s[0] + np.take(s[1], ORDER - 2, axis=0), s[1]), np.sum(s[0])), (A, B)),
    "a table in place of a number": (lambda s, d, i: ((s[0] + np.full_like(s[0], A),), np.sum(s[0])), (B,)),
}


@pytest.mark.parametrize("block", [2, 16_384])
@pytest.mark.parametrize("name", RETURNS)
def test_a_step_may_return(way, name, block, monkeypatch):
    monkeypatch.setattr("mlpgpu.fusion.calls.BLOCK", block)
    step, state = RETURNS[name]
    assert_alike(way, step, state, (np.array(0.25),))


@pytest.mark.parametrize("name", READS)
def test_a_step_may_read(way, name):
    step, state = READS[name]
    assert_alike(way, step, state)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (4, 1), (4, 3)])
def test_rows_that_are_taken(way, shape, caplog):
    """Also one row of one column, so that all arrays have a single element."""
    caplog.set_level("INFO")
    rng = np.random.default_rng(2)
    data = rng.normal(size=(6, shape[1])), rng.normal(size=6), rng.normal(size=6)
    rows = rng.integers(0, 6, size=(3, shape[0]))

    def step(state, data, item):
        x, targets, weights = (np.take(part, item[0], axis=0) for part in data)
        error = (np.matmul(x, state[0]) - targets[:, None]) * weights[:, None]
        return (state[0] - 0.1 * np.matmul(np.matrix_transpose(x), error),), np.sum(error * error)

    assert_alike(way, step, (rng.normal(size=(shape[1], 1)),), data, (rows,))
    assert not logged(caplog)


def test_what_is_joined_in_another_shape_is_recorded(way, caplog):
    """Its place in the concatenation is not contiguous."""
    caplog.set_level("INFO")

    def step(state, data, item):
        (x,) = state
        return (x + 1,), np.sum(np.concat([np.reshape(2 * x, (5, 4)), TABLE], axis=1) * np.arange(8.0))

    assert_alike(way, step, (np.reshape(TABLE, (4, 5)),))
    assert not logged(caplog)


@pytest.mark.parametrize(
    ("state", "step"),
    [
        (np.arange(4), lambda s, d, i: ((0.5 * s[0],), np.sum(s[0]))),
        (np.arange(4, dtype=np.int32), lambda s, d, i: ((s[0] + np.int64(3),), np.sum(s[0]))),
        (np.arange(4, dtype=np.float32), lambda s, d, i: ((s[0] * np.float64(0.5),), np.sum(s[0]))),
        (np.arange(4.0), lambda s, d, i: ((s[0] + np.ones((2, 1)),), np.sum(s[0]))),
    ],
    ids=["of another kind", "of more bytes", "of more digits", "of another shape"],
)
def test_a_state_that_becomes_another(way, state, step, caplog):
    """If it does not fit into the memory of the old state, the step runs line by line."""
    assert_alike(way, step, (state,))
    assert logged(caplog)


def test_a_state_handed_back_in_another_order(way):
    expected = [np.full(2, 2.0), np.full(2, 4.0)]
    loop = loop_by(way, lambda s, d, i: ((s[0] + 1, s[1] + 2), np.sum(s[0])))
    (one, other), _ = loop((np.zeros(2), np.zeros(2)), (), (np.arange(2.0),))
    np.testing.assert_array_equal([one, other], expected)
    (one, other), _ = loop((other, one), (), (np.arange(2.0),))
    np.testing.assert_array_equal([one, other], [[6, 6], [6, 6]])


def test_one_array_as_two_parts_of_a_state(way):
    zeros = np.zeros(2)
    loop = loop_by(way, lambda s, d, i: ((s[0] + 1, s[1] + s[0]), np.sum(s[0])))
    (one, other), _ = loop((zeros, zeros), (), (np.arange(3.0),))
    np.testing.assert_array_equal([one, other], [[3, 3], [3, 3]])


def test_a_state_that_is_the_data(way):
    data = np.arange(3.0)
    (state,), _ = loop_by(way, lambda s, d, i: ((s[0] + d[0],), np.sum(s[0])))((data,), (data,), (np.arange(2.0),))
    np.testing.assert_array_equal(state, [0, 3, 6])
    np.testing.assert_array_equal(data, np.arange(3.0))


def test_data_that_is_not_to_be_written_to_or_of_another_byte_order(way):
    read_only = np.arange(5.0)
    read_only.flags.writeable = False
    for data in (read_only, read_only.astype(">f8"), np.asfortranarray(TABLE)[:, 0]):
        assert_alike(way, lambda s, d, i: ((0.5 * s[0] + d[0],), np.sum(s[0] * d[0])), (A,), (data,))


def test_what_is_wrong_with_a_step_shows(way):
    with pytest.raises(IndexError):
        run(way, lambda s, d, i: ((s[0],), np.sum(s[0], axis=1)), (A,))
