"""The device opens, and says what it is."""

from __future__ import annotations

from mlpgpu import machine
from mlpgpu.config import Config
from mlpgpu.workflow import prepare
from scripts.smoke.checks import Check, Found
from scripts.smoke.place import Place


def opened(place: Place) -> Found:
    """The backend, and the machine it is on."""
    backend = prepare(Config(dataset="iris", device=place.device)).backend
    # Once the device is open, its library is asked too.
    description = machine.describe()
    known = not place.on_gpu or bool(description["cuda"])
    return Found(backend.description, known, {"machine": description, "backend": backend.description})


CHECKS = (Check("device opens", "described", opened, 30),)
