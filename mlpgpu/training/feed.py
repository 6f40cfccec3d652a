"""Transfer of rows to the device: all at once, or batch by batch if they do not fit."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mlpgpu.backends import Backend
from mlpgpu.data.mapped import Batches, Mapped
from mlpgpu.maths.scaling import scale
from mlpgpu.maths.step import Batch

Array = Any
# Rows per chunk of an evaluation: enough to use a device fully, few enough to take little memory. Chunks of wide rows
# have fewer, since rows that are sparse on the host become dense on the device.
CHUNK, CHUNK_ELEMENTS = 4096, 2**24
SMALL_INTEGERS = (np.uint8, np.int8, np.int16)


def chunk_rows(n_features: int) -> int:
    """Return the number of rows per chunk of an evaluation."""
    return max(1, min(CHUNK, CHUNK_ELEMENTS // max(n_features, 1)))


def chunks(n_rows: int, n_features: int) -> Iterator[tuple[int, int]]:
    """Iterate over the (start, stop) of each chunk of an evaluation."""
    size = chunk_rows(n_features)
    return ((start, min(start + size, n_rows)) for start in range(0, n_rows, size))


def is_sparse(x: Any) -> bool:
    """Return whether `x` is a matrix or array of ``scipy.sparse``."""
    return hasattr(x, "toarray")


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows with their targets and weights.

    Attributes
    ----------
    x : array of shape (n_rows, n_features)
        Unscaled, in its own dtype: on the host a NumPy array, a sparse CSR array or matrix, or a `Mapped`; or an array
        on the device.
    targets : array
        int64 of shape (n_rows,) for labels, or floats of shape (n_rows, n_outputs).
    weights : float array of shape (n_rows,) or None
        None if all rows have weight 1.
    """

    x: Any
    targets: np.ndarray
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def weight_of_each(self) -> np.ndarray:
        """Return the weights, which are 1 if none are given."""
        return np.ones(len(self)) if self.weights is None else self.weights

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(a.nbytes for a in (self.x, self.targets, self.weights) if a is not None)


class Placement(Protocol):
    """Conversion of inputs on their way to the network, first on the host and then on the device.

    Attributes
    ----------
    dtype : str
        Floating-point dtype of the network.
    """

    dtype: str

    def place(self, x: Any) -> Array:
        """Copy `x` of `Rows` to the device, as an argument of `__call__`."""

    def width(self, x: Any) -> int:
        """Return the number of elements per row of `x` on the device."""

    def __call__(self, x: Array) -> Array:
        """Convert `x` on the device to inputs of the network; pure."""


