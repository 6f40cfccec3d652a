"""The best weights of a run, and whether it ends with them."""

import dataclasses
import math

import numpy as np
import pytest
from sklearn import metrics
from textbook import FACTOR, NUMPY, SHIFT, Watch, logits, overfitting, train, validation_loss

from mlpgpu.callbacks import EarlyStopping
from mlpgpu.training.feed import Scaled
from mlpgpu.training.run import Best
from mlpgpu.training.trainer import fit

pytestmark = pytest.mark.usefixtures("not_compiled")


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


def test_a_run_that_never_brings_back_its_best_weights(real_backend):
    """However it ends; `best_epoch` is known all the same."""
    plan, rows, validation = overfitting()
    best = Best(restore="never")
    params, run = train(plan, real_backend, rows, validation, [EarlyStopping(patience=4)], best=best)
    assert (run.stopped, run.restored, run.epoch) == ("early stopping", False, run.best_epoch + 4)
    np.testing.assert_array_equal(params, train(overfitting(epochs=run.epoch)[0], real_backend, rows)[0])


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


def test_early_stopping_without_validation_rows_does_not_stop():
    plan, rows, _ = overfitting(epochs=5)
    _, run = train(plan, NUMPY, rows, None, [EarlyStopping(patience=2)])
    assert (run.epoch, run.stopped) == (5, "")
