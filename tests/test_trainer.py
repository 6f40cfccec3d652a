import dataclasses
import math
import os
import signal
import threading
import warnings

import numpy as np
import pytest
import scipy.sparse
from scipy import special
from sklearn import metrics
from sklearn.neural_network import MLPClassifier, MLPRegressor
from strict import StrictBackend

from mlpgpu import backends
from mlpgpu.callbacks import Callback, EarlyStopping
from mlpgpu.config import Config
from mlpgpu.data.batches import batches, order
from mlpgpu.dropout import Dropout
from mlpgpu.feed import Rows, Scaled, Unscaled
from mlpgpu.maths.parameters import split
from mlpgpu.plan import make_plan
from mlpgpu.trainer import Best, Diverged, fit


@pytest.fixture(autouse=True)
def _one_way(monkeypatch):
    """Run the steps of runs of any length in the same way, so that they agree to the bit."""
    monkeypatch.setenv("MLPGPU_LOOP", "numpy")


NUMPY = backends.select("cpu", "numpy", "float64")[0]
SHIFT, FACTOR = np.linspace(-1, 1, 5), np.linspace(0.5, 2, 5)
TASKS = {"cross_entropy": "classification", "squared_error": "regression"}
# 50 rows in batches of 16: the last batch has 14 rows of padding.
N_ROWS, BATCH_SIZE, STEPS = 50, 16, 4


def rows_of(loss, n=N_ROWS, seed=0, weighted=True):
    rng = np.random.default_rng(seed)
    x = 2 * rng.normal(size=(n, 5))
    truth = np.tanh(x @ rng.normal(size=(5, 3)))
    targets = (truth + rng.gumbel(size=truth.shape)).argmax(1) if loss == "cross_entropy" else truth
    return Rows(x, targets, rng.uniform(0, 2, size=n) * (rng.random(n) > 0.1) if weighted else None)


def plan_of(loss="cross_entropy", n_rows=N_ROWS, **given):
    defaults = {
        "dtype": "float64",
        "loss": loss,
        "hidden": (7, 6),
        "activation": "tanh",
        "batch_size": BATCH_SIZE,
        "epochs": 3,
        "dropout": 0.0,
        "input_dropout": 0.0,
        "schedule": "constant",
        "optimizer": "sgd",
        "learning_rate": 0.1,
    }
    config = Config(**(defaults | given))
    return make_plan(config, n_rows=n_rows, n_features=5, n_outputs=3, task=TASKS[loss])


def train(plan, backend=NUMPY, train=None, validation=None, callbacks=(), **more):
    """Train, and return the parameters on the host and the run."""
    train = rows_of(plan.loss) if train is None else train
    watched = {"train": train} if validation is None else {"train": train, "validation": validation}
    placement = Scaled(backend, SHIFT, FACTOR, plan.dtype)
    state, run = fit(backend, plan, train, watched, placement, callbacks, **more)
    return backend.to_host(state.params), run


def logits(plan, params, x):
    y = (x - SHIFT) * FACTOR
    layers = split(np, params, plan.network.sizes)
    for w, b in layers[:-1]:
        y = np.tanh(y @ w + b)
    return y @ layers[-1][0] + layers[-1][1]


