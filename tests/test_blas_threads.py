"""The number of threads of a BLAS is one meanwhile, and the last of those who need that restores it."""

import contextlib
import itertools
import multiprocessing
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from threadpoolctl import threadpool_limits

from mlpgpu.backends.numpy import NumpyBackend
from mlpgpu.blas_threads import OF_NUMPY, BlasThreads


@pytest.fixture
def library():
    """A stand-in for OpenBLAS: a list with its number of threads."""
    return [4]


@pytest.fixture
def blas(library):
    return BlasThreads(
        lambda: SimpleNamespace(
            openblas_get_num_threads=lambda: library[0],
            openblas_set_num_threads=lambda number: library.__setitem__(0, number),
        )
    )


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_last_to_leave_restores_the_number_of_threads(blas, library, order):
    users = [blas.one_thread(n_cores) for n_cores in (2, 1, 1)]
    for user in users:
        user.__enter__()
        assert (library, blas.number()) == ([1], 4)
    for i in order:
        assert (library, blas.number()) == ([1], 4)
        users[i].__exit__(None, None, None)
    assert (library, blas.number()) == ([4], 4)


def test_an_exception_leaves_too(blas, library):
    with blas.one_thread():
        with pytest.raises(ZeroDivisionError), blas.one_thread():
            1 / 0  # noqa: B018
        assert library == [1]
    assert library == [4]


def test_a_number_that_changes_between_users_is_restored(blas, library):
    for number in (4, 3):
        library[:] = [number]
        with blas.one_thread():
            assert (library, blas.number()) == ([1], number)
        assert library == [number]


@pytest.mark.parametrize("found", [None, SimpleNamespace()])
def test_another_library_counts_as_one_of_one_thread(found):
    blas = BlasThreads(lambda: found)
    with blas.one_thread():
        assert blas.number() == 1


def test_one_core_waits_for_no_other(blas, library):
    with contextlib.ExitStack() as stack:
        for n_cores in (4, *[1] * 8):
            stack.enter_context(blas.one_thread(n_cores))
        assert (library, blas.number()) == ([1], 4)
    assert library == [4]


@pytest.mark.parametrize(("n_cores", "at_once"), [(2, 2), (3, 1), (4, 1), (5, 1)])
def test_users_at_once_have_no_more_threads_than_there_are_cores(blas, library, n_cores, at_once):
    within, most, counting = [], [], threading.Lock()

    def loop(_):
        with blas.one_thread(n_cores):
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


def test_a_backend_tells_its_threads_alike_while_another_fit_needs_one():
    with threadpool_limits(2, "blas"):
        told = NumpyBackend().arithmetic()
        if "on 2 threads" not in told:
            pytest.skip("NumPy's BLAS has no threads here")
        with OF_NUMPY.one_thread():
            assert NumpyBackend().arithmetic() == told


FORK = """
import os, signal, threading
from types import SimpleNamespace
from mlpgpu.backends.numpy import NumpyBackend
from mlpgpu.blas_threads import OF_NUMPY, BlasThreads

threads = [4]
blas = BlasThreads(lambda: SimpleNamespace(
    openblas_get_num_threads=lambda: threads[0],
    openblas_set_num_threads=lambda number: threads.__setitem__(0, number),
))
entered, forked = threading.Event(), threading.Event()

def other():
    with blas.one_thread(2):
        entered.set()
        forked.wait(30)

thread = threading.Thread(target=other)
thread.start()
entered.wait(30)
with blas.one_thread(2):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    else:
        signal.alarm(30)
    print(*threads, flush=True)
forked.set()
thread.join(30 if child else 0)
print(*threads, flush=True)
with blas.one_thread(4):
    print(*threads, flush=True)
print(*threads, flush=True)
"""


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
def test_a_forked_child_has_all_threads_again_whoever_needed_one():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], capture_output=True, text=True, timeout=90)
    in_child, in_parent = ["4", "4", "1", "4"], ["1", "4", "1", "4"]
    assert done.stdout.split() == in_child + in_parent, done.stderr
