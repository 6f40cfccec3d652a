import dataclasses
import gc
import sys
import tracemalloc

import numpy as np
import pytest
import scipy.sparse
import smi

from mlpgpu import backends
from mlpgpu.backends.numpy import NumpyBackend
from mlpgpu.errors import InputError
from mlpgpu.maths.optimizers import OPTIMIZERS
from mlpgpu.prepared import prepare
from mlpgpu.results.report import device_line
from mlpgpu.settings.config import Config
from mlpgpu.training import preflight
from mlpgpu.training.feed import Resident, Rows, Scaled, Streamed
from mlpgpu.training.plan import make_plan
from mlpgpu.training.preflight import REFUSED_BELOW, REFUSED_BELOW_WITH_NUMPY, check, predict
from mlpgpu.training.trainer import fit
from mlpgpu.workflow import train_and_test


def plan_of(n_features=784, n_rows=9000, n_outputs=10, **settings):
    config = Config(**({"epochs": 2} | settings))
    return make_plan(config, n_rows=n_rows, n_features=n_features, n_outputs=n_outputs, task="classification")


def rows_of(rng, plan, n_rows, dtype="uint8"):
    x = rng.normal(100, 50, (n_rows, plan.network.sizes[0])).astype(dtype)
    return Rows(x, rng.integers(0, plan.network.sizes[-1], n_rows))


def images(n_rows):
    """Return rows that take no memory on the host."""
    return Rows(np.broadcast_to(np.uint8(0), (n_rows, 784)), np.broadcast_to(np.int64(0), n_rows))


def needs(plan, device=None, n_watched=0, rollbacks=0):
    """Return the preflight estimate of a run on images."""
    watched = {"validation": images(n_watched)} if n_watched else {}
    return predict(device or NumpyBackend(), plan, images(9000), watched, rollbacks)


RUNS = {
    "a wide step": {"hidden": (512,), "batch_size": 2048},
    "no dropout": {"hidden": (256, 256, 256), "batch_size": 2048, "dropout": 0, "input_dropout": 0},
    "many layers": {"hidden": (300,) * 6, "n_features": 100, "batch_size": 1024, "dtype": "float64"},
    "a wide output": {"hidden": (1000,), "n_features": 50, "n_outputs": 500, "batch_size": 1000},
    "evaluation": {"hidden": (512, 512, 512, 512), "batch_size": 16},
    "clipping": {"hidden": (600,), "n_features": 600, "batch_size": 16, "clip_norm": 1},
    "normalised": {"hidden": (256, 256, 256), "batch_size": 2048, "normalization": "batch"},
    **{name: {"hidden": (600,), "n_features": 600, "batch_size": 16, "optimizer": name} for name in OPTIMIZERS},
}


@pytest.mark.parametrize("name", RUNS)
def test_a_prediction_is_near_what_is_measured(rng, monkeypatch, name):
    """For eager steps on NumPy, which overwrites some temporary arrays that the estimate counts."""
    monkeypatch.setenv("MLPGPU_LOOP", "eager")
    monkeypatch.setattr("mlpgpu.training.feed.CHUNK", 1000)
    plan = plan_of(**RUNS[name], n_rows=(n_rows := RUNS[name]["batch_size"] * 2))
    rows, watched = rows_of(rng, plan, n_rows), {"validation": rows_of(rng, plan, 1500)}
    placement = Scaled(NumpyBackend(), np.array(0.0), np.array(1 / 255), plan.dtype)
    gc.collect()
    tracemalloc.start()
    try:
        fit(NumpyBackend(), plan, rows, watched, placement, rollbacks=1)
        measured = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0.95 < predict(NumpyBackend(), plan, rows, watched, 1).beside / measured < 1.15


def test_a_function_of_the_user_that_wants_values(monkeypatch):
    """The estimate then lacks its steps, but has the model and the evaluation; the run is not refused."""
    plan = plan_of()
    known = needs(plan, n_watched=10)

    def clipped(xp, grads, clip_norm):
        return grads if float(grads[0]) > 0 else -grads

    monkeypatch.setattr("mlpgpu.maths.step.clip_by_norm", clipped)
    found = needs(plan_of(clip_norm=1), n_watched=10)
    assert (found.model, found.evaluation) == (known.model, known.evaluation)
    assert found.steps < known.steps


