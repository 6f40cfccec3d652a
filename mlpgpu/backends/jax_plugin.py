"""The installed JAX: without CUDA, or with a plugin for one version of CUDA and a driver that may be of another."""

import importlib.util
import os
from typing import Any

import numpy as np

from mlpgpu.backends.cuda_devices import Library, absent, broken, major, ordinal, with_old_driver
from mlpgpu.backends.cuda_failures import shown
from mlpgpu.errors import InputError
from mlpgpu.gpus import versions

# Versions of CUDA that JAX has a plugin for.
CUDA = (13, 12)
# JAX asserts that some platform is left; JAX_PLATFORMS=cuda leaves none on a machine without a GPU.
ERRORS = (RuntimeError, AssertionError)


def cpu_device(jax: Any, device: str) -> Any:
    """Return the CPU, for the name that was asked for.

    Raises
    ------
    InputError
        If JAX is kept from the CPU, by the environment or by a plugin that fails.
    """
    try:
        return jax.devices("cpu")[0]
    except ERRORS as error:
        platforms = os.environ.get("JAX_PLATFORMS")
        why = f"JAX_PLATFORMS={platforms}" if platforms else shown(error)
        raise InputError(
            f"device {device!r}: JAX {jax.__version__} does not start on the CPU ({why}); set JAX_PLATFORMS=cpu"
        ) from None


def cuda_device(jax: Any, device: str) -> Any:
    """Return the CUDA device, after a first computation there; the CPU if ``auto`` finds none.

    Raises
    ------
    InputError
        If there is no such device, or if it does not work.
    """
    plugin = next((cuda for cuda in CUDA if importlib.util.find_spec(f"jax_cuda{cuda}_plugin")), 0)
    # Two plugins would both register the platform `cuda`.
    other = f"pip uninstall jax-cuda{plugin}-plugin jax-cuda{plugin}-pjrt && "
    install = {cuda: f"{other if plugin not in {0, cuda} else ''}pip install 'jax[cuda{cuda}]'" for cuda in CUDA}
    library = Library(f"JAX {jax.__version__}", str(plugin or ""), install)
    try:
        found = jax.devices("cuda")
    except ERRORS as error:
        if device == "auto":
            return cpu_device(jax, device)
        raise _no_device(device, library, error) from None
    at = 0 if device == "auto" else ordinal(device)
    if at >= len(found):
        raise absent(device, library, len(found))
    try:
        np.asarray(jax.numpy.sum(jax.device_put(np.zeros(2, np.float32), found[at])))
    except Exception as error:
        raise broken(f"cuda:{at}", library, error) from None
    return found[at]


def _no_device(device: str, library: Library, why: Exception) -> InputError:
    platforms, said = os.environ.get("JAX_PLATFORMS", ""), str(why)
    if platforms and not {"cuda", "gpu"} & set(platforms.split(",")):
        return InputError(
            f"device {device!r}: JAX_PLATFORMS={platforms} keeps {library.label} from CUDA; unset it, or use device cpu"
        )
    if not library.built:
        return InputError(
            f"device {device!r}: {library.label} is installed without its plugin for CUDA; {library.installs()}, "
            "or use device cpu"
        )
    supported = versions().get("driver", "")
    if supported and major(supported) < major(library.built):
        # JAX's own message for an old driver varies.
        return with_old_driver(device, library, supported)
    without = "Unknown backend", "No visible GPU", "NO_DEVICE"
    if isinstance(why, AssertionError) or any(words in said for words in without):
        return absent(device, library, 0)
    return broken(device, library, why)
