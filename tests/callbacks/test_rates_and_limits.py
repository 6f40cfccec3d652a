"""A schedule of the user's own, and limits on losses and time."""

import math
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from irises import four_epochs as iris
from played import run_of

from mlpgpu import InputError, callbacks
from mlpgpu.callbacks import (
    Callback,
    LambdaCallback,
    LearningRateScheduler,
    TerminateOnNaN,
    TimeLimit,
)
from mlpgpu.training.run import Diverged

pytestmark = pytest.mark.usefixtures("step_by_step")


def test_a_schedule_sets_the_rate_of_each_epoch():
    asked = []

    def schedule(epoch, rate):
        asked.append((epoch, rate))
        return 0.1 if epoch == 1 else rate / 2

    run = iris(LearningRateScheduler(schedule), learning_rate=0.3, optimizer="sgd").run
    assert [epoch for epoch, _ in asked] == [1, 2, 3, 4]
    assert [rate for _, rate in asked] == pytest.approx([0.3, 0.1, 0.05, 0.025])
    assert [record["learning_rate"] for record in run.history] == pytest.approx([0.1, 0.05, 0.025, 0.0125])


@pytest.mark.parametrize("rate", [None, "fast", 0, -0.1, math.nan, math.inf, True, [0.1, 0.2]])
def test_a_schedule_must_return_a_rate(rate):
    with pytest.raises(InputError, match=r"schedule returns for epoch 1 is .*; allowed: a number above 0"):
        iris(LearningRateScheduler(lambda epoch, _: rate))


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


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
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
