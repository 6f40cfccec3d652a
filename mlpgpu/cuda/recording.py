"""Trace functions of device arrays: a namespace that can be switched to recording, a recorder, what is returned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from mlpgpu.backends.precision import Namespace
from mlpgpu.fusion.trace import GIVEN, VIEWS, Recorder, Traced, base

Array = Any


class Recordable(Namespace):
    """CuPy's functions; while a function is being traced, NumPy's, which dispatch to the recorder of traced arrays.

    Attributes
    ----------
    is_recording : bool
    """

    is_recording = False

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Use the functions that record, within the context."""
        library, self._xp, self.is_recording = self._xp, np, True
        try:
            yield
        finally:
            self._xp, self.is_recording = library, False


class DeviceRecorder(Recorder):
    """A recorder for functions that refer to device arrays, which become constants.

    Parameters
    ----------
    cupy : module
    """

    def __init__(self, cupy: Any) -> None:
        super().__init__()
        self._cupy = cupy
        self._held: dict[int, tuple[Array, Traced]] = {}

    def constant(self, value: Any) -> Traced:
        """See `Recorder.constant`."""
        if not isinstance(value, self._cupy.ndarray):
            return super().constant(value)
        if id(value) not in self._held:
            # A scalar becomes a literal in the kernels, so its value is needed on the host.
            kept = self._cupy.asnumpy(value) if value.size == 1 else value
            node = Traced(self, "constant", (), (), value.shape, value.dtype, kept)
            self._held[id(value)] = value, node
        return self._held[id(value)][1]


def returned(recorder: Recorder, leaf: Any, taken: set[Traced]) -> Traced:
    """Return the node of a leaf that a function returns: a copy if that is an input, a view or returned twice.

    Parameters
    ----------
    taken : set of Traced
        Nodes that the function returns elsewhere, to which this one is added.
    """
    node = recorder.constant(leaf)
    if node.operation in VIEWS or base(node).operation in GIVEN or node in taken:
        node = Traced(recorder, "astype", (node,), (node.dtype,), node.shape, node.dtype)
    taken.add(node)
    return node
