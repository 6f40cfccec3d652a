"""The description of GPUs, from stand-ins for ``nvidia-smi`` and CuPy."""

import json
import subprocess
import sys
from types import ModuleType

import pytest
import smi
from backends import fakes

from mlpgpu import gpus, machine

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell script")
H200, L4, MIB = "NVIDIA H200, 143771, 140000, 9.0", "NVIDIA L4, 23034, 22000, 8.9", 2**20


@pytest.fixture(autouse=True)
def no_cupy(monkeypatch, programs):
    monkeypatch.delitem(sys.modules, "cupy", raising=False)


@pytest.fixture
def see(monkeypatch):
    return lambda value: monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)


def test_what_the_driver_lists(programs):
    smi.put(programs, H200, "NVIDIA GB10, [N/A], [N/A], 12.1")
    assert gpus.listed() == [
        {
            "name": "NVIDIA H200",
            "compute_capability": "9.0",
            "memory_bytes": 143771 * MIB,
            "free_bytes": 140000 * MIB,
            "driver": "580.95.05",
            "hidden": False,
            "device": None,
        },
        {
            "name": "NVIDIA GB10",
            "compute_capability": "12.1",
            "memory_bytes": None,
            "free_bytes": None,
            "driver": "580.95.05",
            "hidden": False,
            "device": None,
        },
    ]


def test_a_driver_that_does_not_know_of_compute_capabilities(programs):
    smi.put(programs, "Tesla K80, 11441, 11000, 3.7", driver="450.80", cuda="11.0", old=True)
    (gpu,) = gpus.listed()
    assert (gpu["name"], gpu["driver"], gpu["compute_capability"]) == ("Tesla K80", "450.80", None)


@pytest.mark.parametrize(
    "lines",
    [
        "echo 'No devices were found'",
        "echo 'NVIDIA-SMI has failed, since it could not communicate, with the driver, a, b'; exit 9",
        "",
        None,
    ],
)
def test_no_gpu(programs, lines):
    if lines is not None:
        (programs / "nvidia-smi").write_text(f"#!/bin/sh\n{lines}\n")
        (programs / "nvidia-smi").chmod(0o755)
    assert gpus.listed() == []
    assert "driver" not in gpus.versions()


# --- visible GPUs ---------------------------------------------------------------------------------------------------


def seen():
    return [(gpu["hidden"], gpu["device"]) for gpu in gpus.listed()]


HIDDEN = (True, None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, [(False, "cuda:0"), (False, "cuda:1"), (False, "cuda:2")]),
        ("", [HIDDEN, HIDDEN, HIDDEN]),
        ("-1", [HIDDEN, HIDDEN, HIDDEN]),
        ("NoDevFiles", [HIDDEN, HIDDEN, HIDDEN]),
        ("1", [HIDDEN, (False, "cuda:0"), HIDDEN]),
        ("2, 0", [(False, "cuda:1"), HIDDEN, (False, "cuda:0")]),
        # CUDA ignores everything from the first invalid entry on.
        ("1,-1,2", [HIDDEN, (False, "cuda:0"), HIDDEN]),
        ("1,3,2", [HIDDEN, (False, "cuda:0"), HIDDEN]),
        ("GPU-2", [HIDDEN, HIDDEN, (False, "cuda:0")]),
        ("GPU-20000000-0000,0", [(False, "cuda:1"), HIDDEN, (False, "cuda:0")]),
        ("GPU-", [HIDDEN, HIDDEN, HIDDEN]),
        ("MIG-1234", [(None, None)] * 3),
    ],
)
def test_equal_gpus(programs, see, value, expected):
    smi.put(programs, H200, H200, H200)
    if value is not None:
        see(value)
    assert seen() == expected


@pytest.mark.parametrize("value", ["", "G"])
def test_an_only_gpu_is_not_meant_by_any_beginning_of_its_name(programs, see, value):
    smi.put(programs, H200)
    see(value)
    assert seen() == [HIDDEN]


def test_unequal_gpus_have_numbers_of_cuda_s_own(programs, see, monkeypatch):
    smi.put(programs, L4, H200)
    assert seen() == [(False, None)] * 2
    for value, expected in (
        ("0", [(None, None)] * 2),
        ("", [HIDDEN] * 2),
        ("7", [HIDDEN] * 2),
        ("GPU-1", [HIDDEN, (False, "cuda:0")]),
    ):
        see(value)
        assert seen() == expected
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    see("1")
    assert seen() == [HIDDEN, (False, "cuda:0")]
    assert gpus.find("cuda:0")["name"] == "NVIDIA H200"
    assert gpus.find("cuda:1") is None
    assert gpus.find("cpu") is None


# --- CuPy, where it is imported -------------------------------------------------------------------------------------


