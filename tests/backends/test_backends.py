"""What the trainer relies on, for every backend; and the backend of CuPy on a stand-in."""

import fakes
import numpy as np
import pytest

from mlpgpu import backends
from mlpgpu.backends.cuda_failures import is_out_of_memory

DTYPES = ["uint8", "int32", "int64", "float32", "float64"]


def numbers(dtype, shape=(3, 4)):
    return (np.arange(12).reshape(3, 4) * (20 if dtype == "uint8" else -1000 / 3)).astype(dtype)


@pytest.fixture
def fake_cupy(monkeypatch):
    fake = fakes.cupy(devices=2, free=1000, pooled=24)
    fakes.put(monkeypatch, "cupy", fake)
    return backends.select("cuda:1")[0]


def there_and_back(backend, array, dtype=None):
    on_device = backend.asarray(array, dtype)
    host = backend.to_host(on_device)
    assert type(host) is np.ndarray
    assert host.shape == tuple(on_device.shape) == array.shape
    return host


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_come_back_as_they_were(backend, dtype):
    array = numbers(dtype)
    host = there_and_back(backend, array)
    assert host.dtype == dtype
    np.testing.assert_array_equal(host, array)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("given", DTYPES)
def test_arrays_come_back_in_the_dtype_asked_for(backend, given, dtype):
    host = there_and_back(backend, numbers(given), dtype)
    assert host.dtype == dtype
    np.testing.assert_array_equal(host, numbers(given).astype(dtype))


def test_what_is_too_large_for_its_dtype_is_infinite_without_a_warning(backend):
    """Such as the mean of a column of numbers of 1e60, which are scaled before they are rounded."""
    host = there_and_back(backend, np.array([1e60, -1e60, 1.0]), "float32")
    np.testing.assert_array_equal(host, np.array([np.inf, -np.inf, 1], np.float32))


@pytest.mark.parametrize(
    "view",
    [lambda a: a.T, lambda a: a[:, ::2], lambda a: a[::-1], lambda a: np.broadcast_to(a[0], (5, 4)), np.asfortranarray],
    ids=["transposed", "strided", "reversed", "broadcast", "fortran"],
)
def test_arrays_that_are_not_contiguous(backend, view):
    array = view(numbers("float64"))
    np.testing.assert_array_equal(there_and_back(backend, array), array)


def test_arrays_that_are_read_only_stay_as_they_are(backend):
    array = numbers("float64")
    array.flags.writeable = False
    np.testing.assert_array_equal(there_and_back(backend, array), numbers("float64"))
    doubled = backend.to_host(backend.asarray(array) * 2)
    np.testing.assert_array_equal(doubled, 2 * array)
    assert not array.flags.writeable


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("writeable", [True, False])
def test_arrays_of_no_dimension_and_of_no_rows(backend, dtype, writeable):
    for array in (np.asarray(7, dtype), np.empty((0, 4), dtype)):
        array.flags.writeable = writeable
        host = there_and_back(backend, array)
        assert host.dtype == dtype
        np.testing.assert_array_equal(host, array)


@pytest.mark.parametrize("given", DTYPES)
def test_arrays_of_the_device_stay_there(backend, given):
    on_device = backend.asarray(numbers(given))
    again = backend.asarray(on_device)
    assert type(again) is type(on_device)
    assert again.device == on_device.device
    assert backend.to_host(again).dtype == given
    np.testing.assert_array_equal(backend.to_host(again), numbers(given))
    for dtype in ("float32", "float64"):
        cast = backend.asarray(on_device, dtype)
        assert type(cast) is type(on_device)
        assert cast.device == on_device.device
        assert backend.to_host(cast).dtype == dtype
        np.testing.assert_array_equal(backend.to_host(cast), numbers(given).astype(dtype))


