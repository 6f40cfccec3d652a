"""Device memory for checks: measure its peak, and fill it up."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from mlpgpu.cuda.function import multiplier_of
from scripts.smoke.place import Place
from scripts.smoke.ways import loop


@dataclass
class Peak:
    """Peak memory in bytes.

    Attributes
    ----------
    used : int
        Peak memory of arrays.
    device : int
        Peak decrease of the device's free memory over the calls of `look`, which includes memory of pools and
        libraries; 0 if unknown.
    look : callable
        Function that updates `device`.
    """

    used: int = 0
    device: int = 0
    look: Callable[[], None] = lambda: None


class Host:
    """Host memory, as a stand-in for device memory."""

    @contextmanager
    def peak(self) -> Iterator[Peak]:
        """Measure the peak memory of the block, with NumPy steps run line by line."""
        found = Peak()
        tracemalloc.start()
        try:
            with loop("eager"):
                yield found
            found.used = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    @contextmanager
    def full(self, leaving: int) -> Iterator[None]:
        """Make any fit in the block run out of memory."""
        with mock.patch("mlpgpu.workflow.fit", side_effect=MemoryError(f"no more than {leaving} bytes are left")):
            yield

    def pinned_blocks(self) -> int:
        """Return 0: host memory is not pinned."""
        return 0


class Cuda:
    """A device, through CuPy."""

    def __init__(self, device: str) -> None:
        import cupy

        self.cupy = cupy
        cupy.cuda.Device(int(device.partition(":")[2] or 0)).use()

    @contextmanager
    def peak(self) -> Iterator[Peak]:
        """Measure the peak memory of the block, for arrays of any pool."""
        self._forget()
        before, found = self._free(), Peak()

        def look() -> None:
            found.device = max(found.device, before - self._free())

        found.look = look
        with _counting(self.cupy.cuda.MemoryHook, found):
            yield found

    @contextmanager
    def full(self, leaving: int) -> Iterator[None]:
        """Fill the device up to `leaving` bytes during the block."""
        self._forget()
        runtime, taken = self.cupy.cuda.runtime, []
        piece = self._free()
        try:
            # Free memory may be fragmented.
            while (piece := min(piece, self._free() - leaving)) > 0:
                try:
                    taken.append(runtime.malloc(piece))
                except runtime.CUDARuntimeError:
                    piece //= 2
            yield
        finally:
            for pointer in taken:
                runtime.free(pointer)
            self._forget()

    def pinned_blocks(self) -> int:
        """Return the number of free blocks in CuPy's pinned memory pool."""
        # The pool reclaims blocks that were in use at its next allocation.
        self.cupy.cuda.runtime.deviceSynchronize()
        self.cupy.cuda.alloc_pinned_memory(1)
        return int(self.cupy.get_default_pinned_memory_pool().n_free_blocks())

    def _forget(self) -> None:
        # Memory cached across runs counts for the next run too.
        multiplier_of.cache_clear()
        gc.collect()
        self.cupy.get_default_memory_pool().free_all_blocks()

    def _free(self) -> int:
        return int(self.cupy.cuda.runtime.memGetInfo()[0])


def of(place: Place) -> Host | Cuda:
    """Return the memory to measure on this place."""
    return Cuda(place.device) if place.on_gpu else Host()


def _counting(base: Any, found: Peak) -> Any:
    """Create a CuPy memory hook that tracks the memory of arrays."""

    class Counting(base):
        name = "Counting"
        now = 0

        def malloc_postprocess(self, *, mem_size: int, mem_ptr: int, **_: Any) -> None:
            self.now += mem_size if mem_ptr else 0
            found.used = max(found.used, self.now)

        def free_postprocess(self, *, mem_size: int, **_: Any) -> None:
            self.now -= mem_size

    return Counting()
