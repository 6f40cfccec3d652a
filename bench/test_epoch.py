"""Seconds of one training epoch over 70,000 samples, 784-128-10, Adam, float32, by batch size and device.

Run it with ``pytest bench``; ``--benchmark-autosave`` keeps the figures, ``--benchmark-compare`` sets them
beside those kept.
"""

import math

import pytest

from mlpgpu.config import Config
from mlpgpu.feed import Scaled
from mlpgpu.plan import make_plan
from mlpgpu.training import Training


@pytest.mark.parametrize("batch_size", [32, 200, 1024, 8192])
def test_epoch(benchmark, backend, samples, machine, batch_size):
    data, rows = samples
    config = Config(
        hidden=(128,), dropout=0, input_dropout=0, batch_size=batch_size, learning_rate=0.001, schedule="constant"
    )
    plan = make_plan(config, n_rows=len(rows), n_features=784, n_outputs=10, task="classification")
    training = Training(backend, plan, rows, Scaled(backend, data.scaling.shift, data.scaling.factor, plan.dtype))
    epochs = iter(range(1, 100))
    losses, counts = benchmark.pedantic(lambda: training.epoch(next(epochs)), rounds=3, warmup_rounds=1)

    benchmark.group = f"epoch, batch {batch_size}"
    benchmark.extra_info.update(
        machine,
        data=data.name,
        device=backend.description,
        samples=int(counts.sum()),
        final_loss=float(losses[-10:].mean()),
    )
    if benchmark.stats:
        benchmark.extra_info["samples_per_second"] = counts.sum() / benchmark.stats.stats.median
    assert losses.mean() < math.log(10), "no better than chance, so its speed means nothing"
