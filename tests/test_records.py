"""The record of each epoch: the figures that a run watches."""

import math

import numpy as np
import pytest
from scipy import special
from sklearn import metrics
from textbook import FACTOR, NUMPY, SHIFT, logits, plan_of, rows_of, train

from mlpgpu.training.feed import Scaled
from mlpgpu.training.trainer import fit

pytestmark = pytest.mark.usefixtures("not_compiled")


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
