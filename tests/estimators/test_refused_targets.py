"""Layers and targets that are refused, by our estimators as by scikit-learn's."""

import functools

import numpy as np
import pytest
from beside import BINARY, COUNTS, OURS, SETTINGS, TARGETS, X, both
from scipy import sparse
from sklearn import neural_network

from mlpgpu import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("task", OURS)
def test_sizes_that_are_no_whole_numbers(task):
    for estimator in both(task, hidden_layer_sizes=(2.9,)):
        with pytest.raises(TypeError):
            estimator.fit(X, TARGETS[task])


def test_a_sparse_column_is_no_target():
    y = sparse.csr_matrix(BINARY[:, None])
    for estimator in both("classifier"):
        with pytest.raises(TypeError, match="sparse|Sparse"):
            estimator.fit(X, y)
    begun = MLPClassifier(**SETTINGS).partial_fit(X, BINARY, classes=[0, 1])
    calls = [
        lambda: MLPClassifier().partial_fit(X, y, classes=[0, 1]),
        lambda: begun.partial_fit(X, y),
        lambda: begun.partial_fit(X, sparse.csr_array(np.c_[BINARY, BINARY])),
        lambda: begun.set_params(warm_start=True).fit(X, y),
        lambda: MLPClassifier(**SETTINGS).fit(X, BINARY, X_val=X, y_val=y),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=r"y is a sparse matrix of shape \(\d+, [12]\).*y\.toarray\(\)\.ravel\(\)"):
            call()


def test_poisson_takes_no_negative_targets():
    y = COUNTS.astype(float)
    y[3] = -0.5
    with pytest.raises(ValueError, match=r"loss 'poisson'.*-0\.5"):
        MLPRegressor(loss="poisson").fit(X, y)


@pytest.mark.parametrize("kind", [int, str])
def test_two_columns_of_classes_are_refused_in_one_sentence(kind):
    y = TARGETS["classifier"]
    both = np.c_[y, y].astype(kind)
    begun, first = MLPClassifier(**SETTINGS).partial_fit(X, y, classes=[0, 1, 2]), MLPClassifier()
    calls = [
        neural_network.MLPClassifier().fit,
        first.fit,
        functools.partial(first.partial_fit, classes=[0, 1, 2]),
        begun.partial_fit,
        begun.set_params(warm_start=True).fit,
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"^Multioutput target data is not supported with label binarization.*$"):
            call(X, both)
