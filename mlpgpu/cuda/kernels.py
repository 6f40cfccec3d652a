"""Generate the CUDA source of the kernels of a level."""

from __future__ import annotations

import math

from mlpgpu.cuda.elements import Elements, cast, op_of
from mlpgpu.cuda.expressions import c_type
from mlpgpu.cuda.grid import Grid
from mlpgpu.cuda.indexing import ELEMENT, ROW, SCALAR, level_of
from mlpgpu.cuda.passes import Passes, loops
from mlpgpu.cuda.source import THREADS, Arrivals, Buffer, Partials, Source, indent, name_of
from mlpgpu.fusion.trace import Traced


class Writer:
    """Generates the source of a program's kernels.

    Parameters
    ----------
    passes : Passes
    counter : Traced or None
        Input that holds the step number, the index into arrays of `per_step`.
    per_step : set of Traced
        Arrays with one row per step in memory.
    changing : set of Traced
        Inputs that may be overwritten.
    """

    def __init__(self, passes: Passes, counter: Traced | None, per_step: set[Traced], changing: set[Traced]) -> None:
        self.passes, self.counter, self.per_step, self.changing = passes, counter, per_step, changing

    def level(self, number: int) -> Source | None:
        """Return the function that runs all kernels of a level; None if it has products only."""
        kernels = self.passes.kernels[number]
        if not kernels:
            return None
        source = Source(f"level{number}")
        lines = []
        for kernel in kernels:
            grid = Grid(self.passes, kernel)
            written = Body(Elements(self.passes, source, kernel, grid, self.counter, self.per_step)).lines()
            lines += [
                f"if (block >= {source.blocks} && block < {source.blocks + grid.blocks}) {{",
                *indent([f"const int kernel_block = block - {source.blocks};", *written]),
                "}",
            ]
            source.blocks += grid.blocks
        given = ", ".join(self._declared(buffer) for buffer in source.arguments)
        head = ["const int block = blockIdx.x, tid = threadIdx.x;", f"__shared__ double shared[{THREADS}];"]
        source.text = "\n".join(
            [
                f'extern "C" __global__ void __launch_bounds__({THREADS}) {source.name}({given}) {{',
                *indent([*head, *lines]),
                "}",
            ]
        )
        return source

    def _declared(self, buffer: Buffer) -> str:
        if isinstance(buffer, Traced) and buffer not in self.passes.stored and buffer not in self.changing:
            return f"const {c_type(buffer.dtype)} *__restrict__ {name_of(buffer)}"
        return f"{c_type(buffer.dtype)} *{name_of(buffer)}"


