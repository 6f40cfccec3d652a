"""A recorded function as kernels and products, and where in memory all of it lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlpgpu.cuda.indexing import At
from mlpgpu.cuda.kernels import Writer
from mlpgpu.cuda.passes import Kernel, Passes, Product, long_axes
from mlpgpu.cuda.source import Arrivals, Buffer, Parts, Source
from mlpgpu.fusion.trace import Traced

PRELUDE = Path(__file__).with_name("prelude.cu").read_text(encoding="utf-8")
# What cudaMalloc aligns to, and the fastest products want.
ALIGNMENT = 256


@dataclass(frozen=True)
class Copy:
    """What is copied at the end, for it could not be written where it belongs."""

    to: Traced
    of: Traced


@dataclass(frozen=True, eq=False)
class Multiply:
    """A product, and when it is done.

    Attributes
    ----------
    product : Product
    aside : bool
        Whether others need not wait for it, until its result is read.
    """

    product: Product
    aside: bool


Launch = Source | Multiply | Copy


class Program:
    """What to launch, in order, and how much memory it takes.

    Parameters
    ----------
    results : sequence of Traced
    replaces : sequence of (Traced, Traced)
        Inputs that a result takes the place of, and that result.
    counter : Traced or None
        Input with the number of the step, among those replaced.
    a_step : sequence of Traced
        Inputs and results that have a row of their own in each step.
    outside : sequence of Traced
        Results for which memory is given too.
    epilogues : bool
        Whether products may do more than multiply.

    Attributes
    ----------
    launches : list of Source, Multiply or Copy
    kernels : str
        The source of all of them, which goes with `PRELUDE`.
    places : dict of Traced, Parts or Arrivals to int
        Where each array lies that is neither given nor in the place of an input, in bytes from the beginning; those in
        which blocks are counted from the beginning of a memory of their own.
    stands_for : dict of Traced to Traced
        Results that are written over the input that they replace.
    joined : dict of int to int
        For each launch that is done aside, the first that waits for it, both by their place among `launches`.
    n_bytes, n_counting : int
        Of the memory that is needed beside what is given, whatever is in it; and of that for counting, 0 before the
        first launch and after the last.

    Raises
    ------
    NotCaptured
        Where there is an operation that is not known here.
    """

    def __init__(
        self,
        results: Sequence[Traced],
        replaces: Sequence[tuple[Traced, Traced]] = (),
        counter: Traced | None = None,
        a_step: Sequence[Traced] = (),
        outside: Sequence[Traced] = (),
        *,
        epilogues: bool = True,
    ) -> None:
        self.passes = passes = Passes(results, epilogues=epilogues)
        writer = Writer(passes, counter, set(a_step), {old for old, _ in replaces})
        sources = [writer.level(number) for number in range(len(passes.kernels))]
        products = [self._side_by_side(products) for products in passes.products]
        self.stands_for: dict[Traced, Traced] = {}
        copies = []
        for old, new in replaces:
            if self._can_replace(old, new, sources, [each for level in products for each in level]):
                self.stands_for[new] = old
            else:
                copies.append(Copy(old, new))
        self.launches: list[Launch] = []
        for source, of_level in zip(sources, products, strict=True):
            self.launches += of_level
            self.launches += [source] if source is not None else []
        self.launches += copies
        self.kernels = "\n".join(source.text for source in sources if source is not None)
        self.joined = self._join()
        self.places, self.n_bytes = self._arrange(passes.stored - {*self.stands_for, *a_step, *outside})
        self.n_counting = self._count()

    def _side_by_side(self, products: Sequence[Product]) -> list[Multiply]:
        """The products of a level: what is read first is waited for, the others are done aside, and begun before it."""
        first_read = {product: self.passes.read_first(product.out) for product in products}
        in_turn = sorted(products, key=lambda product: first_read[product])
        # Nothing would wait for what is not read.
        never = len(self.passes.kernels)
        return [Multiply(each, each is not in_turn[0] and first_read[each] < never) for each in reversed(in_turn)]

    def _can_replace(
        self, old: Traced, new: Traced, sources: Sequence[Source | None], products: Sequence[Multiply]
    ) -> bool:
        """Whether nothing reads an element of `old` after, or while, another kernel or thread writes it."""
        passes, level = self.passes, self.passes.level[new]
        own = next((kernel for kernel in passes.kernels[level] if any(root is new for root in kernel.roots)), None)
        if own is None or (old.shape, old.dtype) != (new.shape, new.dtype):
            return False
        late_product = any(node is old for each in products if self._last(each) >= level for node in each.product.read)
        late_reads = [
            (kernel, at) for source in sources[level:] if source for node, at, kernel in source.reads if node is old
        ]
        return not late_product and all(self._is_own(new, own, kernel, at) for kernel, at in late_reads)

    def _last(self, multiply: Multiply) -> int:
        """The last level at which a product may still be at work."""
        out = multiply.product.out
        return self.passes.read_first(out) if multiply.aside else self.passes.level[out]

    def _is_own(self, new: Traced, own: Kernel, kernel: Kernel, at: At) -> bool:
        """Whether what is read is read by the thread alone that writes it; several have a row between them."""
        return kernel is own and long_axes(new.shape) == own.domain and at in {self.passes.place(new), ()}

    def _join(self) -> dict[int, int]:
        """For each launch that is done aside, the first that reads what it writes."""
        uses = [used_by(launch) for launch in self.launches]
        return {
            time: next(later for later in range(time + 1, len(uses)) if launch.product.out in uses[later])
            for time, launch in enumerate(self.launches)
            if isinstance(launch, Multiply) and launch.aside
        }

    def _arrange(self, nodes: set[Traced]) -> tuple[dict[Buffer, int], int]:
        """Places for arrays of which those that are needed at one time lie beside each other."""
        first: dict[Buffer, int] = {}
        last: dict[Buffer, int] = {}
        for time, launch in enumerate(self.launches):
            for buffer in used_by(launch):
                first.setdefault(buffer, time)
                # What is done aside may be done at any time until it is joined.
                last[buffer] = max(last.get(buffer, 0), self.joined.get(time, time))
        sizes: dict[Buffer, int] = {
            buffer: buffer.n_bytes if isinstance(buffer, Parts) else buffer.size * buffer.dtype.itemsize
            for buffer in first
            if not isinstance(buffer, Arrivals) and (isinstance(buffer, Parts) or buffer in nodes)
        }
        places: dict[Buffer, int] = {}
        whole = 0
        for buffer in sorted(sizes, key=lambda one: -sizes[one]):
            taken = sorted(
                (places[other], places[other] + sizes[other])
                for other in places
                if first[other] <= last[buffer] and first[buffer] <= last[other]
            )
            place = 0
            for begin, end in taken:
                if place + sizes[buffer] <= begin:
                    break
                place = max(place, -(-end // ALIGNMENT) * ALIGNMENT)
            places[buffer] = place
            whole = max(whole, place + sizes[buffer])
        return places, whole

    def _count(self) -> int:
        """Give what counts its places, one after the other."""
        whole = 0
        for launch in self.launches:
            for buffer in used_by(launch):
                if isinstance(buffer, Arrivals) and buffer not in self.places:
                    self.places[buffer] = whole
                    whole += buffer.n_bytes
        return whole


def used_by(launch: Launch) -> set[Buffer]:
    """What a launch reads and writes."""
    if isinstance(launch, Source):
        # Kernels of one launch run at the same time.
        return set(launch.arguments)
    if isinstance(launch, Multiply):
        return {*launch.product.read, launch.product.out}
    return {launch.to, launch.of}
