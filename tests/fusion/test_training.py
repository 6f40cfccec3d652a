"""Training in each way, compared with eager training."""

import contextlib
import itertools

import numpy as np
import pytest
from small_networks import ALL_AT_ONCE, N_ROWS, plan_of, rows_of
from ways import BACKEND, assert_close, logged, trained

from mlpgpu.blas_threads import OF_NUMPY
from mlpgpu.callbacks import Callback, EarlyStopping
from mlpgpu.fusion import compiled
from mlpgpu.fusion.loop import VARIABLE
from mlpgpu.maths import parameters
from mlpgpu.maths.activations import TRAINABLE
from mlpgpu.maths.losses import LOSSES
from mlpgpu.maths.optimizers import OPTIMIZERS
from mlpgpu.training.epoch import Training
from mlpgpu.training.feed import Rows, Unscaled
from mlpgpu.training.run import Best
from mlpgpu.training.trainer import fit


def check(plan, rows, caplog, tolerance=1e-12):
    caplog.set_level("INFO")
    expected = trained("eager", plan, rows)
    assert not np.array_equal(expected[0], plan.params.astype(plan.dtype))
    assert_close(trained("numpy", plan, rows), expected, tolerance)
    assert not logged(caplog)


# Every pair of an activation, a loss and an optimizer, though not all three with each other.
TRIPLES = [
    (activation, [*LOSSES][(i + j) % len(LOSSES)], optimizer)
    for i, activation in enumerate(TRAINABLE)
    for j, optimizer in enumerate(OPTIMIZERS)
]


@pytest.mark.parametrize(("activation", "loss", "optimizer"), TRIPLES)
def test_by_numpy(activation, loss, optimizer, caplog):
    rows = rows_of(loss)
    check(plan_of(rows, loss, activation=activation, optimizer=optimizer), rows, caplog)


ONE_ROW = {"normalization": "none", "batch_size": 1, "epochs": 1}
# Name -> settings, and arguments of `rows_of`.
SETTINGS = {
    "L2": ({"l2": 0.1}, {}),
    "weight decay": ({"weight_decay": 0.2}, {}),
    "clipping": ({"clip_norm": 0.05}, {}),
    "dropout": ({"dropout": 0.4, "input_dropout": 0.2}, {}),
    "batch normalization": ({"normalization": "batch"}, {}),
    "one cycle after a warm-up": ({"schedule": "one_cycle", "warmup": 1.0}, {}),
    "a power": ({"schedule": "invscaling", "warmup": 0.5}, {}),
    "drops": ({"schedule": "step", "decay_epochs": 1.0}, {}),
    "a cosine": ({"schedule": "cosine"}, {}),
    "all at once": (ALL_AT_ONCE, {}),
    "all at once on images": (ALL_AT_ONCE, {"dtype": "uint8"}),
    "images": ({}, {"dtype": "uint8"}),
    "no weights of rows": ({}, {"weighted": False}),
    "full batches": ({"batch_size": 13}, {"weighted": False}),
    "all rows": ({"batch_size": "full", "epochs": 12}, {}),
    "one row": ({"batch_size": 1, "epochs": 1}, {}),
    "one row with all at once": (ALL_AT_ONCE | ONE_ROW | {"warmup": 0.5}, {}),
    "one output": ({}, {"n_outputs": 1}),
    "one feature": ({}, {"n_features": 1}),
    "one of each": (ALL_AT_ONCE | ONE_ROW | {"hidden": (1,)}, {"n_outputs": 1, "n_features": 1}),
    "no hidden layer": ({"hidden": ()}, {}),
    "label smoothing": ({"label_smoothing": 0.1}, {}),
}


