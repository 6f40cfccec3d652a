"""How the threads of a kernel share its elements."""

from __future__ import annotations

import math

from mlpgpu.cuda.indexing import NotCaptured
from mlpgpu.cuda.passes import Kernel, Passes, folded, is_fold, is_row_fold, is_taken, long_axes
from mlpgpu.cuda.source import THREADS, indent
from mlpgpu.fusion.trace import Traced

# Rows that each thread of a sum over rows has at least; but one where it goes through its row for something else first,
# which takes longer than another part. How many blocks share such a sum, whose parts the last of them puts together:
# enough to fill a GPU over all tiles of columns, and so few that the parts do not take longer.
ROWS_A_THREAD, BLOCKS_OF_SUM, MOST_PARTS, FEWEST_PARTS = 4, 512, 256, 32
# Columns of a thread whose sums have room in its registers.
MOST_UNROLLED = 32
# Beyond these, blocks come back for more.
BLOCKS = 1 << 16
# Where arrays have so many elements, 32 bits might not count them and what a thread goes on by.
FAR = 2**30


class Grid:
    """The blocks and threads of a kernel.

    Where nothing is added up, each thread takes an element. Otherwise `lanes` threads next to each other take a row,
    and the blocks a tile of columns each, where no row has to be together.

    Parameters
    ----------
    passes : Passes
    kernel : Kernel

    Attributes
    ----------
    flat : bool
        Whether each thread takes an element.
    folds : dict of Traced to None
        Sums over rows or over everything, in order.
    rows, columns : int
    lanes : int
        Threads that have a row, or a tile of it.
    a_lane : int
        Columns of each of them.
    tiles : int
    row_blocks : int
        Blocks of each tile, which share the rows.
    whole : str
        The type of whole numbers that count rows, columns and elements.

    Raises
    ------
    NotCaptured
        Where there are sums over more than two axes.
    """

    def __init__(self, passes: Passes, kernel: Kernel) -> None:
        self.domain = domain = kernel.domain
        # Looked up by what they are: arrays compare by an operation.
        self.folds = {root: None for root in kernel.roots if is_fold(root) and not is_row_fold(root)}
        inside = [node for root in kernel.roots for node, _ in passes.reads(root) if is_row_fold(node)]
        by_rows = any(is_row_fold(node) for node in (*inside, *kernel.roots))
        self.flat = not self.folds and not by_rows
        # The number of a row that is taken has a type of its own.
        read = [node.size for root in kernel.roots for node, at in passes.reads(root) if not is_taken(at)]
        far = max(math.prod(domain), *(root.size for root in kernel.roots), *read) >= FAR
        self.whole = "long long" if far else "int"
        if len(domain) > 2 and not self.flat:
            raise NotCaptured("sums over more than two axes")
        self.rows = domain[0] if domain else 1
        self.columns = domain[1] if len(domain) == 2 else 1
        self.lanes = min(32, 1 << (self.columns - 1).bit_length())
        together = by_rows or self.columns <= self.lanes or not all(map(self.is_by_column, self.folds))
        self.a_lane = -(-self.columns // self.lanes) if together else 1
        self.tiles = 1 if together or self.flat else -(-self.columns // self.lanes)
        self.at_once = THREADS // self.lanes
        if self.flat:
            self.row_blocks = min(BLOCKS, -(-math.prod(domain) // THREADS))
        elif self.folds:
            most = min(MOST_PARTS, max(FEWEST_PARTS, BLOCKS_OF_SUM // self.tiles))
            rows_a_thread = 1 if by_rows else ROWS_A_THREAD
            self.row_blocks = max(1, min(most, -(-self.rows // (self.at_once * rows_a_thread))))
        else:
            self.row_blocks = min(BLOCKS, -(-self.rows // self.at_once))

    @property
    def blocks(self) -> int:
        """All of them."""
        return self.row_blocks * self.tiles

    def is_by_column(self, fold: Traced) -> bool:
        """Whether a sum is one a column, and not one of everything."""
        return len(self.domain) == 2 and long_axes(fold.parents[0].shape) == self.domain and folded(fold) == (0,)

    def sums(self, fold: Traced) -> int:
        """How many sums a thread has: one for each of its columns, or one."""
        return self.a_lane if self.is_by_column(fold) else 1

    def over_rows(self, lines: list[str]) -> list[str]:
        """A loop over the rows of a thread, in step with the others of its block."""
        first, step = f"row_block * {self.at_once}", self.row_blocks * self.at_once
        own = f"first + tid / {self.lanes}"
        return [
            f"for ({self.whole} first = {first}; first < {self.rows}; first += {step}) {{",
            *indent(
                [
                    # Past the end some go over the last row once more, so that all keep pace; they leave nothing.
                    f"const bool on = {own} < {self.rows};",
                    f"const {self.whole} i = on ? {own} : {self.rows - 1};",
                    *lines,
                ]
            ),
            "}",
        ]

    def over_row(self, lines: list[str]) -> list[str]:
        """A loop over the columns of a thread."""
        return [
            *self.each(self.a_lane),
            f"    const {self.whole} j = {self.tile}lane + k * {self.lanes};",
            f"    if (j < {self.columns}) {{",
            *indent(indent(lines)),
            "    }",
            "}",
        ]

    @property
    def tile(self) -> str:
        """The first column of a block's tile, to be added to."""
        return f"tile * {self.lanes} + " if self.tiles > 1 else ""

    @staticmethod
    def each(n: int) -> list[str]:
        """The head of a loop, unrolled where what it counts through has room in registers."""
        return ["#pragma unroll" if n <= MOST_UNROLLED else "#pragma unroll 4", f"for (int k = 0; k < {n}; ++k) {{"]
