"""Predictions against true values: points, axes, and quality against scikit-learn's."""

import numpy as np
import pytest
from drawn import lines
from matplotlib.colors import to_hex
from sklearn.metrics import (
    d2_absolute_error_score,
    d2_pinball_score,
    d2_tweedie_score,
    r2_score,
    root_mean_squared_error,
)

from mlpgpu import plots


def test_scatter_shows_points_identity_and_quality():
    random = np.random.default_rng(1)
    true = random.normal(50, 20, 80)
    predicted = true + random.normal(3, 9, 80)
    figure = plots.predictions(true, predicted, title="a title", target="price ($)")
    (axes,) = figure.axes
    points = axes.collections[0].get_offsets()
    np.testing.assert_array_equal(points[np.argsort(points[:, 0])], np.c_[true, predicted][np.argsort(true)])
    identity = lines(figure)["predicted = true"]
    np.testing.assert_array_equal(identity.get_xdata(), identity.get_ydata())
    assert axes.get_xlim() == axes.get_ylim()
    assert axes.get_aspect() == 1
    assert axes.get_xlim()[0] < min(true.min(), predicted.min())
    assert axes.get_xlim()[1] > max(true.max(), predicted.max())
    assert axes.get_title(loc="left") == (
        f"RMSE {root_mean_squared_error(true, predicted):.4g}   R² {r2_score(true, predicted):.4f}"
    )
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("true price ($)", "predicted")
    assert to_hex(axes.collections[0].get_facecolor()[0]) == plots.SCORE


@pytest.mark.parametrize(
    ("loss", "quality"),
    [
        ("huber", lambda y, p: f"RMSE {root_mean_squared_error(y, p):.4g}   R² {r2_score(y, p):.4f}"),
        ("absolute_error", lambda y, p: f"MAE {np.abs(y - p).mean():.4g}   D² {d2_absolute_error_score(y, p):.4f}"),
        ("quantile", lambda y, p: f"coverage {np.mean(y <= p):.4f}   D² {d2_pinball_score(y, p, alpha=0.9):.4f}"),
        ("poisson", lambda y, p: f"D² {d2_tweedie_score(y, p, power=1):.4f}"),
    ],
)
def test_quality_is_what_the_loss_asks_for(rng, loss, quality):
    predicted = rng.uniform(1, 5, 60)
    true = rng.poisson(predicted).astype(float)
    settings = {"quantile": 0.9} if loss == "quantile" else {}
    (axes,) = plots.predictions(true, predicted, loss=loss, **settings).axes
    assert axes.get_title(loc="left") == quality(true, predicted)


def test_many_points_are_thinned_the_same_way_each_time_but_all_count():
    random = np.random.default_rng(2)
    true = random.normal(0, 1e5, 20_000)
    predicted = true + random.normal(0, 3e4, 20_000)
    first, again = (plots.predictions(true, predicted, target="y") for _ in range(2))
    drawn, redrawn = (figure.axes[0].collections[0].get_offsets() for figure in (first, again))
    np.testing.assert_array_equal(drawn, redrawn)
    assert len({tuple(point) for point in drawn.tolist()} & set(zip(true, predicted, strict=True))) == 5000
    assert first.axes[0].get_title(loc="left").startswith(f"RMSE {root_mean_squared_error(true, predicted):,.0f} ")
    assert first.get_supxlabel() == "5,000 of 20,000 points drawn"
    few = plots.predictions(true[:80], predicted[:80], target="y").axes[0].collections[0]
    assert first.axes[0].collections[0].get_alpha() < few.get_alpha()


@pytest.mark.parametrize(
    ("outputs", "panels", "grid"),
    [(1, 1, (1, 1)), (2, 2, (1, 2)), (3, 3, (1, 3)), (4, 4, (2, 2)), (5, 5, (2, 3)), (9, 6, (2, 3))],
)
def test_each_output_has_its_own_axes(outputs, panels, grid):
    true = np.random.default_rng(3).normal(0, 10.0 ** np.arange(outputs), (30, outputs))
    figure = plots.predictions(true, 0.9 * true, target="y")
    assert len(figure.axes) == panels
    for i, axes in enumerate(figure.axes):
        assert axes.get_subplotspec().get_geometry() == (*grid, i, i)
        assert axes.get_xlabel() == ("true y" if outputs == 1 else f"true y {i + 1}")
        quality = axes.get_title(loc="left")
        assert f"R² {r2_score(true[:, i], 0.9 * true[:, i]):.4f}" in quality
        # Side by side, they would be wider than the axes.
        assert ("\n" in quality) == (outputs > 2)
        assert np.abs(axes.get_xlim()).max() < 2 * np.abs(true[:, i]).max()
    assert figure.get_supxlabel() == ("first 6 of 9 outputs" if outputs == 9 else "")


def test_outputs_can_be_named():
    figure = plots.predictions(np.eye(2), np.eye(2), target=["heat", "cold"])
    assert [axes.get_xlabel() for axes in figure.axes] == ["true heat", "true cold"]


def test_points_that_are_not_finite_are_left_out():
    true = np.array([1.0, 2.0, 3.0, np.inf, 4.0])
    predicted = np.array([1.5, np.nan, 3.0, 1.0, -np.inf])
    (axes,) = plots.predictions(true, predicted, target="y").axes
    assert len(axes.collections[0].get_offsets()) == 2
    assert axes.get_title(loc="left") == "RMSE 0.3536   R² 0.8750"


@pytest.mark.parametrize(
    ("true", "predicted", "quality"),
    [
        ([], [], "no finite values"),
        ([1.0], [np.nan], "no finite values"),
        ([2.0], [2.5], "RMSE 0.5   R² undefined"),
    ],
)
def test_scatter_of_next_to_nothing(tmp_path, true, predicted, quality):
    plots.predictions(true, predicted, tmp_path / "scatter.png", title="", target="y")
    figure = plots.predictions(np.array(true), np.array(predicted), target="y")
    assert [axes.get_title(loc="left") for axes in figure.axes] == [quality]
    low, high = figure.axes[0].get_xlim()
    assert low < high


def test_quality_is_weighted(rng):
    true, weights = rng.normal(50, 20, 80), rng.choice([0, 0.5, 3.25], 80)
    predicted = true + rng.normal(3, 9, 80)
    true[0] = np.nan
    figure = plots.predictions(true, predicted, weights=weights)
    of = {"y_true": true[1:], "y_pred": predicted[1:], "sample_weight": weights[1:]}
    assert figure.axes[0].get_title(loc="left") == (
        f"RMSE {root_mean_squared_error(**of):.4g}   R² {r2_score(**of):.4f}"
    )
    assert len(figure.axes[0].collections[0].get_offsets()) == 79
    assert figure.get_supxlabel() == "figures by weight"
