"""When a callback is told of a run, and how its arguments are read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mlpgpu.setting import Setting

if TYPE_CHECKING:
    import numpy as np

    from mlpgpu.trainer import Record, Run


class Callback:
    """Does nothing; a base for those that do something. Whatever happens in a run, `on_end` is called."""

    def on_begin(self, run: Run) -> None:
        """Before the first epoch."""

    def on_epoch_begin(self, run: Run) -> None:
        """Before the steps of epoch ``run.epoch``."""

    def on_steps(self, run: Run, done: int, losses: Callable[[], np.ndarray]) -> None:
        """After some steps of the epoch, `done` of them so far; ``losses()`` fetches those of the last few."""

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """After an epoch and its evaluation; `record` is also the last of ``run.history``."""

    def on_pause(self, run: Run) -> None:
        """Before a run ends that another may take up where it is: after a signal to end, or when its time is up."""

    def on_end(self, run: Run) -> None:
        """After the last epoch, or after an error."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it, fit for JSON."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave; after `on_begin`, and `on_epoch_begin` of an epoch that is taken up."""


@contextlib.contextmanager
def finalised(callbacks: Sequence[Callback], run: Run) -> Iterator[None]:
    """Begin every callback, and end those that have begun, last first, whatever happens between."""
    with contextlib.ExitStack() as stack:
        for callback in callbacks:
            callback.on_begin(run)
            stack.callback(callback.on_end, run)
        yield


def checked(name: str, given: Any, kind: type, within: str = "", choices: Sequence[str] = ()) -> Any:
    """The value of an argument, read as a setting is.

    Parameters
    ----------
    name : str
        What to call it.
    given : object
    kind, within, choices
        See `Setting`.

    Raises
    ------
    InputError
        Where `given` is not allowed.
    """
    return Setting("", "", kind, within, tuple(choices)).checked(name, given)
