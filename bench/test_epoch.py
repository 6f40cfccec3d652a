"""Seconds of one training epoch over 70,000 samples, Adam, float32, by network, batch size and device."""

import itertools
import math
import time

import numpy as np
import pytest
from floor import Floor

from mlpgpu.settings.config import Config
from mlpgpu.training.epoch import Training
from mlpgpu.training.feed import Rows, Scaled
from mlpgpu.training.plan import make_plan


@pytest.mark.parametrize(
    ("hidden", "batch_size", "rounds"),
    [
        pytest.param((128,), 32, 7, id="32"),
        pytest.param((128,), 200, 11, id="200"),
        pytest.param((128,), 1024, 11, id="1024"),
        pytest.param((128,), 8192, 11, id="8192"),
        pytest.param((1024, 1024), 200, 5, id="wide-200"),
    ],
)
def test_epoch(benchmark, backend, samples, hidden, batch_size, rounds):
    data, rows = samples
    if not benchmark.enabled:
        # Enough steps for a correct network to learn something.
        some = slice(max(5_000, 9 * batch_size))
        rows = Rows(rows.x[some], rows.targets[some])
    config = Config(
        hidden=hidden, dropout=0, input_dropout=0, batch_size=batch_size, learning_rate=0.001, schedule="constant"
    )
    plan = make_plan(config, n_rows=len(rows), n_features=784, n_outputs=10, task="classification")
    training = Training(backend, plan, rows, Scaled(backend, data.scaling.shift, data.scaling.factor, plan.dtype))
    sizes = plan.network.sizes
    benchmark.group = f"epoch, {'-'.join(map(str, sizes))}, batch {batch_size}"
    # Without timing, one step suffices to test the floor.
    floor = Floor(sizes, batch_size, len(rows) if benchmark.enabled else batch_size, plan.dtype)
    floors = []

    def measure_floor():
        # The floor uses NumPy, so it applies only to the CPU.
        if backend.device == "cpu":
            floors.append(floor.epoch())
            # For this long, the BLAS threads spin on the cores that the epoch needs.
            time.sleep(0.1)

    numbers = itertools.count(1)
    losses, counts = benchmark.pedantic(
        lambda: training.epoch(next(numbers)), setup=measure_floor, rounds=rounds, warmup_rounds=1
    )

    final_loss = float(losses[-3:].mean())
    benchmark.extra_info.update(data=data.name, samples=int(counts.sum()), final_loss=final_loss)
    if benchmark.stats and floors:
        # The floor is measured before each round and before the warm-up, whose floor is excluded.
        ratios = np.divide(benchmark.stats.stats.data, floors[1:])
        benchmark.extra_info.update(floor_seconds=float(np.median(floors[1:])), ratio_to_floor=float(np.median(ratios)))
    assert counts.sum() == len(rows)
    # The largest batches give only nine steps per epoch, and --benchmark-disable runs one epoch.
    assert final_loss < 0.9 * math.log(10), "hardly better than chance, so its speed means nothing"
