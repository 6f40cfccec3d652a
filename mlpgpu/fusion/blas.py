"""NumPy's own BLAS for compiled loops: the same library, and so the same threads.

Numba itself calls SciPy's BLAS. If two libraries have threads of their own, the idle threads of one wait busily on the
cores that the other needs.
"""

from __future__ import annotations

import ctypes
import functools

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from mlpgpu.blas_threads import library_of_numpy

# CBLAS_LAYOUT and CBLAS_TRANSPOSE of the C interface to BLAS.
ROW_MAJOR, NO_TRANSPOSE, TRANSPOSE = 101, 111, 112
# Names of the matrix product in different builds, and the bits of an integer there.
NAMES = {"scipy_cblas_{}gemm64_": 64, "cblas_{}gemm64_": 64, "scipy_cblas_{}gemm": 32, "cblas_{}gemm": 32}


@functools.cache
def address_of(dtype: str) -> tuple[int, int]:
    """Return the address of the matrix product of NumPy's BLAS, and the bits of its integers.

    Parameters
    ----------
    dtype : str
        ``float32`` or ``float64``.

    Returns
    -------
    address, width : int
        0 and 0 if it is not found.
    """
    try:
        functions = library_of_numpy()
    except (AttributeError, OSError):
        return 0, 0
    for name, width in NAMES.items():
        found = getattr(functions, name.format({"float32": "s", "float64": "d"}[dtype]), None)
        if found is not None:
            return ctypes.cast(found, ctypes.c_void_p).value or 0, width
    return 0, 0


@numba.njit
def tile(rows, columns, thread, n_threads):
    """Return the tile of a product that a thread computes: its share of the longer side, which packs the least.

    BLAS packs what it reads of both matrices before it multiplies. A tile of half the rows reads half of the left
    matrix and all of the right one, whose size is proportional to the number of columns.

    Returns
    -------
    top, bottom, left, right : int
        First row and one past the last, and the same of columns.
    """
    if rows < columns:
        return 0, rows, columns * thread // n_threads, columns * (thread + 1) // n_threads
    return rows * thread // n_threads, rows * (thread + 1) // n_threads, 0, columns


def _product(real: ir.Type, width: int) -> object:
    @intrinsic
    def gemm(typing, address, trans_a, trans_b, m, n, k, a, lda, b, ldb, c, ldc):
        """Compute ``c = a b`` of matrices given by their addresses and leading dimensions."""
        signature = types.void(*[types.intp] * 12)

        def emit(context, builder, signature, given):
            address, trans_a, trans_b, m, n, k, a, lda, b, ldb, c, ldc = given
            mode, whole, pointer = ir.IntType(32), ir.IntType(width), real.as_pointer()
            kinds = [mode] * 3 + [whole] * 3 + [real, pointer, whole, pointer, whole, real, pointer, whole]
            function = builder.inttoptr(address, ir.FunctionType(ir.VoidType(), kinds).as_pointer())

            def narrow(number, kind):
                return number if number.type == kind else builder.trunc(number, kind)

            builder.call(
                function,
                [
                    mode(ROW_MAJOR),
                    *(narrow(number, mode) for number in (trans_a, trans_b)),
                    *(narrow(number, whole) for number in (m, n, k)),
                    real(1.0),
                    builder.inttoptr(a, pointer),
                    narrow(lda, whole),
                    builder.inttoptr(b, pointer),
                    narrow(ldb, whole),
                    real(0.0),
                    builder.inttoptr(c, pointer),
                    narrow(ldc, whole),
                ],
            )
            return context.get_dummy_value()

        return signature, emit

    return gemm


gemm_float32_64, gemm_float64_64 = _product(ir.FloatType(), 64), _product(ir.DoubleType(), 64)
gemm_float32_32, gemm_float64_32 = _product(ir.FloatType(), 32), _product(ir.DoubleType(), 32)
