import math
import pickle
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from played import play, record_of, run_of

from mlpgpu import Config, InputError, Model, callbacks, train_and_test
from mlpgpu.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    JSONLogger,
    LambdaCallback,
    LearningRateScheduler,
    MLflowLogger,
    ModelCheckpoint,
    ReduceLROnPlateau,
    RunCheckpoint,
    TensorBoard,
    TerminateOnNaN,
    TimeLimit,
    finalised,
)
from mlpgpu.trainer import Diverged

pytestmark = pytest.mark.usefixtures("step_by_step")

NAN = math.nan


def iris(*callbacks, **given):
    """Train a small network: 108 training rows, 11 steps per epoch."""
    defaults = {"dataset": "iris", "hidden": (8,), "epochs": 4, "batch_size": 10, "schedule": "constant"}
    return train_and_test(Config(**(defaults | given)), callbacks)


class Named(Callback):
    def __init__(self, name, told, fails=""):
        self.name, self.told, self.fails = name, told, fails

    def on_begin(self, run):
        self.tell("begin")

    def on_end(self, run):
        self.tell("end")

    def tell(self, what):
        self.told.append(f"{what} {self.name}")
        if self.fails == what:
            raise RuntimeError(f"{what} {self.name}")


def test_those_that_began_are_ended_last_first():
    told = []
    with finalised([Named(name, told) for name in "abc"], run_of()):
        told.append("run")
    assert told == ["begin a", "begin b", "begin c", "run", "end c", "end b", "end a"]


def test_they_are_ended_after_an_error():
    told = []
    with pytest.raises(KeyboardInterrupt), finalised([Named(name, told) for name in "ab"], run_of()):
        raise KeyboardInterrupt
    assert told == ["begin a", "begin b", "end b", "end a"]


def test_they_are_ended_where_another_does_not_begin():
    told = []
    with (
        pytest.raises(RuntimeError, match="begin b"),
        finalised([Named("a", told), Named("b", told, "begin")], run_of()),
    ):
        told.append("run")
    assert "run" not in told
    assert told[-1] == "end a"


def test_one_that_did_not_begin_is_not_ended():
    """Its `on_end` would need what `on_begin` did not set up."""
    told = []
    with (
        pytest.raises(RuntimeError, match="begin b"),
        finalised([Named("a", told), Named("b", told, "begin"), Named("c", told)], run_of()),
    ):
        pass
    assert told == ["begin a", "begin b", "end a"]


def test_they_are_ended_where_another_does_not_end():
    told = []
    with pytest.raises(RuntimeError, match="end b"), finalised([Named("a", told), Named("b", told, "end")], run_of()):
        pass
    assert told[-2:] == ["end b", "end a"]


def test_a_callback_does_nothing_of_itself():
    run = run_of()
    before = vars(run).copy()
    list(play(run, [], Callback()))
    assert vars(run) == before


def test_all_are_told_in_order():
    told = []
    hooks = {
        "on_begin": lambda run: told.append("begin"),
        "on_epoch_begin": lambda run: told.append(f"epoch {run.epoch}"),
        "on_steps": lambda run, done, losses: told.append(done),
        "on_epoch_end": lambda run, record: told.append(record),
        "on_end": lambda run: told.append("end"),
    }
    run = iris(LambdaCallback(**hooks), LambdaCallback(), epochs=2).run
    steps = list(range(1, 12))
    assert told == ["begin", "epoch 1", *steps, run.history[0], "epoch 2", *steps, run.history[1], "end"]


# --- monitored values -----------------------------------------------------------------------------------------------


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
    ([NAN, NAN, NAN, 1], 2, 2),
    ([NAN, 2, NAN, NAN], 2, 4),
    ([2, NAN, NAN, 1], 2, 3),
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
    ("loss", [NAN, NAN, NAN], {"patience": 2}, 2),
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


def test_a_run_without_validation_rows_has_nothing_to_stop_early_by():
    assert iris(EarlyStopping(patience=1), validation_fraction=0).run.stopped == ""


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
    ([5, NAN, NAN, 4], {"patience": 2}, [1, 1, 0.5, 0.5]),
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


