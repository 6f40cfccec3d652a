"""JAX on the CPU or a CUDA device: steps are traced once and run by `jax.lax.scan`."""

import hashlib
import itertools
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from mlpgpu.backends import xla_memory
from mlpgpu.backends.base import Backend, Step, quiet
from mlpgpu.backends.jax_plugin import cpu_device, cuda_device
from mlpgpu.backends.live_bytes import Bytes
from mlpgpu.backends.precision import Namespace, emulated, in_words

# Precision of XLA's matrix products on a GPU. Its default for float32 is TF32.
ALGORITHMS = {"float32": "highest", "tf32": "TF32_TF32_F32", "bf16": "BF16_BF16_F32"}
# In earlier versions, programs read from the compilation cache on disk overwrite arrays that are not their own.
OLDEST = (0, 6)
# Compiling a function takes about as long as this many calls line by line.
PATIENCE = 64
# Compiled programs to keep: those of the folds of a cross-validation, or of the sizes of a learning curve.
PROGRAMS = 16
NEEDS = "backend 'jax' needs JAX, which {why}; pip install 'mlpgpu[jax]'"


class JaxBackend(Backend):
    """See `mlpgpu.backends.base.Backend`."""

    name = "jax"
    # Enough that the overhead of a call does not count, and few enough for a run to stop quickly.
    steps_per_call = 64
    slices_are_views = False
    donates = True

    def __init__(self, jax: Any, device: Any, precision: str = "float32") -> None:
        self.jax, self._device = jax, device
        on_cpu = device.platform == "cpu"
        self.device = "cpu" if on_cpu else f"cuda:{device.id}"
        by_hardware = not on_cpu and (precision == "float32" or hasattr(jax.lax, "DotAlgorithmPreset"))
        self.xp = _rounding(jax.numpy, precision) if by_hardware else emulated(jax.numpy, precision)
        on = "" if on_cpu else f"{device.device_kind}, "
        self.description = f"{self.device}, {on}JAX {jax.__version__}{in_words(precision, emulated=not by_hardware)}"

    @quiet
    def asarray(self, array: np.ndarray, dtype: str | None = None) -> Any:
        """See `Backend.asarray`."""
        if isinstance(array, self.jax.Array):
            return self.xp.asarray(array, dtype=dtype)
        return self.jax.device_put(np.asarray(array, dtype=dtype), self._device)

    def to_host(self, array: Any) -> np.ndarray:
        """See `Backend.to_host`."""
        return np.asarray(array)

    def compile_loop(self, step: Step, n_steps: int | None = None) -> Step:
        """See `Backend.compile_loop`."""

        def loop(state: Any, data: Any, items: tuple[Any, ...]) -> tuple[Any, Any]:
            return self.jax.lax.scan(lambda state, item: step(state, data, item), state, items)

        return self._by_program(self.jax.jit(loop, donate_argnums=0))

    def compile(self, function: Callable[..., Any], *, once: bool = False) -> Callable[..., Any]:
        """See `Backend.compile`."""
        compiled, calls = self._by_program(self.jax.jit(function)), itertools.count(1)
        if not once:
            return compiled
        return lambda *given: (compiled if next(calls) > PATIENCE else function)(*given)

    def _by_program(self, function: Any) -> Callable[..., Any]:
        """Return a jitted function that is not compiled again if the program of another was the same.

        Each fit has a step of its own, and compiling it takes far longer than tracing it.
        """
        own: dict[Any, Callable[..., Any]] = {}

        def call(*given: Any) -> Any:
            leaves, tree = self.jax.tree.flatten(given)
            kind = tree, *((leaf.aval, leaf.sharding) for leaf in leaves)
            if kind not in own:
                own[kind] = _compiled(kind, function.lower(*given))
            return own[kind](*given)

        return call

    def loop_bytes(self, step: Step, state: Any, data: Any, items: Any, n_steps: int | None = None) -> Bytes:
        """See `Backend.loop_bytes`."""
        # Where fused kernels lack an operation, eager steps are an upper bound.
        with suppress(Exception):
            return xla_memory.of_loop(step, state, data, items, on_cpu=self.device == "cpu")
        return super().loop_bytes(step, state, data, items, n_steps)

    def function_bytes(self, function: Callable[..., Any], *given: Any) -> Bytes:
        """See `Backend.function_bytes`."""
        with suppress(Exception):
            return xla_memory.of_function(function, given, on_cpu=self.device == "cpu")
        return super().function_bytes(function, *given)

    def free_memory(self) -> int | None:
        """See `Backend.free_memory`."""
        stats = self._device.memory_stats()
        return stats["bytes_limit"] - stats["bytes_in_use"] if stats else None


# Compiled programs, the last used at the end.
_programs: OrderedDict[Any, Callable[..., Any]] = OrderedDict()


def _compiled(kind: Any, lowered: Any) -> Callable[..., Any]:
    """Return the compiled program for arguments of this kind."""
    text = lowered.as_text()
    if "jax.const" in text:
        # By a setting that is to become JAX's default, arrays that the function holds are arguments of the program.
        return lowered.compile()
    # The text has the values of all arrays that the function holds.
    key = kind, hashlib.sha256(text.encode()).digest()
    program = _programs.pop(key, None) or lowered.compile()
    _programs[key] = program
    if len(_programs) > PROGRAMS:
        _programs.popitem(last=False)
    return program


def _rounding(jnp: Any, precision: str) -> Namespace:
    return Namespace(jnp, matmul=lambda a, b: jnp.matmul(a, b, precision=ALGORITHMS[precision]))


def open_beside(array: Any) -> JaxBackend:
    """Return the backend on the device of `array`, or on the first device of a sharded one."""
    return JaxBackend(_library(), min(array.devices(), key=lambda device: device.id))


def open_backend(device: str, dtype: str, precision: str) -> JaxBackend:
    """Return the backend on `device`; ``auto`` takes CUDA if JAX finds it.

    With `dtype` float64 this turns on ``jax_enable_x64`` for the whole process, which JAX leaves off by default.

    Raises
    ------
    InputError
        If JAX finds no such device, or if the device does not work.
    """
    jax = _library()
    at = cpu_device(jax, device) if device == "cpu" else cuda_device(jax, device)
    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    return JaxBackend(jax, at, precision)


def _library() -> Any:
    import jax

    if jax.__version_info__ < OLDEST:
        raise ImportError(f"version {jax.__version__} is older than {'.'.join(map(str, OLDEST))}")
    return jax
