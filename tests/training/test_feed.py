import numpy as np
import pytest
import scipy.sparse
from strict import StrictBackend

from mlpgpu.backends.csr import Csr
from mlpgpu.backends.numpy import NumpyBackend
from mlpgpu.data.batches import batches, order
from mlpgpu.data.mapped import Mapped
from mlpgpu.training.feed import Gathered, Resident, Rows, Scaled, Streamed, Unscaled, chunks, is_sparse, open_feed

SHIFT, FACTOR = np.array([1.0, -2.0, 0.5]), np.array([0.1, 3.0, 1 / 255])


def as_they_are(backend, dtype="float64"):
    return Scaled(backend, np.array(0.0), np.array(1.0), dtype)


def rows_of(rng, kind, n=11):
    x = rng.integers(0, 256, size=(n, 3), dtype=np.uint8) if kind == "bytes" else rng.normal(size=(n, 3))
    targets = rng.integers(0, 4, size=n) if kind != "regression" else rng.normal(size=(n, 2))
    return Rows(x, targets, rng.uniform(size=n) if kind == "weighted" else None)


@pytest.mark.parametrize("feed", [Resident, Gathered, Streamed])
@pytest.mark.parametrize("kind", ["bytes", "floats", "weighted", "regression"])
@pytest.mark.parametrize("per_call", [2, 10])
def test_batches_are_the_rows_that_the_order_names(backend, rng, feed, kind, per_call):
    given = rows_of(rng, kind)
    weights = np.ones(11) if given.weights is None else given.weights
    numbers, present = batches(order(11, seed=1, epoch=1), 4)
    opened = feed(backend, given, as_they_are(backend))
    pick = opened.items(numbers, present)
    seen = 0
    for start in range(0, 3, per_call):
        items = pick(start, min(start + per_call, 3))
        for i in range(items[0].shape[0]):
            batch = opened.batch(opened.data, tuple(item[i, ...] for item in items))
            x, targets, w = (backend.to_host(part) for part in batch)
            np.testing.assert_array_equal(x, given.x[numbers[seen]])
            np.testing.assert_array_equal(targets, given.targets[numbers[seen]])
            np.testing.assert_array_equal(w, weights[numbers[seen]] * present[seen])
            assert x.dtype == given.x.dtype
            assert targets.dtype == given.targets.dtype
            assert w.dtype == np.float64
            seen += 1
    assert seen == 3
    # The last batch has one row of padding, of weight zero.
    assert list(w == 0) == [False, False, False, True]


@pytest.mark.parametrize("feed", [Resident, Gathered, Streamed])
@pytest.mark.parametrize("kind", ["bytes", "weighted", "regression"])
def test_chunks_are_consecutive_rows(backend, rng, feed, kind):
    given = rows_of(rng, kind)
    opened = feed(backend, given, as_they_are(backend))
    for start, stop in [(0, 4), (4, 8), (8, 11), (0, 11)]:
        x, targets, w = (backend.to_host(part) for part in opened.chunk(start, stop))
        np.testing.assert_array_equal(x, given.x[start:stop])
        np.testing.assert_array_equal(targets, given.targets[start:stop])
        expected = np.ones(stop - start) if given.weights is None else given.weights[start:stop]
        np.testing.assert_array_equal(w, expected)


@pytest.mark.parametrize("feed", [Resident, Gathered, Streamed])
def test_floats_are_of_the_runs_type_and_labels_and_bytes_of_their_own(backend, rng, feed):
    for kind, kinds in [
        ("bytes", ("uint8", "int64")),
        ("weighted", ("float32", "int64")),
        ("regression", ("float32", "float32")),
    ]:
        opened = feed(backend, rows_of(rng, kind), as_they_are(backend, "float32"))
        pick = opened.items(*batches(order(11), 4))
        item = tuple(part[0, ...] for part in pick(0, 1))
        for batch in (opened.chunk(0, 4), opened.batch(opened.data, item)):
            assert [backend.to_host(part).dtype for part in batch] == [*kinds, "float32"]


