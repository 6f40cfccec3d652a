"""Callbacks that monitor a value: early stopping, and a learning rate lowered on a plateau."""

import math

import numpy as np
import pytest
from irises import four_epochs as iris
from played import play, record_of, run_of

from mlpgpu import InputError
from mlpgpu.callbacks import EarlyStopping, LambdaCallback, ModelCheckpoint, ReduceLROnPlateau

pytestmark = pytest.mark.usefixtures("step_by_step")


def stops_in(values, callback, monitor="validation_loss"):
    """Return the epoch in which `callback` stops a run with these values, or None."""
    run = run_of()
    list(play(run, [record_of(epoch, **{monitor: value}) for epoch, value in enumerate(values, 1)], callback))
    assert run.stopped in {"", "early stopping"}
    return run.epoch if run.stopped else None


@pytest.mark.parametrize(("values", "patience", "stops"), [
    ([5, 4, 3, 4, 5, 6], 2, 5),
    ([5, 4, 3, 4, 5, 6], 1, 4),
    ([5, 4, 3, 4, 5, 6], 0, 4),
    ([5, 4, 3, 3, 3, 2], 2, 5),
    ([5, 6, 4, 6, 6, 6], 3, 6),
    ([6, 5, 4, 3, 2, 1], 1, None),
    ([math.nan, math.nan, math.nan, 1], 2, 2),
    ([math.nan, 2, math.nan, math.nan], 2, 4),
    ([2, math.nan, math.nan, 1], 2, 3),
])  # fmt: skip
def test_early_stopping_waits_for_patience(values, patience, stops):
    assert stops_in(values, EarlyStopping("validation_loss", patience=patience)) == stops

    def set_best(run, record):
        """Set the best epoch as the trainer does: 0 before the first value that is a number."""
        seen = [math.inf if math.isnan(value) else value for value in values[: run.epoch]]
        run.best_epoch = 0 if min(seen) == math.inf else 1 + seen.index(min(seen))

    run = run_of()
    run.monitor = "validation_loss"
    records = [record_of(epoch) for epoch in range(1, len(values) + 1)]
    list(play(run, records, LambdaCallback(on_epoch_end=set_best), EarlyStopping(patience=patience)))
    assert (run.epoch if run.stopped else None) == stops


@pytest.mark.parametrize(("monitor", "values", "given", "stops"), [
    # An improvement of the best value by less than min_delta does not count.
    ("validation_loss", [5, 4.6, 4.3, 4.2, 4.1], {"patience": 2, "min_delta": 0.5}, 5),
    ("validation_loss", [5, 4.6, 4.3, 3.7, 3.6], {"patience": 2, "min_delta": 0.5}, None),
    ("validation_accuracy", [0.5, 0.6, 0.55, 0.6, 0.7], {"patience": 2}, 4),
    ("validation_r2", [-1, 0, 0.5, 0.5], {"patience": 1}, 4),
    ("validation_score", [1, 2, 3, 2], {"patience": 1}, 4),
    ("validation_score", [1, 2, 3, 3.3, 3.6], {"patience": 1, "min_delta": 0.5}, 4),
    ("loss", [1, 2, 3, 2, 1], {"patience": 2, "mode": "max"}, 5),
    ("validation_accuracy", [3, 2, 1, 1, 1], {"patience": 2, "mode": "min"}, 5),
    # The baseline must be reached within `patience` epochs; from then on it has no effect.
    ("validation_accuracy", [0.5, 0.6, 0.7, 0.9], {"patience": 2, "baseline": 0.8}, 2),
    ("validation_accuracy", [0.5, 0.9, 0.85, 0.95, 0.9, 0.9], {"patience": 2, "baseline": 0.8}, 6),
    ("loss", [5, 1, 2], {"patience": 2, "baseline": 3}, None),
    # Values before start_from_epoch do not count as the best.
    ("loss", [1, 2, 3, 9, 8, 9, 9, 9], {"patience": 2, "start_from_epoch": 3}, 7),
    ("loss", [math.nan, math.nan, math.nan], {"patience": 2}, 2),
])  # fmt: skip
def test_early_stopping_by_a_monitor(monitor, values, given, stops):
    assert stops_in(values, EarlyStopping(monitor, **given), monitor) == stops


def test_early_stopping_waits_anew_in_each_run():
    stopping = EarlyStopping("loss", patience=2, baseline=3)
    assert stops_in([2, 1, 1, 0.5], stopping, "loss") is None
    assert stops_in([9, 8, 7, 6, 5, 4], stopping, "loss") == 2


def test_early_stopping_by_the_runs_own_choice_may_start_later():
    run = run_of()
    run.monitor, run.best_epoch = "validation_loss", 1
    list(play(run, [record_of(epoch) for epoch in range(1, 9)], EarlyStopping(patience=2, start_from_epoch=3)))
    assert run.epoch == 5


