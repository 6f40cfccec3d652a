"""The layout of weights and biases in one vector."""

import numpy as np
import pytest

from mlpgpu.maths import parameters

SIZES = (3, 4, 2)


def test_keras_count_of_the_fashion_mnist_network():
    # Keras prints 78,500 + 1,010 = 79,510 for 784-100-10.
    assert parameters.count((784, 100, 10)) == 79_510
    assert parameters.count_weights((784, 100, 10)) == 79_510 - 110


def test_blocks_tile_the_vector_weights_first():
    blocks = parameters.layout(SIZES)
    assert [block.name for block in blocks] == ["w1", "w2", "b1", "b2"]
    assert [block.start for block in blocks] == [0, 12, 20, 24]
    assert blocks[-1].stop == parameters.count(SIZES) == 26


@pytest.mark.parametrize("lead", [(), (5,), (2, 3)])
def test_split_finds_what_was_packed_and_join_undoes_it(backend, rng, lead):
    w1, w2 = rng.normal(size=(*lead, 3, 4)), rng.normal(size=(*lead, 4, 2))
    b1, b2 = rng.normal(size=(*lead, 4)), rng.normal(size=(*lead, 2))
    packed = np.concatenate([part.reshape(*lead, -1) for part in (w1, w2, b1, b2)], axis=-1)
    pairs = parameters.split(backend.xp, backend.asarray(packed), SIZES)
    for (w, b), (w_expected, b_expected) in zip(pairs, [(w1, b1), (w2, b2)], strict=True):
        np.testing.assert_array_equal(backend.to_host(w), w_expected)
        np.testing.assert_array_equal(backend.to_host(b), b_expected)
    np.testing.assert_array_equal(backend.to_host(parameters.join(backend.xp, pairs)), packed)