def test_checkpoints_are_the_weights_of_their_epochs(tmp_path):
    kept = []
    keep = LambdaCallback(on_epoch_end=lambda run, record: kept.append((record, run.params.copy())))
    outcome = iris(ModelCheckpoint(tmp_path / "to" / "come" / "{epoch:03d}-{loss:.4f}.safetensors"), keep)
    assert len(kept) == 4
    assert {path.name for path in (tmp_path / "to" / "come").iterdir()} == {
        f"{record['epoch']:03d}-{record['loss']:.4f}.safetensors" for record, _ in kept
    }
    for path, (_, params) in zip(sorted((tmp_path / "to" / "come").iterdir()), kept, strict=True):
        np.testing.assert_array_equal(Model.load(path).params, params)
    assert not np.array_equal(kept[0][1], kept[1][1])
    model = Model.load(path)
    rows = np.array([[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]])
    np.testing.assert_array_equal(model.predict_proba(rows), outcome.model.predict_proba(rows))


def saved_in(values, path, key="validation_loss", **given):
    """Return the epochs after which a run with these values of `key` is saved."""
    saved = []
    run = run_of()
    run.model = lambda: SimpleNamespace(save=lambda path: saved.append(run.epoch))
    records = [record_of(epoch, **{key: value}) for epoch, value in enumerate(values, 1)]
    list(play(run, records, ModelCheckpoint(path, **given)))
    return saved


@pytest.mark.parametrize(("key", "values", "given", "epochs"), [
    ("validation_loss", [3, 4, 2, 2, 1, 5], {}, [1, 2, 3, 4, 5, 6]),
    ("validation_loss", [3, 4, 2, 2, 1, 5], {"save_every": 2}, [2, 4, 6]),
    ("validation_loss", [3, 4, 2, 2, 1, 5], {"save_best_only": True}, [1, 3, 5]),
    ("validation_loss", [3, 4, 2, 2, 1, 5], {"save_best_only": True, "mode": "max"}, [1, 2, 6]),
    # The epoch with 1 is not due, so 3 is compared with the saved 4.
    ("validation_loss", [1, 4, 2, 3, 1, 5], {"save_best_only": True, "save_every": 2}, [2, 4]),
    ("train_accuracy", [3, 4, 2, 2, 1, 5], {"save_best_only": True, "monitor": "train_accuracy"}, [1, 2, 6]),
    ("validation_loss", [NAN, 4, NAN, 3], {"save_best_only": True}, [2, 4]),
])  # fmt: skip
def test_checkpoints_are_written_when_they_are_due(tmp_path, key, values, given, epochs):
    assert saved_in(values, tmp_path / "model.safetensors", key, **given) == epochs


@pytest.mark.parametrize("name", ["{val_loss}", "{}", "{0}", "{loss", "{loss:x}", "{loss.real.more}", "{loss[0]}"])
def test_a_checkpoint_whose_name_cannot_be_filled_in(tmp_path, name):
    with pytest.raises(InputError, match=r"cannot be filled in .*; allowed: the fields epoch, loss, .* \{epoch:03d\}"):
        saved_in([1], tmp_path / name, save_every=10)
    assert list(tmp_path.iterdir()) == []


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


def test_a_checkpoint_of_every_epoch_needs_no_validation_rows(tmp_path):
    iris(ModelCheckpoint(tmp_path / "{epoch}"), validation_fraction=0)
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2", "3", "4"}


# --- learning rate --------------------------------------------------------------------------------------------------


def test_a_schedule_sets_the_rate_of_each_epoch():
    asked = []

    def schedule(epoch, rate):
        asked.append((epoch, rate))
        return 0.1 if epoch == 1 else rate / 2

    run = iris(LearningRateScheduler(schedule), learning_rate=0.3, optimizer="sgd").run
    assert [epoch for epoch, _ in asked] == [1, 2, 3, 4]
    assert [rate for _, rate in asked] == pytest.approx([0.3, 0.1, 0.05, 0.025])
    assert [record["learning_rate"] for record in run.history] == pytest.approx([0.1, 0.05, 0.025, 0.0125])


def test_a_schedule_acts_on_the_weights():
    """A rate too small to change any weight leaves the weights as they were."""
    kept = []
    keep = LambdaCallback(on_epoch_end=lambda run, record: kept.append(run.params.copy()))
    iris(LearningRateScheduler(lambda epoch, rate: rate if epoch < 3 else 1e-30), keep, optimizer="sgd")
    assert not np.array_equal(kept[0], kept[1])
    np.testing.assert_array_equal(kept[1], kept[2])


@pytest.mark.parametrize("rate", [None, "fast", 0, -0.1, NAN, math.inf, True, [0.1, 0.2]])
def test_a_schedule_must_return_a_rate(rate):
    with pytest.raises(InputError, match=r"schedule returns for epoch 1 is .*; allowed: a number above 0"):
        iris(LearningRateScheduler(lambda epoch, _: rate))


# --- stopping -------------------------------------------------------------------------------------------------------


