"""Settings that depend on others: those of hidden layers, and those of certain optimizers."""

from collections.abc import Sequence
from typing import Any

from mlpgpu.errors import InputError
from mlpgpu.figures import counted
from mlpgpu.maths.optimizers import OPTIMIZERS

# Settings with one value for all hidden layers or one per layer, and what messages call such values.
OF_LAYERS = {"activation": "functions", "normalization": "kinds", "dropout": "rates"}
# Settings that only some optimizers have.
OF_OPTIMIZERS = ("momentum", "beta_1", "beta_2", "epsilon")


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
