"""The loop of CUDA graphs, with recordings of PyTorch's operations on the CPU in place of graphs."""

import contextlib
import dataclasses
import gc
import re
import time
import types
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import fakes
import numpy as np
import pytest
from textbook import FACTOR, SHIFT, plan_of, rows_of

from mlpgpu import backends
from mlpgpu.backends.base import FEW_STEPS, eager_loop
from mlpgpu.training.epoch import Training
from mlpgpu.training.feed import Scaled

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import array_api_compat.torch  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

from mlpgpu.backends.torch import TorchBackend  # noqa: E402
from mlpgpu.backends.torch_graph import STEPS, CudaGraphs, Loop  # noqa: E402

CPU = backends.select("cpu", "torch", "float64")[0]


class Recording(TorchDispatchMode):
    """Like a CUDA graph: each operation with the memory that it reads and writes, and with host numbers frozen.

    Operations that work in place are recorded without running, and reading a value is an error.
    """

    def __init__(self):
        super().__init__()
        self.done = []

    def __torch_dispatch__(self, function, kinds, arguments=(), more=None):
        more = more or {}
        if "local_scalar" in str(function) or "nonzero" in str(function):
            raise RuntimeError("CUDA error: operation not permitted\nwhen stream is capturing")
        result = arguments[0] if function._schema.is_mutable else function(*arguments, **more)
        self.done.append((function, arguments, more, result))
        return result

    def replay(self):
        for function, arguments, more, result in self.done:
            again = function(*arguments, **more)
            if function._schema.is_mutable:
                continue
            for memory, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(memory, torch.Tensor) and not any(
                    same_memory(memory, given) for given in tree_leaves(arguments) if isinstance(given, torch.Tensor)
                ):
                    memory.copy_(new)


def same_memory(one, other):
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


class Graphs:
    """Counts captures and replays."""

    device = "cuda:0"

    def __init__(self):
        self.captured, self.replayed, self.recording = 0, 0, None

    def warm_up(self, function):
        function()

    def capture(self, function):
        self.recording = recording = Recording()
        with recording:
            function()
        self.captured += 1

        def replay():
            self.replayed += 1
            recording.replay()

        return replay


def loops(step):
    graphs = Graphs()
    return Loop(torch, graphs, step, eager_loop(CPU.xp, step)), eager_loop(CPU.xp, step), graphs


def tensors(*arrays):
    return tuple(torch.from_numpy(np.array(array)) for array in arrays)


def descend(state, data, item):
    """A step that changes every part of the state."""
    total, done = state
    new = total - 0.1 * torch.tanh(total * item[0] + data[0])
    return (new, done + 1), (total * data[0]).sum()


def start():
    return tensors(np.linspace(-1, 1, 4), np.int32(0))


def rows(n, width=4, seed=0):
    return tensors(np.random.default_rng(seed).normal(size=(n, width)))


DATA = tensors(np.linspace(0.5, 2, 4))


