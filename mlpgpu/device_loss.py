"""Failures of a device during a run: one line that says what happened, and how to resume the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mlpgpu.backends import Backend
from mlpgpu.backends.cuda_failures import described
from mlpgpu.callbacks import Callback, RunCheckpoint
from mlpgpu.callbacks.checkpoints import LAST
from mlpgpu.errors import InputError


@contextmanager
def survivable(backend: Backend, callbacks: Sequence[Callback]) -> Iterator[None]:
    """Replace the error of a CUDA device that fails by one that names the checkpoint to resume from.

    After that error, this process can read nothing more from the device, not even the weights.

    Raises
    ------
    InputError
        If the device fails.
    """
    try:
        yield
    except Exception as error:
        if (said := described(error, backend.device)) is None:
            raise
        paths = [callback.folder / LAST for callback in callbacks if isinstance(callback, RunCheckpoint)]
        kept = [path for path in paths if path.exists()]
        go_on = f"go on from {kept[0]} by --resume" if kept else "no checkpoint was written yet: begin again"
        raise InputError(f"{said}; {go_on}") from error
