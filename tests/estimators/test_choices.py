"""Activations by name or of one's own, and what is said of a name that is none."""

import re

import numpy as np
import pytest
import sklearn.neural_network
from quick import QUICK, THREE, TWO, X, classifier, same_weights
from sklearn.base import clone

from mlpgpu import MLPClassifier, MLPRegressor
from mlpgpu.callbacks import EarlyStopping, ModelCheckpoint
from mlpgpu.maths.activations import ACTIVATIONS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_an_activation_for_each_layer_and_functions_of_ones_own():
    named = classifier(activation=["tanh", "gelu"]).fit(X, THREE)
    own = classifier(activation=[ACTIVATIONS["tanh"], tuple(ACTIVATIONS["gelu"][:2])]).fit(X, THREE)
    assert same_weights(named, own)
    assert not same_weights(named, classifier(activation=["gelu", "tanh"]).fit(X, THREE))
    one = classifier(activation=tuple(ACTIVATIONS["silu"][:2])).fit(X, THREE)
    assert same_weights(one, classifier(activation="silu").fit(X, THREE))
    assert same_weights(one, classifier(activation=["silu"]).fit(X, THREE))
    assert clone(one).activation == one.activation


@pytest.mark.parametrize(
    ("activation", "said"),
    [
        (["relu"] * 3, "3 functions for 2 hidden layers; give one, or one per layer"),
        (["relu", "step"], "activation is 'step'; allowed: identity"),
        (["relu", 3], "activation is 3; allowed"),
    ],
)
def test_a_wrong_activation(activation, said):
    with pytest.raises(ValueError, match=said):
        classifier(activation=activation).fit(X, THREE)


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (MLPClassifier, {"activation": "sigmoid"}, "Got 'sigmoid' instead; did you mean logistic?"),
        (MLPClassifier, {"activation": ["relu", "swish"]}, "derivative(xp, z, y); did you mean silu?"),
        (MLPClassifier, {"loss": "binary_crossentropy"}, "did you mean log_loss?"),
        (MLPClassifier, {"optimizer": "adamm"}, "did you mean adam"),
        (MLPClassifier, {"optimizer": "AdamW"}, "did you mean adamw?"),
        (MLPClassifier, {"activation": "LeakyReLU"}, "did you mean leaky_relu?"),
        (MLPClassifier, {"init": "xavier_uniform"}, "did you mean glorot_uniform?"),
        (MLPClassifier, {"init": "kaiming_normal"}, "did you mean he_normal?"),
        (MLPRegressor, {"loss": "mae"}, "did you mean absolute_error?"),
        (MLPRegressor, {"loss": "MSE"}, "did you mean squared_error?"),
        (MLPClassifier, {"loss": "cross_entropy"}, "did you mean log_loss?"),
        (MLPClassifier, {"learning_rate": 0.01}, "did you mean learning_rate_init=0.01?"),
        (MLPClassifier, {"learning_rate": "cosine"}, "did you mean learning_rate_schedule='cosine'?"),
        (MLPClassifier, {"learning_rate_init": "adaptive"}, "did you mean learning_rate='adaptive'?"),
        (MLPClassifier, {"learning_rate_init": "one_cycle"}, "did you mean learning_rate_schedule='one_cycle'?"),
        (MLPClassifier, {"solver": "rmsprop"}, "did you mean optimizer='rmsprop'?"),
        (MLPClassifier, {"solver": "Adam"}, "did you mean adam?"),
        (MLPClassifier, {"solver": "RMSProp"}, "did you mean optimizer='rmsprop'?"),
        (MLPClassifier, {"optimizer": "L-BFGS"}, "did you mean solver='lbfgs'?"),
        (MLPClassifier, {"optimizer": "sgdm"}, "did you mean momentum?"),
        (MLPClassifier, {"loss": "CategoricalCrossentropy"}, "did you mean log_loss?"),
        (MLPClassifier, {"loss": "BCEWithLogitsLoss"}, "did you mean log_loss?"),
        (MLPRegressor, {"loss": "SmoothL1Loss"}, "did you mean huber?"),
        (MLPRegressor, {"loss": "L1Loss"}, "did you mean absolute_error?"),
        (MLPRegressor, {"loss": "pinball"}, "did you mean quantile?"),
        (MLPClassifier, {"loss": "logistic"}, "did you mean log_loss?"),
        (MLPClassifier, {"solver": None}, "Got None instead."),
        (MLPClassifier, {"learning_rate": None}, "Got None instead."),
        (MLPClassifier, {"scoring": "auc"}, "did you mean roc_auc?"),
        (MLPClassifier, {"activation": abs}, "a function goes with its derivative, as a pair."),
        (MLPClassifier, {"device": "gpu"}, "allowed: auto, cpu, cuda, or cuda:N such as cuda:0; did you mean cuda?"),
        (MLPClassifier, {"device": "CPU"}, "did you mean cpu?"),
        (MLPRegressor, {"scoring": "RMSE"}, "did you mean neg_root_mean_squared_error?"),
        (MLPRegressor, {"activation": "no such word"}, "Got 'no such word' instead."),
        (MLPRegressor, {"alpha": -1.0}, "Got -1.0 instead."),
        (MLPRegressor, {"quantile": 1.0}, "Got 1.0 instead."),
        (MLPClassifier, {"callbacks": [EarlyStopping("val_loss")]}, "did you mean validation_loss?"),
        (MLPClassifier, {"callbacks": [EarlyStopping("val_accuracy")]}, "did you mean validation_score?"),
    ],
)
def test_the_words_of_other_libraries(kind, given, said):
    with pytest.raises(ValueError, match=rf"{re.escape(said)}.*$") as caught:
        kind(**QUICK | given).fit(X, TWO, X_val=X, y_val=TWO)
    assert str(caught.value).count("did you mean") == ("did" in said)