def check(loop, eager, state, expected, data, items):
    """Call both loops, assert that they agree, and return both states for the next call."""
    (state, losses), (expected, expected_losses) = loop(state, data, items), eager(expected, data, items)
    for one, other in zip((*state, losses), (*expected, expected_losses), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        assert torch.equal(one, other)
    return state, expected


@pytest.mark.parametrize("n", [1, STEPS - 1, STEPS, STEPS + 1, 3 * STEPS + 5])
def test_all_steps_are_done_once_and_in_order(n):
    loop, eager, graphs = loops(descend)
    state, expected = start(), start()
    for seed in range(3):
        state, expected = check(loop, eager, state, expected, DATA, rows(n, seed=seed))
    assert graphs.captured == (2 if n >= STEPS else 1)
    assert graphs.replayed == 3 * sum(divmod(n, STEPS))


def test_fewer_steps_need_no_other_graph_and_more_do():
    loop, eager, graphs = loops(descend)
    state, expected = start(), start()
    for n, captured in ((20, 2), (3, 2), (20, 2), (21, 4), (20, 4)):
        state, expected = check(loop, eager, state, expected, DATA, rows(n, seed=n))
        assert graphs.captured == captured


def test_a_state_of_its_own_stays_where_it_is_and_another_is_copied():
    loop, eager, graphs = loops(descend)
    given = start()
    kept = [part.clone() for part in given]
    first, losses = loop(given, DATA, rows(5))
    assert all(torch.equal(one, other) for one, other in zip(given, kept, strict=True))
    before = losses.clone()
    second, _ = loop(first, DATA, rows(5, seed=1))
    assert all(one is other for one, other in zip(first, second, strict=True))
    # The losses of a call are the caller's own.
    assert torch.equal(losses, before)
    # One part is a new array, such as a learning rate that a callback has changed.
    expected = eager((torch.ones(4, dtype=torch.float64), second[1].clone()), DATA, rows(5))[0]
    mixed, _ = loop((torch.ones(4, dtype=torch.float64), second[1]), DATA, rows(5))
    assert torch.equal(mixed[0], expected[0])
    assert int(mixed[1]) == 15
    assert graphs.captured == 1


def test_items_stay_the_callers_own():
    loop, _, _ = loops(descend)
    (given,) = rows(5)
    state, _ = loop(start(), DATA, (given,))
    loop(state, DATA, rows(5, seed=1))
    assert torch.equal(given, rows(5)[0])


def swap(state, data, item):
    a, b = state
    return (b, a + item[0]), a.sum()


@pytest.mark.parametrize("n", [1, 2, STEPS, STEPS + 3])
def test_parts_of_a_state_that_change_places(n):
    loop, eager, _ = loops(swap)
    given = tensors(np.arange(4.0), -np.arange(4.0))
    state, expected = check(loop, eager, given, given, (), rows(n))
    check(loop, eager, (state[1], state[0]), (expected[1], expected[0]), (), rows(n, seed=1))


def keep(state, data, item):
    # The second part becomes a view of itself, and the third stays.
    return (state[0] + item[0], state[1][:], state[2]), state[1].sum()


def test_parts_of_a_state_that_stay():
    loop, eager, _ = loops(keep)
    given = tensors(np.zeros(4), np.arange(3.0), np.float64(0.1))
    check(loop, eager, given, given, (), rows(STEPS + 1))


def test_other_shapes_and_other_data_are_captured_anew():
    loop, eager, graphs = loops(descend)
    state, expected = check(loop, eager, start(), start(), DATA, rows(4))
    others = tensors(np.full(4, 3.0))
    state, expected = check(loop, eager, state, expected, others, rows(4))
    assert graphs.captured == 2
    # Other numbers in the same memory need no new capture.
    others[0].mul_(2)
    state, expected = check(loop, eager, state, expected, others, rows(4, seed=3))
    assert graphs.captured == 2
    narrow = tuple(part.to(torch.float32) for part in rows(4, width=1))
    check(loop, eager, state, expected, others, narrow)
    assert graphs.captured == 3
    check(loop, eager, tensors(np.ones((2, 4)), np.int32(0)), tensors(np.ones((2, 4)), np.int32(0)), others, narrow)
    assert graphs.captured == 4


def test_all_that_is_captured_has_run_before():
    """The first launch of a kernel loads it, and several losses are joined by another kernel than a single one."""

    class Warm(TorchDispatchMode):
        def __torch_dispatch__(self, function, kinds, arguments=(), more=None):
            ran.append(call_of(function, arguments))
            return function(*arguments, **(more or {}))

    def call_of(function, arguments):
        tensors = (part for part in tree_leaves(arguments) if isinstance(part, torch.Tensor))
        return function, *((tuple(part.shape), part.dtype) for part in tensors)

    class Watched(Graphs):
        def warm_up(self, function):
            with Warm():
                super().warm_up(function)

        def capture(self, function):
            replay = super().capture(function)
            captured.extend(call_of(*done[:2]) for done in self.recording.done)
            return replay

    ran, captured = [], []
    loop = Loop(torch, Watched(), descend, None)
    loop(start(), DATA, rows(STEPS))
    assert len(captured) > 50
    assert set(captured) <= set(ran)


def asks_for_a_value(state, data, item):
    return (state[0] * (0.5 if float(item[0].sum()) > 0 else 2.0),), state[0].sum()


def becomes_another(state, data, item):
    return (state[0].to(torch.float32),), state[0].sum()


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (asks_for_a_value, "CUDA error: operation not permitted when stream is capturing"),
        (becomes_another, r"a state of \[\(\(4,\), torch.float64\)\] becomes one of \[\(\(4,\), torch.float32\)\]"),
    ],
)
def test_what_cannot_be_captured_runs_line_by_line(step, why, caplog):
    loop, eager, _ = loops(step)
    state, expected = tensors(np.arange(4.0)), tensors(np.arange(4.0))
    for seed in range(3):
        state, expected = check(loop, eager, state, expected, (), rows(20, seed=seed))
    (record,) = caplog.records
    assert (record.levelname, record.name) == ("WARNING", "mlpgpu.backends.captures")
    assert "\n" not in record.getMessage()
    assert re.fullmatch(f"the step runs line by line on cuda:0, for it cannot be captured: {why}", record.getMessage())


