"""How rows reach the device: all at once, or batch by batch where they do not fit."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mlpgpu.backends import Backend
from mlpgpu.data.mapped import Batches, Mapped
from mlpgpu.maths.scaling import scale
from mlpgpu.maths.step import Batch

Array = Any
# Rows that are evaluated at once: enough to fill a device, few enough not to matter in memory. A chunk of wide rows
# has fewer, for what is sparse on the host is dense on the device.
CHUNK, CHUNK_ELEMENTS = 4096, 2**24
SMALL_INTEGERS = (np.uint8, np.int8, np.int16)


def chunk_rows(n_features: int) -> int:
    """How many rows are evaluated at once."""
    return max(1, min(CHUNK, CHUNK_ELEMENTS // max(n_features, 1)))


def chunks(n_rows: int, n_features: int) -> Iterator[tuple[int, int]]:
    """First row and one past the last of each chunk of rows that are evaluated at once."""
    size = chunk_rows(n_features)
    return ((start, min(start + size, n_rows)) for start in range(0, n_rows, size))


def is_sparse(x: Any) -> bool:
    """Whether `x` is a matrix or array of ``scipy.sparse``."""
    return hasattr(x, "toarray")


@dataclass(frozen=True)
class Rows:
    """Rows, and what is known of them.

    Attributes
    ----------
    x : array of shape (n_rows, n_features)
        Unscaled, of its own type; on the host, there also sparse by rows or in a file, or on the device.
    targets : array
        int64 of shape (n_rows,) for labels, or floats of shape (n_rows, n_outputs).
    weights : float array of shape (n_rows,) or None
        None for a weight of 1 each.
    """

    x: Any
    targets: np.ndarray
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return int(self.x.shape[0])

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(a.nbytes for a in (self.x, self.targets, self.weights) if a is not None)


class Placement(Protocol):
    """What becomes of the inputs on their way to the network.

    Attributes
    ----------
    dtype : str
        Floating-point type of the network.
    """

    dtype: str

    def place(self, x: Any) -> Array:
        """`x` of `Rows` on the device, as `__call__` takes it."""

    def __call__(self, x: Array) -> Array:
        """`x` of the device, as the network takes it; pure."""


class Unscaled:
    """The inputs as they are.

    Parameters
    ----------
    backend : Backend
    dtype : str
        Floating-point type of the network.
    """

    def __init__(self, backend: Backend, dtype: str) -> None:
        self.backend, self.dtype = backend, dtype

    def place(self, x: Any) -> Array:
        """See `Placement.place`."""
        x = x.toarray() if is_sparse(x) else x
        # BLAS takes rows that lie otherwise by other ways, which round otherwise.
        return self.backend.asarray(
            np.require(x, requirements=["C", "A"]) if isinstance(x, np.ndarray) else x, self.dtype
        )

    def __call__(self, x: Array) -> Array:
        """See `Placement.__call__`."""
        return x


class Scaled:
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
        """See `Placement.place`."""
        if x.dtype in SMALL_INTEGERS:
            return self.backend.asarray(x)
        scaled = np.empty(x.shape, self.dtype)
        # Those of several steps have three axes.
        rows, flat = x.reshape(-1, x.shape[-1]), scaled.reshape(-1, x.shape[-1])
        # What is too large for its type is infinite, as the loss will be, which ends the run with a message.
        with np.errstate(over="ignore"):
            for start in range(0, len(rows), CHUNK):
                flat[start : start + CHUNK] = scale(np, rows[start : start + CHUNK], *self._host)
        return self.backend.asarray(scaled)

    def __call__(self, x: Array) -> Array:
        """See `Placement.__call__`."""
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
        """The rows of one step, as `Placement` takes them; pure, for it is compiled with the step."""

    def chunk(self, start: int, stop: int) -> Batch:
        """Consecutive rows, as `Placement` takes them."""


class Resident:
    """All rows on the device; a step is handed the numbers of its rows.

    Parameters
    ----------
    backend : Backend
    rows : Rows
    placement : Placement
        Its type is that of weights and float targets too.
    """

    def __init__(self, backend: Backend, rows: Rows, placement: Placement) -> None:
        self.backend, self.dtype, self.rows = backend, placement.dtype, rows
        weights = np.ones(len(rows)) if rows.weights is None else rows.weights
        self.data = (
            placement.place(rows.x),
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

    def __init__(self, backend: Backend, rows: Rows, placement: Placement) -> None:
        self.backend, self.placement, self.dtype, self.rows = backend, placement, placement.dtype, rows
        self.weights = np.ones(len(rows)) if rows.weights is None else rows.weights
        self.data: tuple[Array, ...] = ()

    def items(self, rows: np.ndarray, present: np.ndarray) -> Any:
        """See `Feed.items`."""
        x = self.rows.x
        read = Batches(x, rows) if isinstance(x, Mapped) else lambda start, stop: _dense(x, rows[start:stop])
        return lambda start, stop: self._copy(read(start, stop), rows[start:stop], present[start:stop])

    def batch(self, data: tuple[Array, ...], item: tuple[Array, ...]) -> Batch:
        """See `Feed.batch`."""
        return Batch(*item)

    def chunk(self, start: int, stop: int) -> Batch:
        """See `Feed.chunk`."""
        rows = slice(start, stop)
        return Batch(*self._copy(self.rows.x[rows], rows, np.float64(1)))

    def _copy(self, x: Any, rows: Any, present: Any) -> tuple[Array, ...]:
        return (
            self.placement.place(x),
            _targets(self.backend, self.rows.targets[rows], self.dtype),
            self.backend.asarray(self.weights[rows] * present, self.dtype),
        )


def open_feed(backend: Backend, rows: Rows, placement: Placement, beside: Callable[[], int] = lambda: 0) -> Feed:
    """`Resident` where the rows fit into the free memory of the device, else `Streamed`.

    They may take three quarters of it, and leave the ``beside()`` bytes that are to come. What is on the device stays
    there, sparse rows become dense a batch at a time, and rows in a file are read so.
    """
    if is_sparse(rows.x) or isinstance(rows.x, Mapped):
        return Streamed(backend, rows, placement)
    free = backend.free_memory()
    if free is None or not isinstance(rows.x, np.ndarray) or rows.nbytes <= min(0.75 * free, free - beside()):
        return Resident(backend, rows, placement)
    return Streamed(backend, rows, placement)


def _dense(x: Any, rows: np.ndarray) -> np.ndarray:
    """The rows of several steps, which have three axes; sparse ones have two."""
    return x[rows.ravel()].toarray().reshape(*rows.shape, x.shape[1]) if is_sparse(x) else x[rows]


def _targets(backend: Backend, targets: np.ndarray, dtype: str) -> Array:
    return backend.asarray(targets, None if targets.dtype.kind in "iu" else dtype)
