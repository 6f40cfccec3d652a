"""Error messages for a CUDA device that is not usable: one line each of what was asked, what is there, what to do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from mlpgpu import gpus
from mlpgpu.backends.cuda_failures import FULL, UNFIT, kind_of, shown
from mlpgpu.errors import InputError, did_you_mean

# Major version of CUDA -> the first driver on Linux that supports all of its minor versions.
DRIVERS = {12: "525", 13: "580"}
# Lowest compute capability that CUDA 13 supports: Turing.
OLDEST = (7, 5)


@dataclass(frozen=True)
class Library:
    """An array library that was asked for a CUDA device.

    Attributes
    ----------
    label : str
        Name and version.
    built : str
        CUDA version that the library was built for, such as ``13.2``; empty if that is not known.
    install : mapping of int to str
        Major version of CUDA -> the command that installs the library for it.
    """

    label: str
    built: str
    install: Mapping[int, str]

    def installs(self) -> str:
        """Return the install command for the driver's version of CUDA, or for the newest if that is not known."""
        supported = major(gpus.versions().get("driver", ""))
        return self.install.get(supported) or self.install[max(self.install)]


def check_name(device: str) -> None:
    """Check the name of a device.

    Raises
    ------
    InputError
    """
    if device not in {"auto", "cpu", "cuda"} and not (device.startswith("cuda:") and device[5:].isdecimal()):
        hint = did_you_mean(device, ("auto", "cpu", "cuda"))
        raise InputError(f"device is {device!r}; allowed: auto, cpu, cuda, or cuda:N such as cuda:0{hint}")


def ordinal(device: str) -> int:
    """Return the number of a CUDA device from its name; 0 for ``cuda``."""
    return int(device.partition(":")[2] or 0)


def absent(device: str, library: Library, found: int) -> InputError:
    """Return the error for a device that is not among the `found` devices of a library."""
    there = f"{found} CUDA devices, cuda:0 to cuda:{found - 1}"
    there = {0: "no CUDA device", 1: "one CUDA device, cuda:0"}.get(found, there)
    listed, value = gpus.listed(), os.environ.get("CUDA_VISIBLE_DEVICES")
    unset = ""
    if value is not None and len(listed) > found:
        hidden = f"{len(listed) - found} of the {len(listed)} GPUs that nvidia-smi lists"
        there, unset = f"{there}, since CUDA_VISIBLE_DEVICES={value!r} hides {hidden}", "unset it, or "
    elif value is not None and not listed:
        there, unset = f"{there}, and CUDA_VISIBLE_DEVICES={value!r} may hide some", "unset it, or "
    if found:
        todo = f"{unset}use one of these"
    elif unset:
        todo = f"{unset}use device cpu"
    elif listed:
        there = f"{there}, although nvidia-smi lists {listed[0]['name']}"
        todo = f"reinstall the library ({library.installs()}), or use device cpu"
    else:
        todo = "see by nvidia-smi whether this machine, container or job has a GPU, or use device cpu"
    return InputError(f"device {device!r} is not there: {library.label} finds {there}; {todo}")


def without_driver(device: str, library: Library) -> InputError:
    """Return the error for a missing driver."""
    found = f"device {device!r}: {library.label} finds no NVIDIA driver"
    if listed := gpus.listed():
        return InputError(
            f"{found}, although nvidia-smi lists {listed[0]['name']}: the driver's library libcuda is not found; in a "
            "container set NVIDIA_DRIVER_CAPABILITIES=compute,utility, else install the whole driver, or use device cpu"
        )
    return InputError(
        f"{found}; install the driver, give the container its GPUs (docker run --gpus all), or use device cpu"
    )


def with_old_driver(device: str, library: Library, supported: str) -> InputError:
    """Return the error for a driver that supports CUDA only up to `supported`: ``12.4``, or empty if unknown."""
    needed = major(library.built)
    other = library.install.get(major(supported))
    built = f"CUDA {library.built}" if library.built else "a newer one"
    return InputError(
        f"device {device!r}: the NVIDIA driver is too old: it can do CUDA {supported or 'of an older version'}, and "
        f"{library.label} is built for {built}; {f'{other}, or ' if other else ''}update the driver"
        f"{f' to {DRIVERS[needed]} or newer' if needed in DRIVERS else ''}, or use device cpu"
    )


def broken(device: str, library: Library, error: Exception) -> InputError:
    """Return the error for a device whose first computation fails with `error`."""
    said, name = shown(error), f"cuda:{ordinal(device)}"
    left = f", {words}" if (words := left_of_memory(name)) else ""
    known = kind_of(error)
    if known is FULL or isinstance(error, MemoryError):
        what, todo = f"{FULL.what}{left}", FULL.todo
    elif known is UNFIT:
        what, todo = _unfit(name, library)
    elif known:
        what, todo = known.what, known.todo
    else:
        return InputError(
            f"device {device!r} does not work with {library.label} ({said}){left}; "
            f"check it with nvidia-smi, reinstall the library ({library.installs()}), or use device cpu"
        )
    return InputError(
        f"device {device!r} does not work with {library.label} ({said}): {what}; {todo}, or use another device"
    )


def left_of_memory(device: str, free: int | None = None) -> str:
    """Describe the free memory of a device; empty if more than half of it is free, or if that is not known.

    Parameters
    ----------
    device : str
    free : int or None
        Free bytes; None for the figure of the driver.
    """
    gpu = gpus.find(device) or {}
    total = gpu.get("memory_bytes")
    free = gpu.get("free_bytes") if free is None else free
    if free is None or total is None or free > total / 2:
        return ""
    return f"{free / 1e9:,.2f} of {total / 1e9:,.2f} GB free"


def _unfit(device: str, library: Library) -> tuple[str, str]:
    gpu = gpus.find(device)
    capability = gpu and gpu["compute_capability"]
    if not capability:
        return f"{library.label} has no code for this GPU", f"take a build that has ({library.installs()})"
    old = tuple(map(int, capability.split("."))) < OLDEST
    todo = library.install[12] if old else f"update it ({library.installs()})"
    return f"{library.label} has no code for a GPU of compute capability {capability}", todo


def major(version: str) -> int:
    """Return the major version: 13 for ``13.2``, 0 for an empty string."""
    return int(version.partition(".")[0] or 0)
