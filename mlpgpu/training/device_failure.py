"""Failures of a device during a run: one line that says what happened, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mlpgpu.backends import Backend
from mlpgpu.backends.cuda_devices import left_of_memory
from mlpgpu.backends.cuda_failures import described, is_out_of_memory
from mlpgpu.callbacks import Callback, RunCheckpoint
from mlpgpu.callbacks.checkpoints import LAST
from mlpgpu.errors import InputError, one_line
from mlpgpu.training.plan import Plan
from mlpgpu.training.preflight import Need, parts, size


@contextmanager
def explained(backend: Backend, plan: Plan, need: Need, callbacks: Sequence[Callback] = ()) -> Iterator[None]:
    """While active, turn an error of the device into one that says what to do.

    If its memory is full, the message says what needs how much of it. After any other failure of CUDA, this process can
    read nothing more from the device, not even the weights: the message names the checkpoint to resume from.

    Raises
    ------
    InputError
        In place of the error of the device.
    """
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            left = left_of_memory(backend.device)
            said = ", ".join(filter(None, (one_line(error)[:120], left)))
            by_batch = need.steps > max(need.model, need.evaluation)
            advice = "lower --batch-size or --hidden" if by_batch else "lower --hidden"
            message = (
                f"out of memory on {backend.device}{f' ({said})' if said else ''}: the run needs about "
                f"{size(need.beside)} beside the data: {parts(plan, need)}; {advice}"
            )
        elif lost := described(error, backend.device):
            paths = [callback.folder / LAST for callback in callbacks if isinstance(callback, RunCheckpoint)]
            kept = [path for path in paths if path.exists()]
            go_on = f"go on from {kept[0]} by --resume" if kept else "no checkpoint was written yet: begin again"
            message = f"{lost}; {go_on}"
        else:
            raise
        raise InputError(message) from error