class Steps(Callback):
    """Record the loss of every step, and why the run stopped."""

    def on_begin(self, run):
        self.losses, self.stopped = [], None

    def on_steps(self, run, done, losses):
        self.losses += [(run.epoch, done, loss) for loss in losses()]

    def on_end(self, run):
        self.stopped = run.stopped


FAR_TOO_FAST = {"optimizer": "sgd", "learning_rate": 1e30}


def test_a_loss_that_is_not_finite_ends_the_epoch():
    steps = Steps()
    with pytest.raises(Diverged) as caught:
        iris(TerminateOnNaN(), steps, **FAR_TOO_FAST)
    assert (caught.value.epoch, caught.value.step) == steps.losses[-1][:2]
    assert steps.losses[-1][1] < 11
    assert not math.isfinite(steps.losses[-1][2])
    assert all(math.isfinite(loss) for *_, loss in steps.losses[:-1])
    assert steps.stopped == "loss is not finite"
    with pytest.raises(Diverged):
        iris(steps, on_divergence="stop", **FAR_TOO_FAST)
    assert len(steps.losses) == 11


def test_a_run_that_diverges_later_has_its_best_weights_back():
    steps = Steps()
    schedule = LearningRateScheduler(lambda epoch, rate: 1e30 if epoch == 3 else rate)
    outcome = iris(TerminateOnNaN(), schedule, steps, optimizer="sgd")
    assert outcome.run.diverged.epoch == 3
    assert outcome.run.restored
    assert np.isfinite(outcome.model.params).all()
    assert 22 < len(steps.losses) < 33


@pytest.mark.parametrize("loss", [NAN, math.inf, -math.inf])
def test_any_of_the_last_losses_ends_it(loss):
    run = run_of()
    TerminateOnNaN().on_steps(run, 3, lambda: np.array([1.0, loss, 1.0]))
    assert run.stopped == "loss is not finite"


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


def advance(clock, seconds, *_):
    clock.now += seconds


def test_time_is_up_within_an_epoch(clock):
    second, steps, limit = LambdaCallback(on_steps=partial(advance, clock, 1)), Steps(), TimeLimit(15)
    for _ in range(2):
        run = iris(second, limit, steps).run
        assert run.stopped == "time limit"
        assert [where for *where, _ in steps.losses][-1] == [2, 4]
        assert [len(losses) for losses in run.losses] == [11, 4]
        assert len(run.history) == 2


def test_time_is_up_in_the_evaluation(clock):
    run = iris(LambdaCallback(on_epoch_end=partial(advance, clock, 6)), TimeLimit(11.5)).run
    assert (run.stopped, len(run.history)) == ("time limit", 2)
    assert [len(losses) for losses in run.losses] == [11, 11]


def test_time_is_not_up(clock):
    run = iris(LambdaCallback(on_steps=partial(advance, clock, 1)), TimeLimit(44.5)).run
    assert (run.stopped, len(run.history)) == ("", 4)


