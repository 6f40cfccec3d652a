"""PyTorch, on the CPU or a CUDA device."""

from collections.abc import Callable
from typing import Any

import numpy as np

from mlpgpu.backends.base import Backend, Step, are_few, hesitant, quiet
from mlpgpu.backends.live_bytes import Bytes
from mlpgpu.backends.precision import Namespace, emulated, in_words
from mlpgpu.backends.torch_build import cuda_device

NEEDS = "backend 'torch' needs PyTorch, which {why}; pip install 'mlpgpu[torch]'"


class TorchBackend(Backend):
    """See `mlpgpu.backends.base.Backend`."""

    name = "torch"

    def __init__(self, torch: Any, xp: Any, device: str, precision: str = "float32") -> None:
        self.torch, self.device = torch, device
        xp, on_cpu = Namespace(xp, **_extremes(torch, xp)), device == "cpu"
        # PyTorch returns float32 products of bfloat16 operands from version 2.8 on.
        by_hardware = not on_cpu and (precision != "bf16" or "dtype" in torch.ops.aten.mm.overloads())
        self.xp = _rounding(torch, xp, precision) if by_hardware else emulated(xp, precision)
        on = "" if on_cpu else f"{torch.cuda.get_device_name(device)}, "
        self.description = f"{device}, {on}PyTorch {torch.__version__}{in_words(precision, emulated=not by_hardware)}"
        if not on_cpu:
            # Enough that the copies of a call do not count, and few enough for a run to stop quickly.
            self.steps_per_call = 64

    @quiet
    def asarray(self, array: np.ndarray, dtype: str | None = None) -> Any:
        """See `Backend.asarray`."""
        if isinstance(array, self.torch.Tensor):
            # Autograd is not used, and a tensor that requires a gradient does not convert to a NumPy array.
            return array.detach().to(self.device, getattr(self.torch, dtype or "", None))
        if not array.flags.writeable:
            # PyTorch has no read-only tensors, and warns if one would share read-only memory.
            array = array.copy()
        tensor = self.torch.from_numpy(np.ascontiguousarray(array, dtype=dtype).reshape(array.shape))
        if self.device == "cpu":
            return tensor
        # The copy from pinned memory is asynchronous; PyTorch keeps that memory until the copy is done.
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def to_host(self, array: Any) -> np.ndarray:
        """See `Backend.to_host`."""
        return array.detach().cpu().numpy()

    def compile_loop(self, step: Step, n_steps: int | None = None) -> Step:
        """See `Backend.compile_loop`."""
        eager = super().compile_loop(step)
        if self.device == "cpu" or are_few(n_steps):
            return eager
        from mlpgpu.backends.torch_graph import CudaGraphs, Loop

        captured = Loop(self.torch, CudaGraphs(self.torch, self.device), step, eager)
        return hesitant(eager, captured) if n_steps is None else captured

    def loop_bytes(self, step: Step, state: Any, data: Any, items: Any, n_steps: int | None = None) -> Bytes:
        """See `Backend.loop_bytes`."""
        if self.device == "cpu" or are_few(n_steps):
            return super().loop_bytes(step, state, data, items)
        from mlpgpu.backends import torch_graph

        return torch_graph.needs(step, state, data, items)

    def free_memory(self) -> int | None:
        """See `Backend.free_memory`."""
        if self.device == "cpu":
            return None
        cuda = self.torch.cuda
        # PyTorch's caching allocator keeps freed memory and reuses it.
        cached = cuda.memory_reserved(self.device) - cuda.memory_allocated(self.device)
        return int(cuda.mem_get_info(self.device)[0] + cached)


def _extremes(torch: Any, xp: Any) -> dict[str, Callable[..., Any]]:
    """Return ``maximum`` and ``minimum`` that accept a Python number.

    Those of array-api-compat make a tensor of the number and copy it to the device, which a CUDA graph cannot capture.
    """

    def with_number(name: str, end: str) -> Callable[..., Any]:
        def function(a: Any, b: Any) -> Any:
            for tensor, number in ((a, b), (b, a)):
                if isinstance(number, int | float):
                    return torch.clamp(tensor, **{end: number})
            return getattr(xp, name)(a, b)

        return function

    return {"maximum": with_number("maximum", "min"), "minimum": with_number("minimum", "max")}


def _rounding(torch: Any, xp: Any, precision: str) -> Any:
    """Return `xp` with a `matmul` that rounds its operands by the GPU's hardware."""

    def tf32(a: Any, b: Any) -> Any:
        flags = torch.backends.cuda.matmul
        # `allow_tf32` is the older name, and PyTorch objects if both are used.
        name, value = ("fp32_precision", "tf32") if hasattr(flags, "fp32_precision") else ("allow_tf32", True)
        before = getattr(flags, name)
        setattr(flags, name, value)
        try:
            return xp.matmul(a, b)
        finally:
            # The flag is global to the process.
            setattr(flags, name, before)

    def bf16(a: Any, b: Any) -> Any:
        product = {2: torch.mm, 3: torch.bmm}.get(a.ndim)
        # `mm` and `bmm` do not broadcast, so other products are emulated.
        if product is None or a.shape[:-2] != b.shape[:-2]:
            return emulated(xp, precision).matmul(a, b)
        return product(a.to(torch.bfloat16), b.to(torch.bfloat16), out_dtype=torch.float32)

    return xp if precision == "float32" else Namespace(xp, matmul={"tf32": tf32, "bf16": bf16}[precision])


def open_beside(array: Any) -> Any:
    """Return the backend on the device of `array`."""
    import array_api_compat.torch as xp
    import torch

    if array.device.type not in {"cpu", "cuda"}:
        from mlpgpu.backends.standard import StandardBackend

        return StandardBackend(array)
    return TorchBackend(torch, xp, str(array.device))


def open_backend(device: str, dtype: str, precision: str) -> TorchBackend:
    """Return the backend on `device`; ``auto`` takes CUDA if PyTorch finds it.

    Raises
    ------
    InputError
        If PyTorch finds no such device, or if the device does not work.
    """
    import array_api_compat.torch as xp
    import torch

    return TorchBackend(torch, xp, device if device == "cpu" else cuda_device(torch, device), precision)
