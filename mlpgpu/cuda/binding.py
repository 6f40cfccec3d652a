"""Bind a program to a device: compile its kernels, prepare its products and resolve its buffers to addresses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mlpgpu.cuda.epilogues import Product
from mlpgpu.cuda.indexing import layout
from mlpgpu.cuda.products import Multiplier, NoProduct, alignment, matrix
from mlpgpu.cuda.program import PRELUDE, Copy, Launch, Program
from mlpgpu.cuda.source import THREADS, Arrivals, Buffer, Source
from mlpgpu.fusion.trace import Traced

Array = Any
# Launches one kernel, product or copy on the current stream, whose handle is the argument.
Call = Callable[[int], None]


class Pointer:
    """A device address that is looked up at each launch, so that an array may move between launches."""

    __slots__ = ("address", "argument")

    def __init__(self, address: int) -> None:
        self.move(address)

    def move(self, address: int) -> None:
        """Set the address."""
        self.address, self.argument = address, np.uint64(address)


class Binding:
    """A program that can be launched, once `work_in` has given it scratch memory.

    Parameters
    ----------
    cupy : module
    program : Program
    pointers : mapping of Traced to Pointer
        Addresses of the inputs, and of all results for which the caller provides memory.
    precision : str
        Of the products: ``float32``, ``tf32`` or ``bf16``.
    multipliers : sequence of Multiplier
        One for products on the main stream and one for those on the side stream. If empty, the binding makes its own.

    Attributes
    ----------
    program : Program
    calls : list of callable
        The launches, in order.

    Raises
    ------
    NoProduct
        If cuBLASLt does not support a product.
    """

    def __init__(
        self,
        cupy: Any,
        program: Program,
        pointers: Mapping[Traced, Pointer],
        precision: str,
        multipliers: Sequence[Multiplier],
    ) -> None:
        self._cupy, self.program, self._precision = cupy, program, precision
        # Pointers into the scratch memory, and their offsets in bytes.
        self._in_scratch: list[tuple[Pointer, int]] = []
        # Products on the side stream may run at the same time as others, and need a workspace of their own.
        multipliers = multipliers or [Multiplier(cupy) for _ in range(2 if program.joined else 1)]
        self._module = cupy.RawModule(code=f"{PRELUDE}\n{program.kernels}\n", options=("--std=c++17",))
        # Constants and arrival counters.
        self._held: list[Array] = []
        self._pointers: dict[Buffer, Pointer] = dict(pointers.items())
        self.calls = [
            self._bind(launch, multipliers[time in program.joined]) for time, launch in enumerate(program.launches)
        ]

    def work_in(self, memory: Array) -> None:
        """Use `memory` as scratch from the next launch on: `Program.n_bytes` on the device, with any contents."""
        begin = int(memory.data.ptr)
        for pointer, offset in self._in_scratch:
            pointer.move(begin + offset)

    def _bind(self, launch: Launch, multiplier: Multiplier) -> Call:
        if isinstance(launch, Source):
            function, grid = self._module.get_function(launch.name), (launch.blocks,)
            pointers = [self._pointer(buffer) for buffer in launch.arguments]
            return lambda stream: function(grid, (THREADS,), tuple([pointer.argument for pointer in pointers]))
        if isinstance(launch, Copy):
            to, of = self._pointer(launch.to), self._pointer(launch.of)
            runtime, n_bytes = self._cupy.cuda.runtime, launch.to.size * launch.to.dtype.itemsize
            kind = runtime.memcpyDeviceToDevice
            return lambda stream: runtime.memcpyAsync(to.address, of.address, n_bytes, kind, stream)
        return self._product(launch, multiplier)

    def _product(self, product: Product, multiplier: Multiplier) -> Call:
        a, b, out = map(matrix, (product.a, product.b, product.out))
        arrays = [layout(node) for node in (product.a, product.b, product.out, product.bias) if node is not None]
        pointers = [(self._pointer(array.base), array.offset * array.base.dtype.itemsize) for array in arrays]
        prepared: dict[tuple[int, ...], Callable[..., None]] = {}

        def prepare(addresses: Sequence[int]) -> Callable[..., None]:
            """Return the product prepared for these alignments, on which cuBLASLt's choice of algorithm depends."""
            aligned = tuple([alignment(address) for address in addresses])
            if aligned not in prepared:
                prepared[aligned] = multiplier.prepare(a, b, out, self._precision, addresses)
            return prepared[aligned]

        def call(stream: int) -> None:
            addresses = [pointer.address + offset for pointer, offset in pointers]
            prepare(addresses)(stream, *addresses)

        prepare([pointer.address + offset for pointer, offset in pointers])
        return call

    def _pointer(self, buffer: Buffer) -> Pointer:
        if isinstance(buffer, Traced):
            buffer = self.program.stands_for.get(buffer, buffer)
        if buffer not in self._pointers:
            self._pointers[buffer] = self._new_pointer(buffer)
        return self._pointers[buffer]

    def _new_pointer(self, buffer: Buffer) -> Pointer:
        if isinstance(buffer, Arrivals):
            return self._hold(self._cupy.zeros(buffer.size, buffer.dtype))
        if isinstance(buffer, Traced) and buffer.operation in {"constant", "fill"}:
            assert buffer.value is not None
            value = np.broadcast_to(buffer.value, buffer.shape) if buffer.operation == "fill" else buffer.value
            return self._hold(self._cupy.ascontiguousarray(self._cupy.asarray(value)))
        offset = self.program.offsets[buffer]
        # The base address is not known before `work_in`; it is aligned, so the offset tells products the alignment.
        self._in_scratch.append((pointer := Pointer(offset), offset))
        return pointer

    def _hold(self, array: Array) -> Pointer:
        self._held.append(array)
        return Pointer(int(array.data.ptr))


def bind(
    cupy: Any,
    program: Callable[..., Program],
    pointers: Mapping[Traced, Pointer],
    precision: str,
    multipliers: Sequence[Multiplier] = (),
) -> Binding:
    """Return the `Binding` of ``program(epilogues=True)``, or of the one without epilogues if that is not supported."""
    try:
        return Binding(cupy, program(epilogues=True), pointers, precision, multipliers)
    except NoProduct:
        # cuBLASLt does not support this epilogue on this GPU: kernels do the same.
        return Binding(cupy, program(epilogues=False), pointers, precision, multipliers)
