"""Training on sparse rows in each way, compared with eager training on the same rows as a dense array."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse
from small_networks import ALL_AT_ONCE, plan_of, rows_of
from ways import logged, trained

from mlpgpu.blas_threads import OF_NUMPY
from mlpgpu.fusion import loop

PLAIN = {"optimizer": "momentum", "input_dropout": 0.0, "l2": 0.01}
SETTINGS = {
    "plain": PLAIN,
    "no hidden layer": PLAIN | {"hidden": ()},
    "one unit": PLAIN | {"hidden": (1,)},
    "a frozen layer": PLAIN | {"freeze": 1},
    "dropout of inputs and all else": ALL_AT_ONCE,
}


def pair(index=np.int32):
    """The same rows, sparse and dense; some have no number at all."""
    rows = rows_of("cross_entropy")
    x = rows.x * (np.random.default_rng(3).random(rows.x.shape) < 0.3)
    sparse = scipy.sparse.csr_array(x)
    sparse.indices, sparse.indptr = sparse.indices.astype(index), sparse.indptr.astype(index)
    assert (np.diff(sparse.indptr) == 0).any()
    return dataclasses.replace(rows, x=sparse), dataclasses.replace(rows, x=x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", SETTINGS)
@pytest.mark.parametrize("by", ["eager", "numpy"])
def test_line_by_line_and_by_numpy(by, case, dtype, caplog):
    caplog.set_level("INFO")
    sparse, dense = pair()
    plan = plan_of(dense, "cross_entropy", dtype=dtype, **SETTINGS[case])
    expected = trained("eager", plan, dense)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for one, other in zip(trained(by, plan, sparse), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
    assert not logged(caplog)


# A network with a hidden layer takes twice as long to compile, and multiplies its sparse rows in the same way.
@pytest.mark.parametrize(("index", "hidden"), [(np.int64, ()), (np.int32, (6,))])
def test_compiled(index, hidden, monkeypatch, caplog):
    """On one thread and on two, with the same bits in a repetition; layers of one unit have one thread."""
    pytest.importorskip("numba", reason="numba is not installed: nothing is compiled")
    caplog.set_level("INFO")
    monkeypatch.setattr(loop, "PRODUCTS_PER_THREAD", 1)
    sparse, dense = pair(index)
    plan = plan_of(dense, "cross_entropy", hidden=hidden, **PLAIN)
    expected = trained("eager", plan, dense)
    for n_threads in (1, 2):
        monkeypatch.setattr(OF_NUMPY, "number", lambda n=n_threads: n)
        ours, again = (trained("numba", plan, sparse) for _ in range(2))
        for one, same, other in zip(ours, again, expected, strict=True):
            np.testing.assert_array_equal(one, same)
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
    assert not logged(caplog)


def test_sparse_rows_of_batches_of_any_size_have_one_source(sources):
    sparse, dense = pair()
    for batch_size in (11, 12):
        trained("numba", plan_of(dense, "cross_entropy", batch_size=batch_size, epochs=1, **PLAIN), sparse)
    assert len(sources) == 2
    assert len(set(sources)) == 1
    for name in ("product", "transposed_product"):
        assert f" {name}(item0_indptr, item0_indices, item0_data, step, " in sources[0]
