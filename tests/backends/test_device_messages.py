"""Messages about CUDA devices that are missing or fail, in one line: what was asked, what is there, what to do.

The stand-ins raise what CuPy 14.2, PyTorch 2.13 and JAX 0.10 raise: CUDA's own texts, which all three pass on.
"""

import errno
import importlib.machinery
import sys
import types
import warnings
from importlib import metadata

import fakes
import pytest
import smi

from mlpgpu.backends import cuda_failures, select
from mlpgpu.errors import InputError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for nvidia-smi is a shell script")
H200 = "NVIDIA H200, 143771, 140000, 9.0"
LABELS = {"cupy": "CuPy 13.6.0", "torch": "PyTorch 2.9.0", "jax": "JAX 0.9.0"}
TORCH = "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl"
# The exception that each library raises for an error of CUDA.
PASSED_ON = {
    "cupy": lambda name, text: fakes.CudaError(f"cudaError{name}: {text}"),
    "torch": lambda name, text: RuntimeError(
        f"CUDA error: {text}\nSearch for `cudaError{name}' in https://docs.nvidia.com/cuda for more information.\n"
        "CUDA kernel errors might be asynchronously reported at some other API call.\n"
    ),
    "jax": lambda name, text: RuntimeError(f"INTERNAL: CUDA error: Failed call to cuInit: CUDA_ERROR_{name}: {text}"),
}
every_library = pytest.mark.parametrize("name", ["cupy", "torch", "jax"])


@pytest.fixture(autouse=True)
def here(programs, monkeypatch):
    """A machine without a driver, and JAX with its plugin for CUDA 13."""
    plugin = types.ModuleType("jax_cuda13_plugin")
    plugin.__spec__ = importlib.machinery.ModuleSpec("jax_cuda13_plugin", None)
    monkeypatch.setitem(sys.modules, "jax_cuda13_plugin", plugin)
    return programs


@pytest.fixture
def refused(monkeypatch):
    """``refused("cupy", "cuda:1", devices=1)`` -> the message for a stand-in with these arguments."""

    def ask(name, device="cuda", **made):
        fakes.put(monkeypatch, name, getattr(fakes, name)(**made))
        with pytest.raises(InputError) as caught:
            select(device, name)
        said = str(caught.value)
        assert "\n" not in said
        assert caught.value.__cause__ is None
        return said

    return ask


@pytest.fixture(autouse=True)
def wheels(monkeypatch):
    """``wheels("cupy-cuda12x")`` sets which wheels of CuPy are installed; by default none."""

    def put(*names):
        def distribution(name):
            if name not in names:
                raise metadata.PackageNotFoundError(name)

        monkeypatch.setattr(metadata, "distribution", distribution)

    put()
    return put


# --- missing devices ------------------------------------------------------------------------------------------------


@every_library
@pytest.mark.parametrize(
    ("devices", "asked", "there"),
    [
        (1, "cuda:1", "one CUDA device, cuda:0"),
        (3, "cuda:3", "3 CUDA devices, cuda:0 to cuda:2"),
        (3, "cuda:12", "3 CUDA devices, cuda:0 to cuda:2"),
    ],
)
def test_fewer_than_asked_for(refused, name, devices, asked, there):
    said = refused(name, asked, devices=devices)
    assert said == f"device {asked!r} is not there: {LABELS[name]} finds {there}; use one of these"


@every_library
def test_a_variable_hides_what_the_driver_lists(refused, here, monkeypatch, name):
    smi.put(here, H200, H200)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert refused(name, "cuda:1", devices=1) == (
        f"device 'cuda:1' is not there: {LABELS[name]} finds one CUDA device, cuda:0, since CUDA_VISIBLE_DEVICES='1' "
        "hides 1 of the 2 GPUs that nvidia-smi lists; unset it, or use one of these"
    )


