"""Rows to validate on, given or held out, and the scorer that chooses the best weights on them."""

import copy

import numpy as np
import pytest
import sklearn
from quick import THREE, X_REG, Y_REG, X, classifier, regressor, same_weights
from sklearn import metrics
from sklearn.datasets import load_breast_cancer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler, scale

from mlpgpu.callbacks import LambdaCallback
from mlpgpu.maths.parameters import layout

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("scoring", ["v_measure_score", lambda estimator, x, y: estimator.score(x, y)])
def test_a_scorer_that_knows_no_weights_of_rows(scoring):
    one, other = (classifier(early_stopping=True, scoring=scoring).fit(X, THREE, w) for w in (np.ones(150), None))
    assert one.validation_scores_ == other.validation_scores_


def test_a_scorer_that_takes_weights_of_rows_is_given_them():
    given = []

    def scorer(estimator, x, y, **more):
        given.append(more)
        return 0.5

    w = np.arange(150.0)
    validation = {"X_val": X, "y_val": THREE, "sample_weight_val": w}
    classifier(early_stopping=True, scoring=scorer).fit(X, THREE, **validation)
    assert [list(more) for more in given] == [["sample_weight"]] * len(given)
    np.testing.assert_array_equal(given[0]["sample_weight"], w)
    by_name, own = (
        classifier(early_stopping=True, scoring=scoring).fit(X, THREE, **validation) for scoring in ("accuracy", None)
    )
    np.testing.assert_allclose(by_name.validation_scores_, own.validation_scores_, rtol=1e-12)


def test_a_warm_start_with_another_scorer_does_not_count_on():
    """Log-likelihoods, which are negative, must not have to beat an earlier accuracy."""
    warm = classifier(warm_start=True, early_stopping=True, learning_rate_init=0.01, max_iter=20).fit(X, THREE)
    n = len(warm.validation_scores_)
    warm.set_params(scoring="neg_log_loss").fit(X, THREE)
    assert warm.best_validation_score_ == max(warm.validation_scores_[n:]) < 0


def test_curves_of_lbfgs_on_rows_to_validate_on():
    fitted = classifier(solver="lbfgs").fit(X[::2], THREE[::2], X_val=X[1::2], y_val=THREE[1::2])
    assert fitted.validation_scores_[-1] == fitted.score(X[1::2], THREE[1::2])
    assert fitted.validation_loss_curve_[-1] == pytest.approx(
        metrics.log_loss(THREE[1::2], fitted.predict_proba(X[1::2])), rel=1e-9
    )
    assert fitted.best_validation_score_ == max(fitted.validation_scores_) > min(fitted.validation_scores_)


def test_validation_rows_of_ones_own():
    weights = np.random.default_rng(1).uniform(0.5, 2, 50)
    fitted = classifier().fit(X[::3], THREE[::3], X_val=X[1::3], y_val=THREE[1::3], sample_weight_val=weights)
    p = fitted.predict_proba(X[1::3])
    expected = metrics.log_loss(THREE[1::3], p, sample_weight=weights)
    assert fitted.validation_loss_curve_[-1] == pytest.approx(expected, rel=1e-9)
    accuracy = fitted.score(X[1::3], THREE[1::3], weights)
    assert fitted.validation_scores_[-1] == pytest.approx(accuracy, rel=1e-12)
    assert len(fitted.validation_loss_curve_) == len(fitted.loss_curve_) == 6
    assert fitted.best_validation_score_ == max(fitted.validation_scores_) > min(fitted.validation_scores_)
    # Without early stopping, they do not influence the training.
    assert same_weights(fitted, classifier().fit(X[::3], THREE[::3]))

    model = regressor().fit(X_REG, Y_REG, X_val=X_REG[:40], y_val=Y_REG[:40])
    assert model.validation_loss_curve_[-1] == pytest.approx(
        metrics.mean_squared_error(Y_REG[:40], model.predict(X_REG[:40])) / 2
    )
    assert model.validation_scores_[-1] == pytest.approx(model.score(X_REG[:40], Y_REG[:40]))


def test_validation_rows_through_a_pipeline():
    fit = {"early_stopping": True, "max_iter": 10}
    with sklearn.config_context(enable_metadata_routing=True):
        last = classifier(**fit).set_fit_request(X_val=True, y_val=True)
        routed = Pipeline([("scaler", StandardScaler()), ("mlp", last)], transform_input=["X_val"])
        routed.fit(5 * X + 3, THREE, X_val=5 * X[::2] + 3, y_val=THREE[::2])
    scaler = StandardScaler().fit(5 * X + 3)
    direct = classifier(**fit).fit(
        scaler.transform(5 * X + 3), THREE, X_val=scaler.transform(5 * X[::2] + 3), y_val=THREE[::2]
    )
    assert routed[-1].validation_loss_curve_ == direct.validation_loss_curve_