@pytest.mark.parametrize("sizes", [10**400, (5, 10**400), [2**63]], ids=["one", "of several", "least"])
def test_a_layer_larger_than_any_array(sizes):
    with pytest.raises(ValueError, match="^hidden_layer_sizes must be <= 9223372036854775807, .*; lower it.$"):
        MLPClassifier(hidden_layer_sizes=sizes).fit(X, TWO)


@pytest.mark.parametrize("name", ["alpha", "learning_rate_init", "power_t", "tol", "bias_init", "init_std"])
@pytest.mark.parametrize("number", [10**400, -(10**400)], ids=["above", "below"])
def test_a_whole_number_beyond_all_floats(name, number):
    with pytest.raises(ValueError, match=f"^The '{name}' parameter of MLPClassifier must be a float in the range"):
        classifier(**{name: number}).fit(X, TWO)


@pytest.mark.filterwarnings("ignore:Got `batch_size`")
@pytest.mark.usefixtures("not_compiled")
def test_a_limit_that_is_never_reached_may_be_any_whole_number():
    most, some = 10**400, {"tol": 1e6, "n_iter_no_change": 2}
    for given in ({"batch_size": most}, {"n_iter_no_change": most}, {"max_iter": most, **some}):
        expected = sklearn.neural_network.MLPClassifier(**QUICK | given).fit(X, TWO)
        found = classifier(**given).fit(X, TWO)
        np.testing.assert_allclose(found.loss_curve_, expected.loss_curve_, rtol=1e-9)
    for name in ("max_fun", "max_iter"):
        at_once = classifier(**{"solver": "lbfgs", "tol": 1e6, name: most}).fit(X, TWO)
        assert at_once.n_iter_ == 0


def test_a_function_is_not_taken_for_the_one_of_its_name(tmp_path):
    def tanh(xp, z):
        return z / 2

    own = tanh, lambda xp, z, y: xp.ones_like(z) / 2
    with pytest.raises(ValueError, match="the activation 'own tanh' is given as functions; give a name, or pickle"):
        classifier(activation=own, callbacks=[ModelCheckpoint(tmp_path / "model")]).fit(X, THREE)
