"""The forward and backward pass of the network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlpgpu.maths import normalization, parameters
from mlpgpu.maths.activations import ACTIVATIONS, Activation
from mlpgpu.maths.losses import Loss
from mlpgpu.maths.parameters import Array


@dataclass(frozen=True)
class Network:
    """A multilayer perceptron without its parameters.

    Attributes
    ----------
    sizes : tuple of int
        Number of units of each layer, from the inputs to the outputs.
    activations : tuple of Activation
        Activation of each hidden layer.
    loss : Loss
        Loss, whose link is the activation of the outputs.
    frozen : int
        Number of layers, from the inputs, that are not trained. Their gradient is zero, they have no L2 penalty, and
        the backward pass ends above them. None of them is normalised.
    normalized : tuple of bool
        Whether each hidden layer is batch-normalised; empty if none is.
    """

    sizes: tuple[int, ...]
    activations: tuple[Activation, ...]
    loss: Loss
    frozen: int = 0
    normalized: tuple[bool, ...] = ()


def dense(
    xp: Any,
    activation: Activation,
    w: Array,
    b: Array,
    x: Array,
    mask: Array | None,
    scale: Array | None = None,
    share: Array | None = None,
) -> tuple[Array, Callable[[Array], tuple[tuple[Array, ...], Callable[[], Array]]], tuple[Array, Array] | None]:
    """Compute one layer, ``y = activation((mask x) w + b)``, and return its backward pass.

    Parameters
    ----------
    w : array of shape (..., fan_in, fan_out)
    b : array of shape (..., fan_out)
    x : array of shape (..., n_rows, fan_in)
    mask : array that broadcasts against `x`, or None
    scale : array of shape (..., fan_out) or None
        Scale of batch normalisation; None for a layer without it.
    share : array of shape (..., n_rows) or None
        Weight of each row in the batch statistics of normalisation; the weights sum to 1.

    Returns
    -------
    y : array of shape (..., n_rows, fan_out)
    backward : callable
        ``dy -> (dw, db), dx``, with ``dscale`` after `db` in a normalised layer. `dx` is a function, so that the
        gradient of the first layer's inputs is never computed.
    moments : (array, array) or None
        Batch mean and variance of each unit of a normalised layer.
    """
    if mask is not None:
        x = x * mask
    u, moments = xp.matmul(x, w), None
    if scale is None:
        z = u + b[..., None, :]
    else:
        z, normalized_backward, moments = normalization.normalized(xp, u, scale, b, share)
    # A user's own function may return another dtype, for example from `xp.where` of two numbers.
    y = xp.astype(activation.value(xp, z), z.dtype, copy=False)

    def backward(dy: Array) -> tuple[tuple[Array, ...], Callable[[], Array]]:
        assert activation.derivative is not None
        dz = dy * xp.astype(activation.derivative(xp, z, y), z.dtype, copy=False)
        du, *gradients = (dz, xp.sum(dz, axis=-2)) if scale is None else normalized_backward(dz)
        dw = xp.matmul(xp.matrix_transpose(x), du)

        def dx() -> Array:
            product = xp.matmul(du, xp.matrix_transpose(w))
            return product if mask is None else product * mask

        return (dw, *gradients), dx

    return y, backward, moments


def forward(
    xp: Any, network: Network, params: Array, x: Array, masks: Sequence[Array | None] = (), share: Array | None = None
) -> tuple[Array, Callable[[Array], list[tuple[Array, ...]]], list[tuple[Array, Array]]]:
    """Compute the logits of the rows of `x`, and return the backward pass.

    Parameters
    ----------
    params : array of shape (..., n_parameters)
    x : array of shape (..., n_rows, n_features)
    masks : sequence of array or None
        Dropout mask of the inputs of each layer, 0 or ``1 / (1 - rate)``; empty for no dropout.
    share : array of shape (..., n_rows) or None
        Weight of each row in the batch statistics of normalised layers; the weights sum to 1. None if no layer is
        normalised, or if normalisation is folded into `params`.

    Returns
    -------
    z : array of shape (..., n_rows, n_outputs)
    backward : callable
        ``dz -> [(dw, db), ...]``, first layer first, with ``dscale`` after `db` for a normalised layer.
    moments : list of (array, array)
        Batch mean and variance of each normalised layer.
    """
    layers = parameters.split(xp, params, network.sizes)
    activations = (*network.activations, ACTIVATIONS["identity"])
    units = parameters.split_units(params, network.sizes, () if share is None else network.normalized)
    backwards, moments = [], []
    for (w, b), unit, activation, mask in zip(layers, units, activations, masks or [None] * len(layers), strict=True):
        x, layer_backward, layer_moments = dense(xp, activation, w, b, x, mask, unit and unit.scale, share)
        backwards.append(layer_backward)
        if layer_moments is not None:
            moments.append(layer_moments)

    def backward(dz: Array) -> list[tuple[Array, ...]]:
        gradients: list[tuple[Array, ...]] = []
        dy = lambda: dz  # noqa: E731
        for layer_backward in reversed(backwards[network.frozen :]):
            layer_gradients, dy = layer_backward(dy())
            gradients.append(layer_gradients)
        return [(xp.zeros_like(w), xp.zeros_like(b)) for w, b in layers[: network.frozen]] + gradients[::-1]

    return x, backward, moments


def hidden(xp: Any, network: Network, params: Array, x: Array, layer: int) -> Array:
    """Compute the activations of one hidden layer, of shape (..., n_rows, n_units).

    Parameters
    ----------
    layer : int
        Index of the hidden layer; 0 is the layer next to the inputs.
    """
    layers = parameters.split(xp, plain(xp, network, params), network.sizes)
    for (w, b), activation in zip(layers[: layer + 1], network.activations, strict=False):
        x, *_ = dense(xp, activation, w, b, x, None)
    return x


def plain(xp: Any, network: Network, params: Array) -> Array:
    """Return the weights and biases with normalisation folded in; `params` themselves if no layer is normalised."""
    return normalization.folded(xp, params, network.sizes, network.normalized)


def logits(xp: Any, network: Network, params: Array, x: Array) -> Array:
    """Compute the logits of a prediction, of shape (..., n_rows, n_outputs)."""
    return forward(xp, network, plain(xp, network, params), x)[0]


def predict(xp: Any, network: Network, params: Array, x: Array) -> Array:
    """Compute probabilities or expected targets, of shape (..., n_rows, n_outputs)."""
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
    """Compute the weighted mean loss of the rows with the L2 penalty, and its gradient.

    With losses ``l`` and weights ``s`` of the rows, the loss is ``(sum s l + l2/2 sum w²) / sum s``. The penalty is
    that of scikit-learn's ``alpha``; biases have none.

    Parameters
    ----------
    params : array of shape (..., n_parameters)
    x : array of shape (..., n_rows, n_features)
    targets : array
        Targets as the loss takes them: see `mlpgpu.maths.losses`.
    weights : array of shape (..., n_rows)
        Weight of each row, not negative; 0 for a padding row. If all are 0, the loss and its gradient are 0.

    Returns
    -------
    loss : array of shape (...)
    gradient : array of shape (..., n_parameters)
        0 for running means and variances, on which the loss of a batch does not depend.
    """
    return loss_gradient_and_moments(xp, network, params, x, targets, weights, masks, l2)[:2]


def loss_gradient_and_moments(
    xp: Any,
    network: Network,
    params: Array,
    x: Array,
    targets: Array,
    weights: Array,
    masks: Sequence[Array | None] = (),
    l2: float = 0.0,
) -> tuple[Array, Array, list[tuple[Array, Array]]]:
    """Compute `loss_and_gradient`, and the batch mean and variance of each normalised layer."""
    # Without normalisation, the shares are computed next to the losses, so that one pass over the rows does both.
    early = _shares(xp, weights) if any(network.normalized) else None
    z, backward, moments = forward(xp, network, params, x, masks, None if early is None else early[1])
    rows, dz = (xp.astype(result, z.dtype, copy=False) for result in network.loss.rows(xp, z, targets))
    inverse, shares = early or _shares(xp, weights)
    loss = xp.sum(weights * rows, axis=-1) * inverse
    gradients = backward(dz * shares[..., None])
    if l2:
        strength = l2 * inverse
        n, layers = network.frozen, parameters.split(xp, params, network.sizes)
        loss = loss + 0.5 * strength * sum(xp.sum(w * w, axis=(-2, -1)) for w, _ in layers[n:])
        trained = zip(gradients[n:], layers[n:], strict=True)
        gradients = gradients[:n] + [(dw + strength[..., None, None] * w, *rest) for (dw, *rest), (w, _) in trained]
    pairs, scales = [(dw, db) for dw, db, *_ in gradients], [dscale for _, _, *rest in gradients for dscale in rest]
    gradient = parameters.join(xp, pairs)
    if moments:
        n_trained = gradient.shape[-1] + sum(dscale.shape[-1] for dscale in scales)
        gradient = xp.concat([gradient, *scales, xp.zeros_like(params[..., n_trained:])], axis=-1)
    return loss, gradient, moments


def _shares(xp: Any, weights: Array) -> tuple[Array, Array]:
    """Return ``1 / sum weights`` and ``weights / sum weights``, both 0 if all weights are."""
    total = xp.sum(weights, axis=-1)
    some = total > 0
    inverse = xp.astype(some, total.dtype) / xp.where(some, total, xp.ones_like(total))
    return inverse, weights * inverse[..., None]
