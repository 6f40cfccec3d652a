"""The preflight estimate of device memory, compared with the peak of what is allocated on the stand-in."""

import hosted
import numpy as np
import pytest

from mlpgpu import backends
from mlpgpu.backends import live_bytes
from mlpgpu.cuda import loop, needs, products
from mlpgpu.cuda.indexing import NotCaptured
from mlpgpu.settings.config import Config
from mlpgpu.training.feed import Rows, Scaled
from mlpgpu.training.plan import make_plan
from mlpgpu.training.preflight import predict
from mlpgpu.training.trainer import fit

# Name -> settings and shape of the data.
RUNS = {
    "a wide step": {"hidden": (64,), "batch_size": 64},
    "no dropout": {"hidden": (32, 32, 32), "batch_size": 64, "dropout": 0, "input_dropout": 0},
    "many layers": {"hidden": (40,) * 4, "n_features": 20, "batch_size": 64, "dtype": "float64"},
    "a wide output": {"hidden": (100,), "n_features": 20, "n_outputs": 50, "batch_size": 100},
    "evaluation": {"hidden": (64, 64, 64), "batch_size": 16},
    "clipping": {"hidden": (100,), "n_features": 100, "batch_size": 16, "clip_norm": 1},
    "floats": {"hidden": (100,), "n_features": 50, "batch_size": 64, "x": "float64"},
    "slots": {"hidden": (200,), "n_features": 100, "batch_size": 16, "optimizer": "sgd"},
}


@pytest.fixture(autouse=True)
def _a_small_workspace(monkeypatch):
    """The usual one would dwarf the arrays of these tests."""
    for module in (needs, products):
        monkeypatch.setattr(module, "WORKSPACE_BYTES", 2048)
    monkeypatch.setattr("mlpgpu.training.feed.CHUNK", 200)


def assert_as_predicted(cuda, rng, rollbacks, n_features=784, n_outputs=10, x="uint8", **settings):
    n_rows = 2 * settings["batch_size"]
    plan = make_plan(
        Config(epochs=2, **settings), n_rows=n_rows, n_features=n_features, n_outputs=n_outputs, task="classification"
    )
    # The validation set has a chunk of 200 rows and one of 100.
    rows, watched = (
        Rows(rng.normal(100, 50, (n, n_features)).astype(x), rng.integers(0, n_outputs, n)) for n in (n_rows, 300)
    )
    need = predict(cuda, plan, rows, {"validation": watched}, rollbacks)
    placement = Scaled(cuda, np.array(0.0), np.array(1 / 255), plan.dtype)
    with hosted.Memory.counting() as memory:
        fit(cuda, plan, rows, {"validation": watched}, placement, rollbacks=rollbacks)
    assert need.data + need.beside == pytest.approx(memory.peak, rel=0.03)


@pytest.mark.parametrize(("name", "rollbacks"), [(name, i % 2) for i, name in enumerate(RUNS)])
def test_captured(cuda, rng, name, rollbacks, caplog):
    launched = hosted.Graph.launches
    assert_as_predicted(cuda, rng, rollbacks, **RUNS[name])
    assert hosted.Graph.launches > launched
    assert not caplog.records


@pytest.mark.parametrize(("name", "rollbacks"), [(name, i % 2) for i, name in enumerate(RUNS)])
def test_line_by_line(cuda, rng, name, rollbacks):
    assert_as_predicted(cuda, rng, rollbacks, capture=False, **RUNS[name])


def test_line_by_line_in_evaluation_too(cuda, rng, monkeypatch):
    monkeypatch.setenv("MLPGPU_LOOP", "eager")
    assert_as_predicted(cuda, rng, 1, **RUNS["evaluation"])


@pytest.mark.parametrize("capture", [True, False])
def test_products_that_are_rounded(cupy, rng, capture):
    """In eager steps, the rounded operands are arrays too."""
    cuda = backends.select("cuda", precision="tf32")[0]
    assert_as_predicted(cuda, rng, 1, capture=capture, precision="tf32", **RUNS["a wide step"])


def test_a_step_that_cannot_be_captured(cuda, rng, monkeypatch, caplog):
    """It runs line by line, and so the estimate is that of eager steps."""

    def refuse(*_, **__):
        raise NotCaptured("this one")

    monkeypatch.setattr(loop.Recorded, "program", refuse)
    assert_as_predicted(cuda, rng, 1, **RUNS["clipping"])
    assert "the step runs line by line" in caplog.text


def test_a_step_with_a_product_of_many_matrices(cuda, caplog):
    """cuBLASLt is given none, so this step runs line by line too."""

    def step(state, data, item):
        stacked = cuda.xp.reshape(state[0] + item[0], (2, 3, 3))
        return (cuda.xp.reshape(stacked @ stacked, (18,)),), cuda.xp.sum(state[0])

    given = (np.ones(18),), (), (np.ones((40, 18)),)
    with cuda.xp.recording():
        assert cuda.loop_bytes(step, *given) == live_bytes.of_loop(step, *given)
    cuda.compile_loop(step)(*(tuple(map(cuda.asarray, arrays)) for arrays in given))
    assert "products of other than two axes" in caplog.text