@every_library
@pytest.mark.parametrize("value", ["", "-1"])
def test_a_variable_hides_all(refused, here, monkeypatch, name, value):
    smi.put(here, H200, H200)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    none = {"counting": fakes.CudaError("cudaErrorNoDevice: no CUDA-capable device is detected")}
    assert refused(name, "cuda:1", **(none if name == "cupy" else {})) == (
        f"device 'cuda:1' is not there: {LABELS[name]} finds no CUDA device, since CUDA_VISIBLE_DEVICES={value!r} "
        "hides 2 of the 2 GPUs that nvidia-smi lists; unset it, or use device cpu"
    )


@pytest.mark.parametrize(("value", "devices", "there"), [("0", 1, "use one of these"), ("", 0, "use device cpu")])
def test_a_variable_may_hide_some_where_there_is_no_program_to_ask(refused, monkeypatch, value, devices, there):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    said = refused("torch", "cuda:1", devices=devices)
    assert said.endswith(f"and CUDA_VISIBLE_DEVICES={value!r} may hide some; unset it, or {there}")


def test_a_variable_that_hides_nothing_is_not_blamed(refused, here, monkeypatch):
    smi.put(here, H200)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert "CUDA_VISIBLE_DEVICES" not in refused("cupy", "cuda:1", devices=1)


@every_library
def test_no_gpu(refused, name):
    said = refused(name, devices=0)
    assert said.startswith(f"device 'cuda' is not there: {LABELS[name]} finds no CUDA device; see by nvidia-smi")
    assert said.endswith("or use device cpu")


@every_library
def test_a_gpu_that_only_the_driver_sees(refused, here, name):
    smi.put(here, H200)
    said = refused(name, devices=0)
    assert "finds no CUDA device, although nvidia-smi lists NVIDIA H200; reinstall the library (pip install" in said


# --- the driver -----------------------------------------------------------------------------------------------------

NO_DRIVER = "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver"
TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version {}). Please update your GPU driver by\ndownloading"
)


@pytest.mark.parametrize(("name", "made"), [("cupy", {"driver": 0}), ("torch", {"refusing": RuntimeError(NO_DRIVER)})])
def test_no_driver(refused, here, name, made):
    missing = f"device 'cuda': {LABELS[name]} finds no NVIDIA driver"
    assert refused(name, **made) == (
        f"{missing}; install the driver, give the container its GPUs (docker run --gpus all), or use device cpu"
    )
    # A container may have nvidia-smi without the driver's library.
    smi.put(here, H200)
    said = refused(name, **made)
    assert said.startswith(
        f"{missing}, although nvidia-smi lists NVIDIA H200: the driver's library libcuda is not found"
    )
    assert "NVIDIA_DRIVER_CAPABILITIES=compute" in said


@pytest.mark.parametrize(
    ("name", "built", "made"),
    [
        ("cupy", "13.0", lambda able: {"driver": able}),
        ("torch", "13.0", lambda able: {"refusing": RuntimeError(TOO_OLD.format(able))}),
        ("jax", "13", lambda able: {"refusing": RuntimeError("FAILED_PRECONDITION: No visible GPU devices.")}),
    ],
)
@pytest.mark.parametrize(("able", "shown"), [(12040, "12.4"), (11040, "11.4")])
def test_a_driver_too_old(refused, here, wheels, name, built, made, able, shown):
    smi.put(here, H200, driver="500.1", cuda=shown)
    wheels("cupy-cuda13x")
    wheel = {
        "cupy": "pip uninstall cupy-cuda13x && pip install 'mlpgpu[cuda12]'",
        "torch": f"{TORCH}/cu126",
        "jax": "pip uninstall jax-cuda13-plugin jax-cuda13-pjrt && pip install 'jax[cuda12]'",
    }
    other = f"{wheel[name]}, or " if able > 12000 else ""
    assert refused(name, **made(able)) == (
        f"device 'cuda': the NVIDIA driver is too old: it can do CUDA {shown}, and {LABELS[name]} is built for CUDA "
        f"{built}; {other}update the driver to 580 or newer, or use device cpu"
    )


