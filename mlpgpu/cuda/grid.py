"""How the threads of a kernel share its elements."""

from __future__ import annotations

import math

from mlpgpu.cuda.indexing import NotCaptured
from mlpgpu.cuda.passes import Kernel, Passes, folded, is_fold, is_row_fold, long_axes
from mlpgpu.cuda.source import THREADS, indent
from mlpgpu.fusion.trace import Traced

# Rows that each thread of a sum over rows has at least; and how many blocks share such a sum, whose parts the last of
# them puts together: enough to fill a GPU over all tiles of columns, and so few that the parts do not take longer.
ROWS_A_THREAD, BLOCKS_OF_SUM, MOST_PARTS, FEWEST_PARTS = 4, 512, 256, 32
# Beyond these, blocks come back for more.
BLOCKS = 1 << 16


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
        if len(domain) > 2 and not self.flat:
            raise NotCaptured("sums over more than two axes")
        self.rows = domain[0] if domain else 1
        self.columns = domain[1] if len(domain) == 2 else 1
        self.lanes = min(32, 1 << (self.columns - 1).bit_length())
        whole = by_rows or self.columns <= self.lanes or not all(map(self.is_by_column, self.folds))
        self.a_lane = -(-self.columns // self.lanes) if whole else 1
        self.tiles = 1 if whole or self.flat else -(-self.columns // self.lanes)
        self.at_once = THREADS // self.lanes
        if self.flat:
            self.row_blocks = min(BLOCKS, -(-math.prod(domain) // THREADS))
        elif self.folds:
            most = min(MOST_PARTS, max(FEWEST_PARTS, BLOCKS_OF_SUM // self.tiles))
            self.row_blocks = max(1, min(most, -(-self.rows // (self.at_once * ROWS_A_THREAD))))
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
            f"for (int first = {first}; first < {self.rows}; first += {step}) {{",
            *indent(
                [
                    # Past the end some go over the last row once more, so that all keep pace; they leave nothing.
                    f"const bool on = {own} < {self.rows};",
                    f"const int i = on ? {own} : {self.rows - 1};",
                    *lines,
                ]
            ),
            "}",
        ]

    def over_row(self, lines: list[str]) -> list[str]:
        """A loop over the columns of a thread."""
        return [
            *self.each(self.a_lane),
            f"    const int j = {self.tile}lane + k * {self.lanes};",
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
        """The head of a loop that is unrolled, so that what it counts through is kept in registers."""
        return ["#pragma unroll", f"for (int k = 0; k < {n}; ++k) {{"]
