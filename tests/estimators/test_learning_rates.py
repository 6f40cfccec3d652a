"""The learning rate range test: its losses against plain steps, and its suggestion on known curves."""

import math

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.preprocessing import StandardScaler
from sklearn.utils import compute_sample_weight, shuffle

from mlpgpu import MLPClassifier, MLPRegressor, plots
from mlpgpu.maths.activations import ACTIVATIONS
from mlpgpu.maths.losses import LOSSES
from mlpgpu.maths.network import Network
from mlpgpu.maths.optimizers import OPTIMIZERS
from mlpgpu.maths.schedules import SCHEDULES, with_warmup
from mlpgpu.maths.step import Batch, Recipe, State, train_step
from mlpgpu.protocol import parity
from mlpgpu.protocol.own import ROWS
from mlpgpu.training import learning_rates
from mlpgpu.training.learning_rates import RangeTest

pytestmark = pytest.mark.usefixtures("step_by_step")


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return StandardScaler().fit_transform(x)[:500], y[:500]


@pytest.fixture(scope="module")
def diabetes():
    x, y = load_diabetes(return_X_y=True)
    return StandardScaler().fit_transform(x), (y - y.mean()) / y.std()


def by_hand(network, optimizer, x, targets, weights, rates, batch_size=200):
    """Return the losses of plain steps, one per learning rate, with scikit-learn's order of draws and rows."""
    random_state = np.random.RandomState(0)
    params = parity.draw(random_state, network.sizes, ["relu"] * (len(network.sizes) - 1))
    recipe = Recipe(OPTIMIZERS[optimizer], with_warmup(SCHEDULES["constant"], 1), l2=1e-4)
    state = State(params, recipe.optimizer.init(np, params), np.zeros((), np.int32), np.asarray(0.0))
    rows, batches, losses = np.arange(len(x)), [], []
    for rate in rates:
        if not batches:
            rows = shuffle(rows, random_state=random_state)
            batches = [rows[start : start + batch_size] for start in range(0, len(x), batch_size)]
        picked = batches.pop(0)
        batch = Batch(x[picked], targets[picked], weights[picked])
        state, loss = train_step(np, network, recipe, state._replace(learning_rate=rate), batch)
        losses.append(loss)
    return losses


def from_smoothed(smoothed):
    """Return the losses whose bias-corrected moving average is `smoothed`."""
    steps = np.arange(1, len(smoothed) + 1)
    sums = smoothed * (1 - 0.98**steps) / 0.02
    return sums - 0.98 * np.append(0, sums[:-1])


def fall(centre, steps=100):
    """Return a test whose smoothed loss falls from 2 to 1 as a logistic curve around the rate `centre`."""
    rates = np.geomspace(1e-7, 10, steps)
    return RangeTest(rates, from_smoothed(2 - 1 / (1 + np.exp(-3 * np.log10(rates / centre)))))


# 90 steps are 30 epochs for the first, and part of one for the second.
@pytest.mark.parametrize(("solver", "optimizer", "batch_size"), [("adam", "adam_hat", 200), ("sgd", "nesterov", 4)])
def test_losses_are_those_of_plain_steps_on_every_backend(real_backend, digits, rng, solver, optimizer, batch_size):
    x, y = digits
    weights = rng.uniform(0.5, 2, size=len(x))
    estimator = MLPClassifier(
        (20,),
        solver=solver,
        batch_size=batch_size,
        random_state=0,
        backend=real_backend.name,
        device=real_backend.device,
        dtype="float64",
        learning_rate_schedule="cosine",
        warmup=3,
        max_iter=2,
    )
    test = estimator.find_learning_rate(x, y, weights, low=1e-5, high=0.01, steps=90)
    network = Network((64, 20, 10), (ACTIVATIONS["relu"],), LOSSES["cross_entropy"])
    expected = by_hand(network, optimizer, x, y, weights, test.rates, batch_size)
    np.testing.assert_allclose(test.rates, 1e-5 * 1000 ** (np.arange(90) / 89), rtol=1e-13)
    np.testing.assert_allclose(test.losses, expected, rtol=1e-8)


def test_a_regressor(diabetes):
    x, y = diabetes
    test = MLPRegressor(hidden_layer_sizes=(20,), random_state=0).find_learning_rate(x, y, low=1e-5, high=0.1, steps=30)
    network = Network((10, 20, 1), (ACTIVATIONS["relu"],), LOSSES["squared_error"])
    expected = by_hand(network, "adam_hat", x, y[:, None], np.ones(len(x)), test.rates)
    np.testing.assert_allclose(test.losses, expected, rtol=1e-9)


