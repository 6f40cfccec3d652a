"""Initial weights: drawn by name, or given; and layers that stay as they are."""

import copy

import numpy as np
import pytest
from quick import THREE, TWO, X, classifier, pairs, same_weights
from sklearn.base import clone

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_initial_weights_and_biases():
    still = {"max_iter": 1, "learning_rate_init": 1e-300, "hidden_layer_sizes": (400, 300)}
    fitted = classifier(init="he_normal", bias_init=0.25, **still).fit(X, THREE)
    assert fitted.coefs_[1].std() == pytest.approx(np.sqrt(2 / 400), rel=0.01)
    assert all((b == 0.25).all() for b in fitted.intercepts_)
    assert all((abs(b) < 1e-290).all() for b in classifier(init="zeros", **still).fit(X, THREE).intercepts_)
    assert classifier(init="normal", init_std=3.0, **still).fit(X, THREE).coefs_[1].std() == pytest.approx(3, rel=0.01)
    # bias_init alone does not change scikit-learn's draws of the weights.
    assert same_weights(classifier(bias_init=1.0, **still).fit(X, THREE), classifier(**still).fit(X, THREE))


def test_the_lowest_layers_start_from_what_is_given():
    still = {"max_iter": 1, "learning_rate_init": 1e-300}
    first = classifier(max_iter=3).fit(X, TWO)
    fitted = classifier(init=pairs(first)[:2], **still).fit(X, THREE)
    for layer in range(2):
        np.testing.assert_allclose(fitted.coefs_[layer], first.coefs_[layer], rtol=0, atol=1e-290)
        np.testing.assert_allclose(fitted.intercepts_[layer], first.intercepts_[layer], rtol=0, atol=1e-290)
    # The layer above is drawn as without `init`.
    np.testing.assert_array_equal(fitted.coefs_[2], classifier(**still).fit(X, THREE).coefs_[2])
    np.testing.assert_array_equal(clone(fitted).fit(X, THREE).coefs_[0], fitted.coefs_[0])


@pytest.mark.parametrize(
    "given", [{}, {"optimizer": "adamw", "clip_norm": 0.1}, {"solver": "sgd", "alpha": 0.1}, {"solver": "lbfgs"}]
)
def test_a_frozen_layer_is_a_network_without_it_on_what_it_makes_of_the_rows(given):
    first = classifier(max_iter=3).fit(X, TWO)
    start = pairs(classifier(init=pairs(first)[:1], max_iter=1, learning_rate_init=1e-300).fit(X, THREE))
    given = {"shuffle": False, "max_iter": 8} | given
    frozen = classifier(init=start, freeze=1, **given).fit(X, THREE)
    np.testing.assert_array_equal(frozen.coefs_[0], first.coefs_[0])
    np.testing.assert_array_equal(frozen.intercepts_[0], first.intercepts_[0])
    above = classifier(hidden_layer_sizes=(5,), init=start[1:], **given)
    above.fit(first.hidden_activations(X, 0), THREE)
    for ours, expected in zip(frozen.coefs_[1:], above.coefs_, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-7, atol=1e-9)
    assert not np.allclose(frozen.coefs_[1], start[1][0])


def test_what_is_frozen_between_two_calls_stays_as_it_then_is():
    fitted = classifier().partial_fit(X, THREE, classes=[0, 1, 2]).partial_fit(X, THREE)
    before = pairs(copy.deepcopy(fitted))
    fitted.set_params(freeze=2).partial_fit(X, THREE)
    for layer in range(2):
        np.testing.assert_array_equal(fitted.coefs_[layer], before[layer][0])
    assert not np.array_equal(fitted.coefs_[2], before[2][0])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"freeze": 3}, "freeze is 3; allowed: 0 to 2, the number of hidden layers"),
        ({"shuffle": False, "replacement": True}, "replacement=True draws rows at random, which shuffle=False rules"),
        ({"init": []}, "init has 0 items; allowed: a name, or a pair of weights and biases"),
        ({"init": [np.ones((4, 8))]}, "init has 1 items; allowed"),
        ({"init": [1.0, 2.0]}, "init has 2 items; allowed"),
        ({"init": [(np.ones((4, 7)), np.ones(7))]}, r"init gives layer 1 weights of shape \(4, 7\) and biases"),
        ({"init": [(np.ones((4, 8)), np.ones((8, 1)))]}, r"network has \(4, 8\) and \(8,\) there"),
        # The lists of another fit, which are no pairs of a layer.
        ({"init": ([np.ones((4, 8)), np.ones((8, 6))], [np.ones(8), np.ones(6)])}, r"pairs such as list\(zip\(other"),
    ],
)
def test_layers_that_do_not_suit(given, said):
    with pytest.raises(ValueError, match=said):
        classifier(**given).fit(X, THREE)
