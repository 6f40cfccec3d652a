"""Batch normalisation: each unit of mean 0 and variance 1 over the rows of a batch, before its activation.

What comes of it is scaled and shifted again, by parameters of the unit (Ioffe and Szegedy, 2015). Predictions take the
means and variances of the batches so far instead, and the layer is then linear in its inputs: `folded` makes weights
and biases of it all, so that a trained network is one without normalisation.
"""

from collections.abc import Callable, Sequence
from typing import Any

from mlpgpu.maths import parameters
from mlpgpu.maths.parameters import Array

NORMALIZATIONS = ("none", "batch")

# Added to a variance before its root is divided by, as in PyTorch.
EPSILON = 1e-5
# What a batch leaves of the means and variances before it: one less PyTorch's momentum.
DECAY = 0.9


def normalized(
    xp: Any, u: Array, scale: Array, b: Array, share: Array
) -> tuple[Array, Callable[[Array], tuple[Array, Array, Array]], tuple[Array, Array]]:
    """``z = scale (u - mean) / sqrt(variance + EPSILON) + b``, its way back, and mean and variance.

    Parameters
    ----------
    u : array of shape (..., n_rows, n_units)
    scale, b : array of shape (..., n_units)
    share : array of shape (..., n_rows)
        That of each row in mean and variance: 1 in all, and 0 for a padding row.

    Returns
    -------
    z : array of shape (..., n_rows, n_units)
    backward : callable
        ``dz -> (du, db, dscale)``.
    moments : (array, array)
        Each of shape (..., n_units).
    """
    p = share[..., None]
    mean = xp.sum(p * u, axis=-2)
    centred = u - mean[..., None, :]
    variance = xp.sum(p * (centred * centred), axis=-2)
    inverse = 1 / xp.sqrt(variance + EPSILON)
    n = centred * inverse[..., None, :]
    z = n * scale[..., None, :] + b[..., None, :]

    def backward(dz: Array) -> tuple[Array, Array, Array]:
        db, dscale = xp.sum(dz, axis=-2), xp.sum(dz * n, axis=-2)
        du = (dz - p * (db[..., None, :] + n * dscale[..., None, :])) * (scale * inverse)[..., None, :]
        return du, db, dscale

    return z, backward, (mean, variance)


def begin(xp: Any, params: Array, sizes: Sequence[int], which: Sequence[bool]) -> Array:
    """`params` of a network as it is drawn, with what its normalised layers begin with after them.

    Parameters
    ----------
    params : array of shape (..., n_parameters)
        Weights and biases.
    sizes, which
        See `mlpgpu.maths.parameters.layout`.
    """
    if not any(which):
        return params
    n_units = parameters.count_normalized(sizes, which)
    ones, zeros = xp.ones_like(params[..., :n_units]), xp.zeros_like(params[..., :n_units])
    return xp.concat([params, ones, zeros, ones, zeros[..., :1], zeros[..., :1]], axis=-1)


def followed(
    xp: Any,
    params: Array,
    sizes: Sequence[int],
    which: Sequence[bool],
    moments: Sequence[tuple[Array, Array]],
    weights: Array,
) -> Array:
    """Running means and variances after one more batch: what `params` end with.

    They are averages whose weights fall by `DECAY` with each batch, and less with one of smaller weight than the
    largest, such as a short last one; what they begin with has no weight. The variance is that which the layer was
    trained with, as in Keras, and not the unbiased one of the paper: a weight is a repeated row.

    Parameters
    ----------
    params : array of shape (..., n_parameters)
    sizes, which
        See `mlpgpu.maths.parameters.layout`.
    moments : sequence of (array, array)
        Mean and variance of each normalised layer in the batch, each of shape (..., n_units).
    weights : array of shape (..., n_rows)
        Of its rows; 0 for a padding row.

    Returns
    -------
    array of shape (..., 2 n + 2)
        Of all n normalised units.
    """
    begins = parameters.count(sizes, which) - 2 * parameters.count_normalized(sizes, which) - 2
    held, seen, largest = params[..., begins:-2], params[..., -2:-1], params[..., -1:]
    batch = xp.concat([*(mean for mean, _ in moments), *(variance for _, variance in moments)], axis=-1)
    total = xp.sum(weights, axis=-1, keepdims=True)
    largest = xp.maximum(largest, total)
    share = (1 - DECAY) * total / xp.where(largest > 0, largest, xp.ones_like(largest))
    seen = seen + share * (1 - seen)
    rate = share / xp.where(seen > 0, seen, xp.ones_like(seen))
    return xp.concat([held + rate * (batch - held), seen, largest], axis=-1)


def folded(xp: Any, params: Array, sizes: Sequence[int], which: Sequence[bool]) -> Array:
    """Weights and biases of the network without normalisation that predicts the same.

    Parameters
    ----------
    params : array of shape (..., n_parameters)
    sizes, which
        See `mlpgpu.maths.parameters.layout`.

    Returns
    -------
    array of shape (..., n_weights_and_biases)
        `params` themselves where no layer is normalised, or they are such weights and biases already.
    """
    if params.shape[-1] == parameters.count(sizes):
        return params
    pairs = []
    for (w, b), unit in zip(
        parameters.split(xp, params, sizes), parameters.split_units(params, sizes, which), strict=True
    ):
        if unit is not None:
            factor = unit.scale / xp.sqrt(unit.variance + EPSILON)
            w, b = w * factor[..., None, :], b - unit.mean * factor
        pairs.append((w, b))
    return parameters.join(xp, pairs)
