"""Find where threads of a compiled loop use the same memory, and so must wait at a barrier.

All threads run the same function. Each computes its share of the rows of a pass or copy, and its tile of a product.
Scalars are computed by every thread, in private memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.lib.array_utils import byte_bounds

# How threads use an array: each uses all of it, or each has a private copy.
WHOLE, OWN = ("whole",), ("own",)


class Access(NamedTuple):
    """A memory access of all threads.

    Attributes
    ----------
    low, high : int
        Address of the first byte, and one past the last.
    write : bool
    part : tuple
        `WHOLE`, `OWN`, or a key of the partition: with equal keys, each thread uses the same part in both accesses.
    """

    low: int
    high: int
    write: bool
    part: tuple[object, ...]


def whole(array: np.ndarray, write: bool = False) -> Access:
    """Return an access in which every thread uses all of `array`; if it is a write, all write the same values."""
    return Access(*byte_bounds(array), write, WHOLE)


def by_rows(array: np.ndarray, write: bool) -> Access:
    """Return an access in which each thread uses its share of the rows of `array`."""
    low, high = byte_bounds(array)
    return Access(low, high, write, ("rows", low, array.shape[0], array.strides[0]))


def overlap(a: Access, b: Access) -> bool:
    """Whether two accesses have memory in common."""
    return a.low < b.high and b.low < a.high


def conflict(before: Sequence[Access], now: Sequence[Access]) -> bool:
    """Whether a barrier is needed: a thread might access memory that another has yet to read or write."""
    return any(
        overlap(a, b)
        and OWN not in (a.part, b.part)
        and (a.write or b.write)
        and a.part != b.part
        # Each thread has written all of it itself, and may read it.
        and not (a.write and a.part == WHOLE and not b.write)
        for a in before
        for b in now
    )


class Private:
    """The scalars of which each thread has a private copy.

    Parameters
    ----------
    shared : sequence of array
        Arrays of several elements: a scalar that is a view of one of these is shared.
    """

    def __init__(self, shared: Sequence[np.ndarray]) -> None:
        self._shared = [byte_bounds(array) for array in shared]

    def __contains__(self, array: np.ndarray) -> bool:
        at = byte_bounds(array)[0]
        return array.size == 1 and not any(low <= at < high for low, high in self._shared)

    def use(self, array: np.ndarray, write: bool = False, in_parts: bool = False) -> Access:
        """Return the access in which all threads use `array`, by rows if `in_parts`."""
        if array in self:
            return whole(array, write)._replace(part=OWN)
        return by_rows(array, write) if in_parts else whole(array, write)

    def copies(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return `arrays` with new memory for the private ones; those that shared memory share it again."""
        blocks: dict[int, np.ndarray] = {}
        copied = []
        for array in arrays:
            if array not in self:
                copied.append(array)
                continue
            block = blocks.setdefault(byte_bounds(array)[0], np.empty(16, np.uint8))
            copied.append(block[: array.itemsize].view(array.dtype).reshape(array.shape))
        return copied
