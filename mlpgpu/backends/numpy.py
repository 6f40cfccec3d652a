"""NumPy on the CPU."""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mlpgpu.backends.base import Backend, Step, quiet
from mlpgpu.backends.precision import emulated, in_words
from mlpgpu.blas_threads import OF_NUMPY


class NumpyBackend(Backend):
    """See `mlpgpu.backends.base.Backend`.

    Parameters
    ----------
    precision : str
    """

    name = "numpy"
    device = "cpu"
    xp: Any = np
    description = f"cpu, NumPy {np.__version__}"
    # Together they keep a call to some hundredths of a second on two cores.
    steps_per_call = 256
    products_per_call = 2.0**31
    # Nothing is transferred, so a few steps per call are as fast as many, and copy fewer rows.
    elements_per_call = 2**20

    def __init__(self, precision: str = "float32") -> None:
        self.xp = emulated(np, precision)
        self.description += in_words(precision, emulated=True)
        # A product with rounded operands rounds every element.
        self.sparse_rows = _sparse_rows if precision == "float32" else None

    @quiet
    def asarray(self, array: np.ndarray, dtype: str | None = None) -> np.ndarray:
        """See `Backend.asarray`."""
        return np.asarray(array, dtype=dtype)

    def to_host(self, array: np.ndarray) -> np.ndarray:
        """See `Backend.to_host`."""
        return np.asarray(array)

    def compile_loop(self, step: Step, n_steps: int | None = None) -> Step:
        """See `Backend.compile_loop`."""
        from mlpgpu.fusion.loop import Loop

        return quiet(Loop(step, super().compile_loop(step), n_steps))

    def compile(self, function: Callable[..., Any], *, once: bool = False) -> Callable[..., Any]:
        """See `Backend.compile`."""
        return quiet(function)

    def joined(self, parts: Iterator[np.ndarray], n_rows: int) -> np.ndarray:
        """See `Backend.joined`; only a few parts are in memory at once."""
        first = next(parts)
        if len(first) == n_rows:
            return first
        whole, done = np.empty((n_rows, *first.shape[1:]), first.dtype), 0
        for part in itertools.chain([first], parts):
            whole[done : done + len(part)] = part
            done += len(part)
        return whole

    def arithmetic(self) -> str:
        """See `Backend.arithmetic`."""
        from mlpgpu.fusion.compiled import has_numba
        from mlpgpu.fusion.loop import wanted_way

        # BLAS and its threads set the order of summation in a product; the kind of loop, that of other reductions.
        # While the loop of another fit runs, BLAS has one thread, which is not a property of this one.
        blas = [
            f"{pool['internal_api']} {pool['version']} for {pool.get('architecture', 'any processor')} "
            f"on {max(pool['num_threads'], OF_NUMPY.number())} threads"
            for pool in _blas().info()
            if "numpy" in pool["filepath"]
        ]
        numba = "with" if has_numba() else "without"
        return ", ".join([self.description, *blas, f"loop {wanted_way()} {numba} Numba"])


@quiet
def _sparse_rows(x: Any, dtype: str) -> Any:
    from mlpgpu.backends.csr import Csr

    return Csr(x.indptr, x.indices, x.data.astype(dtype, copy=False), x.shape)


@functools.cache
def _blas() -> Any:
    """Return the BLAS libraries of this process, cached: finding them takes as long as writing a small checkpoint."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def open_beside(array: np.ndarray) -> NumpyBackend:
    """Return the NumPy backend."""
    return NumpyBackend()


def open_backend(device: str, dtype: str, precision: str) -> NumpyBackend:
    """Return the NumPy backend, which supports every `dtype`."""
    return NumpyBackend(precision)
