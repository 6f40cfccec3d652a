"""The random generator of a fit, and the initial parameters that are drawn from it."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from mlpgpu.errors import InputError, one_line
from mlpgpu.maths.parameters import count_weights, join, split
from mlpgpu.protocol import memory, parity
from mlpgpu.protocol.choices import checked_pairs
from mlpgpu.training import initial
from mlpgpu.training.checkpoint import Checkpoint


def generator(estimator: Any, resume: Checkpoint | None) -> np.random.RandomState:
    """Return the random generator; in a resumed fit, in its state at the start of the original fit.

    That of the user is put into this state, so that later fits draw from it as if this one had never stopped.

    Raises
    ------
    ValueError
        If that state is not known, or not valid.
    """
    given = estimator.random_state
    known = None if resume is None else (resume.model.estimator or {}).get("drawn_from")
    if known is not None:
        own = isinstance(given, np.random.RandomState) and state_of(given) is not None
        return _restored(known, given if own else np.random.RandomState())
    if resume is not None and not isinstance(given, Integral):
        raise ValueError(
            f"random_state is {given!r}, and the checkpoint does not hold the random generator of its fit; start a new "
            "fit, with a whole number, which can always be resumed."
        )
    return check_random_state(given)


def state_of(random_state: np.random.RandomState) -> dict[str, Any] | None:
    """Return the state from which `generator` restores a generator; None if that is not a Mersenne Twister."""
    state: Any = random_state.get_state(legacy=False)
    if state["bit_generator"] != "MT19937":
        return None
    return {"key": state["state"]["key"].tolist(), "position": int(state["state"]["pos"])}


def _restored(known: Any, found: np.random.RandomState) -> np.random.RandomState:
    """Return `found` in a known state, but for a normal number that it may have drawn in advance: a fit draws none."""
    state: Any = found.get_state(legacy=False)
    try:
        key, position = np.array(known["key"], np.uint32), known["position"]
        # NumPy does not check the position, and reads past the end of the key.
        if key.shape != (624,) or type(position) is not int or not 0 <= position <= 624:
            raise ValueError(f"position {position!r} in a key of shape {key.shape}")
        found.set_state({**state, "state": {"key": key, "pos": position}})
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"the checkpoint is damaged: it holds no random generator ({one_line(error)})") from None
    return found


def seed(random_state: np.random.RandomState) -> int:
    """Draw a seed, for what has a generator of its own: dropout, and initial weights other than scikit-learn's."""
    return int(random_state.randint(np.iinfo(np.int32).max))


def params(
    estimator: Any, activations: Sequence[str], sizes: tuple[int, ...], random_state: np.random.RandomState
) -> np.ndarray:
    """Draw the initial weights and biases, by scikit-learn's rule unless the estimator names or holds others.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
    activations : sequence of str
        Activation of each hidden layer.
    sizes : tuple of int
        Number of units of each layer, from the inputs to the outputs.
    random_state : RandomState

    Returns
    -------
    array of shape (n_parameters,)

    Raises
    ------
    InputError
        If they do not fit into memory.
    """
    memory.check_drawing(sizes)
    named = isinstance(estimator.init, str)
    if named:
        inits = [estimator.init] * (len(sizes) - 1)
        drawn = initial.draw(sizes, inits, seed(random_state), std=estimator.init_std)
    else:
        last = activations[-1] if activations else estimator.activation
        drawn = parity.draw(random_state, sizes, [*activations, last])
    if estimator.bias_init is not None:
        drawn[count_weights(sizes) :] = estimator.bias_init
    if not named and estimator.init is not None:
        layers = split(np, drawn, sizes)
        given = checked_pairs(estimator.init, [w.shape for w, _ in layers])
        drawn = join(np, [*given, *layers[len(given) :]])
    return drawn
