"""Products of sparse rows, compared with those of the same rows as a dense array."""

import gc
import weakref

import numpy as np
import pytest
import scipy.sparse

from mlpgpu.backends import csr
from mlpgpu.backends.csr import Csr
from mlpgpu.backends.numpy import NumpyBackend

N_ROWS, N_FEATURES = 6, 17


def placed(x, dtype="float64"):
    return NumpyBackend().sparse_rows(x, dtype)


def unusual(index):
    """Rows with unsorted and repeated columns, stored zeros, and none at all; the last feature is never there."""
    indptr, indices = np.array([0, 4, 4, 6, 7, 7, 9], index), np.array([9, 2, 9, 0, 3, 15, 8, 1, 0], index)
    data = np.array([1.5, -2.0, 4.0, 0.25, 0.0, 3.0, -1.0, 2.0, 0.0])
    return scipy.sparse.csr_array((data, indices, indptr), shape=(N_ROWS, N_FEATURES))


@pytest.fixture(params=["by rows", "by columns"])
def _order(request, monkeypatch):
    """Both ways through the rows."""
    many = 1 if request.param == "by columns" else 1000
    monkeypatch.setattr(csr, "MANY_ROWS", many)
    monkeypatch.setattr(csr, "MANY_COLUMNS", many)


@pytest.mark.usefixtures("_order")
@pytest.mark.parametrize("n_columns", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_products_are_those_of_dense_rows(rng, index, dtype, n_columns):
    x = unusual(index)
    rows, dense = placed(x, dtype), x.toarray().astype(dtype)
    for factor, full in ((rows, dense), (np.matrix_transpose(rows), dense.T)):
        other = rng.normal(size=(full.shape[1], n_columns)).astype(dtype)
        given = np.full((full.shape[0], n_columns), np.nan, dtype)
        assert np.matmul(factor, other, given) is given
        for product in (np.matmul(factor, other), given, np.matmul(factor, np.asfortranarray(other))):
            assert product.dtype == dtype
            np.testing.assert_allclose(product, full @ other, rtol=1e-6 if dtype == "float32" else 1e-14, atol=1e-6)
            assert factor.shape == full.shape


@pytest.mark.usefixtures("_order")
def test_the_rows_of_each_step_in_turn(rng):
    x = unusual(np.int32)
    steps = np.reshape(placed(x), (3, 2, N_FEATURES))
    own, weights, other = steps[0], rng.normal(size=(N_FEATURES, 3)), rng.normal(size=(2, 3))
    transposed = np.matrix_transpose(own)
    assert len(steps) == 3
    for i in range(3):
        np.copyto(own, steps[i, ...])
        dense = x.toarray()[2 * i : 2 * i + 2]
        np.testing.assert_array_equal(own, dense)
        np.testing.assert_allclose(np.matmul(own, weights), dense @ weights, rtol=1e-14)
        np.testing.assert_allclose(np.matmul(transposed, other), dense.T @ other, rtol=1e-14)
    np.testing.assert_array_equal(steps, x.toarray().reshape(3, 2, N_FEATURES))


def test_nothing_but_products_takes_sparse_rows():
    rows = placed(unusual(np.int32))
    for function, *more in ((np.multiply, 2.0), (np.exp,), (np.sum,), (np.matmul, np.ones(N_FEATURES))):
        with pytest.raises(TypeError):
            function(rows, *more)
    with pytest.raises(TypeError):
        np.matmul(np.ones((2, N_ROWS)), rows)


@pytest.mark.parametrize("kind", [scipy.sparse.csr_array, scipy.sparse.csr_matrix])
@pytest.mark.parametrize("given", ["bool", "int8", "int64", "float32"])
def test_numbers_of_any_type_have_the_type_that_is_asked_for(kind, given):
    x = kind(np.array([[0, 1, 0], [1, 0, 1]], given))
    for dtype in ("float32", "float64"):
        rows = placed(x, dtype)
        assert type(rows) is Csr
        assert rows.dtype == dtype
        np.testing.assert_array_equal(rows, x.toarray())


def test_rows_that_may_not_be_written_to():
    x = unusual(np.int32)
    for part in (x.data, x.indices, x.indptr):
        part.flags.writeable = False
    np.testing.assert_array_equal(np.matmul(placed(x), np.eye(N_FEATURES)), x.toarray())


def test_products_with_rounded_operands_take_dense_rows():
    assert NumpyBackend("bf16").sparse_rows is None


def test_rows_are_freed_at_once():
    """Each chunk of a prediction makes some, all of which the garbage collector would find too late."""
    gc.disable()
    try:
        rows = placed(unusual(np.int32))
        freed = weakref.ref(rows)
        del rows
        assert freed() is None
    finally:
        gc.enable()
