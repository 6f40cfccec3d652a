"""Scores of each row: correct classifications and squared residuals."""

from typing import Any

Array = Any


def correct(xp: Any, z: Array, labels: Array) -> Array:
    """``1`` for each row whose most probable class is its label, else ``0``, from the logits; shape (..., n_rows).

    A single logit is that of class 1; of several, each is that of one class. Labels of the shape of `z`
    are multilabel, and all labels of a row must be right.
    """
    if labels.ndim == z.ndim:
        right = xp.all(xp.astype(z > 0, labels.dtype) == labels, axis=-1)
        return xp.astype(right, z.dtype)
    guess = z[..., 0] > 0 if z.shape[-1] == 1 else xp.argmax(z, axis=-1)
    return xp.astype(xp.astype(guess, labels.dtype) == labels, z.dtype)


def squared_residuals(xp: Any, prediction: Array, targets: Array) -> Array:
    """``(prediction - target)²``, shape (..., n_rows, n_outputs)."""
    error = prediction - targets
    return error * error
