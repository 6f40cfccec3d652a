"""Optimizers: elementwise update rules on the flat parameter vector.

A new optimizer is one function and one entry in `OPTIMIZERS`. A rule takes ``(xp, params, grads, slots, rate, t)``:
`slots` are the arrays that it keeps between steps, `rate` is the learning rate, and `t` is the number of this step,
from 1. `rate` and `t` are arrays that broadcast against `params`. The rule's own settings are keyword-only. It returns
the new ``(params, slots)``.

A moving average ``m = β m + (1 - β) g`` is kept as ``m / (1 - β)``. The factor ``1 - β`` and the bias correction then
scale the learning rate, a scalar, instead of arrays of all parameters.
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
        Number of arrays like `params` that the rule keeps; all start at zero.
    update : callable
        Update rule, as this module describes it.
    learning_rate : float
        Default learning rate, chosen for scaled data.
    weight_decay : float
        Default of the decoupled weight decay.
    """

    n_slots: int
    update: Callable[..., tuple[Array, Slots]]
    learning_rate: float
    weight_decay: float = 0.0

    @property
    def settings(self) -> dict[str, float]:
        """Default of each setting of the rule, by name."""
        return dict(self.update.__kwdefaults__ or {})

    def init(self, xp: Any, params: Array) -> Slots:
        """Return the slots before the first step."""
        return tuple(xp.zeros_like(params) for _ in range(self.n_slots))


def one_minus_power(xp: Any, beta: float, t: Array) -> Array:
    """``1 - beta^t``, the bias correction of a moving average, accurate in float32 too."""
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
    """RMSProp (Hinton, 2012): ``s = β₂ s + (1 - β₂) g²``, then ``p - rate g / (sqrt(s) + ε)``."""
    square, unit = beta_2 * slots[0] + grads * grads, 1 / math.sqrt(1 - beta_2)
    return params - rate * unit * grads / (xp.sqrt(square) + epsilon * unit), (square,)


def adagrad(
    xp: Any, params: Array, grads: Array, slots: Slots, rate: Array, t: Array, *, epsilon: float = 1e-10
) -> tuple[Array, Slots]:
    """Adagrad (Duchi et al., 2011): ``s = s + g²``, then ``p - rate g / (sqrt(s) + ε)``."""
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
    """Adam in the order of section 2 of its paper: ε̂ is not bias-corrected, as in scikit-learn and Keras."""
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
    # `β₁ m + (1 - β₁) g` divided by `1 - β₁`, which leaves the sign; slots[0] is `m / (1 - β₂)`.
    direction = xp.sign(beta_1 * (1 - beta_2) / (1 - beta_1) * slots[0] + grads)
    return params - rate * direction, (beta_2 * slots[0] + grads,)


# AdamW (Loshchilov and Hutter, 2019) is Adam with decoupled weight decay, which a step applies for any optimizer.
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
