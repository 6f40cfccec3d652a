"""The estimated memory of PyTorch's graphs, compared with the memory of the tensors that exist at the same time."""

import weakref

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

from mlpgpu import backends  # noqa: E402
from mlpgpu.backends.live_bytes import ALLOCATION_UNIT  # noqa: E402
from mlpgpu.backends.numpy import NumpyBackend  # noqa: E402
from mlpgpu.backends.torch_graph import STEPS, Loop, needs  # noqa: E402
from mlpgpu.maths.step import State  # noqa: E402
from mlpgpu.settings.config import Config  # noqa: E402
from mlpgpu.training.epoch import make_step  # noqa: E402
from mlpgpu.training.feed import Resident, Rows, Scaled  # noqa: E402
from mlpgpu.training.plan import make_plan  # noqa: E402

# Name -> settings.
RUNS = {
    "weights": {"hidden": (200, 200), "batch_size": 16},
    "gradient descent": {"hidden": (200, 200), "batch_size": 16, "optimizer": "sgd"},
    "rows": {"hidden": (64,), "batch_size": 200},
    "dropout": {"hidden": (64, 64), "batch_size": 200, "dropout": 0.3, "input_dropout": 0.2},
}


class Memory(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make, as long as these exist. Views have the memory of others."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self._known = weakref.WeakSet()

    def __torch_dispatch__(self, function, kinds, arguments=(), more=None):
        before = {tensor.untyped_storage() for tensor in tree_leaves((arguments, more)) if torch.is_tensor(tensor)}
        result = function(*arguments, **(more or {}))
        for tensor in tree_leaves(result):
            storage = tensor.untyped_storage()
            if storage not in before and storage not in self._known:
                n_bytes = -(-storage.nbytes() // ALLOCATION_UNIT) * ALLOCATION_UNIT
                self._known.add(storage)
                weakref.finalize(storage, self.add, -n_bytes)
                self.add(n_bytes)
        return result

    def add(self, n_bytes):
        self.now += n_bytes
        self.peak = max(self.peak, self.now)


class Graphs:
    """Runs what is captured once. The graphs keep the memory that it took, in the pool that they share."""

    device = "cuda:0"

    def __init__(self, memory):
        self.memory, self.pool = memory, 0

    def warm_up(self, function):
        function()

    def capture(self, function):
        memory, peak, outside = self.memory, self.memory.peak, self.memory.now
        memory.peak = outside
        function()
        taken, memory.peak = memory.peak - outside, peak
        memory.add(max(0, taken - self.pool))
        self.pool = max(self.pool, taken)
        return lambda: None


def loop_of(backend, plan, rows):
    """Return step, state, data and items of a loop on a backend."""
    placement = Scaled(backend, np.array(0.0), np.array(1 / 255), plan.dtype)
    feed, params = Resident(backend, rows, placement), backend.asarray(plan.params, plan.dtype)
    count, rate = backend.asarray(np.zeros((), np.int32)), backend.asarray(np.array(0.01), plan.dtype)
    state = State(params, plan.recipe.optimizer.init(backend.xp, params), count, rate)
    shape = STEPS + 1, plan.batch_size
    items = feed.items(np.zeros(shape, np.int64), np.ones(shape))(0, len(rows))
    return make_step(backend, plan, feed, placement, params.dtype), state, feed.data, items


@pytest.mark.parametrize("name", RUNS)
def test_it_is_that_of_the_tensors(rng, name):
    config = Config(**{"dropout": 0, "input_dropout": 0} | RUNS[name])
    plan = make_plan(config, n_rows=400, n_features=100, n_outputs=10, task="classification")
    rows = Rows(rng.integers(0, 256, (400, 100), np.uint8), rng.integers(0, 10, 400))
    step, state, data, items = loop_of(backends.select("cpu", "torch")[0], plan, rows)
    with Memory() as memory:
        loop = Loop(torch, Graphs(memory), step, None)
        state, _ = loop(state, data, items)
        first = memory.peak
        memory.peak = memory.now
        loop(state, data, items)
    estimate = needs(*loop_of(NumpyBackend(), plan, rows))
    # As near as the estimates for CuPy; these are up to 2 % too low.
    assert estimate.kept + estimate.first == pytest.approx(first, rel=0.03)
    # From then on, the state of the run is that of the loop.
    own_state = sum(tensor.nbytes for tensor in tree_leaves(state))
    assert estimate.kept + estimate.call == pytest.approx(memory.peak - own_state, rel=0.03)