def test_a_pipeline_does_not_scale_validation_rows_by_itself():
    """The trap that docs/estimators.md warns of."""
    scaler, x, x_val = StandardScaler(), 5 * X + 3, 5 * X[::2] + 3
    fitted = Pipeline([("scaler", scaler), ("mlp", classifier())]).fit(
        x, THREE, mlp__X_val=x_val, mlp__y_val=THREE[::2]
    )
    direct = classifier().fit(scaler.transform(x), THREE, X_val=x_val, y_val=THREE[::2])
    assert fitted[-1].validation_loss_curve_ == direct.validation_loss_curve_


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"X_val": X}, "y_val is not given"),
        ({"y_val": THREE}, "X_val is not given"),
        ({"X_val": X[:, :2], "y_val": THREE}, "X has 2 features"),
        ({"X_val": X, "y_val": THREE + 1}, "classes not in"),
        ({"X_val": X, "y_val": THREE[:9]}, "inconsistent numbers"),
        ({"sample_weight_val": np.ones(150)}, "X_val is not given"),
        ({"X_val": X, "y_val": THREE, "sample_weight_val": np.zeros(150)}, "at least one non-zero"),
    ],
)
def test_wrong_validation_rows(given, said):
    with pytest.raises(ValueError, match=said):
        classifier().fit(X, THREE, **given)


def test_rows_held_out_that_weigh_nothing_are_refused():
    weights = np.zeros(150)
    weights[[0, 50, 100]] = 1
    with pytest.raises(ValueError, match="at least one non-zero"):
        classifier(early_stopping=True).fit(X, THREE, weights)


def test_nothing_to_validate_on_is_told_with_a_fraction_that_would_do():
    with pytest.raises(ValueError, match="give X_val and y_val, or set validation_fraction above 0, such as 0.1"):
        classifier(early_stopping=True, validation_fraction=0).fit(X, THREE)
    classifier(early_stopping=True, validation_fraction=0.1).fit(X, THREE)


class Weights(LambdaCallback):
    """Callback that keeps the parameters of every epoch."""

    def __init__(self):
        self.kept = []
        super().__init__(on_epoch_end=lambda run, record: self.kept.append(run.params))


def scores_of(fitted, kept, scorer, x, y):
    """Return a scorer's scores of the parameters of each epoch, set by hand."""
    probe, found = copy.copy(fitted), []
    for params in kept:
        parts = [params[b.start : b.stop].reshape(b.shape) for b in layout((x.shape[1], 8, 5, 1))]
        probe.coefs_, probe.intercepts_ = parts[:3], parts[3:]
        found.append(scorer(probe, x, y))
    return found


@pytest.mark.parametrize("scoring", ["neg_log_loss", "roc_auc", lambda estimator, x, y: -estimator.predict(x).sum()])
def test_the_best_weights_are_those_of_the_scorer(scoring):
    x, y = load_breast_cancer(return_X_y=True)
    x = scale(x)
    weights = Weights()
    fitted = classifier(
        early_stopping=True, scoring=scoring, max_iter=12, learning_rate_init=0.02, callbacks=[weights]
    ).fit(x[::2], y[::2], X_val=x[1::2], y_val=y[1::2])
    scorer = metrics.check_scoring(fitted, scoring)
    found = scores_of(fitted, weights.kept, scorer, x[1::2], y[1::2])
    np.testing.assert_allclose(fitted.validation_scores_, found, rtol=1e-9)
    assert fitted.best_validation_score_ == max(fitted.validation_scores_)
    assert scorer(fitted, x[1::2], y[1::2]) == pytest.approx(max(found))
    assert fitted.loss_ == fitted.loss_curve_[int(np.argmax(found))]


@pytest.mark.parametrize("given", [{}, {"early_stopping": True}, {"solver": "lbfgs"}])
@pytest.mark.parametrize("of", ["X_val", "y_val"])
def test_rows_too_large_to_validate_on_are_told(given, of):
    rows = {"X_val": X_REG.copy(), "y_val": Y_REG.copy()}
    regressor(dtype="float32", **given).fit(X_REG, Y_REG, **rows)
    rows[of][3, ...] = 1e300
    with pytest.warns(UserWarning, match=r"^the validation loss is (nan|inf): a row has a target, or features, too"):
        fitted = regressor(dtype="float32", **given).fit(X_REG, Y_REG, **rows)
    assert not np.isfinite(fitted.validation_loss_curve_).any()


def test_of_a_fit_that_diverges_the_validation_rows_are_not_blamed(recwarn):
    fitted = classifier(solver="sgd", learning_rate_init=1e200, batch_size="auto", early_stopping=True).fit(X, THREE)
    assert not np.isfinite(fitted.validation_loss_curve_).any()
    assert [str(one.message)[:29] for one in recwarn] == ["Training diverged in epoch 2,"]
