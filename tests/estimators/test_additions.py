"""The additions to scikit-learn's parameters, each against something independent."""

import copy
import functools
import gc
import io
import itertools
import pickle
import re
import signal
import tracemalloc
import warnings

import numpy as np
import pytest
import sklearn
from scipy import special
from sklearn import metrics
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler, scale
from sklearn.utils import compute_sample_weight
from sklearn.utils._param_validation import InvalidParameterError

from mlpgpu import InputError, MLPClassifier, MLPRegressor, Model
from mlpgpu.callbacks import (
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TerminateOnNaN,
    TimeLimit,
)
from mlpgpu.callbacks.progress import ProgressBar
from mlpgpu.maths.activations import ACTIVATIONS
from mlpgpu.maths.losses import LOSSES, Loss
from mlpgpu.maths.optimizers import OPTIMIZERS
from mlpgpu.maths.parameters import count, layout
from mlpgpu.maths.schedules import SCHEDULES, with_warmup
from mlpgpu.protocol.fitting import Fit, Validation

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, THREE = load_iris(return_X_y=True)
X = scale(X)
TWO = (THREE == 2).astype(int)
X_REG, Y_REG = load_diabetes(return_X_y=True)
X_REG, Y_REG = scale(X_REG), scale(Y_REG)
QUICK = {"hidden_layer_sizes": (8, 5), "max_iter": 6, "random_state": 1, "batch_size": 50}


def classifier(**given):
    return MLPClassifier(**QUICK | given)


def regressor(**given):
    return MLPRegressor(**QUICK | given)


def same_weights(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one.coefs_, other.coefs_, strict=True))


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
    assert Fit(other, X, THREE, None, Validation(), incremental=False).prepare().dropout == (0, 0.3, 0)
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
        fit = Fit(classifier(**NORMALISED | given), X, THREE, None, Validation(), incremental=False)
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


@pytest.mark.parametrize("y", [TWO, THREE], ids=["binary", "multiclass"])
def test_label_smoothing_is_in_the_first_loss(y):
    fitted = classifier(label_smoothing=0.2, batch_size=150, alpha=0.0, max_iter=1, init="glorot_normal").fit(X, y)
    n = len(np.unique(y))
    start = classifier(batch_size=150, max_iter=1, learning_rate_init=1e-300, init="glorot_normal").fit(X, y)
    targets = np.eye(n)[y] * 0.8 + 0.2 / n
    expected = -(targets * np.log(start.predict_proba(X))).sum(axis=1).mean()
    assert fitted.loss_curve_[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("make", "y", "given"),
    [
        (classifier, THREE, {"label_smoothing": 0.25}),
        (regressor, X[:, 0], {"loss": "quantile", "quantile": 0.25}),
        (regressor, X[:, 0], {"loss": "huber", "huber_delta": 0.25}),
    ],
    ids=["label_smoothing", "quantile", "huber_delta"],
)
def test_numbers_of_numpy_are_numbers(real_backend, make, y, given, kind):
    """Searches draw them from SciPy's distributions."""
    drawn = {name: kind(value) if isinstance(value, float) else value for name, value in given.items()}
    x, where = X.astype(np.float32), {"device": real_backend.device, "backend": real_backend.name}
    one, other = (make(**settings, **where).fit(x, y) for settings in (given, drawn))
    assert other.coefs_[0].dtype == np.float32
    assert same_weights(one, other)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 1.0, 1: 5.0}])
def test_class_weights_are_sample_weights(class_weight):
    given = np.random.default_rng(0).uniform(0.5, 2, len(X))
    weighted = classifier(class_weight=class_weight).fit(X, TWO, given)
    by_row = classifier().fit(X, TWO, given * compute_sample_weight(class_weight, TWO))
    np.testing.assert_allclose(weighted.coefs_[0], by_row.coefs_[0], rtol=1e-12)


def test_class_weights_in_partial_fit():
    weights = {0: 1.0, 1: 5.0}
    one = classifier(class_weight=weights).partial_fit(X, TWO, classes=[0, 1])
    other = classifier().partial_fit(X, TWO, compute_sample_weight(weights, TWO), classes=[0, 1])
    assert same_weights(one, other)
    with pytest.raises(ValueError, match="'balanced' needs all rows"):
        classifier(class_weight="balanced").partial_fit(X, TWO, classes=[0, 1])


