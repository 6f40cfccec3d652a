"""Scaling of inputs and targets, and back."""

from typing import Any

Array = Any


def scale(xp: Any, x: Array, shift: Array, factor: Array) -> Array:
    """``(x - shift) factor``, in the floating-point type of `shift`.

    Parameters
    ----------
    x : array of shape (..., n_rows, n_features)
        Of any real type, such as the bytes of an image.
    shift, factor : array of shape () or (n_features,)
    """
    return (xp.astype(x, shift.dtype) - shift) * factor


def unscale(xp: Any, x: Array, shift: Array, factor: Array) -> Array:
    """``x / factor + shift``, which undoes `scale`.

    Parameters
    ----------
    x : array of shape (..., n_rows, n_features)
    shift, factor : array of shape () or (n_features,)
    """
    return xp.astype(x, shift.dtype) / factor + shift
