"""JAX as it is installed: without CUDA, or with a plugin for one CUDA, beside a driver that may be for another."""

import importlib.util
import os
from typing import Any

import numpy as np

from mlpgpu.backends.cuda_devices import Library, absent, broken, major, ordinal, with_old_driver
from mlpgpu.errors import InputError
from mlpgpu.gpus import versions

# Those that it has a plugin for.
CUDA = (13, 12)


def cuda_devices(jax: Any) -> tuple[list[Any], RuntimeError | None]:
    """The CUDA devices that JAX finds, and what it says where it finds none."""
    try:
        return jax.devices("cuda"), None
    except RuntimeError as error:
        return [], error


def cuda_device(jax: Any, device: str, found: list[Any], why: RuntimeError | None) -> Any:
    """The one that is asked for of those that `cuda_devices` gave, when it has computed something.

    Raises
    ------
    InputError
        Where there is no such device, or one that does not work.
    """
    plugin = next((cuda for cuda in CUDA if importlib.util.find_spec(f"jax_cuda{cuda}_plugin")), 0)
    # Two plugins would both register as the platform cuda.
    other = f"pip uninstall jax-cuda{plugin}-plugin jax-cuda{plugin}-pjrt && "
    install = {cuda: f"{other if plugin not in {0, cuda} else ''}pip install 'jax[cuda{cuda}]'" for cuda in CUDA}
    library = Library(f"JAX {jax.__version__}", str(plugin or ""), install)
    if not found:
        raise _no_device(device, library, why)
    at = 0 if device == "auto" else ordinal(device)
    if at >= len(found):
        raise absent(device, library, len(found))
    try:
        np.asarray(jax.numpy.sum(jax.device_put(np.zeros(2, np.float32), found[at])))
    except Exception as error:
        raise broken(f"cuda:{at}", library, error) from None
    return found[at]


def _no_device(device: str, library: Library, why: RuntimeError | None) -> InputError:
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
    able = versions().get("driver", "")
    if able and major(able) < major(library.built):
        # What JAX says of that is not always the same.
        return with_old_driver(device, library, able)
    if why is None or any(words in said for words in ("Unknown backend", "No visible GPU", "NO_DEVICE")):
        return absent(device, library, 0)
    return broken(device, library, why)
