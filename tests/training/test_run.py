"""A run as its callbacks see it, and what they change in it."""

import dataclasses

import numpy as np
import pytest
from textbook import STEPS, Call, Watch, by_hand, plan_of, rows_of, train, validation_loss

from mlpgpu.callbacks import Callback
from mlpgpu.data.batches import batches
from mlpgpu.training.run import Best

pytestmark = pytest.mark.usefixtures("not_compiled")


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
