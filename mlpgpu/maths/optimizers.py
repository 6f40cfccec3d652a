"""Optimizers: elementwise update rules on the flat parameter vector.

A new optimizer is one function and one entry in `OPTIMIZERS`. A rule takes ``(xp, params, grads,
slots, rate, t)``, with `slots` the arrays that it keeps between steps, `rate` the learning rate and
`t` the number of this step from 1, both arrays that broadcast against `params`; its own settings are
keyword-only. It returns the new ``(params, slots)``.

A moving average ``m = β m + (1 - β) g`` is kept as ``m / (1 - β)``, so that its weight and the bias correction
are numbers beside the learning rate and not passes over all parameters.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

Array = Any
Slots = tuple[Array, ...]


class Optimizer(NamedTuple):
    """An update rule.

    Attributes
    ----------
    n_slots : int
        How many arrays like `params` it keeps; all start at zero.
    update : callable
        The rule.
    learning_rate : float
        A rate that suits it on scaled data, used where none is given.
    weight_decay : float
        Its decoupled weight decay where none is given.
    """

    n_slots: int
    update: Callable[..., tuple[Array, Slots]]
    learning_rate: float
    weight_decay: float = 0.0

    @property
    def settings(self) -> dict[str, float]:
        """Name -> default of each of its own settings."""
        return dict(self.update.__kwdefaults__ or {})

    def init(self, xp: Any, params: Array) -> Slots:
        """The slots before the first step."""
        return tuple(xp.zeros_like(params) for _ in range(self.n_slots))


def one_minus_power(xp: Any, beta: float, t: Array) -> Array:
    """``1 - beta^t``: the bias correction of a moving average, exact also in float32."""
    return -xp.expm1(t * math.log(beta)) if beta else xp.ones_like(t)


def sgd(xp: Any, params: Array, grads: Array, slots: Slots, rate: Array, t: Array) -> tuple[Array, Slots]:
    """Gradient descent: ``p - rate g``."""
    return params - rate * grads, slots


def momentum(
    xp: Any, params: Array, grads: Array, slots: Slots, rate: Array, t: Array, *, momentum: float = 0.9
) -> tuple[Array, Slots]:
    """Polyak's momentum: ``v = μ v - rate g``, then ``p + v``."""
    velocity = momentum * slots[0] - rate * grads
    return params + velocity, (velocity,)


def nesterov(
    xp: Any, params: Array, grads: Array, slots: Slots, rate: Array, t: Array, *, momentum: float = 0.9
) -> tuple[Array, Slots]:
    """Nesterov's momentum as in Sutskever et al. (2013): ``v = μ v - rate g``, then ``p + μ v - rate g``."""
    change = rate * grads
    velocity = momentum * slots[0] - change
    return params + momentum * velocity - change, (velocity,)


def rmsprop(
    xp: Any,
    params: Array,
    grads: Array,
    slots: Slots,
    rate: Array,
    t: Array,
    *,
    beta_2: float = 0.99,
    epsilon: float = 1e-8,
) -> tuple[Array, Slots]:
    """RMSProp (Hinton, 2012): the gradient over the root of its mean square."""
    square, unit = beta_2 * slots[0] + grads * grads, 1 / math.sqrt(1 - beta_2)
    return params - rate * unit * grads / (xp.sqrt(square) + epsilon * unit), (square,)


def adagrad(
    xp: Any, params: Array, grads: Array, slots: Slots, rate: Array, t: Array, *, epsilon: float = 1e-10
) -> tuple[Array, Slots]:
    """Adagrad (Duchi et al., 2011): the gradient over the root of the sum of its squares."""
    square = slots[0] + grads * grads
    return params - rate * grads / (xp.sqrt(square) + epsilon), (square,)


def adam(
    xp: Any,
    params: Array,
    grads: Array,
    slots: Slots,
    rate: Array,
    t: Array,
    *,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-8,
) -> tuple[Array, Slots]:
    """Adam (Kingma and Ba, 2015, algorithm 1), with bias-corrected moments."""
    unit = xp.sqrt(one_minus_power(xp, beta_2, t) / (1 - beta_2))
    rate = rate * (1 - beta_1) / one_minus_power(xp, beta_1, t)
    return _moments(xp, params, grads, slots, rate * unit, epsilon * unit, beta_1, beta_2)


def adam_hat(
    xp: Any,
    params: Array,
    grads: Array,
    slots: Slots,
    rate: Array,
    t: Array,
    *,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-8,
) -> tuple[Array, Slots]:
    """Adam in the order of its paper's section 2, whose ε̂ is not bias-corrected: scikit-learn's and Keras's."""
    unit = 1 / math.sqrt(1 - beta_2)
    rate = rate * (1 - beta_1) * xp.sqrt(one_minus_power(xp, beta_2, t)) / one_minus_power(xp, beta_1, t)
    return _moments(xp, params, grads, slots, rate * unit, epsilon * unit, beta_1, beta_2)


def _moments(
    xp: Any, params: Array, grads: Array, slots: Slots, rate: Array, epsilon: Array, beta_1: float, beta_2: float
) -> tuple[Array, Slots]:
    mean, square = beta_1 * slots[0] + grads, beta_2 * slots[1] + grads * grads
    return params - rate * (mean / (xp.sqrt(square) + epsilon)), (mean, square)


def lion(
    xp: Any,
    params: Array,
    grads: Array,
    slots: Slots,
    rate: Array,
    t: Array,
    *,
    beta_1: float = 0.9,
    beta_2: float = 0.99,
) -> tuple[Array, Slots]:
    """Lion (Chen et al., 2023, algorithm 2): the sign of an interpolated momentum."""
    # The present gradient against the sum: both times a constant, which has no sign.
    direction = xp.sign(beta_1 * (1 - beta_2) / (1 - beta_1) * slots[0] + grads)
    return params - rate * direction, (beta_2 * slots[0] + grads,)


# AdamW (Loshchilov and Hutter, 2019) is Adam with the decoupled weight decay that every step can do.
OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": Optimizer(0, sgd, 0.1),
    "momentum": Optimizer(1, momentum, 0.05),
    "nesterov": Optimizer(1, nesterov, 0.05),
    "rmsprop": Optimizer(1, rmsprop, 0.001),
    "adagrad": Optimizer(1, adagrad, 0.02),
    "adam": Optimizer(2, adam, 0.004),
    "adamw": Optimizer(2, adam, 0.004, weight_decay=0.01),
    "adam_hat": Optimizer(2, adam_hat, 0.004),
    "lion": Optimizer(1, lion, 0.0005),
}
