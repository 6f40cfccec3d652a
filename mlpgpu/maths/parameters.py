"""Layout of the flat parameter vector: weights, biases, and the parameters of normalised units."""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

Array = Any
Pair = tuple[Array, Array]


class Block(NamedTuple):
    """Name, range in the flat vector and shape of one weight matrix or other group of parameters."""

    name: str
    start: int
    stop: int
    shape: tuple[int, ...]


class Units(NamedTuple):
    """Parameters of a normalised layer besides weights and biases, each of shape (..., n_units)."""

    scale: Array
    mean: Array
    variance: Array


def layout(sizes: Sequence[int], normalized: Sequence[bool] = ()) -> tuple[Block, ...]:
    """Return the blocks of the flat vector: all weights, all biases, then the parameters of normalised layers.

    Parameters
    ----------
    sizes : sequence of int
        Number of units of each layer, from the inputs to the outputs.
    normalized : sequence of bool
        Whether each hidden layer is batch-normalised; empty if none is.

    Returns
    -------
    tuple of Block
        ``w1 .. wL`` of shape (fan_in, fan_out), then ``b1 .. bL`` of shape (fan_out,). This is scikit-learn's order; a
        penalty on weights alone thus acts on one slice. If any layer is normalised, these blocks follow: every
        ``scale``, which is trained, every running ``mean`` and every running ``variance``, of shape (n_units,);
        ``seen``, the total weight of the batches in the running averages, at most 1; and ``largest``, the largest total
        weight of a batch, both of shape (1,).
    """
    return _layout(tuple(sizes), tuple(normalized))


@functools.cache
def _layout(sizes: tuple[int, ...], normalized: tuple[bool, ...]) -> tuple[Block, ...]:
    pairs = list(itertools.pairwise(sizes))
    named: list[tuple[str, tuple[int, ...]]] = [(f"w{i}", pair) for i, pair in enumerate(pairs, 1)]
    named += [(f"b{i}", (out,)) for i, (_, out) in enumerate(pairs, 1)]
    if any(normalized):
        layers = [i for i, is_normalized in enumerate(normalized, 1) if is_normalized]
        named += [(f"{name}{i}", (sizes[i],)) for name in Units._fields for i in layers] + [
            ("seen", (1,)),
            ("largest", (1,)),
        ]
    blocks: list[Block] = []
    for name, shape in named:
        start = blocks[-1].stop if blocks else 0
        blocks.append(Block(name, start, start + math.prod(shape), shape))
    return tuple(blocks)


def count(sizes: Sequence[int], normalized: Sequence[bool] = ()) -> int:
    """Return the length of the flat vector."""
    return layout(sizes, normalized)[-1].stop


def count_normalized(sizes: Sequence[int], normalized: Sequence[bool]) -> int:
    """Return the number of normalised units."""
    return sum(n for n, is_normalized in zip(sizes[1:-1], normalized, strict=False) if is_normalized)


def count_weights(sizes: Sequence[int]) -> int:
    """Return the number of weights, which come first in the flat vector."""
    return sum(fan_in * fan_out for fan_in, fan_out in itertools.pairwise(sizes))


def split(xp: Any, params: Array, sizes: Sequence[int]) -> list[Pair]:
    """Return the weights and biases of each layer as views of the flat vector.

    Parameters
    ----------
    params : array of shape (..., n_parameters)
    sizes : sequence of int

    Returns
    -------
    list of (w, b)
        Shapes (..., fan_in, fan_out) and (..., fan_out).
    """
    lead, n_layers = params.shape[:-1], len(sizes) - 1
    blocks = layout(sizes)
    return [
        (xp.reshape(params[..., w.start : w.stop], (*lead, *w.shape)), params[..., b.start : b.stop])
        for w, b in zip(blocks[:n_layers], blocks[n_layers:], strict=True)
    ]


def split_units(params: Array, sizes: Sequence[int], normalized: Sequence[bool]) -> list[Units | None]:
    """Return the `Units` of each layer, including the output layer; None for a layer that is not normalised."""
    if not any(normalized):
        return [None] * (len(sizes) - 1)
    blocks = {block.name: block for block in layout(sizes, normalized)}

    def part(name: str) -> Array:
        return params[..., blocks[name].start : blocks[name].stop]

    return [
        Units(*(part(f"{name}{i}") for name in Units._fields)) if f"scale{i}" in blocks else None
        for i in range(1, len(sizes))
    ]


def join(xp: Any, pairs: Sequence[Pair]) -> Array:
    """Return the flat vector of weights and biases; the inverse of `split` if no layer is normalised.

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
