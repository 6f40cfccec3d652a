"""Users' subclasses of the estimators, whose constructors take other parameters."""

import numpy as np
import pytest
from quick import THREE as Y
from quick import X, same_weights
from sklearn import neural_network

from mlpgpu import MLPClassifier
from mlpgpu.protocol.base import SKLEARN_STEPS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FIXED = {"activation": "tanh", "alpha": 0.01, "momentum": 0.5, "batch_size": 30, "max_iter": 3, "random_state": 0}


class Narrow(MLPClassifier):
    def __init__(self, width=4, *, early=False, optimizer=None):
        super().__init__((width,), early_stopping=early, optimizer=optimizer, **FIXED)
        self.width, self.early = width, early


class TheirNarrow(neural_network.MLPClassifier):
    def __init__(self, width=4):
        super().__init__((width,), **FIXED)
        self.width = width


class Renamed(MLPClassifier):
    pass


def test_partial_fit_goes_on():
    own, plain, theirs = Narrow(4), MLPClassifier((4,), **FIXED), TheirNarrow(4)
    for estimator in (own, plain, theirs):
        estimator.shuffle = False
        for _ in range(3):
            estimator.partial_fit(X, Y, classes=[0, 1, 2])
    assert same_weights(own, plain)
    np.testing.assert_allclose(own.coefs_[0], theirs.coefs_[0], rtol=1e-10)


def test_an_optimizer_by_name():
    """A warning names each parameter that the optimizer does not use and that is not at its default."""
    with pytest.warns(UserWarning, match=r"^momentum is not a setting of the optimizer 'adamw'"):
        own = Narrow(optimizer="adamw").fit(X, Y)
    with pytest.warns(UserWarning, match="momentum"):
        assert same_weights(own, MLPClassifier((4,), optimizer="adamw", **FIXED).fit(X, Y))


def test_the_range_test():
    own, plain = (
        estimator.find_learning_rate(X, Y, steps=10)
        for estimator in (Narrow(early=True), MLPClassifier((4,), early_stopping=True, **FIXED))
    )
    np.testing.assert_array_equal(own.losses, plain.losses)


def test_to_scikit_learn_with_all_parameters():
    own = Narrow().fit(X, Y).to_sklearn()
    assert own.get_params() == MLPClassifier((4,), **FIXED).fit(X, Y).to_sklearn().get_params()


@pytest.mark.parametrize("kind", [MLPClassifier, Renamed])
def test_from_scikit_learn(kind):
    theirs = TheirNarrow().fit(X, Y)
    ours = kind.from_sklearn(theirs)
    assert type(ours) is kind
    assert ours.activation == "tanh"
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=0, atol=1e-12)


def test_overriding_a_private_step_of_scikit_learn_warns():
    """The estimator would otherwise train as if nothing had been overridden."""
    with pytest.warns(UserWarning, match=r"^Own overrides _backprop, _init_coef, which scikit-learn's MLP") as told:

        class Own(MLPClassifier):
            def _init_coef(self, fan_in, fan_out, dtype):
                raise AssertionError

            def _backprop(self, *given):
                raise AssertionError

    assert told[0].filename == __file__
    assert same_weights(Own(**FIXED).fit(X, Y), MLPClassifier(**FIXED).fit(X, Y))


def test_the_steps_are_those_of_scikit_learn():
    theirs = {name for kind in neural_network.MLPClassifier.__mro__[:3] for name in vars(kind)}
    assert set(SKLEARN_STEPS) - theirs == set()
