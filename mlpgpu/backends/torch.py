"""PyTorch, on the CPU or a CUDA device."""

from typing import Any

import numpy as np

from mlpgpu.backends.base import Eager
from mlpgpu.errors import InputError

NEEDS = "backend 'torch' needs PyTorch, which {why}; pip install 'mlpgpu[torch]'"


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
        Where PyTorch has no such device.
    """
    import array_api_compat.torch as xp
    import torch

    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        device = "cuda" if found else "cpu"
    if device != "cpu":
        ordinal = int(device.partition(":")[2] or 0)
        if ordinal >= found:
            raise InputError(
                f"device {device!r} is not there; PyTorch {torch.__version__} finds {found} CUDA devices; "
                "install a CUDA build of PyTorch and a driver, or use device cpu"
            )
        device = f"cuda:{ordinal}"
    return TorchBackend(torch, xp, device)