def test_integer_weights_and_targets_of_a_column(backend):
    given = Rows(np.eye(3), np.array([[1.0], [2.0], [3.0]]), np.array([1, 0, 2]))
    for feed in (Resident, Streamed):
        _, targets, weights = feed(backend, given, as_they_are(backend)).chunk(0, 3)
        assert backend.to_host(targets).shape == (3, 1)
        np.testing.assert_array_equal(backend.to_host(weights), [1.0, 0.0, 2.0])


@pytest.mark.parametrize("device", ["CPU_DEVICE", "device1"])
def test_rows_stay_on_the_host_where_three_quarters_of_the_memory_do_not_hold_them(rng, device):
    given = rows_of(rng, "weighted", 100)
    n_bytes = 100 * 3 * 8 + 100 * 8 + 100 * 8
    assert given.nbytes == n_bytes == 4000
    assert rows_of(rng, "bytes", 100).nbytes == 100 * 3 + 100 * 8
    for free, kind in [
        (None, Resident),
        (5334, Resident),
        (5333, Streamed),
        (0, Streamed),
    ]:
        backend = StrictBackend(device, free=free)
        opened = open_feed(backend, given, as_they_are(backend))
        assert type(opened) is kind
        x, _, _ = opened.chunk(2, 5)
        np.testing.assert_array_equal(np.asarray(x.to_device(StrictBackend.xp.Device("CPU_DEVICE"))), given.x[2:5])


def test_what_is_on_the_device_stays_there(rng):
    """However little memory is free, since nothing is copied."""
    backend = StrictBackend("device1", free=0)
    given = rows_of(rng, "floats")
    x = backend.asarray(given.x)
    opened = open_feed(backend, Rows(x, given.targets), Unscaled(backend, "float64"))
    assert type(opened) is Resident
    assert opened.data[0] is x


def test_rows_of_the_device_are_as_those_of_the_host(backend, rng):
    given = rows_of(rng, "weighted")
    there = Rows(backend.asarray(given.x), given.targets, given.weights)
    assert len(there) == len(given) == 11
    item = batches(order(11), 4)
    feeds = [open_feed(backend, rows, Unscaled(backend, "float64")) for rows in (there, given)]
    parts = [feed.batch(feed.data, tuple(part[1, ...] for part in feed.items(*item)(0, 3))) for feed in feeds]
    parts += [feed.chunk(3, 9) for feed in feeds]
    for ours, expected in (parts[:2], parts[2:]):
        for one, other in zip(ours, expected, strict=True):
            assert type(one) is type(other)
            np.testing.assert_array_equal(backend.to_host(one), backend.to_host(other))


SPARSE = [scipy.sparse.csr_matrix, scipy.sparse.csr_array]


@pytest.mark.parametrize("sparse", SPARSE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("per_call", [1, 2, 10])
def test_sparse_rows_are_as_dense_ones(backend, rng, sparse, dtype, per_call):
    x = rng.normal(size=(11, 3)) * (rng.random((11, 3)) < 0.4)
    given = Rows(sparse(x), rng.integers(0, 4, size=11), rng.uniform(size=11))
    assert len(given) == 11
    numbers, present = batches(order(11, seed=1), 4)
    opened = open_feed(backend, given, Unscaled(backend, dtype))
    # Streamed, since dense rows may not fit where the sparse ones do.
    assert type(opened) is Streamed
    pick = opened.items(numbers, present)
    for start in range(0, 3, per_call):
        items = pick(start, min(start + per_call, 3))
        for i in range(items[0].shape[0]):
            batch = opened.batch(opened.data, tuple(item[i, ...] for item in items))
            found, targets, weights = (backend.to_host(part) for part in batch)
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, x[numbers[start + i]].astype(dtype))
            np.testing.assert_array_equal(targets, given.targets[numbers[start + i]])
            expected = given.weights[numbers[start + i]] * present[start + i]
            np.testing.assert_array_equal(weights, expected.astype(dtype))
    found, targets, weights = (backend.to_host(part) for part in opened.chunk(2, 7))
    np.testing.assert_array_equal(found, x[2:7].astype(dtype))
    np.testing.assert_array_equal(targets, given.targets[2:7])
    np.testing.assert_array_equal(weights, given.weights[2:7].astype(dtype))


