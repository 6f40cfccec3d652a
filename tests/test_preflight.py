import sys
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import smi

from mlpgpu import backends, preflight
from mlpgpu.backends.numpy import NumpyBackend
from mlpgpu.config import Config
from mlpgpu.errors import InputError
from mlpgpu.feed import Resident, Rows, Scaled, Streamed
from mlpgpu.maths.optimizers import OPTIMIZERS
from mlpgpu.plan import make_plan
from mlpgpu.preflight import SURE, check, predict
from mlpgpu.report import device_line
from mlpgpu.trainer import fit
from mlpgpu.training import Training
from mlpgpu.workflow import prepare, train_and_test


def plan_of(n_features=784, n_rows=9000, n_outputs=10, **settings):
    config = Config(**({"epochs": 2} | settings))
    return make_plan(config, n_rows=n_rows, n_features=n_features, n_outputs=n_outputs, task="classification")


RUNS = {
    "a wide step": {"hidden": (512,), "batch_size": 2048},
    "no dropout": {"hidden": (256, 256, 256), "batch_size": 2048, "dropout": 0, "input_dropout": 0},
    "many layers": {"hidden": (300,) * 6, "n_features": 100, "batch_size": 1024, "dtype": "float64"},
    "a wide output": {"hidden": (1000,), "n_features": 50, "n_outputs": 500, "batch_size": 1000},
    "evaluation": {"hidden": (512, 512, 512, 512), "batch_size": 16},
    "clipping": {"hidden": (1000,), "n_features": 1000, "batch_size": 16, "clip_norm": 1},
    **{name: {"hidden": (1000,), "n_features": 1000, "batch_size": 16, "optimizer": name} for name in OPTIMIZERS},
}


@pytest.mark.parametrize("name", RUNS)
def test_a_prediction_is_near_what_is_measured(rng, monkeypatch, name):
    """Of NumPy's steps line by line: from nine tenths of it to 1.4 times."""
    monkeypatch.setenv("MLPGPU_LOOP", "eager")
    monkeypatch.setattr("mlpgpu.feed.CHUNK", 1000)
    plan = plan_of(**RUNS[name], n_rows=(n_rows := RUNS[name]["batch_size"] * 2))
    n_features, n_outputs = plan.network.sizes[0], plan.network.sizes[-1]
    rows = Rows(rng.integers(0, 256, (n_rows, n_features), np.uint8), rng.integers(0, n_outputs, n_rows))
    watched = Rows(rng.integers(0, 256, (1500, n_features), np.uint8), rng.integers(0, n_outputs, 1500))
    placement = Scaled(NumpyBackend(), np.array(0.0), np.array(1 / 255), plan.dtype)
    tracemalloc.start()
    try:
        fit(NumpyBackend(), plan, rows, {"validation": watched}, placement, rollbacks=1)
        measured = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0.9 < predict(plan).total / measured < 1.4


def test_what_a_batch_needs_grows_with_it_and_no_more():
    small, large = predict(plan_of(batch_size=100)), predict(plan_of(batch_size=1000))
    assert large.step - small.step == 900 * small.row
    assert (large.model, large.update, large.evaluation) == (small.model, small.update, small.evaluation)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parameters_slots_and_best_weights(dtype):
    n_bytes = (784 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10) * np.dtype(dtype).itemsize
    for optimizer, n_slots in (("sgd", 0), ("momentum", 1), ("adam", 2)):
        assert predict(plan_of(optimizer=optimizer, dtype=dtype)).model == (4 + 2 * n_slots) * n_bytes


class Device(NumpyBackend):
    """A device of a certain size, whose memory is the host's."""

    device = "cuda:0"

    def __init__(self, free):
        self.free = free

    def free_memory(self):
        return self.free


