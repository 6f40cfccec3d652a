"""Dropout in the estimators: one rate, or one for each layer."""

import warnings

import numpy as np
import pytest
from quick import THREE, X, classifier, same_weights
from sklearn.base import clone

from mlpgpu.protocol.fitting import Fit

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("given", [{"dropout": 0.3}, {"input_dropout": 0.3}])
def test_dropout_changes_the_training_and_not_the_prediction(given):
    dropped, again, plain = (classifier(**kw).fit(X, THREE) for kw in (given, given, {}))
    assert same_weights(dropped, again)
    assert not same_weights(dropped, plain)
    np.testing.assert_array_equal(dropped.predict_proba(X), dropped.predict_proba(X))


@pytest.mark.parametrize("given", [{"dropout": 0.3}, {"input_dropout": 0.3}])
def test_dropout_is_drawn_from_the_random_state(given):
    """With initial weights and row order fixed, only dropout depends on the random state."""
    plain = classifier(max_iter=1).fit(X, THREE)
    start = list(zip(plain.coefs_, plain.intercepts_, strict=True))

    def fitted(seed, **more):
        return classifier(init=start, shuffle=False, random_state=seed, **more).fit(X, THREE)

    assert same_weights(fitted(1), fitted(2))
    assert not same_weights(fitted(1, **given), fitted(2, **given))


def test_a_rate_of_dropout_for_each_layer():
    one, each, other = (classifier(dropout=given).fit(X, THREE) for given in ([0.3], np.array([0.3, 0.3]), [0.3, 0]))
    assert same_weights(one, classifier(dropout=0.3).fit(X, THREE))
    assert same_weights(one, each)
    assert not same_weights(one, other)
    assert same_weights(classifier(dropout=(0, 0.0)).fit(X, THREE), classifier().fit(X, THREE))
    assert Fit(other, X, THREE, None, incremental=False).prepare().dropout == (0, 0.3, 0)
    assert clone(other).dropout == [0.3, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier(solver="lbfgs", dropout=[0, 0], max_iter=500).fit(X, THREE)


@pytest.mark.parametrize(
    ("dropout", "said"),
    [
        ([0.1, 0.2, 0.3], "dropout names 3 rates for 2 hidden layers; give one, or one per layer"),
        ([], "dropout names 0 rates for 2 hidden layers"),
        ([0.1, 1.0], r"dropout is \[0.1, 1.0\]; allowed: a number from 0 to below 1, or a list of one for each"),
        ([0.1, None], "allowed: a number from 0 to below 1, or a list of one"),
        (np.zeros((2, 2)), "allowed: a number from 0 to below 1, or a list of one"),
        ({0.1: 1, 0.2: 2}, "allowed: a number from 0 to below 1, or a list of one"),
        (1.0, "'dropout' parameter of MLPClassifier must be"),
        ("0.2", "'dropout' parameter of MLPClassifier must be"),
        (None, "'dropout' parameter of MLPClassifier must be"),
    ],
)
def test_rates_of_dropout_that_are_none(dropout, said):
    with pytest.raises(ValueError, match=said):
        classifier(dropout=dropout).fit(X, THREE)
