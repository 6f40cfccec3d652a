"""Products through cuBLASLt's interface, on a stand-in written after its documentation, compared with NumPy."""

import ctypes
import itertools

import hosted
import numpy as np
import pytest

from mlpgpu.cuda import products
from mlpgpu.cuda.indexing import NotCaptured, layout
from mlpgpu.cuda.products import Matrix, Multiplier, alignment, matrix
from mlpgpu.fusion.trace import Recorder

SIZES = [(1, 1, 1), (5, 3, 7), (2, 8, 1), (1, 9, 4)]


@pytest.fixture
def cupy(monkeypatch):
    module = hosted.cupy()
    monkeypatch.setattr(products, "library", lambda cupy: cupy.lt)
    return module


@pytest.fixture
def lt(cupy):
    return cupy.lt


@pytest.fixture
def multiplier(cupy):
    return Multiplier(cupy)


def laid(array, transposed):
    """Return an array, copied to row-major or column-major order, and the `Matrix` that describes it."""
    memory = np.ascontiguousarray(array.T if transposed else array)
    return memory, Matrix(*array.shape, transposed, array.dtype.name)


def multiply(multiplier, matrices, arrays, precision="float32"):
    """Store the product of two of `arrays` in the third; a fourth is a bias."""
    addresses, stream = [array.ctypes.data for array in arrays], hosted.Stream()
    with stream:
        multiplier.prepare(*matrices, precision, addresses)(stream.ptr, *addresses)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("turned", list(itertools.product([False, True], repeat=2)))
@pytest.mark.parametrize("sizes", SIZES)
def test_a_product_is_numpys(multiplier, rng, sizes, turned, dtype):
    m, k, n = sizes
    a, b = rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
    kept_a, of_a = laid(a, turned[0])
    kept_b, of_b = laid(b, turned[1])
    out, of_out = laid(np.full((m, n), 7, dtype), False)
    multiply(multiplier, (of_a, of_b, of_out), (kept_a, kept_b, out))
    np.testing.assert_allclose(out, a @ b, rtol=1e-5 if dtype == "float32" else 1e-13, atol=1e-6)


@pytest.mark.parametrize(
    # Values of cublasComputeType_t in cublas_api.h.
    ("dtype", "precision", "compute"),
    [("float32", "float32", 68), ("float32", "tf32", 77), ("float32", "bf16", 75), ("float64", "float32", 70)],
)
def test_a_product_is_computed_as_the_precision_says(multiplier, lt, rng, dtype, precision, compute):
    (a, of_a), (b, of_b), (out, of_out) = (laid(rng.normal(size=(4, 4)).astype(dtype), False) for _ in range(3))
    multiply(multiplier, (of_a, of_b, of_out), (a, b, out), precision)
    assert lt.calls == [compute]
    np.testing.assert_allclose(out, a @ b, rtol=1e-4)


def test_an_algorithm_is_promised_no_more_alignment_than_there_is(multiplier, rng):
    memory = np.zeros(1024, np.float32)
    memory[:] = rng.normal(size=1024)
    assert alignment(4096) == 256
    assert alignment(4096 + 12) == 4
    # Address 0 stands for one that is not known yet. It promises the most, since for less there might be no algorithm.
    assert alignment(0) == 256
    a, b, out = (memory[first : first + 9].reshape(3, 3) for first in (1, 65, 258))
    # The stand-in for cuBLASLt asserts that each address has the alignment that it was promised.
    multiply(multiplier, [Matrix(3, 3, False, "float32")] * 3, (a, b, out))
    np.testing.assert_allclose(out, a @ b, rtol=1e-5)


def test_no_more_alignment_is_promised_than_a_bias_has(multiplier, rng):
    memory = np.zeros(64, np.float32)
    bias = memory[1:5]
    bias[:] = rng.normal(size=4)
    (a, of_a), (b, of_b), (out, of_out) = (laid(rng.normal(size=(4, 4)).astype(np.float32), False) for _ in range(3))
    multiply(multiplier, (of_a, of_b, of_out), (a, b, out, bias))
    np.testing.assert_allclose(out, np.maximum(a @ b + bias, 0), rtol=1e-5, atol=1e-6)


def test_a_device_has_one_handle(cupy, lt):
    for device in (0, 0, 1, 0):
        cupy.cuda.runtime.getDevice = lambda device=device: device
        Multiplier(cupy)
    assert list(lt.made.values()).count("handle") == 2


def test_what_cublaslt_does_not_support_is_refused(multiplier, lt):
    a = b = out = Matrix(2, 2, False, "float64")
    addresses = 4096, 8192, 12288
    with pytest.raises(NotCaptured, match="products of int32"):
        multiplier.prepare(*[Matrix(2, 2, False, "int32")] * 3, "float32", addresses)
    with pytest.raises(NotCaptured, match="products of float64"):
        multiplier.prepare(a, b, out, "tf32", addresses)
    with pytest.raises(NotCaptured, match="products of float64 and float32"):
        multiplier.prepare(a, Matrix(2, 2, False, "float32"), out, "float32", addresses)
    # 7 is CUBLAS_STATUS_INVALID_VALUE.
    with pytest.raises(NotCaptured, match="cublasLtMatmulAlgoGetHeuristic of cuBLASLt fails with status 7"):
        multiplier.prepare(a, Matrix(3, 2, False, "float64"), out, "float32", addresses)

    def none_found(*given):
        return 0

    def one_that_fails(*given):
        *_, found, n_found = given
        found._obj.state, n_found._obj.value = 15, 1
        return 0

    for answer in (none_found, one_that_fails):
        lt.cublasLtMatmulAlgoGetHeuristic = answer
        with pytest.raises(NotCaptured, match="a product of 2 x 2 and 2 x 2, which cuBLASLt has not"):
            multiplier.prepare(a, b, out, "float32", addresses)


def test_views_as_matrices():
    params = Recorder().input((100,), np.float32)
    weights = np.reshape(params[..., 8:28], (4, 5))
    turned, rows = np.matrix_transpose(weights), weights[1:3]
    assert matrix(weights) == Matrix(4, 5, False, "float32")
    assert matrix(turned) == Matrix(5, 4, True, "float32")
    assert matrix(rows) == Matrix(2, 5, False, "float32")
    # In elements, from the start of `params`.
    assert [layout(view).offset for view in (weights, turned, rows)] == [8, 8, 13]
    with pytest.raises(NotCaptured, match="parts of a matrix"):
        matrix(weights[:, 1:3])
    with pytest.raises(NotCaptured, match="two axes"):
        matrix(params)


def test_size_and_offsets_of_a_structure():
    # Those of cublasLtMatmulHeuristicResult_t in cublasLt.h.
    from mlpgpu.cuda.products import Algorithm

    assert ctypes.sizeof(Algorithm) == 96
    assert (Algorithm.workspace_bytes.offset, Algorithm.state.offset) == (64, 72)
