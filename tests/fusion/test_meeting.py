"""Compiled loops of several fits at the same time share the cores."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from mlpgpu import MLPClassifier
from mlpgpu.backends.base import VARIABLE
from mlpgpu.fusion import compiled

if not compiled.has_numba():
    pytest.skip("numba is not installed: nothing is compiled", allow_module_level=True)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_fits_at_once_give_the_weights_that_each_gives_alone(monkeypatch, rng):
    monkeypatch.setenv(VARIABLE, "numba")
    x = rng.normal(size=(400, 100))
    y = x[:, 0] > 0

    def weights(seed):
        network = MLPClassifier(hidden_layer_sizes=(128,), batch_size=100, max_iter=20, tol=0, random_state=seed)
        return network.fit(x, y).coefs_[0]

    with threadpool_limits(2, "blas"), ThreadPoolExecutor(4) as pool:
        alone = [weights(seed) for seed in range(6)]
        for one, other in zip(pool.map(weights, range(6)), alone, strict=True):
            np.testing.assert_array_equal(one, other)