def test_what_cannot_be_captured_does_not_run_as_what_was_captured_before():
    def step(state, data, item):
        return (state[0] * data[0] + (float(item[0].sum()) if data[0].ndim else 0),), state[0].sum()

    loop, eager, graphs = loops(step)
    state, expected = check(loop, eager, tensors(np.arange(4.0)), tensors(np.arange(4.0)), tensors(2.0), rows(3))
    check(loop, eager, state, expected, tensors(np.full(4, 3.0)), rows(3))
    assert graphs.captured == 1


class Captured(TorchBackend):
    """PyTorch on the CPU with the loop that it has on a GPU."""

    steps_per_call = 64

    def __init__(self):
        super().__init__(torch, array_api_compat.torch, "cpu")
        self.graphs = Graphs()

    def compile_loop(self, step, n_steps=None):
        return Loop(self.torch, self.graphs, step, super().compile_loop(step))


def training_of(backend, plan):
    return Training(backend, plan, rows_of(plan.loss), Scaled(backend, SHIFT, FACTOR, plan.dtype))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lion"])
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_training_is_that_of_line_by_line(optimizer, loss, caplog):
    """To the last bit, with a learning rate that changes within and between epochs; 25 steps per epoch."""
    plan = plan_of(loss, optimizer=optimizer, batch_size=2, schedule="one_cycle", dropout=0.3, input_dropout=0.2)
    plan = dataclasses.replace(plan, steps_per_epoch=25)
    backend = Captured()
    ours, expected = training_of(backend, plan), training_of(CPU, plan)
    for number in (1, 2, 3):
        for one, other in zip(ours.epoch(number), expected.epoch(number), strict=True):
            np.testing.assert_array_equal(one, other)
        assert ours.learning_rate() == expected.learning_rate()
        for training in (ours, expected):
            training.base_rate *= 0.5
    for one, other in zip(
        (ours.state.params, *ours.state.slots), (expected.state.params, *expected.state.slots), strict=True
    ):
        assert torch.equal(one, other)
    assert int(ours.state.step) == 75
    assert (backend.graphs.captured, backend.graphs.replayed) == (2, 3 * (1 + 9))
    assert not caplog.records


# --- calls of torch.cuda --------------------------------------------------------------------------------------------


class Cuda:
    """A stand-in for ``torch.cuda`` that records calls and the streams they are made on."""

    def __init__(self, fails=None):
        self.calls, self.current, self.fails = [], "default", fails
        self.graph_pool_handle = lambda: "pool"
        self.CUDAGraph = lambda: types.SimpleNamespace(replay=lambda: self.calls.append("replay"))

    def Stream(self, device):  # noqa: N802
        return types.SimpleNamespace(wait_stream=lambda other: self.calls.append(("side waits for", other)))

    def current_stream(self):
        current = self.current
        return types.SimpleNamespace(
            name=current, wait_stream=lambda other: self.calls.append((current, "waits for side"))
        )

    @contextlib.contextmanager
    def device(self, device):
        self.calls.append(device)
        yield

    @contextlib.contextmanager
    def stream(self, stream):
        before, self.current = self.current, getattr(stream, "name", "side")
        try:
            yield
        finally:
            self.current = before

    @contextlib.contextmanager
    def graph(self, graph, pool, stream, capture_error_mode):
        self.calls.append((pool, capture_error_mode))
        self.current = "capture"
        try:
            yield
        finally:
            if self.fails:
                # As in PyTorch, which then leaves its capture stream current.
                raise self.fails
        self.current = "default"


