"""Where the results of a schedule lie: memory given out again as soon as it is free, and results written in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mlpgpu.fusion.schedule import Schedule, base, is_elementwise
from mlpgpu.fusion.trace import Traced


class Memory:
    """An array of NumPy for all that is stored, made once: every run of the function writes into the same ones.

    Parameters
    ----------
    schedule : Schedule
    given : mapping of Traced to array
        The inputs.
    replaces : sequence of (Traced, Traced)
        Inputs that a result takes the place of, and that result: where it can be, it is written over the input.

    Attributes
    ----------
    arrays : dict of Traced to array
        Of all that is stored, given or seen through a view.
    copies : list of (array, array)
        What is left to be copied over an input at the end of a run: to, from.
    """

    def __init__(
        self, schedule: Schedule, given: Mapping[Traced, np.ndarray], replaces: Sequence[tuple[Traced, Traced]]
    ) -> None:
        self.schedule = schedule
        self.arrays: dict[Traced, np.ndarray] = dict(given)
        self._free: list[np.ndarray] = []
        self._blocks: dict[Traced, np.ndarray] = {}
        for old, new in replaces:
            if new in schedule.stored and new not in self.arrays and self._is_done(old, new):
                self.arrays[new] = self.arrays[old]
        # The end of each array's use, and of what is joined of it; in an order that is the same each time, so that the
        # source to compile is.
        self._last = {node: self._last_use(node) for node in sorted(schedule.stored, key=lambda node: node.number)}
        for index, group in enumerate(schedule.groups):
            for node in group.nodes:
                if node in schedule.stored and node not in self.arrays:
                    self._give(node, index)
            for node, last in self._last.items():
                if last == index and node in self._blocks and node.size > 1:
                    self._free.append(self._blocks.pop(node))
        self.copies = [(self[old], self[new]) for old, new in replaces if self[old] is not self[new]]

    def __getitem__(self, node: Traced) -> np.ndarray:
        found = self.arrays.get(node)
        if found is None:
            found = self.arrays[node] = self._look(node)
        return found

    def _look(self, node: Traced) -> np.ndarray:
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
        users = self.schedule.users[node]
        return max((self.schedule.group_of[user] for user in users), default=self.schedule.group_of[node])

    def _give(self, node: Traced, index: int) -> None:
        joined = self._joined(node)
        if joined is not None:
            whole, part = joined
            if whole not in self.arrays:
                self.arrays[whole] = np.empty(whole.shape, whole.dtype)
            self.arrays[node] = self._part(whole, part).reshape(node.shape, copy=False)
            return
        n_bytes = node.size * node.dtype.itemsize
        block = self._in_place(node, index)
        if block is None:
            # A single number has its memory to itself: there each thread may have its own.
            fitting = [i for i, free in enumerate(self._free) if free.nbytes == n_bytes and node.size > 1]
            # The one that was freed last is the likeliest to be in the cache.
            block = self._free.pop(fitting[-1]) if fitting else np.empty(n_bytes, np.uint8)
        self._blocks[node] = block
        self.arrays[node] = block.view(node.dtype).reshape(node.shape)

    def _joined(self, node: Traced) -> tuple[Traced, int] | None:
        """What `node` is joined into, and as which part, where it can be written there at once."""
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
        axis = whole.settings[0]
        start = sum(before.shape[axis] for before in whole.parents[:part])
        key = [slice(None)] * whole.ndim
        key[axis] = slice(start, start + whole.parents[part].shape[axis])
        return self.arrays[whole][tuple(key)]

    def left_to_join(self, whole: Traced) -> list[tuple[np.ndarray, np.ndarray]]:
        """Parts of a joined array that were made elsewhere: to, from."""
        if whole not in self.arrays:
            self._give(whole, self.schedule.group_of[whole])
        pairs = [(self._part(whole, i), self[part]) for i, part in enumerate(whole.parents)]
        return [(to, of) for to, of in pairs if to.__array_interface__["data"] != of.__array_interface__["data"]]

    def _in_place(self, node: Traced, index: int) -> np.ndarray | None:
        """The block of an array that `node` is the last to read."""
        for used in self.schedule.groups[index].nodes:
            for old in used.parents:
                if old in self._blocks and self._last[old] == index and self._is_done(old, node):
                    return self._blocks.pop(old)
        return None

    def _is_done(self, old: Traced, new: Traced) -> bool:
        """Whether nothing reads an element of `old` after the same element of `new` is made."""
        schedule, made = self.schedule, self.schedule.group_of[new]
        if not (is_elementwise(new) and old.shape == new.shape and old.dtype.itemsize == new.dtype.itemsize):
            return False
        for user in schedule.users[old]:
            if schedule.group_of[user] == made:
                elsewhere = user.operation == "take" or any(p is not old and base(p) is old for p in user.parents)
                # A choice between arrays is written in two goes.
                late = schedule.position[user] > schedule.position[new] or (user is new and new.operation == "where")
                if elsewhere or late:
                    return False
            elif schedule.group_of[user] > made:
                return False
        return True