def test_a_call_of_partial_fit_may_have_rows_of_no_weight_alone():
    plain = {"solver": "sgd", "momentum": 0.0, "alpha": 0.0}
    fitted = classifier(class_weight={0: 0.0}, **plain).partial_fit(X, TWO, classes=[0, 1])
    before = copy.deepcopy(fitted)
    assert same_weights(fitted.partial_fit(X[TWO == 0], TWO[TWO == 0]), before)
    assert not same_weights(fitted.partial_fit(X[TWO == 1], TWO[TWO == 1]), before)


def test_class_weights_are_those_of_all_rows_wherever_they_fall():
    """Whether or not a class is in a batch or in the validation set."""
    weights, few = {2: 5.0}, THREE < 2
    by_row = np.where(THREE == 2, 5.0, 1.0)
    one = classifier(class_weight=weights).partial_fit(X[few], THREE[few], classes=[0, 1, 2]).partial_fit(X, THREE)
    other = classifier().partial_fit(X[few], THREE[few], classes=[0, 1, 2]).partial_fit(X, THREE, by_row)
    assert same_weights(one, other)
    x, y, x_val, y_val = X[:120], THREE[:120], X[40:], THREE[40:]
    balanced = 120 / (3 * np.array([50, 50, 20]))
    one = classifier(class_weight="balanced", max_iter=1).fit(x, y, X_val=x_val, y_val=y_val)
    other = classifier(max_iter=1).fit(x, y, balanced[y], X_val=x_val, y_val=y_val, sample_weight_val=balanced[y_val])
    assert one.validation_loss_curve_ == pytest.approx(other.validation_loss_curve_, rel=1e-12)