def test_a_capture_is_warmed_up_beside_the_stream_and_has_a_pool_of_its_own():
    cuda = Cuda()
    graphs, streams = CudaGraphs(types.SimpleNamespace(cuda=cuda), "cuda:1"), []
    graphs.warm_up(lambda: streams.append(cuda.current))
    assert streams == ["side"]
    assert cuda.calls[0] == "cuda:1"
    assert cuda.calls[1][0] == "side waits for"
    assert cuda.calls[1][1].name == "default"
    assert cuda.calls[2] == ("default", "waits for side")
    cuda.calls.clear()
    for _ in range(2):
        # A garbage collection could destroy another graph, which is an error during a capture.
        replay = graphs.capture(lambda: streams.append((cuda.current, gc.isenabled())))
    assert streams[1:] == [("capture", False)] * 2
    assert gc.isenabled()
    assert cuda.current == "default"
    assert cuda.calls == ["cuda:1", ("pool", "thread_local")] * 2
    replay()
    assert cuda.calls[-1] == "replay"


def test_one_capture_at_a_time():
    graphs, under_way, most = CudaGraphs(types.SimpleNamespace(cuda=Cuda()), "cuda:0"), [], []

    def function():
        under_way.append(None)
        time.sleep(0.05)
        most.append(len(under_way))
        under_way.pop()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(graphs.capture, [function] * 2))
    assert most == [1, 1]


def test_each_device_captures_on_a_stream_of_its_own(monkeypatch):
    """With PyTorch's own context managers, on stand-ins for its current device and streams."""
    cuda, used, captured = torch.cuda, {0: "default", 1: "default"}, []
    now = [0]

    class Stream:
        def __init__(self, device=None):
            self.device = torch.device("cuda", now[0] if device is None else torch.device(device).index)

        def wait_stream(self, other):
            pass

    def exchange(device):
        before, now[0] = now[0], device
        return before

    def current(device=None):
        return used[now[0]] if isinstance(used[now[0]], Stream) else Stream()

    def use(stream):
        now[0] = stream.device.index
        used[now[0]] = stream

    for name, stand_in in {
        "is_available": lambda: True,
        "Stream": Stream,
        "_exchange_device": exchange,
        "_maybe_exchange_device": exchange,
        "current_device": lambda: now[0],
        "current_stream": current,
        "set_stream": use,
        "synchronize": lambda: None,
        "empty_cache": lambda: None,
        "graph_pool_handle": lambda: (0, 1),
        "CUDAGraph": mock.Mock,
    }.items():
        monkeypatch.setattr(cuda, name, stand_in)
    monkeypatch.setattr(cuda.graph, "default_capture_stream", None)
    monkeypatch.setattr(torch._C, "_host_emptyCache", lambda: None, raising=False)
    for device in ("cuda:0", "cuda:1", "cuda:0"):
        graphs = CudaGraphs(torch, device)
        graphs.warm_up(lambda: None)
        graphs.capture(lambda: captured.append((f"cuda:{now[0]}", str(current().device))))
    assert captured == [("cuda:0", "cuda:0"), ("cuda:1", "cuda:1"), ("cuda:0", "cuda:0")]
    assert now == [0]


def test_a_capture_that_fails_says_why_and_leaves_the_stream_as_it_was():
    cuda = Cuda(RuntimeError("operation failed due to a previous error during capture"))
    graphs = CudaGraphs(types.SimpleNamespace(cuda=cuda), "cuda:0")

    def function():
        raise ValueError("what was wrong")

    with pytest.raises(ValueError, match="^what was wrong$"):
        graphs.capture(function)
    assert cuda.current == "default"
    with pytest.raises(RuntimeError, match="due to a previous error"):
        graphs.capture(lambda: None)


def test_on_a_gpu_steps_are_captured_and_on_the_cpu_not():
    fake = fakes.torch(devices=2)
    fake.cuda.graph_pool_handle, fake.cuda.Stream = lambda: "pool", lambda device: None
    backend = TorchBackend(fake, types.SimpleNamespace(), "cuda:1")
    loop = backend.compile_loop(descend, FEW_STEPS)
    assert isinstance(loop, Loop)
    assert not isinstance(backend.compile_loop(descend, FEW_STEPS - 1), Loop)
    assert loop.graphs.device == "cuda:1"
    assert backend.steps_per_call > STEPS
    assert not isinstance(CPU.compile_loop(descend, 100), Loop)
    assert CPU.steps_per_call == 1
