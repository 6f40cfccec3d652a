"""Run a step in each way, on copies of its arguments."""

import logging

import numpy as np
import pytest

from mlpgpu.backends.numpy import NumpyBackend
from mlpgpu.fusion.loop import VARIABLE

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


def logged(caplog):
    """Return the lines of the log, except for those about a first compilation."""
    records = [record for record in caplog.records if record.name.startswith("mlpgpu")]
    assert all(record.levelno >= logging.INFO for record in records)
    return [line for line in (record.getMessage() for record in records) if not line.startswith("compiling")]