@pytest.mark.parametrize("block", [64, None])
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error", "logistic"])
@pytest.mark.parametrize("case", SETTINGS)
def test_settings_by_numpy(case, loss, block, monkeypatch, caplog):
    given, shape = SETTINGS[case]
    smoothed = "label_smoothing" in given and LOSSES[loss].task == "regression"
    if smoothed or (loss == "cross_entropy" and shape.get("n_outputs") == 1):
        pytest.skip("not for this loss")
    if block:
        monkeypatch.setattr("mlpgpu.fusion.calls.BLOCK", block)
    rows = rows_of(loss, **shape)
    check(plan_of(rows, loss, **given), rows, caplog)


@pytest.mark.parametrize("given", [{}, ALL_AT_ONCE], ids=["plain", "all at once"])
@pytest.mark.parametrize("frozen", [1, 2])
def test_frozen_layers_by_numpy(frozen, given):
    rows = rows_of("cross_entropy")
    plan = plan_of(rows, "cross_entropy", freeze=frozen, **given)
    expected = trained("eager", plan, rows)
    assert np.count_nonzero(expected[0] == plan.params) == parameters.count(plan.network.sizes[: frozen + 1])
    assert_close(trained("numpy", plan, rows), expected)


@pytest.mark.parametrize("block", [64, None])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_float32_by_numpy(optimizer, block, monkeypatch, caplog):
    """Within a few hundred roundings of float32: the signs and roots of an optimizer amplify them."""
    if block:
        monkeypatch.setattr("mlpgpu.fusion.calls.BLOCK", block)
    rows = rows_of("cross_entropy")
    plan = plan_of(rows, "cross_entropy", dtype="float32", optimizer=optimizer, **ALL_AT_ONCE)
    check(plan, rows, caplog, 3e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_batch_whose_rows_have_no_weight(way, loss):
    if way != "numpy":
        pytest.skip("the compiled sources below have rows of no weight")
    rows = rows_of(loss)
    rows = Rows(rows.x, rows.targets, np.zeros(N_ROWS))
    plan = plan_of(rows, loss, optimizer="sgd")
    ours, expected = (trained(by, plan, rows) for by in (way, "eager"))
    for one, other in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(ours[0], plan.params)


# Each loop has one activation, loss and optimizer: the more lines it has, the longer each line takes to compile.
def _networks():
    """Return the activations, loss and optimizer of each network; the last network is deep."""
    losses, optimizers = list(LOSSES), list(OPTIMIZERS)
    n = max(len(losses), len(optimizers))
    activations = [*((name,) for name in TRAINABLE[: n - 1]), tuple(TRAINABLE[n - 1 :])]
    # Once each loss has its network, the one that takes least time to compile.
    losses += ["squared_error"] * (n - len(losses))
    return [(activations[i], losses[i], optimizers[i % len(optimizers)]) for i in range(n)]


NETWORKS = _networks()
# Their other settings, in turn; the deep network also has dropout.
OTHERS = [{"clip_norm": 0.5, "l2": 0.01}, {"weight_decay": 0.1}, {}]
# The network whose lowest layer is frozen: one that clips, since the norm leaves out that layer's gradient.
FROZEN = 3
# The network with batch normalisation: a shallow one, since it would double the time to compile the deep one.
NORMALISED = 2


@pytest.fixture
def on_threads(monkeypatch):
    """``with on_threads(2):`` compiled loops have two threads, whatever their size."""
    if not compiled.has_numba():
        pytest.skip("numba is not installed: nothing is compiled")
    from mlpgpu.fusion import loop

    pools, pool = [], loop.ThreadPoolExecutor
    monkeypatch.setattr(loop, "PRODUCTS_PER_THREAD", 1)
    monkeypatch.setattr(loop, "ThreadPoolExecutor", lambda n, *more: pools.append(n) or pool(n, *more))

    @contextlib.contextmanager
    def on(n_threads):
        pools.clear()
        monkeypatch.setattr(OF_NUMPY, "number", lambda: n_threads)
        yield
        assert set(pools) == ({n_threads - 1} if n_threads > 1 else set())

    return on


def test_the_triples_have_every_pair_in_them():
    sets = TRAINABLE, LOSSES, OPTIMIZERS
    for one, other in itertools.combinations(range(3), 2):
        met = {(triple[one], triple[other]) for triple in TRIPLES}
        assert met == set(itertools.product(sets[one], sets[other]))


def test_the_compiled_sources_have_everything_in_them():
    assert {name for activations, _, _ in NETWORKS for name in activations} >= set(TRAINABLE)
    assert {loss for _, loss, _ in NETWORKS} == set(LOSSES)
    assert {optimizer for _, _, optimizer in NETWORKS} == set(OPTIMIZERS)


@pytest.mark.parametrize("number", range(len(NETWORKS)), ids=[" ".join((*a, *more)) for a, *more in NETWORKS])
def test_compiled(number, on_threads, caplog):
    """On one thread and on two; a repetition gives the same bits; both use the same compiled code."""
    activations, loss, optimizer = NETWORKS[number]
    rows = rows_of(loss)
    given = {"hidden": (6, 4)[: len(activations)], "activation": activations, "optimizer": optimizer}
    given |= {"schedule": "constant", "freeze": int(number == FROZEN)}
    given |= {"normalization": "batch" if number == NORMALISED else "none"}
    given |= {"dropout": 0.3 if len(activations) > 1 else 0.0}
    plan = plan_of(rows, loss, **given, **OTHERS[number % len(OTHERS)])
    caplog.set_level("INFO")
    expected = trained("eager", plan, rows)
    for n_threads in (1, 2):
        with on_threads(n_threads):
            ours, again = (trained("numba", plan, rows) for _ in range(2))
        assert_close(ours, expected)
        for one, other in zip(again, ours, strict=True):
            np.testing.assert_array_equal(one, other)
    assert not logged(caplog)
    assert sum(record.getMessage().startswith("compiling") for record in caplog.records) == 1


def test_a_step_is_the_same_source_each_time(sources, monkeypatch):
    """It does not depend on the addresses of what is recorded, so a machine compiles it only once."""
    rows, recorded = rows_of("logistic"), []
    plan = plan_of(rows, "logistic", activation=("silu", "softplus"), optimizer="lion", dropout=0.3)
    for _ in range(12):
        monkeypatch.setenv(VARIABLE, "numba")
        recorded.append(Training(BACKEND, plan, rows, Unscaled(BACKEND, plan.dtype)))
        recorded[-1].epoch(1)
    assert len(sources) == 12
    assert len(set(sources)) == 1


class Keeps(Callback):
    """Keeps the parameters of every epoch."""

    def __init__(self):
        self.kept = []

    def on_epoch_end(self, run, record):
        self.kept.append(run.params)


@pytest.mark.parametrize("restore", ["stopped", "always"])
def test_the_best_weights_are_those_of_their_epoch(way, restore, monkeypatch):
    monkeypatch.setenv(VARIABLE, way)
    rows = rows_of("squared_error", weighted=False)
    given = {"hidden": (6,), "optimizer": "adam", "learning_rate": 0.05, "schedule": "constant"}
    plan = plan_of(rows, "squared_error", epochs=30, **given)
    validation = Rows(rows.x[::-1], rows.targets, None)
    keeps = Keeps()
    callbacks = [keeps, EarlyStopping(patience=3)] if restore == "stopped" else [keeps]
    watched = {"train": rows, "validation": validation}
    state, run = fit(BACKEND, plan, rows, watched, Unscaled(BACKEND, plan.dtype), callbacks, best=Best(restore=restore))
    best = int(np.argmin([record["validation_loss"] for record in run.history]))
    assert run.restored
    assert run.best_epoch == best + 1 < len(keeps.kept)
    np.testing.assert_array_equal(state.params, keeps.kept[best])
    assert not np.array_equal(state.params, keeps.kept[-1])
    monkeypatch.setenv(VARIABLE, "eager")
    keeps_eager = Keeps()
    fit(BACKEND, plan, rows, watched, Unscaled(BACKEND, plan.dtype), [keeps_eager])
    assert_close([keeps.kept[best]], [keeps_eager.kept[best]], 1e-10)
