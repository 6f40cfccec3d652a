"""Train in several ways of executing steps, and compare the losses."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np

from mlpgpu.backends.base import VARIABLE
from mlpgpu.prepared import prepare
from mlpgpu.settings.config import Config
from mlpgpu.training.epoch import Training
from mlpgpu.training.feed import Rows, Scaled
from scripts.smoke.place import Place

REFUSED = "cannot be captured"
# Tolerance in float64 after an epoch, for sums in different orders.
FLOAT64 = 1e-10


@dataclass(frozen=True)
class Way:
    """A way of executing steps.

    Attributes
    ----------
    label : str
    settings : dict
        Settings of `Config` on a GPU.
    loop : str
        MLPGPU_LOOP on a GPU.
    stand_in : tuple of (str, str)
        Backend and MLPGPU_LOOP on the CPU.
    """

    label: str
    settings: dict[str, Any]
    loop: str
    stand_in: tuple[str, str]

    def config(self, place: Place, **settings: Any) -> Config:
        """Return the settings of a training."""
        own = (
            {"device": place.device, **self.settings}
            if place.on_gpu
            else {"device": "cpu", "backend": self.stand_in[0]}
        )
        return Config(**{**place.settings, **own, **settings})

    def loop_on(self, place: Place) -> str:
        """Return the value of MLPGPU_LOOP."""
        return self.loop if place.on_gpu else self.stand_in[1]


NUMPY = Way("NumPy", {"device": "cpu", "backend": "numpy"}, "eager", ("numpy", "eager"))
CAPTURED = Way("captured", {}, "auto", ("numpy", "numpy"))
EAGER = Way("eager", {"capture": False}, "auto", ("torch", "eager"))
TORCH = Way("PyTorch", {"backend": "torch"}, "auto", ("torch", "eager"))
JAX = Way("JAX", {"backend": "jax"}, "auto", ("jax", "auto"))


@dataclass(frozen=True)
class Trained:
    """Result of a training.

    Attributes
    ----------
    losses : float64 array of shape (n_steps,)
    params : float64 array of shape (n_parameters,)
    description : str
        Description of the backend.
    """

    losses: np.ndarray
    params: np.ndarray
    description: str


def train(
    place: Place, way: Way, after_steps: Callable[[Training, int], bool] | None = None, **settings: Any
) -> Trained:
    """Train without callbacks, and return the result.

    Parameters
    ----------
    place : Place
    way : Way
    after_steps : callable or None
        ``after_steps(training, done)``, called every eight steps; returns True to end the epoch.
    **settings
        Settings of `Config`, which override `Place.settings`.
    """
    with loop(way.loop_on(place)):
        prepared = prepare(way.config(place, **settings))
        training = training_of(prepared)
    if after_steps is not None:
        # The same on every backend.
        prepared.backend.steps_per_call = 8
    told = (lambda done, _: after_steps(training, done)) if after_steps else (lambda *_: False)
    losses = [training.epoch(number, told)[0] for number in range(1, prepared.plan.epochs + 1)]
    params = prepared.backend.to_host(training.state.params)
    return Trained(np.concatenate(losses).astype(float), params.astype(float), prepared.backend.description)


def training_of(prepared: Any) -> Training:
    """Return a training on the training rows of a prepared run."""
    data, backend, plan = prepared.data, prepared.backend, prepared.plan
    placement = Scaled(backend, data.scaling.shift, data.scaling.factor, plan.dtype)
    return Training(backend, plan, Rows(data.x_train, data.y_train), placement)


def difference(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Return the relative differences from `theirs`; not finite if either number is not."""
    return np.abs(ours - theirs) / np.abs(theirs)


def worst(ours: Trained, theirs: Trained) -> float:
    """Return the largest relative difference of losses or weights; for weights, relative to the largest weight.

    Infinite if anything is not finite.
    """
    weights = np.max(np.abs(ours.params - theirs.params)) / np.max(np.abs(theirs.params))
    most = max(float(np.max(difference(ours.losses, theirs.losses))), float(weights))
    return most if np.isfinite(most) else np.inf


def loop(way: str) -> AbstractContextManager[Any]:
    """Set MLPGPU_LOOP during the block."""
    return mock.patch.dict(os.environ, {VARIABLE: way})


@contextmanager
def warned() -> Iterator[list[str]]:
    """Collect the warnings that the package logs during the block, and print the tracebacks that it logs."""
    lines: list[str] = []
    handler, logger = logging.Handler(), logging.getLogger("mlpgpu")
    level = logger.level

    def emit(record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            lines.append(record.getMessage())
        if record.exc_info:
            traceback.print_exception(record.exc_info[1])

    handler.emit = emit  # type: ignore[method-assign]
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
