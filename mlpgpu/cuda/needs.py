"""Estimate the device memory that `loop` and `function` allocate, by tracing without a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlpgpu.backends.live_bytes import Bytes, total
from mlpgpu.cuda import function, loop
from mlpgpu.cuda.products import WORKSPACE_BYTES
from mlpgpu.cuda.program import Program, used_by
from mlpgpu.cuda.source import Arrivals
from mlpgpu.fusion.trace import Recorder, Traced, leaves


def of_loop(step: Callable[..., Any], state: Any, data: Any, items: Any) -> Bytes:
    """See `mlpgpu.backends.live_bytes.of_loop`.

    Raises
    ------
    NotCaptured
        If an operation is not supported.
    """
    recorder = Recorder()
    recorded = loop.Recorded(recorder, step, state, data, items)
    program = recorded.program()
    losses = len(next(leaves(items))) * recorded.loss.dtype.itemsize
    kept = total(leaves(items)) + losses + _of_program(recorder, program)
    kept += program.n_bytes + WORKSPACE_BYTES * (2 if program.joined else 1)
    return Bytes(kept, losses, losses + total(leaves(state)))


def of_function(called: Callable[..., Any], given: Any) -> Bytes:
    """See `mlpgpu.backends.live_bytes.of_function`.

    Raises
    ------
    NotCaptured
        As `of_loop`.
    """
    recorder = Recorder()
    recorded = function.Recorded(recorder, called, given)
    program = recorded.program()
    call = program.n_bytes + total(recorded.results)
    return Bytes(WORKSPACE_BYTES + _of_program(recorder, program), call, call)


def _of_program(recorder: Recorder, program: Program) -> int:
    """Return the bytes that a program keeps beside its scratch memory: constants and arrival counters."""
    used = {buffer for launch in program.launches for buffer in used_by(launch)}
    filled = [buffer for buffer in used if isinstance(buffer, Traced) and buffer.operation == "fill"]
    arrivals = [buffer for buffer in used if isinstance(buffer, Arrivals)]
    return total(recorder.constants) + total(filled) + total(arrivals)
