"""Conversion to scikit-learn's own estimators and back."""

import numpy as np
import pytest
from scipy import sparse
from sklearn import neural_network
from sklearn.base import clone
from sklearn.datasets import load_iris

from mlpgpu import InputError, MLPClassifier, MLPRegressor
from mlpgpu.maths.losses import LOSSES, Loss

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, THREE = load_iris(return_X_y=True)
QUICK = {"hidden_layer_sizes": (6, 4), "max_iter": 5, "random_state": 0}
CLASSES = {
    "binary": THREE == 1,
    "multiclass": THREE,
    "strings": np.array(["one", "two", "three"])[THREE],
    "multilabel": np.c_[THREE == 0, THREE > 0].astype(int),
    "one class": np.ones(150),
}
VALUES = {"one target": X[:, 3], "two targets": X[:, 2:]}


def same(one, other):
    np.testing.assert_array_equal(one.predict(X), other.predict(X))
    np.testing.assert_allclose(one.predict_proba(X), other.predict_proba(X), rtol=0, atol=1e-12)


@pytest.mark.parametrize("y", CLASSES.values(), ids=CLASSES)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_classifiers(y, activation):
    ours = MLPClassifier(activation=activation, early_stopping=True, **QUICK).fit(X, y)
    theirs = ours.to_sklearn()
    assert type(theirs) is neural_network.MLPClassifier
    same(ours, theirs)
    same(MLPClassifier.from_sklearn(theirs), theirs)
    fitted = neural_network.MLPClassifier(activation=activation, **QUICK).fit(X, y)
    same(MLPClassifier.from_sklearn(fitted), fitted)
    assert (theirs.n_iter_, theirs.t_, theirs.loss_curve_) == (ours.n_iter_, ours.t_, ours.loss_curve_)
    clone(theirs).fit(X, y)


@pytest.mark.parametrize("y", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("loss", ["squared_error", "poisson", "huber"])
def test_regressors(y, loss):
    ours = MLPRegressor(loss, **QUICK).fit(X, y)
    theirs = ours.to_sklearn()
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=0, atol=1e-12)
    assert theirs.loss == ("squared_error" if loss == "huber" else loss)
    back = MLPRegressor.from_sklearn(theirs)
    np.testing.assert_allclose(back.predict(X), theirs.predict(X), rtol=0, atol=1e-12)


def test_nothing_that_a_fit_leaves_is_missing():
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    frame, given = pd.DataFrame(X, columns=list("abcd")), {"early_stopping": True, **QUICK}
    for kind in ("MLPClassifier", "MLPRegressor"):
        known = vars(getattr(neural_network, kind)(**given).fit(frame, THREE)).keys() - {"coefs_", "intercepts_"}
        ours = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}[kind](**given).fit(frame, THREE)
        theirs = ours.to_sklearn()
        back = type(ours).from_sklearn(theirs)
        for name in known:
            if name.endswith("_") or name == "_no_improvement_count":
                np.testing.assert_array_equal(getattr(theirs, name), getattr(ours, name), err_msg=name)
                np.testing.assert_array_equal(getattr(back, name), getattr(ours, name), err_msg=name)
        assert [(record["epoch"], record["loss"]) for record in back.history_] == [*enumerate(ours.loss_curve_, 1)]


@pytest.mark.parametrize(("sizes", "activation"), [((), "relu"), ((6, 4), ["tanh", "tanh"])], ids=str)
def test_no_layer_and_the_same_in_each(sizes, activation):
    ours = MLPClassifier(**QUICK | {"hidden_layer_sizes": sizes}, activation=activation).fit(X, THREE)
    same(ours, ours.to_sklearn())


def test_an_estimator_without_epochs():
    theirs = neural_network.MLPClassifier(solver="lbfgs", **QUICK).fit(X, THREE)
    ours = MLPClassifier.from_sklearn(theirs)
    same(ours, theirs)
    assert ours.history_ == []


def test_both_go_on_alike():
    theirs = neural_network.MLPClassifier(solver="sgd", momentum=0.0, shuffle=False, **QUICK).fit(X, THREE)
    ours = MLPClassifier.from_sklearn(theirs)
    for _ in range(3):
        theirs.partial_fit(X, THREE)
        ours.partial_fit(X, THREE)
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], rtol=1e-10)
    assert ours.loss_curve_ == pytest.approx(theirs.loss_curve_, rel=1e-10)


def test_a_warm_start_of_theirs_goes_on():
    ours = MLPClassifier(early_stopping=True, warm_start=True, **QUICK).fit(X, THREE)
    theirs = ours.to_sklearn().set_params(max_iter=1).fit(X, THREE)
    assert theirs.validation_scores_[:-1] == ours.validation_scores_
    theirs = ours.to_sklearn().set_params(max_iter=1)
    # No epoch beats this score, so the weights stay as they were.
    theirs.best_validation_score_ = 2.0
    theirs.fit(X, THREE)
    np.testing.assert_array_equal(theirs.coefs_[0], ours.coefs_[0])


def test_sparse_labels_stay_sparse():
    labels = sparse.csr_matrix(np.eye(3, dtype=int)[THREE])
    ours = MLPClassifier(**QUICK).fit(X, labels)
    theirs = ours.to_sklearn()
    for other in (theirs, MLPClassifier.from_sklearn(theirs)):
        assert (other.predict(X) != ours.predict(X)).nnz == 0


def test_the_copy_is_a_copy():
    ours = MLPClassifier(**QUICK).fit(X, THREE)
    before, theirs = ours.predict_proba(X), ours.to_sklearn()
    theirs.partial_fit(X, THREE)
    np.testing.assert_array_equal(ours.predict_proba(X), before)


def relu(xp, z):
    return z / 2


def half(xp, z, y):
    return xp.ones_like(z) / 2


# The last function is named relu, but is not ReLU.
@pytest.mark.parametrize("activation", ["gelu", ["relu", "tanh"], (relu, half)], ids=["gelu", "two", "own"])
def test_what_scikit_learn_has_not(activation):
    ours = MLPClassifier(activation=activation, **QUICK).fit(X, THREE)
    with pytest.raises(InputError, match="scikit-learn has one activation for all layers"):
        ours.to_sklearn()


@pytest.mark.filterwarnings("ignore::mlpgpu.OwnFunctionWarning")
def test_outputs_that_scikit_learn_has_not():
    doubled = Loss(LOSSES["squared_error"].rows, lambda xp, z: 2 * z, "regression")
    ours = MLPRegressor(doubled, **QUICK).fit(X, X[:, 3])
    with pytest.raises(InputError, match="outputs of softmax, logistic, identity, exp; this network has relu, relu,"):
        ours.to_sklearn()


@pytest.mark.parametrize(
    "given",
    [
        lambda: neural_network.MLPClassifier(),
        lambda: neural_network.MLPRegressor(**QUICK).fit(X, THREE),
        lambda: 3,
    ],
    ids=["not fitted", "another", "a number"],
)
def test_what_is_no_such_estimator(given):
    with pytest.raises(InputError, match=r"allowed: a fitted sklearn.neural_network.MLPClassifier"):
        MLPClassifier.from_sklearn(given())
