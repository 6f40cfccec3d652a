"""Elementary functions for compiled passes, free of calls and branches so that the compiler can vectorise them.

All compute in float64; a float32 result is rounded from that. Their errors in float64 are at most a few units in the
last place. Constants are those of fdlibm (Sun Microsystems, 1993).
"""

import math

import numba
import numpy as np

LOG2_E = 1 / math.log(2)
# log 2 as a sum, whose first term has so few digits that its product with an exponent is exact.
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
P1, P2, P3, P4, P5 = (
    1.66666666666666019037e-01,
    -2.77777777770155933842e-03,
    6.61375632143793436117e-05,
    -1.65339022054652515390e-06,
    4.13813679705723846039e-08,
)
L1, L2, L3, L4, L5, L6, L7 = (
    6.666666666666735130e-01,
    3.999999999940941908e-01,
    2.857142874366239149e-01,
    2.222219843214978396e-01,
    1.818357216161805012e-01,
    1.531383769920937332e-01,
    1.479819860511658591e-01,
)
# 1.5 * 2**52: adding and subtracting it rounds to an integer.
ROUND = 6755399441055744.0

inline = numba.njit(forceinline=True, error_model="numpy")


@inline
def exp(x):
    """``e^x``."""
    # Beyond these bounds the result is 0 or infinite, as it is at the bounds.
    c = -746.0 if x < -746.0 else x
    c = 710.0 if c > 710.0 else c
    n = (c * LOG2_E + ROUND) - ROUND
    high, low = c - n * LN2_HIGH, n * LN2_LOW
    r = high - low
    t = r * r
    q = r - t * (P1 + t * (P2 + t * (P3 + t * (P4 + t * P5))))
    y = 1.0 - ((low - (r * q) / (2.0 - q)) - high)
    # In two factors, since 2^n alone may be out of range.
    half = np.int64(n) >> 1
    rest = np.int64(n) - half
    return y * np.int64((half + 1023) << 52).view(np.float64) * np.int64((rest + 1023) << 52).view(np.float64)


@inline
def expm1(x):
    """``e^x - 1``, of full relative accuracy also near 0."""
    # Up to half of log 2, the rational function of `exp`, but without adding 1, which would lose digits.
    t = x * x
    q = x - t * (P1 + t * (P2 + t * (P3 + t * (P4 + t * P5))))
    small = x + x * q / (2.0 - q)
    large = exp(x) - 1.0
    y = small if abs(x) < 0.35 else large
    # Keep the sign of zero.
    return x if x == 0.0 else y


@inline
def log(x):
    """``log x``."""
    scaled = x * 18014398509481984.0 if x < 2.2250738585072014e-308 else x
    shift = -54 if x < 2.2250738585072014e-308 else 0
    bits = np.float64(scaled).view(np.int64)
    # Scale the mantissa to between sqrt(1/2) and sqrt(2).
    k = (bits - 0x3FE6A09E667F3BCD) >> 52
    m = np.int64(bits - (k << 52)).view(np.float64)
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    half = 0.5 * f * f
    r = z * (L1 + z * (L2 + z * (L3 + z * (L4 + z * (L5 + z * (L6 + z * L7))))))
    n = np.float64(k + shift)
    y = n * LN2_HIGH - ((half - (s * (half + r) + n * LN2_LOW)) - f)
    y = -np.inf if x == 0.0 else y
    y = np.nan if x < 0.0 or x != x else y
    return np.inf if x == np.inf else y


@inline
def log1p(x):
    """``log(1 + x)``, of full relative accuracy also near 0."""
    u = 1.0 + x
    # Correct the rounding of the sum (Kahan); at infinity and at -1 there is nothing to correct.
    lost = (x - (u - 1.0)) / u
    y = log(u) + (lost if abs(x) < 1e300 and u != 0.0 else 0.0)
    return x if x == 0.0 else y


@inline
def tanh(x):
    """Hyperbolic tangent."""
    e = expm1(-2.0 * abs(x))
    return math.copysign(-e / (e + 2.0), x)


@numba.njit(forceinline=True, fastmath={"reassoc", "nsz"})
def add(a, b):
    """Return ``a + b`` in a sum that the compiler may reorder, and so vectorise."""
    return a + b
