"""How matrix products round their operands: to TF32 or bfloat16 numbers, whose products add up in float32.

All else stays float32: weights, what an optimizer keeps, activations. Where a device has no such products they are
emulated by rounding operands to as many bits: a run there shows what the precision does to a network, and is no faster.
"""

from collections.abc import Callable
from typing import Any

from mlpgpu.errors import InputError

Array = Any

# Explicit bits of a significand; float32 has 23.
BITS = {"tf32": 10, "bf16": 7}
PRECISIONS = ("float32", *BITS)
# From here up a number is left as it is: the largest would overflow on the way.
LARGE = 2.0**100


class Namespace:
    """An array library's namespace with some functions of its own.

    Parameters
    ----------
    xp : namespace
        Has all the others.
    **own : callable
        Name -> function.
    """

    def __init__(self, xp: Any, **own: Callable[..., Array]) -> None:
        self._xp = xp
        vars(self).update(own)

    def __getattr__(self, name: str) -> Any:
        if "_xp" not in vars(self):
            # What copies this asks before anything is set.
            raise AttributeError(name)
        return getattr(self._xp, name)


def check(precision: str, dtype: str) -> None:
    """Refuse a precision that the floating-point type does not go with.

    Raises
    ------
    InputError
        Where products of float64 numbers are to be rounded.
    """
    if precision != "float32" and dtype != "float32":
        raise InputError(
            f"precision {precision!r} is for dtype float32, and dtype is {dtype!r}; choose dtype float32, or leave out "
            "precision"
        )


def rounded(xp: Any, array: Array, bits: int) -> Array:
    """The nearest numbers of fewer bits, of two that are as near the even one.

    Parameters
    ----------
    array : float32 array
    bits : int
        Explicit bits of their significands.

    Returns
    -------
    float32 array
        Infinite numbers, NaN and numbers of `LARGE` or more as they were; those too small to be normal keep more bits.
    """
    # Veltkamp's splitting (Dekker, 1971) with a power of two as its factor, so that the product is exact: a compiler
    # that multiplies and adds in one operation gets the same numbers, and halves go to the even one.
    shifted = array * 2.0 ** (23 - bits)
    return xp.where(xp.abs(array) < LARGE, shifted - (shifted - array), array)


def emulated(xp: Any, precision: str) -> Any:
    """`xp`, its `matmul` with rounded operands; `xp` itself for float32."""
    if precision == "float32":
        return xp
    bits = BITS[precision]
    return Namespace(xp, matmul=lambda a, b: xp.matmul(rounded(xp, a, bits), rounded(xp, b, bits)))


def in_words(precision: str, *, emulated: bool) -> str:
    """What the description of a backend ends with."""
    how = " (emulated, no faster)" if emulated else ""
    return "" if precision == "float32" else f", {precision} products{how}"