@pytest.mark.parametrize(
    ("class_weight", "said"),
    [
        ({0: -1.0}, "allowed: weights of 0 and above"),
        ({0: 0.0, 1: 0.0}, "leaves these 150 rows no weight"),
        ({7: 1.0}, "class_weight names [7], which the classes [0, 1] are not"),
        ({"0": 1.0, 1: 2.0}, "class_weight names ['0'], which the classes [0, 1] are not"),
        ([1.0, 5.0], "class_weight has [1.0, 5.0] for the classes [0, 1]; allowed: 'balanced', or a dict"),
        # A list is refused even if its numbers are classes.
        ([0, 1], "class_weight has [0, 1] for the classes [0, 1]; allowed: 'balanced', or a dict"),
        ([{1: 5.0}], "class_weight has [{1: 5.0}] for the classes [0, 1]; allowed: 'balanced', or a dict"),
    ],
)
def test_class_weights_that_nothing_can_be_learned_with(class_weight, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        classifier(class_weight=class_weight).fit(X, TWO)


@pytest.mark.parametrize(
    "labels",
    [["0", "1", "2"], [False, True], [0.0, 1.0, 2.0], ["a", "b", "c"], np.array(["1970", "1971", "1972"], "M8[Y]")],
    ids=lambda labels: str(labels[1]),
)
def test_class_weights_go_by_the_labels(labels):
    codes, labels = THREE % len(labels), np.array(labels)
    weighted = classifier(class_weight={labels[1]: 5.0}).fit(X, labels[codes])
    assert same_weights(weighted, classifier().fit(X, labels[codes], np.where(codes == 1, 5.0, 1.0)))


@pytest.mark.parametrize("class_weight", ["balanced", [{1: 3.0}, {0: 0.5}, {}]])
def test_class_weights_of_several_labels(class_weight):
    y = np.eye(3, dtype=int)[THREE] | np.eye(3, dtype=int)[np.roll(THREE, 20)]
    weighted = classifier(class_weight=class_weight).fit(X, y)
    if isinstance(class_weight, list):
        by_row = np.where(y[:, 0] == 1, 3.0, 1.0) * np.where(y[:, 1] == 0, 0.5, 1.0)
    else:
        by_row = compute_sample_weight("balanced", y)
    np.testing.assert_allclose(weighted.coefs_[0], classifier().fit(X, y, by_row).coefs_[0], rtol=1e-12)
    with pytest.raises(ValueError, match="a list of dicts, one for each of the 3 labels"):
        classifier(class_weight={1: 3.0}).fit(X, y)
    with pytest.raises(ValueError, match="class_weight has 1.0 for the classes .* or a dict of their weights"):
        classifier(class_weight=[1.0, 5.0, 2.0]).fit(X, y)


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


def test_what_lbfgs_cannot_do_is_said():
    with pytest.warns(UserWarning, match="'lbfgs' has no use for dropout, clip_norm"):
        classifier(solver="lbfgs", dropout=0.2, clip_norm=1.0).fit(X, THREE)


def test_curves_of_lbfgs_on_rows_to_validate_on():
    fitted = classifier(solver="lbfgs").fit(X[::2], THREE[::2], X_val=X[1::2], y_val=THREE[1::2])
    assert fitted.validation_scores_[-1] == fitted.score(X[1::2], THREE[1::2])
    assert fitted.validation_loss_curve_[-1] == pytest.approx(
        metrics.log_loss(THREE[1::2], fitted.predict_proba(X[1::2])), rel=1e-9
    )
    assert fitted.best_validation_score_ == max(fitted.validation_scores_) > min(fitted.validation_scores_)


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
        (MLPRegressor, {"activation": "no such word"}, "Got 'no such word' instead."),
        (MLPRegressor, {"alpha": -1.0}, "Got -1.0 instead."),
        (MLPClassifier, {"callbacks": [EarlyStopping("val_loss")]}, "did you mean validation_loss?"),
        (MLPClassifier, {"callbacks": [EarlyStopping("val_accuracy")]}, "did you mean validation_score?"),
    ],
)
def test_the_words_of_other_libraries(kind, given, said):
    with pytest.raises(ValueError, match=rf"{re.escape(said)}.*$") as caught:
        kind(**QUICK | given).fit(X, TWO, X_val=X, y_val=TWO)
    assert str(caught.value).count("did you mean") == ("did" in said)


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


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_callback_that_stops_before_the_first_epoch(early_stopping):
    stop = LambdaCallback(on_begin=lambda run: run.stop("the budget is spent"))
    fitted = classifier(early_stopping=early_stopping, callbacks=[stop]).fit(X, THREE)
    assert (fitted.n_iter_, fitted.loss_curve_, fitted.predict(X).shape) == (0, [], (150,))
    fitted = classifier(early_stopping=early_stopping, warm_start=True).fit(X, THREE)
    loss, weights = fitted.loss_, fitted.coefs_[0].copy()
    fitted.set_params(callbacks=[stop]).fit(X, THREE)
    assert fitted.loss_ == loss
    np.testing.assert_array_equal(fitted.coefs_[0], weights)


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


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_lowers_the_loss(name):
    rate = OPTIMIZERS[name].learning_rate
    curve = classifier(optimizer=name, learning_rate_init=rate, max_iter=20).fit(X, THREE).loss_curve_
    assert curve[-1] < 0.9 * curve[0]


def test_the_optimizer_has_the_settings_of_the_constructor():
    plain = classifier(optimizer="momentum", momentum=0.5, learning_rate_init=0.1).fit(X, THREE)
    assert same_weights(plain, classifier(solver="sgd", nesterovs_momentum=False, momentum=0.5,
                                          learning_rate_init=0.1).fit(X, THREE))  # fmt: skip
    with pytest.raises(InvalidParameterError, match="'optimizer' parameter"):
        classifier(optimizer="sgdd").fit(X, THREE)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(("setting", "value"), [("momentum", 0.5), ("beta_1", 0.5), ("beta_2", 0.5), ("epsilon", 1e-5)])
def test_a_setting_that_the_optimizer_has_no_use_for_is_told_of(name, setting, value):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plain = classifier(optimizer=name).fit(X, THREE)
        assert [one for one in caught if one.category is UserWarning] == []
        changed = classifier(optimizer=name, **{setting: value}).fit(X, THREE)
    told = [one for one in caught if one.category is UserWarning]
    assert bool(told) == same_weights(plain, changed)
    if told:
        assert f"{setting} is not a setting of the optimizer {name!r}; leave it out, or choose " in str(told[0].message)


