"""Where each weight and bias lies in the one flat parameter vector."""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

Array = Any
Pair = tuple[Array, Array]


class Block(NamedTuple):
    """One weight matrix or bias vector: its place in the flat vector, and its shape."""

    name: str
    start: int
    shape: tuple[int, ...]

    @property
    def stop(self) -> int:
        """One past its last place."""
        return self.start + math.prod(self.shape)


def layout(sizes: Sequence[int]) -> tuple[Block, ...]:
    """Blocks of a network with `sizes` units, inputs first: all weights, then all biases.

    Parameters
    ----------
    sizes : sequence of int
        Units of each layer, from the inputs to the outputs.

    Returns
    -------
    tuple of Block
        ``w1 .. wL`` of shape (fan_in, fan_out), then ``b1 .. bL`` of shape (fan_out,): the order in
        which scikit-learn packs them, so that what regularises weights only acts on one slice.
    """
    return _layout(tuple(sizes))


@functools.cache
def _layout(sizes: tuple[int, ...]) -> tuple[Block, ...]:
    pairs = list(itertools.pairwise(sizes))
    named = [(f"w{i}", pair) for i, pair in enumerate(pairs, 1)] + [
        (f"b{i}", (out,)) for i, (_, out) in enumerate(pairs, 1)
    ]
    blocks: list[Block] = []
    for name, shape in named:
        blocks.append(Block(name, blocks[-1].stop if blocks else 0, shape))
    return tuple(blocks)


def count(sizes: Sequence[int]) -> int:
    """Number of parameters of a network with `sizes` units."""
    return layout(sizes)[-1].stop


def count_weights(sizes: Sequence[int]) -> int:
    """Number of weights, which come first in the flat vector; biases are the rest."""
    return sum(fan_in * fan_out for fan_in, fan_out in itertools.pairwise(sizes))


def split(xp: Any, params: Array, sizes: Sequence[int]) -> list[Pair]:
    """Views of the flat vector, layer by layer.

    Parameters
    ----------
    params : array of shape (..., n_parameters)
    sizes : sequence of int

    Returns
    -------
    list of (w, b)
        Shapes (..., fan_in, fan_out) and (..., fan_out).
    """
    lead = params.shape[:-1]
    parts = [xp.reshape(params[..., block.start : block.stop], (*lead, *block.shape)) for block in layout(sizes)]
    half = len(parts) // 2
    return list(zip(parts[:half], parts[half:], strict=True))


def join(xp: Any, pairs: Sequence[Pair]) -> Array:
    """The flat vector of `pairs`; the inverse of `split`.

    Parameters
    ----------
    pairs : sequence of (w, b)
        Shapes (..., fan_in, fan_out) and (..., fan_out).

    Returns
    -------
    array of shape (..., n_parameters)
    """
    lead = pairs[0][1].shape[:-1]
    weights = [xp.reshape(w, (*lead, -1)) for w, _ in pairs]
    return xp.concat([*weights, *(b for _, b in pairs)], axis=-1)
