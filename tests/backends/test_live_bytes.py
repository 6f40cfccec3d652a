"""Bytes that a function takes line by line, beside those that NumPy takes."""

import tracemalloc

import numpy as np
import pytest

from mlpgpu.backends.live_bytes import of_function


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