def test_the_estimate_itself_takes_little_memory():
    plan = plan_of(hidden=(2000, 2000), batch_size=8192)
    needs(plan)
    tracemalloc.start()
    try:
        needs(plan, n_watched=5000, rollbacks=1)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert taken < needs(plan).beside / 100


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parameters_slots_and_best_weights(dtype):
    n_bytes = (784 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10) * np.dtype(dtype).itemsize
    for optimizer, n_slots in (("sgd", 0), ("momentum", 1), ("adam", 2)):
        plan = plan_of(optimizer=optimizer, dtype=dtype)
        for rollbacks, n_watched, copies in (
            (0, 0, 1 + n_slots),
            (0, 1, 2 + n_slots),
            (3, 0, 2 + 2 * n_slots),
            (3, 1, 3 + 2 * n_slots),
        ):
            found = needs(plan, n_watched=n_watched, rollbacks=rollbacks).model
            assert found == pytest.approx(copies * n_bytes, rel=2e-3), "allocations are rounded up to blocks"


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_rows_of_each_set_once(rng, dtype):
    """Bytes stay bytes; all other rows have the dtype of the network."""
    plan = plan_of(n_features=20, n_rows=500)
    train, validation = rows_of(rng, plan, 500, dtype), rows_of(rng, plan, 300, dtype)
    itemsize = 1 if dtype == "uint8" else 4
    found = predict(NumpyBackend(), plan, train, {"train": train, "validation": validation}).data
    # Each row also has a class of 8 bytes and a weight of 4.
    assert found == pytest.approx(800 * (20 * itemsize + 8 + 4), abs=6 * 512)
    sparse = Rows(scipy.sparse.csr_array(train.x.astype("float64")), train.targets)
    assert predict(NumpyBackend(), plan, sparse).data == 0, "they become dense a batch at a time"


class Device(NumpyBackend):
    """NumPy posing as a CUDA device with `free` bytes of free memory."""

    device = "cuda:0"

    def __init__(self, free):
        self.free = free

    def free_memory(self):
        return self.free


def test_a_batch_that_cannot_fit_is_refused_with_one_that_can(programs):
    plan, rows = plan_of(batch_size=8192, hidden=(64,)), images(9000)
    most = needs(plan, Device(0)).beside
    assert check(Device(int(most * REFUSED_BELOW) + 1), plan, rows) == needs(plan, Device(0))
    free = int(most * REFUSED_BELOW) // 2
    with pytest.raises(InputError, match=r"needs about 0\.1 GB on cuda:0, which has .* MB free") as caught:
        check(Device(free), plan, rows)
    message = str(caught.value)
    assert "\n" not in message
    assert "steps of 8,192 rows" in message
    fits = int(message.partition("--batch-size to ")[2].partition(" ")[0].replace(",", ""))
    assert 1 < fits < 8192
    for batch_size, fit_in in ((fits, True), (fits + 2, False)):
        assert (needs(plan_of(batch_size=batch_size, hidden=(64,)), Device(0)).beside <= free) is fit_in


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for nvidia-smi is a shell script")
def test_a_gpu_whose_memory_others_hold(programs):
    plan = plan_of(hidden=(64,))
    smi.put(programs, "NVIDIA H100, 80000, 1, 9.0")
    with pytest.raises(InputError) as caught:
        check(Device(10**6), plan, images(9000))
    message = str(caught.value)
    assert "on cuda:0, which has 0.00 of 83.89 GB free: " in message
    assert "; wait for the processes that hold it, which nvidia-smi lists, end them, or lower --" in message
    # On a GPU as small as that, other processes hold nothing.
    smi.put(programs, "NVIDIA H100, 1, 1, 9.0")
    with pytest.raises(InputError, match=r"which has 1\.0 MB free: .*; lower --"):
        check(Device(10**6), plan, images(9000))


def test_a_network_that_cannot_fit_is_refused():
    with pytest.raises(InputError, match=r"lower --hidden$"):
        check(Device(10**6), plan_of(hidden=(4000, 4000), batch_size=1), images(9000))


class Other(NumpyBackend):
    """Another library on the CPU."""

    name = "torch"


