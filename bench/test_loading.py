"""Seconds of loading, checking and splitting MNIST's 70,000 images, or as many synthetic rows if it is not found."""

import numpy as np

from mlpgpu.data import load
from mlpgpu.settings.config import Config


def test_loading(benchmark, samples):
    whole, rows = samples
    benchmark.group = f"loading, {whole.name}"
    data = benchmark.pedantic(load, args=(Config(dataset=whole.name),), rounds=5, warmup_rounds=1)

    benchmark.extra_info.update(data=data.name, samples=len(rows))
    labels = np.concatenate([data.y_train, data.y_validation, data.y_test])
    np.testing.assert_array_equal(np.bincount(labels), np.bincount(rows.targets))
    assert len(data.x_train) + len(data.x_validation) + len(data.x_test) == len(rows)
