"""The compiled elementary functions, compared with NumPy's in long double and with Python's."""

import math

import numpy as np
import pytest

from mlpgpu.fusion import compiled

if not compiled.has_numba():
    pytest.skip("numba is not installed: nothing is compiled", allow_module_level=True)

import numba

from mlpgpu.fusion import elementary

# The largest error of each in units in the last place, slightly above the largest measured.
ULPS = {"exp": 1.0, "expm1": 3.6, "log": 1.0, "log1p": 1.6, "tanh": 2.9}
TINY = np.finfo(float).tiny
DENORMAL = np.nextafter(0, 1)
LARGE = np.finfo(float).max
MORE_DIGITS = np.finfo(np.longdouble).nmant > np.finfo(float).nmant + 8


def _over(name):
    """Return a function that applies the elementary one to each element of an array, as a compiled pass does."""
    function = getattr(elementary, name)

    @numba.njit(error_model="numpy", fastmath={"contract"})
    def over(x, y):
        for i in range(len(x)):
            y[i] = function(np.float64(x[i]))

    def call(x):
        y = np.empty_like(x)
        over(x, y)
        return y

    return call


FUNCTIONS = {name: _over(name) for name in ULPS}


def numbers(name):
    """Return numbers from the range of finite results, most of them where the function is neither constant nor `x`."""
    rng = np.random.default_rng(3)
    sizes = 2.0 ** rng.uniform(-1070, 1000, 20_000)
    if name in {"log", "log1p"}:
        near = 2.0 ** rng.uniform(-60, 60, 50_000)
        both = np.concatenate([sizes, near, rng.uniform(0.5, 2, 50_000), 1 + rng.normal(0, 1e-9, 2000)])
        return (
            both if name == "log" else np.concatenate([both, -(2.0 ** rng.uniform(-60, 0, 50_000)), -sizes[sizes < 1]])
        )
    near = rng.choice([-1.0, 1.0], 50_000) * 2.0 ** rng.uniform(-60, 9, 50_000)
    whole = np.concatenate([sizes[sizes < 1], -sizes[sizes < 1], near, rng.uniform(-2, 2, 50_000)])
    return whole[(whole > -700) & (whole < 709)]


def error_in_ulps(ours, exact):
    return np.abs((ours - exact) / np.spacing(np.abs(exact).astype(float))).astype(float)


@pytest.mark.skipif(not MORE_DIGITS, reason="long double has no more digits than double here")
@pytest.mark.parametrize("name", ULPS)
def test_float64_to_a_few_units_in_the_last_place(name):
    x = numbers(name)
    exact = getattr(np, name)(x.astype(np.longdouble))
    error = error_in_ulps(FUNCTIONS[name](x), exact)
    assert error.max() <= ULPS[name], f"{error.max()} at {x[error.argmax()].hex()}"


@pytest.mark.parametrize("name", ULPS)
def test_float64_is_pythons(name):
    """Python's functions exist on every machine, and may be off by a unit too."""
    x = numbers(name)[::50]
    theirs = np.array([getattr(math, name)(number) for number in x.tolist()])
    assert error_in_ulps(FUNCTIONS[name](x), theirs).max() <= ULPS[name] + 1


@pytest.mark.parametrize("name", ULPS)
def test_float32_is_the_rounding(name):
    """Within half a unit in the last place, and the little that rounding twice adds."""
    with np.errstate(all="ignore"):
        x = numbers(name).astype(np.float32)
        exact = getattr(np, name)(x.astype(float))
    keep = np.isfinite(exact) & (np.abs(exact) < np.finfo(np.float32).max)
    ours, exact = FUNCTIONS[name](x)[keep], exact[keep]
    error = np.abs((ours - exact) / np.spacing(np.abs(exact).astype(np.float32)).astype(float))
    assert error.max() <= 0.5 + 1e-6


# Function, argument, result.
LIMITS = [
    ("exp", 0.0, 1.0),
    ("exp", -0.0, 1.0),
    ("exp", np.inf, np.inf),
    ("exp", -np.inf, 0.0),
    ("exp", 709.782712893384, 1.797693134862273e308),
    ("exp", 710.0, np.inf),
    ("exp", LARGE, np.inf),
    ("exp", -744.4400719213812, DENORMAL),
    ("exp", -746.0, 0.0),
    ("exp", -LARGE, 0.0),
    ("exp", DENORMAL, 1.0),
    ("expm1", 0.0, 0.0),
    ("expm1", -0.0, -0.0),
    ("expm1", np.inf, np.inf),
    ("expm1", -np.inf, -1.0),
    ("expm1", 710.0, np.inf),
    ("expm1", -50.0, -1.0),
    ("expm1", DENORMAL, DENORMAL),
    ("expm1", -TINY / 2, -TINY / 2),
    ("log", 1.0, 0.0),
    ("log", 0.0, -np.inf),
    ("log", -0.0, -np.inf),
    ("log", -1.0, np.nan),
    ("log", -np.inf, np.nan),
    ("log", np.inf, np.inf),
    ("log", DENORMAL, -744.4400719213812),
    ("log", LARGE, 709.782712893384),
    ("log1p", 0.0, 0.0),
    ("log1p", -0.0, -0.0),
    ("log1p", -1.0, -np.inf),
    ("log1p", -2.0, np.nan),
    ("log1p", -np.inf, np.nan),
    ("log1p", np.inf, np.inf),
    ("log1p", LARGE, 709.782712893384),
    ("log1p", DENORMAL, DENORMAL),
    ("log1p", -TINY / 2, -TINY / 2),
    ("tanh", 0.0, 0.0),
    ("tanh", -0.0, -0.0),
    ("tanh", np.inf, 1.0),
    ("tanh", -np.inf, -1.0),
    ("tanh", LARGE, 1.0),
    ("tanh", -LARGE, -1.0),
    ("tanh", DENORMAL, DENORMAL),
    ("tanh", -TINY / 2, -TINY / 2),
    *((name, np.nan, np.nan) for name in ULPS),
]


@pytest.mark.parametrize(("name", "x", "expected"), LIMITS)
def test_limits(name, x, expected):
    ours = FUNCTIONS[name](np.array([x]))[0]
    np.testing.assert_allclose(ours, expected, rtol=4.5e-16 if abs(expected) > 1e-300 else 0, atol=0)
    assert np.isnan(expected) or np.signbit(ours) == np.signbit(expected)


def test_denormal_results():
    """Denormal results are within a few times their spacing of Python's, and are not flushed to 0."""
    x = np.linspace(-745, -708.5, 2001)
    ours, exact = FUNCTIONS["exp"](x), np.array([math.exp(number) for number in x])
    assert np.abs(ours - exact).max() <= 2 * DENORMAL + 3e-16 * exact.max()
    assert (ours[x > -744] > 0).all()
