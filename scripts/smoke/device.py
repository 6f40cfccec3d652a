"""What checks ask of a device itself: how much of its memory was taken at most, and that there be none left."""

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
    """Bytes that were taken at most.

    Attributes
    ----------
    used : int
        By arrays.
    device : int
        By all that the device had no longer free whenever `look` was called, with what pools keep and libraries take; 0
        where that is not known.
    look : callable
    """

    used: int = 0
    device: int = 0
    look: Callable[[], None] = lambda: None


class Host:
    """The memory of the host, which stands in for that of a device."""

    @contextmanager
    def peak(self) -> Iterator[Peak]:
        """Within it, what is taken is counted; NumPy's steps are line by line."""
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
        """Within it, no state can be copied to the device."""
        with mock.patch("mlpgpu.workflow.fit", side_effect=MemoryError(f"no more than {leaving} bytes are left")):
            yield

    def pinned_blocks(self) -> int:
        """Nothing is."""
        return 0


class Cuda:
    """A device, through CuPy."""

    def __init__(self, device: str) -> None:
        import cupy

        self.cupy = cupy
        cupy.cuda.Device(int(device.partition(":")[2] or 0)).use()

    @contextmanager
    def peak(self) -> Iterator[Peak]:
        """Within it, what arrays of any pool take is counted."""
        self._forget()
        before, found = self._free(), Peak()

        def look() -> None:
            found.device = max(found.device, before - self._free())

        found.look = look
        with _counting(self.cupy.cuda.MemoryHook, found):
            yield found

    @contextmanager
    def full(self, leaving: int) -> Iterator[None]:
        """Within it, the device has `leaving` bytes left."""
        self._forget()
        runtime, taken = self.cupy.cuda.runtime, []
        piece = self._free()
        try:
            # There may be no piece of that size.
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
        """Blocks of pinned memory that CuPy holds ready."""
        # It takes back what was in use when it gives out the next.
        self.cupy.cuda.runtime.deviceSynchronize()
        self.cupy.cuda.alloc_pinned_memory(1)
        return int(self.cupy.get_default_pinned_memory_pool().n_free_blocks())

    def _forget(self) -> None:
        # What is kept from run to run belongs to the next one too.
        multiplier_of.cache_clear()
        gc.collect()
        self.cupy.get_default_memory_pool().free_all_blocks()

    def _free(self) -> int:
        return int(self.cupy.cuda.runtime.memGetInfo()[0])


def of(place: Place) -> Host | Cuda:
    """The device of a place."""
    return Cuda(place.device) if place.on_gpu else Host()


def _counting(base: Any, found: Peak) -> Any:
    """A memory hook of CuPy that follows what arrays take."""

    class Counting(base):
        name = "Counting"
        now = 0

        def malloc_postprocess(self, *, mem_size: int, mem_ptr: int, **_: Any) -> None:
            self.now += mem_size if mem_ptr else 0
            found.used = max(found.used, self.now)

        def free_postprocess(self, *, mem_size: int, **_: Any) -> None:
            self.now -= mem_size

    return Counting()
