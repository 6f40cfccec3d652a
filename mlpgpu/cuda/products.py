"""Matrix products by cuBLASLt, prepared ahead of their launch.

CuPy does not call cuBLAS during stream capture, and cuBLAS itself may allocate. Here the handle, the workspace and the
algorithm are ready beforehand, so that a product is one launch. Functions and constants are those of ``cublasLt.h``.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlpgpu.cuda.indexing import NotCaptured, layout
from mlpgpu.fusion.trace import Traced

# NVIDIA's recommendation for Hopper; other GPUs need less.
WORKSPACE_BYTES = 32 * 2**20
# cublasComputeType_t: the type in which a product accumulates, and to which it may round the operands.
COMPUTE = {
    ("float32", "float32"): 68,
    ("float32", "tf32"): 77,
    ("float32", "bf16"): 75,
    ("float64", "float32"): 70,
}
# cudaDataType.
DATA = {"float32": 0, "float64": 1}
SCALAR = {"float32": ctypes.c_float, "float64": ctypes.c_double}
# cublasLtMatmulDescAttributes_t, and two values of cublasOperation_t.
TRANSPOSE_A, TRANSPOSE_B, NO_TRANSPOSE, TRANSPOSE = 3, 4, 0, 1
EPILOGUE, BIAS = 7, 8
# cublasLtEpilogue_t.
RELU_BIAS = 6
# cublasLtMatmulPreferenceAttributes_t.
MAX_WORKSPACE, ALIGNMENT_A, ALIGNMENT_B, ALIGNMENT_C, ALIGNMENT_D = 1, 5, 6, 7, 8
# The largest alignment that an algorithm asks for, in bytes.
MAX_ALIGNMENT = 256


class NoProduct(NotCaptured):
    """A product, or an epilogue, that cuBLASLt does not support."""


class Algorithm(ctypes.Structure):
    """``cublasLtMatmulHeuristicResult_t``."""

    _fields_ = (
        ("algorithm", ctypes.c_uint64 * 8),
        ("workspace_bytes", ctypes.c_size_t),
        ("state", ctypes.c_int),
        ("waves", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    )


@dataclass(frozen=True)
class Matrix:
    """A contiguous matrix on the device.

    Attributes
    ----------
    rows, columns : int
    transposed : bool
        Whether it is stored column-major.
    dtype : str
    """

    rows: int
    columns: int
    transposed: bool
    dtype: str


def alignment(address: int) -> int:
    """Return the largest power of 2 that divides an address, at most `MAX_ALIGNMENT`."""
    return min(address & -address or MAX_ALIGNMENT, MAX_ALIGNMENT)


def matrix(node: Traced) -> Matrix:
    """Return a traced array, or a view of one, as a matrix.

    Raises
    ------
    NotCaptured
        If it does not have two axes, or is neither row-major nor column-major without gaps.
    """
    strides = layout(node).strides
    if node.ndim != 2:
        raise NotCaptured("products of other than two axes")
    rows, columns = node.shape
    row_major = (columns == 1 or strides[1] == 1) and (rows == 1 or strides[0] == columns)
    column_major = (rows == 1 or strides[0] == 1) and (columns == 1 or strides[1] == rows)
    if not (row_major or column_major):
        raise NotCaptured("products of parts of a matrix")
    return Matrix(rows, columns, not row_major, node.dtype.name)


class Multiplier:
    """cuBLASLt on the current device, with a workspace of its own, for products that run one after the other.

    Parameters
    ----------
    cupy : module

    Raises
    ------
    NoProduct
        If a function of the library fails.
    """

    def __init__(self, cupy: Any) -> None:
        self._workspace = cupy.empty(WORKSPACE_BYTES, np.uint8)
        self._library = library(cupy)
        self._handle = _handle(self._library, cupy.cuda.runtime.getDevice())
        self._preference = ctypes.c_void_p()
        self._call("cublasLtMatmulPreferenceCreate", ctypes.byref(self._preference))
        self._prefer(MAX_WORKSPACE, ctypes.c_uint64(WORKSPACE_BYTES))

    def prepare(
        self, a: Matrix, b: Matrix, out: Matrix, precision: str, addresses: Sequence[int]
    ) -> Callable[..., None]:
        """Prepare ``out = a b``, or ``out = max(a b + bias, 0)``.

        Parameters
        ----------
        a, b, out : Matrix
            `out` must be row-major.
        precision : str
            ``float32``, ``tf32`` or ``bf16``: what float32 operands are rounded to.
        addresses : sequence of int
            Those of `a`, `b` and `out`; a fourth is that of the bias, a row that is added to each row of the product.

        Returns
        -------
        callable
            ``product(stream, *addresses)``. It takes a stream's handle, and addresses with at least the alignment of
            those given here.
        """
        if not a.dtype == b.dtype == out.dtype or (out.dtype, precision) not in COMPUTE:
            raise NotCaptured(f"products of {a.dtype} and {b.dtype}")
        # cuBLASLt is column-major. It sees a row-major matrix as its transpose, so it is asked for the transpose of
        # `out`, the product of those of `b` and `a`.
        operation, left, right, result = (ctypes.c_void_p() for _ in range(4))
        at_a, at_b, at_out, *bias = addresses
        compute, scalar = COMPUTE[out.dtype, precision], SCALAR[out.dtype]
        self._call("cublasLtMatmulDescCreate", ctypes.byref(operation), compute, DATA[out.dtype])
        for attribute, operand in ((TRANSPOSE_A, b), (TRANSPOSE_B, a)):
            self._describe(operation, attribute, ctypes.c_int32(TRANSPOSE if operand.transposed else NO_TRANSPOSE))
        if bias:
            # The choice of an algorithm, below, depends on the alignment of the bias.
            self._describe(operation, EPILOGUE, ctypes.c_uint32(RELU_BIAS))
            self._describe(operation, BIAS, ctypes.c_void_p(bias[0]))
        for described, each in ((left, b), (right, a), (result, out)):
            columns, rows = (each.rows, each.columns) if each.transposed else (each.columns, each.rows)
            sizes = ctypes.c_uint64(columns), ctypes.c_uint64(rows), ctypes.c_int64(columns)
            self._call("cublasLtMatrixLayoutCreate", ctypes.byref(described), DATA[each.dtype], *sizes)
        # An algorithm may load the bias in vectors of the width in which it stores.
        written = min(map(alignment, (at_out, *bias)))
        for attribute, n_bytes in (
            (ALIGNMENT_A, alignment(at_b)),
            (ALIGNMENT_B, alignment(at_a)),
            (ALIGNMENT_C, alignment(at_out)),
            (ALIGNMENT_D, written),
        ):
            self._prefer(attribute, ctypes.c_uint32(n_bytes))
        found, n_found = Algorithm(), ctypes.c_int()
        layouts = left, right, result, result
        self._call(
            "cublasLtMatmulAlgoGetHeuristic",
            self._handle,
            operation,
            *layouts,
            self._preference,
            1,
            ctypes.byref(found),
            ctypes.byref(n_found),
        )
        if not n_found.value or found.state:
            raise NoProduct(f"a product of {a.rows} x {a.columns} and {b.rows} x {b.columns}, which cuBLASLt has not")
        one, zero = scalar(1), scalar(0)
        head = self._handle, operation, ctypes.byref(one)
        tail = ctypes.byref(found), ctypes.c_void_p(self._workspace.data.ptr), ctypes.c_size_t(found.workspace_bytes)

        def product(stream: int, *addresses: int) -> None:
            at_a, at_b, at_out, *bias = map(ctypes.c_void_p, addresses)
            if bias:
                self._describe(operation, BIAS, bias[0])
            operands = at_b, left, at_a, right, ctypes.byref(zero), at_out, result, at_out, result
            self._call("cublasLtMatmul", *head, *operands, *tail, ctypes.c_void_p(stream))

        return product

    def _describe(self, operation: Any, attribute: int, value: Any) -> None:
        size = ctypes.c_size_t(ctypes.sizeof(value))
        self._call("cublasLtMatmulDescSetAttribute", operation, attribute, ctypes.byref(value), size)

    def _prefer(self, attribute: int, value: Any) -> None:
        size = ctypes.c_size_t(ctypes.sizeof(value))
        self._call("cublasLtMatmulPreferenceSetAttribute", self._preference, attribute, ctypes.byref(value), size)

    def _call(self, name: str, *arguments: Any) -> None:
        _call(self._library, name, *arguments)


def _call(library: Any, name: str, *arguments: Any) -> None:
    status = getattr(library, name)(*arguments)
    if status:
        raise NoProduct(f"a product: {name} of cuBLASLt fails with status {status}")


@functools.cache
def _handle(library: Any, device: int) -> ctypes.c_void_p:
    """Return the handle of a device. It is never destroyed, since that would synchronise the device."""
    handle = ctypes.c_void_p()
    _call(library, "cublasLtCreate", ctypes.byref(handle))
    return handle


@functools.cache
def library(cupy: Any) -> Any:
    """Return cuBLASLt, from the same CUDA libraries as the cuBLAS that CuPy uses.

    Raises
    ------
    OSError, ImportError
        If it is not found.
    """
    # This loads cuBLAS, and with it cuBLASLt, which can then be found by its name.
    cupy.cuda.device.get_cublas_handle()
    major = cupy.cuda.runtime.runtimeGetVersion() // 1000
    for name in (f"libcublasLt.so.{major}", f"cublasLt64_{major}.dll"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    from cuda.pathfinder import load_nvidia_dynamic_lib

    return ctypes.CDLL(load_nvidia_dynamic_lib("cublasLt").abs_path)