@pytest.mark.parametrize("kind", ["bytes", "weighted", "regression"])
@pytest.mark.parametrize("per_call", [1, 2, 10])
def test_rows_in_a_file_are_as_those_in_memory(backend, rng, tmp_path, kind, per_call):
    given = rows_of(rng, kind)
    given.x.tofile(tmp_path / "x")
    mapped = Rows(Mapped(tmp_path / "x", 0, given.x.dtype, given.x.shape), given.targets, given.weights)
    assert (len(mapped), mapped.nbytes) == (len(given), given.nbytes)
    numbers, present = batches(order(11, seed=1), 4)
    placement = Scaled(backend, SHIFT, FACTOR, "float64")
    opened, expected = open_feed(backend, mapped, placement), Streamed(backend, given, placement)
    assert type(opened) is Streamed
    ours, theirs = opened.items(numbers, present), expected.items(numbers, present)
    pairs = [(opened.chunk(2, 7), expected.chunk(2, 7))]
    pairs += [(pick(start, min(start + per_call, 3)) for pick in (ours, theirs)) for start in range(0, 3, per_call)]
    for pair in pairs:
        for one, other in zip(*pair, strict=True):
            np.testing.assert_array_equal(backend.to_host(one), backend.to_host(other))


def test_what_is_sparse(backend, rng):
    x = rng.normal(size=(4, 3))
    assert all(is_sparse(kind(x)) for kind in (*SPARSE, scipy.sparse.csc_array, scipy.sparse.coo_matrix))
    assert not is_sparse(x)
    assert not is_sparse(backend.asarray(x))


def test_rows_that_stay_sparse_are_as_wide_as_what_they_store():
    """On average, rounded up: calls and chunks have as many rows as fit."""
    x = scipy.sparse.csr_array(np.array([[0, 1.0, 0, 2, 0, 0], [0, 0, 0, 0, 0, 5], [0] * 6]))
    rows, sparse = Rows(x, np.zeros(3)), Unscaled(NumpyBackend(), "float64")
    assert open_feed(NumpyBackend(), rows, sparse).width == 1
    assert open_feed(NumpyBackend(), Rows(x[:2], np.zeros(2)), sparse).width == 2
    dense = Unscaled(StrictBackend(), "float64"), Unscaled(NumpyBackend("bf16"), "float32")
    assert [open_feed(each.backend, rows, each).width for each in dense] == [6, 6]
    assert open_feed(NumpyBackend(), rows, sparse, dense=True).width == 6


@pytest.mark.parametrize("stop", [3, 11])
def test_sparse_rows_are_dense_where_they_are_asked_to_be(rng, stop):
    x = rng.normal(size=(11, 3)) * (rng.random((11, 3)) < 0.4)
    given, backend = Rows(scipy.sparse.csr_array(x), rng.integers(0, 4, size=11)), NumpyBackend()
    opened = open_feed(backend, given, Unscaled(backend, "float64"), dense=True)
    numbers, present = batches(order(11, seed=1), 4)
    for placed, expected in [
        (opened.items(numbers, present)(1, 3)[0], x[numbers[1:3]]),
        (opened.chunk(2, stop)[0], x[2:stop]),
    ]:
        assert type(placed) is np.ndarray
        np.testing.assert_array_equal(placed, expected)


def test_streamed_holds_nothing_on_the_device(rng):
    backend = StrictBackend("device1", free=0)
    opened = Streamed(backend, rows_of(rng, "floats"), as_they_are(backend))
    assert opened.data == ()


