"""Memory-mapped rows, against the same rows in memory."""

import copy
import pickle

import numpy as np
import pytest

from mlpgpu.data import mapped
from mlpgpu.data.mapped import Batches, Mapped, pieces, take


@pytest.fixture(params=["<f4", ">f4", ">i2", "u1"])
def pair(request, tmp_path, rng):
    """Return rows in a file at offset 5, and the same rows in memory."""
    x = rng.integers(0, 100, size=(50, 7)).astype(request.param)
    (tmp_path / "x").write_bytes(b"12345" + x.tobytes())
    return Mapped(tmp_path / "x", 5, x.dtype, x.shape), x.astype(x.dtype.newbyteorder("="))


@pytest.fixture(params=[1, 3, 2048])
def at_once(request, monkeypatch):
    monkeypatch.setattr(mapped, "ROWS", request.param)


KEYS = [
    slice(None),
    slice(3, 9),
    slice(45, 99),
    slice(None, None, 7),
    slice(4, 4),
    (slice(2, 5), ...),
    np.array([4, 1, 1, 20]),
    np.array([[3, 0], [21, 3], [5, 4]]),
    np.zeros((0, 3), int),
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_an_index_reads_what_it_reads_of_an_array(pair, at_once, key):
    file, x = pair
    chosen = np.sort(np.random.default_rng(1).permutation(50)[:30])
    for rows, expected in (
        (file, x),
        (file.rows(chosen), x[chosen]),
        (file.rows(chosen).rows(np.arange(25)), x[chosen][:25]),
    ):
        read = rows[key]
        np.testing.assert_array_equal(read, expected[key])
        assert type(read) is np.ndarray
        assert read.dtype == x.dtype
        assert read.dtype.isnative
        assert read.flags.writeable


def test_what_is_known_of_it_is_that_of_an_array(pair):
    file, x = pair
    chosen = np.array([1, 4, 30])
    for rows, expected in ((file, x), (file.rows(chosen), x[chosen])):
        for name in ("shape", "dtype", "nbytes", "ndim"):
            assert getattr(rows, name) == getattr(expected, name)
        assert len(rows) == len(expected)


def test_it_can_be_copied_and_sent(pair):
    file, x = pair
    for other in (copy.deepcopy(file), pickle.loads(pickle.dumps(file.rows(np.arange(9))))):
        np.testing.assert_array_equal(other[2:5], x[2:5])


def test_rows_are_chosen_without_reading_them(pair):
    file, x = pair
    file.path.unlink()
    assert isinstance(take(file, np.array([1, 2])), Mapped)
    np.testing.assert_array_equal(take(x, np.array([1, 2])), x[1:3])
    with pytest.raises(FileNotFoundError):
        file[:3]


def test_a_block_is_a_quarter_of_a_mebibyte_or_one_row(tmp_path):
    for n_features, block in ((1, 2**18), (784, 334), (2**18, 1), (2**20, 1)):
        assert Mapped(tmp_path, 0, np.dtype("u1"), (9, n_features)).block == block


@pytest.mark.parametrize("ahead", [1, 60, 200, 10**6])
@pytest.mark.parametrize("per_call", [1, 2, 5])
def test_batches_are_those_of_the_order_however_many_are_read_at_once(pair, rng, monkeypatch, ahead, per_call):
    monkeypatch.setattr(mapped, "AHEAD", ahead)
    file, x = pair
    order = rng.permutation(48).reshape(12, 4)
    read = Batches(file, order)
    for start in range(0, 12, per_call):
        np.testing.assert_array_equal(read(start, min(start + per_call, 12)), x[order[start : start + per_call]])
    # Reading may start again at any batch, after an epoch that was interrupted.
    np.testing.assert_array_equal(read(2, 4), x[order[2:4]])


@pytest.mark.parametrize("piece", [1, 20, 10**6])
def test_pieces_are_all_rows_in_order(pair, monkeypatch, piece):
    monkeypatch.setattr(mapped, "PIECE", piece)
    for rows in pair:
        parts = list(pieces(rows))
        np.testing.assert_array_equal(np.concatenate(parts), pair[1])
        assert all(len(part) == 1 or part.size <= piece for part in parts)