def test_a_newer_minor_version_than_the_driver_s_is_no_hindrance(monkeypatch):
    fakes.put(monkeypatch, "cupy", fakes.cupy(driver=13000))
    sys.modules["cupy"].cuda.runtime.runtimeGetVersion = lambda: 13020
    assert select("cuda")[0].device == "cuda:0"


# --- the installation -----------------------------------------------------------------------------------------------

PAGE = """
================================================================
Failed to import CuPy.

If you installed CuPy via wheels (cupy-cudaXXX or cupy-rocm-X-X), make sure that the package matches with the version
  https://docs.cupy.dev/en/latest/install.html

Original error:
  ImportError: libcudart.so.12: cannot open shared object file: No such file or directory
================================================================
"""
REPAIR = "pip install 'cupy-cuda13x[ctk]>=14', which brings them, or put that CUDA's folder in LD_LIBRARY_PATH"


def test_cupy_is_for_another_cuda_than_is_there(monkeypatch, tmp_path, wheels):
    fakes.put_broken(monkeypatch, tmp_path, "cupy", f"raise ImportError({PAGE!r})")
    wheels("cupy-cuda12x")
    with pytest.raises(InputError) as caught:
        select("cuda")
    assert str(caught.value) == (
        "device 'cuda' needs CuPy, which cannot be imported (ImportError: libcudart.so.12: cannot open shared object "
        "file: No such file or directory): libcudart.so.12 is a part of CUDA; pip install 'cupy-cuda12x[ctk]>=14', "
        "which brings them, or put that CUDA's folder in LD_LIBRARY_PATH, or use device cpu"
    )
    _, note = select()
    assert note.endswith("libcudart.so.12 is a part of CUDA")


@pytest.mark.parametrize(
    ("made", "library"),
    [
        # CuPy 14 looks for each library on first use, CuPy 13 only for NVRTC.
        (
            {
                "broken": RuntimeError(
                    'Failure finding "libnvrtc.so.13 or libnvrtc.so.12": No such file: libnvrtc.so.13'
                )
            },
            "libnvrtc.so.13",
        ),
        (
            {"broken": RuntimeError("CuPy failed to load libnvrtc.so.13: OSError: libnvrtc.so.13: cannot open\n")},
            "libnvrtc.so.13",
        ),
        ({"broken": RuntimeError("CuPy failed to load nvrtc64_130_0.dll: FileNotFoundError")}, "nvrtc64_130_0.dll"),
        (
            {"without_cublas": ImportError('Failure finding "libcublasLt.so.13 or libcublasLt.so.12": No such file')},
            "libcublasLt.so.13",
        ),
    ],
)
def test_a_part_of_cuda_is_missing(refused, wheels, made, library):
    wheels("cupy-cuda13x")
    assert refused("cupy", **made) == (
        f"device 'cuda' is there, but CuPy 13.6.0 does not find {library}, a part of CUDA 13; "
        f"{REPAIR}, or use device cpu"
    )


def test_a_part_of_cuda_is_missing_beside_a_cupy_that_is_no_wheel(refused, wheels):
    wheels("cupy")
    said = refused("cupy", broken=OSError("libnvrtc.so.13: cannot open"))
    assert "does not find libnvrtc.so.13, a part of CUDA 13; pip install 'mlpgpu[cuda13]' or" in said


def test_two_wheels_of_cupy_that_do_not_work(refused, wheels):
    wheels("cupy-cuda12x", "cupy-cuda13x")
    said = refused("cupy", broken=OSError("libnvrtc.so.13: cannot open"))
    assert "cupy-cuda12x and cupy-cuda13x are installed together" in said
    assert "pip uninstall cupy-cuda12x cupy-cuda13x" in said


