"""Precision of matrix products: operands rounded to TF32 or bfloat16, accumulated in float32.

Everything else stays float32: weights, optimizer state, activations. On a device without TF32 or bfloat16 products
they are emulated by rounding the operands: a run there shows the effect of the precision on a network, but is no
faster.
"""

from collections.abc import Callable
from typing import Any

from mlpgpu.errors import InputError

Array = Any

# Stored bits of the significand; float32 has 23.
BITS = {"tf32": 10, "bf16": 7}
PRECISIONS = ("float32", *BITS)
# Numbers from here up are not rounded: the largest would overflow in an intermediate product.
LARGE = 2.0**100


class Namespace:
    """An array namespace with some functions replaced.

    Parameters
    ----------
    xp : namespace
        Namespace of all other functions.
    **replaced : callable
        Replacements by name.
    """

    def __init__(self, xp: Any, **replaced: Callable[..., Array]) -> None:
        self._xp = xp
        vars(self).update(replaced)

    def __getattr__(self, name: str) -> Any:
        if "_xp" not in vars(self):
            # `copy` and `pickle` look up attributes before `_xp` is set.
            raise AttributeError(name)
        return getattr(self._xp, name)


def check(precision: str, dtype: str) -> None:
    """Check that a precision is possible with the floating-point type.

    Raises
    ------
    InputError
        If products of a dtype other than float32 are to be rounded.
    """
    if precision != "float32" and dtype != "float32":
        raise InputError(
            f"precision {precision!r} is for dtype float32, and dtype is {dtype!r}; choose dtype float32, or leave out "
            "precision"
        )


def rounded(xp: Any, array: Array, bits: int) -> Array:
    """Round to fewer bits of significand, to nearest with ties to even.

    Parameters
    ----------
    array : float32 array
    bits : int
        Stored bits of the rounded significand.

    Returns
    -------
    float32 array
        Infinities, NaN and numbers of magnitude `LARGE` or more are unchanged; subnormal numbers keep more bits.
    """
    # Veltkamp's splitting (Dekker, 1971) with a power of two as its factor, so that the product is exact: a compiler
    # that fuses multiplication and addition gets the same numbers, and ties go to even.
    shifted = array * 2.0 ** (23 - bits)
    return xp.where(xp.abs(array) < LARGE, shifted - (shifted - array), array)


def emulated(xp: Any, precision: str) -> Any:
    """Return `xp` with a `matmul` that rounds its operands; `xp` itself for float32."""
    if precision == "float32":
        return xp
    bits = BITS[precision]
    return Namespace(xp, matmul=lambda a, b: xp.matmul(rounded(xp, a, bits), rounded(xp, b, bits)))


def in_words(precision: str, *, emulated: bool) -> str:
    """Return the precision as the end of a backend's description; empty for float32."""
    how = " (emulated, no faster)" if emulated else ""
    return "" if precision == "float32" else f", {precision} products{how}"