# --- all callbacks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "message"), [
    (lambda: EarlyStopping(patience=-1), "patience is -1; allowed: a whole number from 0 up"),
    (lambda: EarlyStopping(patience=1.5), "patience is 1.5; allowed: a whole number from 0 up"),
    (lambda: EarlyStopping("loss", mode="most"), "mode is 'most'; allowed: auto, min, max"),
    (lambda: EarlyStopping("loss", min_delta=-0.1), "min_delta is -0.1; allowed: a number from 0 up"),
    (lambda: EarlyStopping("loss", baseline=NAN), "baseline is nan; allowed: a number"),
    (lambda: EarlyStopping(start_from_epoch=-1), "start_from_epoch is -1; allowed: a whole number from 0 up"),
    *(
        (
            partial(EarlyStopping, **given),
            "mode is {mode!r}, min_delta is {min_delta} and baseline is {baseline} without a monitor to apply to; "
            "give a monitor, such as 'validation_loss', or leave them out".format(
                **{"mode": "auto", "min_delta": 0.0, "baseline": None} | given
            ),
        )
        for given in ({"mode": "min"}, {"min_delta": 0.5}, {"baseline": 1.0})
    ),
    (lambda: ModelCheckpoint("m", mode="less"), "mode is 'less'; allowed: auto, min, max"),
    (lambda: ModelCheckpoint("m", save_every=0), "save_every is 0; allowed: a whole number from 1 up"),
    (lambda: ModelCheckpoint("m", save_best_only="loss"), "save_best_only is 'loss'; allowed: true or false"),
    (lambda: ReduceLROnPlateau(factor=1), "factor is 1; allowed: a number above 0 to below 1"),
    (lambda: ReduceLROnPlateau(factor=0), "factor is 0; allowed: a number above 0 to below 1"),
    (lambda: ReduceLROnPlateau(patience=-1), "patience is -1; allowed: a whole number from 0 up"),
    (lambda: ReduceLROnPlateau(cooldown=-1), "cooldown is -1; allowed: a whole number from 0 up"),
    (lambda: ReduceLROnPlateau(mode=None), "mode is None; allowed: auto, min, max"),
    (lambda: ReduceLROnPlateau(min_learning_rate=-1), "min_learning_rate is -1; allowed: a number from 0 up"),
    (lambda: LearningRateScheduler(0.1), "schedule is 0.1; allowed: a function of the epoch and the learning rate"),
    (lambda: CSVLogger("h.csv", append="a"), "append is 'a'; allowed: true or false"),
    (lambda: JSONLogger("h.jsonl", append=1), "append is 1; allowed: true or false"),
    (lambda: TensorBoard("logs", histogram_freq=-1), "histogram_freq is -1; allowed: a whole number from 0 up"),
    (lambda: TensorBoard("logs", histogram_freq=None), "histogram_freq is None; allowed: a whole number from 0 up"),
    (lambda: TimeLimit(0), "seconds is 0; allowed: a number above 0"),
    (lambda: TimeLimit(NAN), "seconds is nan; allowed: a number above 0"),
    (lambda: TimeLimit(None), "seconds is None; allowed: a number above 0"),
    (lambda: LambdaCallback(on_end=1), "on_end is 1; allowed: a function that takes what Callback.on_end takes"),
])  # fmt: skip
def test_arguments_that_are_not_allowed(make, message):
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value) == message


def halved(epoch, rate):
    return rate / 2


def stop_in_second(run, record):
    if run.epoch == 2:
        run.stop("enough")


MAKE = {
    "Callback": lambda folder: Callback(),
    "EarlyStopping": lambda folder: EarlyStopping("learning_rate", patience=2, mode="max"),
    "ModelCheckpoint": lambda folder: ModelCheckpoint(folder / "best", save_best_only=True),
    "ReduceLROnPlateau": lambda folder: ReduceLROnPlateau("epoch", patience=2, cooldown=1),
    "LearningRateScheduler": lambda folder: LearningRateScheduler(halved),
    "RunCheckpoint": lambda folder: RunCheckpoint(folder, every=4),
    "CSVLogger": lambda folder: CSVLogger(folder / "history.csv"),
    "JSONLogger": lambda folder: JSONLogger(folder / "history.jsonl"),
    "TensorBoard": lambda folder: TensorBoard(folder, histogram_freq=2),
    "MLflowLogger": lambda folder: MLflowLogger(folder / "mlruns"),
    "TerminateOnNaN": lambda folder: TerminateOnNaN(),
    "TimeLimit": lambda folder: TimeLimit(1e9),
    "LambdaCallback": lambda folder: LambdaCallback(on_epoch_end=stop_in_second),
}


NEEDS = {"TensorBoard": "tensorboardX", "MLflowLogger": "mlflow"}


def test_every_callback_is_tested_here():
    # The progress bar is tested in test_progress.py.
    assert {*MAKE, "finalised", "ProgressBar"} == set(callbacks.__all__)


@pytest.mark.parametrize("name", MAKE)
# A copy by `copy.deepcopy` goes the same way as one by `pickle`.
@pytest.mark.parametrize("copied", [lambda one: one, lambda one: pickle.loads(pickle.dumps(one))], ids=["same", "copy"])
def test_one_that_was_used_starts_afresh(tmp_path, name, copied):
    """A used callback, or a copy of it, does in a second run what it did in the first."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"{NEEDS[name]} is not installed")
    callback = copied(MAKE[name](tmp_path))
    runs, files = [], []
    for _ in range(2):
        outcome = iris(callback, learning_rate=0.1, epochs=6)
        runs.append([outcome.run.stopped, [record["learning_rate"] for record in outcome.run.history]])
        np.testing.assert_array_equal(
            outcome.model.params, iris(MAKE[name](tmp_path), learning_rate=0.1, epochs=6).model.params
        )
        # Some names contain the time.
        files.append(sorted(re.sub(r"\d{6,}", "N", path.name) for path in tmp_path.iterdir()))
        for path in filter(Path.is_file, tmp_path.iterdir()):
            path.unlink()
        callback = copied(callback)
    assert runs[0] == runs[1]
    assert files[0] == files[1]
