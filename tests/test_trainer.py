import dataclasses
import math
import os
import signal
import threading
import warnings

import numpy as np
import pytest
from scipy import special
from sklearn import metrics
from sklearn.neural_network import MLPClassifier, MLPRegressor
from strict import StrictBackend

from mlpgpu import backends, trainer
from mlpgpu.callbacks import Callback, EarlyStopping
from mlpgpu.config import Config
from mlpgpu.data.batches import order
from mlpgpu.dropout import Dropout
from mlpgpu.feed import Rows
from mlpgpu.maths.parameters import split
from mlpgpu.plan import make_plan
from mlpgpu.trainer import Diverged, fit

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


def train(plan, backend=NUMPY, train=None, validation=None, callbacks=()):
    train = rows_of(plan.loss) if train is None else train
    return fit(backend, plan, train, validation, SHIFT, FACTOR, callbacks)


def logits(plan, params, x):
    y = (x - SHIFT) * FACTOR
    layers = split(np, params, plan.network.sizes)
    for w, b in layers[:-1]:
        y = np.tanh(y @ w + b)
    return y @ layers[-1][0] + layers[-1][1]


def by_hand(plan, rows, rates, masks=None):
    """Gradient descent as in a textbook: one step after the other, one layer after the other, gathered rows only."""
    weights = np.ones(len(rows)) if rows.weights is None else rows.weights
    layers = [[w.copy(), b.copy()] for w, b in split(np, plan.params, plan.network.sizes)]
    losses = []
    for t, rate in enumerate(rates):
        numbers, present = order(
            len(rows), plan.batch_size, shuffle=plan.shuffle, seed=plan.seed, epoch=t // plan.steps_per_epoch + 1
        )
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
                # The unit before dropout, 0 where it was dropped: there the mask is 0 as well.
                unit = np.divide(inputs[i], mask[i], where=np.broadcast_to(mask[i] != 0, inputs[i].shape), out=None)
                dz = (dz @ w.T) * mask[i] * (1 - np.where(mask[i] != 0, unit, 0) ** 2)
            layers[i] = [w - rate * dw, b - rate * db]
    return np.concatenate([*(w.ravel() for w, _ in layers), *(b for _, b in layers)]), np.array(losses)


def one_cycle(rate, total):
    """PyTorch's OneCycleLR with its defaults."""
    peak = 0.3 * total - 1

    def between(start, end, part):
        return end + (start - end) / 2 * (1 + math.cos(math.pi * part))

    return [
        between(rate / 25, rate, t / peak) if t <= peak else between(rate, rate / 25e4, (t - peak) / (total - 1 - peak))
        for t in range(total)
    ]


class Watch(Callback):
    """Keeps what it was told."""

    def __init__(self):
        self.told = []

    def on_begin(self, run):
        self.run = run
        self.told.append("begin")

    def on_steps(self, run, done):
        self.told.append((run.epoch, done))

    def on_epoch_end(self, run, record):
        assert record is run.history[-1]
        self.told.append(f"epoch {run.epoch}")

    def on_end(self, run):
        self.told.append("end")


# --- the numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", TASKS)
def test_trains_as_a_textbook_loop_does(backend, loss):
    """With dropout, row weights, a padded last batch, shuffling and one-cycle."""
    plan = plan_of(loss, epochs=4, dropout=0.3, input_dropout=0.1, schedule="one_cycle", learning_rate=0.3)
    assert plan.steps_per_epoch == STEPS
    rows = rows_of(loss)
    dropout = Dropout(NUMPY, np.dtype(float), BATCH_SIZE, (5, 7, 6), (0.1, 0.3, 0.3), plan.seed)
    rates = one_cycle(0.3, 4 * STEPS)
    expected, losses = by_hand(plan, rows, rates, lambda t: dropout(np.asarray(t, np.int32)))
    params, run = train(plan, backend, rows)
    np.testing.assert_allclose(np.concatenate(run.losses), losses, rtol=1e-10)
    np.testing.assert_allclose(params, expected, rtol=1e-9, atol=1e-12)
    assert [len(part) for part in run.losses] == [STEPS] * 4
    np.testing.assert_allclose([record["learning_rate"] for record in run.history], rates[STEPS - 1 :: STEPS])


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
    """All that a step can do, against NumPy."""
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
    """Loss of each epoch, by scikit-learn from our start: two calls of partial_fit, the first for its shapes only."""
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
    np.testing.assert_allclose([record["train_loss"] for record in run.history], expected, rtol=1e-10)


def descent(task, n_outputs, **given):
    """Plain gradient descent with one hidden layer, the loss that of the task."""
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
    np.testing.assert_allclose([record["train_loss"] for record in run.history], expected, rtol=1e-10)


