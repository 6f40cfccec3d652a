"""Which recorded operations share a kernel, and in which order kernels and products run.

A kernel makes arrays that others read, its roots, of one shape; whatever lies between them and what is in memory it
works out itself, as often as it is needed: a launch costs more than arithmetic does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mlpgpu.cuda.epilogues import Epilogue
from mlpgpu.cuda.epilogues import find as find_epilogues
from mlpgpu.cuda.indexing import ELEMENT, ROW, ZERO, At, Index, NotCaptured, broadcast, layout, seen
from mlpgpu.fusion.schedule import GIVEN, base, is_elementwise
from mlpgpu.fusion.trace import REDUCTIONS, VIEWS, Traced, operations

Shape = tuple[int, ...]
# Stands for the number of a row that is taken, which is read of memory.
TAKEN = Index("row")


def long_axes(shape: Sequence[int]) -> Shape:
    """`shape` without the axes of one element."""
    return tuple(n for n in shape if n != 1)


def is_fold(node: Traced) -> bool:
    """Whether several elements become one."""
    return node.operation in REDUCTIONS and node.parents[0].size != node.size


def folded(fold: Traced) -> tuple[int, ...]:
    """Which of the long axes of its argument a fold goes along."""
    axes, of = fold.settings[0], fold.parents[0]
    kept = [axis for axis, n in enumerate(of.shape) if n != 1]
    return tuple(place for place, axis in enumerate(kept) if axis in axes)


def is_row_fold(node: Traced) -> bool:
    """Whether each row of a matrix becomes one number."""
    return is_fold(node) and len(long_axes(node.parents[0].shape)) == 2 and folded(node) == (1,)


def is_taken(at: At) -> bool:
    """Whether a place is in a row whose number is read of memory."""
    return bool(at) and at[0].text == TAKEN.text


def loops(domain: Shape) -> At:
    """The place at which the loops over `domain` are."""
    if len(domain) > 2:
        return tuple(Index(f"i{axis}", 0, ROW) for axis in range(len(domain)))
    return (Index("i", 0, ROW), Index("j", 0, ELEMENT))[: len(domain)]


def natural(shape: Shape, domain: Shape) -> At | None:
    """Where the loops over `domain` are in an array of `shape`, which has its axes, or is a number a row, or one."""
    at, long = loops(domain), long_axes(shape)
    if long != domain[: len(long)]:
        return None
    places = iter(at)
    return tuple(ZERO if n == 1 else next(places) for n in shape)


def element_of_fold(fold: Traced, at: At) -> At:
    """What a fold reads of its argument: the loops' own variables along the axes that it folds."""
    of, (axes, keepdims) = fold.parents[0], fold.settings
    own = iter(loops(long_axes(of.shape)))
    along = [ZERO if n == 1 else next(own) for n in of.shape]
    rest = iter(at)
    kept = [next(rest) if axis not in axes or keepdims else ZERO for axis in range(of.ndim)]
    return tuple(along[axis] if axis in axes else kept[axis] for axis in range(of.ndim))


@dataclass
class Kernel:
    """Arrays that are made together.

    Attributes
    ----------
    domain : tuple of int
        The long axes that its loops go over.
    roots : list of Traced
    """

    domain: Shape
    roots: list[Traced]


@dataclass(frozen=True, eq=False)
class Product:
    """A product of matrices.

    Attributes
    ----------
    a, b : Traced
        Arrays in memory, or views of such.
    out : Traced
        What is written: the product, or what an epilogue makes of it.
    bias : Traced or None
        A view of one row that an epilogue adds before it takes the positive part.
    """

    a: Traced
    b: Traced
    out: Traced
    bias: Traced | None = None

    @property
    def read(self) -> list[Traced]:
        """What lies in memory that it reads."""
        return [base(node) for node in (self.a, self.b, self.bias) if node is not None]


