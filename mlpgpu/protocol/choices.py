"""Parse and check the parameters of an estimator."""

from __future__ import annotations

import functools
import inspect
import operator
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlpgpu import backends
from mlpgpu.backends import Backend
from mlpgpu.backends import precision as precisions
from mlpgpu.errors import did_you_mean
from mlpgpu.maths.activations import ACTIVATIONS, TRAINABLE, Activation
from mlpgpu.maths.losses import Loss
from mlpgpu.maths.normalization import NORMALIZATIONS
from mlpgpu.maths.optimizers import OPTIMIZERS
from mlpgpu.protocol import arrays
from mlpgpu.settings.config import Config, settings
from mlpgpu.settings.dependent import OF_OPTIMIZERS, each_layer, unused_setting
from mlpgpu.settings.setting import named

_DEVICE, _BACKEND, _DROPOUT = (settings()[name] for name in ("device", "backend", "dropout"))


def in_words(given: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of an estimator with dtype and device objects replaced by their names."""
    return given | {name: named(given[name]) for name in ("dtype", "device") if name in given}


def activations_of(given: Any, n_hidden: int) -> tuple[tuple[str, ...], tuple[Activation, ...]]:
    """Return the name and the functions of each hidden layer's activation.

    Parameters
    ----------
    given : str, pair of callable, or list of them
    n_hidden : int
        Number of hidden layers.

    Raises
    ------
    ValueError
        If a name is unknown, or the list has neither one item nor one per layer.
    """
    one = isinstance(given, str) or _are_functions(given)
    each = each_layer("activation", [given] if one else given, n_hidden)
    names, functions = [], []
    for choice in each:
        if isinstance(choice, str) and choice in TRAINABLE:
            names.append(choice)
            functions.append(ACTIVATIONS[choice])
        elif _are_functions(choice):
            name = getattr(choice[0], "__name__", "own")
            # Custom functions must not pass for the built-in ones of the same name.
            own = f"own {name}" if name in ACTIVATIONS else name
            known = by_name(choice)
            names.append(known if isinstance(known, str) else own)
            functions.append(Activation(*choice))
        else:
            raise ValueError(
                f"activation is {choice!r}; allowed: {', '.join(TRAINABLE)}, or a pair of functions value(xp, z) and "
                f"derivative(xp, z, y){did_you_mean(str(choice), TRAINABLE) or '.'}"
            )
    return tuple(names), tuple(functions)


def by_name(given: Any) -> Any:
    """Return the argument of `activations_of` with functions of `ACTIVATIONS` replaced by their names."""
    if _are_functions(given):
        return next((name for name in TRAINABLE if ACTIVATIONS[name][:2] == given[:2]), given)
    return type(given)(map(by_name, given)) if isinstance(given, list | tuple) else given


def _are_functions(given: Any) -> bool:
    return isinstance(given, tuple) and len(given) >= 2 and all(map(callable, given[:2]))


def normalized_of(given: Any, n_hidden: int) -> tuple[bool, ...]:
    """Return whether each hidden layer is normalised over the batch.

    Raises
    ------
    ValueError
        If a name is unknown, or the list has neither one item nor one per layer.
    """
    kinds = each_layer("normalization", [given] if isinstance(given, str) else given, n_hidden)
    for kind in kinds:
        if kind not in NORMALIZATIONS:
            raise ValueError(
                f"normalization is {kind!r}; allowed: {', '.join(NORMALIZATIONS)}, or a list of one for each hidden "
                f"layer{did_you_mean(str(kind), NORMALIZATIONS) or '.'}"
            )
    return tuple(kind == "batch" for kind in kinds)


def dropout_of(given: Any, n_hidden: int) -> tuple[float, ...]:
    """Return the dropout rate of each hidden layer.

    Raises
    ------
    ValueError
        If a rate is out of range, or the list has neither one item nor one per layer.
    """
    try:
        rates = _DROPOUT.parse(given)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(
            f"dropout is {given!r}; allowed: a number from 0 to below 1, or a list of one for each hidden layer."
        ) from None
    return each_layer("dropout", rates, n_hidden)


def own_loss(pair: Any, default: Loss) -> Loss:
    """Return a custom loss as a `Loss`.

    Parameters
    ----------
    pair : Loss, or pair of callable
        ``value(xp, z, t)`` -> loss of each row, and ``gradient(xp, z, t)`` -> its gradient with respect to the logits
        `z`; the shapes are those of `mlpgpu.maths.losses`.
    default : Loss
        Loss from which a pair takes its link and task.
    """
    if isinstance(pair, Loss):
        return pair
    if len(pair) != 2 or not all(map(callable, pair)):
        are_sizes = all(isinstance(item, int) for item in pair)
        hint = " Sizes of layers go by their name, hidden_layer_sizes." if are_sizes else ""
        raise ValueError(
            f"loss is {pair!r}, and not a pair of functions; allowed: a name, or (value(xp, z, t), gradient(xp, z, t)) "
            f"with the loss of each row and its gradient at the logits.{hint}"
        )
    value, gradient = pair
    return default._replace(rows=lambda xp, z, t: (value(xp, z, t), gradient(xp, z, t)))


def checked_pairs(given: Sequence[Any], shapes: Sequence[tuple[int, ...]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the given weights and biases of the lowest layers, on the host in float64.

    Parameters
    ----------
    given : sequence of (array, array)
        Weights and biases of each of these layers.
    shapes : sequence of (int, int)
        Shapes of the weights of all layers of the network.

    Raises
    ------
    ValueError
        If there are more layers than in the network, or a shape differs.
    """
    if not 0 < len(given) <= len(shapes) or not all(hasattr(pair, "__len__") and len(pair) == 2 for pair in given):
        raise ValueError(
            f"init has {len(given)} items; allowed: a name, or a pair of weights and biases for each of the lowest "
            f"layers, of which this network has {len(shapes)}, such as list(zip(other.coefs_, other.intercepts_))."
        )
    pairs = []
    for number, (pair, shape) in enumerate(zip(given, shapes, strict=False), 1):
        w, b = (np.asarray(arrays.to_host(array), np.float64) for array in pair)
        if (w.shape, b.shape) != (shape, shape[1:]):
            raise ValueError(
                f"init gives layer {number} weights of shape {w.shape} and biases of shape {b.shape}, and this network "
                f"has {shape} and {shape[1:]} there; give hidden_layer_sizes and X of the same widths, or fewer "
                "layers, as pairs such as list(zip(other.coefs_, other.intercepts_))."
            )
        pairs.append((w, b))
    return pairs


def hidden_sizes(given: Any) -> tuple[int, ...]:
    """Return the number of units in each hidden layer."""
    sizes = list(given) if hasattr(given, "__iter__") else [given]
    try:
        whole = tuple(operator.index(size) for size in sizes)
    except TypeError:
        raise TypeError(f"hidden_layer_sizes must be whole numbers, got {sizes}.") from None
    if any(size <= 0 for size in whole):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    if any(size > sys.maxsize for size in whole):
        raise ValueError(f"hidden_layer_sizes must be <= {sys.maxsize}, the most that an array can hold; lower it.")
    return whole


def compute_backend(estimator: Any, at: Backend, dtype: str) -> Backend:
    """Return the backend to compute on: `at`, unless `device` or `backend` of the estimator chooses another.

    Raises
    ------
    InputError
        If that device or backend is not available, or the precision does not go with `dtype`.
    """
    device, backend = estimator.device or "auto", estimator.backend or "auto"
    precisions.check(estimator.precision, dtype)
    if estimator.device is None and estimator.backend is None:
        if estimator.precision == "float32":
            return at
        device, backend = at.device, at.name
    device, backend = _DEVICE.checked("device", device), _BACKEND.checked("backend", backend)
    return backends.select(device, backend, dtype, estimator.precision)[0]


def by_lbfgs(estimator: Any) -> bool:
    """Whether the solver is L-BFGS; `optimizer` takes precedence over `solver`."""
    return bool(estimator.solver == "lbfgs" and estimator.optimizer is None)


def config_of(estimator: Any) -> Config:
    """Return the `Config` that is equivalent to the parameters of the estimator."""
    by_solver = {"adam": "adam_hat", "sgd": "nesterov" if estimator.nesterovs_momentum else "momentum", "lbfgs": "sgd"}
    optimizer = estimator.optimizer or by_solver[estimator.solver]
    own = [name for name in OF_OPTIMIZERS if name in OPTIMIZERS[optimizer].settings]
    names = [*own, "warmup", "decay_rate", "decay_epochs", "power_t", "weight_decay", "clip_norm"]
    given: dict[str, Any] = {"l2": estimator.alpha} | {name: getattr(estimator, name) for name in names}
    # scikit-learn accepts True and False as numbers, and `Config` does not.
    numbers: dict[str, Any] = {name: value if value is None else float(value) for name, value in given.items()}
    return _config(optimizer=optimizer, schedule=estimator.learning_rate_schedule or "constant", **numbers)


# Checking the settings takes a tenth of the time of a short call of partial_fit.
_config = functools.lru_cache(Config)


def unused_settings(estimator: Any) -> list[str]:
    """Return a message for each parameter not at its default that `optimizer` does not use."""
    if estimator.optimizer is None:
        return []
    changed = [name for name in OF_OPTIMIZERS if getattr(estimator, name) != _default(estimator, name)]
    said = [sentence for name in changed if (sentence := unused_setting(name, estimator.optimizer))]
    if (course := estimator.learning_rate) != _default(estimator, "learning_rate"):
        said.append(
            f"learning_rate={course!r} is for solver='sgd', and the optimizer {estimator.optimizer!r} takes its place; "
            "leave it out, or choose a learning_rate_schedule"
        )
    return said


def _default(estimator: Any, name: str) -> Any:
    # The constructor of a subclass may lack the parameter.
    constructors = (inspect.signature(kind).parameters for kind in type(estimator).__mro__)
    return next(known[name].default for known in constructors if name in known)
