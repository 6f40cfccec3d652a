"""Dropout masks as a function of seed, step and place: no generator, no state.

A mask is a hash of counters, in 32-bit arithmetic that wraps alike in every array library. So every
backend drops the same units, a resumed run goes on with the masks that it would have had, and a GPU
makes its own without a random-number library. Each hash gives two draws of 16 bits.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

Array = Any
LEVELS = 1 << 16


def _signed(word: int) -> int:
    """The low 32 bits of `word` as a signed integer."""
    return (word + (1 << 31)) % (1 << 32) - (1 << 31)


def mix(x: Any) -> Any:
    """Scramble int32 arrays, one to one: Wellons's 32-bit hash lowbias32."""
    x = (x ^ _shift(x, 16)) * _signed(0x7FEB352D)
    x = (x ^ _shift(x, 15)) * _signed(0x846CA68B)
    return x ^ _shift(x, 16)


def _shift(x: Any, by: int) -> Any:
    # Signed integers bring the sign along, which would make the top bits of a hash all alike.
    return (x >> by) & ((1 << 32 - by) - 1)


class Dropout:
    """Makes the masks of one run.

    Parameters
    ----------
    backend : Backend
        Where the counters live.
    dtype : dtype of the backend
        Floating-point type of the masks.
    rows : int
        Rows of a batch.
    widths, rates : sequence of int, sequence of float
        Units and drop rate of the inputs of each layer.
    seed : int
        The same seed gives the same masks.
    """

    def __init__(
        self, backend: Any, dtype: Any, rows: int, widths: Sequence[int], rates: Sequence[float], seed: int
    ) -> None:
        import numpy as np

        self.xp, self.dtype = backend.xp, dtype
        keys = np.random.SeedSequence(seed, spawn_key=(1,)).generate_state(2 * len(widths)).astype(np.int32)
        self._masks: list[Callable[[Array], Array] | None] = []
        for layer, (width, rate) in enumerate(zip(widths, rates, strict=True)):
            # A rate next to 1 still leaves a chance, and something finite to scale by.
            threshold = min(round(rate * LEVELS), LEVELS - 1)
            if not threshold:
                self._masks.append(None)
                continue
            n_columns = -(-width // 2)
            # Counted row by row, a place is the sum of these, which wraps where they are many.
            places = np.arange(rows)[:, None] * n_columns, np.arange(n_columns)
            counters = [backend.asarray(part.astype(np.int32)) for part in places]
            pair = [backend.asarray(keys[i : i + 1]) for i in (2 * layer, 2 * layer + 1)]
            self._masks.append(partial(self._mask, counters, pair, width, threshold))

    def __call__(self, step: Array) -> list[Array | None]:
        """Masks of the step after `step` steps, an int32 array of shape ().

        Returns
        -------
        list of array of shape (rows, width), or None
            ``1 / (1 - rate)`` where a unit stays, 0 where it is dropped; None for a rate of 0.
        """
        return [None if mask is None else mask(step) for mask in self._masks]

    def _mask(self, counters: list[Array], keys: list[Array], width: int, threshold: int, step: Array) -> Array:
        xp = self.xp
        steps = xp.reshape(step, (1,))
        stride, start = (mix(mix(steps ^ key) + key) for key in keys)
        # A stride times a place, from a start: of a sum, without a product for each of the elements.
        rows, columns = ((stride | 1) * part for part in counters)
        bits = mix(rows + (columns + start))
        draws = xp.concat([bits & (LEVELS - 1), _shift(bits, 16)], axis=-1)[..., :width]
        return xp.astype(draws >= threshold, self.dtype) * (LEVELS / (LEVELS - threshold))
