"""A schedule as the source of one Python function of loops and products, for Numba to compile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlpgpu.fusion.memory import Memory
from mlpgpu.fusion.schedule import Group, Schedule, domain_of
from mlpgpu.fusion.trace import REDUCTIONS, Traced

HEAD = """\
import math

import numba
import numpy as np

from mlpgpu.fusion.blas import gemm_float32_32, gemm_float32_64, gemm_float64_32, gemm_float64_64
from mlpgpu.fusion.elementary import add, exp, expm1, log, log1p, tanh


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
"""
INFIX = {
    "add": "+",
    "subtract": "-",
    "multiply": "*",
    "divide": "/",
    "power": "**",
    "bitwise_and": "&",
    "bitwise_or": "|",
    "bitwise_xor": "^",
    "left_shift": "<<",
    "right_shift": ">>",
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
    "equal": "==",
    "not_equal": "!=",
}
# As NumPy does, an extreme of what is no number is no number.
CALLS = {
    "absolute": "abs({0})",
    "negative": "-{0}",
    "square": "{0} * {0}",
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
# Where each begins, and how another element comes in.
FOLDS = {
    "sum": ("0", "add({0}, {1})"),
    "prod": ("1", "{0} * {1}"),
    "max": ("-np.inf", CALLS["maximum"]),
    "min": ("np.inf", CALLS["minimum"]),
}


class NotCompiled(TypeError):
    """An operation that only NumPy does."""


class Source:
    """The text of a function, and what to call it with.

    ``run(n_steps, numbers, whole_numbers, losses, *arrays, *items)`` does `n_steps` steps, one for each row of `items`.
    Sizes and settings are arguments, so that one text, compiled once, serves many networks and batch sizes.

    Parameters
    ----------
    schedule : Schedule
    memory : Memory
        Of the same schedule.
    item : list of array
        What each step finds its row of the items in.
    loss : array of shape ()
        What each step leaves its loss in.

    Attributes
    ----------
    text : str
    numbers : float64 array
    whole_numbers : int64 array
    arrays : list of array

    Raises
    ------
    NotCompiled
        Where there is an operation that only NumPy does.
    """

    def __init__(self, schedule: Schedule, memory: Memory, item: list[np.ndarray], loss: np.ndarray) -> None:
        self.schedule, self.memory = schedule, memory
        self.arrays: list[np.ndarray] = []
        self._names: dict[int, str] = {}
        self._flat: dict[int, np.ndarray] = {}
        self._numbers: dict[tuple[float, str], str] = {}
        if loss.ndim:
            raise NotCompiled("losses of several models")
        steps = [line for i, own in enumerate(item) for line in self._copy(self._name(own), f"item{i}", own.ndim, "step")]
        for group in schedule.groups:
            steps += self._group(group)
        for to, of in memory.copies:
            steps += self._copy(self._name(to), self._name(of), to.ndim)
        steps.append(f"losses[step] = {self._name(loss)}[()]")
        floats = [number for number in self._numbers if not isinstance(number[0], int)]
        integers = [number for number in self._numbers if isinstance(number[0], int)]
        begin = [
            f"{self._numbers[number]} = np.{number[1]}({vector}[{i}])"
            for vector, some in (("numbers", floats), ("whole_numbers", integers))
            for i, number in enumerate(some)
        ]
        self.numbers = np.array([value for value, _ in floats], np.float64)
        self.whole_numbers = np.array([value for value, _ in integers], np.int64)
        arguments = [f"a{i}" for i in range(len(self.arrays))] + [f"item{i}" for i in range(len(item))]
        lines = [f"def run(n_steps, numbers, whole_numbers, losses, {', '.join(arguments)}):"]
        lines += [*_indent(begin), "    for step in range(n_steps):", *_indent(_indent(steps))]
        self.text = HEAD + "\n".join(lines) + "\n"

    def _name(self, array: np.ndarray) -> str:
        if id(array) not in self._names:
            self._names[id(array)] = f"a{len(self.arrays)}"
            self.arrays.append(array)
        return self._names[id(array)]

    def flattened(self, array: np.ndarray) -> np.ndarray:
        """`array` as one row, the same object each time."""
        return self._flat.setdefault(id(array), array.reshape(-1, copy=False))

    def _copy(self, to: str, of: str, n_axes: int, *first: str) -> list[str]:
        axes = [f"i{axis}" for axis in range(n_axes)]
        lines = [f"{to}[{', '.join(axes) or '()'}] = {of}[{', '.join([*first, *axes]) or '()'}]"]
        for axis in reversed(range(n_axes)):
            lines = [f"for i{axis} in range({to}.shape[{axis}]):", *_indent(lines)]
        return lines

    def _group(self, group: Group) -> list[str]:
        node = group.nodes[0]
        if group.domain is not None:
            return _Loops(self, group).lines()
        if node.operation == "concatenate":
            pairs = self.memory.left_to_join(node)
            return [line for to, of in pairs for line in self._copy(self._name(to), self._name(of), to.ndim)]
        return [self._product(*(self.memory[matrix] for matrix in (*node.parents, node)))]

    def _product(self, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> str:
        from mlpgpu.fusion.blas import PLAIN, TRANSPOSED, address_of

        contiguous = out.flags.c_contiguous and all(m.flags.c_contiguous or m.flags.f_contiguous for m in (a, b))
        if not (contiguous and out.ndim == a.ndim == b.ndim == 2 and a.dtype == b.dtype and out.dtype.kind == "f"):
            raise NotCompiled("a product of other than contiguous matrices")
        address, width = address_of(out.dtype.name)
        names = [self._name(array) for array in (a, b, out)]
        if not address:
            return f"np.dot({', '.join(names)})"
        # A transposed matrix is handed over as that which lies in memory, with a word that says so.
        plain = [array.flags.c_contiguous for array in (a, b)]
        steps = [f"{name}.shape[{1 if c else 0}]" for name, c in zip(names, plain, strict=False)]
        (x, y, z), modes = names, [PLAIN if c else TRANSPOSED for c in plain]
        return (
            f"gemm_{out.dtype.name}_{width}({self.number(address, np.dtype(np.int64))}, {modes[0]}, {modes[1]}, "
            f"{x}.shape[0], {y}.shape[1], {x}.shape[1], {x}.ctypes.data, {steps[0]}, {y}.ctypes.data, {steps[1]}, "
            f"{z}.ctypes.data, {z}.shape[1])"
        )

    def number(self, value: Any, dtype: np.dtype) -> str:
        """The name of a number of the function, by its value and type."""
        python = np.asarray(value, dtype).item()
        if isinstance(python, bool):
            return str(python)
        if not isinstance(python, int | float):
            raise NotCompiled(f"numbers of type {dtype}")
        if isinstance(python, int):
            key: tuple[Any, str] = (python, dtype.name)
        else:
            # As text, for what is no number is not equal to itself.
            key = (float(repr(python)), dtype.name)
        return self._numbers.setdefault(key, f"c{len(self._numbers)}")


class _Loops:
    """The loops of one pass: what is done before them, in each row, in each element, and after."""

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
        self.sizes: tuple[str, ...] = ()
        self._known: dict[Traced, str] = {}
        for node in group.nodes:
            if node.operation in REDUCTIONS:
                self._fold(node)
            else:
                self._element(node)

    def _is_flat(self) -> bool:
        """Whether all arrays have the shape of the pass and lie in memory as it goes: then it is one long row."""
        memory, domain = self.source.memory, self.group.domain
        seen = {array for node in self.group.nodes for array in (*node.parents, node)} - self._inside()
        # Of a fill only its number is read.
        arrays = [memory[array] for array in seen if array.size > 1 and array.operation != "fill"]
        plain = all(node.operation != "take" and node.operation not in REDUCTIONS for node in self.group.nodes)
        return plain and len(domain or ()) == 2 and all(a.shape == domain and a.flags.c_contiguous for a in arrays)

    def _array(self, node: Traced) -> np.ndarray:
        array = self.source.memory[node]
        return self.source.flattened(array) if self.flat and array.size > 1 else array

    def lines(self) -> list[str]:
        """All of it, in order."""
        element = [*self.loads, *self.inner, *self.stores]
        if self.rank == 0:
            return [*self.before, *element, *self.after]
        if self.rank == 1:
            return [*self.before, f"for i in range({self._size(0)}):", *_indent([*self.row, *element]), *self.after]
        rows = [*self.row, f"for j in range({self._size(1)}):", *_indent(element), *self.row_end]
        return [*self.before, f"for i in range({self._size(0)}):", *_indent(rows), *self.after]

    def _size(self, axis: int) -> str:
        assert self.group.domain is not None
        for node in self.group.nodes:
            for array in (*node.parents, node):
                known = array in self.source.schedule.stored or array.operation not in {"constant", "fill"}
                if known and array not in self._inside() and domain_of(array) == self.group.domain:
                    return f"{self.source._name(self._array(array))}.shape[{axis}]"
            if node.operation == "take":
                x, rows = (self._array(parent) for parent in node.parents)
                return f"{self.source._name(rows)}.shape[0]" if axis == 0 else f"{self.source._name(x)}.shape[1]"
            if node in self.source.schedule.stored and node.operation not in REDUCTIONS:
                return f"{self.source._name(self._array(node))}.shape[{axis}]"
        raise NotCompiled("a pass without an array of its shape")

    def _inside(self) -> set[Traced]:
        return {node for node in self.group.nodes if node not in self.source.schedule.stored}

    def _value(self, argument: Any, node: Traced) -> str:
        """What stands for an argument in the expression of an element."""
        if not isinstance(argument, Traced):
            beside = np.result_type(*(parent.dtype for parent in node.parents[-2:]), argument)
            return self.source.number(argument, beside)
        if argument in self._known:
            return self._known[argument]
        if argument.operation == "fill" or (argument.operation == "constant" and argument.size == 1):
            assert argument.value is not None
            return self.source.number(argument.value.ravel()[0], argument.dtype)
        name = self._known[argument] = f"v{argument.number}"
        array = self._array(argument)
        places, lines = self._at(array.shape)
        lines.append(f"{name} = {self.source._name(array)}[{places}]")
        return name

    def _at(self, shape: tuple[int, ...]) -> tuple[str, list[str]]:
        """Where an array of a shape that broadcasts to the pass is read, and the lines in which it is."""
        loops = ("i", "j")[: self.rank]
        along = loops[self.rank - len(shape) :] if len(shape) <= self.rank else ("0",) * len(shape)
        places = ["0" if n == 1 else loop for n, loop in zip(shape, along, strict=True)]
        inner = loops[-1] if loops else ""
        lines = self.loads if inner in places else self.row if "i" in places else self.before
        return ", ".join(places) or "()", lines

    def _element(self, node: Traced) -> None:
        if node.operation == "take":
            x, rows = (self._array(parent) for parent in node.parents)
            taken = f"r{node.number}"
            self.row.append(f"{taken} = {self.source._name(rows)}[i]")
            expression = f"{self.source._name(x)}[{taken}{', j' if self.rank == 2 else ''}]"
        else:
            values = [self._value(argument, node) for argument in node.arguments]
            if node.operation in INFIX:
                expression = f"{values[0]} {INFIX[node.operation]} {values[1]}"
            elif node.operation in CALLS:
                expression = CALLS[node.operation].format(*values)
            else:
                raise NotCompiled(node.operation)
        name = self._known[node] = f"v{node.number}"
        typed = expression if node.dtype == bool else f"np.{node.dtype.name}({expression})"
        self.inner.append(f"{name} = {typed}")
        if node in self.source.schedule.stored:
            array = self._array(node)
            loops = ("i", "j")[: self.rank]
            at = ", ".join(loops if loops else ("0",) * array.ndim) or "()"
            self.stores.append(f"{self.source._name(array)}[{at}] = {name}")

    def _fold(self, node: Traced) -> None:
        axes, keepdims = node.settings
        (start, step), value = FOLDS[node.operation], self._value(node.arguments[0], node)
        if node.dtype.kind not in "f" and "inf" in start:
            raise NotCompiled("an extreme of whole numbers")
        array, kind = self._array(node), f"np.{node.dtype.name}"
        out = self.source._name(array)
        value = f"{kind}({value})"
        if self.rank == 2 and axes == (0,):
            at = f"{out}[0, j]" if keepdims else f"{out}[j]"
            self.before += [f"for j in range({out}.shape[{array.ndim - 1}]):", f"    {at} = {start}"]
            self.inner.append(f"{at} = {step.format(at, value)}")
            return
        name = f"s{node.number}"
        by_row = self.rank == 2 and axes == (1,)
        (self.row if by_row else self.before).append(f"{name} = {kind}({start})")
        self.inner.append(f"{name} = {step.format(name, value)}")
        at = "i, 0" if by_row and keepdims else "i" if by_row else ", ".join(["0"] * array.ndim) or "()"
        (self.row_end if by_row else self.after).append(f"{out}[{at}] = {name}")


def _indent(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]