def test_trains_two_classes_as_scikit_learn_does():
    plan = descent("classification", 2, activation="tanh", learning_rate=0.2)
    assert (plan.loss, plan.network.sizes) == ("logistic", (5, 6, 1))
    rows = rows_of("cross_entropy", weighted=False)
    rows = Rows(rows.x, rows.targets % 2)
    _, run = train(plan, train=rows)
    expected = scikit_learns(MLPClassifier, plan, rows, 8, activation="tanh")
    np.testing.assert_allclose([record["train_loss"] for record in run.history], expected, rtol=1e-10)


def test_a_seed_is_a_run(real_backend):
    dtype = "float32"
    settings = {"dropout": 0.3, "input_dropout": 0.1, "optimizer": "adam", "schedule": "one_cycle", "dtype": dtype}
    validation = rows_of("cross_entropy", 21, seed=5)
    (first, run), (again, rerun) = (train(plan_of(**settings), real_backend, validation=validation) for _ in range(2))
    assert first.dtype == dtype
    assert first.tobytes() == again.tobytes()
    assert np.concatenate(run.losses).tobytes() == np.concatenate(rerun.losses).tobytes()
    for one, other in zip(run.history, rerun.history, strict=True):
        assert {k: v for k, v in one.items() if k not in {"seconds", "samples_per_second"}} == {
            k: v for k, v in other.items() if k not in {"seconds", "samples_per_second"}
        }


def test_another_seed_is_another_run():
    """It changes the start, the order and the masks, each of them alone."""
    plan = plan_of(dropout=0.3, input_dropout=0.1)
    first, _ = train(plan)
    assert (train(plan_of(dropout=0.3, input_dropout=0.1, seed=1))[0] != first).all()
    assert (train(dataclasses.replace(plan, seed=1))[0] != first).any()
    undropped = plan_of(shuffle=False)
    np.testing.assert_array_equal(train(dataclasses.replace(undropped, seed=1))[0], train(undropped)[0])
    masked = plan_of(shuffle=False, dropout=0.3)
    assert (train(dataclasses.replace(masked, seed=1))[0] != train(masked)[0]).any()


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
    args = (plan_of(), Rows(x, rows.targets), None, np.array(0.0), np.array(1 / 255))
    as_floats = (plan_of(), Rows(x / 255, rows.targets), None, np.array(0.0), np.array(1.0))
    np.testing.assert_allclose(fit(backend, *args)[0], fit(NUMPY, *as_floats)[0], rtol=1e-10, atol=1e-13)


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
            "train_loss",
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
    assert last["train_loss"] == pytest.approx(run.losses[-1] @ [16, 16, 16, 2] / 50, rel=1e-14)
    assert last["learning_rate"] == 0.1
    assert last["seconds"] > 0
    assert last["samples_per_second"] * last["seconds"] == pytest.approx(50)
    assert all(type(value) in {int, float} for value in last.values())
    assert (run.n_rows, run.epoch, run.stopped, run.restored) == (50, 2, "", False)


