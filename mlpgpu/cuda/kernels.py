"""The kernels of a level, as CUDA source."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlpgpu.cuda.expressions import c_type, common_type, expression, literal
from mlpgpu.cuda.indexing import ELEMENT, NUMBER, ROW, At, Index, NotCaptured, level_of, linear
from mlpgpu.cuda.passes import Kernel, Passes, folded, is_fold, is_row_fold, long_axes, loops, parts
from mlpgpu.fusion.schedule import GIVEN
from mlpgpu.fusion.trace import REDUCTIONS, VIEWS, Traced, number_in

THREADS = 256
# Rows that each thread of a sum over rows has at least; and how many blocks share such a sum, whose parts the last of
# them puts together: enough to fill a GPU over all tiles of columns, and so few that the parts do not take longer.
ROWS_A_THREAD, BLOCKS_OF_SUM, MOST_PARTS, FEWEST_PARTS = 4, 512, 256, 32
# Beyond these, blocks come back for more.
BLOCKS = 1 << 16
# From here on, 32 bits do not count the elements of an array.
FAR = 2**31


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
            body = Body(self, source, kernel)
            written = body.lines()
            lines += [
                f"if (block >= {source.blocks} && block < {source.blocks + body.blocks}) {{",
                *_indent([f"const int part = block - {source.blocks};", *written]),
                "}",
            ]
            source.blocks += body.blocks
        given = ", ".join(self._declared(buffer) for buffer in source.arguments)
        head = ["const int block = blockIdx.x, tid = threadIdx.x;", f"__shared__ double shared[{THREADS}];"]
        if self.counter is not None and self.counter in source.arguments:
            head.append(f"const long long step = {name_of(self.counter)}[0];")
        source.text = "\n".join(
            [
                f'extern "C" __global__ void __launch_bounds__({THREADS}) {source.name}({given}) {{',
                *_indent([*head, *lines]),
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


def name_of(buffer: Buffer | None) -> str:
    """What memory is called."""
    if isinstance(buffer, Parts):
        return f"parts{buffer.fold.number}"
    if isinstance(buffer, Arrivals):
        return f"arrived{buffer.first.number}"
    assert buffer is not None
    return f"a{buffer.number}"


class Body:
    """One kernel.

    Where nothing is added up, each thread takes an element. Otherwise `lanes` threads next to each other take a row,
    and the blocks a tile of columns each, where no row has to be together.

    Attributes
    ----------
    blocks : int
    """

    def __init__(self, writer: Writer, source: Source, kernel: Kernel) -> None:
        self.writer, self.passes, self.source, self.kernel = writer, writer.passes, source, kernel
        self.domain, self.roots = kernel.domain, set(kernel.roots)
        # In order, and looked up by what they are: arrays compare by an operation.
        self.folds = {root: None for root in kernel.roots if is_fold(root) and not is_row_fold(root)}
        inside = [node for root in kernel.roots for node, _ in self.passes.reads(root) if is_row_fold(node)]
        by_rows = any(is_row_fold(node) for node in (*inside, *kernel.roots))
        totals = any(not self._by_column(fold) for fold in self.folds)
        self.flat = len(self.domain) > 2 or (not self.folds and not by_rows)
        if len(self.domain) > 2 and (self.folds or by_rows):
            raise NotCaptured("sums over more than two axes")
        rows = self.domain[0] if self.domain else 1
        columns = self.domain[1] if len(self.domain) == 2 else 1
        self.rows, self.columns = rows, columns
        self.lanes = min(32, 1 << (columns - 1).bit_length())
        whole = by_rows or totals or columns <= self.lanes
        self.a_lane = -(-columns // self.lanes) if whole else 1
        self.tiles = 1 if whole or self.flat else -(-columns // self.lanes)
        at_once = THREADS // self.lanes
        if not self.domain:
            self.row_blocks = 1
        elif self.flat:
            self.row_blocks = min(BLOCKS, -(-math.prod(self.domain) // THREADS))
        elif self.folds:
            most = min(MOST_PARTS, max(FEWEST_PARTS, BLOCKS_OF_SUM // self.tiles))
            self.row_blocks = max(1, min(most, -(-rows // (at_once * ROWS_A_THREAD))))
        else:
            self.row_blocks = min(BLOCKS, -(-rows // at_once))
        self.blocks = self.row_blocks * self.tiles
        # What is written before all loops, in each row, and in the loop over a row that is being written.
        self.texts: dict[int, list[str]] = {NUMBER: [], ROW: [], ELEMENT: []}
        self.known: dict[int, dict[tuple[Traced, At], str]] = {NUMBER: {}, ROW: {}, ELEMENT: {}}
        # Those of the branches of a concatenation that is being written.
        self.branches: list[tuple[list[str], dict[tuple[Traced, At], str]]] = []
        self.names = 0

    def lines(self) -> list[str]:
        """All of it, in order."""
        stores: dict[int, list[str]] = {NUMBER: [], ROW: [], ELEMENT: []}
        for root in self.kernel.roots:
            at = self.passes.place(root)
            if root in self.folds:
                ((argument, where),) = self.passes.arguments(root, at)
                level = self._level(where)
                value = self._cast(self.emit(argument, where), argument.dtype, root.dtype)
                guard = "on" if level == ELEMENT else "on && lane == 0"
                sum_ = f"sum{root.number}[{'k' if self._by_column(root) else '0'}]"
                stores[level].append(f"if ({guard}) {sum_} = {_op(root)}::put({sum_}, {value});")
                continue
            level = self._level(at)
            value = self.emit(root, at)
            self._argue(root)
            target = f"{name_of(root)}[{self._address(root, at)}]"
            guard = {NUMBER: "", ROW: "if (on && lane == 0 && tile == 0) ", ELEMENT: "if (on) "}[level]
            stores[level].append(f"{'' if self.flat else guard}{target} = {value};")
        if not self.domain:
            return ["if (tid == 0) {", *_indent([*self.texts[NUMBER], *stores[NUMBER]]), "}"]
        if self.flat:
            return self._each(stores)
        return self._by_rows(stores)

    def _each(self, stores: dict[int, list[str]]) -> list[str]:
        """Every thread an element."""
        n, at, left = math.prod(self.domain), loops(self.domain), "e"
        if n >= FAR:
            raise NotCaptured("arrays of 2**31 elements and more")
        places = []
        for axis in range(len(self.domain) - 1, -1, -1):
            size = self.domain[axis]
            places.append(f"const int {at[axis].text} = {left}{f' % {size}' if axis else ''};")
            left = f"({left} / {size})"
        return [
            *self.texts[NUMBER],
            f"for (int e = part * THREADS + tid; e < {n}; e += {self.row_blocks} * THREADS) {{",
            *_indent([*places, *self.texts[ROW], *stores[ROW], *stores[NUMBER]]),
            "}",
        ]

    def _by_rows(self, stores: dict[int, list[str]]) -> list[str]:
        """Every few threads a row."""
        lanes, at_once = self.lanes, THREADS // self.lanes
        element = [*self.texts[ELEMENT], *stores[ELEMENT]]
        begin = [
            f"const int lane = tid % {lanes}, tile = part / {self.row_blocks}, row_block = part % {self.row_blocks};",
            *self.texts[NUMBER],
        ]
        begin += [
            line
            for fold in self.folds
            for line in (
                f"{c_type(fold.dtype)} sum{fold.number}[{self._sums(fold)}];",
                f"for (int k = 0; k < {self._sums(fold)}; ++k) "
                f"sum{fold.number}[k] = {_op(fold)}::start<{c_type(fold.dtype)}>();",
            )
        ]
        row = [
            # Past the end some go over the last row once more, so that all keep pace; they leave nothing.
            f"const bool on = first + tid / {lanes} < {self.rows};",
            f"const int i = on ? first + tid / {lanes} : {self.rows - 1};",
            *self.texts[ROW],
            *(self._over_row(element) if element else []),
            *stores[ROW],
        ]
        whole = f"for (int first = row_block * {at_once}; first < {self.rows}; first += {self.row_blocks * at_once}) {{"
        return [*begin, whole, *_indent(row), "}", *self._together()]

    def _over_row(self, lines: list[str]) -> list[str]:
        return [
            "#pragma unroll",
            f"for (int k = 0; k < {self.a_lane}; ++k) {{",
            f"    const int j = {f'tile * {self.lanes} + ' if self.tiles > 1 else ''}lane + k * {self.lanes};",
            f"    if (j < {self.columns}) {{",
            *_indent(_indent(lines)),
            "    }",
            "}",
        ]

    def _by_column(self, fold: Traced) -> bool:
        """Whether a sum is one a column, and not one of everything."""
        return len(self.domain) == 2 and long_axes(fold.parents[0].shape) == self.domain and folded(fold) == (0,)

    def _sums(self, fold: Traced) -> int:
        """How many sums a thread has: one for each of its columns, or one."""
        return self.a_lane if self._by_column(fold) else 1

    def _together(self) -> list[str]:
        """What the threads have added up, put together: in each block, and by the last of them."""
        if not self.folds:
            return []
        several = self.row_blocks > 1
        lines, last = [], []
        for fold in self.folds:
            self._argue(fold)
            sums, kind, op = self._sums(fold), c_type(fold.dtype), _op(fold)
            columns = self.columns if self._by_column(fold) else 1
            lanes = self.lanes if columns > 1 else 1
            tile = f"tile * {self.lanes} + " if self.tiles > 1 else ""
            place = f"{tile}tid % {lanes} + k * {self.lanes}" if columns > 1 else "0"
            out = f"{name_of(fold)}[{self._address_of_sum(fold)}]"
            parts = Parts(fold, self.row_blocks * columns * fold.dtype.itemsize)
            if several:
                self._argue(parts)
            target = f"{name_of(parts)}[row_block * {columns} + place]" if several else out
            each = f"for (int k = 0; k < {sums}; ++k) {{"
            lines += [
                each,
                f"    const int place = {place};",
                f"    const {kind} whole = of_block<{lanes}, {op}>(sum{fold.number}[k], shared);",
                f"    if (tid < {lanes} && place < {columns}) {target} = whole;",
                "}",
            ]
            if several:
                read = f"{name_of(parts)} + (place < {columns} ? place : 0), {self.row_blocks}, {columns}"
                last += [
                    each,
                    f"    const int place = {place};",
                    f"    const {kind} part_of = of_parts<{lanes}, {op}, {kind}>({read});",
                    f"    const {kind} whole = of_block<{lanes}, {op}>(part_of, shared);",
                    f"    if (tid < {lanes} && place < {columns}) {out} = whole;",
                    "}",
                ]
        if several:
            arrivals = Arrivals(next(iter(self.folds)), 4 * self.tiles)
            self._argue(arrivals)
            lines += [f"if (is_last({name_of(arrivals)} + tile, {self.row_blocks}, shared)) {{", *_indent(last), "}"]
        return lines

    def _address_of_sum(self, fold: Traced) -> str:
        return self._row_of_step() if fold in self.writer.a_step else "place"

    def emit(self, node: Traced, at: At) -> str:
        """What stands for an element of an array, worked out or read where it is not known yet."""
        for _, known in reversed(self.branches):
            if (node, at) in known:
                return known[node, at]
        for level in (ELEMENT, ROW, NUMBER):
            if (node, at) in self.known[level]:
                return self.known[level][node, at]
        if node.operation in {"fill", "constant"} and node.size == 1 and isinstance(node.value, np.ndarray):
            return literal(node.value.reshape(()))
        if node.operation == "fill":
            assert node.value is not None
            return literal(node.value)
        own = node in self.roots and at == self.passes.place(node)
        if node.operation in GIVEN or (node in self.passes.stored and not own):
            return self._declare(node, at, self._read(node, at))
        if node.operation in VIEWS:
            ((of, where),) = self.passes.arguments(node, at)
            return self.emit(of, where)
        if node.operation in REDUCTIONS:
            if is_fold(node):
                return self._row_fold(node, at)
            ((of, where),) = self.passes.arguments(node, at)
            return self._declare(node, at, self._cast(self.emit(of, where), of.dtype, node.dtype))
        if node.operation == "concatenate":
            return self._joined(node, at)
        if node.operation == "take":
            return self._taken(node, at)
        return self._declare(node, at, self._elementwise(node, at))

    def _elementwise(self, node: Traced, at: At) -> str:
        where = iter(self.passes.arguments(node, at))
        given = [(a, self.emit(*next(where)) if isinstance(a, Traced) else None) for a in node.arguments]
        if node.operation == "astype":
            return self._cast(str(given[0][1]), node.parents[0].dtype, node.dtype)
        if node.operation == "where":
            chosen = [self._converted(node, argument, value, node.dtype) for argument, value in given[1:]]
            return f"{given[0][1]} ? {chosen[0]} : {chosen[1]}"
        operands = [a.dtype if isinstance(a, Traced) else a for a in node.arguments]
        common = common_type(operands, node.dtype)
        values = [self._converted(node, argument, value, common) for argument, value in given]
        return expression(node.operation, values, common, node.dtype)

    def _converted(self, node: Traced, argument: Any, value: str | None, dtype: Any) -> str:
        if value is None:
            return literal(np.asarray(number_in(node, argument)).astype(dtype))
        return self._cast(value, argument.dtype, dtype)

    def _cast(self, value: str, given: Any, wanted: Any) -> str:
        if np.dtype(given) == np.dtype(wanted):
            return value
        return f"(({c_type(wanted)}){value})"

    def _taken(self, node: Traced, at: At) -> str:
        x, rows = node.parents
        row = self.emit(rows, at[:1])
        return self.emit(x, (Index(f"(long long){row}" if x.size >= FAR else row, 0, at[0].level), *at[1:]))

    def _joined(self, node: Traced, at: At) -> str:
        axis = node.settings[0]
        name, lines = self._new_name(node), []
        pieces = zip(parts(node), self.passes.arguments(node, at), strict=True)
        for number, ((_, stop), (part, where)) in enumerate(pieces):
            self.branches.append(([], {}))
            value = self._cast(self.emit(part, where), part.dtype, node.dtype)
            inside, _ = self.branches.pop()
            last = number == len(node.parents) - 1
            head = "else {" if last and number else f"{'else ' if number else ''}if ({at[axis]} < {stop}) {{"
            lines += [head, *_indent([*inside, f"{name} = {value};"]), "}"]
        self._list(at).extend([f"{c_type(node.dtype)} {name};", *lines])
        self._remember(node, at, name)
        return name

    def _row_fold(self, fold: Traced, at: At) -> str:
        """A loop over the row, before the one that is being written."""
        outside = self.texts[ELEMENT], self.known[ELEMENT], self.branches
        self.texts[ELEMENT], self.known[ELEMENT], self.branches = [], {}, []
        ((of, where),) = self.passes.arguments(fold, at)
        kind, op, name = c_type(fold.dtype), _op(fold), self._new_name(fold)
        value = self._cast(self.emit(of, where), of.dtype, fold.dtype)
        lines = [*self.texts[ELEMENT], f"{name} = {op}::put({name}, {value});"]
        self.texts[ELEMENT], self.known[ELEMENT], self.branches = outside
        self.texts[ROW] += [
            f"{kind} {name} = {op}::start<{kind}>();",
            *self._over_row(lines),
            f"{name} = of_row<{self.lanes}, {op}>({name});",
        ]
        self.known[ROW][fold, at] = name
        return name

    def _read(self, node: Traced, at: At) -> str:
        self._argue(node)
        self.source.reads.append((node, at, self.kernel))
        return f"{name_of(node)}[{self._address(node, at)}]"

    def _address(self, node: Traced, at: At) -> str:
        place = str(linear(at, node.shape)) if node.shape else "0"
        return f"{self._row_of_step()} * {node.size} + {place}" if node in self.writer.a_step else place

    def _row_of_step(self) -> str:
        counter = self.writer.counter
        assert counter is not None
        self._argue(counter)
        self.source.reads.append((counter, (), self.kernel))
        return "step"

    def _argue(self, buffer: Buffer) -> None:
        self.source.arguments[buffer] = None

    def _level(self, at: At) -> int:
        """The loop that a place follows; where each thread has an element, there is but one."""
        return min(level_of(at), ROW) if self.flat else level_of(at)

    def _list(self, at: At) -> list[str]:
        return self.branches[-1][0] if self.branches else self.texts[self._level(at)]

    def _remember(self, node: Traced, at: At, name: str) -> None:
        known = self.branches[-1][1] if self.branches else self.known[self._level(at)]
        known[node, at] = name

    def _declare(self, node: Traced, at: At, text: str) -> str:
        name = self._new_name(node)
        self._list(at).append(f"const {c_type(node.dtype)} {name} = {text};")
        self._remember(node, at, name)
        return name

    def _new_name(self, node: Traced) -> str:
        self.names += 1
        return f"v{node.number}_{self.names}"


def _op(fold: Traced) -> str:
    return fold.operation.capitalize()


def _indent(lines: list[str]) -> list[str]:
    return [line if line.startswith("#") else f"    {line}" for line in lines]