class Unscaled:
    """The inputs as they are.

    Parameters
    ----------
    backend : Backend
    dtype : str
        Floating-point dtype of the network.
    """

    def __init__(self, backend: Backend, dtype: str) -> None:
        self.backend, self.dtype = backend, dtype

    def place(self, x: Any) -> Array:
        """See `Placement.place`."""
        if is_sparse(x):
            if self.backend.sparse_rows is not None:
                return self.backend.sparse_rows(x, self.dtype)
            x = x.toarray()
        # C-contiguous and aligned: for other layouts BLAS uses other kernels, which round differently.
        return self.backend.asarray(
            np.require(x, requirements=["C", "A"]) if isinstance(x, np.ndarray) else x, self.dtype
        )

    def width(self, x: Any) -> int:
        """See `Placement.width`; of rows that stay sparse, the mean."""
        stays_sparse = is_sparse(x) and self.backend.sparse_rows is not None
        return int(-(-x.nnz // max(x.shape[0], 1)) if stays_sparse else x.shape[1])

    def __call__(self, x: Array) -> Array:
        """See `Placement.__call__`."""
        return x


class Scaled:
    """Scaling of the inputs: small integers in each step on the device, everything else once on the host.

    So images stay bytes, while numbers of a table are centred in float64: a column such as a time in seconds would
    lose all but its first seven digits in float32.

    Parameters
    ----------
    backend : Backend
    shift, factor : float64 array of shape () or (n_features,)
        Inputs become ``(x - shift) * factor``.
    dtype : str
        Floating-point dtype of the network.
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
        # The inputs of several steps have three axes.
        rows, flat = x.reshape(-1, x.shape[-1]), scaled.reshape(-1, x.shape[-1])
        # Overflow gives infinite inputs and an infinite loss, which ends the run with a message.
        with np.errstate(all="ignore"):
            for start in range(0, len(rows), CHUNK):
                flat[start : start + CHUNK] = scale(np, rows[start : start + CHUNK], *self._host)
        return self.backend.asarray(scaled)

    def width(self, x: np.ndarray) -> int:
        """See `Placement.width`."""
        return int(x.shape[1])

    def __call__(self, x: Array) -> Array:
        """See `Placement.__call__`."""
        xp = self.backend.xp
        return scale(xp, x, *self._device) if xp.isdtype(x.dtype, "integral") else x


class Feed(Protocol):
    """Source of the rows of each step.

    Attributes
    ----------
    data : tuple of array
        Arrays on the device that the compiled loop takes in addition to the items of its steps.
    rows : Rows
        The rows of the feed; their targets and weights are on the host.
    width : int
        Elements per row on the device: see `Placement.width`.
    """

    data: tuple[Array, ...]
    rows: Rows
    width: int

    def items(self, rows: np.ndarray, present: np.ndarray) -> Any:
        """Return ``picker(start, stop)``, which returns the items of these steps of an epoch.

        `rows` and `present` are those of `mlpgpu.data.batches.batches`.
        """

    def batch(self, data: tuple[Array, ...], item: tuple[Array, ...]) -> Batch:
        """Return the rows of one step, with x for `Placement.__call__`; pure, since it is compiled with the step."""

    def chunk(self, start: int, stop: int) -> Batch:
        """Return consecutive rows, with x for `Placement.__call__`."""


class Resident:
    """Feed of rows that are all on the device; the item of a step has the indices of its rows.

    Parameters
    ----------
    backend : Backend
    rows : Rows
    placement : Placement
        Its dtype is also that of weights and float targets.
    """

    def __init__(self, backend: Backend, rows: Rows, placement: Placement) -> None:
        self.backend, self.dtype, self.rows, self.width = backend, placement.dtype, rows, placement.width(rows.x)
        self.data: tuple[Array, ...] = (
            placement.place(rows.x),
            _targets(backend, rows.targets, self.dtype),
            backend.asarray(rows.weight_of_each(), self.dtype),
        )
        self.all = self.data

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
        return Batch(*(part[start:stop, ...] for part in self.all))


class Gathered(Resident):
    """Feed of rows that are all on the device; the item of a step has the rows themselves.

    A loop over these items does not depend on the arrays of the feed.
    """

    def __init__(self, backend: Backend, rows: Rows, placement: Placement) -> None:
        super().__init__(backend, rows, placement)
        self.data = ()

    def items(self, rows: np.ndarray, present: np.ndarray) -> Any:
        """See `Feed.items`."""
        xp, numbers_of = self.backend.xp, super().items(rows, present)

        def pick(start: int, stop: int) -> tuple[Array, ...]:
            numbers, present = numbers_of(start, stop)
            flat, shape = xp.reshape(numbers, (-1,)), tuple(numbers.shape)
            x, targets, weights = (
                xp.reshape(xp.take(part, flat, axis=0), (*shape, *part.shape[1:])) for part in self.all
            )
            return x, targets, weights * present

        return pick

    @staticmethod
    def batch(data: tuple[Array, ...], item: tuple[Array, ...]) -> Batch:
        """See `Feed.batch`."""
        return Batch(*item)


class Streamed:
    """Feed of rows that stay on the host; those of each step are copied when it needs them.

    Parameters
    ----------
    backend : Backend
    rows : Rows
    placement : Placement
    dense : bool
        Whether sparse rows are made dense before they are placed.
    """

    def __init__(self, backend: Backend, rows: Rows, placement: Placement, dense: bool = False) -> None:
        self.backend, self.placement, self.dtype, self.rows = backend, placement, placement.dtype, rows
        self.dense, self.width = dense, int(rows.x.shape[1]) if dense else placement.width(rows.x)
        self.weights = rows.weight_of_each()
        self.data: tuple[Array, ...] = ()

    def items(self, rows: np.ndarray, present: np.ndarray) -> Any:
        """See `Feed.items`."""
        x = self.rows.x
        # Sparse rows are indexed by one axis.
        read = Batches(x, rows) if isinstance(x, Mapped) else lambda start, stop: x[rows[start:stop].ravel()]

        def pick(start: int, stop: int) -> tuple[Array, ...]:
            numbers = rows[start:stop]
            placed, *others = self._copy(read(start, stop), numbers, present[start:stop])
            return self.backend.xp.reshape(placed, (*numbers.shape, x.shape[1])), *others

        return pick

    @staticmethod
    def batch(data: tuple[Array, ...], item: tuple[Array, ...]) -> Batch:
        """See `Feed.batch`."""
        return Batch(*item)

    def chunk(self, start: int, stop: int) -> Batch:
        """See `Feed.chunk`."""
        rows = slice(start, stop)
        return Batch(*self._copy(self.rows.x[rows], rows, np.float64(1)))

    def _copy(self, x: Any, rows: Any, present: Any) -> tuple[Array, ...]:
        return (
            self.placement.place(x.toarray() if self.dense and is_sparse(x) else x),
            _targets(self.backend, self.rows.targets[rows], self.dtype),
            self.backend.asarray(self.weights[rows] * present, self.dtype),
        )


def open_feed(
    backend: Backend,
    rows: Rows,
    placement: Placement,
    beside: Callable[[], int] = lambda: 0,
    dense: bool = False,
    resident: type[Resident] = Resident,
) -> Feed:
    """Return a `resident` feed if the rows fit into the free memory of the device, otherwise `Streamed`.

    Rows fit if they take at most three quarters of the free memory, and leave the ``beside()`` bytes that are allocated
    later. Rows that are on the device already stay there. Sparse rows, and rows in a file, are always streamed; `dense`
    as for `Streamed`.
    """
    if is_sparse(rows.x) or isinstance(rows.x, Mapped):
        return Streamed(backend, rows, placement, dense)
    free = backend.free_memory()
    if free is None or not isinstance(rows.x, np.ndarray) or rows.nbytes <= min(0.75 * free, free - beside()):
        return resident(backend, rows, placement)
    return Streamed(backend, rows, placement)


def _targets(backend: Backend, targets: np.ndarray, dtype: str) -> Array:
    return backend.asarray(targets, None if targets.dtype.kind in "iu" else dtype)
