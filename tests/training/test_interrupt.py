"""Signals that arrive during a run: where it ends, and which handlers they reach."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from textbook import BATCH_SIZE, N_ROWS, STEPS, Watch, by_hand, overfitting, plan_of, rows_of, train, validation_loss

from mlpgpu import MLPRegressor
from mlpgpu.callbacks import Callback, LambdaCallback
from mlpgpu.training.interrupt import interruptible

pytestmark = pytest.mark.usefixtures("not_compiled")


X = np.random.default_rng(0).normal(size=(30, 2))


def fitted(callback, **settings):
    given = {"hidden_layer_sizes": (3,), "max_iter": 9, "random_state": 0} | settings
    return MLPRegressor(**given, callbacks=[callback]).fit(X, X[:, 0])


@pytest.fixture
def reached():
    """List of the signals that reach the handlers that were installed before the fit."""
    numbers = []
    before = {
        number: signal.signal(number, lambda number, frame: numbers.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


def at_epoch(epoch, number):
    return LambdaCallback(on_epoch_end=lambda run, record: run.epoch == epoch and signal.raise_signal(number))


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.filterwarnings("ignore:Training interrupted by user:UserWarning")
def test_a_fit_ends_by_sigterm_and_hands_it_on(solver, reached):
    found = fitted(at_epoch(2, signal.SIGTERM), solver=solver)
    assert (found.n_iter_, reached) == (2, [signal.SIGTERM])
    assert np.isfinite(found.predict(X)).all()


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_ctrl_c_ends_the_fit_alone(solver, reached):
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        found = fitted(at_epoch(2, signal.SIGINT), solver=solver)
    assert (found.n_iter_, reached) == (2, [])
    assert np.isfinite(found.predict(X)).all()


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_ctrl_c_that_comes_too_late_for_the_fit_is_not_lost(solver, reached):
    found = fitted(LambdaCallback(on_end=lambda run: signal.raise_signal(signal.SIGINT)), solver=solver)
    assert (found.n_iter_, reached) == (9, [signal.SIGINT])


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_a_process_ignores_does_not_end_its_fit(name):
    """For example, SIGHUP under ``nohup``, and SIGINT in a process that a script runs with ``&``."""
    if not hasattr(signal, name):
        pytest.skip("Windows has none")
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_IGN)
    try:
        found = fitted(at_epoch(2, number))
        assert (found.n_iter_, signal.getsignal(number)) == (9, signal.SIG_IGN)
    finally:
        signal.signal(number, before)


SCRIPT = """
import signal
from mlpgpu import MLPRegressor
from mlpgpu.callbacks import LambdaCallback

terminate = LambdaCallback(on_epoch_end=lambda run, record: signal.raise_signal(signal.SIGTERM))
for _ in range(2):
    MLPRegressor(hidden_layer_sizes=(3,), callbacks=[terminate]).fit([[0.0], [1.0]], [0.0, 1.0])
    print("fitted", flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a process otherwise")
def test_a_program_that_fits_ends_by_sigterm():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "")


