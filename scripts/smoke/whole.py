"""Check a whole run of the command, and time its phases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from scripts.smoke.checks import Check, Found
from scripts.smoke.place import Place

ACCURACY, TINY_ACCURACY = 0.984, 0.9
# Timeout of a process, which would outlive a killed check.
MAX_SECONDS = 60
FOLDER = Path(__file__).parents[2]


def from_command_to_trained(place: Place) -> Found:
    """Train the default network by the command three times: time a first run, a second, and the phases of a third."""
    interpreter = min(_seconds(["-c", "pass"])[0] for _ in range(3))
    library = "import cupy; cupy.ones(1).sum().get()" if place.on_gpu else "import numpy; numpy.ones(1).sum()"
    opened = min(_seconds(["-c", library])[0] for _ in range(2))
    with tempfile.TemporaryDirectory() as folder:
        first, _ = _seconds(["-m", "mlpgpu.train", *_flags(place, Path(folder, "first"))])
        second, out = _seconds(["-m", "mlpgpu.train", *_flags(place, Path(folder, "second"))])
        parts = Path(folder, "parts.json")
        words = [str(time.time()), str(parts), *_flags(place, Path(folder, "third"))]
        third, _ = _seconds(["-m", "scripts.smoke.phases", *words])
        each = json.loads(parts.read_text())
    metrics = json.loads(out.splitlines()[-1])
    each["leaving"] = third - sum(each.values())
    accuracy = metrics["test_accuracy"]
    figure = f"{accuracy:.2%} in {second:.1f} s (first {first:.1f} s, device alone {opened:.1f} s)"
    details: dict[str, Any] = {
        "accuracy": accuracy,
        "seconds": {"first run": first, "second run": second, "interpreter": interpreter, "library, device": opened},
        "parts": each,
        "epoch_seconds": metrics["epoch_seconds"],
    }
    return Found(figure, accuracy >= (TINY_ACCURACY if place.tiny else ACCURACY), details)


def _flags(place: Place, run: Path) -> list[str]:
    return ["--dataset", place.dataset, "--device", place.device, "--json", "--quiet", "--run-dir", str(run)]


def _seconds(arguments: list[str]) -> tuple[float, str]:
    """Run a Python process, and return its seconds and its output."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(FOLDER), os.environ.get("PYTHONPATH", "")])}
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, timeout=MAX_SECONDS
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        sys.stderr.write(done.stderr)
        last = (done.stderr.strip() or "nothing said").splitlines()[-1]
        raise RuntimeError(f"it ended with {done.returncode}: {last}")
    return seconds, done.stdout


CHECKS = (Check("command to trained", f"{ACCURACY:.1%}", from_command_to_trained, 120),)
