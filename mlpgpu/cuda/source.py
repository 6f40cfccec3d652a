"""A generated CUDA function, and the buffers that it takes as arguments."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from mlpgpu.cuda.indexing import At
from mlpgpu.cuda.passes import Kernel
from mlpgpu.fusion.trace import Traced

THREADS = 256


@dataclass(frozen=True)
class Partials:
    """Buffer of the partial results of a reduction, one row per block."""

    reduction: Traced
    size: int

    @property
    def dtype(self) -> np.dtype:
        """That of the results."""
        return self.reduction.dtype


@dataclass(frozen=True)
class Arrivals:
    """Counters of the blocks of a kernel that have finished, one per tile of columns; 0 before and after a launch."""

    first: Traced
    size: int
    dtype: ClassVar = np.dtype(np.uint32)


# All have a size, in elements, and a dtype.
Buffer = Traced | Partials | Arrivals


@dataclass
class Source:
    """A generated function, in which all kernels of a level run side by side.

    Attributes
    ----------
    name : str
    text : str
    blocks : int
    arguments : dict of Traced, Partials or Arrivals to None
        Buffers whose addresses it takes, in order.
    reads : list of (Traced, tuple of Index, Kernel)
        Arrays that it reads from memory, with the index and the kernel of each read.
    """

    name: str
    text: str = ""
    blocks: int = 0
    arguments: dict[Buffer, None] = field(default_factory=dict)
    reads: list[tuple[Traced, At, Kernel]] = field(default_factory=list)


def name_of(buffer: Buffer) -> str:
    """Return the name of a buffer in the source."""
    if isinstance(buffer, Partials):
        return f"partials{buffer.reduction.number}"
    if isinstance(buffer, Arrivals):
        return f"arrived{buffer.first.number}"
    return f"a{buffer.number}"


def indent(lines: list[str]) -> list[str]:
    """Indent the lines of a block, except for preprocessor directives."""
    return [line if line.startswith("#") else f"    {line}" for line in lines]
