"""The GPUs of this machine as its driver tells of them, and which of them a program sees.

Nothing here imports an array library: ``nvidia-smi`` is asked, or CuPy where that is imported already.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

# What nvidia-smi is asked for: an older driver does not know the last one, and then answers nothing at all.
FIELDS = ("name", "memory.total", "memory.free", "driver_version", "uuid", "compute_cap")


def listed() -> list[dict[str, Any]]:
    """The GPUs of this machine, hidden ones too, in the order of ``nvidia-smi``.

    Returns
    -------
    list of dict
        Each with ``name``, ``compute_capability``, ``memory_bytes``, ``free_bytes``, ``driver``, ``hidden`` (whether
        CUDA_VISIBLE_DEVICES keeps programs from it) and ``device`` (what programs call it, such as ``cuda:0``); None
        where not known. Without ``nvidia-smi``, what CuPy sees.
    """
    for fields in (FIELDS, FIELDS[:-1]):
        answer = output("nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits")
        # Where there is no device it may say so in a sentence.
        rows = [row for row in csv.reader(answer.splitlines(), skipinitialspace=True) if len(row) == len(fields)]
        if rows:
            break
    else:
        return _of_cupy()
    found = [dict(zip(fields, row, strict=True)) for row in rows]
    seen = _seen([gpu["name"] for gpu in found], [gpu["uuid"] for gpu in found], os.environ)
    return [
        {
            "name": gpu["name"],
            "compute_capability": gpu.get("compute_cap"),
            "memory_bytes": _bytes(gpu["memory.total"]),
            "free_bytes": _bytes(gpu["memory.free"]),
            "driver": gpu["driver_version"],
            "hidden": None if seen is None else place not in seen,
            "device": f"cuda:{seen[place]}" if seen and seen.get(place) is not None else None,
        }
        for place, gpu in enumerate(found)
    ]


def find(device: str) -> dict[str, Any] | None:
    """What `listed` has of a device; None where it cannot be told which of them it is."""
    return next((gpu for gpu in listed() if gpu["device"] == device), None)


def versions() -> dict[str, str]:
    """CUDA versions, of those that are known.

    Returns
    -------
    dict of str
        ``driver``: the newest that the driver can do; ``runtime`` and ``cublas``: what CuPy runs, where it is imported;
        ``torch``: what PyTorch was built with.
    """
    told = re.search(r"CUDA[\w ]* Version\s*: *(\d+\.\d+)", output("nvidia-smi"))
    found = {"driver": told[1]} if told else {}
    if (cupy := sys.modules.get("cupy")) is not None:
        found |= _versions_of_cupy(cupy)
    if built := _built_of_torch():
        found["torch"] = built
    return found


def dotted(version: int) -> str:
    """A version as CUDA counts it, such as 13020, as it is written: 13.2."""
    return f"{version // 1000}.{version % 1000 // 10}"


def output(*command: str) -> str:
    """What a command prints; nothing where it is missing or fails."""
    # Every command starts without it, which takes a hundredth of a second.
    import subprocess

    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _seen(names: Sequence[str], uuids: Sequence[str], variables: Mapping[str, str]) -> dict[int, int | None] | None:
    """Places in the list of the GPUs that a program sees, with the number that it knows each by.

    CUDA numbers unequal GPUs by their speed, and nvidia-smi by where they are plugged in: then that number is None, and
    all is None where it cannot even be told which of them are seen.
    """
    same_order = len(set(names)) == 1 or variables.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    if (value := variables.get("CUDA_VISIBLE_DEVICES")) is None:
        return {place: place if same_order else None for place in range(len(names))}
    seen: dict[int, int | None] = {}
    for entry in map(str.strip, value.split(",")):
        if entry.isdecimal():
            places = [int(entry)] if int(entry) < len(names) else []
        else:
            # Any beginning of one will do.
            places = [place for place, uuid in enumerate(uuids) if entry.startswith("GPU-") and uuid.startswith(entry)]
        if entry.startswith("MIG-") or (entry.isdecimal() and places and not same_order):
            return None
        if len(places) != 1:
            # CUDA reads no further than the first that is no GPU.
            break
        seen[places[0]] = len(seen)
    return seen


def _bytes(mebibytes: str) -> int | None:
    # Memory that the GPU shares with the processor has no size of its own.
    return int(mebibytes) * 2**20 if mebibytes.isdecimal() else None


def _of_cupy() -> list[dict[str, Any]]:
    if (cupy := sys.modules.get("cupy")) is None:
        return []
    runtime = cupy.cuda.runtime
    try:
        found = [runtime.getDeviceProperties(ordinal) for ordinal in range(runtime.getDeviceCount())]
    except runtime.CUDARuntimeError:
        return []
    return [
        {
            "name": gpu["name"].decode(),
            "compute_capability": f"{gpu['major']}.{gpu['minor']}" if "major" in gpu else None,
            "memory_bytes": gpu.get("totalGlobalMem"),
            "free_bytes": None,
            "driver": None,
            "hidden": False,
            "device": f"cuda:{ordinal}",
        }
        for ordinal, gpu in enumerate(found)
    ]


def _versions_of_cupy(cupy: Any) -> dict[str, str]:
    runtime = cupy.cuda.runtime
    found = {"runtime": dotted(runtime.runtimeGetVersion())}
    if driver := runtime.driverGetVersion():
        # What this process has loaded, which may be newer than what nvidia-smi was made for.
        found["driver"] = dotted(driver)
    # Without a driver, or without cuBLAS.
    with suppress(RuntimeError, ImportError):
        # A handle makes a context, which takes memory and time: only where there is one.
        if cupy.cuda.driver.ctxGetCurrent():
            version = cupy.cuda.cublas.getVersion(cupy.cuda.device.get_cublas_handle())
            found["cublas"] = f"{version // 10_000}.{version // 100 % 100}.{version % 100}"
    return found


def _built_of_torch() -> str | None:
    """The CUDA version in a file of PyTorch's, whose import takes seconds."""
    spec = importlib.util.find_spec("torch")
    with suppress(OSError, AttributeError, TypeError):
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")  # type: ignore[union-attr,arg-type]
        told = re.search(r"^cuda\b.*= *['\"]([\d.]+)", text, re.MULTILINE)
        return told[1] if told else None
    return None
