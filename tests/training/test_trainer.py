"""What the trainer learns: the weights and losses of a textbook loop, on every backend and however rows come."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.sparse
from sklearn.neural_network import MLPClassifier, MLPRegressor
from strict import StrictBackend
from textbook import (
    BATCH_SIZE,
    FACTOR,
    N_ROWS,
    NUMPY,
    SHIFT,
    STEPS,
    TASKS,
    Watch,
    by_hand,
    plan_of,
    rows_of,
    train,
    without_times,
)

from mlpgpu.maths.parameters import split
from mlpgpu.settings.config import Config
from mlpgpu.training.dropout import Dropout
from mlpgpu.training.feed import Rows, Scaled, Unscaled
from mlpgpu.training.plan import make_plan
from mlpgpu.training.trainer import fit

pytestmark = pytest.mark.usefixtures("not_compiled")


def one_cycle(rate, total):
    """Return the learning rates of PyTorch's OneCycleLR with its defaults."""
    peak = 0.3 * total - 1

    def between(start, end, part):
        return end + (start - end) / 2 * (1 + math.cos(math.pi * part))

    return [
        between(rate / 25, rate, t / peak) if t <= peak else between(rate, rate / 25e4, (t - peak) / (total - 1 - peak))
        for t in range(total)
    ]


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
