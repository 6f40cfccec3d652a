"""The generated source of a loop, and its arguments."""

import numpy as np
import pytest
from numpy.lib.array_utils import byte_bounds

from mlpgpu.fusion import compiled
from mlpgpu.fusion.loop import Recorded

if not compiled.has_numba():
    pytest.skip("numba is not installed: nothing is compiled", allow_module_level=True)

from mlpgpu.fusion.blas import tile
from mlpgpu.fusion.loops import NotCompiled
from mlpgpu.fusion.source import Source


def source_of(step, state, n_threads=2):
    recorded = Recorded(step, state, (), (np.arange(3.0),))
    return Source(recorded.schedule, recorded.memory, recorded.item, recorded.loss, n_threads)


def test_the_same_memory_has_one_name():
    """With two names, the compiler would have to assume that they alias, and could not vectorise the pass."""

    def step(state, data, item):
        w, x = state
        h = np.matmul(x, w)
        return (w + item[0], x), np.sum(np.matmul(np.exp(np.maximum(h, 0.0)), w))

    source = source_of(step, (np.ones((6, 6)), np.ones((8, 6))))
    places = [(*byte_bounds(array), array.shape, array.strides) for array in source.arrays if array.size > 1]
    assert len(places) == len(set(places))


def test_no_array_starts_soon_after_a_small_one():
    """The loop over both would not be vectorised, and add up in another order: results depended on the addresses."""

    def step(state, data, item):
        (x,) = state
        y = np.exp(x)
        return (y + y[::-1],), np.sum(np.concat([y, x * y]) * np.sum(item[0]))

    arrays = Recorded(step, (np.ones(26),), (), (np.ones((3, 26)),)).memory.arrays.values()
    owners = [array if array.base is None else array.base for array in arrays if array.size > 1]
    assert len(owners) > 3
    assert min(owner.nbytes for owner in owners) >= 512


def test_no_array_starts_soon_after_the_accumulators_of_threads():
    def step(state, data, item):
        (x,) = state
        return (x + np.sum(x, axis=0, keepdims=True),), np.sum(x)

    (partials,) = (array for array in source_of(step, (np.ones((8, 3)),)).arrays if array.ndim == 3)
    assert partials.base.nbytes >= 512


def test_accumulators_of_threads_share_no_cache_line():
    def step(state, data, item):
        (x,) = state
        return (x + np.sum(x, axis=0, keepdims=True),), np.sum(x)

    source = source_of(step, (np.ones((8, 3)),))
    (partials,) = (array for array in source.arrays if array.ndim == 3)
    assert partials.strides[0] >= 3 * partials.itemsize + 64


def test_a_product_of_two_types_is_none_of_blas():
    def step(state, data, item):
        x, _ = state
        return state, np.sum(np.matmul(x, np.astype(x, np.float64) * 2))

    with pytest.raises(NotCompiled, match="a product"):
        source_of(step, (np.ones((3, 3), np.float32), np.ones(())))


def test_a_product_of_half_precision_is_none_of_blas():
    def step(state, data, item):
        (x,) = state
        return (0.5 * x,), np.sum(np.matmul(x, x))

    with pytest.raises(NotCompiled, match="a product"):
        source_of(step, (np.ones((3, 3), np.float16),))


def test_one_text_serves_any_number_of_threads():
    def step(state, data, item):
        x, total = state
        return (x + np.sum(x, axis=0), total + np.sum(x) * item[0]), np.sum(x * total)

    state = np.ones((8, 3)), np.ones(())
    assert len({source_of(step, state, n_threads).text for n_threads in (1, 2, 5)}) == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (32, 128), (200, 128), (5, 5)])
@pytest.mark.parametrize("n_threads", [1, 2, 3, 7])
def test_tiles_of_a_product_divide_its_longer_side_and_cover_it_once(shape, n_threads):
    times = np.zeros(shape, int)
    for thread in range(n_threads):
        top, bottom, left, right = tile(*shape, thread, n_threads)
        times[top:bottom, left:right] += 1
        assert (bottom - top, right - left)[int(shape[0] >= shape[1])] == min(shape)
    np.testing.assert_array_equal(times, 1)
