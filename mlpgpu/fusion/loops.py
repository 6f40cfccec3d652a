"""Generate the loops of one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.fusion.memory import empty
from mlpgpu.fusion.schedule import Group
from mlpgpu.fusion.sharing import Access, whole
from mlpgpu.fusion.trace import INFIX, REDUCTIONS, Traced, number_in

if TYPE_CHECKING:
    from mlpgpu.fusion.source import Source

# maximum and minimum propagate NaN, as in NumPy.
CALLS = {
    "absolute": "abs({0})",
    "negative": "-{0}",
    "positive": "{0}",
    "square": "{0} * {0}",
    "power": "{0} ** {1}",
    "reciprocal": "1 / {0}",
    "maximum": "{0} if {0} >= {1} or {0} != {0} else {1}",
    "minimum": "{0} if {0} <= {1} or {0} != {0} else {1}",
    "sign": "{0} if {0} != {0} else ({0} > 0) - ({0} < 0)",
    "logical_not": "not {0}",
    "where": "{1} if {0} else {2}",
    "astype": "{0}",
    "sqrt": "math.sqrt({0})",
    "cos": "math.cos({0})",
    "sin": "math.sin({0})",
    "floor": "np.floor({0})",
    **{name: name + "(np.float64({0}))" for name in ("exp", "expm1", "log", "log1p", "tanh")},
}
# The initial value of each reduction, and the expression that adds an element.
REDUCERS = {
    "sum": ("0", "add({0}, {1})"),
    "prod": ("1", "{0} * {1}"),
    "max": ("-np.inf", CALLS["maximum"]),
    "min": ("np.inf", CALLS["minimum"]),
}
# Bytes between the accumulators of two threads, to prevent false sharing of a cache line.
PADDING = 64


class NotCompiled(TypeError):
    """An operation that compiled loops do not support."""


@dataclass(eq=False)
class Reduction:
    """A reduction over rows: the partial results, one per thread; the result; the lines that combine them."""

    partials: np.ndarray
    out: np.ndarray
    combine: list[str]


class Loops:
    """The loops of one pass: the statements before them, per row, per element, and after them.

    Parameters
    ----------
    source : Source
        Gives arrays and numbers their names.
    group : Group

    Attributes
    ----------
    uses : list of Access
    reductions : list of Reduction
        Those whose partial results are yet to be combined.
    """

    def __init__(self, source: Source, group: Group) -> None:
        assert group.domain is not None
        if len(group.domain) > 2:
            raise NotCompiled("arrays of more than two axes")
        self.source, self.group = source, group
        self.flat = self._is_flat()
        self.rank = 1 if self.flat else len(group.domain)
        self.before: list[str] = []
        self.row: list[str] = []
        self.loads: list[str] = []
        self.inner: list[str] = []
        self.stores: list[str] = []
        self.row_end: list[str] = []
        self.after: list[str] = []
        self.uses: list[Access] = []
        self.reductions: list[Reduction] = []
        self._known: dict[Traced, str] = {}
        for node in group.nodes:
            if node.operation in REDUCTIONS:
                self._reduce(node)
            else:
                self._element(node)

    def _is_flat(self) -> bool:
        """Whether all arrays have the shape of the pass and are C-contiguous, so that one loop can go over them."""
        memory, domain = self.source.memory, self.group.domain
        seen = {array for node in self.group.nodes for array in (*node.parents, node)} - self._unstored()
        # Of a fill, only the value is read.
        arrays = [memory[array] for array in seen if array.size > 1 and array.operation != "fill"]
        plain = all(node.operation != "take" and node.operation not in REDUCTIONS for node in self.group.nodes)
        return plain and len(domain or ()) == 2 and all(a.shape == domain and a.flags.c_contiguous for a in arrays)

    def _array(self, node: Traced) -> np.ndarray:
        array = self.source.memory[node]
        return array.reshape(-1, copy=False) if self.flat and array.size > 1 else array

    def lines(self) -> list[str]:
        """Return the lines of the pass."""
        element = [*self.loads, *self.inner, *self.stores]
        if self.rank == 0:
            return [*self.before, *element, *self.after]
        if self.rank == 2:
            element = [f"for j in range({self._size(1)}):", *indent(element)]
        each = f"for i in {share_range(self._size(0), self._size(1) if self.flat else '')}:"
        return [*self.before, each, *indent([*self.row, *element, *self.row_end]), *self.after]

    def _size(self, axis: int) -> str:
        assert self.group.domain is not None
        for node in self.group.nodes:
            for array in (*node.parents, node):
                lies = array.operation not in {"constant", "fill"} and array not in self._unstored()
                if lies and array.shape == self.group.domain:
                    return f"{self.source.name(self.source.memory[array])}.shape[{axis}]"
            if node.operation == "take":
                x, rows = (self._array(parent) for parent in node.parents)
                return f"{self.source.name(rows)}.shape[0]" if axis == 0 else f"{self.source.name(x)}.shape[1]"
        raise NotCompiled("a pass without an array of its shape")

    def _unstored(self) -> set[Traced]:
        return {node for node in self.group.nodes if node not in self.source.schedule.stored}

    def _value(self, argument: Any, node: Traced) -> str:
        """Return the name of an argument's element; if it is new, add the line that loads it."""
        if not isinstance(argument, Traced):
            return self.source.number(number_in(node, argument))
        if argument in self._known:
            return self._known[argument]
        if argument.operation == "fill" or (argument.operation == "constant" and argument.size == 1):
            assert argument.value is not None
            return self.source.number(argument.value.reshape(()))
        name = self._known[argument] = f"v{argument.number}"
        array = self._array(argument)
        places, lines = self._at(array.shape)
        self._use(argument, "i" in places)
        lines.append(f"{name} = {self.source.name(array)}[{places}]")
        return name

    def _at(self, shape: tuple[int, ...]) -> tuple[str, list[str]]:
        """Return the index into an array of a shape that broadcasts to the pass, and the lines to load it in."""
        loops = ("i", "j")[: self.rank]
        along = loops[self.rank - len(shape) :] if len(shape) <= self.rank else ("0",) * len(shape)
        places = ["0" if n == 1 else loop for n, loop in zip(shape, along, strict=True)]
        inner = loops[-1] if loops else ""
        lines = self.loads if inner in places else self.row if "i" in places else self.before
        return ", ".join(places) or "()", lines

    def _use(self, node: Traced, in_parts: bool, write: bool = False) -> None:
        self.uses.append(self.source.private.use(self.source.memory[node], write, in_parts))

    def _element(self, node: Traced) -> None:
        if node.operation == "take":
            x, rows = (self._array(parent) for parent in node.parents)
            self._use(node.parents[0], in_parts=False)
            self._use(node.parents[1], in_parts=True)
            taken = f"r{node.number}"
            if self.rank:
                if self.rank == 2:
                    self.row.append(f"prefetch_row({self.source.name(x)}, {self.source.name(rows)}, i)")
                self.row.append(f"{taken} = {self.source.name(rows)}[i]")
                expression = f"{self.source.name(x)}[{taken}{', j' if self.rank == 2 else ''}]"
            else:
                self.before.append(f"{taken} = {self.source.name(rows)}[0]")
                expression = f"{self.source.name(x)}[{', '.join([taken] + ['0'] * (x.ndim - 1))}]"
        else:
            values = [self._value(argument, node) for argument in node.arguments]
            if node.operation in INFIX:
                expression = f"{values[0]} {INFIX[node.operation]} {values[1]}"
            elif node.operation in CALLS:
                expression = CALLS[node.operation].format(*values)
            else:
                raise NotCompiled(node.operation)
        name = self._known[node] = f"v{node.number}"
        typed = f"bool({expression})" if node.dtype == bool else f"np.{node.dtype.name}({expression})"
        self.inner.append(f"{name} = {typed}")
        if node in self.source.schedule.stored:
            array = self._array(node)
            loops = ("i", "j")[: self.rank]
            at = ", ".join(loops if loops else ("0",) * array.ndim) or "()"
            self.stores.append(f"{self.source.name(array)}[{at}] = {name}")
            self._use(node, bool(loops), write=True)

    def _reduce(self, node: Traced) -> None:
        axes, keepdims = node.settings
        (start, step), value = REDUCERS[node.operation], self._value(node.arguments[0], node)
        if node.dtype.kind not in "f" and "inf" in start:
            raise NotCompiled("an extreme of whole numbers")
        array, kind = self.source.memory[node], f"np.{node.dtype.name}"
        out, value, name = self.source.name(array), f"{kind}({value})", f"s{node.number}"
        if self.rank == 2 and axes == (1,) and array.size > 1:
            self.row.append(f"{name} = {kind}({start})")
            self.inner.append(f"{name} = {step.format(name, value)}")
            self.row_end.append(f"{out}[i{', 0' if keepdims else ''}] = {name}")
            self._use(node, in_parts=True, write=True)
            return
        if self.rank == 0:
            self.inner.append(f"{out}[{', '.join(['0'] * array.ndim) or '()'}] = {value}")
            self._use(node, in_parts=False, write=True)
            return
        # Each thread reduces its rows; the partial results are combined when the result is needed.
        shape = array.shape if array.size == 1 else (*array.shape[:-1], array.shape[-1] + PADDING // array.itemsize)
        partials = empty((self.source.n_threads, *shape), array.dtype)
        part = self.source.name(partials)
        self.reductions.append(Reduction(partials, array, self._combine(partials, array, start, step)))
        low, high, *_ = whole(partials)
        self.uses.append(Access(low, high, True, ("slot", low)))
        if self.rank == 2 and axes == (0,):
            at = f"{part}[thread, {'0, ' if keepdims else ''}j]"
            self.before += [f"for j in range({part}.shape[{partials.ndim - 1}]):", f"    {at} = {start}"]
            self.inner.append(f"{at} = {step.format(at, value)}")
            return
        self.before.append(f"{name} = {kind}({start})")
        self.inner.append(f"{name} = {step.format(name, value)}")
        self.after.append(f"{part}[{', '.join(['thread', *['0'] * array.ndim])}] = {name}")

    def _combine(self, partials: np.ndarray, array: np.ndarray, start: str, step: str) -> list[str]:
        """Return the lines that combine the partial results of all threads."""
        part, out, kind = self.source.name(partials), self.source.name(array), f"np.{array.dtype.name}"
        along = "j" if array.size > 1 or array.shape[-1:] == (1,) else ""
        places = ["0"] * (array.ndim - 1) + ["j"] if along else ["0"] * array.ndim
        at, of_other = ", ".join(places), f"{part}[{', '.join(['other', *places])}]"
        lines = [
            f"combined = {kind}({start})",
            "for other in range(n_threads):",
            f"    combined = {step.format('combined', of_other)}",
            f"{out}[{at or '()'}] = combined",
        ]
        return [f"for j in range({out}.shape[{array.ndim - 1}]):", *indent(lines)] if along else lines


def share_range(size: str, columns: str = "") -> str:
    """Return the range of a thread's share of `size` rows; of their elements, if `columns` is the number per row."""
    times = f" * {columns}" if columns else ""
    ends = f"{size} * thread // n_threads{times}", f"{size} * (thread + 1) // n_threads{times}"
    # Unsigned, since an index that might be negative prevents vectorisation.
    return "range({})".format(", ".join(f"np.uint64({end})" for end in ends))


def indent(lines: list[str]) -> list[str]:
    """Indent the lines of a block."""
    return [f"    {line}" for line in lines]
