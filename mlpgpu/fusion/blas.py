"""NumPy's own matrix product for compiled loops: the same library, and so the same threads.

Numba's is SciPy's library. Where two libraries have threads of their own, those of one wait for work, busily, while
those of the other are at it.
"""

from __future__ import annotations

import ctypes
import functools

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

# Of the C interface to BLAS.
ROWS_FIRST, PLAIN, TRANSPOSED = 101, 111, 112
# How libraries call their matrix product, and the width of their whole numbers.
NAMES = {"scipy_cblas_{}gemm64_": 64, "cblas_{}gemm64_": 64, "scipy_cblas_{}gemm": 32, "cblas_{}gemm": 32}


@functools.cache
def library() -> ctypes.CDLL:
    """What gives the functions of the library that NumPy uses.

    Raises
    ------
    OSError, AttributeError
        Where it cannot be looked into.
    """
    # A look into a library is one into those that it uses, except on Windows.
    return ctypes.CDLL(np._core._multiarray_umath.__file__)  # type: ignore[attr-defined]


@functools.cache
def address_of(dtype: str) -> tuple[int, int]:
    """Where the matrix product of NumPy's library is, and the width of its whole numbers.

    Parameters
    ----------
    dtype : str
        ``float32`` or ``float64``.

    Returns
    -------
    address, width : int
        0 and 0 where it is not found.
    """
    try:
        functions = library()
    except (AttributeError, OSError):
        return 0, 0
    for name, width in NAMES.items():
        found = getattr(functions, name.format({"float32": "s", "float64": "d"}[dtype]), None)
        if found is not None:
            return ctypes.cast(found, ctypes.c_void_p).value or 0, width
    return 0, 0


@numba.njit
def tile(rows, columns, thread, n_threads):
    """A thread's part of a product: some of its longer side, for which the least has to be packed.

    BLAS packs what a part reads of both matrices before it multiplies. A part with half of the rows reads half of the
    left matrix and all of the right one, whose size goes with the columns.

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
    def gemm(typing, address, mode_a, mode_b, m, n, k, a, step_a, b, step_b, c, step_c):
        """``c = a b`` of matrices by their addresses, with the elements from a row to the next."""
        signature = types.void(*[types.intp] * 12)

        def emit(context, builder, signature, given):
            address, mode_a, mode_b, m, n, k, a, step_a, b, step_b, c, step_c = given
            mode, whole, pointer = ir.IntType(32), ir.IntType(width), real.as_pointer()
            kinds = [mode] * 3 + [whole] * 3 + [real, pointer, whole, pointer, whole, real, pointer, whole]
            function = builder.inttoptr(address, ir.FunctionType(ir.VoidType(), kinds).as_pointer())

            def narrow(number, kind):
                return number if number.type == kind else builder.trunc(number, kind)

            builder.call(
                function,
                [
                    mode(ROWS_FIRST),
                    *(narrow(number, mode) for number in (mode_a, mode_b)),
                    *(narrow(number, whole) for number in (m, n, k)),
                    real(1.0),
                    builder.inttoptr(a, pointer),
                    narrow(step_a, whole),
                    builder.inttoptr(b, pointer),
                    narrow(step_b, whole),
                    real(0.0),
                    builder.inttoptr(c, pointer),
                    narrow(step_c, whole),
                ],
            )
            return context.get_dummy_value()

        return signature, emit

    return gemm


gemm_float32_64, gemm_float64_64 = _product(ir.FloatType(), 64), _product(ir.DoubleType(), 64)
gemm_float32_32, gemm_float64_32 = _product(ir.FloatType(), 32), _product(ir.DoubleType(), 32)