@pytest.mark.parametrize("course", ["invscaling", "adaptive"])
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_a_course_that_an_optimizer_by_name_does_not_take_is_told_of(name, course):
    plain = classifier(optimizer=name).fit(X, THREE)
    with pytest.warns(UserWarning, match=f"^learning_rate='{course}' is for solver='sgd', and the optimizer '{name}'"):
        changed = classifier(optimizer=name, learning_rate=course).fit(X, THREE)
    assert same_weights(plain, changed)


def test_an_optimizer_takes_the_place_of_lbfgs():
    assert same_weights(classifier(solver="lbfgs", optimizer="adam_hat").fit(X, THREE), classifier().fit(X, THREE))
    assert hasattr(classifier(solver="lbfgs", optimizer="adam"), "partial_fit")


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_learning_rates_are_those_of_the_schedule(schedule):
    settings = {"step": {"every": 2.0 * 3, "decay_rate": 0.3}, "exponential": {"decay_rate": 0.3}}.get(schedule, {})
    fitted = classifier(
        learning_rate_schedule=schedule, warmup=1.5, decay_rate=0.3, decay_epochs=2.0, learning_rate_init=0.01
    ).fit(X, THREE)
    factor = with_warmup(SCHEDULES[schedule], total=18, warmup=4.5, **settings)
    expected = 0.01 * factor(np, np.arange(2, 18, 3, dtype=float))
    np.testing.assert_allclose([record["learning_rate"] for record in fitted.history_], expected, rtol=1e-12)


def test_weight_decay_and_clipping_keep_weights_small():
    def size(**given):
        return sum((w**2).sum() for w in classifier(solver="sgd", learning_rate_init=0.1, **given).fit(X, THREE).coefs_)

    assert size(weight_decay=0.5) < 0.9 * size()
    # Each of the 18 steps is at most as long as the rate times the maximum norm.
    start = classifier(max_iter=1, learning_rate_init=1e-300).fit(X, THREE)
    clipped = classifier(optimizer="sgd", learning_rate_init=0.1, clip_norm=0.01).fit(X, THREE)
    moved = np.sqrt(
        sum(((a - b) ** 2).sum() for a, b in zip(clipped.coefs_, start.coefs_, strict=True))
        + sum(((a - b) ** 2).sum() for a, b in zip(clipped.intercepts_, start.intercepts_, strict=True))
    )
    assert moved <= 18 * 0.1 * 0.01 * (1 + 1e-9)


def test_initial_weights_and_biases():
    still = {"max_iter": 1, "learning_rate_init": 1e-300, "hidden_layer_sizes": (400, 300)}
    fitted = classifier(init="he_normal", bias_init=0.25, **still).fit(X, THREE)
    assert fitted.coefs_[1].std() == pytest.approx(np.sqrt(2 / 400), rel=0.01)
    assert all((b == 0.25).all() for b in fitted.intercepts_)
    assert all((abs(b) < 1e-290).all() for b in classifier(init="zeros", **still).fit(X, THREE).intercepts_)
    assert classifier(init="normal", init_std=3.0, **still).fit(X, THREE).coefs_[1].std() == pytest.approx(3, rel=0.01)
    # bias_init alone does not change scikit-learn's draws of the weights.
    assert same_weights(classifier(bias_init=1.0, **still).fit(X, THREE), classifier(**still).fit(X, THREE))


def pairs(fitted):
    return list(zip(fitted.coefs_, fitted.intercepts_, strict=True))


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


def test_rows_drawn_with_replacement():
    given = {"solver": "sgd", "batch_size": 150, "max_iter": 1, "alpha": 0.0, "momentum": 0.0, "init": "he_normal"}
    start = pairs(classifier(learning_rate_init=1e-300, **given).fit(X, THREE))
    drawn = classifier(replacement=True, **given).fit(X, THREE)
    assert not same_weights(drawn, classifier(**given).fit(X, THREE))
    assert same_weights(drawn, classifier(replacement=True, **given).fit(X, THREE))
    # The only step equals that on all rows, weighted by how often each was drawn.
    state = np.random.RandomState(1)
    state.randint(np.iinfo(np.int32).max)
    counts = np.bincount(state.randint(150, size=150), minlength=150)
    weighted = classifier(**given | {"init": start}).fit(X, THREE, sample_weight=counts)
    for ours, expected in zip(drawn.coefs_, weighted.coefs_, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-14)


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
    ],
)
def test_layers_that_do_not_suit(given, said):
    with pytest.raises(ValueError, match=said):
        classifier(**given).fit(X, THREE)


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


