"""A function of CUDA source, and the memory that it is told of."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlpgpu.cuda.indexing import At
from mlpgpu.cuda.passes import Kernel
from mlpgpu.fusion.trace import Traced

THREADS = 256


@dataclass(frozen=True)
class Parts:
    """Memory in which the blocks of a sum leave their parts."""

    fold: Traced
    n_bytes: int


@dataclass(frozen=True)
class Arrivals:
    """Memory in which the blocks of a sum are counted, 0 before and after: one number for each tile of columns."""

    first: Traced
    n_bytes: int


Buffer = Traced | Parts | Arrivals


@dataclass
class Source:
    """One function: the kernels of a level side by side.

    Attributes
    ----------
    name : str
    text : str
    blocks : int
    arguments : dict of Traced, Parts or Arrivals to None
        Whose addresses it takes, in order.
    reads : list of (Traced, tuple of Index, Kernel)
        What it reads of memory, where, and in which of its kernels.
    """

    name: str
    text: str = ""
    blocks: int = 0
    arguments: dict[Buffer, None] = field(default_factory=dict)
    reads: list[tuple[Traced, At, Kernel]] = field(default_factory=list)


def name_of(buffer: Buffer) -> str:
    """What memory is called."""
    if isinstance(buffer, Parts):
        return f"parts{buffer.fold.number}"
    if isinstance(buffer, Arrivals):
        return f"arrived{buffer.first.number}"
    return f"a{buffer.number}"


def indent(lines: list[str]) -> list[str]:
    """`lines` of a block; what is told to the compiler stays where it is."""
    return [line if line.startswith("#") else f"    {line}" for line in lines]
