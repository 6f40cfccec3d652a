"""Batch normalisation (Ioffe and Szegedy, 2015): each unit has mean 0 and variance 1 over the rows of a batch.

It is applied before the activation, and followed by a trained scale and bias of each unit. Predictions take running
means and variances in place of those of the batch. The layer is then linear in its inputs up to the activation:
`folded` folds the normalisation into weights and biases, so that a trained network has none.
"""

from collections.abc import Callable, Sequence
from typing import Any

from mlpgpu.maths import parameters
from mlpgpu.maths.parameters import Array

NORMALIZATIONS = ("none", "batch")

# Added to the variance for numerical stability; PyTorch's default.
EPSILON = 1e-5
# Decay of the running means and variances per batch: 1 minus PyTorch's default momentum.
DECAY = 0.9


def normalized(
    xp: Any, u: Array, scale: Array, b: Array, share: Array
) -> tuple[Array, Callable[[Array], tuple[Array, Array, Array]], tuple[Array, Array]]:
    """Compute ``z = scale (u - mean) / sqrt(variance + EPSILON) + b``; return its backward pass and the moments too.

    Parameters
    ----------
    u : array of shape (..., n_rows, n_units)
    scale, b : array of shape (..., n_units)
    share : array of shape (..., n_rows)
        Weight of each row in mean and variance; the weights sum to 1, and that of a padding row is 0.

    Returns
    -------
    z : array of shape (..., n_rows, n_units)
    backward : callable
        ``dz -> (du, db, dscale)``.
    moments : (array, array)
        Mean and variance, each of shape (..., n_units).
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
    """Append the initial parameters of the normalised layers to drawn weights and biases.

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


def running_moments(
    xp: Any,
    params: Array,
    sizes: Sequence[int],
    which: Sequence[bool],
    moments: Sequence[tuple[Array, Array]],
    weights: Array,
) -> Array:
    """Update the running means and variances, which `params` end with, with those of one more batch.

    They are exponential moving averages with `DECAY` per batch, and corrected for the bias of their start at 0 and 1.
    A batch of smaller total weight than the largest, such as a short last one, counts in proportion. The variance is
    the biased one that normalises the batch in training, as in Keras, not the unbiased one of the paper, since a weight
    stands for a repeated row.

    Parameters
    ----------
    params : array of shape (..., n_parameters)
    sizes, which
        See `mlpgpu.maths.parameters.layout`.
    moments : sequence of (array, array)
        Batch mean and variance of each normalised layer, each of shape (..., n_units).
    weights : array of shape (..., n_rows)
        Weight of each row of the batch; 0 for a padding row.

    Returns
    -------
    array of shape (..., 2 n + 2)
        The blocks ``mean``, ``variance``, ``seen`` and ``largest`` of all n normalised units: see
        `mlpgpu.maths.parameters.layout`.
    """
    start = parameters.count(sizes, which) - 2 * parameters.count_normalized(sizes, which) - 2
    running, seen, largest = params[..., start:-2], params[..., -2:-1], params[..., -1:]
    batch = xp.concat([*(mean for mean, _ in moments), *(variance for _, variance in moments)], axis=-1)
    total = xp.sum(weights, axis=-1, keepdims=True)
    largest = xp.maximum(largest, total)
    share = (1 - DECAY) * total / xp.where(largest > 0, largest, xp.ones_like(largest))
    seen = seen + share * (1 - seen)
    rate = share / xp.where(seen > 0, seen, xp.ones_like(seen))
    return xp.concat([running + rate * (batch - running), seen, largest], axis=-1)


def folded(xp: Any, params: Array, sizes: Sequence[int], which: Sequence[bool]) -> Array:
    """Fold the normalisation into weights and biases that give the same predictions.

    Parameters
    ----------
    params : array of shape (..., n_parameters)
    sizes, which
        See `mlpgpu.maths.parameters.layout`.

    Returns
    -------
    array of shape (..., n_weights_and_biases)
        `params` themselves if no layer is normalised, or if normalisation is folded in already.
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
