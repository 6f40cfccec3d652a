"""Seconds of 100 steps of each optimizer alone on the 101,770 parameters of 784-128-10, by device."""

import numpy as np
import pytest

from mlpgpu.maths.optimizers import OPTIMIZERS
from mlpgpu.maths.step import State, update
from mlpgpu.settings.config import Config
from mlpgpu.training.plan import make_plan

STEPS = 100


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_update(benchmark, backend, name):
    config = Config(hidden=(128,), optimizer=name, schedule="constant")
    plan = make_plan(config, n_rows=70_000, n_features=784, n_outputs=10, task="classification")
    xp, recipe = backend.xp, plan.recipe

    def step(state, data, item):
        # The gradient is the same in each step.
        (gradient,), (place,) = data, item
        # A loop must return a loss: one parameter, at almost no cost.
        loss = xp.sum(xp.take(state.params, place, axis=0), axis=-1)
        return update(xp, plan.network, recipe, state, gradient), loss

    start = plan.params.astype(plan.dtype)
    slope = np.random.default_rng(0).standard_normal(start.size).astype(plan.dtype)
    data, items = (backend.asarray(slope),), (backend.asarray(np.zeros((STEPS, 1), np.int64)),)
    params = backend.asarray(start.copy())
    state = State(
        params,
        recipe.optimizer.init(xp, params),
        backend.asarray(np.zeros((), np.int32)),
        backend.asarray(np.asarray(plan.learning_rate, plan.dtype)),
    )
    loop = backend.compile_loop(step, STEPS)

    def run():
        nonlocal state
        state, losses = loop(state, data, items)
        return backend.to_host(losses)

    benchmark.group = f"{STEPS} optimizer steps, {start.size:,} parameters"
    benchmark.pedantic(run, rounds=20, warmup_rounds=1)

    if benchmark.stats:
        benchmark.extra_info["microseconds_per_step"] = 1e6 / STEPS * benchmark.stats.stats.median
    moved = backend.to_host(state.params) - start
    np.testing.assert_array_equal(np.sign(moved), -np.sign(slope), err_msg="not every parameter went downhill")
