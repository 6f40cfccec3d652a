"""Ctrl-C, and SIGTERM, as a polite request."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], int]]:
    """Within it the first request to end is noted, to be acted on between two steps; the second one is an error.

    A request is Ctrl-C, or the SIGTERM of a scheduler or a shutdown; the error is a KeyboardInterrupt. Outside the main
    thread, where Python has no signal handlers, both are left as they were.

    Yields
    ------
    callable
        ``interrupted()``: the number of the signal that came; 0 where none did.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    came: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            raise KeyboardInterrupt

    with contextlib.ExitStack() as stack:
        for number in (signal.SIGINT, signal.SIGTERM):
            stack.callback(signal.signal, number, signal.signal(number, handle))
        yield lambda: came[0] if came else 0