def test_on_steps_comes_after_256_steps_on_numpy_and_at_the_end_of_the_epoch():
    told = []
    watch = LambdaCallback(on_steps=lambda run, done, losses: told.append((done, losses())))
    fitted = classifier(batch_size=1, max_iter=2, callbacks=[watch]).fit(np.tile(X, (2, 1)), np.tile(THREE, 2))
    assert [(done, len(losses)) for done, losses in told] == [(256, 256), (300, 44)] * 2
    assert np.concatenate([losses for _, losses in told[:2]]).mean() == pytest.approx(fitted.loss_curve_[0])


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


def test_callbacks_see_and_change_the_fit(tmp_path):
    rates = [0.01, 0.02, 0.005, 0.01, 0.01, 0.01]
    fitted = classifier(
        callbacks=[
            LearningRateScheduler(lambda epoch, rate: rates[epoch - 1]),
            CSVLogger(tmp_path / "history.csv"),
            ModelCheckpoint(tmp_path / "{epoch}.safetensors"),
            EarlyStopping("validation_score", patience=50),
        ]
    ).fit(X, THREE, X_val=X, y_val=THREE)
    assert [record["learning_rate"] for record in fitted.history_] == pytest.approx(rates)
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 7
    model = Model.load(tmp_path / "6.safetensors")
    np.testing.assert_allclose(model.predict_proba(X), fitted.predict_proba(X), rtol=1e-12)
    np.testing.assert_array_equal(model.predict(X), fitted.predict(X))


def test_a_callback_stops_the_fit_with_the_last_weights_and_without_a_warning():
    with pytest.warns(ConvergenceWarning):
        whole = classifier(max_iter=3).fit(X, THREE)
    stopped = classifier(
        max_iter=50, callbacks=[LambdaCallback(on_epoch_end=lambda run, record: run.epoch == 3 and run.stop("enough"))]
    ).fit(X, THREE)
    assert stopped.n_iter_ == 3
    assert same_weights(whole, stopped)


def test_callbacks_with_lbfgs(tmp_path):
    fitted = classifier(solver="lbfgs", callbacks=[CSVLogger(tmp_path / "h.csv")]).fit(X, THREE, X_val=X, y_val=THREE)
    assert [record["epoch"] for record in fitted.history_] == list(range(1, fitted.n_iter_ + 1))
    assert fitted.history_[-1]["loss"] == pytest.approx(fitted.loss_)
    assert fitted.history_[-1]["validation_score"] == pytest.approx(fitted.score(X, THREE))
    assert not hasattr(fitted, "loss_curve_")
    stopped = classifier(
        solver="lbfgs", callbacks=[LambdaCallback(on_epoch_end=lambda run, record: run.stop("enough"))]
    ).fit(X, THREE)
    assert stopped.n_iter_ == 1
    with pytest.raises(InputError, match="no learning rate"):
        classifier(solver="lbfgs", callbacks=[LearningRateScheduler(lambda epoch, rate: rate)]).fit(X, THREE)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_no_epoch_begins_that_does_not_come(solver):
    seen = []
    each = LambdaCallback(
        on_epoch_begin=lambda run: seen.append(run.epoch),
        on_epoch_end=lambda run, record: seen.append(-record["epoch"]),
        on_end=lambda run: seen.append(run.epoch),
    )
    fitted = classifier(solver=solver, max_iter=3, callbacks=[each]).fit(X, THREE)
    assert fitted.n_iter_ == 3
    assert seen == [1, -1, 2, -2, 3, -3, 3]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_iteration_of_lbfgs_begins_before_its_loss_is_asked_for():
    seen = []

    def value(xp, z, t):
        seen.append("loss")
        return xp.sum((z - t) ** 2, axis=-1)

    each = LambdaCallback(
        on_begin=lambda run: seen.clear(),
        on_epoch_begin=lambda run: seen.append("begin"),
        on_epoch_end=lambda run, record: seen.append("end"),
    )
    regressor(solver="lbfgs", max_iter=3, loss=(value, lambda xp, z, t: 2 * (z - t)), callbacks=[each]).fit(
        X_REG, Y_REG
    )
    assert seen.count("begin") == 3
    assert seen[0] == "begin"
    assert all(after == "begin" for before, after in itertools.pairwise(seen) if before == "end")


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_callback_sees_the_start_and_the_end(solver):
    weights = classifier(solver=solver, max_iter=1, learning_rate_init=1e-300).fit(X, THREE).coefs_[0]
    kept = []
    look = LambdaCallback(on_begin=lambda run: kept.append(run.params), on_end=lambda run: kept.append(run.params))
    fitted = classifier(solver=solver, callbacks=[look]).fit(X, THREE)
    if solver == "adam":
        np.testing.assert_array_equal(kept[0][: weights.size], weights.ravel())
    np.testing.assert_array_equal(kept[1][: weights.size], fitted.coefs_[0].ravel())


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_all_that_watch_do_with_every_solver(tmp_path, solver):
    shown = io.StringIO()
    watching = [
        EarlyStopping("loss"),
        TimeLimit(1e9),
        TerminateOnNaN(),
        ProgressBar(shown),
        ModelCheckpoint(tmp_path / "best", monitor="validation_loss", save_best_only=True),
    ]
    fitted = classifier(solver=solver, callbacks=watching).fit(X, THREE, X_val=X, y_val=THREE)
    assert same_weights(fitted, classifier(solver=solver).fit(X, THREE))
    assert f"epoch {fitted.n_iter_}" in shown.getvalue()
    best = min(record["validation_loss"] for record in fitted.history_)
    assert metrics.log_loss(THREE, Model.load(tmp_path / "best").predict_proba(X)) == pytest.approx(best)


