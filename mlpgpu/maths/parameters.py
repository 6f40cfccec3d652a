"""Where each weight and bias lies in the one flat parameter vector, and what goes with normalised units."""

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


class Units(NamedTuple):
    """What normalised units of a layer have beside weights and biases, each of shape (..., n_units)."""

    scale: Array
    mean: Array
    variance: Array


def layout(sizes: Sequence[int], normalized: Sequence[bool] = ()) -> tuple[Block, ...]:
    """Blocks of a network with `sizes` units, inputs first: all weights, all biases, and then the rest.

    Parameters
    ----------
    sizes : sequence of int
        Units of each layer, from the inputs to the outputs.
    normalized : sequence of bool
        Whether each hidden layer is; empty where none is.

    Returns
    -------
    tuple of Block
        ``w1 .. wL`` of shape (fan_in, fan_out), then ``b1 .. bL`` of shape (fan_out,): the order in
        which scikit-learn packs them, so that what regularises weights only acts on one slice. Of the layers that are
        normalised then every ``scale``, which is trained, and what is not: every ``mean``, every ``variance``, how
        much of these is not from the start, ``seen``, and the weight of the ``largest`` batch, of shape (1,) both.
    """
    return _layout(tuple(sizes), tuple(normalized))


@functools.cache
def _layout(sizes: tuple[int, ...], normalized: tuple[bool, ...]) -> tuple[Block, ...]:
    pairs = list(itertools.pairwise(sizes))
    named: list[tuple[str, tuple[int, ...]]] = [(f"w{i}", pair) for i, pair in enumerate(pairs, 1)]
    named += [(f"b{i}", (out,)) for i, (_, out) in enumerate(pairs, 1)]
    if any(normalized):
        which = [i for i, is_normalized in enumerate(normalized, 1) if is_normalized]
        named += [(f"{name}{i}", (sizes[i],)) for name in Units._fields for i in which] + [
            ("seen", (1,)),
            ("largest", (1,)),
        ]
    blocks: list[Block] = []
    for name, shape in named:
        blocks.append(Block(name, blocks[-1].stop if blocks else 0, shape))
    return tuple(blocks)


def count(sizes: Sequence[int], normalized: Sequence[bool] = ()) -> int:
    """Length of the flat vector of a network with `sizes` units."""
    return layout(sizes, normalized)[-1].stop


def count_normalized(sizes: Sequence[int], normalized: Sequence[bool]) -> int:
    """Number of units that are normalised."""
    return sum(n for n, is_normalized in zip(sizes[1:-1], normalized, strict=False) if is_normalized)


def count_weights(sizes: Sequence[int]) -> int:
    """Number of weights, which come first in the flat vector."""
    return sum(fan_in * fan_out for fan_in, fan_out in itertools.pairwise(sizes))


def split(xp: Any, params: Array, sizes: Sequence[int]) -> list[Pair]:
    """Weights and biases as views of the flat vector, layer by layer.

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
    parts = [xp.reshape(params[..., block.start : block.stop], (*lead, *block.shape)) for block in blocks]
    return list(zip(parts[:n_layers], parts[n_layers:], strict=True))


def split_units(params: Array, sizes: Sequence[int], normalized: Sequence[bool]) -> list[Units | None]:
    """The rest of the flat vector, layer by layer, the outputs too; None for a layer that is not normalised."""
    blocks = {block.name: block for block in layout(sizes, normalized)}

    def part(name: str) -> Array:
        return params[..., blocks[name].start : blocks[name].stop]

    return [
        Units(*(part(f"{name}{i}") for name in Units._fields)) if f"scale{i}" in blocks else None
        for i in range(1, len(sizes))
    ]


def join(xp: Any, pairs: Sequence[Pair]) -> Array:
    """The flat vector of `pairs`; the inverse of `split` where no layer is normalised.

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