def test_what_cupy_sees_where_there_is_no_program_to_ask(monkeypatch):
    fake = fakes.cupy(devices=2)
    fake.cuda.runtime.getDeviceProperties = lambda ordinal: {
        "name": f"Fake {ordinal}".encode(),
        **({"totalGlobalMem": 1000, "major": 9, "minor": 0} if ordinal else {}),
    }
    fakes.put(monkeypatch, "cupy", fake)
    unknown = dict.fromkeys(("compute_capability", "memory_bytes", "free_bytes", "driver"))
    assert gpus.listed() == [
        {"name": "Fake 0", **unknown, "hidden": False, "device": "cuda:0"},
        {
            "name": "Fake 1",
            **unknown,
            "compute_capability": "9.0",
            "memory_bytes": 1000,
            "hidden": False,
            "device": "cuda:1",
        },
    ]


@pytest.mark.parametrize("fake", [fakes.cupy(driver=0), fakes.cupy(devices=0)])
def test_cupy_that_sees_nothing(monkeypatch, fake):
    fakes.put(monkeypatch, "cupy", fake)
    assert gpus.listed() == []


def test_the_driver_is_asked_before_cupy(programs, monkeypatch):
    fakes.put(monkeypatch, "cupy", fakes.cupy(devices=2))
    smi.put(programs, L4)
    assert [gpu["name"] for gpu in gpus.listed()] == ["NVIDIA L4"]


# --- versions -------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)


@pytest.mark.parametrize(("cuda", "told"), [("13.0", "13.0"), ("12.8", "12.8"), ("ERR!", None), ("N/A", None)])
def test_the_cuda_that_the_driver_can_do(programs, no_torch, cuda, told):
    smi.put(programs, L4, cuda=cuda)
    assert gpus.versions() == ({"driver": told} if told else {})


def test_another_head_line_of_the_program(programs, no_torch):
    (programs / "nvidia-smi").write_text(
        "#!/bin/sh\necho '| NVIDIA-SMI 595.1  KMD Version: 595.1  CUDA UMD Version: 13.2 |'\n"
    )
    (programs / "nvidia-smi").chmod(0o755)
    assert gpus.versions() == {"driver": "13.2"}


@pytest.mark.parametrize(
    ("fake", "expected"),
    [
        (fakes.cupy(driver=13020), {"driver": "13.2", "runtime": "13.0", "cublas": "13.1.0"}),
        (fakes.cupy(driver=13020, context=0), {"driver": "13.2", "runtime": "13.0"}),
        (fakes.cupy(without_cublas=ImportError("no")), {"driver": "13.0", "runtime": "13.0"}),
        (fakes.cupy(driver=12040), {"driver": "12.4", "runtime": "13.0", "cublas": "13.1.0"}),
        (fakes.cupy(driver=0, context=0), {"runtime": "13.0"}),
    ],
)
def test_what_cupy_runs(monkeypatch, no_torch, fake, expected):
    fakes.put(monkeypatch, "cupy", fake)
    assert gpus.versions() == expected


def test_cupy_where_the_driver_cannot_be_loaded(monkeypatch, no_torch):
    fake = fakes.cupy(driver=0)

    def fail():
        raise RuntimeError("CuPy failed to load libcuda.so.1")

    fake.cuda.driver.ctxGetCurrent = fail
    fakes.put(monkeypatch, "cupy", fake)
    assert gpus.versions() == {"runtime": "13.0"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cuda: Optional[str] = '12.8'", {"torch": "12.8"}),
        ('cuda = "13.0"', {"torch": "13.0"}),
        ("cuda: Optional[str] = None", {}),
    ],
)
def test_what_pytorch_was_built_for_is_read_and_not_imported(tmp_path, monkeypatch, line, expected):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise AssertionError('imported')\n")
    (tmp_path / "torch" / "version.py").write_text(f"__version__ = '2.9.0'\n{line}\nhip: Optional[str] = '6.1'\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert gpus.versions() == expected


def test_what_pytorch_says_itself():
    torch = pytest.importorskip("torch")
    assert gpus.versions().get("torch") == torch.version.cuda


def test_a_module_without_a_file_is_no_pytorch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", fakes.torch())
    assert gpus.versions() == {}
    assert isinstance(sys.modules["torch"], ModuleType)


def test_the_description_of_the_machine_has_it(programs, no_torch):
    smi.put(programs, L4)
    found = machine.describe()
    assert (found["cuda"], found["cuda_versions"]) == (gpus.listed(), {"driver": "13.0"})


def test_no_library_is_imported(programs):
    smi.put(programs, L4)
    code = (
        "import json, sys; from mlpgpu import gpus; found = gpus.listed(), gpus.versions();"
        "print(json.dumps([*{'numpy', 'cupy', 'torch', 'jax'} & set(sys.modules)]))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
