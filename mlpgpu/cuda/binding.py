"""A program in the memory of a device: its kernels compiled, its products prepared, addresses for all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mlpgpu.cuda.kernels import THREADS, Buffer, Source
from mlpgpu.cuda.products import WORKSPACE_BYTES, Products, alignment, library, matrix
from mlpgpu.cuda.program import PRELUDE, Copy, Launch, Product, Program
from mlpgpu.fusion.schedule import base
from mlpgpu.fusion.trace import Traced

Array = Any
# What is launched, on the stream in use, whose address it is told.
Call = Callable[[int], None]


class Multiplier(Products):
    """cuBLASLt with a work space that it holds, for products of which one is done after the other.

    Parameters
    ----------
    cupy : module
    """

    def __init__(self, cupy: Any) -> None:
        self._space = cupy.empty(WORKSPACE_BYTES, np.uint8)
        super().__init__(library(cupy), self._space.data.ptr)


class Place:
    """Where an array lies. What is launched looks here each time."""

    __slots__ = ("address", "argument")

    def __init__(self, address: int) -> None:
        self.move(address)

    def move(self, address: int) -> None:
        """Be elsewhere."""
        self.address, self.argument = address, np.uint64(address)


class Binding:
    """A program, and the memory that it has beside what it is given.

    Parameters
    ----------
    cupy : module
    program : Program
    precision : str
        Of products.
    multipliers : sequence of Multiplier
        For products that are waited for, and for those aside; its own where there are none.
    """

    def __init__(self, cupy: Any, program: Program, precision: str, multipliers: Sequence[Multiplier] = ()) -> None:
        self._cupy, self._program, self._precision = cupy, program, precision
        # Where sums are counted, it has to be 0.
        self._memory = cupy.zeros(program.n_bytes, np.uint8)
        # What is done aside has a work space of its own.
        self._multipliers = multipliers or [Multiplier(cupy) for _ in range(2 if program.joined else 1)]
        self._module = cupy.RawModule(code=f"{PRELUDE}\n{program.kernels}\n", options=("--std=c++17",))
        self._constants: list[Array] = []
        self._places: dict[Buffer, Place] = {}

    def calls(self, places: Mapping[Buffer, Place]) -> list[Call]:
        """What to launch, in order, where inputs and what else is given lie in `places`."""
        self._places |= places
        return [self._bound(launch) for launch in self._program.launches]

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

    def _product(self, launch: Product) -> Call:
        nodes = launch.a, launch.b, launch.out
        matrices = [matrix(node, 0) for node in nodes]
        places = [(self._place(base(node)), each.address) for node, each in zip(nodes, matrices, strict=True)]
        prepared: dict[tuple[int, ...], Callable[..., None]] = {}

        def call(stream: int) -> None:
            addresses = [place.address + offset for place, offset in places]
            # An algorithm may be for this alignment only.
            aligned = tuple([alignment(address) for address in addresses])
            if aligned not in prepared:
                at = [replace(each, address=address) for each, address in zip(matrices, addresses, strict=True)]
                prepared[aligned] = self._multipliers[launch.aside].prepare(at[0], at[1], at[2], self._precision)
            prepared[aligned](stream, *addresses)

        return call

    def _place(self, buffer: Buffer) -> Place:
        if isinstance(buffer, Traced):
            buffer = self._program.stands_for.get(buffer, buffer)
        if buffer not in self._places:
            self._places[buffer] = Place(self._address(buffer))
        return self._places[buffer]

    def _address(self, buffer: Buffer) -> int:
        if isinstance(buffer, Traced) and buffer.operation in {"constant", "fill"}:
            assert buffer.value is not None
            value = np.broadcast_to(buffer.value, buffer.shape) if buffer.operation == "fill" else buffer.value
            self._constants.append(self._cupy.ascontiguousarray(self._cupy.asarray(value)))
            return int(self._constants[-1].data.ptr)
        return int(self._memory.data.ptr) + self._program.places[buffer]
