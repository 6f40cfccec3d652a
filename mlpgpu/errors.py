"""The error for invalid input, a warning, and helpers for their messages."""

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

# Maximum length of a message in characters; names read from a file may have any length.
MAX_SHOWN = 2000
# Names in other libraries -> names here; of several, the first that is allowed counts. Compared by `alike`.
ELSEWHERE = {
    "val_loss": ("validation_loss",),
    "val_accuracy": ("validation_accuracy", "validation_score", "score"),
    "accuracy": ("score",),
    **dict.fromkeys(("sigmoid", "expit", "logsig"), ("logistic",)),
    "linear": ("identity",),
    "swish": ("silu",),
    "xavier": ("glorot_uniform",),
    "xavier_uniform": ("glorot_uniform",),
    "xavier_normal": ("glorot_normal",),
    "kaiming": ("he_uniform",),
    "kaiming_uniform": ("he_uniform",),
    "kaiming_normal": ("he_normal",),
    **dict.fromkeys(("mse", "l2", "least_squares"), ("squared_error", "neg_mean_squared_error")),
    **dict.fromkeys(("mae", "l1"), ("absolute_error", "neg_mean_absolute_error")),
    "rmse": ("neg_root_mean_squared_error",),
    "smooth_l1": ("huber",),
    "pinball": ("quantile",),
    "acc": ("accuracy",),
    "auc": ("roc_auc",),
    **dict.fromkeys(("bce", "bce_with_logits", "binary_crossentropy"), ("logistic", "log_loss")),
    **dict.fromkeys(
        ("categorical_crossentropy", "sparse_categorical_crossentropy", "crossentropy", "nll", "log", "softmax"),
        ("cross_entropy", "log_loss"),
    ),
    "logistic": ("log_loss",),
    "sgdm": ("momentum",),
    "cosine_annealing": ("cosine",),
    "double": ("float64",),
    "float16": ("float32",),
    "lr": ("learning_rate",),
    "max_iter": ("epochs",),
    "alpha": ("l2",),
    "solver": ("optimizer",),
    "hidden_layer_sizes": ("hidden",),
    "layers": ("hidden",),
    "n_iter_no_change": ("patience",),
    "tol": ("min_delta",),
    "random_state": ("seed",),
    "label": ("target",),
    "cv": ("folds",),
    "n_splits": ("folds",),
    "validation_split": ("validation_fraction",),
    "test_size": ("test_fraction",),
    **dict.fromkeys(("cpu", "cuda"), ("device", "devices")),
    **dict.fromkeys(("gpu", "gpus"), ("device", "devices", "cuda")),
    **dict.fromkeys(("out", "output", "output_dir", "save", "save_dir"), ("run_dir", "out")),
    **dict.fromkeys(("criterion", "loss_function"), ("loss",)),
    **dict.fromkeys(("initializer", "weight_init"), ("init",)),
    **dict.fromkeys(("neurons", "units"), ("hidden",)),
    **dict.fromkeys(("label_column", "target_column"), ("target",)),
    "amp": ("precision",),
    "drop_columns": ("drop",),
    "grad_clip": ("clip_norm",),
    "log_dir": ("log_to",),
    "metric": ("monitor",),
    "pretrained": ("start_from",),
    "random_seed": ("seed",),
    "silent": ("quiet",),
    "val_split": ("validation_fraction",),
    "test_split": ("test_fraction",),
    "probabilities": ("proba",),
    "run_dir": ("model", "out"),
    "dataset": ("data",),
}


class InputError(ValueError):
    """Raised for a setting, file, device or array that cannot be used.

    The message is one line that says what was given, what is allowed and what to do. The command line prints it and
    exits with code 2. Characters that are not printable are escaped, and the middle of a very long message is left out.
    """

    def __init__(self, message: str) -> None:
        shown = printable(message)
        half = MAX_SHOWN // 2 - 5
        super().__init__(shown if len(shown) <= MAX_SHOWN else f"{shown[:half]} [...] {shown[-half:]}")


class OwnFunctionWarning(UserWarning):
    """Warning that the derivative of a user-defined loss or activation is not that of its value.

    This may be on purpose, as in a straight-through estimator. The warning is issued once per fit, and the fit goes on.
    To silence it: ``warnings.filterwarnings("ignore", category=mlpgpu.OwnFunctionWarning)``.
    """


def printable(text: str) -> str:
    """Return `text` with characters that are not printable, such as control sequences, escaped as in Python."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(error: Exception) -> str:
    """Return the message of `error` without line breaks."""
    return " ".join(str(error).split())


def alike(given: str, known: Iterable[str]) -> str | None:
    """Return the known name that differs by capitals, hyphens or the word "loss" at most, as names of libraries do."""

    def bare(name: str) -> str:
        return name.lower().replace("_", "").replace("-", "").removesuffix("loss")

    return next((name for name in known if bare(name) == bare(given)), None)


def first_of(parts: Sequence[Any], most: int) -> str:
    """Format at most `most` parts for a message, and say how many more there are."""
    more = f" and {len(parts) - most} more" if len(parts) > most else ""
    return ", ".join(map(str, parts[:most])) + more


def listed(names: Sequence[Any]) -> str:
    """Format at most 20 names for a message, quoted because spaces may be a part of them."""
    return first_of([repr(str(name)) for name in names], 20)


def did_you_mean(given: str, known: Iterable[str], cutoff: float = 0.6, written: Callable[[str], str] = str) -> str:
    """Return the end of a message, ``; did you mean ...?``, or an empty string if no allowed name is similar.

    The suggestion is the name that is written alike, or else the equivalent of `given` as a name in another library, or
    else the most similar name, ignoring case.

    Parameters
    ----------
    given : str
    known : iterable of str
        The allowed names.
    cutoff : float
        Least similarity, from 0 to 1, see `difflib.get_close_matches`.
    written : callable
        Formats the suggested name; `repr` for names that may contain spaces.
    """
    lowered = {name.lower(): name for name in known}
    same = alike(given, lowered)
    here = (same,) if same else ELSEWHERE.get(alike(given, ELSEWHERE) or "", ())
    close = [name for name in here if name in lowered]
    close = close or difflib.get_close_matches(given.lower(), lowered, 1, cutoff)
    return f"; did you mean {written(lowered[close[0]])}?" if close else ""
