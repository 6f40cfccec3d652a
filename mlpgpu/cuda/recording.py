"""Trace functions that refer to device arrays, and prepare the nodes that they return."""

from __future__ import annotations

import logging
from typing import Any

from mlpgpu.errors import one_line
from mlpgpu.fusion.schedule import GIVEN, base
from mlpgpu.fusion.trace import VIEWS, Recorder, Traced

log = logging.getLogger(__name__)

Array = Any


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


def tell_refused(what: str, device: str, error: Exception) -> None:
    """Log in one line that `what` runs line by line, and why."""
    log.warning("%s runs line by line on %s, for it cannot be captured: %s", what, device, one_line(error))
