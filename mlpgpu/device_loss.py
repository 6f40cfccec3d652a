"""A device that fails in the middle of its work: one line that says what it means, and where a run can be taken up."""

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
    """Within it, an error by which a CUDA device fails becomes one that names the checkpoint to go on from.

    After such an error nothing more can be had of the device in this process, not even the weights.

    Raises
    ------
    InputError
        In place of that error.
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
