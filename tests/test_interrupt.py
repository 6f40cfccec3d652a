"""The handlers that a signal reaches if it arrives during a fit."""

import multiprocessing
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from mlpgpu import MLPRegressor
from mlpgpu.callbacks import LambdaCallback
from mlpgpu.interrupt import interruptible

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