@pytest.mark.parametrize(("shift", "factor"), [(SHIFT, FACTOR), (np.array(3.0), np.array(1 / 255))])
@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "int16", "int32", "int64", "uint16", "float16", "float32", "float64"]
)
def test_scaling(backend, rng, shift, factor, dtype):
    x = (50 * rng.normal(size=(5, 3))).astype(dtype)
    scaling = Scaled(backend, shift, factor, "float64")
    scaled = backend.to_host(scaling(scaling.place(x)))
    np.testing.assert_allclose(scaled, (x.astype(float) - shift) * factor, rtol=1e-14)


def test_bytes_stay_bytes_on_the_device(backend):
    x = np.array([[255, 0, 7]], np.uint8)
    scaling = Scaled(backend, np.array(0.0), np.array(1 / 255), "float32")
    placed = scaling.place(x)
    assert backend.to_host(placed).dtype == np.uint8
    scaled = backend.to_host(scaling(placed))
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, x / np.float32(255), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["int64", "float64"])
def test_what_single_precision_cannot_hold_is_centred_before_it_is_rounded(backend, dtype):
    # Seconds since 1970, where adjacent float32 numbers are two minutes apart.
    x = np.array([[1_700_000_000], [1_700_000_010], [1_700_000_020]], dtype)
    scaling = Scaled(backend, x.mean(axis=0), np.array([0.1]), "float32")
    np.testing.assert_array_equal(backend.to_host(scaling(scaling.place(x))), [[-1.0], [0.0], [1.0]])


def test_what_is_too_large_for_its_type_is_infinite_without_a_warning(backend):
    scaling = Scaled(backend, np.array(0.0), np.array(2.0), "float32")
    np.testing.assert_array_equal(
        backend.to_host(scaling.place(np.array([[1e300, 1.5, -1e300]]))), [[np.inf, 3, -np.inf]]
    )


def test_placing_many_rows_is_placing_each(backend, rng, monkeypatch):
    monkeypatch.setattr("mlpgpu.training.feed.CHUNK", 4)
    x = rng.normal(size=(11, 3))
    scaling = Scaled(backend, SHIFT, FACTOR, "float64")
    np.testing.assert_array_equal(backend.to_host(scaling.place(x)), (x - SHIFT) * FACTOR)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_unscaled_is_of_the_runs_type_and_nothing_else(backend, rng, dtype):
    placement = Unscaled(backend, dtype)
    assert placement.dtype == dtype
    for x in (rng.normal(size=(5, 3)), rng.integers(0, 256, size=(5, 3), dtype=np.uint8), np.arange(6).reshape(2, 3)):
        for given in (x, backend.asarray(x), *(kind(x) for kind in SPARSE)):
            placed = placement.place(given)
            assert placement(placed) is placed
            stays_sparse = is_sparse(given) and backend.name == "numpy"
            assert type(placed) is (Csr if stays_sparse else type(backend.asarray(x)))
            assert backend.to_host(placed).dtype == dtype
            np.testing.assert_array_equal(backend.to_host(placed), x.astype(dtype))


@pytest.mark.parametrize(
    ("n_rows", "n_features", "size"),
    [
        (1, 1, 4096),
        (4096, 10, 4096),
        (4097, 10, 4096),
        (20_000, 784, 4096),
        # At most 2^24 elements per chunk: 64 MiB in single precision.
        (20_000, 4096, 4096),
        (20_000, 4097, 4095),
        (1000, 130_107, 128),
        (5, 2**25, 1),
        (5, 0, 4096),
        (0, 7, 4096),
    ],
)
def test_chunks_have_each_row_once_and_are_not_too_large(n_rows, n_features, size):
    parts = list(chunks(n_rows, n_features))
    assert [row for start, stop in parts for row in range(start, stop)] == list(range(n_rows))
    lengths = [stop - start for start, stop in parts]
    assert all(length == size for length in lengths[:-1])
    assert all(0 < length <= size for length in lengths)
    assert all(length == 1 or length * n_features <= 2**24 for length in lengths)
