"""The choice of a backend for a device and a name, on stand-ins for the array libraries."""

import types

import fakes
import numpy as np
import pytest

from mlpgpu import backends
from mlpgpu.backends import select
from mlpgpu.errors import InputError


def refused(*asked):
    with pytest.raises(InputError) as caught:
        select(*asked)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


@pytest.fixture(autouse=True)
def no_programs(programs):
    """Hide the driver's programs on this machine."""


@pytest.fixture
def put(monkeypatch):
    return lambda name, module: fakes.put(monkeypatch, name, module)


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1.0", "CUDA", "cuda0", ""])
@pytest.mark.parametrize("backend", ["auto", *backends.BACKENDS])
def test_what_is_no_name_of_a_device(put, device, backend):
    for name in ("cupy", "torch", "jax"):
        put(name, getattr(fakes, name)(devices=2))
    hint = "; did you mean cuda?" if device else ""
    assert refused(device, backend) == f"device is {device!r}; allowed: auto, cpu, cuda, or cuda:N such as cuda:0{hint}"


# --- nothing to choose ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [("cpu",), ("cpu", "auto"), ("cpu", "numpy"), ("auto", "numpy")])
def test_numpy_needs_nothing_else(put, asked):
    for name in ("cupy", "torch", "jax"):
        put(name, None)
    backend, note = select(*asked)
    assert (backend.name, backend.device, note) == ("numpy", "cpu", "")


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:3"])
def test_numpy_has_no_cuda(put, device):
    put("cupy", fakes.cupy())
    said = refused(device, "numpy")
    assert f"backend 'numpy' has no device {device!r}" in said
    assert "device cpu" in said
    assert "cupy" in said


def test_cupy_has_no_cpu(put):
    put("cupy", fakes.cupy())
    said = refused("cpu", "cupy")
    assert "backend 'cupy' has no CPU" in said
    assert "device cuda" in said
    assert "backend numpy" in said


# --- CuPy -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [("cuda",), ("cuda:1",), ("cuda", "cupy"), ("auto", "cupy")])
def test_cupy_is_missing(put, asked):
    put("cupy", None)
    said = refused(*asked)
    assert "needs CuPy, which is not installed" in said
    assert "pip install 'mlpgpu[cuda13]'" in said
    assert "device cpu" in said
    assert (asked[0] if asked[0] != "auto" else "cuda") in said


@pytest.mark.parametrize(
    ("torch", "jax", "asked", "got"),
    [
        (2, 2, "cuda", ("torch", "cuda:0")),
        (2, 2, "cuda:1", ("torch", "cuda:1")),
        (None, 1, "cuda", ("jax", "cuda:0")),
        (1, 2, "cuda:1", ("jax", "cuda:1")),
        (0, 1, "cuda", ("jax", "cuda:0")),
    ],
)
def test_where_cupy_is_missing_another_library_has_the_device(put, torch, jax, asked, got):
    put("cupy", None)
    put("torch", None if torch is None else fakes.torch(devices=torch))
    put("jax", fakes.jax(devices=jax))
    backend, note = select(asked)
    assert (backend.name, backend.device, note) == (*got, "CuPy is not installed")
    assert select("auto")[0].name == "numpy"


def test_where_no_library_has_the_device_it_is_cupy_that_is_missing(put):
    put("cupy", None)
    put("torch", fakes.torch(devices=0))
    jax = fakes.jax(devices=0)
    jax.config.update = lambda *changed: pytest.fail(f"{changed} for a device that is not there")
    put("jax", jax)
    assert "needs CuPy, which is not installed" in refused("cuda", "auto", "float64")


def test_cupy_cannot_be_imported(monkeypatch, tmp_path):
    fakes.put_broken(monkeypatch, tmp_path, "cupy", "raise ImportError('libcudart.so.13:\\n cannot open')")
    assert "cannot be imported (libcudart.so.13: cannot open)" in refused("cuda")
    backend, note = select()
    assert backend.name == "numpy"
    assert "libcudart.so.13: cannot open" in note


@pytest.mark.parametrize(
    ("asked", "ordinal"), [(("cuda",), 0), (("cuda:0", "cupy"), 0), (("cuda:2",), 2), (("auto", "cupy"), 0)]
)
def test_cupy_works(put, asked, ordinal):
    fake = fakes.cupy(devices=3)
    put("cupy", fake)
    backend, note = select(*asked)
    assert (backend.name, backend.device, note) == ("cupy", f"cuda:{ordinal}", "")
    assert backend.description == f"cuda:{ordinal}, Fake {ordinal}, CuPy 13.6.0"
    assert fake.used == [ordinal]


def test_cupy_works_where_an_array_is(put):
    """Whichever device was the current one."""
    fake = fakes.cupy(devices=3)
    put("cupy", fake)
    from mlpgpu.backends.cupy import open_beside

    device = types.SimpleNamespace(id=2, use=lambda: fake.used.append(2))
    assert open_beside(types.SimpleNamespace(device=device)).device == "cuda:2"
    assert fake.used == [2]


# --- auto -----------------------------------------------------------------------------------------------------------


def test_auto_takes_a_device_that_works(put):
    put("cupy", fakes.cupy(devices=2))
    backend, note = select()
    assert (backend.name, backend.device) == ("cupy", "cuda:0")
    assert note == "a CUDA device works"


