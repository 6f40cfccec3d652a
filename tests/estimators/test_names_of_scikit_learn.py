"""What programs that were written for scikit-learn's estimators set, read and call on them beside what is public."""

import copy
import warnings

import numpy as np
import pytest
from quick import THREE as Y
from quick import X
from scipy.sparse import csr_array
from sklearn import neural_network
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import LabelBinarizer

from mlpgpu import MLPClassifier, MLPRegressor
from mlpgpu.protocol.fitting import Fit

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

TARGETS = {
    "two": np.where(Y == 1, "yes", "no"),
    "three": Y,
    "several": np.stack([Y == 1, Y > 0], axis=1).astype(int),
    "sparse": csr_array(np.stack([Y == 1, Y > 0], axis=1).astype(int)),
}
KINDS = [(MLPClassifier, neural_network.MLPClassifier), (MLPRegressor, neural_network.MLPRegressor)]
QUICK = {"hidden_layer_sizes": (4, 3), "max_iter": 3, "random_state": 0}


def dense(targets):
    return targets.toarray() if hasattr(targets, "toarray") else targets


@pytest.mark.parametrize("targets", TARGETS)
def test_an_estimator_made_by_hand_predicts(targets):
    """Weights averaged over clients, read from JSON or trained elsewhere are set like this, without a fit."""
    fitted = neural_network.MLPClassifier(**QUICK).fit(X, TARGETS[targets])
    made = MLPClassifier(**QUICK)
    for name in ("coefs_", "intercepts_", "n_layers_", "n_outputs_", "out_activation_", "classes_", "n_features_in_"):
        setattr(made, name, copy.deepcopy(getattr(fitted, name)))
    made._label_binarizer = fitted._label_binarizer
    np.testing.assert_array_equal(dense(made.predict(X)), dense(fitted.predict(X)))
    np.testing.assert_allclose(made.predict_proba(X), fitted.predict_proba(X), rtol=1e-10)


@pytest.mark.parametrize("targets", TARGETS)
def test_the_labels_as_a_binarizer(targets):
    ours, theirs = (kind(**QUICK) for kind in KINDS[0])
    assert not hasattr(ours, "_label_binarizer")
    ours, theirs = (estimator.fit(X, TARGETS[targets])._label_binarizer for estimator in (ours, theirs))
    assert isinstance(ours, LabelBinarizer)
    assert (ours.y_type_, ours.sparse_input_) == (theirs.y_type_, theirs.sparse_input_)
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)


def test_labels_change_with_the_binarizer():
    """Some programs set one that they fit afterwards, or give the classes other names."""
    made, fitted = MLPClassifier(**QUICK), MLPClassifier(**QUICK).fit(X, Y)
    made.coefs_, made.intercepts_, made.out_activation_ = fitted.coefs_, fitted.intercepts_, "softmax"
    made._label_binarizer = LabelBinarizer()
    with pytest.raises(AttributeError):
        made.predict(X)
    made._label_binarizer.fit(["a", "b", "c"])
    fitted._label_binarizer.fit(["a", "b", "c"])
    for estimator in (made, fitted, copy.deepcopy(fitted)):
        np.testing.assert_array_equal(estimator.predict(X), np.array(list("abc"))[estimator.predict_proba(X).argmax(1)])
    assert fitted.fit(X, Y).predict(X).dtype == Y.dtype


@pytest.mark.parametrize(("ours", "theirs"), KINDS)
def test_what_every_unit_makes_of_rows(ours, theirs):
    ours, theirs = (kind(**QUICK).fit(X, Y) for kind in (ours, theirs))
    ours_made, theirs_made = [X, None, None, None], [X, None, None, None]
    assert ours._forward_pass(ours_made) is ours_made
    for one, other in zip(ours_made, theirs._forward_pass(theirs_made), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours._forward_pass_fast(X, check_input=False), theirs_made[-1], rtol=1e-9)


@pytest.mark.parametrize("targets", TARGETS)
def test_logits_while_the_output_activation_is_the_identity(targets):
    """Programs set it back once they have them."""
    ours, theirs = (kind(**QUICK).fit(X, TARGETS[targets]) for kind in KINDS[0])
    for estimator in (ours, theirs):
        estimator.out_activation_ = "identity"
    np.testing.assert_allclose(ours._forward_pass_fast(X), theirs._forward_pass_fast(X), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("given", [{}, {"solver": "sgd", "learning_rate": "invscaling"}])
def test_partial_fit_goes_on_with_counts_that_were_set(given):
    def made(kind):
        source, target = kind(**QUICK, **given), kind(**QUICK, **given)
        for _ in range(3):
            source.partial_fit(X, Y)
        names = ("coefs_", "intercepts_", "n_layers_", "n_outputs_", "out_activation_", "t_", "n_iter_")
        for name in (*names, "loss_curve_", "best_loss_", "_no_improvement_count"):
            setattr(target, name, copy.deepcopy(getattr(source, name)))
        return target.partial_fit(X, Y)

    ours, theirs = (made(kind) for kind in KINDS[1])
    assert (ours.t_, ours._no_improvement_count) == (theirs.t_, theirs._no_improvement_count) == (600, 0)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-10)
    np.testing.assert_allclose(ours.best_loss_, theirs.best_loss_, rtol=1e-10)
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], rtol=1e-9)


@pytest.mark.parametrize("name", ["loss_curve_", "history_"])
def test_a_curve_grows_in_place(name):
    """After a hundred thousand calls, as in reinforcement learning, a copy of all before took longer than the call."""
    fitted = MLPRegressor(**QUICK).partial_fit(X, Y)
    curve, copied = getattr(fitted, name), copy.copy(fitted)
    fitted.partial_fit(X, Y)
    assert getattr(fitted, name) is curve
    assert (len(curve), len(getattr(copied, name))) == (2, 1)


def test_curves_are_as_before_where_a_fit_fails_after_its_last_step(monkeypatch):
    fitted = MLPRegressor(**QUICK, warm_start=True).fit(X, Y, X_val=X, y_val=Y)
    names = "loss_curve_", "validation_scores_", "validation_loss_curve_", "history_"
    before = {name: copy.copy(getattr(fitted, name)) for name in names}
    monkeypatch.setattr(Fit, "_pairs", lambda fit, params: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fitted.fit(X, Y, X_val=X, y_val=Y)
    assert {name: getattr(fitted, name) for name in names} == before


def test_weights_set_alone_begin_to_count():
    fitted = MLPRegressor(**QUICK).fit(X, Y)
    made = MLPRegressor(**QUICK)
    made.coefs_, made.intercepts_ = fitted.coefs_, fitted.intercepts_
    made.partial_fit(X, Y)
    assert (made.t_, len(made.loss_curve_), [record["epoch"] for record in made.history_]) == (150, 1, [1])


@pytest.mark.parametrize("module", ["sklearn", "sklearn.neural_network._multilayer_perceptron"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_the_warning_of_a_fit_that_has_not_converged_is_ignored_by_its_module(solver, module):
    """As the examples of scikit-learn do it; it still tells of the line that called the fit."""
    estimator = MLPClassifier(**QUICK | {"solver": solver})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=ConvergenceWarning, module=module)
        estimator.fit(X, Y)
    with pytest.warns(ConvergenceWarning) as told:
        estimator.fit(X, Y)
    assert told[0].filename == __file__
