"""What a backend is: an array library on a device, and how it runs a step."""

import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

    from mlpgpu.backends.live_bytes import Bytes

# Says how a step runs where `auto` is not wanted: `eager` to every backend, the others to NumPy.
VARIABLE = "MLPGPU_LOOP"
# It takes some milliseconds to record a step, and tens to capture it: as long as a few dozen steps line by line.
FEW_STEPS = 32

Array = Any
Step = Callable[[Any, Any, Any], tuple[Any, Array]]


class Backend(Protocol):
    """The only thing that the trainer knows of a device.

    Attributes
    ----------
    name : str
        ``numpy``, ``cupy``, ``torch`` or ``jax``.
    device : str
        ``cpu``, or ``cuda:N``.
    description : str
        Both in words, with versions.
    xp : namespace
        Array API namespace whose arrays live on the device.
    steps_per_call : int
        How many steps a compiled loop wants to be handed at once. Between two calls a run can be
        stopped and its progress shown.
    products_per_call : float
        Fewer steps are handed to it where so many have more multiplications than this, each parameter
        with each row.
    out_of_memory : tuple of str
        What a RuntimeError says where there was no memory left; a MemoryError always means that.
    """

    name: str
    device: str
    description: str
    xp: Any
    steps_per_call: int
    products_per_call: float
    out_of_memory: tuple[str, ...]

    def asarray(self, array: "np.ndarray", dtype: str | None = None) -> Array:
        """`array` of the host, or of the device already, on the device; a copy only where that needs one.

        What is too large for `dtype` is infinite.
        """

    def to_host(self, array: Array) -> "np.ndarray":
        """`array` of the device as a NumPy array. This waits for the device."""

    def compile_loop(self, step: Step, n_steps: int | None = None) -> Step:
        """A loop of `step`.

        Parameters
        ----------
        step : callable
            ``step(state, data, item) -> (state, loss)``, pure.
        n_steps : int or None
            How many steps it will do in all, over its calls: what is dear to prepare pays for many. None
            where that is not known.

        Returns
        -------
        callable
            ``loop(state, data, items) -> (state, losses)``, where `items` is a tuple of arrays with
            a leading axis of steps, and so has `losses`. A state that went in is given away: its arrays
            may be written over, and what is to be kept of it is copied before. So may those of a state that
            came back, at the next call.
        """

    def compile(self, function: Callable[..., Any], *, once: bool = False) -> Callable[..., Any]:
        """A pure function of arrays, as fast as the backend can run it.

        Parameters
        ----------
        function : callable
            Of arrays or nested tuples of them, and so is what it returns.
        once : bool
            Whether it is for one pass over rows: what is dear to prepare waits until that has proved long.
        """

    def loop_bytes(self, step: Step, state: Any, data: Any, items: Any, n_steps: int | None = None) -> "Bytes":
        """Memory that a loop of `step` takes.

        Parameters
        ----------
        step : callable
            As `compile_loop` has it, written in NumPy's namespace.
        state, data, items : tuple of array
            What the loop is called with at most, of the shapes and types that are asked for; nothing else is.
        n_steps : int or None
            As `compile_loop` has it.
        """

    def function_bytes(self, function: Callable[..., Any], *given: Any) -> "Bytes":
        """The same of a function, as `compile` has it without `once`, and its arguments."""

    def arithmetic(self) -> str:
        """What the last digits of its results depend on, in words."""

    def free_memory(self) -> int | None:
        """Bytes that new arrays can take on the device; None where it is the host's own memory."""


def is_out_of_memory(backend: Backend, error: BaseException) -> bool:
    """Whether `error` says that `backend` had no memory left."""
    said = isinstance(error, RuntimeError) and any(words in str(error) for words in backend.out_of_memory)
    return said or isinstance(error, MemoryError)


def eager_loop(xp: Any, step: Step) -> Step:
    """A loop of `step` line by line, as `Backend.compile_loop` has it: the reference for every faster way.

    Parameters
    ----------
    xp : namespace
        Of the backend.
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
    """`function` without what NumPy warns of: no other library does, and the trainer tells of a loss not finite."""
    import numpy as np

    return np.errstate(over="ignore", invalid="ignore", divide="ignore")(function)


def are_few(n_steps: int | None) -> bool:
    """Whether so many steps are over line by line before what they do is recorded; not where that is not known."""
    return n_steps is not None and n_steps < FEW_STEPS


def is_eager() -> bool:
    """Whether the environment asks for steps line by line, whatever the backend."""
    return os.environ.get(VARIABLE) == "eager"


class Eager:
    """Running line by line: the reference that every faster way is tested against."""

    xp: Any
    description: str
    steps_per_call = 1
    products_per_call = math.inf
    out_of_memory: tuple[str, ...] = ()

    def compile_loop(self, step: Step, n_steps: int | None = None) -> Step:
        """See `Backend.compile_loop`."""
        return eager_loop(self.xp, step)

    def compile(self, function: Callable[..., Any], *, once: bool = False) -> Callable[..., Any]:
        """See `Backend.compile`."""
        return function

    def loop_bytes(self, step: Step, state: Any, data: Any, items: Any, n_steps: int | None = None) -> "Bytes":
        """See `Backend.loop_bytes`."""
        from mlpgpu.backends import live_bytes

        return live_bytes.of_loop(step, state, data, items)

    def function_bytes(self, function: Callable[..., Any], *given: Any) -> "Bytes":
        """See `Backend.function_bytes`."""
        from mlpgpu.backends import live_bytes

        return live_bytes.of_function(function, given)

    def arithmetic(self) -> str:
        """See `Backend.arithmetic`."""
        return self.description
