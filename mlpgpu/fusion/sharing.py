"""Which memory the threads of a compiled loop share, and where they must wait for each other.

All threads run the same function. A pass, a product or a copy goes over rows, and each thread takes its part of them;
single numbers each thread works out for itself, in memory of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.lib.array_utils import byte_bounds

# How the threads go over an array: each all of it, or each what it has of its own.
WHOLE, OWN = ("whole",), ("own",)


class Access(NamedTuple):
    """A use of memory.

    Attributes
    ----------
    low, high : int
        First byte, and one past the last.
    write : bool
    part : tuple
        `WHOLE`, `OWN`, or what is equal where each thread uses the same part.
    """

    low: int
    high: int
    write: bool
    part: tuple[object, ...]


def whole(array: np.ndarray, write: bool = False) -> Access:
    """Every thread uses all of `array`; where they write, all the same."""
    return Access(*byte_bounds(array), write, WHOLE)


def by_rows(array: np.ndarray, write: bool) -> Access:
    """Each thread uses its rows of `array`."""
    low, high = byte_bounds(array)
    return Access(low, high, write, ("rows", low, array.shape[0], array.strides[0]))


def overlap(a: Access, b: Access) -> bool:
    """Whether both use the same memory."""
    return a.low < b.high and b.low < a.high


def conflict(before: Sequence[Access], now: Sequence[Access]) -> bool:
    """Whether a thread may use now what another has not done with."""
    return any(
        overlap(a, b)
        and OWN not in (a.part, b.part)
        and (a.write or b.write)
        and a.part != b.part
        # What every thread has written itself, it may read.
        and not (a.write and a.part == WHOLE and not b.write)
        for a in before
        for b in now
    )


class Private:
    """Memory of single numbers, which each thread has its own of.

    Parameters
    ----------
    shared : sequence of array
        Arrays of several numbers: a number within one of these is shared.
    """

    def __init__(self, shared: Sequence[np.ndarray]) -> None:
        self._shared = [byte_bounds(array) for array in shared]

    def __contains__(self, array: np.ndarray) -> bool:
        at = byte_bounds(array)[0]
        return array.size == 1 and not any(low <= at < high for low, high in self._shared)

    def use(self, array: np.ndarray, write: bool = False, in_parts: bool = False) -> Access:
        """All threads use `array`, by rows where `in_parts`."""
        if array in self:
            return whole(array, write)._replace(part=OWN)
        return by_rows(array, write) if in_parts else whole(array, write)

    def copies(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """`arrays`, with memory of their own where they are private; what shared it before does so again."""
        blocks: dict[int, np.ndarray] = {}
        copied = []
        for array in arrays:
            if array not in self:
                copied.append(array)
                continue
            block = blocks.setdefault(byte_bounds(array)[0], np.empty(16, np.uint8))
            copied.append(block[: array.itemsize].view(array.dtype).reshape(array.shape))
        return copied
