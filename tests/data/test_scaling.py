"""Scaling of features, against scikit-learn's scalers."""

import tracemalloc

import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from mlpgpu.data import mapped, scaling
from mlpgpu.errors import InputError


def table(rng, dtype):
    x = rng.normal(size=(3000, 7)) * [1, 1e-3, 1e4, 30, 1, 50, 1] + [0, 5, 1e6, 100, 1e8, 100, 0]
    if np.dtype(dtype).kind == "u":
        x = np.clip(x, 0, 255)
    x = x.astype(dtype)
    x[:, 5] = 3
    x[:, 6] = 0
    return x


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float64])
@pytest.mark.parametrize("chunk", [7, 1000, 2**20])
@pytest.mark.parametrize(("kind", "theirs"), [("standard", StandardScaler), ("minmax", MinMaxScaler)])
def test_equals_scikit_learn(rng, monkeypatch, dtype, chunk, kind, theirs):
    monkeypatch.setattr(mapped, "PIECE", chunk)
    x = table(rng, dtype)
    before = x.copy()
    ours = scaling.fit(kind, x)
    reference = theirs().fit(x.astype(np.float64))
    shift = reference.mean_ if kind == "standard" else reference.data_min_
    factor = 1 / reference.scale_ if kind == "standard" else reference.scale_
    assert ours.kind == kind
    assert ours.shift.dtype == ours.factor.dtype == np.float64
    np.testing.assert_allclose(ours.shift, shift, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(ours.factor, factor, rtol=1e-12)
    scaled = (x.astype(np.float64) - ours.shift) * ours.factor
    if kind == "minmax":
        np.testing.assert_allclose(scaled, reference.transform(x), atol=1e-12)
    np.testing.assert_array_equal(x, before)


def test_variance_survives_a_large_mean():
    x = np.array([[1e9 + 4.0], [1e9 + 7], [1e9 + 13], [1e9 + 16]])
    assert scaling.fit("standard", x).factor[0] == pytest.approx(1 / np.sqrt(22.5), rel=1e-12)


@pytest.mark.parametrize("kind", ["standard", "minmax"])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e9 + 0.3, -1e-5])
def test_constant_column_is_shifted_only(kind, value):
    ours = scaling.fit(kind, np.full((1001, 1), value))
    assert ours.factor[0] == 1
    assert ours.shift[0] == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("unit", [1e-150, 1.6e-19, 1.0, 1e150])
@pytest.mark.parametrize("kind", ["standard", "minmax"])
def test_is_the_same_in_any_unit(rng, kind, unit):
    """Such as a charge in coulombs; scikit-learn treats columns with a range below 2e-15 as constant."""
    x = rng.uniform(3, 4, size=(50, 1))
    ours, scaled = (scaling.fit(kind, column) for column in (x, x * unit))
    np.testing.assert_allclose(
        (x * unit - scaled.shift) * scaled.factor, (x - ours.shift) * ours.factor, rtol=1e-12, atol=1e-12
    )


def test_a_column_that_is_constant_but_for_its_rounding_is_shifted_only():
    x = np.array([[0.3, 1.6e-19, 0.0], [0.1 + 0.2, np.nextafter(1.6e-19, 1), np.nextafter(0, 1)]])
    np.testing.assert_array_equal(scaling.fit("minmax", x).factor, [1, 1, 1])


@pytest.mark.parametrize(("kind", "factor"), [("none", 1), ("255", 1 / 255)])
def test_fixed_kinds_look_at_no_values(kind, factor):
    ours = scaling.fit(kind, np.array([[1.0, np.nan]]))
    assert ours.shift.shape == ours.factor.shape == ()
    assert ours.shift == 0
    assert ours.factor == factor


def test_big_images_are_never_copied_whole(rng):
    x = rng.integers(0, 256, (40_000, 784), np.uint8)
    tracemalloc.start()
    try:
        scaling.fit("standard", x)
        assert tracemalloc.get_traced_memory()[1] < x.nbytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("kind", "far"), [("standard", 1e200), ("minmax", 1.7e308)])
def test_refuses_a_column_beyond_float64(kind, far):
    x = np.array([[0.0, -far], [1, far], [2, 0]])
    with pytest.raises(InputError, match="feature 1 are too far apart"):
        scaling.fit(kind, x)
    with pytest.raises(InputError, match="feature 'far' are too far apart"):
        scaling.fit(kind, x, names=("near", "far"))
