"""Functions whose programs are the same share what JAX compiles."""

import gc
import os
import subprocess
import sys
import weakref
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pytest

from mlpgpu import MLPClassifier, backends
from mlpgpu.backends import jax as by_jax
from mlpgpu.backends.base import VARIABLE

pytest.importorskip("jax")


@pytest.fixture(autouse=True)
def compiled(monkeypatch):
    """The programs that a test compiles."""
    kept = OrderedDict()
    monkeypatch.setattr(by_jax, "_programs", kept)
    return kept


@pytest.fixture
def backend():
    return backends.select("cpu", "jax", "float64")[0]


@pytest.fixture
def items(backend):
    return (backend.asarray(np.arange(1.0, 4.0)),)


def loop_of(backend, factor):
    """Return a loop of a new step, which adds up the items times `factor`."""
    return backend.compile_loop(lambda state, data, item: (state + factor * item[0], state))


def total(loop, backend, items):
    return float(loop(backend.asarray(np.zeros(())), (), items)[0])


def fitted(seed=0, n_rows=60, **settings):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n_rows, 4)), np.arange(n_rows) % 3
    network = MLPClassifier((5,), batch_size=20, max_iter=2, random_state=seed, backend="jax", device="cpu", **settings)
    with pytest.warns(match="Stochastic Optimizer"):
        return network.fit(x, y)


@pytest.mark.parametrize("settings", [{}, {"early_stopping": True}, {"solver": "sgd", "learning_rate": "invscaling"}])
def test_equal_fits_of_other_rows_compile_nothing(compiled, settings):
    fitted(0, **settings)
    before = dict(compiled)
    fitted(1, **settings)
    assert compiled == before != {}


@pytest.mark.parametrize("settings", [{"dropout": 0.5}, {"dropout": 0.5, "early_stopping": True}])
def test_what_is_not_equal_shares_nothing(monkeypatch, settings):
    """The masks of dropout are of the seed, whose arrays the step holds."""
    ours = [fitted(seed, **settings).coefs_ for seed in (0, 1)]
    monkeypatch.setenv(VARIABLE, "eager")
    for seed, coefs in enumerate(ours):
        for one, other in zip(coefs, fitted(seed, **settings).coefs_, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [1, 100_000])
def test_the_values_that_a_step_holds_count(compiled, backend, items, size):
    def holding(number):
        array = np.ones(size)
        array[size // 2] = number
        held = backend.asarray(array)
        return backend.compile_loop(lambda state, data, item: (state + item[0] * backend.xp.prod(held), state))

    assert [total(holding(number), backend, items) for number in (2.0, 3.0, 2.0)] == [12.0, 18.0, 12.0]
    assert len(compiled) == 2


def test_values_that_jax_passes_as_arguments_count_too():
    """A later JAX is to have that by default."""
    code = """
import numpy as np
from mlpgpu import backends

backend = backends.select("cpu", "jax")[0]

def plus(number):
    held = backend.asarray(np.full(100, number))
    return float(backend.compile(lambda x: x + backend.xp.max(held))(backend.asarray(np.ones(()))))

print(plus(1.0), plus(2.0))
"""
    environment = os.environ | {"JAX_USE_SIMPLIFIED_JAXPR_CONSTANTS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2.0", "3.0"]


def test_a_function_that_has_changed_is_another(backend, items):
    factor = [2.0]
    own = lambda state, data, item: (state + factor[0] * item[0], state)  # noqa: E731
    assert total(backend.compile_loop(own), backend, items) == 12.0
    factor[0] = 3.0
    assert total(backend.compile_loop(own), backend, items) == 18.0


class Pair(NamedTuple):
    a: object
    b: object


def test_arguments_of_another_kind_have_a_program_of_their_own(backend):
    doubled = backend.compile(lambda pair: pair[0] + pair[1])
    whole, real = (backend.asarray(np.arange(3), dtype) for dtype in ("int64", "float64"))
    for pair in (Pair(whole, whole), Pair(real, real), (real, real), Pair(real[:2], real[:2])):
        found = doubled(pair)
        assert found.dtype == pair[0].dtype
        np.testing.assert_array_equal(found, 2 * np.arange(len(pair[0])))


def test_the_last_used_programs_are_kept(monkeypatch, compiled, backend, items):
    monkeypatch.setattr(by_jax, "PROGRAMS", 2)
    for factor in (1.0, 2.0, 1.0, 3.0):
        assert total(loop_of(backend, factor), backend, items) == 6 * factor
    kept = list(compiled)
    assert len(kept) == 2
    total(loop_of(backend, 1.0), backend, items)
    assert list(compiled) == kept[::-1]


def test_a_program_keeps_no_step(compiled, backend, items):
    held = np.ones(3)

    def step(state, data, item):
        return state + item[0] * held.sum(), state

    loop, gone = backend.compile_loop(step), weakref.ref(step)
    assert total(loop, backend, items) == 18.0
    del step, loop
    gc.collect()
    assert gone() is None
    assert len(compiled) == 1


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_fits_at_once_give_the_weights_that_each_gives_alone(monkeypatch):
    x, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3

    def weights(seed):
        network = MLPClassifier((5,), batch_size=20, max_iter=2, random_state=seed, backend="jax", device="cpu")
        return network.fit(x, y).coefs_[0]

    with ThreadPoolExecutor(4) as pool:
        at_once = list(pool.map(weights, range(6)))
    monkeypatch.setenv(VARIABLE, "eager")
    for seed, one in enumerate(at_once):
        np.testing.assert_allclose(one, weights(seed), rtol=1e-9, atol=1e-12)
