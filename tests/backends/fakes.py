"""Stand-ins for array libraries, put in the place of the real ones: no test here may touch a device."""

import importlib.machinery
import sys
import types

import array_api_compat
import numpy as np


def put(monkeypatch, name, module):
    """`module` wherever an import of `name`, or of its array-API namespace, looks; None for one that is missing."""
    for key in [key for key in sys.modules if key.split(".")[0] == name or key.startswith(f"array_api_compat.{name}.")]:
        monkeypatch.delitem(sys.modules, key)
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, f"array_api_compat.{name}", module)
    # An import of a submodule looks here first.
    monkeypatch.setattr(array_api_compat, name, module, raising=False)


def put_broken(monkeypatch, folder, name, line):
    """A package that is installed and fails with `line` when imported."""
    put(monkeypatch, name, None)
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, f"array_api_compat.{name}")
    monkeypatch.delattr(array_api_compat, name)
    (folder / f"{name}.py").write_text(f"{line}\n")
    monkeypatch.syspath_prepend(folder)


def _module(name):
    module = types.ModuleType(name)
    # What asks whether a module is installed reads this.
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    return module


class DeviceArray(np.ndarray):
    """An array that only a fake device makes."""


class CudaError(RuntimeError):
    """CUDARuntimeError."""


def cupy(*, devices=1, driver=True, broken=None, free=1000, pooled=24):
    """CuPy with `devices` devices, on NumPy.

    `broken` is what the first computation raises.
    """
    module = _module("cupy")
    module.__version__ = "13.6.0"
    module.used = []

    def count():
        if not driver:
            raise CudaError("cudaErrorInsufficientDriver:\n  CUDA driver version is insufficient")
        return devices

    def arange(n, dtype):
        if broken is not None:
            raise broken
        return np.arange(n, dtype=dtype).view(DeviceArray)

    def asnumpy(array):
        assert isinstance(array, DeviceArray)
        return np.array(array, subok=False)

    module.arange, module.asnumpy = arange, asnumpy
    module.asarray = lambda array, dtype=None: np.array(array, dtype=dtype).view(DeviceArray)
    module.stack = lambda arrays, axis=0: np.stack(arrays, axis=axis).view(DeviceArray)
    module.get_default_memory_pool = lambda: types.SimpleNamespace(free_bytes=lambda: pooled)
    module.cuda = types.SimpleNamespace(
        Device=lambda ordinal: types.SimpleNamespace(use=lambda: module.used.append(ordinal)),
        runtime=types.SimpleNamespace(
            CUDARuntimeError=CudaError,
            getDeviceCount=count,
            getDeviceProperties=lambda ordinal: {"name": f"Fake {ordinal}".encode()},
            memGetInfo=lambda: (free, 10 * free),
        ),
    )
    return module


def torch(*, devices=0):
    """PyTorch with `devices` CUDA devices."""
    module = _module("torch")
    module.__version__ = "2.9.0"
    module.cuda = types.SimpleNamespace(
        is_available=lambda: bool(devices),
        device_count=lambda: devices,
        get_device_name=lambda device: f"Fake {device}",
        mem_get_info=lambda device: (1000 + int(device[-1]), 5000),
    )
    return module


def jax(*, devices=0, stats=None):
    """JAX with `devices` CUDA devices."""
    module = _module("jax")
    module.__version__ = "0.9.0"
    module.numpy = types.SimpleNamespace()
    module.updates = []
    module.config = types.SimpleNamespace(update=lambda name, value: module.updates.append((name, value)))

    def device(platform, ordinal):
        return types.SimpleNamespace(
            platform=platform, id=ordinal, device_kind=f"Fake {ordinal}", memory_stats=lambda: stats
        )

    def find(platform):
        if platform == "cuda":
            if not devices:
                raise RuntimeError("Unknown backend cuda")
            return [device("gpu", ordinal) for ordinal in range(devices)]
        return [device("cpu", 0)]

    module.devices = find
    return module