FORK = """
import multiprocessing, time
from mlpgpu import MLPRegressor
from mlpgpu.callbacks import LambdaCallback

context = multiprocessing.get_context("fork")

def fork(run, record):
    ready = context.Event()
    child = context.Process(target=lambda: (ready.set(), time.sleep(20)))
    child.start()
    ready.wait()
    child.terminate()
    child.join()
    print(child.exitcode)

regressor = MLPRegressor(hidden_layer_sizes=(3,), max_iter=2, callbacks=[LambdaCallback(on_epoch_end=fork)])
regressor.fit([[0.0], [1.0]], [0.0, 1.0])
"""


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
def test_a_child_that_is_forked_in_a_fit_is_not_deaf():
    """`multiprocessing.Pool` would wait for ever for a child that SIGTERM does not end."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [str(-signal.SIGTERM)] * 2, done.stderr


def test_a_handler_that_is_not_pythons_stays(monkeypatch):
    """If a program that embeds Python has set the handler, Python reports None and cannot restore it."""
    known, given = signal.getsignal, []
    monkeypatch.setattr(signal, "getsignal", lambda number: None if number == signal.SIGTERM else known(number))
    monkeypatch.setattr(signal, "signal", lambda number, handler: given.append((number, handler)))
    with interruptible():
        pass
    assert given
    assert all(handler is not None and number != signal.SIGTERM for number, handler in given)


class Press(Callback):
    """Send SIGINT in an epoch, at the first call of `on_steps`."""

    def __init__(self, epoch, times=1):
        self.epoch, self.times, self.done = epoch, times, None

    def on_steps(self, run, done, losses):
        self.handler = signal.getsignal(signal.SIGINT)
        if run.epoch == self.epoch and self.done is None:
            self.done = done
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def handler():
    """The SIGINT handler outside of a run; the previous one is restored after the test."""
    before = signal.getsignal(signal.SIGINT)

    def mine(number, frame):
        raise AssertionError("Ctrl-C was not caught")

    signal.signal(signal.SIGINT, mine)
    yield mine
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_the_run_after_the_step_in_hand(real_backend, handler):
    plan, rows, validation = overfitting(epochs=9)
    press, watch = Press(6), Watch()
    params, run = train(plan, real_backend, rows, validation, [press, watch])
    assert signal.getsignal(signal.SIGINT) is handler
    assert press.handler is not handler
    assert (run.stopped, run.restored, run.epoch) == ("interrupted", True, 6)
    assert press.done == min(real_backend.steps_per_call, STEPS)
    assert [len(part) for part in run.losses] == [STEPS] * 5 + [press.done]
    last = run.history[-1]
    assert last["samples_per_second"] * last["seconds"] == pytest.approx(min(press.done * BATCH_SIZE, N_ROWS))
    losses = [record["validation_loss"] for record in run.history]
    assert run.best_epoch == 1 + int(np.argmin(losses))
    assert validation_loss(plan, params, validation) == pytest.approx(min(losses), rel=1e-12)
    assert watch.told[-3:] == [(6, press.done), "epoch 6", "end"]


def test_ctrl_c_without_validation_rows_leaves_the_weights_of_the_last_step(handler, step_by_step):
    plan = plan_of(epochs=5)
    params, run = train(plan, callbacks=[Press(2)])
    assert (run.stopped, run.restored, run.best_epoch) == ("interrupted", False, 0)
    expected, losses = by_hand(plan, rows_of("cross_entropy"), [0.1] * (STEPS + 1))
    np.testing.assert_allclose(params, expected, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(np.concatenate(run.losses), losses, rtol=1e-10)
    assert run.history[-1]["loss"] == pytest.approx(losses[-1])


def test_a_second_ctrl_c_is_at_once(handler, step_by_step):
    watch = Watch()
    with pytest.raises(KeyboardInterrupt):
        train(plan_of(), callbacks=[watch, Press(2, times=2)])
    assert signal.getsignal(signal.SIGINT) is handler
    assert watch.told[-2:] == [(2, 1), "end"]


@pytest.mark.parametrize("when", ["on_epoch_end", "on_begin"])
def test_ctrl_c_between_the_epochs_is_not_lost(handler, when):
    """Also in the last epoch, after all steps: the caller is told that the user wants to stop."""

    class Between(Callback):
        def on_begin(self, run):
            if when == "on_begin":
                os.kill(os.getpid(), signal.SIGINT)

        def on_epoch_end(self, run, record):
            if when == "on_epoch_end" and run.epoch == 3:
                os.kill(os.getpid(), signal.SIGINT)

    _, run = train(plan_of(epochs=3), callbacks=[Between()])
    assert run.stopped == "interrupted"


def test_the_handler_is_put_back_after_an_error(handler):
    class Fails(Callback):
        def on_steps(self, run, done, losses):
            raise OSError("disk full")

    watch = Watch()
    with pytest.raises(OSError, match="disk full"):
        train(plan_of(), callbacks=[watch, Fails()])
    assert signal.getsignal(signal.SIGINT) is handler
    assert watch.told[-1] == "end"


def test_outside_the_main_thread_ctrl_c_is_left_alone(handler):
    press, caught = Press(99), []

    def work():
        caught.append(train(plan_of(), callbacks=[press]))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert press.handler is handler
    assert caught[0][1].stopped == ""
    np.testing.assert_array_equal(caught[0][0], train(plan_of())[0])