def test_an_array_of_the_device_of_no_dimension_and_of_no_rows(backend):
    for array in (np.asarray(7.5), np.empty((0, 4))):
        again = backend.to_host(backend.asarray(backend.asarray(array), "float32"))
        assert (again.dtype, again.shape) == (np.float32, array.shape)
        np.testing.assert_array_equal(again, array)


def count_up(backend):
    """Return a step with a state of two parts, shared data and two items, which `loop_by_hand` repeats."""
    xp = backend.xp

    def step(state, data, item):
        total, done = state
        weight, bias = data
        row, factor = item
        loss = xp.sum(total * weight) + bias
        return (total + factor * row, done + 1), loss

    return step


def loop_by_hand(total, weight, bias, rows, factors):
    losses = []
    for row, factor in zip(rows, factors, strict=True):
        losses.append((total * weight).sum() + bias)
        total = total + factor * row
    return total, np.array(losses)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_a_compiled_loop_is_a_plain_one(backend, rng, n):
    total, weight, bias = rng.normal(size=4), rng.normal(size=4), np.asarray(rng.normal())
    rows, factors = rng.normal(size=(n, 4)), rng.normal(size=n)
    expected, losses = loop_by_hand(total, weight, bias, rows, factors)
    loop = backend.compile_loop(count_up(backend), 1000)
    state = backend.asarray(total), backend.asarray(np.zeros((), np.int32))
    data = backend.asarray(weight), backend.asarray(bias)
    (ours, done), given = loop(state, data, (backend.asarray(rows), backend.asarray(factors)))
    np.testing.assert_allclose(backend.to_host(ours), expected, rtol=1e-14)
    np.testing.assert_allclose(backend.to_host(given), losses, rtol=1e-13)
    assert backend.to_host(given).shape == (n,)
    assert backend.to_host(done).dtype == np.int32
    assert int(backend.to_host(done)) == n


def test_a_loop_goes_on_where_it_stopped(backend, rng):
    total, weight, bias = rng.normal(size=3), rng.normal(size=3), np.asarray(0.5)
    rows, factors = rng.normal(size=(5, 3)), rng.normal(size=5)
    expected, losses = loop_by_hand(total, weight, bias, rows, factors)
    loop = backend.compile_loop(count_up(backend), 1000)
    state = backend.asarray(total), backend.asarray(np.zeros((), np.int32))
    data = backend.asarray(weight), backend.asarray(bias)
    given = []
    for part in (slice(0, 2), slice(2, 4), slice(4, 5)):
        state, some = loop(state, data, (backend.asarray(rows[part]), backend.asarray(factors[part])))
        given.append(backend.to_host(some))
    np.testing.assert_allclose(backend.to_host(state[0]), expected, rtol=1e-14)
    np.testing.assert_allclose(np.concatenate(given), losses, rtol=1e-13)


def test_a_compiled_function_sees_new_arguments(backend):
    xp = backend.xp
    double = backend.compile(lambda x, rate: (xp.sum(x) * rate, x + rate))
    for rate in (1.5, -2.0):
        for n in (3, 4):
            x = np.arange(float(n))
            total, moved = double(backend.asarray(x), backend.asarray(np.asarray(rate)))
            assert float(backend.to_host(total)) == rate * n * (n - 1) / 2
            np.testing.assert_array_equal(backend.to_host(moved), x + rate)


def test_what_a_backend_says_of_itself(real_backend):
    assert real_backend.name in backends.BACKENDS
    assert real_backend.device == "cpu" or real_backend.device.startswith("cuda:")
    assert real_backend.description.startswith(real_backend.device)
    assert "\n" not in real_backend.description
    assert real_backend.steps_per_call >= 1


def test_the_version_is_in_the_description(real_backend):
    import importlib.metadata

    # CuPy's wheel is named after its CUDA version, so its metadata cannot be found by the name of the backend.
    is_cupy = real_backend.name == "cupy"
    version = real_backend.cupy.__version__ if is_cupy else importlib.metadata.version(real_backend.name)
    assert version in real_backend.description


