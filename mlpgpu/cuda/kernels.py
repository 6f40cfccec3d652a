"""The kernels of a level, as CUDA source."""

from __future__ import annotations

import math

from mlpgpu.cuda.elements import Elements, cast, op_of
from mlpgpu.cuda.expressions import c_type
from mlpgpu.cuda.grid import Grid
from mlpgpu.cuda.indexing import ELEMENT, NUMBER, ROW, level_of
from mlpgpu.cuda.passes import Passes, loops
from mlpgpu.cuda.source import THREADS, Arrivals, Buffer, Parts, Source, indent, name_of
from mlpgpu.fusion.trace import Traced


class Writer:
    """Writes the kernels of a program.

    Parameters
    ----------
    passes : Passes
    counter : Traced or None
        Input with the number of the step, for what has a row of its own in each.
    a_step : set of Traced
        What has: its memory holds the rows of many steps.
    changing : set of Traced
        Inputs that may be written over.
    """

    def __init__(self, passes: Passes, counter: Traced | None, a_step: set[Traced], changing: set[Traced]) -> None:
        self.passes, self.counter, self.a_step, self.changing = passes, counter, a_step, changing

    def level(self, number: int) -> Source | None:
        """The function of a level; None where it has products only."""
        kernels = self.passes.kernels[number]
        if not kernels:
            return None
        source = Source(f"level{number}")
        lines = []
        for kernel in kernels:
            grid = Grid(self.passes, kernel)
            written = Body(Elements(self.passes, source, kernel, grid, self.counter, self.a_step)).lines()
            lines += [
                f"if (block >= {source.blocks} && block < {source.blocks + grid.blocks}) {{",
                *indent([f"const int part = block - {source.blocks};", *written]),
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
        if isinstance(buffer, Arrivals):
            return f"unsigned int *{name_of(buffer)}"
        if isinstance(buffer, Parts):
            return f"{c_type(buffer.fold.dtype)} *{name_of(buffer)}"
        if buffer in self.passes.stored or buffer in self.changing:
            return f"{c_type(buffer.dtype)} *{name_of(buffer)}"
        return f"const {c_type(buffer.dtype)} *__restrict__ {name_of(buffer)}"


class Body:
    """One kernel of a function.

    Parameters
    ----------
    elements : Elements
    """

    def __init__(self, elements: Elements) -> None:
        self.elements, self.kernel, self.grid = elements, elements.kernel, elements.grid

    def lines(self) -> list[str]:
        """All of it, in order."""
        grid, elements = self.grid, self.elements
        stores: dict[int, list[str]] = {NUMBER: [], ROW: [], ELEMENT: []}
        for root in self.kernel.roots:
            at = elements.passes.place(root)
            if root in grid.folds:
                ((argument, where),) = elements.passes.arguments(root, at)
                level = elements.level(where)
                value = cast(elements.emit(argument, where), argument.dtype, root.dtype)
                guard = "on" if level == ELEMENT else "on && lane == 0"
                sum_ = f"sum{root.number}[{'k' if self.grid.is_by_column(root) else '0'}]"
                stores[level].append(f"if ({guard}) {sum_} = {op_of(root)}::put({sum_}, {value});")
                continue
            level = elements.level(at)
            value = elements.emit(root, at)
            elements.argue(root)
            target = f"{name_of(root)}[{elements.address(root, at)}]"
            if grid.flat:
                # A number for each row, of which one thread has the first element.
                guard = "" if level_of(at) == level_of(loops(grid.domain)) else "if (j == 0) "
            else:
                guard = {NUMBER: "", ROW: "if (on && lane == 0 && tile == 0) ", ELEMENT: "if (on) "}[level]
            stores[level].append(f"{guard}{target} = {value};")
        if not grid.domain:
            return ["if (tid == 0) {", *indent([*elements.texts[NUMBER], *stores[NUMBER]]), "}"]
        if grid.flat:
            return self._each(stores)
        return self._by_rows(stores)

    def _each(self, stores: dict[int, list[str]]) -> list[str]:
        """Every thread an element."""
        grid, texts, domain = self.grid, self.elements.texts, self.grid.domain
        n, at, left = math.prod(domain), loops(domain), "e"
        places = []
        for axis in range(len(domain) - 1, -1, -1):
            size = domain[axis]
            places.append(f"const {grid.whole} {at[axis].text} = {left}{f' % {size}' if axis else ''};")
            left = f"({left} / {size})"
        return [
            *texts[NUMBER],
            f"for ({grid.whole} e = part * THREADS + tid; e < {n}; e += {grid.row_blocks} * THREADS) {{",
            *indent([*places, *texts[ROW], *stores[ROW]]),
            "}",
        ]

    def _by_rows(self, stores: dict[int, list[str]]) -> list[str]:
        """Every few threads a row."""
        grid, texts = self.grid, self.elements.texts
        element = [*texts[ELEMENT], *stores[ELEMENT]]
        starts = [
            line
            for fold in grid.folds
            for line in (
                f"{c_type(fold.dtype)} sum{fold.number}[{grid.sums(fold)}];",
                *grid.each(grid.sums(fold)),
                f"    sum{fold.number}[k] = {op_of(fold)}::start<{c_type(fold.dtype)}>();",
                "}",
            )
        ]
        row = [*texts[ROW], *(grid.over_row(element) if element else []), *stores[ROW]]
        # It may read what all threads have in common.
        together = self._together()
        return [
            f"const {grid.whole} tile = part / {grid.row_blocks}, row_block = part % {grid.row_blocks};",
            f"const int lane = tid % {grid.lanes};",
            *texts[NUMBER],
            *starts,
            *grid.over_rows(row),
            *together,
        ]

    def _together(self) -> list[str]:
        """What the threads have added up, put together: in each block, and by the last of them."""
        grid, elements = self.grid, self.elements
        if not grid.folds:
            return []
        several = grid.row_blocks > 1
        lines, last = [], []
        for fold in grid.folds:
            elements.argue(fold)
            sums, kind, op = grid.sums(fold), c_type(fold.dtype), op_of(fold)
            columns = grid.columns if grid.is_by_column(fold) else 1
            lanes = grid.lanes if columns > 1 else 1
            place = f"{grid.tile}tid % {lanes} + k * {grid.lanes}" if columns > 1 else "0"
            out = f"{name_of(fold)}[{elements.row_of_step() if fold in elements.a_step else 'place'}]"
            parts = Parts(fold, grid.row_blocks * columns * fold.dtype.itemsize)
            if several:
                elements.argue(parts)
            target = f"{name_of(parts)}[row_block * {columns} + place]" if several else out
            lines += [
                *grid.each(sums),
                f"    const {grid.whole} place = {place};",
                f"    const {kind} whole = of_block<{lanes}, {op}>(sum{fold.number}[k], shared);",
                f"    if (tid < {lanes} && place < {columns}) {target} = whole;",
                "}",
            ]
            if several:
                # Past the end they go over what their own blocks have left, for no others have been waited for.
                known = f"(place < {columns} ? place : place - tid % {lanes})"
                read = f"{name_of(parts)} + {known}, {grid.row_blocks}, {columns}"
                last += [
                    *grid.each(sums),
                    f"    const {grid.whole} place = {place};",
                    f"    const {kind} part_of = of_parts<{lanes}, {op}, {kind}>({read});",
                    f"    const {kind} whole = of_block<{lanes}, {op}>(part_of, shared);",
                    f"    if (tid < {lanes} && place < {columns}) {out} = whole;",
                    "}",
                ]
        if several:
            arrivals = Arrivals(next(iter(grid.folds)), 4 * grid.tiles)
            elements.argue(arrivals)
            lines += [f"if (is_last({name_of(arrivals)} + tile, {grid.row_blocks}, shared)) {{", *indent(last), "}"]
        return lines