def test_two_wheels_of_cupy_that_work_are_told_of_once_and_in_one_line(monkeypatch, tmp_path, wheels, caplog):
    """CuPy warns with twenty lines when it is imported, and goes on."""
    fakes.put(monkeypatch, "cupy", fake := fakes.cupy())
    line = "\n" + "-" * 80 + "\n\n  CuPy may not function correctly because multiple CuPy packages are installed\n"
    (tmp_path / "cupy.py").write_text(
        f"import sys, warnings, stand_in\nwarnings.warn({line!r})\nsys.modules['cupy'] = stand_in.module\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "stand_in", types.SimpleNamespace(module=fake))
    monkeypatch.delitem(sys.modules, "cupy")
    wheels("cupy-cuda12x", "cupy-cuda13x")
    assert select("cuda")[0].name == "cupy"
    (record,) = caplog.records
    assert record.getMessage().startswith("cupy-cuda12x and cupy-cuda13x are installed together")
    assert "\n" not in record.getMessage()


def test_cupy_lacks_a_module_that_it_needs(monkeypatch, tmp_path):
    """Such as cuda-pathfinder, which CuPy 14 needs."""
    fakes.put_broken(
        monkeypatch, tmp_path, "cupy", "raise ModuleNotFoundError(\"No module named 'cuda'\", name='cuda')"
    )
    with pytest.raises(InputError, match=r"needs CuPy, which cannot be imported \(No module named 'cuda'\)"):
        select("cuda")


def test_cupy_cannot_make_the_folder_of_its_kernels(monkeypatch, tmp_path):
    """CuPy 14 makes it on import."""
    (tmp_path / "file").touch()
    cache = str(tmp_path / "file" / "kernel_cache")
    fakes.put_broken(monkeypatch, tmp_path, "cupy", f"import os\nos.makedirs({cache!r}, exist_ok=True)")
    with pytest.raises(InputError) as caught:
        select("cuda")
    why = f"device 'cuda' needs CuPy, which cannot keep its kernels ([Errno 20] Not a directory: {cache!r})"
    assert str(caught.value) == f"{why}; set CUPY_CACHE_DIR to a folder that can be written, or use device cpu"
    backend, note = select()
    assert (backend.name, note) == ("numpy", why)


def test_cupy_cannot_write_its_kernels(refused):
    said = refused("cupy", broken=OSError(errno.ENOSPC, "No space left on device"))
    assert said.startswith("device 'cuda' needs CuPy, which cannot keep its kernels ([Errno 28] No space left")
    assert "set CUPY_CACHE_DIR" in said


@pytest.mark.parametrize(("cuda", "index"), [("13.0", "cu130"), ("12.6", "cu126"), ("11.4", "cu130")])
def test_pytorch_is_built_without_cuda(refused, here, cuda, index):
    smi.put(here, H200, cuda=cuda)
    assert refused("torch", "cuda:1", built=None) == (
        f"device 'cuda:1': PyTorch 2.9.0 is a build without CUDA; {TORCH}/{index}, or use device cpu"
    )


@pytest.mark.parametrize(("cuda", "extra"), [("13.0", "cuda13"), ("12.6", "cuda12")])
def test_jax_is_without_its_plugin(refused, here, monkeypatch, cuda, extra):
    # None, not deleted: the real one may be installed.
    monkeypatch.setitem(sys.modules, "jax_cuda13_plugin", None)
    smi.put(here, H200, cuda=cuda)
    assert refused("jax") == (
        f"device 'cuda': JAX 0.9.0 is installed without its plugin for CUDA; pip install 'jax[{extra}]', "
        "or use device cpu"
    )


def test_jax_is_kept_from_cuda(refused, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert refused("jax") == ("device 'cuda': JAX_PLATFORMS=cpu keeps JAX 0.9.0 from CUDA; unset it, or use device cpu")
    monkeypatch.setenv("JAX_PLATFORMS", "cuda,cpu")
    assert "JAX_PLATFORMS" not in refused("jax")


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_jax_is_kept_from_the_cpu(refused, monkeypatch, device):
    """By a variable, or by a plugin that fails, which ends the start of JAX on any device."""
    start = f"device {device!r}: JAX 0.9.0 does not start on the CPU"
    failing = RuntimeError("Unable to initialize backend 'cuda': CUDA_ERROR_UNKNOWN")
    assert refused("jax", device, without_cpu=failing) == f"{start} ({failing}); set JAX_PLATFORMS=cpu"
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    for error in (RuntimeError("Unknown backend cpu. Available backends are ['cuda']"), AssertionError()):
        said = refused("jax", device, refusing=error, without_cpu=error)
        assert said == f"{start} (JAX_PLATFORMS=cuda); set JAX_PLATFORMS=cpu"


def test_jax_is_kept_to_cuda_without_a_gpu(refused, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    assert refused("jax", refusing=AssertionError()).startswith(
        "device 'cuda' is not there: JAX 0.9.0 finds no CUDA device; see by nvidia-smi"
    )


# --- devices that fail ----------------------------------------------------------------------------------------------


def fails(refused, name, kind, text):
    """Return the message if the first computation raises the library's exception for an error of CUDA."""
    return refused(name, "cuda:0", devices=1, broken=PASSED_ON[name](kind, text))


@every_library
def test_it_is_busy(refused, name):
    said = fails(refused, name, "DevicesUnavailable", "CUDA-capable device(s) is/are busy or unavailable")
    assert said.startswith(f"device 'cuda:0' does not work with {LABELS[name]} (")
    assert "CUDA-capable device(s) is/are busy or unavailable): another process has it for itself alone" in said
    assert "nvidia-smi" in said
    assert said.endswith("or use another device")
    assert "Search for" not in said
    assert "asynchronously" not in said


@every_library
@pytest.mark.parametrize("free", [9, 0])
def test_it_is_full(refused, here, name, free):
    smi.put(here, f"NVIDIA H200, 143771, {free}, 9.0")
    said = fails(refused, name, "MemoryAllocation", "out of memory")
    assert f"out of memory): it has no memory left, {free * 2**20 / 1e9:.2f} of 150.75 GB free; wait for" in said
    assert "nvidia-smi lists" in said


def test_it_is_full_and_nobody_knows_by_what(refused):
    said = refused("cupy", broken=MemoryError())
    assert "(MemoryError): it has no memory left; wait for the processes that hold it" in said


def test_a_full_one_beside_a_free_one(refused, here):
    smi.put(here, H200, "NVIDIA H200, 143771, 1000, 9.0")
    error = PASSED_ON["cupy"]("MemoryAllocation", "out of memory")
    assert "GB free" not in refused("cupy", "cuda:0", devices=2, broken=error)
    assert "1.05 of 150.75 GB free" in refused("cupy", "cuda:1", devices=2, broken=error)


@every_library
@pytest.mark.parametrize("capability", ["6.1", "7.0", "7.5", "12.0"])
def test_the_library_has_no_code_for_it(refused, here, name, capability):
    smi.put(here, f"NVIDIA Something, 1000, 900, {capability}")
    older = {
        "cupy": "pip install 'mlpgpu[cuda12]'",
        "torch": f"{TORCH}/cu126",
        "jax": "pip uninstall jax-cuda13-plugin jax-cuda13-pjrt && pip install 'jax[cuda12]'",
    }
    todo = older[name] if capability in {"6.1", "7.0"} else "update it (pip install"
    said = fails(refused, name, "NoKernelImageForDevice", "no kernel image is available for execution on the device")
    assert f"): {LABELS[name]} has no code for a GPU of compute capability {capability}; {todo}" in said


def test_nvrtc_has_no_code_for_it(refused):
    said = refused("cupy", broken=RuntimeError("nvrtc: error: invalid value for --gpu-architecture (-arch)\n"))
    assert "CuPy 13.6.0 has no code for this GPU; take a build that has (pip install 'mlpgpu[cuda13]')" in said


def test_pytorch_that_says_so_as_a_warning(monkeypatch):
    """It computes all the same, so there is no message."""
    fake = fakes.torch(devices=1)
    zeros = fake.zeros

    def warned(n, device):
        warnings.warn("Old GPU with CUDA capability sm_61 is not compatible with the current PyTorch", stacklevel=2)
        return zeros(n, device)

    fake.zeros = warned
    fakes.put(monkeypatch, "torch", fake)
    assert select("cuda", "torch")[0].device == "cuda:0"


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("SystemNotReady", "system not yet initialized", "start nvidia-fabricmanager"),
        ("SystemDriverMismatch", "system has unsupported display driver / cuda driver combination", "restart"),
        ("CompatNotSupportedOnDevice", "forward compatibility was attempted on non supported HW", "cuda-compat"),
        ("MpsServerNotReady", "MPS server is not ready to accept new MPS client requests", "nvidia-cuda-mps-control"),
        ("Unknown", "unknown error", "look for Xid in the log of the kernel (dmesg)"),
        ("ECCUncorrectable", "uncorrectable ECC error encountered", "nvidia-smi -q -d ECC"),
    ],
)
@every_library
def test_it_or_the_system_is_not_in_order(refused, name, kind, text, said):
    assert said in fails(refused, name, kind, text)


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("cupy", {"counting": PASSED_ON["cupy"]("Unknown", "unknown error")}),
        (
            "torch",
            {"refusing": RuntimeError("CUDA unknown error - this may be due to an incorrectly set up environment")},
        ),
        ("jax", {"refusing": RuntimeError("Unable to initialize backend 'cuda': CUDA_ERROR_UNKNOWN: unknown error")}),
    ],
)
def test_devices_that_cannot_be_counted(refused, name, made):
    said = refused(name, **made)
    assert said.startswith(f"device 'cuda' does not work with {LABELS[name]} (")
    assert "unknown error" in said
    assert "dmesg" in said


