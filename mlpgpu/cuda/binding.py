"""A program on a device: its kernels compiled, its products prepared, addresses for all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mlpgpu.cuda.indexing import layout
from mlpgpu.cuda.products import WORKSPACE_BYTES, NoProduct, Products, alignment, library, matrix
from mlpgpu.cuda.program import PRELUDE, Copy, Launch, Multiply, Program
from mlpgpu.cuda.source import THREADS, Arrivals, Buffer, Source
from mlpgpu.fusion.schedule import base
from mlpgpu.fusion.trace import Traced

Array = Any
# What is launched, on the stream in use, whose address it is told.
Call = Callable[[int], None]


class Place:
    """Where an array lies. What is launched looks here each time."""

    __slots__ = ("address", "argument")

    def __init__(self, address: int) -> None:
        self.move(address)

    def move(self, address: int) -> None:
        """Be elsewhere."""
        self.address, self.argument = address, np.uint64(address)


class Multiplier(Products):
    """cuBLASLt with a work space that it holds, for products of which one is done after the other.

    Parameters
    ----------
    cupy : module
    """

    def __init__(self, cupy: Any) -> None:
        self._space = cupy.empty(WORKSPACE_BYTES, np.uint8)
        super().__init__(library(cupy), self._space.data.ptr, cupy.cuda.runtime.getDevice())


class Binding:
    """A program that can be launched, once it is told of memory to work in.

    Parameters
    ----------
    cupy : module
    program : Program
    places : mapping of Traced to Place
        Where inputs and what else is given lie.
    precision : str
        Of products.
    multipliers : sequence of Multiplier
        For products that are waited for, and for those aside; its own where there are none.

    Attributes
    ----------
    program : Program
    calls : list of callable
        What to launch, in order.

    Raises
    ------
    NoProduct
        Where cuBLASLt cannot do a product.
    """

    def __init__(
        self,
        cupy: Any,
        program: Program,
        places: Mapping[Traced, Place],
        precision: str,
        multipliers: Sequence[Multiplier],
    ) -> None:
        self._cupy, self.program, self._precision = cupy, program, precision
        self._counting = cupy.zeros(program.n_counting, np.uint8)
        # What lies in the memory that it works in, and how far from its beginning.
        self._inside: list[tuple[Place, int]] = []
        # What is done aside has a work space of its own.
        self._multipliers = multipliers or [Multiplier(cupy) for _ in range(2 if program.joined else 1)]
        self._module = cupy.RawModule(code=f"{PRELUDE}\n{program.kernels}\n", options=("--std=c++17",))
        self._constants: list[Array] = []
        self._places: dict[Buffer, Place] = dict(places.items())
        self.calls = [self._bound(launch) for launch in program.launches]

    def work_in(self, memory: Array) -> None:
        """Have what is launched from now on work in `memory`, `Program.n_bytes` of the device, whatever is in it."""
        begin = int(memory.data.ptr)
        for place, offset in self._inside:
            place.move(begin + offset)

    def _bound(self, launch: Launch) -> Call:
        if isinstance(launch, Source):
            function, grid = self._module.get_function(launch.name), (launch.blocks,)
            places = [self._place(buffer) for buffer in launch.arguments]
            return lambda stream: function(grid, (THREADS,), tuple([place.argument for place in places]))
        if isinstance(launch, Copy):
            to, of = self._place(launch.to), self._place(launch.of)
            runtime, n_bytes = self._cupy.cuda.runtime, launch.to.size * launch.to.dtype.itemsize
            kind = runtime.memcpyDeviceToDevice
            return lambda stream: runtime.memcpyAsync(to.address, of.address, n_bytes, kind, stream)
        return self._product(launch)

    def _product(self, launch: Multiply) -> Call:
        product, multiplier = launch.product, self._multipliers[launch.aside]
        nodes = product.a, product.b, product.out
        matrices = [matrix(node, 0) for node in nodes]
        places = [(self._place(base(node)), each.address) for node, each in zip(nodes, matrices, strict=True)]
        if product.bias is not None:
            lies = layout(product.bias)
            places.append((self._place(lies.base), lies.offset * lies.base.dtype.itemsize))
        prepared: dict[tuple[int, ...], Callable[..., None]] = {}

        def prepare(addresses: Sequence[int]) -> Callable[..., None]:
            """What does it where things are aligned so; an algorithm may be for that alone."""
            aligned = tuple([alignment(address) for address in addresses])
            if aligned not in prepared:
                a, b, out = (replace(each, address=at) for each, at in zip(matrices, addresses[:3], strict=True))
                prepared[aligned] = multiplier.prepare(a, b, out, self._precision, *addresses[3:])
            return prepared[aligned]

        def call(stream: int) -> None:
            addresses = [place.address + offset for place, offset in places]
            prepare(addresses)(stream, *addresses)

        prepare([place.address + offset for place, offset in places])
        return call

    def _place(self, buffer: Buffer) -> Place:
        if isinstance(buffer, Traced):
            buffer = self.program.stands_for.get(buffer, buffer)
        if buffer not in self._places:
            self._places[buffer] = self._placed(buffer)
        return self._places[buffer]

    def _placed(self, buffer: Buffer) -> Place:
        if isinstance(buffer, Traced) and buffer.operation in {"constant", "fill"}:
            assert buffer.value is not None
            value = np.broadcast_to(buffer.value, buffer.shape) if buffer.operation == "fill" else buffer.value
            self._constants.append(self._cupy.ascontiguousarray(self._cupy.asarray(value)))
            return Place(int(self._constants[-1].data.ptr))
        offset = self.program.places[buffer]
        if isinstance(buffer, Arrivals):
            return Place(int(self._counting.data.ptr) + offset)
        # Until it is known where that begins: products are prepared for how things are aligned.
        self._inside.append((place := Place(offset), offset))
        return place


def bind(
    cupy: Any,
    program: Callable[..., Program],
    places: Mapping[Traced, Place],
    precision: str,
    multipliers: Sequence[Multiplier] = (),
) -> Binding:
    """See `Binding`; of ``program(epilogues=...)``."""
    try:
        return Binding(cupy, program(epilogues=True), places, precision, multipliers)
    except NoProduct:
        # The library has no product with such an end for this GPU: kernels do the same.
        return Binding(cupy, program(epilogues=False), places, precision, multipliers)
