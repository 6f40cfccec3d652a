"""Sparse rows and labels do what dense ones do."""

import numpy as np
import pytest
from quick import THREE, TWO, X, classifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


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
