"""A program in the memory of a device: its kernels compiled, its products prepared, addresses for all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mlpgpu.cuda.kernels import THREADS, Buffer, Source
from mlpgpu.cuda.products import WORKSPACE_BYTES, Products, library, matrix
from mlpgpu.cuda.program import PRELUDE, Copy, Launch, Program
from mlpgpu.fusion.schedule import base
from mlpgpu.fusion.trace import Traced

Array = Any
# What is launched, on the stream in use, whose address it is told.
Call = Callable[[int], None]


class Binding:
    """A program, and the memory that it has beside what it is given.

    Parameters
    ----------
    cupy : module
    program : Program
    precision : str
        Of products.

    Raises
    ------
    NotCaptured
        Where cuBLASLt cannot do a product.
    """

    def __init__(self, cupy: Any, program: Program, precision: str) -> None:
        self._cupy, self._program, self._precision = cupy, program, precision
        # Where sums are counted, it has to be 0.
        self._memory = cupy.zeros(program.n_bytes, np.uint8)
        # What is done aside has a work space of its own.
        self._workspaces = [cupy.empty(WORKSPACE_BYTES, np.uint8) for _ in range(2 if program.joined else 1)]
        self._products = [Products(library(cupy), workspace.data.ptr) for workspace in self._workspaces]
        self._module = cupy.RawModule(code=f"{PRELUDE}\n{program.kernels}\n", options=("--std=c++17",))
        self._constants: dict[Buffer, Array] = {}

    def calls(self, arrays: Mapping[Buffer, Array]) -> list[Call]:
        """What to launch, in order, where inputs and what else is given lie in `arrays`."""
        return [self._bound(launch, arrays) for launch in self._program.launches]

    def _bound(self, launch: Launch, arrays: Mapping[Buffer, Array]) -> Call:
        if isinstance(launch, Source):
            function = self._module.get_function(launch.name)
            arguments = tuple(np.uint64(self._address(buffer, arrays)) for buffer in launch.arguments)
            return lambda stream: function((launch.blocks,), (THREADS,), arguments)
        if isinstance(launch, Copy):
            to, of = self._address(launch.to, arrays), self._address(launch.of, arrays)
            runtime, n_bytes = self._cupy.cuda.runtime, launch.to.size * launch.to.dtype.itemsize
            return lambda stream: runtime.memcpyAsync(to, of, n_bytes, runtime.memcpyDeviceToDevice, stream)
        a, b, out = (matrix(node, self._address(base(node), arrays)) for node in (launch.a, launch.b, launch.out))
        return self._products[launch.aside].prepare(a, b, out, self._precision)

    def _address(self, buffer: Buffer, arrays: Mapping[Buffer, Array]) -> int:
        if isinstance(buffer, Traced):
            buffer = self._program.stands_for.get(buffer, buffer)
            if buffer.operation in {"constant", "fill"}:
                return int(self._constant(buffer).data.ptr)
        if buffer in arrays:
            return int(arrays[buffer].data.ptr)
        return int(self._memory.data.ptr) + self._program.places[buffer]

    def _constant(self, node: Traced) -> Array:
        if node not in self._constants:
            assert node.value is not None
            value = np.broadcast_to(node.value, node.shape) if node.operation == "fill" else node.value
            self._constants[node] = self._cupy.ascontiguousarray(self._cupy.asarray(value))
        return self._constants[node]