def test_early_stopping_brings_back_the_best_weights():
    by_default, by_name = EarlyStopping(patience=3), EarlyStopping("validation_loss", patience=3)
    one, two = (iris(stopping, epochs=200, learning_rate=0.1) for stopping in (by_default, by_name))
    for run in (one.run, two.run):
        losses = [record["validation_loss"] for record in run.history]
        assert run.stopped == "early stopping"
        assert run.restored
        assert run.best_epoch == 1 + losses.index(min(losses)) == len(losses) - 3
    np.testing.assert_array_equal(one.model.params, two.model.params)


def rates_of(values, callback, monitor="validation_loss", start=1.0):
    """Return the learning rate after each epoch of a run with these values."""
    run = run_of(learning_rate=start)
    records = [record_of(epoch, **{monitor: value}) for epoch, value in enumerate(values, 1)]
    return [run.learning_rate for _ in play(run, records, callback)]


@pytest.mark.parametrize(("values", "given", "rates"), [
    ([5, 5, 5, 5, 5], {"patience": 2}, [1, 1, 0.5, 0.5, 0.25]),
    ([5, 5, 4, 4, 4], {"patience": 2}, [1, 1, 1, 1, 0.5]),
    ([5, 5, 5], {"patience": 1}, [1, 0.5, 0.25]),
    ([5, 5, 5], {"patience": 0}, [1, 0.5, 0.25]),
    # Bad epochs of the cooldown do not count. A better value does not end it, but later values must improve on it.
    ([5, 5, 5, 5, 5, 5, 5], {"patience": 1, "cooldown": 2}, [1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]),
    ([5, 5, 5, 5, 5, 5, 5], {"patience": 0, "cooldown": 2}, [1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]),
    ([5, 5, 4, 4, 4], {"patience": 1, "cooldown": 2}, [1, 0.5, 0.5, 0.5, 0.25]),
    ([5, 5, 3, 3, 4, 2, 2], {"patience": 2, "cooldown": 1}, [1, 1, 1, 1, 0.5, 0.5, 0.5]),
    ([5, 5, 5, 5], {"patience": 1, "min_learning_rate": 0.3}, [1, 0.5, 0.3, 0.3]),
    ([5, 5, 5, 5], {"patience": 1, "min_learning_rate": 2}, [1, 1, 1, 1]),
    ([5, 5, 5], {"patience": 1, "factor": 0.1}, [1, 0.1, 0.01]),
    ([5, 4.99995, 4.999], {"patience": 1}, [1, 0.5, 0.5]),
    ([5, 4.99995, 4.9999], {"patience": 1, "min_delta": 0}, [1, 1, 1]),
    ([5, math.nan, math.nan, 4], {"patience": 2}, [1, 1, 0.5, 0.5]),
])  # fmt: skip
def test_the_learning_rate_is_lowered_on_a_plateau(values, given, rates):
    assert rates_of(values, ReduceLROnPlateau(**({"factor": 0.5} | given))) == pytest.approx(rates, rel=1e-15)
    # Higher scores are better.
    flipped = [1 - value for value in values]
    callback = ReduceLROnPlateau("validation_accuracy", **({"factor": 0.5} | given))
    assert rates_of(flipped, callback, "validation_accuracy") == pytest.approx(rates, rel=1e-15)


@pytest.mark.parametrize("seed", range(20))
def test_a_plateau_is_that_of_pytorch(seed):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    values = rng.normal(size=60).cumsum() + 0.1 * np.arange(60)
    mode, patience, cooldown = rng.choice(["min", "max"]), int(rng.integers(1, 5)), int(rng.integers(0, 4))
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    # PyTorch's patience is the number of bad epochs that have no effect, so it is one lower.
    judge = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode, 0.5, patience - 1, 0.3, "abs", cooldown, min_lr=0.01, eps=0
    )
    expected = []
    for value in values:
        judge.step(value)
        expected.append(optimizer.param_groups[0]["lr"])
    callback = ReduceLROnPlateau(
        factor=0.5, patience=patience, mode=mode, min_delta=0.3, cooldown=cooldown, min_learning_rate=0.01
    )
    assert rates_of(values, callback) == expected
    assert len(set(expected)) > 3


def test_a_plateau_lowers_the_rate_of_the_steps():
    run = iris(ReduceLROnPlateau("epoch", factor=0.5, patience=2), learning_rate=0.1, epochs=6).run
    assert [record["learning_rate"] for record in run.history] == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.05, 0.025])


@pytest.mark.parametrize(
    "callback",
    [
        EarlyStopping("validation_loss", start_from_epoch=3),
        ModelCheckpoint("never.safetensors", save_best_only=True, save_every=3),
        ReduceLROnPlateau(),
    ],
    ids=lambda callback: type(callback).__name__,
)
def test_what_is_monitored_must_be_there(callback):
    epochs = []
    with pytest.raises(InputError) as caught:
        iris(LambdaCallback(on_epoch_begin=lambda run: epochs.append(run.epoch)), callback, validation_fraction=0)
    assert str(caught.value) == (
        f"{type(callback).__name__} monitors 'validation_loss', and this run has epoch, loss, train_accuracy, "
        "learning_rate, seconds, samples_per_second, rollbacks; "
        "name one of these, or give the run validation rows to be measured on"
    )
    assert epochs == [1]
