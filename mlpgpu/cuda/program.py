"""Turn a traced function into a sequence of launches, and allocate its buffers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlpgpu.cuda.epilogues import Product
from mlpgpu.cuda.indexing import At
from mlpgpu.cuda.kernels import Writer
from mlpgpu.cuda.passes import Kernel, Passes, long_axes
from mlpgpu.cuda.source import Buffer, Partials, Source
from mlpgpu.fusion.trace import Traced

PRELUDE = Path(__file__).with_name("prelude.cu").read_text(encoding="utf-8")
# That of cudaMalloc, which the fastest products need, in bytes.
ALIGNMENT = 256


@dataclass(frozen=True)
class Copy:
    """A copy, at the end, of a result that could not overwrite the input that it replaces."""

    to: Traced
    of: Traced


Launch = Source | Product | Copy


class Program:
    """The launches of a traced function, in order, and its memory.

    Parameters
    ----------
    results : sequence of Traced
    replaces : sequence of (Traced, Traced)
        Pairs of an input and the result that replaces it.
    counter : Traced or None
        Input that holds the step number; it is among those replaced.
    per_step : sequence of Traced
        Inputs and results with one row per step in memory.
    outside : sequence of Traced
        Results for which the caller provides memory.
    epilogues : bool
        Whether products may have epilogues.
    beside : bool
        Whether products may run beside others, on the side stream.

    Attributes
    ----------
    launches : list of Source, Product or Copy
    kernels : str
        The source of all kernels, to be compiled after `PRELUDE`.
    offsets : dict of Traced or Partials to int
        Of each buffer in the scratch memory, in bytes. Inputs, constants, results for which there is memory already,
        and arrival counters have none.
    stands_for : dict of Traced to Traced
        Results that overwrite the input that they replace, and that input.
    joined : dict of int to int
        For each launch on the side stream, where it runs beside others, the first that waits for it, both as indices
        into `launches`.
    n_bytes : int
        Bytes of scratch memory, whose contents do not matter.

    Raises
    ------
    NotCaptured
        If an operation is not supported.
    """

    def __init__(
        self,
        results: Sequence[Traced],
        replaces: Sequence[tuple[Traced, Traced]] = (),
        counter: Traced | None = None,
        per_step: Sequence[Traced] = (),
        outside: Sequence[Traced] = (),
        *,
        epilogues: bool = True,
        beside: bool = True,
    ) -> None:
        self.passes = passes = Passes(results, epilogues=epilogues)
        writer = Writer(passes, counter, set(per_step), {old for old, _ in replaces})
        sources = [writer.level(number) for number in range(len(passes.kernels))]
        # Of the products of a level, that which is read first comes last, and the others run on the side stream.
        products = [sorted(of_level, key=self._read_first)[::-1] for of_level in passes.products]
        # One that nothing reads stays on the main stream: nothing would wait for it on the other.
        never = len(passes.kernels)
        aside = [each for of_level in products for each in of_level[:-1]] if beside else []
        self._aside = {each for each in aside if self._read_first(each) < never}
        self.stands_for: dict[Traced, Traced] = {}
        copies = []
        for old, new in replaces:
            if self._can_replace(old, new, sources):
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
        self.offsets, self.n_bytes = self._allocate(passes.stored - {*self.stands_for, *per_step, *outside})

    def _read_first(self, product: Product) -> int:
        return self.passes.read_first(product.out)

    def _can_replace(self, old: Traced, new: Traced, sources: Sequence[Source | None]) -> bool:
        """Whether `new` can overwrite `old`: no thread may read an element while or after another one writes it."""
        passes, level = self.passes, self.passes.level[new]
        own = next((kernel for kernel in passes.kernels[level] if any(root is new for root in kernel.roots)), None)
        if own is None or (old.shape, old.dtype) != (new.shape, new.dtype):
            return False
        late = [each for of_level in passes.products for each in of_level if self._last(each) >= level]
        late_product = any(node is old for each in late for node in each.read)
        late_reads = [
            (kernel, at) for source in sources[level:] if source for node, at, kernel in source.reads if node is old
        ]
        return not late_product and all(self._is_own(new, own, kernel, at) for kernel, at in late_reads)

    def _last(self, product: Product) -> int:
        """Return the last level in which a product may still run."""
        return self._read_first(product) if product in self._aside else self.passes.level[product.out]

    def _is_own(self, new: Traced, own: Kernel, kernel: Kernel, at: At) -> bool:
        """Whether only the thread that writes an element reads it. All threads of a row read the values per row."""
        return kernel is own and long_axes(new.shape) == own.domain and at in {self.passes.place(new), ()}

    def _join(self) -> dict[int, int]:
        """Map each launch on the side stream to the first launch that reads its result."""
        uses = [used_by(launch) for launch in self.launches]
        return {
            time: next(later for later in range(time + 1, len(uses)) if launch.out in uses[later])
            for time, launch in enumerate(self.launches)
            if isinstance(launch, Product) and launch in self._aside
        }

    def _allocate(self, nodes: set[Traced]) -> tuple[dict[Buffer, int], int]:
        """Return the offsets of buffers, which overlap only if their lifetimes are disjoint, and their total size."""
        first: dict[Buffer, int] = {}
        last: dict[Buffer, int] = {}
        for time, launch in enumerate(self.launches):
            for buffer in used_by(launch):
                first.setdefault(buffer, time)
                # A product on the side stream may run at any time until it is joined.
                last[buffer] = max(last.get(buffer, 0), self.joined.get(time, time))
        sizes: dict[Buffer, int] = {
            buffer: buffer.size * buffer.dtype.itemsize
            for buffer in first
            if isinstance(buffer, Partials) or buffer in nodes
        }
        offsets: dict[Buffer, int] = {}
        total = 0
        for buffer in sorted(sizes, key=lambda one: -sizes[one]):
            taken = sorted(
                (offsets[other], offsets[other] + sizes[other])
                for other in offsets
                if first[other] <= last[buffer] and first[buffer] <= last[other]
            )
            offset = 0
            for begin, end in taken:
                if offset + sizes[buffer] <= begin:
                    break
                offset = max(offset, -(-end // ALIGNMENT) * ALIGNMENT)
            offsets[buffer] = offset
            total = max(total, offset + sizes[buffer])
        return offsets, total


def used_by(launch: Launch) -> dict[Buffer, None]:
    """Return the buffers that a launch reads and writes, in an order that does not change from run to run."""
    if isinstance(launch, Source):
        # Kernels of one launch run at the same time, so all of their buffers are alive together.
        return launch.arguments
    if isinstance(launch, Product):
        return dict.fromkeys([*launch.read, launch.out])
    return dict.fromkeys([launch.to, launch.of])
