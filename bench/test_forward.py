"""Seconds of the logits of 10,000 scaled rows on the device, 784-128-10, by device."""

import numpy as np

from mlpgpu.maths.network import logits
from mlpgpu.maths.parameters import split
from mlpgpu.settings.config import Config
from mlpgpu.training.evaluation import in_chunks
from mlpgpu.training.feed import Unscaled
from mlpgpu.training.plan import make_plan


def test_forward(benchmark, backend, samples, scaled):
    _, (rows, _) = scaled
    plan = make_plan(Config(hidden=(128,)), n_rows=len(rows), n_features=784, n_outputs=10, task="classification")
    placement = Unscaled(backend, plan.dtype)
    params, x = backend.asarray(plan.params, plan.dtype), placement.place(rows)
    compiled = backend.compile(lambda chunk: logits(backend.xp, plan.network, params, placement(chunk)))

    def forward():
        return backend.to_host(in_chunks(backend, compiled, placement, x))

    benchmark.group = f"forward, {len(rows):,} rows"
    z = benchmark.pedantic(forward, rounds=50, warmup_rounds=5)

    benchmark.extra_info.update(data=samples[0].name, samples=len(rows))
    (w1, b1), (w2, b2) = split(np, plan.params, plan.network.sizes)
    expected = np.maximum(rows @ w1 + b1, 0) @ w2 + b2
    np.testing.assert_allclose(z, expected, rtol=0, atol=1e-4)