def test_class_weights_and_sparse_rows(digits):
    x, y = digits
    estimator = MLPClassifier((20,), random_state=0)
    weights = compute_sample_weight("balanced", y)
    expected = estimator.find_learning_rate(x, y, weights, steps=40).losses
    balanced = clone(estimator).set_params(class_weight="balanced")
    np.testing.assert_array_equal(balanced.find_learning_rate(x, y, steps=40).losses, expected)
    np.testing.assert_allclose(estimator.find_learning_rate(csr_matrix(x), y, weights, steps=40).losses, expected)


@pytest.mark.parametrize("changed", [{"early_stopping": True}, {"warm_start": True}, {"verbose": True}])
def test_it_starts_anew_on_all_rows_and_leaves_the_estimator_as_it_is(digits, capsys, changed):
    x, y = digits
    expected = MLPClassifier((20,), random_state=0).find_learning_rate(x, y, steps=20)
    estimator = MLPClassifier((20,), random_state=0, tol=1e3, n_iter_no_change=1, **changed).fit(x, y)
    capsys.readouterr()
    before, weights = dict(vars(estimator)), [w.copy() for w in estimator.coefs_]
    np.testing.assert_array_equal(estimator.find_learning_rate(x, y, steps=20).losses, expected.losses)
    assert vars(estimator) == before
    for now, then in zip(estimator.coefs_, weights, strict=True):
        np.testing.assert_array_equal(now, then)
    assert capsys.readouterr().out == ""


