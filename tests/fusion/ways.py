"""Run a step, or a training, in each way."""

import logging

import numpy as np
import pytest

from mlpgpu.backends.numpy import NumpyBackend
from mlpgpu.fusion.loop import VARIABLE
from mlpgpu.training.epoch import Training
from mlpgpu.training.feed import Scaled, Unscaled

BACKEND = NumpyBackend()
# Enough steps for recording to pay.
MANY = 1000


def loop_by(way, step, n_steps=MANY):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, way)
        return BACKEND.compile_loop(step, n_steps)


def run(way, step, state, data=(), items=None):
    """Return the state after one step per row of `items`, by default three, and the losses, both as copies."""
    items = (np.arange(3.0),) if items is None else items
    state, losses = loop_by(way, step)(tuple(np.array(leaf) for leaf in state), data, items)
    return tuple(np.array(leaf) for leaf in state), losses


def assert_same(ours, expected, rtol=0.0):
    for one, other in zip([*ours[0], ours[1]], [*expected[0], expected[1]], strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_allclose(one, other, rtol=rtol, atol=0)


def assert_alike(way, step, *given, rtol=1e-14):
    """Assert that `way` agrees with the eager loop."""
    assert_same(run(way, step, *given), run("eager", step, *given), rtol)


def trained(way, plan, rows, backend=BACKEND):
    """Return the parameters, slots and losses after all epochs of `plan`."""
    placement = Unscaled(backend, plan.dtype)
    if rows.x.dtype == np.uint8:
        placement = Scaled(backend, np.full(rows.x.shape[1], 127.5), np.full(rows.x.shape[1], 1 / 64), plan.dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, way)
        training = Training(backend, plan, rows, placement)
        losses = [training.epoch(number)[0] for number in range(1, plan.epochs + 1)]
    assert int(training.state.step) == plan.epochs * plan.steps_per_epoch
    return [np.array(array) for array in (training.state.params, *training.state.slots, np.concatenate(losses))]


def assert_close(ours, expected, tolerance=1e-12):
    """Assert that arrays agree, relative to the largest number of each."""
    for one, other in zip(ours, expected, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        assert np.isfinite(other).all()
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * np.abs(other).max(initial=0))


def logged(caplog):
    """Return the lines of the log, except for those about a first compilation."""
    records = [record for record in caplog.records if record.name.startswith("mlpgpu")]
    assert all(record.levelno >= logging.INFO for record in records)
    return [line for line in (record.getMessage() for record in records) if not line.startswith("compiling")]
