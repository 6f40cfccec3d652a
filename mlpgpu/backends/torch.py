"""PyTorch, on the CPU or a CUDA device."""

import re
import warnings
from typing import Any

import numpy as np

from mlpgpu.backends.base import Eager
from mlpgpu.backends.cuda_devices import Library, absent, broken, ordinal, with_old_driver, without_driver
from mlpgpu.errors import InputError
from mlpgpu.gpus import dotted

NEEDS = "backend 'torch' needs PyTorch, which {why}; pip install 'mlpgpu[torch]'"
# Without force, pip leaves the build for the CPU where it is, since it has the same version.
INDEX = "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl"
INSTALL = {12: f"{INDEX}/cu126", 13: f"{INDEX}/cu130"}


class TorchBackend(Eager):
    """See `mlpgpu.backends.base.Backend`."""

    name = "torch"
    out_of_memory = ("out of memory", "can't allocate memory", "ALLOC_FAILED")

    def __init__(self, torch: Any, xp: Any, device: str) -> None:
        self.torch, self.xp, self.device = torch, xp, device
        on = f"{torch.cuda.get_device_name(device)}, " if device != "cpu" else ""
        self.description = f"{device}, {on}PyTorch {torch.__version__}"

    def asarray(self, array: np.ndarray, dtype: str | None = None) -> Any:
        """See `Backend.asarray`."""
        if isinstance(array, self.torch.Tensor):
            # No gradient of PyTorch's own is wanted, and what asks for one does not become a NumPy array.
            return array.detach().to(self.device, getattr(self.torch, dtype or "", None))
        if not array.flags.writeable:
            # PyTorch has no read-only tensors and warns of sharing such memory.
            array = array.copy()
        tensor = self.torch.from_numpy(np.ascontiguousarray(array, dtype=dtype).reshape(array.shape))
        if self.device == "cpu":
            return tensor
        # From pinned memory a GPU fetches by itself while the host goes on; PyTorch keeps it until that is done.
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def to_host(self, array: Any) -> np.ndarray:
        """See `Backend.to_host`."""
        return array.detach().cpu().numpy()

    def free_memory(self) -> int | None:
        """See `Backend.free_memory`."""
        return None if self.device == "cpu" else int(self.torch.cuda.mem_get_info(self.device)[0])


def open_beside(array: Any) -> Any:
    """PyTorch on the device of `array`."""
    import array_api_compat.torch as xp
    import torch

    if array.device.type not in {"cpu", "cuda"}:
        from mlpgpu.backends.standard import StandardBackend

        return StandardBackend(array)
    return TorchBackend(torch, xp, str(array.device))


def open_backend(device: str, dtype: str) -> TorchBackend:
    """PyTorch on `device`; ``auto`` takes CUDA where PyTorch has it.

    Raises
    ------
    InputError
        Where PyTorch has no such device, or one that does not work.
    """
    import array_api_compat.torch as xp
    import torch

    return TorchBackend(torch, xp, device if device == "cpu" else _cuda(torch, device))


def _cuda(torch: Any, device: str) -> str:
    """The CUDA device that is asked for, when it has computed something; ``cpu`` for an ``auto`` that finds none."""
    library = Library(f"PyTorch {torch.__version__}", torch.version.cuda or "", INSTALL)
    with warnings.catch_warnings():
        # Pages on drivers and GPUs that PyTorch was not built for: whether they matter, the first computation shows.
        warnings.simplefilter("ignore")
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if device == "auto" and not found:
            return "cpu"
        at = 0 if device == "auto" else ordinal(device)
        if not found:
            raise _no_device(torch, device, library)
        if at >= found:
            raise absent(device, library, found)
        try:
            torch.zeros(2, device=f"cuda:{at}").sum().item()
        except Exception as error:
            raise broken(f"cuda:{at}", library, error) from None
    return f"cuda:{at}"


def _no_device(torch: Any, device: str, library: Library) -> InputError:
    if not library.built:
        return InputError(
            f"device {device!r}: {library.label} is a build for the CPU; {library.installs()}, or use device cpu"
        )
    try:
        torch.cuda.init()
    except Exception as error:
        said = str(error)
        if "Found no NVIDIA driver" in said:
            return without_driver(device, library)
        if too_old := re.search(r"too old \(found version (\d+)\)", said):
            return with_old_driver(device, library, dotted(int(too_old[1])))
        if "No CUDA GPUs are available" not in said:
            return broken(device, library, error)
    return absent(device, library, 0)
