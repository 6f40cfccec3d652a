"""Batch normalisation in the estimators: fitted weights have it in them."""

import pickle

import numpy as np
import pytest
from quick import THREE, X, classifier, regressor, same_weights
from scipy import special
from sklearn.base import clone

from mlpgpu import MLPClassifier
from mlpgpu.maths.parameters import count
from mlpgpu.protocol.fitting import Fit

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


NORMALISED = {"normalization": "batch"}


@pytest.mark.parametrize("kind", [classifier, regressor])
def test_normalised_layers_predict_by_the_fitted_weights(kind):
    y = THREE if kind is classifier else np.c_[THREE, THREE]
    fitted = kind(**NORMALISED, activation="tanh", dropout=0.1).fit(X, y)
    outputs = np.tanh(X @ fitted.coefs_[0] + fitted.intercepts_[0])
    outputs = np.tanh(outputs @ fitted.coefs_[1] + fitted.intercepts_[1]) @ fitted.coefs_[2] + fitted.intercepts_[2]
    if kind is classifier:
        np.testing.assert_allclose(fitted.predict_proba(X), special.softmax(outputs, axis=1), rtol=1e-12)
    else:
        np.testing.assert_allclose(fitted.predict(X), outputs, rtol=1e-12)
    assert not same_weights(fitted, kind(activation="tanh", dropout=0.1).fit(X, y))
    assert clone(fitted).normalization == "batch"


def test_fits_go_on_with_normalised_layers():
    """Calls of partial_fit equal epochs of fit, and a warm start continues from the state of the previous fit."""
    given = NORMALISED | {"tol": 0, "shuffle": False}
    whole = classifier(**given, max_iter=4).fit(X, THREE)
    parts = classifier(**given)
    for _ in range(4):
        parts.partial_fit(X, THREE, classes=[0, 1, 2])
    for one, other in zip(parts.coefs_, whole.coefs_, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    given |= {"warm_start": True, "max_iter": 1, "learning_rate_init": 1e-15, "batch_size": 150}
    first = classifier(**given).fit(X, THREE)
    kept, before = first._continuation, first.loss_
    assert first.fit(X, THREE).loss_ == pytest.approx(before, rel=1e-9)
    assert first._continuation.state.params.shape == kept.state.params.shape


@pytest.mark.parametrize("way", ["changed", "a pickle", "a file", "not normalised"])
def test_weights_without_their_normalisation_go_on_without_it(tmp_path, way):
    given = {} if way == "not normalised" else NORMALISED
    fitted = classifier(**given, learning_rate_init=1e-15).fit(X, THREE)
    if way == "changed":
        fitted.coefs_[0] = 2 * fitted.coefs_[0]
    elif way == "a pickle":
        fitted = pickle.loads(pickle.dumps(fitted))
    elif way == "a file":
        fitted.save(tmp_path / "m.safetensors")
        fitted = MLPClassifier.load(tmp_path / "m.safetensors")
    fitted.set_params(**NORMALISED)
    before = fitted.predict_proba(X)
    with pytest.warns(UserWarning, match="any earlier normalisation is folded into them"):
        fitted.partial_fit(X, THREE)
    np.testing.assert_allclose(fitted.predict_proba(X), before, rtol=1e-9)


def test_layers_whose_weights_are_given_are_not_normalised():
    def normalized(**given):
        fit = Fit(classifier(**NORMALISED | given), X, THREE, None, incremental=False)
        plan = fit.prepare()
        assert len(plan.params) == count(plan.network.sizes, plan.network.normalized)
        return plan.network.normalized

    other = classifier().fit(X, THREE)
    assert normalized() == (True, True)
    assert normalized(normalization=["none", "batch"]) == normalized(freeze=1) == (False, True)
    start = [(other.coefs_[0], other.intercepts_[0])]
    assert normalized(init=start) == (False, True)
    # Later calls keep it so, without a warning.
    parts = classifier(**NORMALISED, init=start)
    for _ in range(2):
        parts.partial_fit(X, THREE, classes=[0, 1, 2])
    assert parts._continuation.kind[-1] == (False, True)
    with pytest.warns(UserWarning, match="'lbfgs' has no use for normalization"):
        classifier(**NORMALISED, solver="lbfgs").fit(X, THREE)


def test_scores_of_a_scorer_are_of_normalised_layers():
    given = NORMALISED | {"early_stopping": True, "max_iter": 5, "validation_fraction": 0.3}
    by_name, own = (classifier(**given, scoring=scoring).fit(X, THREE) for scoring in ("accuracy", None))
    assert by_name.validation_scores_ == own.validation_scores_


@pytest.mark.parametrize(
    ("normalization", "said"),
    [
        ("btach", "must be a str among .*; did you mean batch"),
        (None, "'normalization' parameter of MLPClassifier must be"),
        (["batch"] * 3, "normalization names 3 kinds for 2 hidden layers; give one, or one per layer"),
        (["batch", "layer"], "normalization is 'layer'; allowed: none, batch, or a list of one for each hidden layer"),
        (["batch", None], "normalization is None; allowed: none, batch"),
    ],
)
def test_normalizations_that_are_none(normalization, said):
    with pytest.raises(ValueError, match=said):
        classifier(normalization=normalization).fit(X, THREE)


def test_one_row_cannot_be_normalised():
    with pytest.raises(ValueError, match="normalization is 'batch', and a batch is one sample"):
        classifier(**NORMALISED, batch_size="auto").partial_fit(X[:1], THREE[:1], classes=[0, 1, 2])
