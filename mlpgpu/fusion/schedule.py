"""Fuse traced operations into passes over memory, and find which results must be stored."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from mlpgpu.fusion.trace import GIVEN, REDUCTIONS, VIEWS, Traced, base, is_elementwise, operations, users_of

# Slow operations, which are much faster in long loops. On arrays of fewer columns than this, each runs in its own pass,
# which treats the array as one long row.
SLOW, NARROW = ("exp", "expm1", "log", "log1p", "tanh"), 64


def domain_of(node: Traced) -> tuple[int, ...]:
    """Return the iteration domain of an operation; that of all scalars is (), however many axes they have."""
    over = node.arguments[0] if node.operation in REDUCTIONS else node
    return () if over.size == 1 else over.shape


def has_own_pass(node: Traced) -> bool:
    """Whether an operation runs in a pass of its own."""
    return node.operation in SLOW and node.ndim == 2 and node.size > 1 and node.shape[-1] < NARROW


@dataclass
class Group:
    """Operations that run together.

    Attributes
    ----------
    domain : tuple of int or None
        Iteration domain of the elementwise operations and reductions of the group; None if the group is a single
        product or concatenation.
    nodes : list of Traced
        In order.
    """

    domain: tuple[int, ...] | None
    nodes: list[Traced]


class Schedule:
    """The operations of a traced function, in groups.

    A pass fuses all elementwise operations of one shape between two products, and reductions of their results. So it
    goes over memory once, and results that only the pass itself needs are never stored.

    Parameters
    ----------
    results : sequence of Traced

    Attributes
    ----------
    groups : list of Group
    group_of : dict of Traced to int
        Index of the group that computes a node; -1 for inputs and constants.
    position : dict of Traced to int
        Position of a node in the order of all nodes.
    users : dict of Traced to list of Traced
        Operations that read an array, directly or through views.
    stored : set of Traced
        Results that another group, or the caller, reads.
    """

    def __init__(self, results: Sequence[Traced]) -> None:
        self.results = list(results)
        self.groups: list[Group] = []
        self.group_of: dict[Traced, int] = {}
        order = _scalars_first(operations(self.results))
        self.position = {node: place for place, node in enumerate(order)}
        self.users = users_of(order)
        self.stored: set[Traced] = {base(node) for node in self.results}
        self._after_product = 0
        for node in order:
            self.group_of[node] = self._assign(node)
        for node, users in self.users.items():
            # Its own group reads it elementwise only, see `_assign`, and needs no copy in memory.
            if any(self.group_of[user] != self.group_of[node] for user in users):
                self.stored.add(node)
        self.stored = {node for node in self.stored if node.operation not in GIVEN}

    def _assign(self, node: Traced) -> int:
        if node.operation in GIVEN:
            return -1
        if node.operation in VIEWS:
            return self.group_of[base(node)]
        if node.operation in {"matmul", "concatenate"}:
            self.groups.append(Group(None, [node]))
            if node.operation == "matmul":
                self._after_product = len(self.groups)
            return len(self.groups) - 1
        domain = domain_of(node)
        earliest = 0
        for parent in node.parents:
            made = self.group_of[parent]
            is_fusible = is_elementwise(parent) and domain_of(parent) == domain and node.operation != "take"
            is_fusible = is_fusible and not (has_own_pass(node) or has_own_pass(parent))
            earliest = max(earliest, made if is_fusible else made + 1)
        # An array that follows a product does not move ahead of it, where it would have to be stored. Reductions and
        # scalars are small, and may move.
        small = node.operation in REDUCTIONS or not domain
        candidates = range(earliest, len(self.groups))
        if not small:
            candidates = range(len(self.groups) - 1, max(earliest, self._after_product) - 1, -1)
        for index in candidates if not has_own_pass(node) else ():
            if self.groups[index].domain == domain and not has_own_pass(self.groups[index].nodes[0]):
                self.groups[index].nodes.append(node)
                return index
        self.groups.append(Group(domain, [node]))
        return len(self.groups) - 1


def _scalars_first(nodes: Sequence[Traced]) -> list[Traced]:
    """Return `nodes` in their order, except that scalars come as early as possible, so that no pass waits for one."""
    waits_for = {node: len(node.parents) for node in nodes}
    users: dict[Traced, list[Traced]] = defaultdict(list)
    for node in nodes:
        for parent in node.parents:
            users[parent].append(node)
    ready = [(node.size > 1 and node.operation not in VIEWS, node.number, node) for node in nodes if not node.parents]
    heapq.heapify(ready)
    order = []
    while ready:
        order.append(heapq.heappop(ready)[2])
        for user in users[order[-1]]:
            waits_for[user] -= 1
            if not waits_for[user]:
                heapq.heappush(ready, (user.size > 1 and user.operation not in VIEWS, user.number, user))
    return order
