"""Generate one Python function of loops and products from a schedule, for Numba to compile."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from mlpgpu.backends.csr import Csr, Factor
from mlpgpu.fusion import blas
from mlpgpu.fusion.loops import Loops, NotCompiled, Reduction, indent, share_range
from mlpgpu.fusion.memory import Memory
from mlpgpu.fusion.schedule import Group, Schedule
from mlpgpu.fusion.sharing import Access, Private, by_rows, conflict, overlap, whole

HEAD = """\
import math

import numba
import numpy as np

from mlpgpu.fusion.ahead import prefetch_row
from mlpgpu.fusion.blas import gemm_float32_32, gemm_float32_64, gemm_float64_32, gemm_float64_64, tile
from mlpgpu.fusion.elementary import add, exp, expm1, log, log1p, tanh
from mlpgpu.fusion.meeting import wait
from mlpgpu.fusion.sparse import product, transposed_product


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
"""
WAIT = "arrivals = wait(barrier, arrivals, n_threads, sched_yield)"


class Source:
    """The source of a function, and its arguments.

    ``run(n_steps, thread, n_threads, barrier, sched_yield, numbers, whole_numbers, losses, *arrays, *items)`` runs the
    part of `thread` in `n_steps` steps, one for each row of `items`.
    Sizes and settings are arguments, so that one text, compiled once, serves many networks and batch sizes, on any
    number of threads.

    Parameters
    ----------
    schedule : Schedule
    memory : Memory
        Of the same schedule.
    item : list of array or Csr
        Arrays into which each step copies its row of the items. Sparse rows are used where they are.
    loss : array of shape ()
        Array in which each step leaves its loss.
    n_threads : int

    Attributes
    ----------
    text : str
    numbers : float64 array
    whole_numbers : int64 array
    arrays : list of array

    Raises
    ------
    NotCompiled
        If compiled loops do not support an operation.
    """

    def __init__(
        self, schedule: Schedule, memory: Memory, item: list[np.ndarray | Csr], loss: np.ndarray, n_threads: int
    ) -> None:
        self.schedule, self.memory, self.n_threads = schedule, memory, n_threads
        dense = [array for array in memory.arrays.values() if isinstance(array, np.ndarray)]
        self.private = Private([array for array in dense if array.size > 1])
        self.arrays: list[np.ndarray] = []
        self._names: dict[tuple[object, ...], str] = {}
        self._sparse: dict[Csr, str] = {}
        self._numbers: dict[tuple[str, str], tuple[str, Any]] = {}
        self._steps: list[str] = []
        self._uses: list[Access] = []
        self._reductions: list[Reduction] = []
        if loss.ndim:
            raise NotCompiled("losses of several models")
        given = []
        for i, own in enumerate(item):
            if isinstance(own, Csr):
                given.append(", ".join(f"item{i}_{part}" for part in ("indptr", "indices", "data")))
                self._sparse[own] = given[-1]
            else:
                given.append(f"item{i}")
                self._copy(own, given[-1])
        for group in schedule.groups:
            self._group(group)
        for to, of in memory.copies:
            self._copy(to, of)
        self._combine(self._reductions)
        self._add(["if thread == 0:", f"    losses[step] = {self.name(loss)}[()]"], [self.private.use(loss)])
        vectors: dict[str, list[Any]] = {"numbers": [], "whole_numbers": []}
        begin = []
        for (_, kind), (name, value) in self._numbers.items():
            vector = "whole_numbers" if isinstance(value, int) else "numbers"
            begin.append(f"{name} = np.{kind}({vector}[{len(vectors[vector])}])")
            vectors[vector].append(value)
        self.numbers = np.array(vectors["numbers"], np.float64)
        self.whole_numbers = np.array(vectors["whole_numbers"], np.int64)
        fixed = ["n_steps", "thread", "n_threads", "barrier", "sched_yield", "numbers", "whole_numbers", "losses"]
        given = fixed + [f"a{i}" for i in range(len(self.arrays))] + given
        # No thread begins the next step before all have finished this one.
        step = ["for step in range(n_steps):", *indent([*self._steps, WAIT])]
        self.text = HEAD + "\n".join([f"def run({', '.join(given)}):", *indent([*begin, "arrivals = 0", *step])]) + "\n"

    def name(self, array: np.ndarray) -> str:
        """Return the name of an array.

        The same memory has one name: with two, the compiler would have to assume that they alias, and could not
        vectorise the pass.
        """
        key = byte_bounds(array)[0], array.shape, array.strides, array.dtype
        if key not in self._names:
            self._names[key] = f"a{len(self.arrays)}"
            self.arrays.append(array)
        return self._names[key]

    def _add(self, lines: list[str], uses: list[Access]) -> None:
        """Add lines that access memory, after the reductions that they need and a barrier if one is required."""
        needed = [known for known in self._reductions if any(overlap(whole(known.out), use) for use in uses)]
        if needed:
            self._combine(needed)
        if conflict(self._uses, uses):
            self._steps.append(WAIT)
            self._uses = []
        self._steps += lines
        self._uses += uses

    def _combine(self, reductions: list[Reduction]) -> None:
        self._reductions = [known for known in self._reductions if known not in reductions]
        lines = [line for each in reductions for line in each.combine]
        uses = [use for each in reductions for use in (whole(each.partials), self.private.use(each.out, write=True))]
        self._add(lines, uses)

    def _copy(self, to: np.ndarray, of: np.ndarray | str) -> None:
        """Add the copy of `of` into `to`; of an item, which is given by its name, the row of the current step."""
        axes, uses = [f"i{axis}" for axis in range(to.ndim)], [self.private.use(to, write=True, in_parts=to.size > 1)]
        if isinstance(of, str):
            source = f"{of}[{', '.join(['step', *axes])}]"
        else:
            source = f"{self.name(of)}[{', '.join(axes) or '()'}]"
            uses.append(self.private.use(of, in_parts=of.size > 1))
        lines = [f"{self.name(to)}[{', '.join(axes) or '()'}] = {source}"]
        for axis in reversed(range(to.ndim)):
            size = f"{self.name(to)}.shape[{axis}]"
            part = share_range(size) if axis == 0 and to.size > 1 else f"range({size})"
            lines = [f"for i{axis} in {part}:", *indent(lines)]
        self._add(lines, uses)

    def _group(self, group: Group) -> None:
        node = group.nodes[0]
        if group.domain is not None:
            loops = Loops(self, group)
            self._add(loops.lines(), loops.uses)
            self._reductions += loops.reductions
        elif node.operation == "concatenate":
            for to, of in self.memory.parts_to_copy(node):
                self._copy(to, of)
        else:
            a, b, out = (self.memory[matrix] for matrix in (*node.parents, node))
            if isinstance(a, Factor):
                self._sparse_product(a, b, out)
            else:
                self._product(a, b, out)

    def _sparse_product(self, a: Factor, b: np.ndarray, out: np.ndarray) -> None:
        use, whose = by_rows(out, write=True), "thread, n_threads"
        if a.transposed:
            use = use._replace(part=("columns", use.low))
        if out in self.private:
            # Every thread computes it.
            use, whose = self.private.use(out, write=True), "0, 1"
        rows, function = self._sparse[a.rows], "transposed_product" if a.transposed else "product"
        lines = [f"{function}({rows}, step, {self.name(b)}, {self.name(out)}, {whose})"]
        self._add(lines, [self.private.use(b), use])

    def _product(self, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
        contiguous = out.flags.c_contiguous and all(m.flags.c_contiguous or m.flags.f_contiguous for m in (a, b))
        supported = a.dtype == b.dtype and out.dtype in (np.float32, np.float64)
        if not (contiguous and supported and out.ndim == a.ndim == b.ndim == 2):
            raise NotCompiled("a product of other than contiguous matrices in single or double precision")
        address, width = blas.address_of(out.dtype.name)
        x, y, z = (self.name(array) for array in (a, b, out))
        # A transposed matrix is passed as it is stored, with a flag.
        plain_x, plain_y = (array.flags.c_contiguous for array in (a, b))
        uses = [self.private.use(array) for array in (a, b)]
        if not address or out in self.private:
            # Every thread computes all of it.
            uses.append(self.private.use(out, write=True))
        else:
            low, high, *_ = whole(out)
            uses.append(Access(low, high, True, ("tile", low)))
        if not address:
            self._add([f"np.dot({x}, {y}, {z})"], uses)
            return
        ld_x, ld_y, ld_z = f"{x}.shape[{int(plain_x)}]", f"{y}.shape[{int(plain_y)}]", f"{z}.shape[1]"
        size, whose = out.itemsize, "0, 1" if out in self.private else "thread, n_threads"
        arguments = [
            self.number(np.asarray(address, np.int64)),
            *(str(blas.NO_TRANSPOSE if plain else blas.TRANSPOSE) for plain in (plain_x, plain_y)),
            "bottom - top",
            "right - left",
            f"{x}.shape[1]",
            f"{x}.ctypes.data + {size} * top{f' * {ld_x}' if plain_x else ''}",
            ld_x,
            f"{y}.ctypes.data + {size} * left{'' if plain_y else f' * {ld_y}'}",
            ld_y,
            f"{z}.ctypes.data + {size} * (top * {ld_z} + left)",
            ld_z,
        ]
        part = f"top, bottom, left, right = tile({z}.shape[0], {z}.shape[1], {whose})"
        self._add([part, f"gemm_{out.dtype.name}_{width}({', '.join(arguments)})"], uses)

    def number(self, value: np.ndarray) -> str:
        """Return the name of a number, which depends on its value and dtype."""
        python = value.item()
        if isinstance(python, bool):
            return str(python)
        if not isinstance(python, int | float):
            raise NotCompiled(f"numbers of type {value.dtype}")
        # By its repr, since NaN is not equal to itself, and -0.0 is equal to 0.0.
        key = (repr(python), value.dtype.name)
        return self._numbers.setdefault(key, (f"c{len(self._numbers)}", python))[0]
