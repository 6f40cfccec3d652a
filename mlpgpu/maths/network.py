"""The network: forward once, and the way back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlpgpu.maths import normalization, parameters
from mlpgpu.maths.activations import ACTIVATIONS, Activation
from mlpgpu.maths.losses import Loss
from mlpgpu.maths.parameters import Array


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
        them. None of them is normalised.
    normalized : tuple of bool
        Whether each hidden layer is; empty where none is.
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
    """One layer: ``y = activation(mask x w + b)``, and its own way back.

    Parameters
    ----------
    w : array of shape (..., fan_in, fan_out)
    b : array of shape (..., fan_out)
    x : array of shape (..., n_rows, fan_in)
    mask : array that broadcasts against `x`, or None
    scale : array of shape (..., fan_out) or None
        Of units that are normalised over the batch.
    share : array of shape (..., n_rows) or None
        Of each row in the means of the batch, where units are normalised.

    Returns
    -------
    y : array of shape (..., n_rows, fan_out)
    backward : callable
        ``dy -> (dw, db), dx``, with ``dscale`` after `db` where units are normalised. `dx` is a function: the first
        layer's is never called.
    moments : (array, array) or None
        Mean and variance of normalised units in the batch.
    """
    if mask is not None:
        x = x * mask
    u, moments = xp.matmul(x, w), None
    if scale is None:
        z = u + b[..., None, :]
    else:
        z, through, moments = normalization.normalized(xp, u, scale, b, share)
    # A function of a user's own may give another type, as where it chooses between two numbers.
    y = xp.astype(activation.value(xp, z), z.dtype, copy=False)

    def backward(dy: Array) -> tuple[tuple[Array, ...], Callable[[], Array]]:
        assert activation.derivative is not None
        dz = dy * xp.astype(activation.derivative(xp, z, y), z.dtype, copy=False)
        du, *gradients = (dz, xp.sum(dz, axis=-2)) if scale is None else through(dz)
        dw = xp.matmul(xp.matrix_transpose(x), du)

        def dx() -> Array:
            product = xp.matmul(du, xp.matrix_transpose(w))
            return product if mask is None else product * mask

        return (dw, *gradients), dx

    return y, backward, moments


def forward(
    xp: Any, network: Network, params: Array, x: Array, masks: Sequence[Array | None] = (), share: Array | None = None
) -> tuple[Array, Callable[[Array], list[tuple[Array, ...]]], list[tuple[Array, Array]]]:
    """Logits of the rows of `x`, and the way back from their gradient.

    Parameters
    ----------
    params : array of shape (..., n_parameters)
    x : array of shape (..., n_rows, n_features)
    masks : sequence of array or None
        Dropout masks of the inputs of each layer, 0 or ``1 / (1 - rate)``; empty for no dropout.
    share : array of shape (..., n_rows) or None
        Of each row in the means of the batch, for layers that are normalised; None where none is, or `params` have it
        folded in.

    Returns
    -------
    z : array of shape (..., n_rows, n_outputs)
    backward : callable
        ``dz -> [(dw, db), ...]``, first layer first, with ``dscale`` after `db` where one is normalised.
    moments : list of (array, array)
        Mean and variance in the batch of each normalised layer.
    """
    layers = parameters.split(xp, params, network.sizes)
    activations = (*network.activations, ACTIVATIONS["identity"])
    units = parameters.split_units(params, network.sizes, () if share is None else network.normalized)
    ways_back, moments = [], []
    for (w, b), unit, activation, mask in zip(layers, units, activations, masks or [None] * len(layers), strict=True):
        x, back, found = dense(xp, activation, w, b, x, mask, unit and unit.scale, share)
        ways_back.append(back)
        if found is not None:
            moments.append(found)

    def backward(dz: Array) -> list[tuple[Array, ...]]:
        gradients: list[tuple[Array, ...]] = []
        gradient = lambda: dz  # noqa: E731
        for back in reversed(ways_back[network.frozen :]):
            of_layer, gradient = back(gradient())
            gradients.append(of_layer)
        return [(xp.zeros_like(w), xp.zeros_like(b)) for w, b in layers[: network.frozen]] + gradients[::-1]

    return x, backward, moments


def hidden(xp: Any, network: Network, params: Array, x: Array, layer: int) -> Array:
    """Activations of one hidden layer, shape (..., n_rows, units).

    Parameters
    ----------
    layer : int
        Its index, from 0 for the one next to the inputs.
    """
    layers = parameters.split(xp, plain(xp, network, params), network.sizes)
    for (w, b), activation in zip(layers[: layer + 1], network.activations, strict=False):
        x, *_ = dense(xp, activation, w, b, x, None)
    return x


def plain(xp: Any, network: Network, params: Array) -> Array:
    """Weights and biases that predict, with normalisation folded in; `params` themselves where there is none."""
    return normalization.folded(xp, params, network.sizes, network.normalized)


def logits(xp: Any, network: Network, params: Array, x: Array) -> Array:
    """What the link makes a prediction of, shape (..., n_rows, n_outputs)."""
    return forward(xp, network, plain(xp, network, params), x)[0]


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
        0 for running means and variances, which the loss of a batch does not depend on.
    """
    return measured(xp, network, params, x, targets, weights, masks, l2)[:2]


def measured(
    xp: Any,
    network: Network,
    params: Array,
    x: Array,
    targets: Array,
    weights: Array,
    masks: Sequence[Array | None] = (),
    l2: float = 0.0,
) -> tuple[Array, Array, list[tuple[Array, Array]]]:
    """`loss_and_gradient`, and mean and variance of each normalised layer in these rows."""
    # Where nothing on the way needs them, they are worked out beside the losses: a pass less over the rows.
    early = _shares(xp, weights) if any(network.normalized) else None
    z, backward, moments = forward(xp, network, params, x, masks, None if early is None else early[1])
    rows, dz = (xp.astype(found, z.dtype, copy=False) for found in network.loss.rows(xp, z, targets))
    share, shares = early or _shares(xp, weights)
    loss = xp.sum(weights * rows, axis=-1) * share
    gradients = backward(dz * shares[..., None])
    if l2:
        strength = l2 * share
        n, layers = network.frozen, parameters.split(xp, params, network.sizes)
        loss = loss + 0.5 * strength * sum(xp.sum(w * w, axis=(-2, -1)) for w, _ in layers[n:])
        trained = zip(gradients[n:], layers[n:], strict=True)
        gradients = gradients[:n] + [(dw + strength[..., None, None] * w, *rest) for (dw, *rest), (w, _) in trained]
    pairs, scales = [(dw, db) for dw, db, *_ in gradients], [dscale for _, _, *rest in gradients for dscale in rest]
    gradient = parameters.join(xp, pairs)
    if moments:
        known = gradient.shape[-1] + sum(dscale.shape[-1] for dscale in scales)
        gradient = xp.concat([gradient, *scales, xp.zeros_like(params[..., known:])], axis=-1)
    return loss, gradient, moments


def _shares(xp: Any, weights: Array) -> tuple[Array, Array]:
    """What a weight is multiplied with to be its part of all, and these parts; 0 where all weights are."""
    total = xp.sum(weights, axis=-1)
    share = xp.where(total > 0, 1 / xp.where(total > 0, total, xp.ones_like(total)), xp.zeros_like(total))
    return share, weights * share[..., None]