def test_a_batch_that_cannot_fit_is_refused_with_one_that_can():
    plan = plan_of(batch_size=8192, hidden=(64,))
    total = predict(plan).total
    check(Device(int(total * SURE) + 1), plan)
    free = int(total * SURE) // 2
    with pytest.raises(InputError, match=r"needs about 0\.1 GB on cuda:0, which has .* MB free") as caught:
        check(Device(free), plan)
    message = str(caught.value)
    assert "\n" not in message
    assert "a step of 8,192 rows" in message
    fits = int(message.partition("--batch-size to ")[2].partition(" ")[0].replace(",", ""))
    assert 1 < fits < 8192
    for rows, fit_in in ((fits, True), (fits + 2, False)):
        need = predict(plan_of(batch_size=rows, hidden=(64,)))
        assert (need.model + need.step <= free) is fit_in


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for nvidia-smi is a shell script")
def test_a_gpu_whose_memory_others_hold(programs):
    plan = plan_of(hidden=(64,))
    smi.put(programs, "NVIDIA H100, 80000, 1, 9.0")
    with pytest.raises(InputError) as caught:
        check(Device(10**6), plan)
    message = str(caught.value)
    assert "on cuda:0, which has 0.00 of 83.89 GB free: " in message
    assert "; wait for the processes that hold it, which nvidia-smi lists, end them, or lower --" in message
    # Of a GPU that is as small as that, nobody else has anything.
    smi.put(programs, "NVIDIA H100, 1, 1, 9.0")
    with pytest.raises(InputError, match=r"which has 1\.0 MB free: .*; lower --"):
        check(Device(10**6), plan)


def test_a_network_that_cannot_fit_is_refused():
    with pytest.raises(InputError, match=r"lower --hidden$"):
        check(Device(10**6), plan_of(hidden=(4000, 4000), batch_size=1))


def test_on_the_host_its_own_memory_counts(monkeypatch):
    plan = plan_of(hidden=(64,))
    for free, refused in ((None, False), (10**12, False), (10**5, True)):
        monkeypatch.setattr(preflight, "available_memory", lambda there=free: there)
        if refused:
            with pytest.raises(InputError, match="on cpu, which has 0.1 MB free"):
                check(NumpyBackend(), plan)
        else:
            check(NumpyBackend(), plan)


def test_a_network_that_cannot_be_drawn_is_refused(monkeypatch):
    monkeypatch.setattr(preflight, "available_memory", lambda: 8 * (4 * 50 + 50 + 50 * 3 + 3))
    preflight.check_host((4, 50, 3))
    with pytest.raises(InputError, match=r"has 411 parameters, .* lower --hidden$"):
        prepare(Config(dataset="iris", hidden=(51,)))


def test_a_run_is_refused_before_its_first_step(monkeypatch):
    monkeypatch.setattr(backends.numpy.NumpyBackend, "free_memory", lambda self: 1000)
    with pytest.raises(InputError, match="the run needs about"):
        prepare(Config(dataset="iris"))


def test_the_device_line_says_what_is_needed_where_the_device_has_memory_of_its_own(monkeypatch):
    prepared = prepare(Config(dataset="iris"))
    assert "beside the data" not in device_line(prepared)
    line = device_line(SimpleNamespace(plan=prepared.plan, backend=Device(80 * 10**9), backend_note="it works"))
    assert line.endswith(" MB beside the data, of 80.0 GB free")


def test_rows_that_leave_too_little_are_streamed(rng):
    plan = plan_of(n_features=3, n_rows=1000, hidden=(4,))
    rows = Rows(rng.normal(size=(1000, 3)), rng.integers(0, 10, 1000))
    beside = predict(plan).total
    for more, kind in ((0, Resident), (-1, Streamed)):
        backend = Device(max(beside, 4 * rows.nbytes) + rows.nbytes + more)
        assert beside > 4 * rows.nbytes, "else the rule of three quarters decides"
        placement = Scaled(backend, np.array(0.0), np.array(1.0), "float32")
        assert type(Training(backend, plan, rows, placement).feed) is kind


@pytest.mark.parametrize("error", [MemoryError("Unable to allocate 3 GiB"), RuntimeError("out of memory.\nTried 3")])
def test_an_error_for_want_of_memory_is_one_line(monkeypatch, error):
    monkeypatch.setattr(NumpyBackend, "out_of_memory", ("out of memory",))

    def fail(*_, **__):
        raise error

    prepared = prepare(Config(dataset="iris", batch_size=20))
    monkeypatch.setattr("mlpgpu.workflow.fit", fail)
    with pytest.raises(InputError, match="out of memory on cpu .*a step of 20 rows") as caught:
        train_and_test(prepared)
    assert "\n" not in str(caught.value)
    assert "lower --" in str(caught.value)


def test_other_errors_are_left_alone(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no")

    monkeypatch.setattr("mlpgpu.workflow.fit", fail)
    with pytest.raises(RuntimeError, match=r"^no$"):
        train_and_test(Config(dataset="iris"))
