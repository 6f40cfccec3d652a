"""Scaling of inputs and targets, and its inverse."""

from typing import Any

Array = Any


def scale(xp: Any, x: Array, shift: Array, factor: Array) -> Array:
    """``(x - shift) factor``, in the floating-point dtype of `shift`.

    Parameters
    ----------
    x : array of shape (..., n_rows, n_features)
        Values of any real dtype, such as the bytes of an image.
    shift, factor : array of shape () or (n_features,)
    """
    return (xp.astype(x, shift.dtype) - shift) * factor


def unscale(xp: Any, x: Array, shift: Array, factor: Array) -> Array:
    """``x / factor + shift``, the inverse of `scale`.

    Parameters
    ----------
    x : array of shape (..., n_rows, n_features)
    shift, factor : array of shape () or (n_features,)
    """
    return xp.astype(x, shift.dtype) / factor + shift
