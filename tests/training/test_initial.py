import math

import numpy as np
import pytest
from scipy import stats

from mlpgpu.maths.activations import ACTIVATIONS
from mlpgpu.maths.parameters import count, layout, split
from mlpgpu.training.initial import INITIALS, draw

SIZES = (150, 90, 40)
STD = 0.07
# Glorot and Bengio (2010), He et al. (2015), LeCun et al. (1998): the variance of a weight.
VARIANCES = {
    "glorot_uniform": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "glorot_normal": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "he_uniform": lambda fan_in, fan_out: 2 / fan_in,
    "he_normal": lambda fan_in, fan_out: 2 / fan_in,
    "lecun_normal": lambda fan_in, fan_out: 1 / fan_in,
    "normal": lambda fan_in, fan_out: STD**2,
}


def weights(name, seed=0, sizes=SIZES, **settings):
    params = draw(sizes, [name] * (len(sizes) - 1), seed, **settings)
    return [w for w, _ in split(np, params, sizes)]


def test_every_entry_has_its_variance_here():
    assert set(VARIANCES) | {"zeros"} == set(INITIALS)


@pytest.mark.parametrize("name", VARIANCES)
@pytest.mark.parametrize("layer", [0, 1])
def test_weights_have_the_published_distribution(name, layer):
    w = weights(name, std=STD)[layer]
    variance = VARIANCES[name](*w.shape)
    if name.endswith("uniform"):
        bound = math.sqrt(3 * variance)
        assert np.abs(w).max() <= bound
        law = stats.uniform(-bound, 2 * bound)
        fourth = 9 / 5
    else:
        law = stats.norm(0, math.sqrt(variance))
        fourth = 3
    assert stats.kstest(w.ravel(), law.cdf).pvalue > 0.01
    # The sample variance of n draws has a standard error of variance sqrt((fourth - 1) / n).
    assert abs(np.mean(w**2) / variance - 1) < 4 * math.sqrt((fourth - 1) / w.size)


@pytest.mark.parametrize("name", VARIANCES)
def test_weights_are_independent(name):
    w = weights(name, std=STD)[0]
    for pair in [(w[:-1], w[1:]), (w[:, :-1], w[:, 1:]), (w.ravel()[:3600], weights(name, std=STD)[1].ravel())]:
        assert abs(np.corrcoef(*(part.ravel() for part in pair))[0, 1]) < 4 / math.sqrt(pair[0].size)


def test_zeros():
    assert not draw(SIZES, ["zeros", "zeros"], 3).any()


def test_formulas_are_torchs():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    theirs = torch.empty(90, 150, dtype=torch.float64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name, init in [
            ("glorot_uniform", torch.nn.init.xavier_uniform_),
            ("glorot_normal", torch.nn.init.xavier_normal_),
            ("he_uniform", lambda t: torch.nn.init.kaiming_uniform_(t, nonlinearity="relu")),
            ("he_normal", lambda t: torch.nn.init.kaiming_normal_(t, nonlinearity="relu")),
            ("lecun_normal", lambda t: torch.nn.init.kaiming_normal_(t, nonlinearity="linear")),
            ("normal", lambda t: torch.nn.init.normal_(t, std=STD)),
        ]:
            init(theirs)
            ours = weights(name, std=STD)[0]
            assert stats.ks_2samp(ours.ravel(), theirs.numpy().ravel()).pvalue > 0.01, name
            if name.endswith("uniform"):
                bound = math.sqrt(3 * VARIANCES[name](150, 90))
                assert np.abs(ours).max() == pytest.approx(bound, rel=1e-3)
                assert float(theirs.abs().max()) == pytest.approx(bound, rel=1e-3)


def test_one_init_a_layer_and_the_layout():
    params = draw((4, 3, 2), ["zeros", "normal"], 5, std=2.0, bias=0.25)
    assert params.shape == (4 * 3 + 3 * 2 + 3 + 2,) == (count((4, 3, 2)),)
    assert params.dtype == np.float64
    np.testing.assert_array_equal(params[:12], np.zeros(12))
    assert (params[12:18] != 0).all()
    np.testing.assert_array_equal(params[18:], np.full(5, 0.25))
    assert [block.name for block in layout((4, 3, 2))] == ["w1", "w2", "b1", "b2"]


def test_biases_are_zero_unless_told_otherwise():
    assert not any(b.any() for _, b in split(np, draw(SIZES, ["he_normal"] * 2, 0), SIZES))


@pytest.mark.parametrize("name", VARIANCES)
def test_a_seed_is_a_start(name):
    first, again, other = (draw((5, 4, 3), [name] * 2, seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert not np.intersect1d(first[:32], other[:32]).size


def test_drawing_leaves_the_global_generators_alone():
    import random

    np.random.seed(3)  # noqa: NPY002
    random.seed(3)
    before = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    draw(SIZES, ["he_normal"] * 2, 0)
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert random.getstate() == before[1]


def test_every_activation_names_an_init_that_exists():
    assert {activation.init for activation in ACTIVATIONS.values()} <= set(INITIALS)


@pytest.mark.parametrize("name", ["relu", "selu"])
def test_signals_keep_their_size_through_many_layers(name):
    """He et al. and Klambauer et al. chose their variances so that the mean square of a unit stays 1."""
    rng = np.random.default_rng(1)
    sizes = (200,) * 11
    y = rng.normal(size=(500, 200))
    for w, _ in split(np, draw(sizes, [ACTIVATIONS[name].init] * 10, 2), sizes):
        y = ACTIVATIONS[name].value(np, y @ w)
    assert 0.5 < np.mean(y**2) < 2
