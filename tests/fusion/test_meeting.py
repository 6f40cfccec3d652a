"""Compiled loops of several fits at the same time share the cores, and switch BLAS to one thread."""

import contextlib
import multiprocessing
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from mlpgpu import MLPClassifier
from mlpgpu.backends.base import VARIABLE
from mlpgpu.fusion import compiled

if not compiled.has_numba():
    pytest.skip("numba is not installed: nothing is compiled", allow_module_level=True)

from mlpgpu.fusion import meeting


@pytest.fixture
def library(monkeypatch):
    """A stand-in for BLAS: a list with its number of threads."""
    threads = [4]
    monkeypatch.setattr(meeting, "_switch", lambda: (lambda: threads[0], lambda number: threads.__setitem__(0, number)))
    return threads


def test_the_last_to_leave_puts_the_threads_back(library):
    first, second = meeting.products_by_one_thread(2), meeting.products_by_one_thread(2)
    first.__enter__()
    assert (library, meeting.product_threads()) == ([1], 4)
    second.__enter__()
    first.__exit__(None, None, None)
    assert (library, meeting.product_threads()) == ([1], 4)
    second.__exit__(None, None, None)
    assert (library, meeting.product_threads()) == ([4], 4)


def test_a_loop_of_one_thread_waits_for_no_other(library):
    with contextlib.ExitStack() as stack:
        for n_threads in (4, *[1] * 8):
            stack.enter_context(meeting.products_by_one_thread(n_threads))
        assert (library, meeting.product_threads()) == ([1], 4)
    assert library == [4]


@pytest.mark.parametrize(("n_threads", "at_once"), [(2, 2), (3, 1), (4, 1), (5, 1)])
def test_loops_at_once_have_no_more_threads_than_there_are_cores(library, n_threads, at_once):
    within, most, counting = [], [], threading.Lock()

    def loop(_):
        with meeting.products_by_one_thread(n_threads):
            with counting:
                within.append(None)
                most.append(len(within))
            time.sleep(0.01)
            with counting:
                within.pop()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(loop, range(16)))
    assert 1 <= max(most) <= at_once
    assert library == [4]


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_fits_at_once_give_the_weights_that_each_gives_alone(monkeypatch, rng):
    monkeypatch.setenv(VARIABLE, "numba")
    x = rng.normal(size=(400, 100))
    y = x[:, 0] > 0

    def weights(seed):
        network = MLPClassifier(hidden_layer_sizes=(128,), batch_size=100, max_iter=20, tol=0, random_state=seed)
        return network.fit(x, y).coefs_[0]

    with threadpool_limits(2, "blas"), ThreadPoolExecutor(4) as pool:
        alone = [weights(seed) for seed in range(6)]
        for one, other in zip(pool.map(weights, range(6)), alone, strict=True):
            np.testing.assert_array_equal(one, other)


FORK = """
import multiprocessing
from mlpgpu.fusion import meeting

threads = [2]
meeting._switch = lambda: (lambda: threads[0], lambda number: threads.__setitem__(0, number))

def told():
    with meeting.products_by_one_thread(2):
        print(*threads, meeting.product_threads())
    print(*threads, flush=True)

with meeting.products_by_one_thread(2), meeting._cores.free:
    child = multiprocessing.get_context("fork").Process(target=told)
    child.start()
    child.join(20)
    child.kill()
"""


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
def test_a_child_that_is_forked_meanwhile_has_all_threads_again():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["1", "2", "2"], done.stderr
