"""Check PyTorch and JAX on the device against NumPy, as for CuPy."""

from __future__ import annotations

import importlib.util
from functools import partial
from typing import Any

from mlpgpu.backends.jax_plugin import CUDA
from scripts.smoke.agreement import DROPOUT, TIMES, agree
from scripts.smoke.checks import Check, Found, NotHere
from scripts.smoke.place import Place
from scripts.smoke.precision import WANTED, rounded
from scripts.smoke.ways import FLOAT64, JAX, TORCH, Way

PLUGINS = tuple(f"jax_cuda{cuda}_plugin" for cuda in CUDA)


def agrees(place: Place, way: Way, dtype: str, **settings: Any) -> Found:
    """Compare the steps of a library with NumPy's."""
    _require(place, way)
    return agree(place, dtype, (way,), **settings)


def rounds(place: Place, way: Way, precision: str) -> Found:
    """Compare an epoch of a library with rounded operands with its own in float32."""
    _require(place, way)
    return rounded(place, precision, way)


def _require(place: Place, way: Way) -> None:
    module = str(way.settings["backend"])
    if importlib.util.find_spec(module) is None:
        raise NotHere(f"{way.label} is not installed")
    if place.on_gpu and module == "jax" and not any(map(importlib.util.find_spec, PLUGINS)):
        raise NotHere("JAX is installed without its plugin for CUDA")


def _checks(way: Way) -> tuple[Check, ...]:
    process, smooth = str(way.settings["backend"]), {"activation": "tanh"}
    # JAX enables float64 for the whole process, so float32 comes first. It has more time, to import the library.
    return (
        Check(
            f"{way.label}, float32, tanh",
            f"within {TIMES} times NumPy's",
            partial(agrees, way=way, dtype="float32", **smooth, **DROPOUT),
            90,
            process,
        ),
        Check(
            f"{way.label}, float64",
            f"within {FLOAT64:g} of NumPy",
            partial(agrees, way=way, dtype="float64", **DROPOUT),
            60,
            process,
        ),
    )


# JAX would spend most of its time on compiling these.
ROUNDED = tuple(
    Check(f"{TORCH.label}, {name}", wanted, partial(rounds, way=TORCH, precision=name), 40, "torch")
    for name, wanted in WANTED.items()
)
CHECKS = (*_checks(TORCH), *ROUNDED, *_checks(JAX))
