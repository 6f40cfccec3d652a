"""Allocate the results of a schedule: reuse buffers as soon as they are free, and write results in place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from mlpgpu.fusion.schedule import Schedule
from mlpgpu.fusion.trace import Traced, base, is_elementwise, parts

# Bytes, more than a vectorised loop handles at once. If an array starts closer than that after another, the loop takes
# one element at a time and adds up in another order: last digits would depend on where small arrays happen to lie.
APART = 512


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """Return an uninitialised array, and let no other array start within `APART` bytes after its start."""
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    return np.empty(max(n_bytes, APART), np.uint8)[:n_bytes].view(dtype).reshape(shape)


class Memory:
    """A NumPy array for each stored node, allocated once: every run of the function writes to the same ones.

    Parameters
    ----------
    schedule : Schedule
    given : mapping of Traced to array
        The inputs; one may be a `Csr`.
    replaces : sequence of (Traced, Traced)
        Pairs of an input and the result that replaces it, which overwrites the input where that is possible.

    Attributes
    ----------
    arrays : dict of Traced to array
        Of stored nodes, inputs, constants and views.
    copies : list of (array, array)
        Copies at the end of a run, for results that could not overwrite their input: destination and source.
    """

    def __init__(
        self, schedule: Schedule, given: Mapping[Traced, Any], replaces: Sequence[tuple[Traced, Traced]]
    ) -> None:
        self.schedule = schedule
        self.arrays: dict[Traced, Any] = dict(given)
        self._free: list[np.ndarray] = []
        self._blocks: dict[Traced, np.ndarray] = {}
        for old, new in replaces:
            if new in schedule.stored and new not in self.arrays and self._can_overwrite(old, new):
                self.arrays[new] = self.arrays[old]
        # The group that last uses each array. Sorted, since `stored` is a set and the generated source must not vary.
        self._last = {node: self._last_use(node) for node in sorted(schedule.stored, key=lambda node: node.number)}
        for index, group in enumerate(schedule.groups):
            for node in group.nodes:
                if node in schedule.stored and node not in self.arrays:
                    self._allocate(node, index)
            for node, last in self._last.items():
                if last == index and node in self._blocks and node.size > 1:
                    self._free.append(self._blocks.pop(node))
        self.copies = [(self[old], self[new]) for old, new in replaces if self[old] is not self[new]]

    def __getitem__(self, node: Traced) -> Any:
        found = self.arrays.get(node)
        if found is None:
            found = self.arrays[node] = self._resolve(node)
        return found

    def _resolve(self, node: Traced) -> Any:
        if node.operation in {"constant", "fill"}:
            assert node.value is not None
            return np.broadcast_to(node.value, node.shape)
        seen = self[node.arguments[0]]
        if node.operation == "reshape":
            # A copy would not follow what is written later.
            return np.reshape(seen, node.shape, copy=False)
        if node.operation == "matrix_transpose":
            return np.matrix_transpose(seen)
        assert node.operation == "getitem", node.operation
        key = tuple(slice(*part) if isinstance(part, tuple) else part for part in node.settings)
        return seen[key if Ellipsis in key else (*key, ...)]

    def _last_use(self, node: Traced) -> int:
        if any(base(result) is node for result in self.schedule.results):
            return len(self.schedule.groups)
        return max(self.schedule.group_of[user] for user in self.schedule.users[node])

    def _allocate(self, node: Traced, index: int) -> None:
        joined = self._concatenated_into(node)
        if joined is not None:
            whole, part = joined
            if whole not in self.arrays:
                self.arrays[whole] = empty(whole.shape, whole.dtype)
            self.arrays[node] = self._part(whole, part).reshape(node.shape, copy=False)
            return
        n_bytes = node.size * node.dtype.itemsize
        block = self._in_place(node, index)
        if block is None:
            # A scalar never shares a block, so that each thread may have a copy of its own.
            fitting = [i for i, free in enumerate(self._free) if free.nbytes == n_bytes and node.size > 1]
            # The block that was freed last is the likeliest to be in the cache.
            block = self._free.pop(fitting[-1]) if fitting else empty((n_bytes,), np.uint8)
        self._blocks[node] = block
        self.arrays[node] = block.view(node.dtype).reshape(node.shape)

    def _concatenated_into(self, node: Traced) -> tuple[Traced, int] | None:
        """Return a concatenation that `node` can be written into directly, and the number of its part, or None."""
        for user in self.schedule.users[node]:
            if user.operation == "concatenate" and user.dtype == node.dtype:
                for i, part in enumerate(user.parents):
                    reshaped = part
                    while reshaped.operation == "reshape":
                        reshaped = reshaped.arguments[0]
                    if reshaped is node and (part is node or part.ndim == 1):
                        return user, i
        return None

    def _part(self, whole: Traced, part: int) -> np.ndarray:
        key = [slice(None)] * whole.ndim
        key[whole.settings[0]] = slice(*parts(whole)[part])
        return self.arrays[whole][tuple(key)]

    def parts_to_copy(self, whole: Traced) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the copies of those parts of a concatenation that are stored elsewhere: destination and source."""
        pairs = [(self._part(whole, i), self[part]) for i, part in enumerate(whole.parents)]
        return [(to, of) for to, of in pairs if to.__array_interface__["data"] != of.__array_interface__["data"]]

    def _in_place(self, node: Traced, index: int) -> np.ndarray | None:
        """Return the block of an array that `node` can overwrite, since it is the last to read it, or None."""
        for used in self.schedule.groups[index].nodes:
            for old in used.parents:
                if old in self._blocks and self._last[old] == index and self._can_overwrite(old, node):
                    return self._blocks.pop(old)
        return None

    def _can_overwrite(self, old: Traced, new: Traced) -> bool:
        """Whether `new` can overwrite `old`: nothing reads an element of `old` after that of `new` is computed."""
        schedule, made = self.schedule, self.schedule.group_of[new]
        if not (is_elementwise(new) and old.shape == new.shape and old.dtype.itemsize == new.dtype.itemsize):
            return False
        for user in schedule.users[old]:
            if schedule.group_of[user] == made:
                elsewhere = user.operation == "take" or any(p is not old and base(p) is old for p in user.parents)
                # `where` writes its output in two steps.
                late = schedule.position[user] > schedule.position[new] or (user is new and new.operation == "where")
                if elsewhere or late:
                    return False
            elif schedule.group_of[user] > made:
                return False
        return True
