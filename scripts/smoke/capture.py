"""Check that a step can be captured, and that capture does not change its results."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from mlpgpu import Model
from mlpgpu import train as command
from mlpgpu.prepared import prepare
from scripts.smoke.checks import Check, Found
from scripts.smoke.nets import SMALL
from scripts.smoke.place import Place
from scripts.smoke.ways import CAPTURED, EAGER, FLOAT64, NUMPY, REFUSED, difference, train, training_of, warned, worst


def captured(place: Place) -> Found:
    """Check that no step is refused, and time the steps of an epoch after a warm-up epoch."""
    seconds, refusals = {}, []
    for way in (CAPTURED, EAGER):
        with warned() as lines:
            training = training_of(prepare(way.config(place)))
            training.epoch(1)
            began = time.perf_counter()
            losses, _ = training.epoch(2)
            seconds[way.label] = (time.perf_counter() - began) / len(losses)
        refusals += [line for line in lines if REFUSED in line]
    words = ", ".join(f"{label} {1e6 * each:.0f} us a step" for label, each in seconds.items())
    return Found(refusals[0] if refusals else words, not refusals, {"seconds_a_step": seconds, "refusals": refusals})


def learning_rate(place: Place) -> Found:
    """Check that graph replay uses a learning rate changed between two calls of the loop."""

    def lower(training: Any, done: int) -> bool:
        if done == 8:
            training.base_rate = 1e-5
        return False

    given = {**SMALL, "epochs": 1, "batch_size": 25}
    changed, same, expected = (
        train(place, way, told, **given).losses
        for way, told in ((CAPTURED, lower), (CAPTURED, lambda *_: False), (NUMPY, lower))
    )
    off, moved = float(np.max(difference(changed, expected))), float(np.max(difference(changed, same)))
    figure = f"{off:.1e} from NumPy, {moved:.1e} from no change"
    return Found(figure, off <= FLOAT64 and moved > 1e-3, {"from_numpy": off, "from_no_change": moved})


def no_capture(place: Place) -> Found:
    """Compare the command with and without ``--no-capture``."""
    flags = ["--dataset", "digits", "--hidden", "32", "--epochs", "3", "--dtype", "float64", "--quiet", "--device"]
    weights = []
    with tempfile.TemporaryDirectory() as folder:
        for name, more in (("captured", []), ("eager", ["--no-capture"])):
            path = Path(folder, name)
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
                code = command.run_command(command.app, [*flags, place.device, "--run-dir", str(path), *more])
            if code:
                return Found(f"{name}: exit code {code}, {said.getvalue().strip()}", False)
            weights.append(Model.load(path).params)
    off = float(np.max(np.abs(weights[0] - weights[1])) / np.max(np.abs(weights[1])))
    return Found(f"weights {off:.1e} apart", off <= FLOAT64, {"distance": off})


def streamed(place: Place) -> Found:
    """Check training on rows of a memory-mapped file."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        x, y = Path(folder, "x.npy"), Path(folder, "y.npy")
        np.save(x, rng.integers(0, 256, (2000, 64), np.uint8))
        np.save(y, rng.integers(0, 5, 2000))
        given = {**SMALL, "dataset": str(x), "target": str(y), "memory_map": "always"}
        off = worst(train(place, CAPTURED, **given), train(place, NUMPY, **given))
    return Found(f"{off:.1e} from NumPy", off <= FLOAT64, {"distance": off})


CHECKS = (
    Check("step is captured", "nothing refused", captured, 40),
    Check("learning rate", f"seen by a replay, within {FLOAT64:g}", learning_rate, 20),
    Check("--no-capture", f"weights within {FLOAT64:g}", no_capture, 60),
    Check("rows from a file", f"within {FLOAT64:g} of NumPy", streamed, 20),
)
