"""Runs that diverge: where it is told, and what is left."""

import dataclasses
import warnings

import numpy as np
import pytest
from textbook import BATCH_SIZE, FACTOR, SHIFT, STEPS, Watch, plan_of, rows_of, train

from mlpgpu.data.batches import batches
from mlpgpu.maths.parameters import split
from mlpgpu.training.run import Best, Diverged

pytestmark = pytest.mark.usefixtures("not_compiled")


@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")
def test_a_run_that_diverges_at_once_is_left_with_the_start_it_had_to_beat(real_backend):
    plan = plan_of("squared_error", batch_size="full", learning_rate=1e308, activation="relu")
    params, run = train(plan, real_backend, validation=rows_of("squared_error", 20, 1), best=Best(than=1e9))
    assert (run.stopped, run.best_epoch, run.restored, run.history) == ("diverged", 0, True, [])
    np.testing.assert_array_equal(params, plan.params)


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