def test_a_plateau_lowers_the_learning_rate():
    lower = ReduceLROnPlateau("loss", factor=0.5, patience=2, min_delta=1e9)
    fitted = classifier(callbacks=[lower], learning_rate_init=0.01).fit(X, THREE)
    # The first epoch always counts as an improvement.
    assert [record["learning_rate"] for record in fitted.history_] == [0.01] * 3 + [0.005] * 2 + [0.0025]


def test_a_clone_has_callbacks_of_its_own():
    first = classifier(callbacks=[EarlyStopping("loss", patience=3)])
    second = clone(first)
    assert second.callbacks[0] is not first.callbacks[0]
    assert vars(second.callbacks[0]) == vars(first.callbacks[0])
    assert same_weights(first.fit(X, THREE), second.fit(X, THREE))


def test_a_function_is_not_taken_for_the_one_of_its_name(tmp_path):
    def tanh(xp, z):
        return z / 2

    own = tanh, lambda xp, z, y: xp.ones_like(z) / 2
    with pytest.raises(ValueError, match="'own tanh' is your own; pickle the estimator"):
        classifier(activation=own, callbacks=[ModelCheckpoint(tmp_path / "model")]).fit(X, THREE)


def test_what_is_no_callback():
    with pytest.raises(ValueError, match=r"callbacks holds 3; allowed: instances of mlpgpu.callbacks.Callback"):
        classifier(callbacks=[3]).fit(X, THREE)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_ctrl_c_ends_the_fit_with_a_usable_model(solver):
    press = LambdaCallback(on_epoch_end=lambda run, record: run.epoch == 2 and signal.raise_signal(signal.SIGINT))
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        fitted = classifier(solver=solver, callbacks=[press], max_iter=50).fit(X, THREE)
    assert fitted.n_iter_ == 2
    assert fitted.predict(X).shape == (150,)


def test_ctrl_c_keeps_the_best_weights():
    press = LambdaCallback(on_epoch_end=lambda run, record: run.epoch == 4 and signal.raise_signal(signal.SIGINT))
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        fitted = classifier(
            callbacks=[press], max_iter=50, early_stopping=True, scoring=lambda e, x, y: -abs(e.coefs_[0]).sum()
        ).fit(X, THREE)
    assert -abs(fitted.coefs_[0]).sum() == pytest.approx(max(fitted.validation_scores_))


