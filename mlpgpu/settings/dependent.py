"""Settings that depend on others: those of hidden layers, optimizers, losses, schedules and early stopping."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from mlpgpu.errors import InputError
from mlpgpu.figures import counted
from mlpgpu.maths.optimizers import OPTIMIZERS
from mlpgpu.settings.setting import as_text

if TYPE_CHECKING:
    from mlpgpu.settings.config import Config

# Settings with one value for all hidden layers or one per layer, and what messages call such values.
OF_LAYERS = {"activation": "functions", "normalization": "kinds", "dropout": "rates"}
# Settings that only some optimizers have.
OF_OPTIMIZERS = ("momentum", "beta_1", "beta_2", "epsilon")


class _Use(NamedTuple):
    """When a setting is used: the other setting that decides it, which values of that use it, and a test of them."""

    other: str
    values: str
    holds: Callable[[Any], bool]


def _only(other: str, *values: str) -> _Use:
    return _Use(other, ", ".join(values), lambda config: getattr(config, other) in values)


# Settings that are used only with some values of another one. `OF_OPTIMIZERS`, which estimators have too, are apart.
USES = {
    **dict.fromkeys(OF_LAYERS, _Use("hidden", "layers", lambda config: len(config.hidden) > 0)),
    "hold_out": _Use(
        "validation_fraction",
        "or test_fraction above 0",
        lambda config: config.validation_fraction + config.test_fraction > 0,
    ),
    "init_std": _only("init", "normal"),
    "huber_delta": _only("loss", "huber"),
    "quantile": _only("loss", "quantile"),
    "warmup": _Use("epochs", "of at least that", lambda config: config.warmup <= (config.epochs or math.inf)),
    "decay_rate": _only("schedule", "step", "exponential"),
    "decay_epochs": _only("schedule", "step"),
    "power_t": _only("schedule", "invscaling"),
    "early_stopping": _Use(
        "validation_fraction", "above 0, such as 0.1", lambda config: config.validated or not config.early_stopping
    ),
    "monitor": _Use("validation_fraction", "above 0, such as 0.1", lambda config: config.validated),
    # Early stopping that is neither on nor off depends on the data.
    **dict.fromkeys(
        ("patience", "min_delta"), _Use("early_stopping", "true", lambda config: config.early_stopping is not False)
    ),
}
# Values for no layer, and a rate of 0, hold without hidden layers, too.
_AS_IS = ((), (0.0,))


def check(config: Config, **decided: Any) -> None:
    """Refuse a setting that differs from its default, but is not used with the other settings of `config`.

    Parameters
    ----------
    config : Config
    **decided : Any
        Other settings that are left open in `config`, as the data decide them; and ``validated``, whether there are
        validation rows, which a data set may have of its own.

    Raises
    ------
    InputError
    """
    others = SimpleNamespace(**{**vars(config), "validated": True, **decided})
    plain = type(config)()
    for name, use in USES.items():
        given, decides = getattr(config, name), getattr(others, use.other)
        if given in (getattr(plain, name), *_AS_IS) or use.holds(others):
            continue
        ours, theirs = ("not given" if value is None else as_text(value).lower() for value in (given, decides))
        raise InputError(
            f"{name} is {ours}, and {use.other} is {theirs}; allowed: {name} with {use.other} {use.values}; give that, "
            f"or leave out {name}"
        )


def each_layer(name: str, given: Sequence[Any], n_hidden: int) -> tuple[Any, ...]:
    """Return the value of setting `name` for each hidden layer.

    Parameters
    ----------
    name : str
        One of `OF_LAYERS`.
    given : sequence
        One value, or one per layer.
    n_hidden : int
        Number of hidden layers.

    Raises
    ------
    InputError
        If `given` has another length.
    """
    if len(given) not in {1, n_hidden}:
        raise InputError(
            f"{name} names {len(given)} {OF_LAYERS[name]} for {counted(n_hidden, 'hidden layer')}; "
            "give one, or one per layer"
        )
    return tuple(given) if len(given) == n_hidden else (given[0],) * n_hidden


def check_freeze(given: int, n_hidden: int) -> None:
    """Refuse to freeze more layers than the `n_hidden` hidden ones.

    Raises
    ------
    InputError
        If `given` is greater than `n_hidden`.
    """
    if given > n_hidden:
        raise InputError(
            f"freeze is {given}; allowed: 0 to {n_hidden}, the number of hidden layers, for the last layer is always "
            "trained"
        )


def check_batches(batch_size: int, normalized: Sequence[bool]) -> None:
    """Refuse batches of one row if a layer has batch normalisation.

    Raises
    ------
    InputError
        If `batch_size` is 1 and a layer is normalised.
    """
    if batch_size == 1 and any(normalized):
        raise InputError(
            "normalization is 'batch', and a batch is one sample, which is its own mean, so that nothing would be "
            "learned of it; choose a batch_size of 2 or more, better 16, and give as many rows"
        )


def unused_setting(name: str, optimizer: str) -> str:
    """Return an error message if `optimizer` does not have the setting `name`; else an empty string."""
    if name in OPTIMIZERS[optimizer].settings:
        return ""
    having = ", ".join(other for other, rule in OPTIMIZERS.items() if name in rule.settings)
    return f"{name} is not a setting of the optimizer {optimizer!r}; leave it out, or choose {having}"
