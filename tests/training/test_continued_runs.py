"""Runs that start from the state of another, or with an order of rows of their own."""

import dataclasses

import numpy as np
import pytest
from textbook import FACTOR, N_ROWS, SHIFT, STEPS, Call, by_hand, plan_of, rows_of, train

from mlpgpu.data.batches import order
from mlpgpu.training.feed import Scaled
from mlpgpu.training.trainer import fit

pytestmark = pytest.mark.usefixtures("not_compiled")


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
