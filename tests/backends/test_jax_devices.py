"""JAX with several devices: a run stays on the one that it is given. XLA presents the host as two."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("jax", reason="JAX is not installed")

PROGRAM = """
import json

import jax
import numpy as np

from mlpgpu.backends.jax import JaxBackend
from mlpgpu.settings.config import Config
from mlpgpu.training.evaluation import Evaluation
from mlpgpu.training.feed import Rows, Scaled
from mlpgpu.training.plan import make_plan
from mlpgpu.training.epoch import Training

rng, found = np.random.default_rng(0), {}
x, y = rng.integers(0, 256, (40, 6), dtype=np.uint8), rng.integers(0, 3, 40)
first, second = jax.devices("cpu")
for device, precision, capture in (
    (second, "float32", True), (second, "bf16", True), (second, "float32", False), (first, "float32", True)
):
    backend = JaxBackend(jax, device, precision)
    config = Config(hidden=(5,), batch_size=8, clip_norm=1, l2=0.1, capture=capture, precision=precision)
    plan = make_plan(config, n_rows=40, n_features=6, n_outputs=3, task="classification")
    placement = Scaled(backend, np.zeros(6), np.full(6, 1 / 255), plan.dtype)
    training = Training(backend, plan, Rows(x, y), placement)
    losses = training.epoch(1)[0].tolist()
    training.base_rate = 0.1
    losses += training.epoch(2)[0].tolist()
    evaluation = Evaluation(backend, plan.network, placement)
    predicted = evaluation.logits(training.state.params, x)
    measured = evaluation.measure(training.state.params, training.feed)
    # Of all live arrays. JAX keeps some of earlier runs, so the run on the first device comes last.
    places = {place.id for array in jax.live_arrays() for place in array.devices()}
    found[f"{device.id} {precision} {capture}"] = {"places": sorted(places), "losses": losses, **measured}
print(json.dumps(found))
"""


def test_a_run_stays_on_its_device():
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "MLPGPU_LOOP": "auto"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    elsewhere = found.pop("0 float32 True")
    assert len(found) == 3
    assert [of["places"] for of in found.values()] == [[1]] * 3
    # Results do not depend on the device.
    ours = found["1 float32 True"]
    assert (ours["losses"], ours["loss"]) == (elsewhere["losses"], elsewhere["loss"])
