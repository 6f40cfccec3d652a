"""Check that the device can be opened, and describe it."""

from __future__ import annotations

from mlpgpu import machine
from mlpgpu.prepared import prepare
from mlpgpu.settings.config import Config
from scripts.smoke.checks import Check, Found
from scripts.smoke.place import Place


def opened(place: Place) -> Found:
    """Open the backend, and describe it and the machine."""
    backend = prepare(Config(dataset="iris", device=place.device)).backend
    # After opening, because `describe` queries CuPy only if it is imported.
    description = machine.describe()
    details = {"machine": description, "backend": backend.description}
    if not place.on_gpu:
        return Found(backend.description, True, details)
    drivers, versions = {gpu["driver"] for gpu in description["cuda"]}, description["cuda_versions"]
    told = [f"driver {driver}" for driver in drivers if driver]
    told += [f"CUDA {name} {versions[name]}" for name in ("runtime", "driver") if name in versions]
    return Found(", ".join([backend.description, *told]), len(told) >= 2, details)


CHECKS = (Check("device opens", "described", opened, 60),)