def test_a_loss_that_is_no_number_says_where():
    with pytest.raises(ValueError, match=r"non-finite parameter weights.*It happened in epoch 1, step \d; try"):
        regressor(activation="identity", solver="sgd", learning_rate_init=1e200).fit(1e3 * X_REG, Y_REG)
    with pytest.warns(ConvergenceWarning, match="Training diverged in epoch"):
        # Few steps per epoch, so that the first epoch is finite.
        fitted = regressor(
            activation="identity",
            solver="sgd",
            learning_rate_init=3.0,
            early_stopping=True,
            max_iter=50,
            batch_size=390,
        ).fit(X_REG, Y_REG)
    assert np.isfinite(fitted.predict(X_REG)).all()
    assert np.isnan(fitted.validation_scores_[-1])


def test_history_goes_on():
    fitted = classifier(warm_start=True, max_iter=3).fit(X, THREE).fit(X, THREE)
    assert [record["epoch"] for record in fitted.history_] == [1, 2, 3, 4, 5, 6]
    assert [record["loss"] for record in fitted.history_] == fitted.loss_curve_
    assert set(fitted.history_[0]) == {"epoch", "loss", "learning_rate", "seconds", "samples_per_second"}
    grown = classifier()
    for _ in range(3):
        grown.partial_fit(X, THREE, classes=[0, 1, 2])
    assert [record["epoch"] for record in grown.history_] == [1, 2, 3]
    # A copy has its own history.
    copied = copy.copy(grown).partial_fit(X, THREE)
    assert [len(one.history_) for one in (grown, copied)] == [len(one.loss_curve_) for one in (grown, copied)] == [3, 4]


def test_another_optimizer_starts_its_own_state():
    grown = classifier().fit(X, THREE).set_params(optimizer="lion")
    fresh = pickle.loads(pickle.dumps(classifier().fit(X, THREE))).set_params(optimizer="lion")
    assert same_weights(grown.partial_fit(X, THREE), fresh.partial_fit(X, THREE))


def test_hidden_activations_are_a_forward_pass_by_hand():
    fitted = classifier(activation=["tanh", "logistic"]).fit(X, THREE)
    first = np.tanh(X @ fitted.coefs_[0] + fitted.intercepts_[0])
    second = special.expit(first @ fitted.coefs_[1] + fitted.intercepts_[1])
    np.testing.assert_allclose(fitted.hidden_activations(X, 0), first, rtol=1e-12)
    np.testing.assert_allclose(fitted.hidden_activations(X), second, rtol=1e-12)
    with pytest.raises(ValueError, match="layer is 2, and there are 2 hidden layers; allowed: -2 to 1"):
        fitted.hidden_activations(X, 2)


def test_a_linear_model_has_no_hidden_activations():
    with pytest.raises(ValueError, match="there is no hidden layer"):
        regressor(hidden_layer_sizes=()).fit(X, THREE).hidden_activations(X)


def test_no_hidden_layer_is_a_linear_regression():
    linear = MLPRegressor(hidden_layer_sizes=(), solver="lbfgs", alpha=2.0, max_iter=2000, tol=1e-10, random_state=0)
    theirs = Ridge(alpha=2.0).fit(X_REG, Y_REG)
    # For the tolerance, see the next test.
    np.testing.assert_allclose(linear.fit(X_REG, Y_REG).predict(X_REG), theirs.predict(X_REG), atol=5e-4)


def test_no_hidden_layer_is_a_linear_model():
    linear = MLPClassifier((), solver="lbfgs", alpha=1.0, max_iter=2000, tol=1e-10, random_state=0).fit(X, THREE)
    # scikit-learn's C is the inverse of a penalty that is not divided by the number of rows.
    theirs = LogisticRegression(C=1.0, tol=1e-10, max_iter=2000).fit(X, THREE)
    # SciPy stops when the loss falls by less than a relative 2e-9; the error of the minimiser is about its square root.
    np.testing.assert_allclose(linear.predict_proba(X), theirs.predict_proba(X), atol=5e-5)


