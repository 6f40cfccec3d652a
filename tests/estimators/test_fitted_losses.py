"""The losses of the estimators: what a fit aims at, and predicts by."""

import functools

import numpy as np
import pytest
from quick import THREE, TWO, X_REG, Y_REG, X, classifier, regressor, same_weights
from sklearn import metrics

from mlpgpu import MLPRegressor
from mlpgpu.maths.losses import LOSSES, Loss

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("y", [TWO, THREE], ids=["binary", "multiclass"])
def test_label_smoothing_is_in_the_first_loss(y):
    fitted = classifier(label_smoothing=0.2, batch_size=150, alpha=0.0, max_iter=1, init="glorot_normal").fit(X, y)
    n = len(np.unique(y))
    start = classifier(batch_size=150, max_iter=1, learning_rate_init=1e-300, init="glorot_normal").fit(X, y)
    targets = np.eye(n)[y] * 0.8 + 0.2 / n
    expected = -(targets * np.log(start.predict_proba(X))).sum(axis=1).mean()
    assert fitted.loss_curve_[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("make", "y", "given"),
    [
        (classifier, THREE, {"label_smoothing": 0.25}),
        (regressor, X[:, 0], {"loss": "quantile", "quantile": 0.25}),
        (regressor, X[:, 0], {"loss": "huber", "huber_delta": 0.25}),
    ],
    ids=["label_smoothing", "quantile", "huber_delta"],
)
def test_numbers_of_numpy_are_numbers(make, y, given):
    """Searches draw them from SciPy's distributions; those of single precision are no floats of Python."""
    drawn = {name: np.float32(value) if isinstance(value, float) else value for name, value in given.items()}
    assert same_weights(*(make(**settings).fit(X, y) for settings in (drawn, given)))


def test_another_loss_for_the_next_fit_leaves_predictions_alone():
    fitted = regressor(loss="poisson").fit(X_REG, np.exp(Y_REG))
    before = fitted.predict(X_REG)
    np.testing.assert_array_equal(fitted.set_params(loss="squared_error").predict(X_REG), before)


@pytest.mark.parametrize("way", ["partial_fit", "fit"])
def test_a_fit_that_goes_on_with_another_loss_predicts_by_its_link(way):
    fitted = regressor(loss="squared_error", warm_start=True).fit(X_REG, np.exp(Y_REG))
    getattr(fitted.set_params(loss="poisson"), way)(X_REG, np.exp(Y_REG))
    z = fitted.hidden_activations(X_REG) @ fitted.coefs_[-1] + fitted.intercepts_[-1]
    np.testing.assert_allclose(fitted.predict(X_REG), np.exp(z[:, 0]), rtol=1e-12)
    assert fitted.out_activation_ == "exp"


def half_square(xp, z, t):
    return xp.sum((z - t) ** 2, axis=-1) / 2


def difference(xp, z, t):
    return z - t


def test_a_loss_of_ones_own():
    pair, named = regressor(loss=(half_square, difference)), regressor()
    np.testing.assert_allclose(pair.fit(X_REG, Y_REG).predict(X_REG), named.fit(X_REG, Y_REG).predict(X_REG))
    whole = regressor(loss=LOSSES["poisson"]).fit(X_REG, Y_REG**2)
    assert same_weights(whole, regressor(loss="poisson").fit(X_REG, Y_REG**2))
    assert (whole.predict(X_REG) > 0).all()
    logistic = LOSSES["cross_entropy"]
    own = classifier(loss=(lambda *a: logistic.rows(*a)[0], lambda *a: logistic.rows(*a)[1])).fit(X, THREE)
    assert same_weights(own, classifier().fit(X, THREE))
    assert np.isfinite(own.predict_log_proba(X)).all()
    with pytest.raises(ValueError, match="not a pair of functions"):
        regressor(loss=(half_square, 1)).fit(X_REG, Y_REG)
    # In the classifiers, the layer sizes are the first argument.
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        MLPRegressor((50, 50)).fit(X_REG, Y_REG)


def test_a_loss_of_ones_own_without_a_log_link():
    cross_entropy = LOSSES["cross_entropy"]
    own = classifier(loss=Loss(cross_entropy.rows, cross_entropy.link, "classification")).fit(X, THREE)
    np.testing.assert_allclose(own.predict_log_proba(X), np.log(own.predict_proba(X)))


def test_a_link_of_ones_own():
    """Its name may be that of another link, and a partial has none."""

    def identity(xp, z):
        return 3 * z

    expected = 3 * regressor().fit(X_REG, Y_REG).predict(X_REG)
    for link in (identity, functools.partial(identity)):
        own = regressor(loss=LOSSES["squared_error"]._replace(link=link)).fit(X_REG, Y_REG)
        np.testing.assert_allclose(own.predict(X_REG), expected, rtol=1e-12)
        assert own.out_activation_.startswith("own")


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_a_quantile_is_what_the_loss_aims_at(level):
    rng = np.random.default_rng(3)
    x = rng.uniform(size=(4000, 1))
    y = 2 * x[:, 0] + rng.normal(size=4000)
    fitted = MLPRegressor(
        "quantile", (), quantile=level, alpha=0.0, max_iter=60, learning_rate_init=0.02, random_state=0, tol=0.0
    ).fit(x, y)
    # Three standard deviations of the fraction of 4,000 draws, and 0.01 for the training.
    assert (y <= fitted.predict(x)).mean() == pytest.approx(level, abs=3 * np.sqrt(level * (1 - level) / 4000) + 0.01)


@pytest.mark.parametrize("level", [0.1, 0.9])
def test_early_stopping_brings_back_the_weights_that_are_best_for_the_quantile(level):
    rng = np.random.default_rng(3)
    x = rng.uniform(size=(4000, 1))
    y = 2 * x[:, 0] + rng.normal(size=4000)
    fitted = MLPRegressor(
        "quantile", (), quantile=level, alpha=0.0, learning_rate_init=0.02, random_state=0, early_stopping=True
    ).fit(x[:3000], y[:3000], X_val=x[3000:], y_val=y[3000:])
    found = fitted.predict(x[3000:])
    # R² would be best at the mean.
    assert (y[3000:] <= found).mean() == pytest.approx(level, abs=0.03)
    assert fitted.best_validation_score_ == pytest.approx(metrics.d2_pinball_score(y[3000:], found, alpha=level))


@pytest.mark.parametrize("loss", ["huber", "absolute_error"])
def test_robust_losses_do_not_follow_an_outlier(loss):
    x = np.zeros((101, 1))
    y = np.append(np.zeros(100), 1e4)
    rest = {"hidden_layer_sizes": (), "max_iter": 300, "learning_rate_init": 0.1, "random_state": 0, "alpha": 0.0}
    assert abs(MLPRegressor(loss, huber_delta=0.5, **rest).fit(x, y).predict(x[:1])[0]) < 0.5
    # Least squares finds the mean.
    assert MLPRegressor(solver="lbfgs", **rest).fit(x, y).predict(x[:1])[0] == pytest.approx(y.mean(), rel=1e-4)
