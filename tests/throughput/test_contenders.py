"""Which devices and libraries are measured."""

import sys
from types import SimpleNamespace

import pytest

from mlpgpu.errors import InputError
from mlpgpu.throughput.contenders import find
from mlpgpu.throughput.study import Study


def labels(**given):
    contenders, notes = find(Study(**given))
    return [who.label for who in contenders], notes


def test_the_cpu_and_every_gpu_by_default(machine):
    machine(cpu=(1, 1), cuda_0=(1, 1), cuda_1=(1, 1))
    assert labels() == (["cpu", "cuda:0", "cuda:1"], [])


def test_without_a_gpu_the_cpu_alone_and_why(machine):
    machine(cpu=(1, 1))
    assert labels() == (["cpu"], ["device 'cuda:0' is not there; use another"])


def test_devices_that_were_named_in_their_order(machine):
    machine(cpu=(1, 1), cuda_0=(1, 1), cuda_1=(1, 1))
    assert labels(devices="cuda:1,cpu") == (["cuda:1", "cpu"], [])
    # No note about devices that were not asked for.
    assert labels(devices="cpu") == (["cpu"], [])


def test_a_device_that_was_named_is_not_left_out(machine):
    machine(cpu=(1, 1), cuda_0=(1, 1))
    with pytest.raises(InputError, match="^device 'cuda:1' is not there"):
        find(Study(devices="cpu,cuda:1"))


def test_a_device_is_found_once(machine):
    machine(cpu=(1, 1))
    assert labels(devices="cpu,cpu")[0] == ["cpu"]


def test_libraries_that_were_named_are_in_the_label(real_backend):
    study = Study(backends=real_backend.name, dtype="float64")
    contenders, notes = find(study)
    assert f"{real_backend.name} {real_backend.device}" in [who.label for who in contenders]
    assert not notes
    for who in contenders:
        assert (who.open(study).name, who.open(study).device) == (real_backend.name, who.device)


def test_a_library_that_is_missing_is_left_out_with_a_note(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    found, notes = labels(backends="jax,numpy")
    assert found == ["numpy cpu"]
    assert len(notes) == 1
    assert "needs JAX, which is not installed" in notes[0]
    with pytest.raises(InputError, match="needs JAX"):
        find(Study(backends="jax"))


def test_a_device_that_one_of_the_libraries_has_is_served(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert labels(devices="cpu", backends="cupy,numpy")[0] == ["numpy cpu"]
    with pytest.raises(InputError, match="CuPy, which is not installed"):
        find(Study(devices="cpu,cuda", backends="cupy,numpy"))


def test_a_library_has_the_devices_that_it_has(monkeypatch):
    """A library without a CPU device is still asked for GPUs; `cuda` is the first GPU, whichever library has it."""
    has = {"cupy": ["cuda:0", "cuda:1"], "numpy": ["cpu"]}

    def select(device, backend, *_):
        device = "cuda:0" if device == "cuda" else device
        if device not in has[backend]:
            raise InputError(f"{backend} has no {device}")
        return SimpleNamespace(name=backend, device=device, description=""), ""

    monkeypatch.setattr("mlpgpu.backends.select", select)
    assert labels(backends="cupy,numpy") == (["cupy cuda:0", "cupy cuda:1", "numpy cpu"], [])
    assert labels(backends="numpy,cupy", devices="cuda")[0] == ["cupy cuda:0"]
