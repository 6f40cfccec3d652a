"""Group traced operations into kernels, and order kernels and products.

A kernel computes arrays that are stored, its roots, over one iteration domain. Whatever lies between them and the
arrays in memory it recomputes as often as needed, since a launch costs more than arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mlpgpu.cuda.epilogues import Product, find_products
from mlpgpu.cuda.indexing import ELEMENT, ROW, ZERO, At, Index, NotCaptured, broadcast, through_view
from mlpgpu.cuda.products import matrix
from mlpgpu.fusion.trace import GIVEN, REDUCTIONS, VIEWS, Traced, is_elementwise, operations, parts, users_of

Shape = tuple[int, ...]
# Placeholder for a row index that is loaded from memory, as `take` does.
TAKEN = Index("row")


def long_axes(shape: Sequence[int]) -> Shape:
    """Return `shape` without its axes of length 1; the others are its long axes."""
    return tuple(n for n in shape if n != 1)


def is_reduction(node: Traced) -> bool:
    """Whether a node reduces several elements to one."""
    return node.operation in REDUCTIONS and node.parents[0].size != node.size


def iteration_domain(node: Traced) -> Shape:
    """Return the long axes that the computation of a node goes over: those of a reduction's argument."""
    return long_axes(node.parents[0].shape if is_reduction(node) else node.shape)


def reduced_axes(reduction: Traced) -> tuple[int, ...]:
    """Return the axes of a reduction, numbered among the long axes of its argument."""
    axes, of = reduction.settings[0], reduction.parents[0]
    kept = [axis for axis, n in enumerate(of.shape) if n != 1]
    return tuple(place for place, axis in enumerate(kept) if axis in axes)


def is_row_reduction(node: Traced) -> bool:
    """Whether a node reduces each row of a matrix to one number."""
    return is_reduction(node) and len(iteration_domain(node)) == 2 and reduced_axes(node) == (1,)


def is_taken(at: At) -> bool:
    """Whether an index has a row that is loaded from memory."""
    return bool(at) and at[0].text == TAKEN.text


def loops(domain: Shape) -> At:
    """Return the loop variables over `domain`, as an index."""
    if len(domain) > 2:
        return tuple(Index(f"i{axis}", 0, ROW) for axis in range(len(domain)))
    return (Index("i", 0, ROW), Index("j", 0, ELEMENT))[: len(domain)]


def natural(shape: Shape, domain: Shape) -> At | None:
    """Return the index of the loops over `domain` in an array of `shape`; None if its long axes are no prefix of it."""
    at, long = loops(domain), long_axes(shape)
    if long != domain[: len(long)]:
        return None
    places = iter(at)
    return tuple(ZERO if n == 1 else next(places) for n in shape)


def reduction_argument(reduction: Traced, at: At) -> At:
    """Return the index into a reduction's argument: loop variables along the reduced axes, `at` along the others."""
    of, (axes, keepdims) = reduction.parents[0], reduction.settings
    own = iter(loops(long_axes(of.shape)))
    along = [ZERO if n == 1 else next(own) for n in of.shape]
    rest = iter(at)
    kept = [next(rest) if axis not in axes or keepdims else ZERO for axis in range(of.ndim)]
    return tuple(along[axis] if axis in axes else kept[axis] for axis in range(of.ndim))


@dataclass
class Kernel:
    """Arrays that are computed together.

    Attributes
    ----------
    domain : tuple of int
        Iteration domain: the lengths of the long axes that its loops go over.
    roots : list of Traced
    """

    domain: Shape
    roots: list[Traced]