def test_memory(real_backend):
    free = real_backend.free_memory()
    if real_backend.device == "cpu":
        assert free is None
    else:
        assert isinstance(free, int)
        assert free > 0


# --- CuPy on a stand-in ---------------------------------------------------------------------------------------------


def test_fake_cupy_arrays(fake_cupy):
    for dtype in DTYPES:
        on_device = fake_cupy.asarray(numbers(dtype))
        assert isinstance(on_device, fakes.DeviceArray)
        np.testing.assert_array_equal(there_and_back(fake_cupy, numbers(dtype)), numbers(dtype))
    assert fake_cupy.asarray(numbers("uint8"), "float32").dtype == np.float32
    again = fake_cupy.asarray(fake_cupy.asarray(numbers("uint8")), "float32")
    assert isinstance(again, fakes.DeviceArray)
    assert again.dtype == np.float32


def test_fake_cupy_memory_counts_what_its_pool_holds(fake_cupy):
    assert fake_cupy.free_memory() == 1000 + 24
    assert type(fake_cupy.free_memory()) is int


def test_fake_cupy_says_which_device(fake_cupy):
    assert (fake_cupy.name, fake_cupy.device) == ("cupy", "cuda:1")
    assert fake_cupy.description == "cuda:1, Fake 1, CuPy 13.6.0"


def test_fake_cupy_loop(fake_cupy, rng):
    total, weight, bias = rng.normal(size=4), rng.normal(size=4), np.asarray(1.0)
    rows, factors = rng.normal(size=(3, 4)), rng.normal(size=3)
    expected, losses = loop_by_hand(total, weight, bias, rows, factors)
    fake_cupy.xp.sum = lambda array: np.sum(array).view(fakes.DeviceArray)
    put = fake_cupy.asarray
    state, given = fake_cupy.compile_loop(count_up(fake_cupy), 1000)(
        (put(total), put(np.zeros(1, np.int32))), (put(weight), put(bias)), (put(rows), put(factors))
    )
    np.testing.assert_array_equal(fake_cupy.to_host(state[0]), expected)
    np.testing.assert_array_equal(fake_cupy.to_host(given), losses)


def test_jax_compiles_what_is_for_a_single_pass_only_if_the_pass_is_long():
    pytest.importorskip("jax")
    from mlpgpu.backends.jax import PATIENCE

    backend, _ = backends.select("cpu", "jax", "float64")
    runs = []
    doubled = backend.compile(lambda x: [runs.append(1), 2 * x][1], once=True)
    x = backend.asarray(np.arange(3.0))
    found = [doubled(x) for _ in range(PATIENCE + 5)]
    # Compiled code runs no Python, but for the trace.
    assert len(runs) == PATIENCE + 1
    np.testing.assert_array_equal(found, np.tile([0.0, 2.0, 4.0], (PATIENCE + 5, 1)))


def test_an_array_that_no_memory_holds_is_known_as_that(real_backend):
    with pytest.raises(Exception, match=r".") as caught:
        real_backend.to_host(real_backend.xp.ones((2**50,)) + 1)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("another"))
    assert not is_out_of_memory(ValueError(str(caught.value)))


@pytest.mark.parametrize(
    "words",
    [
        "cudaErrorMemoryAllocation: out of memory",
        # From the driver, when it loads or launches a kernel.
        "CUDA_ERROR_OUT_OF_MEMORY: out of memory",
        "CUBLAS_STATUS_ALLOC_FAILED",
    ],
)
def test_what_cuda_says_of_memory(words):
    assert is_out_of_memory(fakes.CudaError(words))
    assert not is_out_of_memory(fakes.CudaError("cudaErrorIllegalAddress"))
    # CuPy's pool raises a subclass of this.
    assert is_out_of_memory(MemoryError("Out of memory allocating 1,024 bytes"))
