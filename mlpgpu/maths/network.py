"""The network: forward once, and the way back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlpgpu.maths import parameters
from mlpgpu.maths.activations import ACTIVATIONS, Activation
from mlpgpu.maths.losses import Loss
from mlpgpu.maths.parameters import Array, Pair


@dataclass(frozen=True)
class Network:
    """What a multilayer perceptron is, apart from its parameters.

    Attributes
    ----------
    sizes : tuple of int
        Units of each layer, from the inputs to the outputs.
    activations : tuple of Activation
        One for each hidden layer.
    loss : Loss
        Its link is the activation of the outputs.
    frozen : int
        Lowest layers that stay as they are: their gradient is zero, without a penalty, and the way back ends above
        them.
    """

    sizes: tuple[int, ...]
    activations: tuple[Activation, ...]
    loss: Loss
    frozen: int = 0


def dense(
    xp: Any, activation: Activation, w: Array, b: Array, x: Array, mask: Array | None
) -> tuple[Array, Callable[[Array], tuple[Pair, Callable[[], Array]]]]:
    """One layer: ``y = activation(mask x w + b)``, and its own way back.

    Parameters
    ----------
    w : array of shape (..., fan_in, fan_out)
    b : array of shape (..., fan_out)
    x : array of shape (..., n_rows, fan_in)
    mask : array that broadcasts against `x`, or None

    Returns
    -------
    y : array of shape (..., n_rows, fan_out)
    backward : callable
        ``dy -> (dw, db), dx``, where `dx` is a function: the first layer's is never called.
    """
    if mask is not None:
        x = x * mask
    z = xp.matmul(x, w) + b[..., None, :]
    y = activation.value(xp, z)

    def backward(dy: Array) -> tuple[Pair, Callable[[], Array]]:
        assert activation.derivative is not None
        dz = dy * activation.derivative(xp, z, y)
        dw = xp.matmul(xp.matrix_transpose(x), dz)
        db = xp.sum(dz, axis=-2)

        def dx() -> Array:
            product = xp.matmul(dz, xp.matrix_transpose(w))
            return product if mask is None else product * mask

        return (dw, db), dx

    return y, backward


def forward(
    xp: Any, network: Network, params: Array, x: Array, masks: Sequence[Array | None] = ()
) -> tuple[Array, Callable[[Array], list[Pair]]]:
    """Logits of the rows of `x`, and the way back from their gradient.

    Parameters
    ----------
    params : array of shape (..., n_parameters)
    x : array of shape (..., n_rows, n_features)
    masks : sequence of array or None
        Dropout masks of the inputs of each layer, 0 or ``1 / (1 - rate)``; empty for no dropout.

    Returns
    -------
    z : array of shape (..., n_rows, n_outputs)
    backward : callable
        ``dz -> [(dw, db), ...]``, first layer first.
    """
    layers = parameters.split(xp, params, network.sizes)
    activations = (*network.activations, ACTIVATIONS["identity"])
    ways_back = []
    for (w, b), activation, mask in zip(layers, activations, masks or [None] * len(layers), strict=True):
        x, back = dense(xp, activation, w, b, x, mask)
        ways_back.append(back)

    def backward(dz: Array) -> list[Pair]:
        pairs = []
        gradient = lambda: dz  # noqa: E731
        for back in reversed(ways_back[network.frozen :]):
            pair, gradient = back(gradient())
            pairs.append(pair)
        return [(xp.zeros_like(w), xp.zeros_like(b)) for w, b in layers[: network.frozen]] + pairs[::-1]

    return x, backward


def hidden(xp: Any, network: Network, params: Array, x: Array, layer: int) -> Array:
    """Activations of one hidden layer, shape (..., n_rows, units).

    Parameters
    ----------
    layer : int
        Its index, from 0 for the one next to the inputs.
    """
    layers = parameters.split(xp, params, network.sizes)
    for (w, b), activation in zip(layers[: layer + 1], network.activations, strict=False):
        x, _ = dense(xp, activation, w, b, x, None)
    return x


def logits(xp: Any, network: Network, params: Array, x: Array) -> Array:
    """What the link makes a prediction of, shape (..., n_rows, n_outputs)."""
    return forward(xp, network, params, x)[0]


def predict(xp: Any, network: Network, params: Array, x: Array) -> Array:
    """Probabilities or expected targets, shape (..., n_rows, n_outputs)."""
    return network.loss.link(xp, logits(xp, network, params, x))


def loss_and_gradient(
    xp: Any,
    network: Network,
    params: Array,
    x: Array,
    targets: Array,
    weights: Array,
    masks: Sequence[Array | None] = (),
    l2: float = 0.0,
) -> tuple[Array, Array]:
    """Weighted mean loss of the rows with its L2 penalty, and its gradient.

    With row losses ``l`` and row weights ``s`` this is ``(sum s l + l2/2 sum w²) / sum s``: the penalty of
    scikit-learn's ``alpha``, biases free.

    Parameters
    ----------
    params : array of shape (..., n_parameters)
    x : array of shape (..., n_rows, n_features)
    targets : array
        As the loss takes them: see `mlpgpu.maths.losses`.
    weights : array of shape (..., n_rows)
        Not negative; 0 for a padding row. Where all are 0, so are the loss and its gradient.

    Returns
    -------
    loss : array of shape (...)
    gradient : array of shape (..., n_parameters)
    """
    z, backward = forward(xp, network, params, x, masks)
    rows, dz = network.loss.rows(xp, z, targets)
    total = xp.sum(weights, axis=-1)
    share = xp.where(total > 0, 1 / xp.where(total > 0, total, xp.ones_like(total)), xp.zeros_like(total))
    loss = xp.sum(weights * rows, axis=-1) * share
    pairs = backward(dz * (weights * share[..., None])[..., None])
    if l2:
        strength = l2 * share
        n, layers = network.frozen, parameters.split(xp, params, network.sizes)
        loss = loss + 0.5 * strength * sum(xp.sum(w * w, axis=(-2, -1)) for w, _ in layers[n:])
        trained = zip(pairs[n:], layers[n:], strict=True)
        pairs = pairs[:n] + [(dw + strength[..., None, None] * w, db) for (dw, db), (w, _) in trained]
    return loss, parameters.join(xp, pairs)
