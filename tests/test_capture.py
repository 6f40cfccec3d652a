"""Compiled steps against eager ones, on each backend."""

import dataclasses
import json

import numpy as np
import pytest
from textbook import FACTOR, SHIFT, plan_of, rows_of

from mlpgpu import Config, train
from mlpgpu.backends.base import VARIABLE
from mlpgpu.backends.numpy import NumpyBackend
from mlpgpu.settings.resumed import UNBOUND
from mlpgpu.training.epoch import Training
from mlpgpu.training.feed import Scaled

SETTINGS = {
    "plain": {},
    "all at once": {
        "dropout": 0.3,
        "input_dropout": 0.2,
        "optimizer": "adamw",
        "clip_norm": 0.5,
        "schedule": "one_cycle",
        "l2": 0.01,
        "epochs": 12,
    },
}


def training_of(backend, plan, capture):
    plan = dataclasses.replace(plan, capture=capture)
    return Training(backend, plan, rows_of(plan.loss), Scaled(backend, SHIFT, FACTOR, plan.dtype))


def train_all(training):
    """Train, and return the final state and the losses of all epochs, on the host."""
    losses = np.concatenate([training.epoch(number)[0] for number in range(1, training.plan.epochs + 1)])
    state = training.state
    return [*map(training.backend.to_host, (state.params, *state.slots, state.step)), losses]


@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize(("loss", "case"), [("squared_error", "plain"), ("cross_entropy", "all at once")])
def test_both_ways_give_the_same_weights(backend, case, loss):
    """Up to rounding, or to the bit where the backend runs eager steps in any case."""
    plan = plan_of(loss, **SETTINGS[case])
    fast, training = training_of(backend, plan, True), training_of(backend, plan, False)
    expected = train_all(training)
    for one, other in zip(train_all(fast), expected, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        if backend.name in {"numpy", "jax"} or backend.device.startswith("cuda"):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-11 * np.abs(other).max(initial=1e-300))
        else:
            np.testing.assert_array_equal(one, other)
    assert int(expected[-2]) == plan.epochs * plan.steps_per_epoch
    assert training.arithmetic() == f"{backend.arithmetic()}, line by line"


class Loops(Exception):
    """Raised in place of compiling a loop."""


@pytest.mark.parametrize(
    ("capture", "variable", "eager"),
    [(True, None, False), (False, None, True), (True, "eager", True), (False, "numpy", True), (True, "auto", False)],
)
def test_one_rule_for_all_backends(backend, monkeypatch, capture, variable, eager):
    def compile_loop(step, n_steps=None):
        raise Loops

    monkeypatch.setattr(backend, "compile_loop", compile_loop)
    monkeypatch.delenv(VARIABLE, raising=False)
    if variable:
        monkeypatch.setenv(VARIABLE, variable)
    if eager:
        assert train_all(training_of(backend, plan_of(epochs=1), capture))
    else:
        with pytest.raises(Loops):
            training_of(backend, plan_of(epochs=1), capture)


def test_numpy_line_by_line_warns_of_nothing():
    """The trainer itself reports a loss that is not finite."""
    plan = plan_of("squared_error", learning_rate=1e8, epochs=20, activation="identity")
    *_, losses = train_all(training_of(NumpyBackend(), plan, False))
    assert not np.isfinite(losses).all()


@pytest.mark.usefixtures("no_pictures")
def test_the_flag(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert Config().capture
    digits = ["--dataset", "digits", "--hidden", "8", "--epochs", "1", "--device", "cpu", "--json", "--quiet"]
    assert train.run_command(train.app, [*digits, "--no-capture", "--run-dir", "eager"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert train.run_command(train.app, [*digits, "--run-dir", "fast"]) == 0
    fast = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["train_loss"] == pytest.approx(fast["train_loss"], rel=1e-4)
    assert "capture = false" in (tmp_path / "eager" / "config.toml").read_text()


def test_a_run_may_be_resumed_with_eager_steps():
    assert "capture" in UNBOUND
    assert plan_of(capture=False).facts() == plan_of().facts()