@pytest.mark.parametrize(
    ("fake", "reason"),
    [
        (None, "CuPy is not installed"),
        (fakes.cupy(driver=0), "finds no NVIDIA driver"),
        (fakes.cupy(devices=0), "device 'cuda' is not there"),
        (fakes.cupy(broken=RuntimeError("no kernel image")), "does not work with CuPy 13.6.0 (no kernel image)"),
    ],
)
def test_auto_takes_the_cpu_and_says_why(put, fake, reason):
    put("cupy", fake)
    backend, note = select("auto", "auto")
    assert (backend.name, backend.device) == ("numpy", "cpu")
    assert reason in note
    assert "\n" not in note


def test_auto_hides_no_error_of_its_own(put):
    fake = fakes.cupy()
    fake.cuda.runtime.getDeviceCount = lambda: 1 / 0
    put("cupy", fake)
    with pytest.raises(ZeroDivisionError):
        select()


# --- PyTorch and JAX ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "label"), [("torch", "PyTorch"), ("jax", "JAX")])
@pytest.mark.parametrize("device", ["auto", "cpu", "cuda"])
def test_a_library_is_missing(put, name, label, device):
    put(name, None)
    said = refused(device, name)
    assert f"backend {name!r} needs {label}, which is not installed" in said
    assert f"pip install 'mlpgpu[{name}]'" in said


def test_jax_that_writes_over_what_is_not_its_own(put):
    put("jax", fakes.jax(version=(0, 5, 3)))
    said = refused("cpu", "jax")
    assert "needs JAX, which cannot be imported (version 0.5.3 is older than 0.6); pip install 'mlpgpu[jax]'" in said
    put("jax", fakes.jax(version=(0, 6)))
    assert select("cpu", "jax")[0].name == "jax"


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_a_library_cannot_be_imported(monkeypatch, tmp_path, name):
    fakes.put_broken(monkeypatch, tmp_path, name, "raise ImportError('libbroken.so:\\n cannot open')")
    assert "cannot be imported (libbroken.so: cannot open)" in refused("cpu", name)


@pytest.mark.parametrize("name", ["torch", "jax"])
@pytest.mark.parametrize(
    ("devices", "asked", "got"),
    [
        (0, "auto", "cpu"),
        (0, "cpu", "cpu"),
        (2, "cpu", "cpu"),
        (2, "auto", "cuda:0"),
        (2, "cuda", "cuda:0"),
        (2, "cuda:1", "cuda:1"),
    ],
)
def test_a_library_takes_what_it_is_asked_for(put, name, devices, asked, got):
    put(name, getattr(fakes, name)(devices=devices))
    backend, note = select(asked, name)
    assert (backend.name, backend.device) == (name, got)
    assert note == ("it finds no CUDA device" if (asked, got) == ("auto", "cpu") else "")
    on = f"Fake {got if name == 'torch' else got[-1]}, " if got != "cpu" else ""
    label = {"torch": "PyTorch 2.9.0", "jax": "JAX 0.9.0"}[name]
    assert backend.description == f"{got}, {on}{label}"


@pytest.mark.parametrize(
    ("device", "name"), [("cuda", "cupy"), ("cpu", "torch"), ("cuda", "torch"), ("cpu", "jax"), ("cuda", "jax")]
)
def test_products_are_of_the_precision_that_is_asked_for(put, device, name):
    fake = getattr(fakes, name)(devices=1)
    fake.lax = types.SimpleNamespace(DotAlgorithmPreset=None)
    put(name, fake)
    how = " (emulated, no faster)" if device == "cpu" else ""
    assert select(device, name, "float32", "tf32")[0].description.endswith(f", tf32 products{how}")


def test_free_memory_of_the_libraries(put):
    put("torch", fakes.torch(devices=2))
    # Memory that PyTorch has reserved but not allocated is free too.
    assert select("cuda:1", "torch")[0].free_memory() == 1001 + 401 - 300
    assert select("cpu", "torch")[0].free_memory() is None
    put("jax", fakes.jax(devices=1, stats={"bytes_limit": 700, "bytes_in_use": 200}))
    assert select("cuda", "jax")[0].free_memory() == 500
    put("jax", fakes.jax())
    assert select("cpu", "jax")[0].free_memory() is None


@pytest.mark.parametrize(("dtype", "updates"), [("float32", []), ("float64", [("jax_enable_x64", True)])])
def test_jax_is_told_of_double_precision_only_where_it_is_asked_for(put, dtype, updates):
    fake = fakes.jax()
    put("jax", fake)
    select("cpu", "jax", dtype)
    assert fake.updates == updates


def test_every_backend_is_a_module_with_an_entry(put):
    for name in backends.BACKENDS:
        if name != "numpy":
            put(name, getattr(fakes, name)(devices=1))
        assert select("auto", name)[0].name == name


def test_rows_reach_a_gpu_from_pinned_memory():
    """According to the calls that a stand-in for a tensor records."""
    from mlpgpu.backends.torch import TorchBackend

    calls = []

    class Tensor:
        def pin_memory(self):
            calls.append("pinned")
            return self

        def to(self, device, non_blocking=False):
            calls.append((device, non_blocking))
            return self

    torch = fakes.torch(devices=1)
    torch.Tensor, torch.from_numpy = Tensor, lambda array: Tensor()
    TorchBackend(torch, None, "cuda:0").asarray(np.zeros((2, 3)), "float32")
    assert calls == ["pinned", ("cuda:0", True)]
