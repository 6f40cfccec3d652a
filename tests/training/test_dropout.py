"""Dropout masks are hashes: the same on every backend, and statistically random. All seeds are fixed."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from mlpgpu import backends
from mlpgpu.training.dropout import LEVELS, Dropout, mix

NUMPY = backends.select("cpu", "numpy")[0]
WORD = (1 << 32) - 1


def masks_of(step, rows, widths, rates, seed=0, backend=NUMPY):
    dropout = Dropout(backend, backend.asarray(np.zeros(1)).dtype, rows, widths, rates, seed)
    return [
        None if mask is None else backend.to_host(mask) for mask in dropout(backend.asarray(np.asarray(step, np.int32)))
    ]


def kept(step, rows, width, rate=0.5, seed=0):
    return masks_of(step, rows, [width], [rate], seed)[0] > 0


def lowbias32(x):
    """Return the published hash of one unsigned word."""
    x ^= x >> 16
    x = x * 0x7FEB352D & WORD
    x ^= x >> 15
    x = x * 0x846CA68B & WORD
    return x ^ x >> 16


def unhash(x):
    """Invert `lowbias32`: odd factors have inverses modulo 2^32, and so has each xor with a shifted word."""
    x ^= x >> 16
    x = x * pow(0x846CA68B, -1, 1 << 32) & WORD
    x ^= x >> 15 ^ x >> 30
    x = x * pow(0x7FEB352D, -1, 1 << 32) & WORD
    return x ^ x >> 16


def words(n, seed=0):
    return np.random.default_rng(seed).integers(0, 1 << 32, n, dtype=np.uint32)


@pytest.mark.usefixtures("optimised")
def test_mix_is_lowbias32(backend):
    x = np.concatenate([words(300), np.array([0, 1, 1 << 31, WORD, (1 << 31) - 1], np.uint32)])
    ours = backend.to_host(mix(backend.asarray(x.view(np.int32))))
    assert ours.dtype == np.int32
    np.testing.assert_array_equal(ours.view(np.uint32), np.array([lowbias32(int(word)) for word in x], np.uint32))


def test_mix_is_one_to_one():
    x = words(2000, 1)
    mixed = mix(x.view(np.int32)).view(np.uint32)
    np.testing.assert_array_equal(np.array([unhash(int(word)) for word in mixed], np.uint32), x)
    # A random function would have about 128 collisions among 2^20 words.
    assert np.unique(mix(np.arange(1 << 20, dtype=np.int32))).size == 1 << 20


def test_each_bit_of_a_word_flips_half_of_its_hash():
    n = 1 << 15
    x = words(n, 2)
    before = mix(x.view(np.int32)).view(np.uint32)
    flipped = np.empty((32, 32))
    for bit in range(32):
        after = mix((x ^ np.uint32(1 << bit)).view(np.int32)).view(np.uint32)
        flipped[bit] = np.unpackbits((before ^ after).view(np.uint8).reshape(n, 4), axis=1).mean(axis=0)
    # 1,024 means of n fair coin flips: the largest deviation is within 4.5 standard errors.
    assert np.abs(flipped - 0.5).max() < 4.5 * 0.5 / math.sqrt(n)


@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize("step", [0, 1, 77, 999_999, 1_000_000, 2**31 - 1])
def test_every_backend_drops_the_same_units(backend, step):
    widths, rates = [7, 1, 4, 33], [0.3, 0.5, 0.0, 0.9]
    expected = masks_of(step, 5, widths, rates, seed=11)
    ours = masks_of(step, 5, widths, rates, seed=11, backend=backend)
    assert ours[2] is None
    assert expected[2] is None
    for one, other in zip(ours, expected, strict=True):
        if one is not None:
            assert one.dtype == np.float64
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_masks_in_the_dtype_of_the_run_and_compiled(real_backend, dtype):
    backend = real_backend
    dropout = Dropout(backend, backend.asarray(np.zeros(1, dtype)).dtype, 4, [5], [0.25], 3)
    compiled = backend.compile(lambda step: dropout(step)[0])
    for step in (0, 1, 12345):
        on_device = backend.asarray(np.asarray(step, np.int32))
        plain = backend.to_host(dropout(on_device)[0])
        assert plain.dtype == dtype
        np.testing.assert_array_equal(backend.to_host(compiled(on_device)), plain)


@pytest.mark.parametrize("rate", [1e-5, 0.1, 0.3, 0.5, 0.9, 0.999])
def test_values_and_drop_rate(rate):
    mask = masks_of(4, 300, [201], [rate], seed=5)[0]
    rounded = round(rate * LEVELS) / LEVELS
    assert set(np.unique(mask)) <= {0.0, 1 / (1 - rounded)}
    assert abs(rounded - rate) <= 0.5 / LEVELS
    assert stats.binomtest(int((mask == 0).sum()), mask.size, rounded).pvalue > 0.01
    # Scaled so that the expected input is the same as without dropout.
    assert abs(mask.mean() - 1) < 4 * math.sqrt(rounded / (1 - rounded) / mask.size)


def test_no_mask_for_no_dropout():
    assert masks_of(0, 3, [4, 5], [0.0, 0.0]) == [None, None]
    # A rate below half a level rounds to 0.
    assert masks_of(0, 3, [4], [0.4 / LEVELS]) == [None]
    assert masks_of(0, 3, [4], [0.6 / LEVELS])[0] is not None


def test_the_highest_rates_still_leave_a_chance():
    for rate in (1 - 1e-5, 1 - 1e-6, 1 - 1e-12):
        mask = masks_of(0, 300, [301], [rate])[0]
        assert set(np.unique(mask)) <= {0.0, LEVELS}


@pytest.mark.parametrize("width", [1, 2, 3, 784, 785])
@pytest.mark.parametrize("rows", [1, 6])
def test_shapes(width, rows):
    assert masks_of(0, rows, [width], [0.5])[0].shape == (rows, width)


@pytest.mark.parametrize("width", [1, 3, 8])
def test_each_unit_alone_is_dropped_at_the_rate_over_the_steps(width):
    rate, steps = 0.3, 3000
    dropout = Dropout(NUMPY, np.dtype(float), 3, [width], [rate], 0)
    dropped = sum(dropout(np.asarray(step, np.int32))[0] == 0 for step in range(steps))
    pvalues = [stats.binomtest(int(count), steps, round(rate * LEVELS) / LEVELS).pvalue for count in dropped.ravel()]
    assert min(pvalues) > 0.01 / len(pvalues)
    # Their spread is that of a binomial distribution, neither larger nor smaller.
    spread = ((dropped - steps * rate) ** 2).sum() / (steps * rate * (1 - rate))
    assert 0.001 < stats.chi2(dropped.size).cdf(spread) < 0.999


def test_a_higher_rate_drops_what_a_lower_one_does():
    masks = [masks_of(9, 50, [41], [rate], seed=2)[0] > 0 for rate in (0.1, 0.4, 0.8)]
    for low, high in itertools.pairwise(masks):
        assert (low | ~high).all()


def correlation(one, other):
    """Return the correlation in standard errors."""
    return np.corrcoef(one.ravel(), other.ravel())[0, 1] * math.sqrt(one.size)


PAIRS = {
    "neighbouring units": lambda s: (kept(s, 200, 101)[:, :-1], kept(s, 200, 101)[:, 1:]),
    "units that share a hash": lambda s: (kept(s, 200, 100)[:, :50], kept(s, 200, 100)[:, 50:]),
    "neighbouring rows": lambda s: (kept(s, 200, 101)[:-1], kept(s, 200, 101)[1:]),
    "next step": lambda s: (kept(s, 200, 101), kept(s + 1, 200, 101)),
    "next step, next unit": lambda s: (kept(s, 200, 101)[:, 1:], kept(s + 1, 200, 101)[:, :-1]),
    "step far off": lambda s: (kept(s, 200, 101), kept(s + (1 << 16), 200, 101)),
    "next seed": lambda s: (kept(s, 200, 101), kept(s, 200, 101, seed=1)),
    "next seed, next step": lambda s: (kept(s, 200, 101), kept(s + 1, 200, 101, seed=1)),
    "layers of one width": lambda s: tuple(mask > 0 for mask in masks_of(s, 200, [101, 101], [0.5, 0.5])),
    "next layer, next step": lambda s: (
        masks_of(s, 200, [101, 101], [0.5, 0.5])[1] > 0,
        masks_of(s + 1, 200, [101, 101], [0.5, 0.5])[0] > 0,
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_masks_are_uncorrelated(name):
    found = np.array([correlation(*PAIRS[name](step)) for step in [*range(25), 500, 999_999]])
    # With random masks, one of these tests' 270 correlations exceeds 5 standard errors with a probability of 1/6000.
    assert np.abs(found).max() < 5
    assert 0.001 < stats.chi2(len(found)).cdf((found**2).sum()) < 0.999


def test_the_correlations_of_all_pairs_of_steps_scatter_as_chance_does():
    masks = np.stack([2.0 * kept(step, 100, 51).ravel() - 1 for step in range(400)])
    found = (masks @ masks.T / math.sqrt(masks.shape[1]))[np.triu_indices(400, 1)]
    assert abs(np.mean(found**2) - 1) < 4 * math.sqrt(2 / found.size)
    assert np.abs(found).max() < 5.5


def test_no_two_masks_of_a_run_are_alike():
    seen = {kept(step, 16, 16).tobytes() for step in [*range(2000), *range(10**6, 10**6 + 100)]}
    assert len(seen) == 2100


def test_patterns_of_four_units_are_as_frequent_as_chance_has_them():
    """Beyond pairs: all 16 patterns of a square of four neighbours."""
    counts = np.zeros(16)
    for step in range(20):
        mask = kept(step, 100, 64)
        pattern = mask[::2, ::2] + 2 * mask[1::2, ::2] + 4 * mask[::2, 1::2] + 8 * mask[1::2, 1::2]
        counts += np.bincount(pattern.ravel(), minlength=16)
    assert stats.chisquare(counts).pvalue > 0.01


def test_the_number_of_units_dropped_scatters_as_chance_does():
    """Neither too even, as a counter would be, nor too uneven."""
    counts = np.array([(~kept(step, 8, 25)).sum() for step in range(1500)])
    spread = ((counts - 100) ** 2).sum() / 50
    assert 0.001 < stats.chi2(len(counts)).cdf(spread) < 0.999


def test_a_seed_and_a_step_are_a_mask():
    np.testing.assert_array_equal(kept(7, 9, 9, seed=3), kept(7, 9, 9, seed=3))
    assert (kept(7, 9, 9, seed=3) != kept(7, 9, 9, seed=4)).any()
    assert (kept(7, 9, 9, seed=3) != kept(8, 9, 9, seed=3)).any()
