"""Generate the expression of one element of a traced array."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mlpgpu.cuda.expressions import c_type, common_type, expression, literal
from mlpgpu.cuda.grid import INT32_LIMIT, Grid
from mlpgpu.cuda.indexing import ELEMENT, ROW, SCALAR, At, Index, level_of, linear
from mlpgpu.cuda.passes import Kernel, Passes, is_reduction
from mlpgpu.cuda.source import Buffer, Source, indent, name_of
from mlpgpu.fusion.trace import GIVEN, REDUCTIONS, VIEWS, Traced, number_in, parts


class Scope(NamedTuple):
    """The statements of a block of code, and the variables that they declare, by the element of an array they hold."""

    lines: list[str]
    known: dict[tuple[Traced, At], str]


class Elements:
    """The statements of a kernel that compute elements, each emitted once, in the loop that needs it.

    Parameters
    ----------
    passes : Passes
    source : Source
        Collects the arguments and the reads.
    kernel : Kernel
    grid : Grid
    counter : Traced or None
        Input that holds the step number, the index into arrays of `per_step`.
    per_step : set of Traced
        Arrays with one row per step in memory.

    Attributes
    ----------
    scopes : dict of int to Scope
        By loop level: before all loops, in the loop over rows, and in the loop over the current row.
    """

    def __init__(
        self, passes: Passes, source: Source, kernel: Kernel, grid: Grid, counter: Traced | None, per_step: set[Traced]
    ) -> None:
        self.passes, self.source, self.kernel, self.grid = passes, source, kernel, grid
        self.counter, self.per_step, self.roots = counter, per_step, set(kernel.roots)
        self.scopes = {level: Scope([], {}) for level in (ELEMENT, ROW, SCALAR)}
        # The open branches of concatenations, the innermost last.
        self.branches: list[Scope] = []
        self._names = 0

    def emit(self, node: Traced, at: At) -> str:
        """Return the C expression of an element of `node`, after emitting its computation or load if it is new."""
        for scope in (*reversed(self.branches), *self.scopes.values()):
            if (node, at) in scope.known:
                return scope.known[node, at]
        if node.operation == "fill" or (node.operation == "constant" and node.size == 1):
            return literal(node.value)
        own = node in self.roots and at == self.passes.place(node)
        if node.operation in GIVEN or (node in self.passes.stored and not own):
            return self._declare(node, at, self._read(node, at))
        if node.operation in VIEWS:
            ((of, where),) = self.passes.arguments(node, at)
            return self.emit(of, where)
        if node.operation in REDUCTIONS:
            if is_reduction(node):
                return self._row_reduction(node, at)
            ((of, where),) = self.passes.arguments(node, at)
            return self._declare(node, at, cast(self.emit(of, where), of.dtype, node.dtype))
        if node.operation == "concatenate":
            return self._concatenated(node, at)
        if node.operation == "take":
            return self._taken(node, at)
        return self._declare(node, at, self._elementwise(node, at))

    def _elementwise(self, node: Traced, at: At) -> str:
        where = iter(self.passes.arguments(node, at))
        given = [(a, self.emit(*next(where)) if isinstance(a, Traced) else None) for a in node.arguments]
        if node.operation == "astype":
            return cast(str(given[0][1]), node.parents[0].dtype, node.dtype)
        if node.operation == "where":
            chosen = [self._converted(node, argument, value, node.dtype) for argument, value in given[1:]]
            return f"{given[0][1]} ? {chosen[0]} : {chosen[1]}"
        operands = [a.dtype if isinstance(a, Traced) else a for a in node.arguments]
        common = common_type(operands, node.dtype)
        values = [self._converted(node, argument, value, common) for argument, value in given]
        return expression(node.operation, values, common, node.dtype)

    def _converted(self, node: Traced, argument: Any, value: str | None, dtype: Any) -> str:
        if value is None:
            return literal(number_in(node, argument).astype(dtype))
        return cast(value, argument.dtype, dtype)

    def _taken(self, node: Traced, at: At) -> str:
        x, rows = node.parents
        row = self.emit(rows, at[:1])
        return self.emit(x, (Index(f"(long long){row}" if x.size >= INT32_LIMIT else row, 0, at[0].level), *at[1:]))

    def _concatenated(self, node: Traced, at: At) -> str:
        axis = node.settings[0]
        name, lines = self._new_name(node), []
        pieces = zip(parts(node), self.passes.arguments(node, at), strict=True)
        for number, ((_, stop), (part, where)) in enumerate(pieces):
            self.branches.append(Scope([], {}))
            value = cast(self.emit(part, where), part.dtype, node.dtype)
            inside = self.branches.pop().lines
            last = number == len(node.parents) - 1
            head = "else {" if last and number else f"{'else ' if number else ''}if ({at[axis]} < {stop}) {{"
            lines += [head, *indent([*inside, f"{name} = {value};"]), "}"]
        scope = self._scope(at)
        scope.lines.extend([f"{c_type(node.dtype)} {name};", *lines])
        scope.known[node, at] = name
        return name

    def _row_reduction(self, reduction: Traced, at: At) -> str:
        """Emit a loop over the row, to run before the current one, which may use its result."""
        outside = self.scopes[ELEMENT], self.branches
        self.scopes[ELEMENT], self.branches = Scope([], {}), []
        ((of, where),) = self.passes.arguments(reduction, at)
        kind, op, name = c_type(reduction.dtype), op_of(reduction), self._new_name(reduction)
        value = cast(self.emit(of, where), of.dtype, reduction.dtype)
        lines = [*self.scopes[ELEMENT].lines, f"{name} = {op}::apply({name}, {value});"]
        self.scopes[ELEMENT], self.branches = outside
        self.scopes[ROW].lines.extend(
            [
                f"{kind} {name} = {op}::start<{kind}>();",
                *self.grid.over_row(lines),
                f"{name} = reduce_row<{self.grid.lanes}, {op}>({name});",
            ]
        )
        self.scopes[ROW].known[reduction, at] = name
        return name

    def _read(self, node: Traced, at: At) -> str:
        self.add_argument(node)
        self.source.reads.append((node, at, self.kernel))
        return f"{name_of(node)}[{self.address(node, at)}]"

    def address(self, node: Traced, at: At) -> str:
        """Return the offset of an element in its buffer, in elements, as a C expression."""
        place = str(linear(at, node.shape)) if node.shape else "0"
        return f"{self.row_of_step()} * {node.size} + {place}" if node in self.per_step else place

    def row_of_step(self) -> str:
        """Return the step number. Only kernels that use it load it, since another of the launch may increment it."""
        assert self.counter is not None
        return self.emit(self.counter, ())

    def add_argument(self, buffer: Buffer) -> None:
        """Make the address of `buffer` an argument of the function."""
        self.source.arguments[buffer] = None

    def level(self, at: At) -> int:
        """Return the loop level of a position. A flat kernel has a single loop, that of `ROW`."""
        return min(level_of(at), ROW) if self.grid.flat else level_of(at)

    def _scope(self, at: At) -> Scope:
        return self.branches[-1] if self.branches else self.scopes[self.level(at)]

    def _declare(self, node: Traced, at: At, text: str) -> str:
        scope, name = self._scope(at), self._new_name(node)
        scope.lines.append(f"const {c_type(node.dtype)} {name} = {text};")
        scope.known[node, at] = name
        return name

    def _new_name(self, node: Traced) -> str:
        self._names += 1
        return f"v{node.number}_{self._names}"


def cast(value: str, given: Any, wanted: Any) -> str:
    """Return the C expression of `value` cast from dtype `given` to `wanted`."""
    return value if np.dtype(given) == np.dtype(wanted) else f"(({c_type(wanted)}){value})"


def op_of(reduction: Traced) -> str:
    """Return the name in the prelude of a reduction's operation."""
    return reduction.operation.capitalize()
