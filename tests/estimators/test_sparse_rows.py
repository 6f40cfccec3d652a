"""Sparse rows on the CPU: scikit-learn's numbers, without a dense copy of the rows."""

import numpy as np
import pytest
import scipy.sparse
import sklearn.neural_network as theirs

import mlpgpu
from mlpgpu.backends import csr

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = scipy.sparse.random(90, 400, 0.02, format="csr", random_state=0)
Y = (X @ RNG.normal(size=(400, 3))).argmax(1)
SETTINGS = {"hidden_layer_sizes": (7,), "batch_size": 16, "max_iter": 4, "random_state": 0, "tol": 0.0}
CASES = {
    "adam": {},
    "sgd": {"solver": "sgd", "learning_rate": "invscaling"},
    "L-BFGS": {"solver": "lbfgs"},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.3},
    "no hidden layer": {"hidden_layer_sizes": ()},
}


def unsorted(x):
    """The same rows with their columns in another order, one number of them stored as two, and one 0 stored."""
    x = x.tocoo()
    at = RNG.permutation(x.nnz)
    rows, columns, data = x.row[at], x.col[at], x.data[at]
    rows, columns = np.append(rows, [rows[0], 5]), np.append(columns, [columns[0], 3])
    data = np.append(data, [0.25, 0.0])
    data[0] -= 0.25
    order = np.argsort(rows, kind="stable")
    indptr = np.searchsorted(rows[order], np.arange(x.shape[0] + 1))
    return scipy.sparse.csr_matrix((data[order], columns[order], indptr), shape=x.shape)


def large_indices(x):
    x = x.copy()
    x.indices, x.indptr = x.indices.astype(np.int64), x.indptr.astype(np.int64)
    return x


KINDS = {
    "CSR array": scipy.sparse.csr_array,
    "CSC": scipy.sparse.csc_matrix,
    "COO": scipy.sparse.coo_array,
    "unsorted": unsorted,
    "indices of 64 bits": large_indices,
    "float32": lambda x: x.astype(np.float32),
    "int16": lambda x: (9 * x).astype(np.int16),
    "bool": lambda x: x.astype(bool),
    "no number in the last rows": lambda x: scipy.sparse.vstack([x[:80], scipy.sparse.csr_matrix((10, 400))]).tocsr(),
}


def pair(task="Classifier", **given):
    return [getattr(module, f"MLP{task}")(**(SETTINGS | given)) for module in (mlpgpu, theirs)]


def assert_same(ours, expected, x, tolerance=1e-10):
    for name in ("coefs_", "intercepts_"):
        for one, other in zip(getattr(ours, name), getattr(expected, name), strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
    for name in ("predict_proba", "predict"):
        if hasattr(expected, name):
            found, others = (getattr(each, name)(x) for each in (ours, expected))
            np.testing.assert_allclose(found, others, rtol=tolerance, atol=tolerance)


@pytest.fixture
def _stays_sparse(monkeypatch):
    """Rows that become dense raise an error; scikit-learn makes labels dense."""
    for kind in (scipy.sparse.csr_array, scipy.sparse.csr_matrix):
        toarray = kind.toarray

        def refuse(self, *more, toarray=toarray, **named):
            assert self.shape[1] != X.shape[1], "rows were made dense"
            return toarray(self, *more, **named)

        monkeypatch.setattr(kind, "toarray", refuse)


@pytest.fixture(params=["eager", "numpy"])
def _way(request, monkeypatch):
    monkeypatch.setenv("MLPGPU_LOOP", request.param)


@pytest.mark.usefixtures("_stays_sparse", "_way")
@pytest.mark.parametrize("task", ["Classifier", "Regressor"])
@pytest.mark.parametrize("case", CASES)
def test_fits_and_predictions_are_those_of_scikit_learn(case, task):
    ours, expected = (each.fit(X, Y) for each in pair(task, **CASES[case]))
    assert_same(ours, expected, X)
    np.testing.assert_allclose(getattr(ours, "loss_curve_", []), getattr(expected, "loss_curve_", []), rtol=1e-10)
    assert ours.score(X, Y) == pytest.approx(expected.score(X, Y))


@pytest.mark.usefixtures("_stays_sparse", "_way")
@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_every_kind(kind):
    x = KINDS[kind](X)
    ours, expected = (each.fit(x, Y) for each in pair())
    assert_same(ours, expected, x, 1e-4 if kind == "float32" else 1e-10)


@pytest.mark.usefixtures("_stays_sparse")
@pytest.mark.parametrize("task", ["Classifier", "Regressor"])
def test_partial_fits_are_those_of_scikit_learn(task):
    ours, expected = pair(task, shuffle=False)
    given = {"classes": [0, 1, 2]} if task == "Classifier" else {}
    for start in (0, 30, 60, 0):
        for each in (ours, expected):
            each.partial_fit(X[start : start + 30], Y[start : start + 30], **given)
    assert_same(ours, expected, X)


@pytest.mark.usefixtures("_stays_sparse")
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_many_rows_and_units(solver, monkeypatch):
    """Their products go through the rows by columns."""
    monkeypatch.setattr(csr, "MANY_ROWS", 16)
    monkeypatch.setattr(csr, "MANY_COLUMNS", 4)
    ours, expected = (each.fit(X, Y) for each in pair(solver=solver))
    assert_same(ours, expected, X)


def test_dropout_of_inputs_is_that_of_dense_rows():
    given = SETTINGS | {"input_dropout": 0.3}
    sparse, dense = (mlpgpu.MLPClassifier(**given).fit(x, Y) for x in (X, X.toarray()))
    assert_same(sparse, dense, X)


def test_rounded_products_are_those_of_dense_rows():
    given = {"dtype": "float32", "precision": "bf16", "max_iter": 1}
    sparse, dense = (mlpgpu.MLPClassifier(**(SETTINGS | given)).fit(x, Y) for x in (X, X.toarray()))
    for one, other in zip(sparse.coefs_, dense.coefs_, strict=True):
        np.testing.assert_array_equal(one, other)
