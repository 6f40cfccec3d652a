"""JAX: the step traced once, an epoch scanned."""

import importlib.util
import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from mlpgpu.backends.base import Step
from mlpgpu.backends.cuda_devices import Library, absent, broken, ordinal, with_old_driver
from mlpgpu.errors import InputError
from mlpgpu.gpus import versions

NEEDS = "backend 'jax' needs JAX, which {why}; pip install 'mlpgpu[jax]'"
INSTALL = {12: "pip install 'jax[cuda12]'", 13: "pip install 'jax[cuda13]'"}


class JaxBackend:
    """See `mlpgpu.backends.base.Backend`."""

    name = "jax"
    # Long enough that the launch of a call does not count, short enough to stop within a moment.
    steps_per_call = 64
    products_per_call = math.inf
    out_of_memory = ("RESOURCE_EXHAUSTED",)

    def __init__(self, jax: Any, device: Any) -> None:
        self.jax, self.xp, self._device = jax, jax.numpy, device
        self.device = "cpu" if device.platform == "cpu" else f"cuda:{device.id}"
        on = f"{device.device_kind}, " if device.platform != "cpu" else ""
        self.description = f"{self.device}, {on}JAX {jax.__version__}"

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

        return self.jax.jit(loop, donate_argnums=0)

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """See `Backend.compile`."""
        return self.jax.jit(function)

    def arithmetic(self) -> str:
        """See `Backend.arithmetic`."""
        return self.description

    def free_memory(self) -> int | None:
        """See `Backend.free_memory`."""
        stats = self._device.memory_stats()
        return stats["bytes_limit"] - stats["bytes_in_use"] if stats else None


def open_beside(array: Any) -> JaxBackend:
    """JAX on the device of `array`; of several, on the first."""
    import jax

    return JaxBackend(jax, min(array.devices(), key=lambda device: device.id))


def open_backend(device: str, dtype: str) -> JaxBackend:
    """JAX on `device`; ``auto`` takes CUDA where JAX has it.

    With `dtype` float64 this turns on ``jax_enable_x64`` for the whole process, which JAX has off.

    Raises
    ------
    InputError
        Where JAX has no such device.
    """
    import jax

    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    try:
        gpus, why = jax.devices("cuda"), None
    except RuntimeError as error:
        gpus, why = [], error
    if device == "cpu" or (device == "auto" and not gpus):
        return JaxBackend(jax, jax.devices("cpu")[0])
    return JaxBackend(jax, _cuda(jax, device, gpus, why))


def _cuda(jax: Any, device: str, gpus: list[Any], why: RuntimeError | None) -> Any:
    """The one of `gpus` that is asked for, when it has computed something."""
    plugin = next((cuda for cuda in INSTALL if importlib.util.find_spec(f"jax_cuda{cuda}_plugin")), None)
    library = Library(f"JAX {jax.__version__}", str(plugin or ""), INSTALL)
    if not gpus:
        raise _no_device(device, library, why)
    at = 0 if device == "auto" else ordinal(device)
    if at >= len(gpus):
        raise absent(device, library, len(gpus))
    try:
        np.asarray(jax.numpy.sum(jax.device_put(np.zeros(2, np.float32), gpus[at])))
    except Exception as error:
        raise broken(f"cuda:{at}", library, error) from None
    return gpus[at]


def _no_device(device: str, library: Library, why: RuntimeError | None) -> InputError:
    platforms, said = os.environ.get("JAX_PLATFORMS", ""), str(why)
    if platforms and not {"cuda", "gpu"} & set(platforms.split(",")):
        return InputError(
            f"device {device!r}: JAX_PLATFORMS={platforms} keeps JAX from CUDA; unset it, or use device cpu"
        )
    if not library.built:
        return InputError(
            f"device {device!r}: {library.label} is installed without its plugin for CUDA; {library.installs()}, "
            "or use device cpu"
        )
    able = versions().get("driver")
    if able and int(able.partition(".")[0]) < int(library.built):
        # What JAX says of it is not always the same.
        return with_old_driver(device, library, able)
    if why is None or any(words in said for words in ("Unknown backend", "No visible GPU", "NO_DEVICE")):
        return absent(device, library, 0)
    return broken(device, library, why)
