"""The matmul floor: an epoch of only the matrix products that training cannot avoid."""

import itertools
import time
from collections.abc import Sequence

import numpy as np


class Floor:
    """The products of a step, forward and backward, on preallocated arrays.

    Each layer has two products, and each except the first has a third, for the gradient of its input.

    Parameters
    ----------
    sizes : sequence of int
        Units of each layer, inputs first.
    batch_size, n_rows : int
        Rows per step and per epoch; the last batch is as long as the others.
    dtype : str
    """

    def __init__(self, sizes: Sequence[int], batch_size: int, n_rows: int, dtype: str = "float32") -> None:
        draw = np.random.default_rng(0).standard_normal
        self.steps = -(-n_rows // batch_size)
        layers = [draw((batch_size, width)).astype(dtype) for width in sizes]
        gradients = [draw((batch_size, width)).astype(dtype) for width in sizes]
        weights = [(draw(pair) / pair[0]).astype(dtype) for pair in itertools.pairwise(sizes)]
        forward = [(x, w, y) for x, w, y in zip(layers, weights, layers[1:], strict=False)]
        into_weights = [(x.T, dz, np.empty_like(w)) for x, dz, w in zip(layers, gradients[1:], weights, strict=False)]
        into_layers = [(gradients[i + 1], weights[i].T, gradients[i]) for i in range(1, len(weights))]
        self.products = [*forward, *into_weights[::-1], *into_layers]

    def epoch(self) -> float:
        """Compute the products of an epoch, and return the seconds."""
        products, matmul = self.products, np.matmul
        began = time.perf_counter()
        for _ in range(self.steps):
            for a, b, out in products:
                matmul(a, b, out=out)
        return time.perf_counter() - began
