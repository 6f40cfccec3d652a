"""The GPUs of this machine as reported by its driver, and which of them a program sees.

Nothing here imports an array library: the source is ``nvidia-smi``, or CuPy if it is already imported.
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

# Fields queried from nvidia-smi. With an older driver, which does not know the last one, the whole query fails.
FIELDS = ("name", "memory.total", "memory.free", "driver_version", "uuid", "compute_cap")


def listed() -> list[dict[str, Any]]:
    """List the GPUs of this machine, including hidden ones, in the order of ``nvidia-smi``.

    Returns
    -------
    list of dict
        Each with ``name``, ``compute_capability``, ``memory_bytes``, ``free_bytes``, ``driver``, ``hidden`` (whether
        CUDA_VISIBLE_DEVICES hides it from programs) and ``device`` (its name in programs, such as ``cuda:0``). Unknown
        values are None. Without ``nvidia-smi``, the GPUs that CuPy sees.
    """
    for fields in (FIELDS, FIELDS[:-1]):
        answer = output("nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits")
        # Without a device, the answer may be a sentence that says so.
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
    """Return the entry of `listed` for a device; None if it cannot be identified."""
    return next((gpu for gpu in listed() if gpu["device"] == device), None)


def versions() -> dict[str, str]:
    """Return the CUDA versions that are known.

    Returns
    -------
    dict of str
        ``driver``: the newest version that the driver supports; ``runtime`` and ``cublas``: those that CuPy uses, if it
        is imported; ``torch``: the one that PyTorch was built with.
    """
    told = re.search(r"CUDA[\w ]* Version\s*: *(\d+\.\d+)", output("nvidia-smi"))
    found = {"driver": told[1]} if told else {}
    if (cupy := sys.modules.get("cupy")) is not None:
        found |= _versions_of_cupy(cupy)
    if built := _built_of_torch():
        found["torch"] = built
    return found


def dotted(version: int) -> str:
    """Convert a version number of CUDA, such as 13020, to text: 13.2."""
    return f"{version // 1000}.{version % 1000 // 10}"


def output(*command: str) -> str:
    """Return what a command prints; an empty string if it is missing or fails."""
    # Imported late: it would add 10 ms to the start of every command.
    import subprocess

    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _seen(names: Sequence[str], uuids: Sequence[str], variables: Mapping[str, str]) -> dict[int, int | None] | None:
    """Map the list index of each GPU that a program sees to its number in that program.

    CUDA numbers unequal GPUs by speed, nvidia-smi by PCI bus: the number is then None. The result is None if the
    visible GPUs cannot be identified at all.
    """
    same_order = len(set(names)) == 1 or variables.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    if (value := variables.get("CUDA_VISIBLE_DEVICES")) is None:
        return {place: place if same_order else None for place in range(len(names))}
    seen: dict[int, int | None] = {}
    for entry in map(str.strip, value.split(",")):
        if entry.isdecimal():
            places = [int(entry)] if int(entry) < len(names) else []
        else:
            # CUDA accepts any unique prefix of a UUID.
            places = [place for place, uuid in enumerate(uuids) if entry.startswith("GPU-") and uuid.startswith(entry)]
        if entry.startswith("MIG-") or (entry.isdecimal() and places and not same_order):
            return None
        if len(places) != 1:
            # CUDA ignores the first invalid entry and all that follow.
            break
        seen[places[0]] = len(seen)
    return seen


def _bytes(mebibytes: str) -> int | None:
    # nvidia-smi has no number for memory that the GPU shares with the processor.
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
        # The driver library loaded in this process may be newer than the one nvidia-smi comes with.
        found["driver"] = dotted(driver)
    # The errors of a missing driver and a missing cuBLAS.
    with suppress(RuntimeError, ImportError):
        # A handle would create a context, which takes memory and time, if there is none yet.
        if cupy.cuda.driver.ctxGetCurrent():
            version = cupy.cuda.cublas.getVersion(cupy.cuda.device.get_cublas_handle())
            found["cublas"] = f"{version // 10_000}.{version // 100 % 100}.{version % 100}"
    return found


def _built_of_torch() -> str | None:
    """Return the CUDA version of PyTorch, read from its files because its import takes seconds."""
    spec = importlib.util.find_spec("torch")
    with suppress(OSError, AttributeError, TypeError):
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")  # type: ignore[union-attr,arg-type]
        told = re.search(r"^cuda\b.*= *['\"]([\d.]+)", text, re.MULTILINE)
        return told[1] if told else None
    return None
