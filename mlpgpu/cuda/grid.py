"""Map the elements of a kernel's domain to blocks and threads."""

from __future__ import annotations

import math

from mlpgpu.cuda.indexing import NotCaptured
from mlpgpu.cuda.passes import Kernel, Passes, is_reduction, is_row_reduction, is_taken, iteration_domain, reduced_axes
from mlpgpu.cuda.source import THREADS, indent
from mlpgpu.fusion.trace import Traced

# Reductions over rows. The fewest rows per thread; one row is enough if the kernel also reduces along its rows, which
# takes longer than combining another partial result. The blocks over all tiles, enough to fill a GPU. The most and the
# fewest blocks per tile, each of which leaves a partial result: combining too many takes longer than it saves.
ROWS_PER_THREAD, REDUCTION_BLOCKS, MAX_ROW_BLOCKS, MIN_ROW_BLOCKS = 4, 512, 256, 32
# The most columns per thread whose accumulators fit into registers.
MAX_UNROLLED = 32
# With more elements than these blocks have threads, each thread loops.
MAX_BLOCKS = 1 << 16
# From this size on, an index plus the stride of a loop might overflow 32 bits.
INT32_LIMIT = 2**30


class Grid:
    """The blocks and threads of a kernel.

    Without reductions, each thread computes single elements. Otherwise `lanes` adjacent threads share a row. If no
    reduction needs the whole row, a block handles one tile of `lanes` columns only.

    Parameters
    ----------
    passes : Passes
    kernel : Kernel

    Attributes
    ----------
    flat : bool
        Whether each thread computes single elements.
    reductions : dict of Traced to None
        Reductions over rows or over all elements, in order. Those along a row stay within its threads.
    rows, columns : int
    lanes : int
        Threads that share a row, or a tile of it.
    columns_per_lane : int
    tiles : int
    row_blocks : int
        Blocks per tile, which share the rows.
    index_type : str
        C type of the indices of rows, columns and elements.

    Raises
    ------
    NotCaptured
        If there is a reduction in a domain of more than two axes.
    """

    def __init__(self, passes: Passes, kernel: Kernel) -> None:
        self.domain = domain = kernel.domain
        # A dict, since `in` of a list compares nodes by ==, which is a traced operation.
        self.reductions = {root: None for root in kernel.roots if is_reduction(root) and not is_row_reduction(root)}
        inside = [node for root in kernel.roots for node, _ in passes.reads(root) if is_row_reduction(node)]
        has_row_reductions = any(is_row_reduction(node) for node in (*inside, *kernel.roots))
        self.flat = not self.reductions and not has_row_reductions
        # Rows that are gathered do not count: their index has a type of its own.
        read = [node.size for root in kernel.roots for node, at in passes.reads(root) if not is_taken(at)]
        is_large = max(math.prod(domain), *(root.size for root in kernel.roots), *read) >= INT32_LIMIT
        self.index_type = "long long" if is_large else "int"
        if len(domain) > 2 and not self.flat:
            raise NotCaptured("sums over more than two axes")
        self.rows = domain[0] if domain else 1
        self.columns = domain[1] if len(domain) == 2 else 1
        self.lanes = min(32, 1 << (self.columns - 1).bit_length())
        whole_row = (
            has_row_reductions or self.columns <= self.lanes or not all(map(self.is_column_reduction, self.reductions))
        )
        self.columns_per_lane = -(-self.columns // self.lanes) if whole_row else 1
        self.tiles = 1 if whole_row or self.flat else -(-self.columns // self.lanes)
        self.rows_at_once = THREADS // self.lanes
        if self.flat:
            self.row_blocks = min(MAX_BLOCKS, -(-math.prod(domain) // THREADS))
        elif self.reductions:
            most = min(MAX_ROW_BLOCKS, max(MIN_ROW_BLOCKS, REDUCTION_BLOCKS // self.tiles))
            rows_per_thread = 1 if has_row_reductions else ROWS_PER_THREAD
            self.row_blocks = max(1, min(most, -(-self.rows // (self.rows_at_once * rows_per_thread))))
        else:
            self.row_blocks = min(MAX_BLOCKS, -(-self.rows // self.rows_at_once))

    @property
    def blocks(self) -> int:
        """Total number of blocks."""
        return self.row_blocks * self.tiles

    def is_column_reduction(self, reduction: Traced) -> bool:
        """Whether a reduction has one result per column, and not a single one."""
        return len(self.domain) == 2 and iteration_domain(reduction) == self.domain and reduced_axes(reduction) == (0,)

    def sums(self, reduction: Traced) -> int:
        """Return the number of accumulators per thread: one per column of the thread, or one."""
        return self.columns_per_lane if self.is_column_reduction(reduction) else 1

    def over_rows(self, lines: list[str]) -> list[str]:
        """Return a loop over the rows of a thread, with equally many iterations in all threads of a block."""
        first, step = f"row_block * {self.rows_at_once}", self.row_blocks * self.rows_at_once
        own = f"first + tid / {self.lanes}"
        return [
            f"for ({self.index_type} first = {first}; first < {self.rows}; first += {step}) {{",
            *indent(
                [
                    # Threads past the end repeat the last row without storing: shuffles need all threads.
                    f"const bool on = {own} < {self.rows};",
                    f"const {self.index_type} i = on ? {own} : {self.rows - 1};",
                    *lines,
                ]
            ),
            "}",
        ]

    def over_row(self, lines: list[str]) -> list[str]:
        """Return a loop over the columns of a thread."""
        return [
            *self.each(self.columns_per_lane),
            f"    const {self.index_type} j = {self.tile}lane + k * {self.lanes};",
            f"    if (j < {self.columns}) {{",
            *indent(indent(lines)),
            "    }",
            "}",
        ]

    @property
    def tile(self) -> str:
        """C expression of the first column of a block's tile, followed by ``+``; empty if there is a single tile."""
        return f"tile * {self.lanes} + " if self.tiles > 1 else ""

    @staticmethod
    def each(n: int) -> list[str]:
        """Return the head of a loop of `n` iterations, unrolled fully if as many accumulators fit into registers."""
        return ["#pragma unroll" if n <= MAX_UNROLLED else "#pragma unroll 4", f"for (int k = 0; k < {n}; ++k) {{"]
