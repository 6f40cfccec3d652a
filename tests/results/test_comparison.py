import numpy as np
import pytest
from sklearn import metrics

from mlpgpu import Model
from mlpgpu.results.comparison import compare, judge
from mlpgpu.results.regression_figures import measure


def test_labels_that_are_never_predicted_take_no_square_of_their_number():
    """For example in a column of numbers, of which the model knows two as classes."""
    n = 50_000
    model = Model(np.zeros(2), np.array(0.0), np.array(1.0), (1, 1), (), "logistic", "classification", (0, 1))
    truth, predictions = np.arange(n), model.decided(np.full((n, 1), 0.3))
    figures, confusion = compare(truth, predictions, 2, ("y",))
    assert confusion.shape == (n, 2)
    np.testing.assert_array_equal(confusion.sum(axis=0), [n, 0])
    assert figures["balanced_accuracy"] == pytest.approx(metrics.recall_score(truth, predictions, average="macro"))


def test_predictions_that_are_not_finite_have_no_figures():
    truth = np.array([[1.0, 1.0], [3.0, 2.0]])
    figures = measure(truth, np.array([[1.0, np.inf], [5.0, 2.0]]), ("a", "b"))
    assert figures["targets"]["a"] == {"r2": -1.0, "rmse": np.sqrt(2), "mae": 1.0}
    assert np.isnan([*figures["targets"]["b"].values(), figures["rmse"], figures["mae"]]).all()


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_logits_are_ranked_where_their_probabilities_are_all_1(rng, n_outputs):
    """Those above 37 in double precision."""
    z, truth = rng.uniform(40, 60, size=(30, n_outputs)), rng.integers(0, 2, 30)
    if n_outputs == 2:
        z[:, 0] -= 60
    loss = "logistic" if n_outputs == 1 else "cross_entropy"
    params, one = np.zeros(2 * n_outputs), np.array(1.0)
    model = Model(params, one, one, (1, n_outputs), (), loss, "classification", ("a", "b"))
    figures = judge(model, [z[:20], z[20:]], truth)[0]
    odds = z[:, -1] - (z[:, 0] if n_outputs == 2 else 0)
    assert figures["roc_auc"] == pytest.approx(metrics.roc_auc_score(truth, odds))
    assert figures["average_precision"] == pytest.approx(metrics.average_precision_score(truth, odds))


@pytest.mark.filterwarnings("error")
def test_infinite_logits_of_two_classes_are_ranked_nowhere(rng):
    z, truth = rng.normal(size=(30, 2)), rng.integers(0, 2, 30)
    z[3] = np.inf
    one = np.array(1.0)
    model = Model(np.zeros(4), one, one, (1, 2), (), "cross_entropy", "classification", ("a", "b"))
    figures, _, _, finite = judge(model, [z], truth)
    assert figures["roc_auc"] is figures["average_precision"] is None
    assert list(np.flatnonzero(~finite)) == [3]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("absent", ["true", "predicted"])
def test_a_class_that_only_rows_of_weight_0_have_does_not_count(absent):
    truth, predictions = np.array([0, 1, 1, 0, 1, 0]), np.array([0, 1, 0, 0, 1, 0])
    weights = np.array([1.0, 2.0, 1.0, 0.5, 3.0, 0.0])
    (truth if absent == "true" else predictions)[5] = 2
    figures, _ = compare(truth, predictions, 3, ("y",), weights)
    for average in ("macro", "weighted"):
        expected = metrics.f1_score(truth[:5], predictions[:5], average=average, sample_weight=weights[:5])
        assert figures[f"f1_{average}"] == pytest.approx(expected)
