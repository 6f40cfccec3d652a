"""Run a schedule as NumPy calls on preallocated arrays, large passes in blocks that stay in the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from mlpgpu.fusion.memory import Memory
from mlpgpu.fusion.schedule import NARROW, Group, Schedule
from mlpgpu.fusion.trace import REDUCTIONS, Traced, number_in

Call = tuple[Callable[..., Any], tuple[Any, ...]]
# Elements per block: few enough that the arrays of a pass stay in the cache, and enough to hide the cost of a call.
BLOCK = 65_536


def calls_of(schedule: Schedule, memory: Memory) -> list[Call]:
    """Return the calls that run a schedule, in order.

    Parameters
    ----------
    schedule : Schedule
    memory : Memory
        Of the same schedule.

    Returns
    -------
    list of (callable, arguments)
    """
    calls: list[Call] = []
    for group in schedule.groups:
        first = group.nodes[0]
        if group.domain is not None:
            calls += _Pass(schedule, memory, group).calls()
        elif first.operation == "matmul":
            calls.append((np.matmul, (*(memory[parent] for parent in first.parents), memory[first])))
        else:
            calls += [(np.copyto, pair) for pair in memory.parts_to_copy(first)]
    return calls + [(np.copyto, pair) for pair in memory.copies]


class _Pass:
    """The calls of one pass."""

    def __init__(self, schedule: Schedule, memory: Memory, group: Group) -> None:
        assert group.domain is not None
        self.schedule, self.memory, self.nodes, self.domain = schedule, memory, group.nodes, group.domain
        rows = group.domain[0] if group.domain else 1
        per_row = int(np.prod(group.domain[1:]))
        self.rows = min(rows, max(1, BLOCK // per_row))
        self.blocks = [(start, min(start + self.rows, rows)) for start in range(0, rows, self.rows)]
        self.scratch = self._allocate_scratch()

    def _allocate_scratch(self) -> dict[Traced, np.ndarray]:
        """Return a buffer of one block for each array that only this pass uses; free buffers are reused."""
        shape = (self.rows, *self.domain[1:]) if self.domain else ()
        last = {parent: node for node in self.nodes for parent in node.parents}
        free: list[np.ndarray] = []
        blocks: dict[Traced, np.ndarray] = {}
        for node in self.nodes:
            parents = dict.fromkeys(node.parents)
            used_up = [blocks[parent] for parent in parents if parent in blocks and last[parent] is node]
            if node.operation != "where":
                free += used_up
            if node not in self.schedule.stored:
                fitting = [i for i, block in enumerate(free) if block.itemsize == node.dtype.itemsize]
                block = free.pop(fitting[-1]) if fitting else np.empty(shape, node.dtype)
                blocks[node] = block.view(node.dtype) if self.domain else block.view(node.dtype).reshape(node.shape)
            if node.operation == "where":
                # It writes its output in two steps, and would overwrite an argument in the first.
                free += used_up
        return blocks

    def calls(self) -> Iterator[Call]:
        """Yield the calls of all blocks, one block after the other."""
        for start, stop in self.blocks:
            for node in self.nodes:
                yield from self._call(node, start, stop)

    def _call(self, node: Traced, start: int, stop: int) -> Iterator[Call]:
        if node.operation in REDUCTIONS:
            yield from self._reduce(node, start, stop)
            return
        out = self._block(node, start, stop)
        if node.operation == "take":
            x, rows = node.parents
            yield self.memory[x].take, (self.memory[rows][start:stop], 0, out, "wrap")
            return
        given = [self._argument(node, argument, start, stop) for argument in node.arguments]
        if node.operation == "astype":
            yield np.copyto, (out, given[0], "unsafe")
        elif node.operation == "where":
            yield np.copyto, (out, given[2], "unsafe")
            yield np.copyto, (out, given[1], "unsafe", given[0])
        else:
            function = getattr(np, node.operation)
            if function in {np.maximum, np.minimum}:
                # NumPy 2.4 deprecates a positional `out` here.
                yield partial(function, out=out), tuple(given)
            else:
                yield function, (*given, out)

    def _reduce(self, node: Traced, start: int, stop: int) -> Iterator[Call]:
        (axes, _), function = node.settings, REDUCTIONS[node.operation]
        of, out = self._block(node.parents[0], start, stop), self.memory[node]
        if 0 not in axes:
            yield from _reduction(node, of, out[start:stop])
        elif start == 0:
            yield from _reduction(node, of, out)
        else:
            part = self.scratch.setdefault(node, np.empty_like(out))
            yield from _reduction(node, of, part)
            # By keyword, as above.
            yield partial(function, out=out), (out, part)

    def _argument(self, node: Traced, argument: Any, start: int, stop: int) -> Any:
        if isinstance(argument, Traced):
            return self._block(argument, start, stop)
        # Converted here, so that NumPy need not find its dtype at every call.
        return number_in(node, argument)

    def _block(self, node: Traced, start: int, stop: int) -> np.ndarray:
        """Return the rows of a block, or the whole array if it is broadcast along the rows."""
        if node in self.scratch:
            return self.scratch[node][: stop - start, ...] if self.domain else self.scratch[node]
        whole = self.memory[node]
        along = len(self.domain) == whole.ndim and whole.ndim > 0 and whole.shape[0] != 1
        return whole[start:stop] if along else whole


def _reduction(node: Traced, of: np.ndarray, out: np.ndarray) -> Iterator[Call]:
    """Yield the calls that reduce a block in the fastest way."""
    (axes, keepdims), function = node.settings, REDUCTIONS[node.operation]
    if of.ndim == 2 and node.operation == "sum" and of.dtype.kind == "f" and len(axes) == 1:
        # A matrix product with ones is several times faster than a sum along either axis.
        if axes == (0,):
            yield np.matmul, (np.ones((1, len(of)), of.dtype), of, out.reshape(1, -1, copy=False))
        else:
            yield np.matmul, (of, np.ones((of.shape[1], 1), of.dtype), out.reshape(-1, 1, copy=False))
    elif of.ndim == 2 and axes == (1,) and of.shape[1] < NARROW:
        # Reducing many short rows takes longer than transposing them first.
        columns = np.empty(of.shape[::-1], of.dtype)
        yield np.copyto, (columns, of.T)
        yield function.reduce, (columns, 0, node.dtype, out.reshape(-1, copy=False))
    else:
        yield function.reduce, (of, axes, node.dtype, out, keepdims)
