"""The same training by several ways, and how far their losses are from each other."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np

from mlpgpu.backends.base import VARIABLE
from mlpgpu.config import Config
from mlpgpu.feed import Rows, Scaled
from mlpgpu.training import Training
from mlpgpu.workflow import prepare
from scripts.smoke.place import Place

REFUSED = "cannot be captured"
# What may lie between two sums of the same numbers in another order, in float64, after an epoch.
FLOAT64 = 1e-10


@dataclass(frozen=True)
class Way:
    """A way to take a step.

    Attributes
    ----------
    label : str
    settings : dict
        Of `Config`, on a GPU.
    loop : str
        What MLPGPU_LOOP is there.
    stand_in : tuple of (str, str)
        Backend and MLPGPU_LOOP on the CPU.
    """

    label: str
    settings: dict[str, Any]
    loop: str
    stand_in: tuple[str, str]

    def config(self, place: Place, **settings: Any) -> Config:
        """The settings of a training by this way."""
        own = (
            {"device": place.device, **self.settings}
            if place.on_gpu
            else {"device": "cpu", "backend": self.stand_in[0]}
        )
        return Config(**{**place.settings, **own, **settings})

    def loop_on(self, place: Place) -> str:
        """What MLPGPU_LOOP is."""
        return self.loop if place.on_gpu else self.stand_in[1]


NUMPY = Way("NumPy", {"device": "cpu", "backend": "numpy"}, "eager", ("numpy", "eager"))
CAPTURED = Way("captured", {}, "auto", ("numpy", "numpy"))
EAGER = Way("eager", {"capture": False}, "auto", ("torch", "eager"))
TORCH = Way("PyTorch", {"backend": "torch"}, "auto", ("torch", "eager"))
JAX = Way("JAX", {"backend": "jax"}, "auto", ("jax", "auto"))


@dataclass(frozen=True)
class Trained:
    """What a training left.

    Attributes
    ----------
    losses : float64 array of shape (n_steps,)
    params : float64 array of shape (n_parameters,)
    description : str
        Of the backend.
    """

    losses: np.ndarray
    params: np.ndarray
    description: str


def train(
    place: Place, way: Way, after_steps: Callable[[Training, int], bool] | None = None, **settings: Any
) -> Trained:
    """Train without callbacks, and say what came of it.

    Parameters
    ----------
    place : Place
    way : Way
    after_steps : callable or None
        ``after_steps(training, done)``, called every eight steps; ends the epoch where it returns True.
    **settings
        Of `Config`, beside or in place of `Place.settings`.
    """
    with loop(way.loop_on(place)):
        prepared = prepare(way.config(place, **settings))
        training = training_of(prepared)
    if after_steps is not None:
        # As many on every backend.
        prepared.backend.steps_per_call = 8
    told = (lambda done, _: after_steps(training, done)) if after_steps else (lambda *_: False)
    losses = [training.epoch(number, told)[0] for number in range(1, prepared.plan.epochs + 1)]
    params = prepared.backend.to_host(training.state.params)
    return Trained(np.concatenate(losses).astype(float), params.astype(float), prepared.backend.description)


def training_of(prepared: Any) -> Training:
    """A training on the training rows of what was prepared."""
    data, backend, plan = prepared.data, prepared.backend, prepared.plan
    placement = Scaled(backend, data.scaling.shift, data.scaling.factor, plan.dtype)
    return Training(backend, plan, Rows(data.x_train, data.y_train), placement)


def apart(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """How far each number is from another, as a share of that one; not finite where one of them is not."""
    return np.abs(ours - theirs) / np.abs(theirs)


def worst(ours: Trained, theirs: Trained) -> float:
    """The largest distance of losses and of weights, these as a share of the largest of them; infinite for a NaN."""
    weights = np.max(np.abs(ours.params - theirs.params)) / np.max(np.abs(theirs.params))
    most = max(float(np.max(apart(ours.losses, theirs.losses))), float(weights))
    return most if np.isfinite(most) else np.inf


def loop(way: str) -> AbstractContextManager[Any]:
    """Within it, steps run this way."""
    return mock.patch.dict(os.environ, {VARIABLE: way})


@contextmanager
def warned() -> Iterator[list[str]]:
    """Within it, what the package warns of is collected."""
    lines: list[str] = []
    handler, logger = logging.Handler(logging.WARNING), logging.getLogger("mlpgpu")
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
