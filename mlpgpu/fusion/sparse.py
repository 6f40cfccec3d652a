"""Products of sparse rows with dense matrices in compiled loops: each thread computes its part of the result."""

from __future__ import annotations

import numba
import numpy as np

from mlpgpu.fusion.ahead import prefetch_row


@numba.njit(error_model="numpy", fastmath={"contract"})
def product(indptr, indices, data, step, right, out, thread, n_threads):
    """Compute a thread's share of the rows of ``out = x right``.

    Parameters
    ----------
    indptr, indices, data : array
        Rows of all steps in CSR format, `x` being those of one step.
    step : int
    right : array of shape (n_features, n_columns)
    out : array of shape (n_rows, n_columns)
    thread, n_threads : int
    """
    first = np.uint64(step * len(out))
    for row in range(np.uint64(len(out) * thread // n_threads), np.uint64(len(out) * (thread + 1) // n_threads)):
        result = out[row]
        result[:] = 0
        for k in range(np.uint64(indptr[first + row]), np.uint64(indptr[first + row + np.uint64(1)])):
            prefetch_row(right, indices, k)
            value, weights = data[k], right[indices[k]]
            for column in range(len(result)):
                result[column] += value * weights[column]


@numba.njit(error_model="numpy", fastmath={"contract"})
def transposed_product(indptr, indices, data, step, right, out, thread, n_threads):
    """Compute a thread's share of the columns of ``out = x' right``, where `x'` is the transpose of `x`.

    Parameters
    ----------
    indptr, indices, data, step
        As for `product`.
    right : array of shape (n_rows, n_columns)
    out : array of shape (n_features, n_columns)
    thread, n_threads : int
    """
    first = np.uint64(step * len(right))
    left, end = out.shape[1] * thread // n_threads, out.shape[1] * (thread + 1) // n_threads
    results = out[:, left:end]
    results[:] = 0
    for row in range(np.uint64(len(right))):
        factors = right[row, left:end]
        for k in range(np.uint64(indptr[first + row]), np.uint64(indptr[first + row + np.uint64(1)])):
            prefetch_row(results, indices, k)
            value, result = data[k], results[indices[k]]
            for column in range(len(result)):
                result[column] += value * factors[column]