class Body:
    """The source of one kernel of a function.

    Parameters
    ----------
    elements : Elements
    """

    def __init__(self, elements: Elements) -> None:
        self.elements, self.kernel, self.grid = elements, elements.kernel, elements.grid

    def lines(self) -> list[str]:
        """Return the statements of the kernel."""
        grid, elements = self.grid, self.elements
        stores: dict[int, list[str]] = {SCALAR: [], ROW: [], ELEMENT: []}
        for root in self.kernel.roots:
            at = elements.passes.place(root)
            if root in grid.reductions:
                ((argument, where),) = elements.passes.arguments(root, at)
                level = elements.level(where)
                value = cast(elements.emit(argument, where), argument.dtype, root.dtype)
                guard = "on" if level == ELEMENT else "on && lane == 0"
                sum_ = f"sum{root.number}[{'k' if self.grid.is_column_reduction(root) else '0'}]"
                stores[level].append(f"if ({guard}) {sum_} = {op_of(root)}::apply({sum_}, {value});")
                continue
            level = elements.level(at)
            value = elements.emit(root, at)
            elements.add_argument(root)
            target = f"{name_of(root)}[{elements.address(root, at)}]"
            if grid.flat:
                # One value per row: the thread of its first element stores it.
                guard = "" if level_of(at) == level_of(loops(grid.domain)) else "if (j == 0) "
            else:
                guard = {SCALAR: "", ROW: "if (on && lane == 0 && tile == 0) ", ELEMENT: "if (on) "}[level]
            stores[level].append(f"{guard}{target} = {value};")
        if not grid.domain:
            return ["if (tid == 0) {", *indent([*elements.scopes[SCALAR].lines, *stores[SCALAR]]), "}"]
        if grid.flat:
            return self._by_element(stores)
        return self._by_rows(stores)

    def _by_element(self, stores: dict[int, list[str]]) -> list[str]:
        """Return a loop in which each thread computes single elements."""
        grid, scopes, domain = self.grid, self.elements.scopes, self.grid.domain
        n, at, left = math.prod(domain), loops(domain), "e"
        places = []
        for axis in range(len(domain) - 1, -1, -1):
            size = domain[axis]
            places.append(f"const {grid.index_type} {at[axis].text} = {left}{f' % {size}' if axis else ''};")
            left = f"({left} / {size})"
        return [
            *scopes[SCALAR].lines,
            f"for ({grid.index_type} e = kernel_block * THREADS + tid; e < {n}; e += {grid.row_blocks} * THREADS) {{",
            *indent([*places, *scopes[ROW].lines, *stores[ROW]]),
            "}",
        ]

    def _by_rows(self, stores: dict[int, list[str]]) -> list[str]:
        """Return a loop over rows in which adjacent threads share a row."""
        grid, scopes = self.grid, self.elements.scopes
        element = [*scopes[ELEMENT].lines, *stores[ELEMENT]]
        starts = [
            line
            for reduction in grid.reductions
            for line in (
                f"{c_type(reduction.dtype)} sum{reduction.number}[{grid.sums(reduction)}];",
                *grid.each(grid.sums(reduction)),
                f"    sum{reduction.number}[k] = {op_of(reduction)}::start<{c_type(reduction.dtype)}>();",
                "}",
            )
        ]
        row = [*scopes[ROW].lines, *(grid.over_row(element) if element else []), *stores[ROW]]
        # Before `scopes` is read below, since this may add to its `SCALAR` statements.
        combine = self._combine()
        return [
            f"const {grid.index_type} tile = kernel_block / {grid.row_blocks}, "
            f"row_block = kernel_block % {grid.row_blocks};",
            f"const int lane = tid % {grid.lanes};",
            *scopes[SCALAR].lines,
            *starts,
            *grid.over_rows(row),
            *combine,
        ]

    def _combine(self) -> list[str]:
        """Return the code that combines the accumulators of each block, and in the last block the partial results."""
        grid, elements = self.grid, self.elements
        if not grid.reductions:
            return []
        several = grid.row_blocks > 1
        lines, last = [], []
        for reduction in grid.reductions:
            elements.add_argument(reduction)
            sums, kind, op = grid.sums(reduction), c_type(reduction.dtype), op_of(reduction)
            columns = grid.columns if grid.is_column_reduction(reduction) else 1
            lanes = grid.lanes if columns > 1 else 1
            place = f"{grid.tile}tid % {lanes} + k * {grid.lanes}" if columns > 1 else "0"
            out = f"{name_of(reduction)}[{elements.row_of_step() if reduction in elements.per_step else 'place'}]"
            partials = Partials(reduction, grid.row_blocks * columns)
            if several:
                elements.add_argument(partials)
            target = f"{name_of(partials)}[row_block * {columns} + place]" if several else out
            lines += [
                *grid.each(sums),
                f"    const {grid.index_type} place = {place};",
                f"    const {kind} reduced = reduce_block<{lanes}, {op}>(sum{reduction.number}[k], shared);",
                f"    if (tid < {lanes} && place < {columns}) {target} = reduced;",
                "}",
            ]
            if several:
                # Threads past the last column read that of lane 0, which the blocks of this tile have written; those of
                # other tiles may not have finished.
                known = f"(place < {columns} ? place : place - tid % {lanes})"
                read = f"{name_of(partials)} + {known}, {grid.row_blocks}, {columns}"
                last += [
                    *grid.each(sums),
                    f"    const {grid.index_type} place = {place};",
                    f"    const {kind} partial = reduce_partials<{lanes}, {op}, {kind}>({read});",
                    f"    const {kind} reduced = reduce_block<{lanes}, {op}>(partial, shared);",
                    f"    if (tid < {lanes} && place < {columns}) {out} = reduced;",
                    "}",
                ]
        if several:
            arrivals = Arrivals(next(iter(grid.reductions)), grid.tiles)
            elements.add_argument(arrivals)
            lines += [f"if (is_last({name_of(arrivals)} + tile, {grid.row_blocks}, shared)) {{", *indent(last), "}"]
        return lines
