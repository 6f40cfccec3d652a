"""Compare captured with eager steps on small networks, one for each optimizer, loss, activation and schedule."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from typing import Any

from mlpgpu.maths.activations import TRAINABLE
from mlpgpu.maths.losses import LOSSES
from mlpgpu.maths.optimizers import OPTIMIZERS
from mlpgpu.maths.schedules import SCHEDULES
from scripts.smoke.checks import Check, Found
from scripts.smoke.place import Place
from scripts.smoke.ways import CAPTURED, EAGER, FLOAT64, REFUSED, train, warned, worst

# Seconds after which no other network is started, since each has kernels to compile; and the time limit of a check.
ENOUGH, MOST = 40, 70
# A network small enough to train dozens, with a short last batch, and with enough steps not to run line by line.
SMALL: dict[str, Any] = {
    "dataset": "digits",
    "hidden": (16,),
    "batch_size": 100,
    "epochs": 3,
    "dropout": 0.2,
    "dtype": "float64",
}
# Loss or task -> data set with suitable targets.
SETS = {"logistic": "breast-cancer", "classification": "digits", "regression": "diabetes"}


def small(place: Place, several: dict[str, dict[str, Any]]) -> Found:
    """Train as many of the networks as time allows, captured and eager, and compare them."""
    distances: dict[str, float] = {}
    began = time.perf_counter()
    for name, settings in several.items():
        if distances and time.perf_counter() - began > ENOUGH:
            break
        given = {**SMALL, **settings}
        with warned() as lines:
            distances[name] = worst(train(place, CAPTURED, **given), train(place, EAGER, **given))
        if refused := [line for line in lines if REFUSED in line]:
            return Found(f"{name}: {refused[0]}", False, {"distances": distances})
    name = max(distances, key=distances.__getitem__)
    done = f"{len(several)}" if len(distances) == len(several) else f"{len(distances)} of {len(several)}"
    figure = f"{done} nets, at most {distances[name]:.1e} ({name})"
    return Found(figure, distances[name] <= FLOAT64, {"distances": distances})


def _of(setting: str, names: Iterable[str], **more: Any) -> dict[str, dict[str, Any]]:
    return {name: {setting: name, **more} for name in names}


TABLES: dict[str, dict[str, dict[str, Any]]] = {
    "optimizers": _of("optimizer", OPTIMIZERS),
    "losses": {
        name: {"loss": name, "dataset": SETS.get(name) or SETS[known.task], "learning_rate": 1e-3, "batch_size": 25}
        for name, known in LOSSES.items()
    },
    "activations": _of("activation", TRAINABLE),
    "schedules": _of("schedule", SCHEDULES, warmup=0.5),
    "other settings": {
        "weight decay": {"optimizer": "adamw", "weight_decay": 0.1},
        "L2": {"l2": 0.1},
        "clipping": {"clip_norm": 0.1},
        "label smoothing": {"label_smoothing": 0.1},
        "a linear model": {"hidden": ()},
        "three layers": {"hidden": (16, 12, 8), "input_dropout": 0.1},
        "batch normalisation": {"hidden": (16, 12), "normalization": "batch"},
        "one row a step": {"batch_size": 1, "epochs": 1},
        "all rows a step": {"batch_size": "full", "epochs": 40},
        "numbers, not bytes": {"scale": "standard"},
    },
}

CHECKS = tuple(
    Check(name, f"captured within {FLOAT64:g} of eager", partial(small, several=several), MOST)
    for name, several in TABLES.items()
)
