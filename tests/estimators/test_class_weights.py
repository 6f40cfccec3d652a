"""Class weights are weights of rows."""

import copy
import re

import numpy as np
import pytest
from quick import THREE, TWO, X, classifier, same_weights
from sklearn.utils import compute_sample_weight

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


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
