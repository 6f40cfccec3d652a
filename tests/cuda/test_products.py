"""Products through cuBLASLt's interface, on a stand-in written after its documentation, compared with NumPy."""

import ctypes
import itertools

import hosted
import numpy as np
import pytest

from mlpgpu.cuda.indexing import NotCaptured
from mlpgpu.cuda.products import WORKSPACE_BYTES, Matrix, Products, matrix
from mlpgpu.fusion.trace import Recorder

SIZES = [(1, 1, 1), (5, 3, 7), (2, 8, 1), (1, 9, 4)]


@pytest.fixture
def lt():
    return hosted.Lt()


@pytest.fixture
def products(lt):
    workspace = np.empty(WORKSPACE_BYTES, np.uint8)
    return Products(lt, workspace.ctypes.data)


def laid(array, transposed):
    """Return an array, copied to row-major or column-major order, and the `Matrix` that describes it."""
    memory = np.ascontiguousarray(array.T if transposed else array)
    return memory, Matrix(memory.ctypes.data, *array.shape, transposed, array.dtype.name)


def multiply(products, a, b, out, precision="float32", bias=None):
    addresses = [each.address for each in (a, b, out)] + ([] if bias is None else [bias])
    stream = hosted.Stream()
    with stream:
        products.prepare(a, b, out, precision, bias)(stream.ptr, *addresses)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("turned", list(itertools.product([False, True], repeat=2)))
@pytest.mark.parametrize("sizes", SIZES)
def test_a_product_is_numpys(products, rng, sizes, turned, dtype):
    m, k, n = sizes
    a, b = rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
    kept_a, of_a = laid(a, turned[0])
    kept_b, of_b = laid(b, turned[1])
    out, of_out = laid(np.full((m, n), 7, dtype), False)
    multiply(products, of_a, of_b, of_out)
    np.testing.assert_allclose(out, a @ b, rtol=1e-5 if dtype == "float32" else 1e-13, atol=1e-6)
    assert kept_a.dtype == kept_b.dtype == out.dtype


@pytest.mark.parametrize(
    # Values of cublasComputeType_t in cublas_api.h.
    ("dtype", "precision", "compute"),
    [("float32", "float32", 68), ("float32", "tf32", 77), ("float32", "bf16", 75), ("float64", "float32", 70)],
)
def test_a_product_is_computed_as_the_precision_says(products, lt, rng, dtype, precision, compute):
    (a, of_a), (b, of_b), (out, of_out) = (laid(rng.normal(size=(4, 4)).astype(dtype), False) for _ in range(3))
    multiply(products, of_a, of_b, of_out, precision)
    assert lt.calls == [compute]
    np.testing.assert_allclose(out, a @ b, rtol=1e-4)


def test_an_algorithm_is_promised_no_more_alignment_than_there_is(products, rng):
    memory = np.zeros(1024, np.float32)
    memory[:] = rng.normal(size=1024)
    start = memory.ctypes.data
    assert Matrix(4096, 2, 2, False, "float32").alignment == 256
    assert Matrix(4096 + 12, 2, 2, False, "float32").alignment == 4
    # Address 0 stands for one that is not known yet. It promises the most, since for less there might be no algorithm.
    assert Matrix(0, 2, 2, False, "float32").alignment == 256
    a, b, out = (Matrix(start + offset, 3, 3, False, "float32") for offset in (4, 260, 1032))
    # The stand-in for cuBLASLt asserts that each address has the alignment that it was promised.
    multiply(products, a, b, out)
    view = lambda first: memory[first : first + 9].reshape(3, 3)  # noqa: E731
    np.testing.assert_allclose(view(258), view(1) @ view(65), rtol=1e-5)


def test_no_more_alignment_is_promised_than_a_bias_has(products, rng):
    memory = np.zeros(64, np.float32)
    bias = memory[1:5]
    bias[:] = rng.normal(size=4)
    (a, of_a), (b, of_b), (out, of_out) = (laid(rng.normal(size=(4, 4)).astype(np.float32), False) for _ in range(3))
    multiply(products, of_a, of_b, of_out, bias=bias.ctypes.data)
    np.testing.assert_allclose(out, np.maximum(a @ b + bias, 0), rtol=1e-5, atol=1e-6)


def test_a_device_has_one_handle(lt):
    for device in (0, 0, 1, 0):
        Products(lt, 4096, device)
    assert list(lt.made.values()).count("handle") == 2


def test_what_cublaslt_does_not_support_is_refused(products, lt, rng):
    (_, a), (_, b), (_, out) = (laid(rng.normal(size=(2, 2)), False) for _ in range(3))
    with pytest.raises(NotCaptured, match="products of int32"):
        products.prepare(*(Matrix(one.address, 2, 2, False, "int32") for one in (a, b, out)))
    with pytest.raises(NotCaptured, match="products of float64"):
        products.prepare(a, b, out, "tf32")
    with pytest.raises(NotCaptured, match="products of float64 and float32"):
        products.prepare(a, Matrix(b.address, 2, 2, False, "float32"), out)
    # 7 is CUBLAS_STATUS_INVALID_VALUE.
    with pytest.raises(NotCaptured, match="cublasLtMatmulAlgoGetHeuristic of cuBLASLt fails with status 7"):
        products.prepare(a, Matrix(b.address, 3, 2, False, "float64"), out)

    def none_found(*given):
        return 0

    def one_that_fails(*given):
        *_, found, n_found = given
        found._obj.state, n_found._obj.value = 15, 1
        return 0

    for answer in (none_found, one_that_fails):
        lt.cublasLtMatmulAlgoGetHeuristic = answer
        with pytest.raises(NotCaptured, match="a product of 2 x 2 and 2 x 2, which cuBLASLt has not"):
            products.prepare(a, b, out)


def test_views_as_matrices():
    params = Recorder().input((100,), np.float32)
    weights = np.reshape(params[..., 8:28], (4, 5))
    assert matrix(weights, 1024) == Matrix(1024 + 32, 4, 5, False, "float32")
    assert matrix(np.matrix_transpose(weights), 1024) == Matrix(1024 + 32, 5, 4, True, "float32")
    assert matrix(weights[1:3], 1024) == Matrix(1024 + 52, 2, 5, False, "float32")
    with pytest.raises(NotCaptured, match="parts of a matrix"):
        matrix(weights[:, 1:3], 1024)
    with pytest.raises(NotCaptured, match="two axes"):
        matrix(params, 1024)


def test_size_and_offsets_of_a_structure():
    # Those of cublasLtMatmulHeuristicResult_t in cublasLt.h.
    from mlpgpu.cuda.products import Algorithm

    assert ctypes.sizeof(Algorithm) == 96
    assert (Algorithm.workspace_bytes.offset, Algorithm.state.offset) == (64, 72)
