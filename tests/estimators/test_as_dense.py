"""Sparse rows and labels do what dense ones do."""

import numpy as np
import pytest
from quick import THREE, TWO, X, classifier
from scipy.sparse import csc_array, csr_matrix, issparse

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_sparse_labels_come_back_sparse():
    labels = np.c_[TWO, THREE == 0]
    sparse, dense = (classifier().fit(X, y) for y in (csr_matrix(labels), labels))
    assert issparse(sparse.predict(X))
    np.testing.assert_array_equal(sparse.predict(X).toarray(), dense.predict(X))


@pytest.mark.parametrize("given", [{}, {"early_stopping": True, "scoring": "neg_log_loss"}, {"solver": "lbfgs"}])
def test_sparse_rows_train_as_dense_ones(given):
    x = csc_array(X)
    found, expected = (classifier(**given).fit(rows, THREE, X_val=rows, y_val=THREE) for rows in (x, X))
    np.testing.assert_allclose(found.predict_proba(x), expected.predict_proba(X), rtol=1e-9)
    np.testing.assert_allclose(found.hidden_activations(x), expected.hidden_activations(X), rtol=1e-9, atol=1e-12)
    assert found.history_[-1]["validation_loss"] == pytest.approx(expected.history_[-1]["validation_loss"])