class Passes:
    """Kernels and products, level by level: what is on one level waits for those before it only.

    Parameters
    ----------
    results : sequence of Traced
        Each an elementwise operation or a fold, none a view.
    epilogues : bool
        Whether products may have some.

    Attributes
    ----------
    stored : set of Traced
        All that lies in memory but is not given.
    domain_of : dict of Traced to tuple of int
        What the kernel that makes it goes over.
    level : dict of Traced to int
        Of all that is stored.
    kernels : list of list of Kernel
        By level.
    products : list of list of Product
        By level.

    Raises
    ------
    NotCaptured
        Where there is an operation that is not known here.
    """

    def __init__(self, results: Sequence[Traced], *, epilogues: bool) -> None:
        self.results = list(results)
        self.nodes = operations(self.results)
        self._users: dict[Traced, list[Traced]] = {node: [] for node in self.nodes}
        for node in self.nodes:
            if node.operation not in VIEWS:
                for parent in node.parents:
                    self._users[base(parent)].append(node)
        self._given_back = set(results)
        ends = find_epilogues(self.nodes, self._users, self._given_back) if epilogues else {}
        within = {end.product for end in ends.values()}
        # By what they write.
        self._products = {
            node: _product(node, ends.get(node))
            for node in self.nodes
            if node in ends or (node.operation == "matmul" and node not in within)
        }
        self._steady = self._find_steady()
        self.stored: set[Traced] = {node for node in self.nodes if self._is_stored(node)}
        self.domain_of = {node: long_axes(self._over(node)) for node in self.stored if node not in self._products}
        self._settle_rows()
        self.level: dict[Traced, int] = {}
        for node in self.nodes:
            if node in self.stored:
                self.level[node] = self._find_level(node)
        last = max(self.level.values())
        for node in self.results:
            if not self._users[node]:
                # Together, at the end: by then all has been read that they are written over.
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
        """What is in memory that making an element of `root` reads, and where.

        Not what the same kernel makes, but what that reads. Row folds that are not stored are among it, beside what
        they read.
        """
        domain = self.domain_of[root]
        at = self.place(root)
        seen_before = set()
        left = list(self.arguments(root, at))
        while left:
            node, at = left.pop()
            if (node, at) in seen_before:
                continue
            seen_before.add((node, at))
            if node.operation in GIVEN or (node in self.stored and not self._is_at_hand(node, at, domain)):
                yield node, at
            else:
                if is_fold(node) and node not in self.stored:
                    yield node, at
                left += self.arguments(node, at)

    def read_first(self, node: Traced) -> int:
        """The first level that reads what is stored."""
        stored = (self.level[root] for reader in self._users[node] for root in self._makers(reader))
        return min(stored, default=len(self.kernels))

    def _makers(self, node: Traced) -> Iterator[Traced]:
        """What is stored of an operation: itself, or what is made of it."""
        if node in self.stored:
            yield node
        else:
            for user in self._users[node]:
                yield from self._makers(user)

    def place(self, root: Traced) -> At:
        """Where the loops of its kernel are in `root`; in what a fold leaves, along the axes that it keeps."""
        domain = self.domain_of[root]
        if is_fold(root) and long_axes(root.parents[0].shape) == domain:
            kept = iter([at for axis, at in enumerate(loops(domain)) if axis not in folded(root)])
            return tuple(ZERO if n == 1 else next(kept) for n in root.shape)
        at = natural(root.shape, domain)
        assert at is not None
        return at

    def arguments(self, node: Traced, at: At) -> Iterator[tuple[Traced, At]]:
        """The arguments of an operation, and where it reads them for one element."""
        if node.operation in VIEWS:
            yield node.parents[0], seen(node, at)
        elif node.operation in REDUCTIONS:
            yield node.parents[0], element_of_fold(node, at)
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

    def _find_steady(self) -> set[Traced]:
        """Single numbers that are made of nothing but such."""
        steady: set[Traced] = set()
        for node in self.nodes:
            if node.size == 1 and (
                node.operation in GIVEN
                or (node.operation not in {"matmul", "take"} and all(parent in steady for parent in node.parents))
            ):
                steady.add(node)
        return steady

    def _is_stored(self, node: Traced) -> bool:
        if node.operation in (*GIVEN, *VIEWS):
            return False
        users = self._users[node]
        if node in self._products or node in self._given_back:
            return True
        if node.operation == "matmul":
            # An epilogue goes on with it.
            return False
        if is_fold(node) and not is_row_fold(node):
            return True
        if node in self._steady:
            # Not worked out again in every thread.
            return any(user not in self._steady for user in users)
        return any(user.operation == "matmul" for user in users)

    @staticmethod
    def _over(node: Traced) -> Sequence[int]:
        return node.parents[0].shape if is_fold(node) else node.shape

    def _settle_rows(self) -> None:
        """Find which folds of rows the kernels do for themselves, and store the others."""
        settled = False
        while not settled:
            settled = True
            for root in [node for node in self.nodes if node in self.domain_of]:
                needed = [(node, at) for node, at in self.reads(root) if is_fold(node) and node not in self.stored]
                if not needed:
                    continue
                over = long_axes(needed[0][0].parents[0].shape)
                if self.domain_of[root] == over[:1] and root.operation != "take":
                    # A number for each row, made where the row is.
                    self.domain_of[root] = over
                    settled = False
                    break
                astray = [
                    node
                    for node, at in needed
                    if long_axes(node.parents[0].shape) != self.domain_of[root] or at != natural(node.shape, over)
                ]
                if astray:
                    for node in astray:
                        self.stored.add(node)
                        self.domain_of[node] = long_axes(node.parents[0].shape)
                    settled = False
                    break

    def _is_at_hand(self, node: Traced, at: At, domain: Shape) -> bool:
        """Whether the loops over `domain` make the element of `node` that is at `at`."""
        if node in self._products or (is_fold(node) and not is_row_fold(node)):
            return False
        return self.domain_of[node] == domain and at == self.place(node)

    def _find_level(self, node: Traced) -> int:
        if node in self._products:
            product = self._products[node]
            for operand in (product.a, product.b):
                # It refuses what a product could not read.
                layout(operand)
            needed = product.read
        else:
            needed = [other for other, _ in self.reads(node)]
        return max((self.level[other] + 1 for other in needed if other in self.stored), default=0)


def _product(node: Traced, epilogue: Epilogue | None) -> Product:
    a, b = (node if epilogue is None else epilogue.product).parents
    return Product(a, b, node, None if epilogue is None else epilogue.bias)


def parts(joined: Traced) -> list[tuple[int, int]]:
    """First place and one past the last of each part of a concatenation, along its axis."""
    axis, ends, start = joined.settings[0], [], 0
    for part in joined.parents:
        ends.append((start, start + part.shape[axis]))
        start += part.shape[axis]
    return ends