class Passes:
    """Kernels and products by level: those of a level depend on earlier levels only.

    Parameters
    ----------
    results : sequence of Traced
        Elementwise operations and reductions; no views.
    epilogues : bool
        Whether products may have epilogues.

    Attributes
    ----------
    stored : set of Traced
        All arrays in memory, except for inputs and constants.
    domain_of : dict of Traced to tuple of int
        Iteration domain of the kernel that computes each stored array.
    level : dict of Traced to int
        Of each stored array.
    kernels : list of list of Kernel
        By level.
    products : list of list of Product
        By level.

    Raises
    ------
    NotCaptured
        If an operation is not supported.
    """

    def __init__(self, results: Sequence[Traced], *, epilogues: bool) -> None:
        self.results = list(results)
        self.nodes = operations(self.results)
        self._users = users_of(self.nodes)
        self._result_set = set(results)
        self._products = find_products(self.nodes, self._users, self._result_set, epilogues=epilogues)
        self._scalars = self._find_scalars()
        self.stored: set[Traced] = {node for node in self.nodes if self._is_stored(node)}
        self.domain_of = {node: iteration_domain(node) for node in self.stored if node not in self._products}
        self._settle_row_reductions()
        self.level: dict[Traced, int] = {}
        for node in self.nodes:
            if node in self.stored:
                self.level[node] = self._find_level(node)
        last = max(self.level.values())
        for node in self.results:
            if not self._users[node]:
                # In the last level: by then, other levels have read the inputs that these results overwrite.
                self.level[node] = last
        self.kernels: list[list[Kernel]] = [[] for _ in range(last + 1)]
        self.products: list[list[Product]] = [[] for _ in range(last + 1)]
        for node, level in self.level.items():
            if node in self._products:
                self.products[level].append(self._products[node])
                continue
            mates = [kernel for kernel in self.kernels[level] if kernel.domain == self.domain_of[node]]
            if mates:
                mates[0].roots.append(node)
            else:
                self.kernels[level].append(Kernel(self.domain_of[node], [node]))

    def reads(self, root: Traced) -> Iterator[tuple[Traced, At]]:
        """Yield the arrays in memory that computing an element of `root` reads, each with its index.

        Arrays that the same kernel computes are not included, but what they read is. Row reductions that are not stored
        are included, in addition to what they read.
        """
        domain = self.domain_of[root]
        at = self.place(root)
        seen_before = set()
        pending = list(self.arguments(root, at))
        while pending:
            node, at = pending.pop()
            if (node, at) in seen_before:
                continue
            seen_before.add((node, at))
            if node.operation in GIVEN or (node in self.stored and not self._is_local(node, at, domain)):
                yield node, at
            else:
                if is_reduction(node) and node not in self.stored:
                    yield node, at
                pending += self.arguments(node, at)

    def read_first(self, node: Traced) -> int:
        """Return the first level that reads a stored array; the number of levels if none does."""
        stored = (self.level[root] for reader in self._users[node] for root in self._makers(reader))
        return min(stored, default=len(self.kernels))

    def _makers(self, node: Traced) -> Iterator[Traced]:
        """Yield the stored arrays that `node` is computed for: itself, or those whose kernels it is fused into."""
        if node in self.stored:
            yield node
        else:
            for user in self._users[node]:
                yield from self._makers(user)

    def place(self, root: Traced) -> At:
        """Return the index of its kernel's loops in `root`; in a reduction's result, along the axes that remain."""
        domain = self.domain_of[root]
        if is_reduction(root) and iteration_domain(root) == domain:
            kept = iter([at for axis, at in enumerate(loops(domain)) if axis not in reduced_axes(root)])
            return tuple(ZERO if n == 1 else next(kept) for n in root.shape)
        at = natural(root.shape, domain)
        assert at is not None
        return at

    def arguments(self, node: Traced, at: At) -> Iterator[tuple[Traced, At]]:
        """Yield the arguments of an operation, with the indices at which it reads them for its element `at`."""
        if node.operation in VIEWS:
            yield node.parents[0], through_view(node, at)
        elif node.operation in REDUCTIONS:
            yield node.parents[0], reduction_argument(node, at)
        elif node.operation == "take":
            x, rows = node.parents
            yield rows, at[:1]
            yield x, (TAKEN, *at[1:])
        elif node.operation == "concatenate":
            for (start, _), part in zip(parts(node), node.parents, strict=True):
                axis = node.settings[0]
                yield part, (*at[:axis], at[axis].shifted(-start), *at[axis + 1 :])
        elif is_elementwise(node):
            for parent in node.parents:
                yield parent, broadcast(at, parent.shape)
        else:
            raise NotCaptured(f"the operation {node.operation!r}")

    def _find_scalars(self) -> set[Traced]:
        """Return the scalars that are computed from scalars only."""
        scalars: set[Traced] = set()
        for node in self.nodes:
            if node.size == 1 and (
                node.operation in GIVEN
                or (node.operation not in {"matmul", "take"} and all(parent in scalars for parent in node.parents))
            ):
                scalars.add(node)
        return scalars

    def _is_stored(self, node: Traced) -> bool:
        if node.operation in (*GIVEN, *VIEWS):
            return False
        users = self._users[node]
        if node in self._products or node in self._result_set:
            return True
        if node.operation == "matmul":
            # Its epilogue is stored instead.
            return False
        if is_reduction(node) and not is_row_reduction(node):
            return True
        if node in self._scalars:
            # Otherwise every thread would recompute it.
            return any(user not in self._scalars for user in users)
        return any(user.operation == "matmul" for user in users)

    def _settle_row_reductions(self) -> None:
        """Find the row reductions that kernels compute for themselves, and store the others."""
        # A change may affect the kernels before it.
        while any(self._settle(root) for root in [node for node in self.nodes if node in self.domain_of]):
            pass

    def _settle(self, root: Traced) -> bool:
        """Settle the row reductions that `root` needs; return whether anything has changed."""
        needed = [(node, at) for node, at in self.reads(root) if is_reduction(node) and node not in self.stored]
        if not needed:
            return False
        over = iteration_domain(needed[0][0])
        if self.domain_of[root] == over[:1] and root.operation != "take":
            # One number per row: it is computed in the kernel that goes over the row.
            self.domain_of[root] = over
            return True
        mismatched = {
            node: iteration_domain(node)
            for node, at in needed
            if iteration_domain(node) != self.domain_of[root] or at != natural(node.shape, over)
        }
        self.stored.update(mismatched)
        self.domain_of.update(mismatched)
        return bool(mismatched)

    def _is_local(self, node: Traced, at: At, domain: Shape) -> bool:
        """Whether the loops over `domain` compute the element of `node` at `at`, in the thread that reads it."""
        if node in self._products or (is_reduction(node) and not is_row_reduction(node)):
            return False
        return self.domain_of[node] == domain and at == self.place(node)

    def _find_level(self, node: Traced) -> int:
        if node in self._products:
            product = self._products[node]
            for operand in (product.a, product.b):
                # Raises NotCaptured if a product cannot read the operand. The estimate of memory depends on that too.
                matrix(operand)
            needed = product.read
        else:
            needed = [other for other, _ in self.reads(node)]
        return max((self.level[other] + 1 for other in needed if other in self.stored), default=0)