def test_a_record_of_values():
    plan, rows, validation = plan_of("squared_error"), rows_of("squared_error", weighted=False), None
    params, run = train(plan, train=rows, validation=validation)
    assert list(run.history[-1]) == [
        "epoch", "train_loss", "train_r2", "learning_rate", "seconds", "samples_per_second",
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


def test_many_rows_are_scored_in_part(monkeypatch):
    """Every fifth of 50 rows, for at most 12; not the first ones, which may be of one class."""
    monkeypatch.setattr(trainer, "SCORED_ROWS", 12)
    plan, rows = plan_of(), rows_of("cross_entropy")
    params, run = train(plan, train=rows)
    guess = logits(plan, params, rows.x[::5]).argmax(1)
    expected = metrics.accuracy_score(rows.targets[::5], guess, sample_weight=rows.weights[::5])
    assert run.history[-1]["train_accuracy"] == pytest.approx(expected, rel=1e-12)


def test_callbacks_are_told_in_order(real_backend):
    watch = Watch()
    train(plan_of(epochs=2), real_backend, callbacks=[watch])
    calls = range(real_backend.steps_per_call, STEPS + real_backend.steps_per_call, real_backend.steps_per_call)
    steps = [min(done, STEPS) for done in calls]
    assert watch.told == [
        "begin",
        *((1, done) for done in steps),
        "epoch 1",
        *((2, done) for done in steps),
        "epoch 2",
        "end",
    ]


# --- ends before the last epoch -------------------------------------------------------------------------------------


def validation_loss(plan, params, validation):
    p = special.softmax(logits(plan, params, validation.x), axis=1)
    return metrics.log_loss(validation.targets, p, sample_weight=validation.weights)


def overfitting(**given):
    """Labels so noisy that what is learnt is soon wrong elsewhere."""
    whole = rows_of("cross_entropy", N_ROWS + 40, weighted=False)
    rows, validation = (Rows(whole.x[part], whole.targets[part]) for part in (slice(N_ROWS), slice(N_ROWS, None)))
    return plan_of(**({"epochs": 60, "optimizer": "adam", "learning_rate": 0.02} | given)), rows, validation


def test_early_stopping(real_backend):
    patience = 4
    plan, rows, validation = overfitting()
    watch = Watch()
    params, run = train(plan, real_backend, rows, validation, [EarlyStopping(patience), watch])
    losses = [record["validation_loss"] for record in run.history]
    best = 1 + int(np.argmin(losses))
    assert 1 < best < 40
    assert (run.best_epoch, run.epoch, len(run.history)) == (best, best + patience, best + patience)
    assert all(later >= losses[best - 1] for later in losses[best:])
    assert (run.stopped, run.restored) == ("early stopping", True)
    assert validation_loss(plan, params, validation) == pytest.approx(min(losses), rel=1e-12)
    # They are the weights that the best epoch ended with.
    expected, _ = train(overfitting(epochs=best)[0], real_backend, rows, validation)
    np.testing.assert_array_equal(params, expected)
    assert watch.told[-2:] == [f"epoch {best + patience}", "end"]


def test_a_run_that_is_not_stopped_ends_with_its_last_weights():
    plan, rows, validation = overfitting(epochs=20)
    params, run = train(plan, NUMPY, rows, validation, [EarlyStopping(50)])
    assert (run.epoch, run.stopped, run.restored) == (20, "", False)
    assert run.best_epoch < 20
    assert validation_loss(plan, params, validation) == pytest.approx(run.history[-1]["validation_loss"], rel=1e-12)


def test_a_loss_that_stays_as_it_is_has_not_fallen():
    plan, rows, validation = overfitting(optimizer="sgd", learning_rate=1e-300)
    _, run = train(plan, NUMPY, rows, validation, [EarlyStopping(3)])
    assert (run.best_epoch, run.epoch) == (1, 4)


def test_early_stopping_without_validation_rows_does_not_stop():
    plan, rows, _ = overfitting(epochs=5)
    _, run = train(plan, NUMPY, rows, None, [EarlyStopping(2)])
    assert (run.epoch, run.stopped) == (5, "")


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
    # What came before stands.
    assert watch.told[-1] == "end"
    assert f"epoch {epoch}" not in watch.told
    assert [record["epoch"] for record in watch.run.history] == list(range(1, epoch))
    np.testing.assert_allclose(np.concatenate(watch.run.losses)[:first], losses[:first], rtol=1e-8)


def relu_descent(plan, rows):
    """Losses of plain descent with relu, for as long as there are numbers."""
    layers, losses = split(np, plan.params, plan.network.sizes), []
    with np.errstate(all="ignore"):
        for t in range(plan.epochs * STEPS):
            numbers, present = order(len(rows), BATCH_SIZE, seed=plan.seed, epoch=t // STEPS + 1)
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


def test_divergence_comes_without_warnings():
    """A user who reads the one line of the error need not read NumPy's warnings before it."""
    plan = plan_of("squared_error", activation="relu", learning_rate=1e3, epochs=40)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(Diverged):
            train(plan)
    assert [str(warning.message) for warning in caught] == []


@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")
@pytest.mark.parametrize("validated", [False, True])
def test_a_last_step_that_diverges_is_told_as_well(validated):
    """The loss of a step is that before its update; nobody is handed weights that are not numbers."""
    plan = plan_of(
        "squared_error", epochs=1, batch_size="full", optimizer="sgd", learning_rate=1e308, activation="relu"
    )
    validation = rows_of("squared_error", 20, 1) if validated else None
    with pytest.raises(Diverged):
        train(plan, validation=validation)


class Press(Callback):
    """Presses Ctrl-C in an epoch, at the first call after some steps of it."""

    def __init__(self, epoch, times=1):
        self.epoch, self.times, self.done = epoch, times, None

    def on_steps(self, run, done):
        self.handler = signal.getsignal(signal.SIGINT)
        if run.epoch == self.epoch and self.done is None:
            self.done = done
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def handler():
    """What handles Ctrl-C outside of a run; put back whatever happens."""
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


def test_ctrl_c_without_validation_rows_leaves_the_weights_of_the_last_step(handler):
    plan = plan_of(epochs=5)
    params, run = train(plan, callbacks=[Press(2)])
    assert (run.stopped, run.restored, run.best_epoch) == ("interrupted", False, 0)
    expected, losses = by_hand(plan, rows_of("cross_entropy"), [0.1] * (STEPS + 1))
    np.testing.assert_allclose(params, expected, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(np.concatenate(run.losses), losses, rtol=1e-10)
    assert run.history[-1]["train_loss"] == pytest.approx(losses[-1])


def test_a_second_ctrl_c_is_at_once(handler):
    watch = Watch()
    with pytest.raises(KeyboardInterrupt):
        train(plan_of(), callbacks=[watch, Press(2, times=2)])
    assert signal.getsignal(signal.SIGINT) is handler
    assert watch.told[-2:] == [(2, 1), "end"]


@pytest.mark.parametrize("when", ["on_epoch_end", "on_begin"])
def test_ctrl_c_between_the_epochs_is_not_lost(handler, when):
    """Also in the last epoch, whose steps are done: the caller is told that the user wants to leave."""

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
        def on_steps(self, run, done):
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
