import numpy as np
import pytest
from sklearn import metrics

from mlpgpu import Model
from mlpgpu.comparison import compare
from mlpgpu.regression_figures import measure


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
