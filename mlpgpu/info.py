"""The command that shows what mlpgpu finds and would use on this machine: ``python -m mlpgpu.info``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from mlpgpu.command_line import application, run_command
from mlpgpu.figures import as_json, counted
from mlpgpu.files import expanded
from mlpgpu.machine import describe, load, warnings

# Words in front of the CUDA versions.
CUDA = {"driver": "the driver supports", "runtime": "CuPy runs", "cublas": "cuBLAS", "torch": "PyTorch is built for"}

app = application("info")


@app.default
def info(*, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Show the device, libraries and data that mlpgpu would use, and what makes it slower than necessary.

    Parameters
    ----------
    json : bool
        Print one JSON object instead of a table.
    """
    from mlpgpu import backends

    # Before `describe`, which asks CuPy about devices only if it is imported: this imports it, if it is installed.
    backend, note = backends.select()
    found = describe()
    found |= {
        "selected": {
            "backend": backend.name,
            "device": backend.device,
            "description": backend.description,
            "reason": note,
        },
        "mnist": _mnist(),
        "warnings": warnings(found, load()),
    }
    if json:
        print(as_json(found, indent=2))  # noqa: T201
    else:
        _show(found)
    return 0


def _mnist() -> dict[str, Any]:
    """Return the folder of MNIST, and whether MNIST is already there."""
    from platformdirs import user_cache_dir

    from mlpgpu.data import mnist

    cache = Path(user_cache_dir("mlpgpu"), "mnist")
    given = os.environ.get(mnist.FOLDER_VARIABLE)
    for folder in (*([expanded(given)] if given else []), cache):
        paths = [mnist.find(folder, "mnist", file) for file in mnist.FILES]
        if paths[0] and all(paths):
            return {"folder": str(paths[0].parent), "found": True}
    return {"folder": str(cache), "found": False}


def _show(found: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    from mlpgpu.results.report import Output

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in _rows(found):
        table.add_row(label, Text(value, style="yellow" if label == "Warning" else ""))
    Output().print(table)


def _rows(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    selected, versions, cuda, mnist = found["selected"], found["versions"], found["cuda_versions"], found["mnist"]
    why = f" ({selected['reason']})" if selected["reason"] else ""
    yield "Device", f"auto takes {selected['description']}{why}"
    yield "Python", f"{found['python']}, {found['platform']}"
    yield "Processor", _joined(found["cpu"], counted(found["cores"], "core"), _memory(found["memory_bytes"]))
    yield "Libraries", _joined(*(f"{name} {version}" for name, version in versions.items()))
    for pool in found["blas"]:
        core = pool["architecture"] and f"kernels for {pool['architecture']}"
        threads = pool["num_threads"] and counted(pool["num_threads"], "thread")
        yield "BLAS", _joined(f"{pool['internal_api']} {pool['version']}", core, threads)
    yield "Steps", "compiled by Numba in long runs" if "numba" in versions else "run by NumPy alone"
    for gpu in found["cuda"]:
        yield "GPU", _gpu(gpu)
    if not found["cuda"]:
        yield "GPU", "none found"
    if told := _joined(*(f"{text} {cuda[key]}" for key, text in CUDA.items() if key in cuda)):
        yield "CUDA", told
    yield "MNIST", mnist["folder"] if mnist["found"] else f"not here yet; a download goes to {mnist['folder']}"
    if found["environment"]:
        yield "Variables", _joined(*(f"{name}={value}" for name, value in found["environment"].items()))
    for line in found["warnings"]:
        yield "Warning", line


def _gpu(gpu: dict[str, Any]) -> str:
    free = gpu["free_bytes"] is not None and f"{gpu['free_bytes'] / 2**30:.1f} GiB of it free"
    return _joined(
        gpu["device"],
        gpu["name"],
        gpu["compute_capability"] and f"compute capability {gpu['compute_capability']}",
        _memory(gpu["memory_bytes"]),
        free or None,
        gpu["driver"] and f"driver {gpu['driver']}",
        "hidden by CUDA_VISIBLE_DEVICES" if gpu["hidden"] else None,
    )


def _joined(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)


def _memory(n_bytes: int | None) -> str | None:
    return None if n_bytes is None else f"{n_bytes / 2**30:.1f} GiB memory"


if __name__ == "__main__":
    sys.exit(run_command(app))