def test_the_random_state_of_the_user_is_not_drawn_from(digits):
    random_state = np.random.RandomState(3)
    estimator = MLPClassifier((20,), random_state=random_state)
    first, second = (estimator.find_learning_rate(*digits, steps=20).losses for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert random_state.randint(1000) == np.random.RandomState(3).randint(1000)
    assert set(vars(estimator)) == set(estimator.get_params())


def test_it_ends_where_the_loss_diverges(real_backend, diabetes):
    where = {"backend": real_backend.name, "device": real_backend.device, "dtype": "float64"}
    estimator = MLPRegressor(random_state=0, solver="sgd", **where)
    test = estimator.find_learning_rate(*diabetes, low=1e-4, high=1e4, steps=120)
    assert 20 < len(test.rates) == len(test.losses) == len(test.smoothed) < 120
    np.testing.assert_array_equal(test.rates, np.geomspace(1e-4, 1e4, 120)[: len(test.rates)])
    lowest = np.minimum.accumulate(test.smoothed)
    assert (test.smoothed <= 4 * lowest)[:-1].all()
    assert test.smoothed[-1] > 4 * lowest[-1]
    assert f"suggested={test.suggested:.2g}, {len(test.rates)} rates from 0.0001 to" in repr(test)


def test_no_step_is_done_in_vain_once_it_has_diverged(diabetes, monkeypatch):
    # A recorded step would call the loss only while it is recorded.
    monkeypatch.setenv("MLPGPU_LOOP", "eager")
    calls = []

    def value(xp, z, t):
        # The function is first checked on a few rows.
        if len(z) > ROWS:
            calls.append(1)
        return xp.sum((z - t) ** 2, axis=-1)

    estimator = MLPRegressor((value, lambda xp, z, t: 2 * (z - t)), solver="sgd", random_state=0)
    test = estimator.find_learning_rate(*diabetes, low=1e-4, high=1e4, steps=400)
    assert 50 < len(test.rates) <= len(calls) <= len(test.rates) + 1


@pytest.mark.parametrize(
    ("losses", "kept"),
    [
        ([1, 2, 3], 3),
        ([1, math.nan, 1], 1),
        ([1, 1, math.inf], 2),
        ([math.nan], 0),
        # The average of 1 and 8 is above 4, that of 1 and 6 is not.
        ([1, 8, 1], 2),
        ([1, 6, 1], 3),
        ([-1, -1, 1, 1], 4),
        ([-1, -1, 20, 1], 3),
    ],
)
def test_where_a_curve_ends(losses, kept):
    found = learning_rates._until_diverged(np.asarray(losses, float))
    np.testing.assert_array_equal(found, losses[:kept])


def test_smoothed_is_the_average_with_weights_that_fade_by_two_per_cent(rng):
    losses = rng.uniform(size=50)
    expected = [np.average(losses[:n], weights=0.98 ** np.arange(n)[::-1]) for n in range(1, 51)]
    np.testing.assert_allclose(RangeTest(np.geomspace(1e-7, 10, 50), losses).smoothed, expected)


@pytest.mark.parametrize("centre", [1e-5, 3e-4, 1e-2, 0.5])
@pytest.mark.parametrize("steps", [30, 100, 1000])
def test_suggested_is_where_a_known_curve_is_steepest(centre, steps):
    assert fall(centre, steps).suggested == pytest.approx(centre, rel=8 * math.log(10) / steps)


def test_neither_the_start_nor_what_follows_the_lowest_counts():
    known = fall(1e-3)
    smoothed = known.smoothed.copy()
    smoothed[:8] = np.linspace(9, smoothed[8], 8)
    smoothed[90:] = [6, 7, 8, 9, 10, 9, 7, 5, 4, 3]
    assert RangeTest(known.rates, from_smoothed(smoothed)).suggested == known.suggested


@pytest.mark.parametrize(
    "losses",
    [
        np.ones(100),
        np.linspace(1, 3, 100),
        np.random.default_rng(1).normal(1, 0.1, 100),
        np.ones(1),
        np.asarray([1, 9]),
    ],
    ids=["flat", "rising", "noise", "one", "two"],
)
def test_no_suggestion_where_the_loss_does_not_fall(losses):
    test = RangeTest(np.geomspace(1e-7, 10, 100)[: len(losses)], losses)
    assert test.suggested is None
    assert "suggested=None" in repr(test)
    if plots.available():
        figure = test.plot()
        assert "does not fall" in figure.get_suptitle()
        assert not figure.axes[0].texts


@pytest.mark.parametrize(("solver", "low", "high"), [("adam", 1e-3, 0.05), ("sgd", 0.03, 1)])
def test_suggested_is_a_rate_that_trains_well(digits, solver, low, high):
    assert low < MLPClassifier(solver=solver, random_state=0).find_learning_rate(*digits).suggested < high


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"low": 0}, "'low' parameter of find_learning_rate must be .* Got 0"),
        ({"low": "1"}, "'low' parameter"),
        ({"high": -1.0}, "'high' parameter"),
        ({"high": math.inf}, "'high' parameter"),
        ({"low": math.nan}, "'low' parameter"),
        ({"low": 10}, r"low=10 is not below high=10; give"),
        ({"steps": 9}, "'steps' parameter .* Got 9"),
        ({"steps": 50.5}, "'steps' parameter"),
    ],
)
def test_what_is_out_of_range_is_said(digits, given, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier().find_learning_rate(*digits, **given)


def test_what_the_estimator_cannot_do_is_said(digits):
    x, y = digits
    with pytest.raises(ValueError, match="solver='lbfgs' has no learning rate to find; choose"):
        MLPClassifier(solver="lbfgs").find_learning_rate(x, y)
    assert len(MLPClassifier(solver="lbfgs", optimizer="lion").find_learning_rate(x, y, steps=10).rates) == 10
    with pytest.raises(ValueError, match="'alpha' parameter of MLPClassifier"):
        MLPClassifier(alpha=-1).find_learning_rate(x, y)
    with pytest.raises(ValueError, match="the loss is inf before the first step; scale"):
        MLPRegressor().find_learning_rate(1e200 * x, y)


def test_the_picture_marks_the_suggested_rate_on_a_log_axis(tmp_path):
    pytest.importorskip("matplotlib")
    test = fall(1e-3)
    figure = test.plot(tmp_path / "rates.png")
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert axes.get_xscale() == "log"
    np.testing.assert_array_equal(lines["each step"].get_ydata(), test.losses)
    np.testing.assert_array_equal(lines["smoothed"].get_xdata(), test.rates)
    np.testing.assert_array_equal(lines["smoothed"].get_ydata(), test.smoothed)
    (rate,), (height,) = lines["suggested"].get_data()
    assert (rate, height) == (test.suggested, test.smoothed[test.rates == test.suggested])
    assert [text.get_text() for text in axes.texts] == [f"suggested {test.suggested:.2g}"]
    assert f"{test.suggested:.2g}" in figure.get_suptitle()
    assert (tmp_path / "rates.png").read_bytes()[:4] == b"\x89PNG"


def test_a_loss_that_diverges_does_not_press_the_picture_flat():
    pytest.importorskip("matplotlib")
    known = fall(1e-3)
    losses = known.losses.copy()
    losses[95:] = 1e9
    low, high = RangeTest(known.rates, losses).plot().axes[0].get_ylim()
    assert losses.min() > low > losses.min() - 1
    assert 2 < high < 3


def test_no_picture_without_matplotlib(monkeypatch):
    monkeypatch.setattr(plots, "available", lambda: False)
    with pytest.raises(ImportError, match=r"pip install 'mlpgpu\[plots\]'"):
        fall(1e-3).plot()
