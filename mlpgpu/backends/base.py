"""The interface of a backend: an array library on a device, and how it runs a step."""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from mlpgpu.backends.live_bytes import Bytes

# Environment variable that sets how a step runs in place of `auto`: `eager` for every backend, other values for NumPy.
VARIABLE = "MLPGPU_LOOP"
# Recording a step takes some milliseconds and capturing it tens of them, as long as a few dozen eager steps.
FEW_STEPS = 32

Array = Any
Step = Callable[[Any, Any, Any], tuple[Any, Array]]


class Backend(ABC):
    """All that the trainer knows of a device.

    Loops and functions run eagerly here, the reference that the faster execution of subclasses is tested against.

    Attributes
    ----------
    name : str
        ``numpy``, ``cupy``, ``torch`` or ``jax``.
    device : str
        ``cpu``, or ``cuda:N``.
    description : str
        Device and library with their versions, for messages and reports.
    xp : namespace
        Array API namespace whose arrays live on the device.
    steps_per_call : int
        Largest number of steps per call of a compiled loop. Between two calls a run can be stopped, and its progress
        is shown.
    products_per_call : float
        Largest number of multiplications per call, counted as parameters times rows. A call takes fewer steps if
        `steps_per_call` would exceed it.
    elements_per_call : int
        Largest number of elements of the rows of a call, if those of its steps are copied together for it.
    sparse_rows : callable or None
        ``sparse_rows(x, dtype)`` returns the rows of a CSR matrix of SciPy as the left factor of a matrix product, of
        which ``xp.reshape`` makes those of several steps; None for a backend on which sparse rows become dense.
    slices_are_views : bool
        Whether a slice of an array shares its memory.
    donates : bool
        Whether a compiled loop deletes the arrays of any state that it is given.
    """

    name: str
    device: str
    description: str
    xp: Any
    steps_per_call = 1
    products_per_call = math.inf
    elements_per_call = 2**24
    sparse_rows: Callable[[Any, str], Array] | None = None
    slices_are_views = True
    donates = False

    @abstractmethod
    def asarray(self, array: "np.ndarray", dtype: str | None = None) -> Array:
        """Return `array`, of the host or the device, on the device; a copy only if one is needed.

        Values too large for `dtype` become infinite.
        """

    @abstractmethod
    def to_host(self, array: Array) -> "np.ndarray":
        """Return an array of the device as a NumPy array. This waits for the device."""

    def compile_loop(self, step: Step, n_steps: int | None = None) -> Step:
        """Return a loop over steps.

        Parameters
        ----------
        step : callable
            ``step(state, data, item) -> (state, loss)``, pure.
        n_steps : int or None
            Total number of steps over all calls, which decides whether compilation pays. If it is unknown, None, that
            of the calls so far decides at each call.

        Returns
        -------
        callable
            ``loop(state, data, items) -> (state, losses)``, where `items` is a tuple of arrays whose leading axis
            runs over the steps, as does that of `losses`. The next call may overwrite or delete the arrays of the
            returned state, so the caller copies what it needs later. A state from elsewhere stays as it is, unless the
            backend `donates`.
        """
        return eager_loop(self.xp, step)

    def compile(self, function: Callable[..., Any], *, once: bool = False) -> Callable[..., Any]:
        """Compile a pure function of arrays.

        Parameters
        ----------
        function : callable
            Takes and returns arrays or nested tuples of them.
        once : bool
            Whether it is for a single pass over rows: the backend may run it eagerly until the pass proves long.
        """
        return function

    def joined(self, parts: Iterator[Array], n_rows: int) -> Array:
        """Concatenate arrays that have `n_rows` rows together, and are at least one."""
        arrays = list(parts)
        return arrays[0] if len(arrays) == 1 else self.xp.concat(arrays)

    def loop_bytes(self, step: Step, state: Any, data: Any, items: Any, n_steps: int | None = None) -> "Bytes":
        """Estimate the memory that a loop of `step` takes.

        Parameters
        ----------
        step : callable
            As in `compile_loop`, but written in NumPy's namespace.
        state, data, items : tuple of array
            Largest arguments of the loop; only their shapes and dtypes are used.
        n_steps : int or None
            As in `compile_loop`.
        """
        from mlpgpu.backends import live_bytes

        return live_bytes.of_loop(step, state, data, items)

    def function_bytes(self, function: Callable[..., Any], *given: Any) -> "Bytes":
        """Estimate the memory that a call of `compile(function)` with these arguments takes."""
        from mlpgpu.backends import live_bytes

        return live_bytes.of_function(function, given)

    def arithmetic(self) -> str:
        """Describe what the last digits of the results depend on: library, versions, threads."""
        return self.description

    def free_memory(self) -> int | None:
        """Return the bytes free for new arrays on the device; None if its memory is the host's."""
        return None


def eager_loop(xp: Any, step: Step) -> Step:
    """Return an eager loop over steps, as `Backend.compile_loop` defines it: the reference for every faster loop.

    Parameters
    ----------
    xp : namespace
        Namespace of the backend.
    step : callable
        ``step(state, data, item) -> (state, loss)``.
    """

    def loop(state: Any, data: Any, items: tuple[Array, ...]) -> tuple[Any, Array]:
        losses = []
        for i in range(items[0].shape[0]):
            state, loss = step(state, data, tuple(item[i, ...] for item in items))
            losses.append(loss)
        return state, xp.stack(losses)

    return quiet(loop)


def quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """Suppress NumPy's floating-point warnings and errors: only it has them, and non-finite losses are reported."""
    import numpy as np

    return np.errstate(all="ignore")(function)


def hesitant(eager: Step, compiled: Step) -> Step:
    """Return a loop of unknown length: `eager`, but `compiled` from the call with step number `FEW_STEPS` on."""
    done = 0

    def loop(state: Any, data: Any, items: tuple[Array, ...]) -> tuple[Any, Array]:
        nonlocal done
        done += items[0].shape[0]
        return (eager if are_few(done) else compiled)(state, data, items)

    return loop


def are_few(n_steps: int | None) -> bool:
    """Whether a run is over sooner eagerly than a step can be recorded; False if its length is unknown."""
    return n_steps is not None and n_steps < FEW_STEPS


def is_eager() -> bool:
    """Whether the environment asks every backend for eager steps."""
    return os.environ.get(VARIABLE) == "eager"