def test_a_summary_adds_up():
    summary = classifier(activation=["tanh", "gelu"]).fit(X, THREE).summary()
    # As a prompt and a notebook show it.
    assert repr(summary) == str(summary)
    lines = summary.splitlines()
    counts = [int(line.split()[-1].replace(",", "")) for line in lines[2:]]
    assert counts[-1] == sum(counts[:-1]) == 4 * 8 + 8 + 8 * 5 + 5 + 5 * 3 + 3
    assert [line.split()[-2] for line in lines[2:5]] == ["tanh", "gelu", "softmax"]


def test_sparse_labels_come_back_sparse():
    from scipy.sparse import csr_matrix, issparse

    labels = np.c_[TWO, THREE == 0]
    sparse, dense = (classifier().fit(X, y) for y in (csr_matrix(labels), labels))
    assert issparse(sparse.predict(X))
    np.testing.assert_array_equal(sparse.predict(X).toarray(), dense.predict(X))


def test_wide_sparse_rows_train_as_dense_ones():
    from scipy.sparse import random as draw

    x = draw(60, 3000, 0.01, format="csc", random_state=0)
    y = np.arange(60) % 2
    for solver in ("adam", "lbfgs"):
        sparse, dense = (classifier(solver=solver).fit(rows, y) for rows in (x, x.toarray()))
        np.testing.assert_allclose(sparse.predict_proba(x), dense.predict_proba(x.toarray()), rtol=1e-7)


@pytest.mark.parametrize("kind", ["matrix", "array"])
@pytest.mark.parametrize("order", ["csr", "csc", "coo"])
@pytest.mark.parametrize("given", [{}, {"early_stopping": True, "scoring": "neg_log_loss"}, {"solver": "lbfgs"}])
def test_sparse_rows_train_as_dense_ones(order, kind, given):
    from scipy import sparse

    x = getattr(sparse, f"{order}_{kind}")(X)
    found, expected = (classifier(**given).fit(rows, THREE, X_val=rows, y_val=THREE) for rows in (x, X))
    np.testing.assert_allclose(found.predict_proba(x), expected.predict_proba(X), rtol=1e-9)
    np.testing.assert_allclose(found.hidden_activations(x), expected.hidden_activations(X), rtol=1e-9, atol=1e-12)
    assert found.history_[-1]["validation_loss"] == pytest.approx(expected.history_[-1]["validation_loss"])


def test_names_of_features():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    table = pandas.DataFrame(X, columns=list("abcd"))
    fitted = classifier(early_stopping=True, scoring="roc_auc_ovr").fit(table, THREE, X_val=table, y_val=THREE)
    assert fitted.feature_names_in_.tolist() == list("abcd")
    assert fitted.score(table, THREE) == (fitted.predict(table) == THREE).mean()
    for other in (table[list("bacd")], table.rename(columns={"a": "e"})):
        with pytest.raises(ValueError, match="feature names should match"):
            fitted.predict(other)
        with pytest.raises(ValueError, match="feature names should match"):
            classifier().fit(table, THREE, X_val=other, y_val=THREE)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        fitted.predict(X)


def test_html_and_parameters():
    assert "MLPClassifier" in classifier()._repr_html_()
    assert clone(classifier(dropout=0.3)).get_params()["dropout"] == 0.3
    requests = classifier().get_metadata_routing()
    assert set(requests.fit.requests) == {"sample_weight", "X_val", "y_val", "sample_weight_val", "resume"}


@pytest.mark.parametrize(
    ("method", "given", "settings"),
    [
        ("fit", {}, {}),
        ("fit", {}, {"early_stopping": True}),
        ("fit", {}, {"dtype": "float32", "dropout": 0.1}),
        ("partial_fit", {"classes": [False, True]}, {}),
    ],
)
def test_rows_are_given_back_after_a_fit(method, given, settings):
    """They are freed at once: a fit has few objects for many rows, so the garbage collector would run late."""
    x = np.random.default_rng(0).integers(0, 256, size=(10_000, 100), dtype=np.uint8)
    y = x[:, 0] > 100

    def fitted():
        return getattr(classifier(max_iter=1, **settings), method)(x, y, **given)

    # What a first fit imports, compiles and caches is not counted.
    fitted()
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        model = fitted()
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert model.n_features_in_ == 100
    # A fit's copy of the rows has at least four bytes per number, the caller's rows have one.
    assert left < x.nbytes
