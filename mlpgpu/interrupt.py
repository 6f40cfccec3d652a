"""Ctrl-C, SIGTERM and SIGHUP as a polite request."""

import contextlib
import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from types import FrameType

# Windows has none.
HANGUP = getattr(signal, "SIGHUP", None)
# What puts the handlers back, of all that is interruptible now; the outermost comes first.
_open: list[contextlib.ExitStack] = []


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], int]]:
    """Within it the first request to end is noted, to be acted on between two steps; the second one is an error.

    A request is Ctrl-C, the SIGTERM of a scheduler or a shutdown, or the SIGHUP of a terminal that closes; the error is
    a KeyboardInterrupt. What the process ignores it goes on to ignore: SIGHUP under ``nohup``, Ctrl-C where a script
    runs it by ``&``. Outside the main thread, where Python has no signal handlers, all are left as they were, and so
    they are in a child that is forked within, which has no run to end.

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
            # The shell and the system may both send it: the second one asks for no more than the first.
            _leave_terminal()
        elif len(came) > 1:
            raise KeyboardInterrupt

    with contextlib.ExitStack() as stack:
        stack.callback(_open.pop)
        _open.append(stack)
        for number in filter(None, (signal.SIGINT, signal.SIGTERM, HANGUP)):
            before = signal.getsignal(number)
            # That of a program around Python is None here, and cannot be put back.
            if before not in (None, signal.SIG_IGN):
                stack.callback(signal.signal, number, before)
                signal.signal(number, handle)
        yield lambda: came[0] if came else 0


def _put_back() -> None:
    """Have signals do what they do outside."""
    for stack in _open[::-1]:
        stack.close()


# Windows does not fork.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_put_back)


def _leave_terminal() -> None:
    """Have what is printed go nowhere: on a terminal that is closed it is an error, and would end the run."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            # One that is closed is no terminal to `os.isatty` any more.
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
