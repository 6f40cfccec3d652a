"""Stand-ins that replace the array libraries, so that no test touches a device."""

import importlib.machinery
import sys
import types
import warnings

import array_api_compat
import numpy as np


def put(monkeypatch, name, module):
    """Make imports of `name` and of its array API namespace find `module`; with None, they fail."""
    # CuPy leaves cupyx there, which loads on any access, and cannot load beside another CuPy.
    roots, namespace = {name, "cupyx"}, f"array_api_compat.{name}."
    for key in [key for key in sys.modules if key.split(".")[0] in roots or key.startswith(namespace)]:
        monkeypatch.delitem(sys.modules, key)
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, f"array_api_compat.{name}", module)
    # An import of a submodule looks here first.
    monkeypatch.setattr(array_api_compat, name, module, raising=False)


def put_broken(monkeypatch, folder, name, line):
    """Put a package `name` into `folder` whose import runs `line`, which raises an error."""
    put(monkeypatch, name, None)
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, f"array_api_compat.{name}")
    monkeypatch.delattr(array_api_compat, name)
    (folder / f"{name}.py").write_text(f"{line}\n")
    monkeypatch.syspath_prepend(folder)


def _module(name):
    module = types.ModuleType(name)
    # `importlib.util.find_spec` reads this.
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    return module


class DeviceArray(np.ndarray):
    """An array on the device of a stand-in."""


class CudaError(RuntimeError):
    """CUDARuntimeError."""


class _Cuda(types.SimpleNamespace):
    """``cupy.cuda``, which loads cuBLAS on first use."""

    @property
    def cublas(self):
        if self.without_cublas is not None:
            raise self.without_cublas
        return types.SimpleNamespace(getVersion=lambda handle: 130100)


def cupy(*, devices=1, driver=13000, counting=None, broken=None, without_cublas=None, context=1, free=1000, pooled=24):
    """CuPy 13.6 for CUDA 13.0 with `devices` devices, on NumPy.

    `driver` is the newest CUDA that the driver supports; 0 if there is no driver. `counting`, `broken` and
    `without_cublas` are exceptions, raised when devices are counted, by the first computation, and when cuBLAS loads.
    """
    module = _module("cupy")
    module.__version__ = "13.6.0"
    module.used = []

    def count():
        if driver < 13000:
            raise CudaError("cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version")
        if counting is not None:
            raise counting
        return devices

    def arange(n, dtype):
        if broken is not None:
            raise broken
        return np.arange(n, dtype=dtype).view(DeviceArray)

    def asnumpy(array):
        assert isinstance(array, DeviceArray)
        return np.array(array, subok=False)

    module.arange, module.asnumpy = arange, asnumpy
    module.asarray = lambda array, dtype=None, order="K": np.array(array, dtype=dtype, order=order).view(DeviceArray)
    module.stack = lambda arrays, axis=0: np.stack(arrays, axis=axis).view(DeviceArray)
    module.get_default_memory_pool = lambda: types.SimpleNamespace(free_bytes=lambda: pooled)
    module.cuda = _Cuda(
        without_cublas=without_cublas,
        Device=lambda ordinal: types.SimpleNamespace(use=lambda: module.used.append(ordinal)),
        device=types.SimpleNamespace(get_cublas_handle=lambda: 7),
        driver=types.SimpleNamespace(ctxGetCurrent=lambda: context),
        runtime=types.SimpleNamespace(
            CUDARuntimeError=CudaError,
            driverGetVersion=lambda: driver,
            runtimeGetVersion=lambda: 13000,
            getDeviceCount=count,
            getDeviceProperties=lambda ordinal: {"name": f"Fake {ordinal}".encode()},
            memGetInfo=lambda: (free, 10 * free),
        ),
    )
    return module


def torch(*, devices=0, built="13.0", refusing=None, broken=None):
    """PyTorch with `devices` CUDA devices.

    `built` is the CUDA that it is built for; None for a build without. `refusing` and `broken` are exceptions, raised
    when CUDA is initialised, and by the first computation.
    """
    module = _module("torch")
    module.__version__ = "2.9.0"
    module.version = types.SimpleNamespace(cuda=built)

    def is_available():
        if refusing is not None:
            # PyTorch raises nothing here.
            warnings.warn(f"CUDA initialization: {refusing}", stacklevel=2)
        return bool(devices)

    def init():
        raise refusing or RuntimeError("No CUDA GPUs are available")

    def zeros(n, device):
        if broken is not None:
            raise broken
        return np.zeros(n)

    module.zeros = zeros
    module.cuda = types.SimpleNamespace(
        is_available=is_available,
        init=init,
        device_count=lambda: devices,
        get_device_name=lambda device: f"Fake {device}",
        mem_get_info=lambda device: (1000 + int(device[-1]), 5000),
        memory_reserved=lambda device: 400 + int(device[-1]),
        memory_allocated=lambda device: 300,
    )
    return module


def jax(*, devices=0, stats=None, refusing=None, broken=None, without_cpu=None, version=(0, 9, 0)):
    """JAX with `devices` CUDA devices.

    `refusing`, `broken` and `without_cpu` are exceptions, raised when CUDA devices are listed, by the first computation
    there, and when the CPU is listed.
    """
    module = _module("jax")
    module.__version__, module.__version_info__ = ".".join(map(str, version)), version
    module.numpy = types.SimpleNamespace(sum=np.sum)
    module.updates = []
    module.config = types.SimpleNamespace(update=lambda name, value: module.updates.append((name, value)))

    def device(platform, ordinal):
        return types.SimpleNamespace(
            platform=platform, id=ordinal, device_kind=f"Fake {ordinal}", memory_stats=lambda: stats
        )

    def find(platform):
        if platform == "cuda":
            if not devices:
                raise refusing or RuntimeError("Unknown backend cuda. Available backends are ['cpu']")
            return [device("gpu", ordinal) for ordinal in range(devices)]
        if without_cpu is not None:
            raise without_cpu
        return [device("cpu", 0)]

    def device_put(array, device):
        if broken is not None:
            raise broken
        return array

    module.devices, module.device_put = find, device_put
    return module
