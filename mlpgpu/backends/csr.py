"""Rows of a sparse matrix, which NumPy multiplies with dense matrices without making them dense."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

# Rows, and columns of the other factor, from which a product goes through the sparse rows column by column. Row by row,
# it uses the rows of the larger dense matrix, one per feature, in random order, which takes several times as long as
# the arithmetic once they do not fit into a cache. To sort the stored elements by columns pays only if both are many.
MANY_ROWS, MANY_COLUMNS = 1024, 64


class Factor:
    """Left factor of a matrix product with a dense matrix, ``np.matmul(factor, dense)``, with or without `out`.

    Attributes
    ----------
    rows : Csr
    transposed : bool
        Whether the factor is the transpose of `rows`.
    shape : tuple of int
    dtype : numpy.dtype
    """

    rows: Csr
    transposed: bool
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __array_ufunc__(self, function: np.ufunc, method: str, *given: Any, out: Any = (None,), **more: Any) -> Any:
        if function is not np.matmul or method != "__call__" or more or given[0] is not self or given[1].ndim != 2:
            return NotImplemented
        # SciPy's public product allocates its result, and for one as large as the weights of the first layer that takes
        # longer than the product itself.
        from scipy.sparse._sparsetools import csc_matvecs, csr_matvecs

        right, n_columns = np.ascontiguousarray(given[1], self.dtype), given[1].shape[1]
        product = np.empty((self.shape[0], n_columns), self.dtype) if out[0] is None else out[0]
        product.fill(0)
        by_columns = self.rows.is_faster_by_columns(n_columns)
        arrays = self.rows.columns() if by_columns else self.rows.arrays()
        # The rows of a transpose are columns.
        add = csr_matvecs if by_columns == self.transposed else csc_matvecs
        add(*self.shape, n_columns, *arrays, right.reshape(-1), product.reshape(-1, copy=False))
        return product


class Csr(Factor):
    """Rows in CSR format, of one step or of several, with as much of an array's interface as a network needs.

    ``np.copyto`` from one to another copies nothing: the other then refers to the same rows.

    Parameters
    ----------
    indptr, indices, data : array
        As in ``scipy.sparse.csr_array``, except that ``indptr[0]`` need not be 0.
    shape : tuple of int
        (n_rows, n_features), or (n_steps, n_rows, n_features).
    """

    transposed = False

    def __init__(self, indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, shape: tuple[int, ...]) -> None:
        self._arrays, self.shape, self.dtype = (indptr, indices, data), shape, data.dtype
        self._columns: tuple[np.ndarray, ...] | None = None

    @property
    def rows(self) -> Csr:  # type: ignore[override]
        """The rows themselves: an attribute would keep them alive until the garbage collector runs."""
        return self

    def arrays(self) -> tuple[np.ndarray, ...]:
        """Return `indptr`, `indices` and `data`."""
        return self._arrays

    def columns(self) -> tuple[np.ndarray, ...]:
        """Return these arrays in CSC format; of the rows of one step."""
        if self._columns is None:
            by_columns = self._to_scipy().tocsc()
            self._columns = by_columns.indptr, by_columns.indices, by_columns.data
        return self._columns

    def is_faster_by_columns(self, n_columns: int) -> bool:
        """Whether a product with a matrix of `n_columns` columns is faster with `columns`."""
        n_rows, n_features = self.shape
        return n_rows >= MANY_ROWS and n_columns >= MANY_COLUMNS and n_features > 2 * n_rows

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Csr:
        """Return the rows of one step: ``[i]`` or ``[i, ...]``."""
        step, n_rows = key[0] if isinstance(key, tuple) else key, self.shape[1]
        indptr, indices, data = self._arrays
        return Csr(indptr[step * n_rows : (step + 1) * n_rows + 1], indices, data, self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self._to_scipy().toarray().reshape(self.shape), dtype)

    def __array_function__(self, function: Any, types: Any, given: Any, more: Any) -> Any:
        if function is np.matrix_transpose:
            return Transposed(self)
        if function is np.reshape:
            return Csr(*self._arrays, given[1])
        if function is np.copyto and all(isinstance(each, Csr) for each in given):
            own, other = given
            own._arrays, own._columns = other._arrays, other._columns
            return None
        return NotImplemented

    def _to_scipy(self) -> Any:
        from scipy.sparse import csr_array

        indptr, indices, data = self._arrays
        first, last = indptr[0], indptr[-1]
        rows = data[first:last], indices[first:last], indptr - first
        return csr_array(rows, shape=(math.prod(self.shape[:-1]), self.shape[-1]))


class Transposed(Factor):
    """Transpose of the rows of one step, which may change."""

    transposed = True

    def __init__(self, rows: Csr) -> None:
        self.rows, self.shape, self.dtype = rows, rows.shape[::-1], rows.dtype