def by_hand(plan, rows, rates, masks=None):
    """Train by textbook gradient descent, without padding, and return the parameters and the loss of each step."""
    weights = np.ones(len(rows)) if rows.weights is None else rows.weights
    layers = [[w.copy(), b.copy()] for w, b in split(np, plan.params, plan.network.sizes)]
    losses = []
    for t, rate in enumerate(rates):
        numbers, present = batches(plan.order(t // plan.steps_per_epoch + 1), plan.batch_size)
        here = present[t % plan.steps_per_epoch]
        picked = numbers[t % plan.steps_per_epoch][here]
        share = weights[picked] / weights[picked].sum()
        mask = [m[here] for m in masks(t)] if masks else [1.0] * len(layers)

        inputs = [(rows.x[picked] - SHIFT) * FACTOR * mask[0]]
        for i, (w, b) in enumerate(layers[:-1], 1):
            inputs.append(np.tanh(inputs[-1] @ w + b) * mask[i])
        z = inputs[-1] @ layers[-1][0] + layers[-1][1]
        if plan.loss == "cross_entropy":
            one_hot = np.eye(3)[rows.targets[picked]]
            losses.append(share @ -np.log((special.softmax(z, axis=1) * one_hot).sum(1)))
            dz = special.softmax(z, axis=1) - one_hot
        else:
            losses.append(share @ ((z - rows.targets[picked]) ** 2).sum(1) / 2)
            dz = z - rows.targets[picked]
        dz = dz * share[:, None]
        for i in reversed(range(len(layers))):
            w, b = layers[i]
            dw, db = inputs[i].T @ dz, dz.sum(0)
            if i:
                # The unit before dropout, or 0 where it was dropped and the mask is 0 as well.
                unit = np.divide(inputs[i], mask[i], where=np.broadcast_to(mask[i] != 0, inputs[i].shape), out=None)
                dz = (dz @ w.T) * mask[i] * (1 - np.where(mask[i] != 0, unit, 0) ** 2)
            layers[i] = [w - rate * dw, b - rate * db]
    return np.concatenate([*(w.ravel() for w, _ in layers), *(b for _, b in layers)]), np.array(losses)


def one_cycle(rate, total):
    """Return the learning rates of PyTorch's OneCycleLR with its defaults."""
    peak = 0.3 * total - 1

    def between(start, end, part):
        return end + (start - end) / 2 * (1 + math.cos(math.pi * part))

    return [
        between(rate / 25, rate, t / peak) if t <= peak else between(rate, rate / 25e4, (t - peak) / (total - 1 - peak))
        for t in range(total)
    ]


def without_times(history):
    return [{k: v for k, v in record.items() if k not in {"seconds", "samples_per_second"}} for record in history]


class Watch(Callback):
    """Record the calls of its hooks."""

    def __init__(self):
        self.told = []

    def on_begin(self, run):
        self.run = run
        self.told.append("begin")

    def on_epoch_begin(self, run):
        self.told.append(f"epoch {run.epoch} begins")

    def on_steps(self, run, done, losses):
        self.told.append((run.epoch, done))

    def on_epoch_end(self, run, record):
        assert record is run.history[-1]
        self.told.append(f"epoch {run.epoch}")

    def on_end(self, run):
        self.told.append("end")


# --- weights and losses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("loss", "rates"), [("cross_entropy", (0.4, 0.1)), ("squared_error", (0.3, 0.3))])
def test_trains_as_a_textbook_loop_does(backend, loss, rates):
    """With dropout, row weights, a padded last batch, shuffling and one-cycle."""
    plan = plan_of(
        loss,
        epochs=4,
        dropout=rates if len(set(rates)) > 1 else rates[0],
        input_dropout=0.1,
        schedule="one_cycle",
        learning_rate=0.3,
    )
    assert plan.steps_per_epoch == STEPS
    rows = rows_of(loss)
    dropout = Dropout(NUMPY, np.dtype(float), BATCH_SIZE, (5, 7, 6), (0.1, *rates), plan.seed)
    learning_rates = one_cycle(0.3, 4 * STEPS)
    expected, losses = by_hand(plan, rows, learning_rates, lambda t: dropout(np.asarray(t, np.int32)))
    params, run = train(plan, backend, rows)
    np.testing.assert_allclose(np.concatenate(run.losses), losses, rtol=1e-10)
    np.testing.assert_allclose(params, expected, rtol=1e-9, atol=1e-12)
    assert [len(part) for part in run.losses] == [STEPS] * 4
    np.testing.assert_allclose([record["learning_rate"] for record in run.history], learning_rates[STEPS - 1 :: STEPS])


@pytest.mark.parametrize("loss", TASKS)
def test_full_batch_descent(backend, loss):
    plan = plan_of(loss, batch_size="full", epochs=10, learning_rate=0.5)
    rows = rows_of(loss, weighted=False)
    expected, losses = by_hand(plan, rows, [0.5] * 10)
    params, run = train(plan, backend, rows)
    np.testing.assert_allclose(np.concatenate(run.losses), losses, rtol=1e-12)
    np.testing.assert_allclose(params, expected, rtol=1e-12, atol=1e-14)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("loss", TASKS)
def test_every_backend_trains_alike(backend, loss):
    """With every setting that affects a step, against NumPy."""
    settings = {
        "epochs": 3,
        "dropout": 0.5,
        "input_dropout": 0.2,
        "schedule": "one_cycle",
        "warmup": 1,
        "optimizer": "adamw",
        "learning_rate": 0.02,
        "l2": 0.1,
        "clip_norm": 0.5,
        "label_smoothing": 0.1 if loss == "cross_entropy" else 0.0,
    }
    validation = rows_of(loss, 21, seed=5)
    ours, expected = (train(plan_of(loss, **settings), on, validation=validation)[1] for on in (backend, NUMPY))
    np.testing.assert_allclose(np.concatenate(ours.losses), np.concatenate(expected.losses), rtol=1e-10)
    for one, other in zip(ours.history, expected.history, strict=True):
        assert list(one) == list(other)
        for key in set(one) - {"seconds", "samples_per_second"}:
            assert one[key] == pytest.approx(other[key], rel=1e-9), key


def scikit_learns(cls, plan, rows, epochs, **settings):
    """Return scikit-learn's loss of each epoch from the weights of `plan`; a first partial_fit only sets shapes."""
    theirs = cls(
        hidden_layer_sizes=plan.network.sizes[1:-1],
        solver="sgd",
        momentum=0,
        nesterovs_momentum=False,
        learning_rate="constant",
        learning_rate_init=plan.learning_rate,
        alpha=0.1,
        batch_size=plan.batch_size,
        shuffle=False,
        **settings,
    )
    x, y = (rows.x - SHIFT) * FACTOR, np.squeeze(rows.targets)
    begin = {"classes": np.unique(y)} if cls is MLPClassifier else {}
    theirs.partial_fit(x[:10], y[:10], **begin)
    for (w, b), their_w, their_b in zip(
        split(np, plan.params, plan.network.sizes), theirs.coefs_, theirs.intercepts_, strict=True
    ):
        their_w[...], their_b[...] = w, b
    for _ in range(epochs):
        theirs.partial_fit(x, y)
    return np.array(theirs.loss_curve_[1:])


@pytest.mark.parametrize("activation", ["tanh", "relu", "logistic"])
def test_trains_as_scikit_learn_does(activation):
    plan = plan_of(batch_size=10, epochs=8, shuffle=False, l2=0.1, activation=activation)
    rows = rows_of("cross_entropy", weighted=False)
    expected = scikit_learns(MLPClassifier, plan, rows, 8, activation=activation)
    _, run = train(plan, train=rows)
    np.testing.assert_allclose([record["loss"] for record in run.history], expected, rtol=1e-10)


def descent(task, n_outputs, **given):
    """Return a plan of gradient descent with one hidden layer and the default loss of the task."""
    config = Config(
        dtype="float64", hidden=(6,), batch_size=10, epochs=8, shuffle=False, l2=0.1, dropout=0, input_dropout=0,
        schedule="constant", optimizer="sgd", **given,
    )  # fmt: skip
    return make_plan(config, n_rows=50, n_features=5, n_outputs=n_outputs, task=task)


def test_trains_a_regression_as_scikit_learn_does():
    plan = descent("regression", 1, activation="relu", learning_rate=0.05)
    rows = rows_of("squared_error", weighted=False)
    rows = Rows(rows.x, rows.targets[:, :1])
    _, run = train(plan, train=rows)
    expected = scikit_learns(MLPRegressor, plan, rows, 8, activation="relu")
    np.testing.assert_allclose([record["loss"] for record in run.history], expected, rtol=1e-10)


def test_trains_two_classes_as_scikit_learn_does():
    plan = descent("classification", 2, activation="tanh", learning_rate=0.2)
    assert (plan.loss, plan.network.sizes) == ("logistic", (5, 6, 1))
    rows = rows_of("cross_entropy", weighted=False)
    rows = Rows(rows.x, rows.targets % 2)
    _, run = train(plan, train=rows)
    expected = scikit_learns(MLPClassifier, plan, rows, 8, activation="tanh")
    np.testing.assert_allclose([record["loss"] for record in run.history], expected, rtol=1e-10)


def test_a_seed_is_a_run(real_backend):
    dtype = "float32"
    settings = {"dropout": 0.3, "input_dropout": 0.1, "optimizer": "adam", "schedule": "one_cycle", "dtype": dtype}
    validation = rows_of("cross_entropy", 21, seed=5)
    (first, run), (again, rerun) = (train(plan_of(**settings), real_backend, validation=validation) for _ in range(2))
    assert first.dtype == dtype
    assert first.tobytes() == again.tobytes()
    assert np.concatenate(run.losses).tobytes() == np.concatenate(rerun.losses).tobytes()
    assert without_times(run.history) == without_times(rerun.history)


def test_another_seed_is_another_run():
    """It changes the initial weights, the row order and the dropout masks, each of which changes the result."""
    plan, other = (plan_of(dropout=0.3, input_dropout=0.1, seed=seed) for seed in (0, 1))
    first, _ = train(plan)
    assert (train(other)[0] != first).all()
    for name in ("params", "order", "seed"):
        assert (train(dataclasses.replace(plan, **{name: getattr(other, name)}))[0] != first).any(), name
    undropped = plan_of()
    np.testing.assert_array_equal(train(dataclasses.replace(undropped, seed=1))[0], train(undropped)[0])
    unshuffled = plan_of(shuffle=False)
    order = plan_of(shuffle=False, seed=1).order
    np.testing.assert_array_equal(train(dataclasses.replace(unshuffled, order=order))[0], train(unshuffled)[0])


def test_streamed_rows_are_the_same_rows(backend, monkeypatch):
    plan = plan_of(dropout=0.3)
    validation = rows_of("cross_entropy", 21, seed=5)
    params, run = train(plan, backend, validation=validation)
    monkeypatch.setattr(backend, "free_memory", lambda: 0)
    streamed, other = train(plan, backend, validation=validation)
    assert (run.streamed, other.streamed) == (False, True)
    np.testing.assert_allclose(streamed, params, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(np.concatenate(other.losses), np.concatenate(run.losses), rtol=1e-13)
    assert other.history[-1]["validation_loss"] == pytest.approx(run.history[-1]["validation_loss"], rel=1e-13)


def test_rows_that_fit_are_not_streamed():
    assert not train(plan_of(), StrictBackend(free=10**6))[1].streamed
    assert train(plan_of(), StrictBackend(free=1000))[1].streamed


def test_bytes_train_as_the_numbers_that_they_are(backend):
    rows = rows_of("cross_entropy")
    x = np.random.default_rng(1).integers(0, 256, size=rows.x.shape, dtype=np.uint8)
    bytes_, floats = Rows(x, rows.targets), Rows(x / 255, rows.targets)
    zero = np.array(0.0)
    ours, _ = fit(backend, plan_of(), bytes_, {}, Scaled(backend, zero, np.array(1 / 255), "float64"))
    expected, _ = fit(NUMPY, plan_of(), floats, {}, Scaled(NUMPY, zero, np.array(1.0), "float64"))
    np.testing.assert_allclose(backend.to_host(ours.params), expected.params, rtol=1e-10, atol=1e-13)


UNSCALED = {kind.__name__: kind for kind in (scipy.sparse.csr_matrix, scipy.sparse.csr_array)}


def train_unscaled(plan, backend, rows, validation):
    watched = {"train": rows, "validation": validation}
    state, run = fit(backend, plan, rows, watched, Unscaled(backend, plan.dtype))
    return backend.to_host(state.params), run


def thin(rows):
    """Return the rows with half of the numbers 0."""
    x = rows.x * (np.random.default_rng(2).random(rows.x.shape) < 0.5)
    return dataclasses.replace(rows, x=x)


@pytest.mark.parametrize(("kind", "per_call"), [
    ("csr_array", None), ("csr_array", 3), ("csr_matrix", 2), ("device", None), ("device", 3),
])  # fmt: skip
def test_rows_that_are_sparse_or_on_the_device_train_as_any_others(backend, monkeypatch, kind, per_call):
    if per_call:
        monkeypatch.setattr(backend, "steps_per_call", per_call)
    plan = plan_of(dropout=0.3, optimizer="adam", learning_rate=0.01)
    rows, validation = thin(rows_of("cross_entropy")), thin(rows_of("cross_entropy", 21, seed=5))
    expected, dense = train_unscaled(plan, NUMPY, rows, validation)
    put = UNSCALED.get(kind, backend.asarray)
    params, run = train_unscaled(
        plan, backend, *(dataclasses.replace(part, x=put(part.x)) for part in (rows, validation))
    )
    assert run.streamed == (kind in UNSCALED)
    np.testing.assert_allclose(params, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(np.concatenate(run.losses), np.concatenate(dense.losses), rtol=1e-10)
    for one, other in zip(without_times(run.history), without_times(dense.history), strict=True):
        assert one == pytest.approx(other, rel=1e-9)


@pytest.mark.parametrize(("elements", "steps"), [(2**24, 4), (2 * 16 * 5, 2), (16 * 5, 1), (1, 1)])
def test_streamed_rows_come_in_calls_that_are_not_too_large(backend, monkeypatch, elements, steps):
    """A call of the loop takes the rows of all its steps at once, dense even if they were sparse."""
    monkeypatch.setattr(backend, "steps_per_call", 4)
    monkeypatch.setattr(backend, "elements_per_call", elements)
    rows = rows_of("cross_entropy")
    plan, watch = plan_of(), Watch()
    sparse = dataclasses.replace(rows, x=scipy.sparse.csr_array((rows.x - SHIFT) * FACTOR))
    placement = Unscaled(backend, "float64")
    state, _ = fit(backend, plan, sparse, {}, placement, [watch])
    assert [told for told in watch.told if told[0] == 1] == [(1, done) for done in range(steps, STEPS + 1, steps)]
    expected, _ = train(plan, NUMPY, rows)
    np.testing.assert_allclose(backend.to_host(state.params), expected, rtol=1e-10, atol=1e-13)


def test_nothing_that_is_handed_in_is_changed(real_backend):
    rows, validation = rows_of("cross_entropy"), rows_of("cross_entropy", 20, 1)
    plan = plan_of(dropout=0.2, optimizer="adam")
    arrays = [plan.params, rows.x, rows.targets, rows.weights, validation.x, validation.targets, SHIFT, FACTOR]
    before = [array.copy() for array in arrays]
    params, _ = train(plan, real_backend, rows, validation)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)
        assert not np.shares_memory(array, params)


def test_zero_weights_are_rows_left_out():
    rows = rows_of("cross_entropy", weighted=False)
    keep = np.arange(N_ROWS) % 3 > 0
    weighted = Rows(rows.x, rows.targets, keep.astype(float))
    alone = Rows(rows.x[keep], rows.targets[keep])
    ours, _ = train(plan_of(batch_size="full", epochs=5), train=weighted)
    expected, _ = train(plan_of(batch_size="full", epochs=5, n_rows=len(alone)), train=alone)
    np.testing.assert_allclose(ours, expected, rtol=1e-11, atol=1e-13)


# --- records --------------------------------------------------------------------------------------------------------


def test_a_record_of_classes():
    plan, rows, validation = plan_of(epochs=2), rows_of("cross_entropy"), rows_of("cross_entropy", 21, 5)
    params, run = train(plan, train=rows, validation=validation)
    assert [list(record) for record in run.history] == 2 * [
        [
            "epoch",
            "loss",
            "train_accuracy",
            "validation_loss",
            "validation_accuracy",
            "learning_rate",
            "seconds",
            "samples_per_second",
        ]
    ]
    assert [record["epoch"] for record in run.history] == [1, 2]
    last = run.history[-1]
    p = special.softmax(logits(plan, params, validation.x), axis=1)
    weights = validation.weights
    assert last["validation_loss"] == pytest.approx(metrics.log_loss(validation.targets, p, sample_weight=weights))
    assert last["validation_accuracy"] == metrics.accuracy_score(validation.targets, p.argmax(1), sample_weight=weights)
    guess = logits(plan, params, rows.x).argmax(1)
    assert last["train_accuracy"] == pytest.approx(
        metrics.accuracy_score(rows.targets, guess, sample_weight=rows.weights)
    )
    # Three batches of 16 rows and one of 2.
    assert last["loss"] == pytest.approx(run.losses[-1] @ [16, 16, 16, 2] / 50, rel=1e-14)
    assert last["learning_rate"] == 0.1
    assert last["seconds"] > 0
    assert last["samples_per_second"] * last["seconds"] == pytest.approx(50)
    assert all(type(value) in {int, float} for value in last.values())
    assert (run.n_rows, run.epoch, run.stopped, run.restored) == (50, 2, "", False)


def test_a_record_of_values():
    plan, rows, validation = plan_of("squared_error"), rows_of("squared_error", weighted=False), None
    params, run = train(plan, train=rows, validation=validation)
    assert list(run.history[-1]) == [
        "epoch", "loss", "train_r2", "learning_rate", "seconds", "samples_per_second",
    ]  # fmt: skip
    assert run.history[-1]["train_r2"] == pytest.approx(metrics.r2_score(rows.targets, logits(plan, params, rows.x)))
    assert run.best_epoch == 0


@pytest.mark.parametrize(
    ("given", "rate"),
    [
        ({"schedule": "constant"}, lambda t: 0.1),
        ({"schedule": "cosine"}, lambda t: 0.1 * (1 + math.cos(math.pi * t / 12)) / 2),
        ({"schedule": "step", "decay_rate": 0.5, "decay_epochs": 2}, lambda t: 0.1 * 0.5 ** (t // 8)),
        ({"schedule": "exponential", "decay_rate": 0.01}, lambda t: 0.1 * 0.01 ** (t / 12)),
        ({"schedule": "invscaling", "power_t": 1.5}, lambda t: 0.1 / (t + 1) ** 1.5),
        ({"schedule": "constant", "warmup": 2}, lambda t: 0.1 * min((t + 1) / 8, 1)),
    ],
)
def test_the_learning_rate_on_record_is_that_of_the_last_step(given, rate):
    _, run = train(plan_of(**given))
    expected = [rate(t) for t in (3, 7, 11)]
    np.testing.assert_allclose([record["learning_rate"] for record in run.history], expected, rtol=1e-12)


def test_callbacks_are_told_in_order(real_backend):
    watch = Watch()
    train(plan_of(epochs=2), real_backend, callbacks=[watch])
    calls = range(real_backend.steps_per_call, STEPS + real_backend.steps_per_call, real_backend.steps_per_call)
    steps = [min(done, STEPS) for done in calls]
    assert watch.told == [
        "begin",
        "epoch 1 begins",
        *((1, done) for done in steps),
        "epoch 1",
        "epoch 2 begins",
        *((2, done) for done in steps),
        "epoch 2",
        "end",
    ]


def test_only_what_is_watched_is_on_record():
    plan, rows, validation = plan_of(epochs=1), rows_of("cross_entropy"), rows_of("cross_entropy", 21, 5)
    placement = Scaled(NUMPY, SHIFT, FACTOR, "float64")
    always = ["epoch", "loss", "learning_rate", "seconds", "samples_per_second"]
    found = []
    for watched in ({}, {"validation": validation}, {"train": validation}, {"spare": rows}):
        state, run = fit(NUMPY, plan, rows, watched, placement)
        found.append((state.params, run.history[0]))
    assert [[key for key in record if key not in always] for _, record in found] == [
        [],
        ["validation_loss", "validation_accuracy"],
        ["train_accuracy"],
        ["spare_loss", "spare_accuracy"],
    ]
    for params, record in found:
        assert set(always) <= set(record)
        np.testing.assert_array_equal(params, found[0][0])
    # `train_accuracy` is that of the rows watched as `train`, here the validation rows.
    guess = logits(plan, found[2][0], validation.x).argmax(1)
    expected = metrics.accuracy_score(validation.targets, guess, sample_weight=validation.weights)
    assert found[2][1]["train_accuracy"] == pytest.approx(expected, rel=1e-12)


def test_a_score_has_the_name_that_the_plan_gives_it():
    plan = dataclasses.replace(plan_of(epochs=1), score_name="skill")
    _, run = train(plan, validation=rows_of("cross_entropy", 21, 5))
    _, usual = train(plan_of(epochs=1), validation=rows_of("cross_entropy", 21, 5))
    for part in ("train", "validation"):
        assert run.history[0][f"{part}_skill"] == usual.history[0][f"{part}_accuracy"]
        assert f"{part}_accuracy" not in run.history[0]


@pytest.mark.parametrize("per_call", [None, 3])
def test_callbacks_can_see_the_losses_of_the_last_steps(backend, monkeypatch, per_call):
    if per_call:
        monkeypatch.setattr(backend, "steps_per_call", per_call)

    seen = []

    class Look(Callback):
        def on_steps(self, run, done, losses):
            part = losses()
            assert type(part) is np.ndarray
            seen.append((run.epoch, done, part))

    _, run = train(plan_of(epochs=2), backend, callbacks=[Look()])
    for epoch in (1, 2):
        parts = [part for of, _, part in seen if of == epoch]
        np.testing.assert_array_equal(np.concatenate(parts), run.losses[epoch - 1])
        assert list(np.cumsum([len(part) for part in parts])) == [done for of, done, _ in seen if of == epoch]


# --- effects of callbacks on a run ----------------------------------------------------------------------------------


class Call(Callback):
    """Call the given functions of the run as hooks."""

    def __init__(self, **functions):
        for name, function in functions.items():
            setattr(self, name, lambda run, *args, function=function: function(run))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_learning_rate_for_each_epoch(backend, optimizer):
    """The schedule still multiplies it: half the rate halves each step of gradient descent."""
    rates = {2: 0.05, 3: 0.4}
    plan = plan_of(schedule="cosine", epochs=4, optimizer=optimizer)
    seen = []

    def change(run):
        run.learning_rate = rates.get(run.epoch, run.learning_rate)
        seen.append(run.learning_rate)

    params, run = train(plan, backend, callbacks=[Call(on_epoch_begin=change)])
    assert seen == [0.1, 0.05, 0.4, 0.4]
    of_steps = np.repeat(seen, STEPS) * (0.5 + 0.5 * np.cos(np.pi * np.arange(4 * STEPS) / (4 * STEPS)))
    np.testing.assert_allclose([record["learning_rate"] for record in run.history], of_steps[STEPS - 1 :: STEPS])
    rows = rows_of("cross_entropy")
    if optimizer == "sgd":
        expected, losses = by_hand(plan, rows, of_steps)
    else:
        expected, losses = by_hand_adam(plan, rows, of_steps)
    np.testing.assert_allclose(np.concatenate(run.losses), losses, rtol=1e-9)
    np.testing.assert_allclose(params, expected, rtol=1e-8, atol=1e-11)


def by_hand_adam(plan, rows, rates):
    """Train with Adam, on gradients from single steps of `by_hand`."""
    params, mean, square, losses = plan.params.copy(), 0.0, 0.0, []
    for t, rate in enumerate(rates):
        # A step of gradient descent with rate 1, on the rows of this step.
        epoch, place = t // plan.steps_per_epoch + 1, t % plan.steps_per_epoch
        numbers, present = batches(plan.order(epoch), plan.batch_size)
        picked = numbers[place][present[place]]
        alone = dataclasses.replace(
            plan, params=params, batch_size=len(picked), steps_per_epoch=1, order=lambda epoch, picked=picked: picked
        )
        moved, loss = by_hand(alone, rows, [1.0])
        losses.append(loss[0])
        gradient = params - moved
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        root = np.sqrt(square / (1 - 0.999 ** (t + 1)))
        params = params - rate * mean / (1 - 0.9 ** (t + 1)) / (root + 1e-8)
    return params, np.array(losses)


def test_a_learning_rate_set_within_an_epoch_is_that_of_the_next_step(backend, monkeypatch):
    """Also in a compiled loop; the record has the rate of the last step."""
    monkeypatch.setattr(backend, "steps_per_call", 2)

    class Change(Callback):
        def on_steps(self, run, done, losses):
            run.learning_rate = {(1, 2): 0.3, (1, 4): 0.02, (2, 2): 0.2}.get((run.epoch, done), run.learning_rate)

    plan = plan_of(epochs=2)
    params, run = train(plan, backend, callbacks=[Change()])
    rates = [0.1, 0.1, 0.3, 0.3, 0.02, 0.02, 0.2, 0.2]
    expected, losses = by_hand(plan, rows_of("cross_entropy"), rates)
    np.testing.assert_allclose(np.concatenate(run.losses), losses, rtol=1e-10)
    np.testing.assert_allclose(params, expected, rtol=1e-10, atol=1e-13)
    assert [record["learning_rate"] for record in run.history] == [0.3, 0.2]


def test_a_learning_rate_of_single_precision(real_backend):
    """It keeps the dtype of the run, which a compiled loop requires."""
    seen = []

    def halve(run):
        run.learning_rate /= 2
        seen.append(run.learning_rate)

    params, run = train(plan_of(dtype="float32", epochs=3), real_backend, callbacks=[Call(on_epoch_end=halve)])
    assert params.dtype == np.float32
    np.testing.assert_allclose(seen, [0.05, 0.025, 0.0125], rtol=1e-7)
    np.testing.assert_allclose([record["learning_rate"] for record in run.history], [0.1, 0.05, 0.025], rtol=1e-7)


def test_callbacks_see_the_weights_as_they_are(real_backend):
    """After n epochs, they are the final weights of a run of n epochs, and later epochs do not change them."""
    seen, models = [], []

    def look(run):
        seen.append(run.params)
        models.append(run.model())

    plan = plan_of(dropout=0.2, optimizer="adam")
    look_on = Call(on_epoch_begin=look, on_epoch_end=look)
    params, run = train(plan, real_backend, callbacks=[look_on], as_model=lambda params: ("model", params))
    assert all(type(part) is np.ndarray for part in seen)
    np.testing.assert_array_equal(seen[0], plan.params)
    for epochs in (1, 2, 3):
        expected, _ = train(plan_of(dropout=0.2, optimizer="adam", epochs=epochs), real_backend)
        np.testing.assert_array_equal(seen[2 * epochs - 1], expected)
    np.testing.assert_array_equal(seen[2], seen[1])
    np.testing.assert_array_equal(run.params, params)
    for (word, of_model), part in zip(models, seen, strict=True):
        assert word == "model"
        np.testing.assert_array_equal(of_model, part)


def test_a_run_stopped_within_an_epoch_ends_after_the_steps_in_hand(backend):
    plan, validation = plan_of(epochs=5), rows_of("cross_entropy", 21, 5)

    class Enough(Callback):
        def on_steps(self, run, done, losses):
            if run.epoch == 3:
                run.stop("enough")

    watch = Watch()
    params, run = train(plan, backend, validation=validation, callbacks=[Enough(), watch], best=Best("no such key"))
    steps = min(backend.steps_per_call, STEPS)
    assert (run.stopped, run.epoch, run.restored) == ("enough", 3, False)
    assert [len(part) for part in run.losses] == [STEPS, STEPS, steps]
    assert watch.told[-3:] == [(3, steps), "epoch 3", "end"]
    expected, losses = by_hand(plan, rows_of("cross_entropy"), [0.1] * (2 * STEPS + steps))
    np.testing.assert_allclose(params, expected, rtol=1e-10, atol=1e-13)
    last = run.history[-1]
    # The mean over the rows of the completed steps.
    n_rows = np.array([16, 16, 16, 2])[:steps]
    assert last["loss"] == pytest.approx(losses[-steps:] @ n_rows / n_rows.sum(), rel=1e-10)
    assert last["samples_per_second"] * last["seconds"] == pytest.approx(n_rows.sum())
    assert last["validation_loss"] == pytest.approx(validation_loss(plan, params, validation), rel=1e-10)


@pytest.mark.parametrize("when", ["on_epoch_begin", "on_epoch_end"])
def test_a_run_stopped_between_two_steps(when, step_by_step):
    """Stopped before an epoch, it still takes its first steps; stopped after one, no more."""

    def enough(run):
        if run.epoch == 2:
            run.stop("enough")

    _, run = train(plan_of(epochs=5), callbacks=[Call(**{when: enough})])
    assert (run.stopped, run.epoch) == ("enough", 2)
    assert [len(part) for part in run.losses] == [STEPS, 1 if when == "on_epoch_begin" else STEPS]


# --- continuing a run -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adam_hat"])
def test_a_run_that_goes_on_is_one_that_never_ended(backend, optimizer):
    """With dropout, a schedule over the whole run, and an order of rows that continues."""
    plan = plan_of(dropout=0.3, input_dropout=0.1, schedule="one_cycle", optimizer=optimizer, epochs=5)
    rows, placement = rows_of("cross_entropy"), Scaled(backend, SHIFT, FACTOR, "float64")
    whole, run = fit(backend, plan, rows, {"train": rows}, placement)
    half, first = fit(backend, dataclasses.replace(plan, epochs=2), rows, {"train": rows}, placement)
    before = [backend.to_host(array).copy() for array in (half.params, *half.slots, half.step, half.learning_rate)]
    # The initial weights of the plan are ignored.
    rest = dataclasses.replace(plan, epochs=3, order=lambda epoch: plan.order(epoch + 2), params=0 * plan.params)
    again, second = fit(backend, rest, rows, {"train": rows}, placement, state=half)
    assert int(backend.to_host(again.step)) == 5 * STEPS
    assert len(again.slots) == len(whole.slots) == len(half.slots)
    for ours, expected in zip((again.params, *again.slots), (whole.params, *whole.slots), strict=True):
        np.testing.assert_array_equal(backend.to_host(ours), backend.to_host(expected))
    np.testing.assert_array_equal(np.concatenate(first.losses + second.losses), np.concatenate(run.losses))
    for key in ("loss", "train_accuracy", "learning_rate"):
        assert [record[key] for record in first.history + second.history] == [record[key] for record in run.history]
    assert [record["epoch"] for record in second.history] == [1, 2, 3]
    # The given state is unchanged, so that it can be continued from again.
    for copy, array in zip(before, (half.params, *half.slots, half.step, half.learning_rate), strict=True):
        np.testing.assert_array_equal(backend.to_host(array), copy)


def test_a_changed_learning_rate_is_part_of_the_state(backend):
    rows, placement = rows_of("cross_entropy"), Scaled(backend, SHIFT, FACTOR, "float64")

    def change(run):
        run.learning_rate = 0.3

    plan = plan_of(epochs=1)
    state, _ = fit(backend, plan, rows, {}, placement, [Call(on_epoch_end=change)])
    state, run = fit(
        backend, dataclasses.replace(plan, order=lambda epoch: plan.order(2)), rows, {}, placement, state=state
    )
    assert run.history[0]["learning_rate"] == 0.3
    expected, _ = by_hand(plan, rows, [0.1] * STEPS + [0.3] * STEPS)
    np.testing.assert_allclose(backend.to_host(state.params), expected, rtol=1e-10, atol=1e-13)


def test_a_plan_may_start_from_weights_on_the_device(backend):
    plan = plan_of()
    there = dataclasses.replace(plan, params=backend.asarray(plan.params))
    np.testing.assert_array_equal(train(there, backend)[0], train(plan, backend)[0])


def test_an_order_of_any_rows(backend):
    """Such as a sample drawn with replacement, and orders of different lengths."""
    orders = {1: np.array([4, 4, 49, 0] * 8), 2: np.arange(49, 10, -1)}
    plan = dataclasses.replace(plan_of(epochs=2), order=orders.__getitem__)
    params, run = train(plan, backend)
    assert [len(part) for part in run.losses] == [2, 3]
    rows = rows_of("cross_entropy")
    middle, losses = by_hand(dataclasses.replace(plan, steps_per_epoch=2), rows, [0.1] * 2)
    rest = dataclasses.replace(plan, steps_per_epoch=3, params=middle, order=lambda epoch: orders[2])
    expected, more = by_hand(rest, rows, [0.1] * 3)
    np.testing.assert_allclose(np.concatenate(run.losses), np.concatenate([losses, more]), rtol=1e-10)
    np.testing.assert_allclose(params, expected, rtol=1e-10, atol=1e-13)


def test_the_order_of_a_plan_is_that_of_its_settings():
    plan = plan_of(seed=3)
    for epoch in (1, 2, 7):
        np.testing.assert_array_equal(plan.order(epoch), order(N_ROWS, seed=3, epoch=epoch))
        np.testing.assert_array_equal(plan_of(seed=3, shuffle=False).order(epoch), np.arange(N_ROWS))


# --- the best weights -----------------------------------------------------------------------------------------------


def test_what_is_better():
    less, more = Best("loss"), Best("accuracy", greater=True)
    assert less.improves({"loss": 2.0}, None)
    assert less.improves({"loss": 1.0}, {"loss": 2.0})
    assert more.improves({"accuracy": -5.0}, None)
    assert more.improves({"accuracy": 0.5}, {"accuracy": 0.4})
    assert not less.improves({"loss": 2.0}, {"loss": 2.0})
    assert not less.improves({"loss": 3.0}, {"loss": 2.0})
    assert not more.improves({"accuracy": 0.5}, {"accuracy": 0.5})
    assert not more.improves({"accuracy": 0.3}, {"accuracy": 0.4})
    for best in (less, more):
        for before in (None, {best.monitor: 0.5}):
            assert not best.improves({best.monitor: math.nan}, before)
            assert not best.improves({"another": 1.0}, before)
    # Infinitely bad values are never the best.
    assert not less.improves({"loss": math.inf}, None)
    assert not more.improves({"accuracy": -math.inf}, None)


def test_what_is_better_than_the_start():
    less, more = Best("loss", than=1.0), Best("accuracy", greater=True, than=0.5)
    assert less.improves({"loss": 0.9}, None)
    assert not less.improves({"loss": 1.0}, None)
    # Once there is a best record, only that is compared with.
    assert less.improves({"loss": 0.7}, {"loss": 0.8})
    assert not less.improves({"loss": 0.9}, {"loss": 0.8})
    assert more.improves({"accuracy": 0.6}, None)
    assert not more.improves({"accuracy": 0.5}, None)
    assert not more.improves({"accuracy": math.nan}, None)


def test_the_best_weights_of_a_run_that_was_not_stopped(real_backend):
    plan, rows, validation = overfitting(epochs=30)
    params, run = train(plan, real_backend, rows, validation, best=Best(restore="always"))
    losses = [record["validation_loss"] for record in run.history]
    best = 1 + int(np.argmin(losses))
    assert best < 30
    assert (run.epoch, run.best_epoch, run.stopped, run.restored) == (30, best, "", True)
    assert validation_loss(plan, params, validation) == pytest.approx(min(losses), rel=1e-12)
    expected, _ = train(overfitting(epochs=best)[0], real_backend, rows, validation)
    np.testing.assert_array_equal(params, expected)


def test_the_rest_of_the_state_is_that_after_the_last_epoch(backend):
    plan, rows, validation = overfitting(epochs=25, optimizer="momentum", learning_rate=0.3)
    placement = Scaled(backend, SHIFT, FACTOR, "float64")
    last, _ = fit(backend, plan, rows, {"validation": validation}, placement)
    best, run = fit(backend, plan, rows, {"validation": validation}, placement, best=Best(restore="always"))
    assert run.best_epoch < 25
    assert (backend.to_host(best.params) != backend.to_host(last.params)).any()
    for ours, expected in zip((*best.slots, best.step), (*last.slots, last.step), strict=True):
        np.testing.assert_array_equal(backend.to_host(ours), backend.to_host(expected))


def test_the_best_by_a_figure_of_which_more_is_better():
    plan, rows, validation = overfitting(epochs=30)
    by_score = Best("validation_accuracy", greater=True, restore="always")
    params, run = train(plan, NUMPY, rows, validation, best=by_score)
    scores = [record["validation_accuracy"] for record in run.history]
    # The first epoch of several with the same score.
    assert run.best_epoch == 1 + int(np.argmax(scores))
    assert scores[-1] < max(scores)
    guess = logits(plan, params, validation.x).argmax(1)
    assert metrics.accuracy_score(validation.targets, guess) == pytest.approx(max(scores), rel=1e-12)


def test_the_best_by_the_training_loss_needs_no_validation_rows():
    plan, rows, _ = overfitting(epochs=6, optimizer="sgd", learning_rate=3.0)
    params, run = train(plan, NUMPY, rows, best=Best("loss", restore="always"))
    losses = [record["loss"] for record in run.history]
    assert run.best_epoch == 1 + int(np.argmin(losses)) < 6
    np.testing.assert_array_equal(params, train(dataclasses.replace(plan, epochs=run.best_epoch), NUMPY, rows)[0])


def test_without_what_is_monitored_there_is_no_best():
    plan, rows, _ = overfitting(epochs=3)
    params, run = train(plan, NUMPY, rows, best=Best(restore="always"))
    assert (run.best_epoch, run.restored) == (0, False)
    np.testing.assert_array_equal(params, train(plan, NUMPY, rows)[0])


def test_a_score_of_ones_own(real_backend):
    """In place of the accuracy; here the Matthews correlation, by scikit-learn from the weights."""
    plan, rows, validation = overfitting(epochs=30)
    given = []

    def skill(params):
        given.append(params)
        z = logits(plan, real_backend.to_host(params), validation.x)
        return metrics.matthews_corrcoef(validation.targets, z.argmax(1))

    best = Best("validation_skill", greater=True, restore="always")
    plan = dataclasses.replace(plan, score_name="skill")
    params, run = train(plan, real_backend, rows, validation, best=best, score=skill)
    assert type(given[0]) is type(real_backend.asarray(plan.params))
    scores = [record["validation_skill"] for record in run.history]
    assert len(given) == len(scores) == 30
    assert run.best_epoch == 1 + int(np.argmax(scores)) < 30
    assert skill(real_backend.asarray(params)) == max(scores)
    # The loss and the score of the training rows are still the built-in ones.
    assert (
        run.history[-1]["validation_loss"]
        == train(plan, real_backend, rows, validation)[1].history[-1]["validation_loss"]
    )
    guess = logits(plan, real_backend.to_host(given[29]), rows.x).argmax(1)
    assert run.history[-1]["train_skill"] == pytest.approx(metrics.accuracy_score(rows.targets, guess), rel=1e-12)


def test_a_score_that_is_no_number_is_never_the_best():
    plan, rows, validation = overfitting(epochs=4)
    values = iter([math.nan, 0.1, math.nan, 0.05])
    best = Best("validation_accuracy", greater=True, restore="always")
    params, run = train(plan, NUMPY, rows, validation, best=best, score=lambda params: next(values))
    assert (run.best_epoch, run.restored) == (2, True)
    np.testing.assert_array_equal(params, train(overfitting(epochs=2)[0], NUMPY, rows)[0])
    params, run = train(plan, NUMPY, rows, validation, best=best, score=lambda params: math.nan)
    assert (run.best_epoch, run.restored) == (0, False)
    np.testing.assert_array_equal(params, train(plan, NUMPY, rows)[0])


def test_weights_that_were_never_better_than_the_start(backend):
    """Then the initial weights are restored."""
    plan, rows, validation = overfitting(epochs=3)
    params, run = train(plan, backend, rows, validation, best=Best(restore="always", than=0.0))
    assert (run.best_epoch, run.restored, len(run.history)) == (0, True, 3)
    np.testing.assert_array_equal(params, plan.params)
    params, run = train(plan, backend, rows, validation, best=Best(restore="always", than=1e9))
    assert run.best_epoch > 0
    assert (params != plan.params).any()
    # By default, a run that ends normally keeps its last weights.
    params, run = train(plan, backend, rows, validation, best=Best(than=0.0))
    assert (run.best_epoch, run.restored) == (0, False)
    np.testing.assert_array_equal(params, train(plan, backend, rows)[0])


@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")
def test_a_run_that_diverges_at_once_is_left_with_the_start_it_had_to_beat(real_backend):
    plan = plan_of("squared_error", batch_size="full", learning_rate=1e308, activation="relu")
    params, run = train(plan, real_backend, validation=rows_of("squared_error", 20, 1), best=Best(than=1e9))
    assert (run.stopped, run.best_epoch, run.restored, run.history) == ("diverged", 0, True, [])
    np.testing.assert_array_equal(params, plan.params)


def test_a_run_that_never_brings_back_its_best_weights(real_backend):
    """However it ends; `best_epoch` is known all the same."""
    plan, rows, validation = overfitting()
    best = Best(restore="never")
    params, run = train(plan, real_backend, rows, validation, [EarlyStopping(patience=4)], best=best)
    assert (run.stopped, run.restored, run.epoch) == ("early stopping", False, run.best_epoch + 4)
    np.testing.assert_array_equal(params, train(overfitting(epochs=run.epoch)[0], real_backend, rows)[0])


@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")
def test_a_run_that_diverges_and_never_brings_back_its_best_weights_is_an_error(real_backend):
    plan = plan_of("squared_error", activation="relu", learning_rate=500, epochs=40)
    with pytest.raises(Diverged) as caught:
        train(plan, real_backend, validation=rows_of("squared_error", 20, 1), best=Best(restore="never"))
    assert caught.value.epoch > 1


@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")
def test_a_run_that_diverges_has_the_best_weights_it_had(backend):
    plan = plan_of("squared_error", activation="relu", learning_rate=500, epochs=40)
    rows, validation = rows_of("squared_error"), rows_of("squared_error", 20, 1)
    with pytest.raises(Diverged) as caught:
        train(plan, backend, rows)
    params, run = train(plan, backend, rows, validation)
    assert (run.stopped, run.restored) == ("diverged", True)
    assert (run.diverged.epoch, run.diverged.step) == (caught.value.epoch, caught.value.step)
    assert run.epoch == len(run.history) + 1 == caught.value.epoch
    losses = [record["validation_loss"] for record in run.history]
    assert run.best_epoch == 1 + int(np.nanargmin(losses))
    np.testing.assert_array_equal(params, train(dataclasses.replace(plan, epochs=run.best_epoch), backend, rows)[0])


# --- runs that end early --------------------------------------------------------------------------------------------


def validation_loss(plan, params, validation):
    p = special.softmax(logits(plan, params, validation.x), axis=1)
    return metrics.log_loss(validation.targets, p, sample_weight=validation.weights)


def overfitting(**given):
    """Return a plan, and rows with labels so noisy that the network soon overfits."""
    whole = rows_of("cross_entropy", N_ROWS + 40, weighted=False)
    rows, validation = (Rows(whole.x[part], whole.targets[part]) for part in (slice(N_ROWS), slice(N_ROWS, None)))
    return plan_of(**({"epochs": 60, "optimizer": "adam", "learning_rate": 0.02} | given)), rows, validation


def test_early_stopping(real_backend):
    patience = 4
    plan, rows, validation = overfitting()
    watch = Watch()
    params, run = train(plan, real_backend, rows, validation, [EarlyStopping(patience=patience), watch])
    losses = [record["validation_loss"] for record in run.history]
    best = 1 + int(np.argmin(losses))
    assert 1 < best < 40
    assert (run.best_epoch, run.epoch, len(run.history)) == (best, best + patience, best + patience)
    assert all(later >= losses[best - 1] for later in losses[best:])
    assert (run.stopped, run.restored) == ("early stopping", True)
    assert validation_loss(plan, params, validation) == pytest.approx(min(losses), rel=1e-12)
    # They are the weights from the end of the best epoch.
    expected, _ = train(overfitting(epochs=best)[0], real_backend, rows, validation)
    np.testing.assert_array_equal(params, expected)
    assert watch.told[-2:] == [f"epoch {best + patience}", "end"]


def test_a_run_that_is_not_stopped_ends_with_its_last_weights():
    plan, rows, validation = overfitting(epochs=20)
    params, run = train(plan, NUMPY, rows, validation, [EarlyStopping(patience=50)])
    assert (run.epoch, run.stopped, run.restored) == (20, "", False)
    assert run.best_epoch < 20
    assert validation_loss(plan, params, validation) == pytest.approx(run.history[-1]["validation_loss"], rel=1e-12)


def test_a_loss_that_stays_as_it_is_has_not_fallen():
    plan, rows, validation = overfitting(optimizer="sgd", learning_rate=1e-300)
    _, run = train(plan, NUMPY, rows, validation, [EarlyStopping(patience=3)])
    assert (run.best_epoch, run.epoch) == (1, 4)


def test_early_stopping_without_validation_rows_does_not_stop():
    plan, rows, _ = overfitting(epochs=5)
    _, run = train(plan, NUMPY, rows, None, [EarlyStopping(patience=2)])
    assert (run.epoch, run.stopped) == (5, "")


def test_early_stopping_where_the_validation_loss_was_never_a_number():
    plan, rows, validation = overfitting(epochs=9)
    broken = Rows(np.full_like(validation.x, np.nan), validation.targets)
    _, run = train(plan, NUMPY, rows, broken, [EarlyStopping(patience=3)])
    assert (run.stopped, run.epoch, run.best_epoch) == ("early stopping", 3, 0)


@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")
def test_divergence_is_told_where_it_happens(backend):
    plan, rows = plan_of("squared_error", activation="relu", learning_rate=500, epochs=40), rows_of("squared_error")
    losses = relu_descent(plan, rows)
    first = int(np.flatnonzero(~np.isfinite(losses))[0])
    epoch, step = first // STEPS + 1, first % STEPS + 1
    assert epoch > 1
    assert step > 1
    watch = Watch()
    with pytest.raises(Diverged) as caught:
        train(plan, backend, rows, callbacks=[watch])
    assert (caught.value.epoch, caught.value.step) == (epoch, step)
    assert f"in epoch {epoch}, step {step};" in str(caught.value)
    assert "\n" not in str(caught.value)
    # Earlier epochs and losses are kept.
    assert watch.told[-1] == "end"
    assert f"epoch {epoch}" not in watch.told
    assert [record["epoch"] for record in watch.run.history] == list(range(1, epoch))
    np.testing.assert_allclose(np.concatenate(watch.run.losses)[:first], losses[:first], rtol=1e-8)


def relu_descent(plan, rows):
    """Return the losses of gradient descent with ReLU; those after divergence are not finite."""
    layers, losses = split(np, plan.params, plan.network.sizes), []
    with np.errstate(all="ignore"):
        for t in range(plan.epochs * STEPS):
            numbers, present = batches(plan.order(t // STEPS + 1), BATCH_SIZE)
            picked = numbers[t % STEPS][present[t % STEPS]]
            share = (rows.weights[picked] / rows.weights[picked].sum())[:, None]
            inputs = [(rows.x[picked] - SHIFT) * FACTOR]
            for w, b in layers[:-1]:
                inputs.append(np.maximum(inputs[-1] @ w + b, 0))
            dz = inputs[-1] @ layers[-1][0] + layers[-1][1] - rows.targets[picked]
            losses.append((share * dz * dz).sum() / 2)
            dz, after = dz * share, []
            for (w, b), y in zip(layers[::-1], inputs[::-1], strict=True):
                after.append((w - plan.learning_rate * y.T @ dz, b - plan.learning_rate * dz.sum(0)))
                dz = (dz @ w.T) * (y > 0)
            layers = after[::-1]
    return np.array(losses)


@pytest.mark.parametrize(("scale", "given"), [
    (1, {"learning_rate": 1e3}),
    # In single precision, these targets are infinite.
    (1e300, {"dtype": "float32"}),
])  # fmt: skip
def test_divergence_comes_without_warnings(scale, given):
    """The error is one line, and NumPy's warnings would add nothing to it."""
    plan, rows = plan_of("squared_error", activation="relu", epochs=40, **given), rows_of("squared_error")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(Diverged):
            train(plan, train=dataclasses.replace(rows, targets=scale * rows.targets), rollbacks=1)
    assert [str(warning.message) for warning in caught] == []


@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")
@pytest.mark.parametrize("validated", [False, True])
def test_a_last_step_that_diverges_is_told_as_well(validated):
    """The loss of a step is computed before its update, so the weights after the last one are checked as well."""
    plan = plan_of(
        "squared_error", epochs=1, batch_size="full", optimizer="sgd", learning_rate=1e308, activation="relu"
    )
    validation = rows_of("squared_error", 20, 1) if validated else None
    with pytest.raises(Diverged):
        train(plan, validation=validation)


class Press(Callback):
    """Send SIGINT in an epoch, at the first call of `on_steps`."""

    def __init__(self, epoch, times=1):
        self.epoch, self.times, self.done = epoch, times, None

    def on_steps(self, run, done, losses):
        self.handler = signal.getsignal(signal.SIGINT)
        if run.epoch == self.epoch and self.done is None:
            self.done = done
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def handler():
    """The SIGINT handler outside of a run; the previous one is restored after the test."""
    before = signal.getsignal(signal.SIGINT)

    def mine(number, frame):
        raise AssertionError("Ctrl-C was not caught")

    signal.signal(signal.SIGINT, mine)
    yield mine
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_the_run_after_the_step_in_hand(real_backend, handler):
    plan, rows, validation = overfitting(epochs=9)
    press, watch = Press(6), Watch()
    params, run = train(plan, real_backend, rows, validation, [press, watch])
    assert signal.getsignal(signal.SIGINT) is handler
    assert press.handler is not handler
    assert (run.stopped, run.restored, run.epoch) == ("interrupted", True, 6)
    assert press.done == min(real_backend.steps_per_call, STEPS)
    assert [len(part) for part in run.losses] == [STEPS] * 5 + [press.done]
    last = run.history[-1]
    assert last["samples_per_second"] * last["seconds"] == pytest.approx(min(press.done * BATCH_SIZE, N_ROWS))
    losses = [record["validation_loss"] for record in run.history]
    assert run.best_epoch == 1 + int(np.argmin(losses))
    assert validation_loss(plan, params, validation) == pytest.approx(min(losses), rel=1e-12)
    assert watch.told[-3:] == [(6, press.done), "epoch 6", "end"]


def test_ctrl_c_without_validation_rows_leaves_the_weights_of_the_last_step(handler, step_by_step):
    plan = plan_of(epochs=5)
    params, run = train(plan, callbacks=[Press(2)])
    assert (run.stopped, run.restored, run.best_epoch) == ("interrupted", False, 0)
    expected, losses = by_hand(plan, rows_of("cross_entropy"), [0.1] * (STEPS + 1))
    np.testing.assert_allclose(params, expected, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(np.concatenate(run.losses), losses, rtol=1e-10)
    assert run.history[-1]["loss"] == pytest.approx(losses[-1])


def test_a_second_ctrl_c_is_at_once(handler, step_by_step):
    watch = Watch()
    with pytest.raises(KeyboardInterrupt):
        train(plan_of(), callbacks=[watch, Press(2, times=2)])
    assert signal.getsignal(signal.SIGINT) is handler
    assert watch.told[-2:] == [(2, 1), "end"]


@pytest.mark.parametrize("when", ["on_epoch_end", "on_begin"])
def test_ctrl_c_between_the_epochs_is_not_lost(handler, when):
    """Also in the last epoch, after all steps: the caller is told that the user wants to stop."""

    class Between(Callback):
        def on_begin(self, run):
            if when == "on_begin":
                os.kill(os.getpid(), signal.SIGINT)

        def on_epoch_end(self, run, record):
            if when == "on_epoch_end" and run.epoch == 3:
                os.kill(os.getpid(), signal.SIGINT)

    _, run = train(plan_of(epochs=3), callbacks=[Between()])
    assert run.stopped == "interrupted"


def test_the_handler_is_put_back_after_an_error(handler):
    class Fails(Callback):
        def on_steps(self, run, done, losses):
            raise OSError("disk full")

    watch = Watch()
    with pytest.raises(OSError, match="disk full"):
        train(plan_of(), callbacks=[watch, Fails()])
    assert signal.getsignal(signal.SIGINT) is handler
    assert watch.told[-1] == "end"


def test_outside_the_main_thread_ctrl_c_is_left_alone(handler):
    press, caught = Press(99), []

    def work():
        caught.append(train(plan_of(), callbacks=[press]))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert press.handler is handler
    assert caught[0][1].stopped == ""
    np.testing.assert_array_equal(caught[0][0], train(plan_of())[0])
