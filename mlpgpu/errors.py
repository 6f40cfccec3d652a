"""The one error that a user can cause, and the words that such messages share."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A setting, file, device or array from outside that cannot be used.

    The message is one line that says what was given, what is allowed and what to do; the command
    line prints it and exits with code 2.
    """


def one_line(error: Exception) -> str:
    """The message of `error` without line breaks."""
    return " ".join(str(error).split())


def did_you_mean(given: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The end of a message: ``; did you mean ...?`` with what is most like `given`, or nothing.

    Parameters
    ----------
    given : str
    known : iterable of str
        What is allowed.
    cutoff : float
        How alike it must be, from 0 to 1, as `difflib.get_close_matches` measures it.
    """
    close = difflib.get_close_matches(given, list(known), 1, cutoff)
    return f"; did you mean {close[0]}?" if close else ""
