"""How rows reach the device: all at once, or batch by batch where they do not fit."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mlpgpu.backends import Backend
from mlpgpu.maths.scaling import scale
from mlpgpu.maths.step import Batch

Array = Any
# Rows that are evaluated at once: enough to fill a device, few enough not to matter in memory.
CHUNK = 4096
SMALL_INTEGERS = (np.uint8, np.int8, np.int16)


@dataclass(frozen=True)
class Rows:
    """Rows on the host.

    Attributes
    ----------
    x : array of shape (n_rows, n_features)
        Unscaled, of its own type.
    targets : array
        int64 of shape (n_rows,) for labels, or floats of shape (n_rows, n_outputs).
    weights : float array of shape (n_rows,) or None
        None for a weight of 1 each.
    """

    x: np.ndarray
    targets: np.ndarray
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(a.nbytes for a in (self.x, self.targets, self.weights) if a is not None)


class Scaling:
    """Scaling of the inputs: small integers on the device, step by step; all else on the host, once.

    So images stay bytes, while the numbers of a table are centred in float64, before they lose what a
    column such as a time in seconds has behind its first seven digits.

    Parameters
    ----------
    backend : Backend
    shift, factor : float64 array of shape () or (n_features,)
        Inputs become ``(x - shift) * factor``.
    dtype : str
        Floating-point type of the network.
    """

    def __init__(self, backend: Backend, shift: np.ndarray, factor: np.ndarray, dtype: str) -> None:
        self.backend, self.dtype = backend, dtype
        self._host = shift, factor
        self._device = backend.asarray(shift, dtype), backend.asarray(factor, dtype)

    def place(self, x: np.ndarray) -> Array:
        """`x` of the host on the device, as `__call__` takes it."""
        if x.dtype in SMALL_INTEGERS:
            return self.backend.asarray(x)
        scaled = np.empty(x.shape, self.dtype)
        for start in range(0, len(x), CHUNK):
            scaled[start : start + CHUNK] = scale(np, x[start : start + CHUNK], *self._host)
        return self.backend.asarray(scaled)

    def __call__(self, x: Array) -> Array:
        """`x` of the device, scaled; pure."""
        xp = self.backend.xp
        return scale(xp, x, *self._device) if xp.isdtype(x.dtype, "integral") else x


class Feed(Protocol):
    """Where the rows of a step come from.

    Attributes
    ----------
    data : tuple of array
        What the compiled loop is handed beside the items of its steps.
    rows : Rows
        The same rows on the host.
    """

    data: tuple[Array, ...]
    rows: Rows

    def items(self, rows: np.ndarray, present: np.ndarray) -> Any:
        """What picks the batches of an epoch: ``picker(start, stop)`` -> the items of those steps."""

    def batch(self, data: tuple[Array, ...], item: tuple[Array, ...]) -> Batch:
        """The rows of one step, as `Scaling` takes them; pure, for it is compiled with the step."""

    def chunk(self, start: int, stop: int) -> Batch:
        """Consecutive rows, as `Scaling` takes them."""


class Resident:
    """All rows on the device; a step is handed the numbers of its rows.

    Parameters
    ----------
    backend : Backend
    rows : Rows
    scaling : Scaling
        Its type is that of weights and float targets too.
    """

    def __init__(self, backend: Backend, rows: Rows, scaling: Scaling) -> None:
        self.backend, self.dtype, self.rows = backend, scaling.dtype, rows
        weights = np.ones(len(rows)) if rows.weights is None else rows.weights
        self.data = (
            scaling.place(rows.x),
            _targets(backend, rows.targets, self.dtype),
            backend.asarray(weights, self.dtype),
        )

    def items(self, rows: np.ndarray, present: np.ndarray) -> Any:
        """See `Feed.items`."""
        whole = self.backend.asarray(rows), self.backend.asarray(present, self.dtype)
        return lambda start, stop: tuple(part[start:stop, ...] for part in whole)

    def batch(self, data: tuple[Array, ...], item: tuple[Array, ...]) -> Batch:
        """See `Feed.batch`."""
        rows, present = item
        x, targets, weights = (self.backend.xp.take(part, rows, axis=0) for part in data)
        return Batch(x, targets, weights * present)

    def chunk(self, start: int, stop: int) -> Batch:
        """See `Feed.chunk`."""
        return Batch(*(part[start:stop, ...] for part in self.data))


class Streamed:
    """Rows stay on the host; those of a step are copied as it comes."""

    def __init__(self, backend: Backend, rows: Rows, scaling: Scaling) -> None:
        self.backend, self.scaling, self.dtype, self.rows = backend, scaling, scaling.dtype, rows
        self.weights = np.ones(len(rows)) if rows.weights is None else rows.weights
        self.data: tuple[Array, ...] = ()

    def items(self, rows: np.ndarray, present: np.ndarray) -> Any:
        """See `Feed.items`."""
        return lambda start, stop: self._copy(rows[start:stop], present[start:stop])

    def batch(self, data: tuple[Array, ...], item: tuple[Array, ...]) -> Batch:
        """See `Feed.batch`."""
        return Batch(*item)

    def chunk(self, start: int, stop: int) -> Batch:
        """See `Feed.chunk`."""
        return Batch(*self._copy(slice(start, stop), np.float64(1)))

    def _copy(self, rows: Any, present: Any) -> tuple[Array, ...]:
        return (
            self.scaling.place(self.rows.x[rows]),
            _targets(self.backend, self.rows.targets[rows], self.dtype),
            self.backend.asarray(self.weights[rows] * present, self.dtype),
        )


def open_feed(backend: Backend, rows: Rows, scaling: Scaling) -> Feed:
    """`Resident` where the rows fit into three quarters of the free memory of the device, else `Streamed`.

    The rest is for the parameters and for what a step makes.
    """
    free = backend.free_memory()
    fits = free is None or rows.nbytes <= 0.75 * free
    return Resident(backend, rows, scaling) if fits else Streamed(backend, rows, scaling)


def _targets(backend: Backend, targets: np.ndarray, dtype: str) -> Array:
    return backend.asarray(targets, None if targets.dtype.kind in "iu" else dtype)
