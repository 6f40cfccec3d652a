"""Dropout masks as a function of seed, step and position: no generator, no state.

A mask is a hash of counters, in 32-bit integer arithmetic that wraps around in the same way in every array library. So
every backend drops the same units, a resumed run continues with the masks it would have had, and a GPU computes masks
without a random-number library. Each hash gives two draws of 16 bits.
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
    """Hash int32 arrays with Wellons's lowbias32, which is bijective."""
    x = (x ^ _shift(x, 16)) * _signed(0x7FEB352D)
    x = (x ^ _shift(x, 15)) * _signed(0x846CA68B)
    return x ^ _shift(x, 16)


def _shift(x: Any, by: int) -> Any:
    # A logical shift: the right shift of a signed integer would fill the top bits with copies of the sign.
    return (x >> by) & ((1 << 32 - by) - 1)


class Dropout:
    """Dropout masks of one run.

    Parameters
    ----------
    backend : Backend
        Backend of the counters and masks.
    dtype : dtype of the backend
        Floating-point type of the masks.
    rows : int
        Batch size.
    widths, rates : sequence of int, sequence of float
        Width and dropout rate of the inputs of each layer.
    seed : int
        The same seed gives the same masks.
    """

    def __init__(
        self, backend: Any, dtype: Any, rows: int, widths: Sequence[int], rates: Sequence[float], seed: int
    ) -> None:
        import numpy as np

        self.xp, self.dtype = backend.xp, dtype
        drawn = np.random.SeedSequence(seed, spawn_key=(1,)).generate_state(2 * len(widths)) if any(rates) else ()
        keys = np.asarray(drawn).astype(np.int32)
        self._masks: list[Callable[[Array], Array] | None] = []
        for layer, (width, rate) in enumerate(zip(widths, rates, strict=True)):
            # Even a rate close to 1 keeps some units, and their scale is finite.
            threshold = min(round(rate * LEVELS), LEVELS - 1)
            if not threshold:
                self._masks.append(None)
                continue
            n_columns = -(-width // 2)
            # The position in row-major order is the sum of the two; it wraps around in large arrays.
            places = np.arange(rows)[:, None] * n_columns, np.arange(n_columns)
            counters = [backend.asarray(part.astype(np.int32)) for part in places]
            pair = [backend.asarray(keys[i : i + 1]) for i in (2 * layer, 2 * layer + 1)]
            self._masks.append(partial(self._mask, counters, pair, width, threshold))

    def __call__(self, step: Array) -> list[Array | None]:
        """Return the masks of the step that follows `step` completed steps, an int32 array of shape ().

        Returns
        -------
        list of array of shape (rows, width), or None
            ``1 / (1 - rate)`` for a unit that is kept, 0 for one that is dropped; None for a rate of 0.
        """
        return [None if mask is None else mask(step) for mask in self._masks]

    def _mask(self, counters: list[Array], keys: list[Array], width: int, threshold: int, step: Array) -> Array:
        xp = self.xp
        steps = xp.reshape(step, (1,))
        stride, start = (mix(mix(steps ^ key) + key) for key in keys)
        # ``start + stride * position``: multiplying rows and columns first leaves only additions per element.
        rows, columns = ((stride | 1) * part for part in counters)
        bits = mix(rows + (columns + start))
        draws = xp.concat([bits & (LEVELS - 1), _shift(bits, 16)], axis=-1)[..., :width]
        return xp.astype(draws >= threshold, self.dtype) * (LEVELS / (LEVELS - threshold))
