"""Check device memory: its prediction, pinned transfers, and the error when it does not suffice."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from mlpgpu import backends
from mlpgpu.callbacks import Callback, LambdaCallback
from mlpgpu.errors import InputError
from mlpgpu.prepared import prepare
from mlpgpu.settings.config import Config
from mlpgpu.training import preflight
from mlpgpu.training.feed import Rows, Scaled
from mlpgpu.training.plan import make_plan
from mlpgpu.training.trainer import fit
from mlpgpu.workflow import train_and_test
from scripts.smoke import device
from scripts.smoke.checks import Check, Found, NotHere
from scripts.smoke.place import Place

# Name -> settings.
RUNS: dict[str, dict[str, Any]] = {
    "784-1024-1024-10, batch 8,192": {"hidden": (1024, 1024), "batch_size": 8192},
    "784-128-10, batch 200": {"hidden": (128,), "batch_size": 200},
    "784-2048-2048-10, batch 200": {"hidden": (2048, 2048), "batch_size": 200},
}
WITHIN = 0.1
# Enough for a full chunk of rows in evaluation.
MIN_ROWS = 5000
FEATURES, CLASSES = 784, 10


def predicted(place: Place) -> Found:
    """Compare the peak memory of a fit with its prediction."""
    ratios, details = {}, {}
    for name, settings in RUNS.items():
        given = {**settings, "batch_size": settings["batch_size"] // 4} if place.tiny else settings
        for capture in (True, False) if place.on_gpu else (True,):
            words = f"{name}, {'captured' if capture else 'eager'}"
            said, peak = _fit(place, given | ({} if capture else {"capture": False}))
            ratios[words] = said / peak.used
            details[words] = {"predicted": said, "used": peak.used, "device": peak.device}
    low, high = min(ratios, key=ratios.__getitem__), max(ratios, key=ratios.__getitem__)
    figure = f"predicted / used {ratios[low]:.2f} ({low}) to {ratios[high]:.2f} ({high})"
    # NumPy reuses temporaries that nothing else references, and so may need less than predicted; GPU libraries do not.
    most = 1 + WITHIN if place.on_gpu else math.inf
    return Found(figure, all(1 - WITHIN <= ratio <= most for ratio in ratios.values()), details)


def _fit(place: Place, settings: dict[str, Any]) -> tuple[int, device.Peak]:
    """Return the predicted bytes of a fit, and its measured peak."""
    rng, n_rows = np.random.default_rng(0), max(2 * settings["batch_size"], MIN_ROWS)
    # Enough epochs for the steps to be captured.
    config = Config(epochs=16 if place.on_gpu else 2, device=place.device, **settings)
    plan = make_plan(config, n_rows=n_rows, n_features=FEATURES, n_outputs=CLASSES, task="classification")
    train, watched = (
        Rows(rng.integers(0, 256, (n, FEATURES), np.uint8), rng.integers(0, CLASSES, n)) for n in (n_rows, MIN_ROWS)
    )
    backend, _ = backends.select(place.device)
    scaled = Scaled(backend, np.array(0.0), np.array(1 / 255), plan.dtype)

    def whole(*callbacks: Callback) -> None:
        fit(backend, plan, train, {"validation": watched}, scaled, callbacks, rollbacks=1)

    if place.on_gpu:
        # Libraries allocate their own memory in the first run.
        whole()
    with device.of(place).peak() as peak:
        # After the evaluation of each epoch, while the run occupies its memory.
        whole(LambdaCallback(on_epoch_end=lambda run, record: peak.look()))
    need = preflight.predict(backend, plan, train, {"validation": watched}, rollbacks=1)
    # On the host, the rows are not copied.
    return need.beside + (need.data if place.on_gpu else 0), peak


def too_large(place: Place) -> Found:
    """Check that a batch too large for the memory is refused."""
    settings = {"dataset": "synthetic", "samples": 400_000, "features": 2, "classes": 2, "hidden": (200_000,)}
    try:
        prepare(Config(device=place.device, batch_size="full", **settings))
    except InputError as error:
        return Found(str(error)[:90], "the run needs about" in str(error) and "lower --" in str(error))
    return Found("it was not refused", False)


def out_of_memory(place: Place) -> Found:
    """Check the error of a run on a full device, and that the next run succeeds."""
    config = Config(**place.settings, device=place.device)
    prepared = prepare(config)
    try:
        with device.of(place).full(leaving=2**20):
            train_and_test(prepared)
        return Found("it ran with no memory left", False)
    except InputError as error:
        said = str(error)
    train_and_test(config)
    return Found(said[:90], "\n" not in said and "out of memory" in said and "lower --" in said, {"said": said})


def pinned(place: Place) -> Found:
    """Check that transfers to the device use pinned memory, and time them."""
    if not place.on_gpu:
        raise NotHere("a CPU has nothing to pin")
    backend, there = prepare(Config(**place.settings, device=place.device)).backend, device.of(place)
    rows = np.ones((60_000, FEATURES), np.uint8)
    seconds = []
    for _ in range(6):
        began = time.perf_counter()
        backend.to_host(backend.asarray(rows)[-1, -1])
        seconds.append(time.perf_counter() - began)
    rate, blocks = rows.nbytes / min(seconds[1:]) / 1e9, there.pinned_blocks()
    return Found(f"{rate:.1f} GB/s, {blocks} pinned blocks", blocks > 0, {"seconds": seconds, "bytes": rows.nbytes})


CHECKS = (
    Check("memory predicted", f"within {WITHIN:.0%}", predicted, 40),
    Check("a run too large", "refused in a line", too_large, 30),
    Check("a full device", "a line, and the next run works", out_of_memory, 30),
    Check("pinned memory", "used", pinned, 20),
)
