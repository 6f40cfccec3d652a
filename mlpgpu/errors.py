"""The one error that a user can cause, a warning, and the words that such messages share."""

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

# A message shows at most so many characters: the names that a file brings may be of any length.
MOST_SHOWN = 2000
# What other libraries call some of what has another name here; of several names, that of what was asked for.
ELSEWHERE = {
    "val_loss": ("validation_loss",),
    "val_accuracy": ("validation_accuracy", "validation_score"),
    "sigmoid": ("logistic",),
    "linear": ("identity",),
    "swish": ("silu",),
    "xavier_uniform": ("glorot_uniform",),
    "xavier_normal": ("glorot_normal",),
    "kaiming_uniform": ("he_uniform",),
    "kaiming_normal": ("he_normal",),
    "mse": ("squared_error",),
    "mae": ("absolute_error",),
    "binary_crossentropy": ("logistic", "log_loss"),
    "categorical_crossentropy": ("cross_entropy", "log_loss"),
    "sparse_categorical_crossentropy": ("cross_entropy", "log_loss"),
    "lr": ("learning_rate",),
    "max_iter": ("epochs",),
    "alpha": ("l2",),
    "solver": ("optimizer",),
    "hidden_layer_sizes": ("hidden",),
    "random_state": ("seed",),
    "validation_split": ("validation_fraction",),
    "test_size": ("test_fraction",),
    "gpu": ("device",),
}


class InputError(ValueError):
    """A setting, file, device or array from outside that cannot be used.

    The message is one line that says what was given, what is allowed and what to do; the command
    line prints it and exits with code 2. Whatever a file put into it is escaped, and its middle left out
    where it is very long.
    """

    def __init__(self, message: str) -> None:
        shown = printable(message)
        half = MOST_SHOWN // 2 - 5
        super().__init__(shown if len(shown) <= MOST_SHOWN else f"{shown[:half]} [...] {shown[-half:]}")


class OwnFunctionWarning(UserWarning):
    """A loss or an activation of a user's own that may not be what was meant: its derivative is not that of its value.

    One that is otherwise on purpose, such as a straight-through estimator, is told of it once a fit, and trained all
    the same: ``warnings.filterwarnings("ignore", category=mlpgpu.OwnFunctionWarning)``.
    """


def printable(text: str) -> str:
    """`text` in one line, with whatever a terminal would not print, or would obey, escaped as Python does."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(error: Exception) -> str:
    """The message of `error` without line breaks."""
    return " ".join(str(error).split())


def listed(names: Sequence[Any], most: int = 20) -> str:
    """Names for a message, at most so many of them, in quotes: spaces around a name are a part of it."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(str(name)) for name in names[:most]) + more


def did_you_mean(given: str, known: Iterable[str], cutoff: float = 0.6, written: Callable[[str], str] = str) -> str:
    """The end of a message: ``; did you mean ...?`` with what another library calls `given`, or is most like it.

    Capitals, which other libraries write other names with, do not count.

    Parameters
    ----------
    given : str
    known : iterable of str
        What is allowed.
    cutoff : float
        How alike it must be, from 0 to 1, as `difflib.get_close_matches` measures it.
    written : callable
        How what is most like it is written; `repr` for names that spaces may be a part of.
    """
    lowered = {name.lower(): name for name in known}
    close = [name for name in ELSEWHERE.get(given.lower(), ()) if name in lowered]
    close = close or difflib.get_close_matches(given.lower(), lowered, 1, cutoff)
    return f"; did you mean {written(lowered[close[0]])}?" if close else ""
