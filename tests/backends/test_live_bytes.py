"""Bytes counted for functions that run eagerly, compared with what NumPy allocates."""

import tracemalloc

import numpy as np
import pytest

from mlpgpu.backends.live_bytes import of_function, of_loop


@pytest.mark.parametrize(
    "function",
    [
        lambda x: np.argmax(x, axis=-1),
        lambda x: np.full_like(x, 3.0),
        lambda x: np.max(x, axis=-1) + np.sum(x * x, axis=-1),
    ],
    ids=["the place of the largest", "one number throughout", "sums and extremes"],
)
def test_what_a_function_takes(function):
    x = np.zeros((50_000, 10))
    tracemalloc.start()
    try:
        function(x)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert of_function(function, (x,)).call == pytest.approx(taken, rel=0.01)


def test_memory_is_taken_in_pieces_for_as_long_as_a_view_is_held():
    """Of 512 bytes, as CuPy and PyTorch allocate it."""
    assert [of_function(np.square, (np.zeros(n),)).call for n in (1, 64, 65)] == [512, 512, 1024]

    def held(x):
        row = np.square(x)[:1, :]
        return np.exp(x), row

    def free(x):
        np.square(x)[:1, :]
        return np.exp(x), np.exp(x)

    x = np.zeros((64, 64))
    assert of_function(held, (x,)).call == of_function(free, (x,)).call == 2 * x.nbytes


def test_steps_take_a_state_beside_the_first_and_what_they_close_over():
    x, of_its_own = np.zeros((64, 64)), np.ones((64, 64))

    def step(state, data, item):
        return np.square(state) + of_its_own, np.sum(state)

    found = of_loop(step, x, (), np.zeros((3, 1)))
    # In the second step: the state and the loss of the first, the square of that state, and the new state.
    assert (found.kept, found.call) == (of_its_own.nbytes, 3 * x.nbytes + 512)
    assert found.first == found.call
