"""Estimate the memory of the programs that XLA compiles, from the same functions as fused kernels: see `cuda/`.

XLA fuses much as these do: what lies between two products is computed where it is needed, and is not stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlpgpu.backends.live_bytes import Bytes, total
from mlpgpu.cuda.program import Program
from mlpgpu.cuda.recording import returned
from mlpgpu.fusion.trace import VIEWS, Recorder, Traced, base, leaves, operations, rebuild

# Scratch memory of cuBLAS in a program for a GPU, bytes: that of Hopper and later; XLA takes 4 MiB on earlier ones.
WORKSPACE_BYTES = 32 * 2**20


class _Recorder(Recorder):
    """A recorder for XLA, whose products read whole arrays: weights are first copied out of the flat vector."""

    def matmul(self, a: Any, b: Any) -> Traced:
        """See `Recorder.matmul`."""
        return super().matmul(self._whole(a), self._whole(b))

    def _whole(self, operand: Any) -> Any:
        if not isinstance(operand, Traced) or operand.operation not in VIEWS:
            return operand
        if operand.operation == "matrix_transpose":
            return self.matrix_transpose(self._whole(operand.arguments[0]))
        if base(operand).operation != "input":
            return operand
        return self.record("astype", (operand,), (operand.dtype,), operand.shape, operand.dtype)


def of_loop(step: Callable[..., Any], state: Any, data: Any, items: Any, *, on_cpu: bool) -> Bytes:
    """Return the memory of a compiled scan that overwrites the state; arguments as in `Backend.loop_bytes`.

    Raises
    ------
    NotCaptured
        If an operation is not supported.
    """
    recorder = _Recorder()
    given = state, data, rebuild(items, (item[0, ...] for item in leaves(items)))
    inputs = [recorder.input(leaf.shape, leaf.dtype) for leaf in leaves(given)]
    new, loss = step(*rebuild(given, iter(inputs)))
    taken: set[Traced] = set()
    made = [returned(recorder, leaf, taken) for leaf in (*leaves(new), loss)]
    scratch = _scratch(made, list(zip(inputs, made[:-1], strict=False)), on_cpu)
    call = scratch + len(next(leaves(items))) * made[-1].dtype.itemsize
    # The state is copied before the first call, which overwrites that copy.
    return Bytes(0, call, max(call, total(leaves(state))))


def of_function(function: Callable[..., Any], given: Any, *, on_cpu: bool) -> Bytes:
    """Return the memory of a call of a compiled function, including its results; see `of_loop`."""
    recorder = _Recorder()
    taken: set[Traced] = set()
    inputs = (recorder.input(leaf.shape, leaf.dtype) for leaf in leaves(given))
    made = [returned(recorder, leaf, taken) for leaf in leaves(function(*rebuild(given, inputs)))]
    call = _scratch(made, [], on_cpu, made) + total(made)
    return Bytes(0, call, call)


def _scratch(
    results: list[Traced], replaces: Sequence[tuple[Traced, Traced]], on_cpu: bool, outside: Sequence[Traced] = ()
) -> int:
    # On a CPU, XLA stores concatenations: the gradient, and the random bits of a dropout mask.
    joined = [node for node in operations(results) if on_cpu and node.operation == "concatenate"]
    program = Program([*results, *joined], replaces, outside=outside, epilogues=False, beside=on_cpu)
    return program.n_bytes + (0 if on_cpu else WORKSPACE_BYTES)
