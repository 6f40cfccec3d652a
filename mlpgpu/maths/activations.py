"""Activation functions, each with its derivative beside it.

A new activation is two functions and one entry in `ACTIVATIONS`: its value ``y(z)``, and its
derivative ``dy/dz`` written in the pre-activation `z` or the activation `y`, whichever is shorter.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

Array = Any


class Activation(NamedTuple):
    """An activation function.

    Attributes
    ----------
    value : callable
        ``value(xp, z)``, elementwise.
    derivative : callable or None
        ``derivative(xp, z, y)``, elementwise; None for an activation that cannot be trained.
    init : str
        Name of the initialisation that keeps the variance of the outputs steady from layer to layer.
    """

    value: Callable[[Any, Array], Array]
    derivative: Callable[[Any, Array, Array], Array] | None
    init: str = "glorot_uniform"


def identity(xp: Any, z: Array) -> Array:
    """``z``."""
    return z


def identity_derivative(xp: Any, z: Array, y: Array) -> Array:
    """``1``."""
    return xp.ones_like(z)


def logistic(xp: Any, z: Array) -> Array:
    """``1 / (1 + exp(-z))``, to full relative accuracy and without overflow for `z` of either sign."""
    e = xp.exp(-xp.abs(z))
    return xp.where(z >= 0, xp.ones_like(e), e) / (1 + e)


def logistic_derivative(xp: Any, z: Array, y: Array) -> Array:
    """``y (1 - y)``."""
    return y * (1 - y)


def tanh(xp: Any, z: Array) -> Array:
    """Hyperbolic tangent."""
    return xp.tanh(z)


def tanh_derivative(xp: Any, z: Array, y: Array) -> Array:
    """``1 - y²``."""
    return 1 - y * y


def relu(xp: Any, z: Array) -> Array:
    """``max(z, 0)``."""
    return xp.maximum(z, 0)


def relu_derivative(xp: Any, z: Array, y: Array) -> Array:
    """``1`` where ``y > 0``, else ``0``, which includes ``z = 0``."""
    return xp.astype(y > 0, y.dtype)


LEAK = 0.01


def leaky_relu(xp: Any, z: Array) -> Array:
    """``max(z, 0.01 z)`` (Maas et al., 2013)."""
    return xp.maximum(z, LEAK * z)


def leaky_relu_derivative(xp: Any, z: Array, y: Array) -> Array:
    """``1`` where ``y > 0``, else ``0.01``."""
    return LEAK + (1 - LEAK) * xp.astype(y > 0, y.dtype)


def elu(xp: Any, z: Array) -> Array:
    """``z`` where positive, else ``exp(z) - 1`` (Clevert et al., 2016)."""
    return xp.maximum(z, 0) + xp.expm1(xp.minimum(z, 0))


def elu_derivative(xp: Any, z: Array, y: Array) -> Array:
    """``1`` where positive, else ``exp(z)``, which is ``y + 1``."""
    return xp.minimum(y, 0) + 1


# They make mean 0 and variance 1 a fixed point (Klambauer et al., 2017, equation 14).
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def selu(xp: Any, z: Array) -> Array:
    """``1.0507 z`` where positive, else ``1.7581 (exp(z) - 1)`` (Klambauer et al., 2017)."""
    return SELU_SCALE * (xp.maximum(z, 0) + SELU_ALPHA * xp.expm1(xp.minimum(z, 0)))


def selu_derivative(xp: Any, z: Array, y: Array) -> Array:
    """``1.0507`` where positive, else ``y + 1.7581``."""
    return xp.where(y > 0, xp.full_like(y, SELU_SCALE), y + SELU_SCALE * SELU_ALPHA)


GELU_SLOPE, GELU_CUBIC = math.sqrt(2 / math.pi), 0.044715


def gelu(xp: Any, z: Array) -> Array:
    """``z Φ(z)`` in its tanh approximation (Hendrycks and Gimpel, 2016): the array API standard has no erf."""
    return 0.5 * z * (1 + xp.tanh(GELU_SLOPE * (z + GELU_CUBIC * z * z * z)))


def gelu_derivative(xp: Any, z: Array, y: Array) -> Array:
    """Derivative of the tanh approximation."""
    t = xp.tanh(GELU_SLOPE * (z + GELU_CUBIC * z * z * z))
    return 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * GELU_SLOPE * (1 + 3 * GELU_CUBIC * z * z)


def silu(xp: Any, z: Array) -> Array:
    """``z logistic(z)``, also known as swish."""
    return z * logistic(xp, z)


def silu_derivative(xp: Any, z: Array, y: Array) -> Array:
    """``s + y (1 - s)`` with ``s = logistic(z)``."""
    s = logistic(xp, z)
    return s + y * (1 - s)


def softplus(xp: Any, z: Array) -> Array:
    """``log(1 + exp(z))``, without overflow."""
    return xp.maximum(z, 0) + xp.log1p(xp.exp(-xp.abs(z)))


def softplus_derivative(xp: Any, z: Array, y: Array) -> Array:
    """``logistic(z)``."""
    return logistic(xp, z)


def step(xp: Any, z: Array) -> Array:
    """``1`` where ``z > 0``, else ``0``: the perceptron's activation, for the forward pass only."""
    return xp.astype(z > 0, z.dtype)


ACTIVATIONS: dict[str, Activation] = {
    "identity": Activation(identity, identity_derivative),
    "logistic": Activation(logistic, logistic_derivative),
    "tanh": Activation(tanh, tanh_derivative),
    "relu": Activation(relu, relu_derivative, "he_uniform"),
    "leaky_relu": Activation(leaky_relu, leaky_relu_derivative, "he_uniform"),
    "elu": Activation(elu, elu_derivative, "he_uniform"),
    "selu": Activation(selu, selu_derivative, "lecun_normal"),
    "gelu": Activation(gelu, gelu_derivative, "he_uniform"),
    "silu": Activation(silu, silu_derivative, "he_uniform"),
    "softplus": Activation(softplus, softplus_derivative),
    "step": Activation(step, None),
}
TRAINABLE = tuple(name for name, known in ACTIVATIONS.items() if known.derivative)