@every_library
def test_what_nobody_has_seen_before(refused, name):
    said = refused(name, devices=1, broken=ValueError("something\n  else"))
    assert said.startswith("device 'cuda")
    assert f"does not work with {LABELS[name]} (something else); check it with nvidia-smi, reinstall" in said
    assert said.endswith("or use device cpu")


def test_a_page_of_text_is_cut(refused):
    said = refused("cupy", broken=ValueError("so " * 1000))
    assert len(said) < 400


# --- CUDA's own texts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", cuda_failures.FAILURES, ids=lambda kind: kind.words[0])
def test_each_kind_is_known_by_each_of_its_words(kind):
    for words in kind.words:
        assert cuda_failures.kind_of(RuntimeError(f"CUDA: {words}")) is kind


def test_cuda_words_its_errors_as_is_expected():
    """As read from the runtime that CuPy brings, which needs no driver for this."""
    pytest.importorskip("cupy")
    from cupy_backends.cuda.api.runtime import CUDARuntimeError

    expected = {
        cuda_failures.BUSY: [46],
        cuda_failures.FULL: [2],
        cuda_failures.UNFIT: [200, 209, 300],
        cuda_failures.NOT_READY: [3, 802],
        cuda_failures.MISMATCH: [803, 804],
        cuda_failures.SHARED: [805, 806, 807],
        cuda_failures.DAMAGED: [214, 220, 226, 714],
        cuda_failures.ASTRAY: [700, 710, 715, 716, 717, 718],
        cuda_failures.TIMED_OUT: [702],
        cuda_failures.LOST: [100, 719, 999],
    }
    for kind, codes in expected.items():
        assert {cuda_failures.kind_of(CUDARuntimeError(code)) for code in codes} == {kind}
