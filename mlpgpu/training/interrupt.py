"""Ctrl-C, SIGTERM and SIGHUP as requests to stop between two steps."""

import contextlib
import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from types import FrameType

# Windows has no SIGHUP.
HANGUP = getattr(signal, "SIGHUP", None)
# Stacks that restore the signal handlers, one for each `interruptible` under way, the outermost first.
_open: list[contextlib.ExitStack] = []


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], int]]:
    """Record the first request to stop, to be honoured between two steps; raise KeyboardInterrupt at the second one.

    Requests are Ctrl-C, SIGTERM (from a scheduler or a shutdown) and SIGHUP (from a terminal that closes). Signals that
    the process ignores stay ignored: SIGHUP under ``nohup``, Ctrl-C in a background job of a script (``&``). Handlers
    are unchanged outside the main thread, where Python cannot set them, and in forked child processes, which have no
    run to stop.

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
        if number == HANGUP:
            # The shell and the kernel may both send it, so the second one is not a second request.
            _leave_terminal()
        elif len(came) > 1:
            raise KeyboardInterrupt

    with contextlib.ExitStack() as stack:
        stack.callback(_open.pop)
        _open.append(stack)
        for number in filter(None, (signal.SIGINT, signal.SIGTERM, HANGUP)):
            before = signal.getsignal(number)
            # A handler that was not installed from Python is None here, and cannot be restored.
            if before not in (None, signal.SIG_IGN):
                stack.callback(signal.signal, number, before)
                signal.signal(number, handle)
        yield lambda: came[0] if came else 0


def _restore_handlers() -> None:
    """Restore all signal handlers."""
    for stack in _open[::-1]:
        stack.close()


# Windows has no fork.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restore_handlers)


def _leave_terminal() -> None:
    """Redirect terminal output to the null device: printing to a closed terminal is an error, and would end the run."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            # `os.isatty` is false for a terminal that is closed.
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
