"""Base class of callbacks, with the hooks that a run calls."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mlpgpu.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from mlpgpu.training.run import Record, Run


class Callback:
    """Base class of callbacks, whose hooks do nothing. `on_end` is called even if a run ends by an error."""

    def on_begin(self, run: Run) -> None:
        """Called before the first epoch."""

    def on_epoch_begin(self, run: Run) -> None:
        """Called before the steps of epoch ``run.epoch``."""

    def on_steps(self, run: Run, done: int, losses: Callable[[], np.ndarray]) -> None:
        """Called after some steps of the epoch, `done` so far; ``losses()`` fetches the losses of the last few."""

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Called after an epoch and its evaluation; `record` is also the last entry of ``run.history``."""

    def on_pause(self, run: Run) -> None:
        """Called before a run stops that can be resumed: after a signal, or when its time is up."""

    def on_end(self, run: Run) -> None:
        """Called after the last epoch, or after an error."""

    def state(self) -> dict[str, Any]:
        """Return the state that a checkpoint saves, as JSON types."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state of a resumed run; called after `on_begin`, and after `on_epoch_begin` within an epoch."""


def callbacks_of(given: Any) -> list[Callback]:
    """Return the callbacks of a sequence; raise `InputError` for anything else."""
    if not isinstance(given, Iterable):
        raise InputError(f"callbacks is {given!r}; allowed: a sequence of callbacks; give [...] also for one")
    found = list(given)
    for callback in found:
        if not isinstance(callback, Callback):
            raise InputError(
                f"callbacks holds {callback!r}; allowed: instances of mlpgpu.callbacks.Callback; those of scikit-learn "
                "are set with set_callbacks() of an estimator"
            )
    return found


@contextlib.contextmanager
def finalised(callbacks: Sequence[Callback], run: Run) -> Iterator[None]:
    """Begin every callback; at exit, even by an error, end those that have begun, in reverse order."""
    with contextlib.ExitStack() as stack:
        for callback in callbacks:
            callback.on_begin(run)
            stack.callback(callback.on_end, run)
        yield
