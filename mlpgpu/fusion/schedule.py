"""Which recorded operations run in one pass over memory, and which results must be kept for another."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from mlpgpu.fusion.trace import REDUCTIONS, VIEWS, Traced, operations

GIVEN = ("input", "constant", "fill")
# These take long, and much less where many elements follow each other: in short rows, of fewer than so many columns,
# they are done in a pass of their own, which has one long row.
SLOW, NARROW = ("exp", "expm1", "log", "log1p", "tanh"), 64


def base(node: Traced) -> Traced:
    """The array whose memory a view looks at; `node` itself where it is none."""
    while node.operation in VIEWS:
        node = node.arguments[0]
    return node


def domain_of(node: Traced) -> tuple[int, ...]:
    """The shape that an operation goes over; single numbers are all alike, however many axes they have."""
    over = node.arguments[0] if node.operation in REDUCTIONS else node
    return () if over.size == 1 else over.shape


def alone(node: Traced) -> bool:
    """Whether an operation has a pass of its own."""
    return node.operation in SLOW and node.ndim == 2 and node.size > 1 and node.shape[-1] < NARROW


def is_elementwise(node: Traced) -> bool:
    """Whether each element is made of one element of each argument, or of one row taken."""
    return node.operation not in {*GIVEN, *VIEWS, *REDUCTIONS, "matmul", "concatenate"}


@dataclass
class Group:
    """Operations that run together.

    Attributes
    ----------
    domain : tuple of int or None
        The shape that all of them go over element by element, some adding up along axes; None for one operation that
        stands alone: a product, or a joining of arrays.
    nodes : list of Traced
        In order.
    """

    domain: tuple[int, ...] | None
    nodes: list[Traced] = field(default_factory=list)


class Schedule:
    """The order of a recorded function's operations.

    A pass takes in all elementwise operations of one shape between two products, and the sums over them. So memory is
    gone through once, and what only the pass itself needs is never stored.

    Parameters
    ----------
    results : sequence of Traced

    Attributes
    ----------
    groups : list of Group
    group_of : dict of Traced to int
        Index of the group that makes an array; -1 for what is there before.
    position : dict of Traced to int
        Its place in the order of all operations.
    users : dict of Traced to list of Traced
        Operations that read an array, also through views of it.
    stored : set of Traced
        What is read by another group, or by the caller.
    """

    def __init__(self, results: Sequence[Traced]) -> None:
        self.results = list(results)
        self.groups: list[Group] = []
        self.group_of: dict[Traced, int] = {}
        self.position: dict[Traced, int] = {}
        self.users: dict[Traced, list[Traced]] = defaultdict(list)
        self.stored: set[Traced] = {base(node) for node in self.results}
        self._after_product = 0
        for node in _numbers_first(operations(self.results)):
            self.position[node] = len(self.position)
            self.group_of[node] = self._place(node)
            if node.operation not in VIEWS:
                for parent in node.parents:
                    self.users[base(parent)].append(node)
        for node, users in self.users.items():
            # In the pass that makes it, it is read element by element only: see `_place`.
            if any(self.group_of[user] != self.group_of[node] for user in users):
                self.stored.add(node)
        self.stored = {node for node in self.stored if node.operation not in GIVEN}

    def _place(self, node: Traced) -> int:
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
            beside = is_elementwise(parent) and domain_of(parent) == domain and node.operation != "take"
            beside = beside and not (alone(node) or alone(parent))
            earliest = max(earliest, made if beside else made + 1)
        # What comes after a product stays there: made before it, it would have to be kept. A sum or a number is small.
        small = node.operation in REDUCTIONS or not domain
        candidates = range(earliest, len(self.groups))
        if not small:
            candidates = range(len(self.groups) - 1, max(earliest, self._after_product) - 1, -1)
        for index in candidates if not alone(node) else ():
            if self.groups[index].domain == domain and not alone(self.groups[index].nodes[0]):
                self.groups[index].nodes.append(node)
                return index
        self.groups.append(Group(domain, [node]))
        return len(self.groups) - 1


def _numbers_first(nodes: Sequence[Traced]) -> list[Traced]:
    """`nodes` in their order, but for single numbers, which come as soon as they can, so that no pass waits for one."""
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