@pytest.mark.parametrize(("backend", "below"), [(NumpyBackend(), REFUSED_BELOW_WITH_NUMPY), (Other(), REFUSED_BELOW)])
def test_on_the_host_its_own_memory_counts(monkeypatch, backend, below):
    """NumPy's steps take less than is estimated."""
    plan, rows = plan_of(hidden=(64,)), images(9000)
    most = needs(plan, backend).beside
    fits = int(most * below) + 1
    for free, refused in ((None, False), (10**12, False), (fits, False), (fits - 10, True), (10**5, True)):
        monkeypatch.setattr(preflight, "available_memory", lambda there=free: there)
        if refused:
            with pytest.raises(InputError, match=r"on cpu, which has .* MB free"):
                check(backend, plan, rows)
        else:
            check(backend, plan, rows)


def test_a_network_that_cannot_be_drawn_is_refused(monkeypatch):
    monkeypatch.setattr(preflight, "available_memory", lambda: 8 * (4 * 50 + 50 + 50 * 3 + 3))
    preflight.check_host((4, 50, 3))
    with pytest.raises(InputError, match=r"has 411 parameters, .* lower --hidden$"):
        prepare(Config(dataset="iris", hidden=(51,)))


def test_a_run_is_refused_before_its_first_step(monkeypatch):
    monkeypatch.setattr(backends.numpy.NumpyBackend, "free_memory", lambda self: 1000)
    with pytest.raises(InputError, match="the run needs about"):
        prepare(Config(dataset="iris"))


def test_the_device_line_says_what_is_needed_where_the_device_has_memory_of_its_own():
    prepared = prepare(Config(dataset="iris"))
    assert "for the data" not in device_line(prepared)
    line = device_line(dataclasses.replace(prepared, backend=Device(80 * 10**9)))
    assert line.endswith(" MB beside, of 80.0 GB free")


def test_rows_that_leave_too_little_are_streamed(rng):
    plan = plan_of(n_features=3, n_rows=1000, hidden=(30,))
    rows = Rows(rng.normal(size=(1000, 3)), rng.integers(0, 10, 1000))
    beside = predict(Device(0), plan, rows).beside
    for more, kind in ((0, Resident), (-1, Streamed)):
        backend = Device(max(beside, 4 * rows.nbytes) + rows.nbytes + more)
        assert beside > 4 * rows.nbytes, "else the rule of three quarters decides"
        placement = Scaled(backend, np.array(0.0), np.array(1.0), "float32")
        assert type(fit(backend, plan, rows, {}, placement)[1].training.feed) is kind


@pytest.mark.parametrize("at", ["Scaled", "fit", "_test"])
@pytest.mark.parametrize("error", [MemoryError("Unable to allocate 3 GiB"), RuntimeError("out of memory.\nTried 3")])
def test_an_error_for_want_of_memory_is_one_line(monkeypatch, error, at):
    def fail(*_, **__):
        raise error

    prepared = prepare(Config(dataset="iris", batch_size=20, epochs=1))
    monkeypatch.setattr(f"mlpgpu.workflow.{at}", fail)
    with pytest.raises(InputError, match="out of memory on cpu .*steps of 20 rows") as caught:
        train_and_test(prepared)
    assert "\n" not in str(caught.value)
    assert "lower --" in str(caught.value)


@pytest.mark.parametrize(
    ("batch_size", "advice"), [(1, "; lower --hidden"), ("full", "; lower --batch-size or --hidden")]
)
def test_a_smaller_batch_is_advised_where_it_helps(monkeypatch, batch_size, advice):
    def fail(*_, **__):
        raise MemoryError

    prepared = prepare(Config(dataset="digits", batch_size=batch_size, hidden=(4,), epochs=1))
    monkeypatch.setattr("mlpgpu.workflow.fit", fail)
    with pytest.raises(InputError) as caught:
        train_and_test(prepared)
    # Python's own MemoryError has no message to quote.
    assert str(caught.value).startswith("out of memory on cpu: the run needs about ")
    assert str(caught.value).endswith(advice)


def test_other_errors_are_left_alone(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no")

    monkeypatch.setattr("mlpgpu.workflow.fit", fail)
    with pytest.raises(RuntimeError, match=r"^no$"):
        train_and_test(Config(dataset="iris"))
