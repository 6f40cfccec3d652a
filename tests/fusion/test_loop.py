"""How a loop chooses the way to run its step."""

import numpy as np
import pytest
from ways import BACKEND, MANY, assert_same, logged, loop_by, run

from mlpgpu.backends.base import FEW_STEPS
from mlpgpu.errors import InputError
from mlpgpu.fusion import loop
from mlpgpu.fusion.loop import VARIABLE, Loop, wanted_way

A = np.random.default_rng(6).normal(size=(5, 4))
ITEMS = (np.arange(3.0),)


def descend(state, data, item):
    return (state[0] - 0.1 * np.tanh(state[0] * item[0]),), np.sum(state[0])


def eager(state, data, items):
    """Return what no step returns, so that this loop is recognised."""
    return "line by line", None


@pytest.fixture
def chosen(monkeypatch):
    """``chosen(n_steps, has_numba)`` -> the way that a loop chooses, without compiling anything."""

    def choose(n_steps, has_numba=True):
        monkeypatch.setattr(loop, "has_numba", lambda: has_numba)
        monkeypatch.setattr(loop.Recorded, "compiled", lambda self, items: lambda items, losses: losses.fill(123))
        state, losses = Loop(descend, eager, n_steps)((A.copy(),), (), ITEMS)
        return state if isinstance(state, str) else "numba" if (losses == 123).all() else "numpy"

    monkeypatch.delenv(VARIABLE, raising=False)
    return choose


@pytest.mark.parametrize("way", ["", "NUMPY", "fast", "numpy "])
def test_a_way_that_there_is_not(way, monkeypatch):
    monkeypatch.setenv(VARIABLE, way)
    with pytest.raises(InputError, match=f"^{VARIABLE} is '{way}'; allowed: auto, eager, numpy, numba$"):
        BACKEND.compile_loop(descend, MANY)


def test_numba_where_it_is_not_installed(monkeypatch):
    monkeypatch.setattr(loop, "has_numba", lambda: False)
    monkeypatch.setenv(VARIABLE, "numba")
    with pytest.raises(InputError, match=r"numba.* not installed; pip install 'mlpgpu\[fast\]'$"):
        BACKEND.compile_loop(descend, MANY)
    for way in ("auto", "eager", "numpy"):
        monkeypatch.setenv(VARIABLE, way)
        assert wanted_way() == way


def test_auto_does_few_steps_line_by_line(chosen):
    assert chosen(FEW_STEPS - 1) == "line by line"
    assert chosen(FEW_STEPS) == "numpy"


def test_auto_compiles_where_there_are_many_calls(chosen, monkeypatch):
    _, n_calls = loop.Recorded(descend, (A,), (), ITEMS).by_calls()
    monkeypatch.setattr(loop, "MANY_CALLS", 100 * n_calls)
    assert chosen(100) == "numpy"
    assert chosen(101) == "numba"
    assert chosen(101, has_numba=False) == "numpy"


def test_a_loop_of_unknown_length_goes_by_the_steps_so_far(chosen, monkeypatch):
    _, n_calls = loop.Recorded(descend, (A,), (), ITEMS).by_calls()
    monkeypatch.setattr(loop, "MANY_CALLS", (FEW_STEPS + 6) * n_calls)
    monkeypatch.setattr(loop, "has_numba", lambda: True)
    monkeypatch.setattr(loop.Recorded, "compiled", lambda self, items: lambda items, losses: losses.fill(123))
    step_by_step, ways = Loop(descend, eager, None), []
    for _ in range(20):
        state, losses = step_by_step((A.copy(),), (), ITEMS)
        ways.append(state if isinstance(state, str) else "numba" if (losses == 123).all() else "numpy")
    # Of three steps per call, the 11th has step number 32, and the 13th number 39.
    assert ways == ["line by line"] * 10 + ["numpy"] * 2 + ["numba"] * 8
    assert Loop(descend, eager, None)((A.copy(),), (), (np.arange(FEW_STEPS),))[0] != "line by line"


def test_a_way_that_is_asked_for_is_taken_for_few_steps_too(chosen, monkeypatch):
    monkeypatch.setenv(VARIABLE, "numba")
    assert chosen(1) == "numba"
    monkeypatch.setenv(VARIABLE, "numpy")
    monkeypatch.setattr(loop, "MANY_CALLS", 0)
    assert chosen(1) == chosen(10_000) == "numpy"
    monkeypatch.setenv(VARIABLE, "eager")
    assert chosen(10_000) == "line by line"


def branches(state, data, item):
    return (state[0] * (0.5 if np.sum(state[0]) > 0 else 2.0),), np.sum(state[0])


def sorts(state, data, item):
    return (np.sort(0.5 * state[0], axis=0),), np.sum(state[0])


def asks_for_values(state, data, item):
    return (0.5 * state[0],), np.asarray(float(np.sum(state[0])))


def writes_in_place(state, data, item):
    new = 0.5 * state[0]
    new[0] = 1.0
    return (new,), np.sum(new)


def refuses_at_length(state, data, item):
    if not isinstance(state[0], np.ndarray):
        raise TypeError("this function\ntakes arrays of NumPy")
    return (0.5 * state[0],), np.sum(state[0])


@pytest.mark.parametrize("step", [branches, sorts, asks_for_values, writes_in_place, refuses_at_length])
def test_what_cannot_be_recorded_runs_line_by_line(way, step, caplog):
    caplog.set_level("INFO")
    expected = run("eager", step, (A,))
    assert not logged(caplog)
    own = loop_by(way, step)
    state, losses = own((A,), (), ITEMS)
    assert_same((state, losses), expected)
    # The warning appears once, however often the loop is called.
    again, _ = own(state, (), ITEMS)
    assert_same((again, losses), (run("eager", step, state)[0], losses))
    (line,) = logged(caplog)
    assert line.startswith("the step runs line by line, for it cannot be recorded: ")
    assert "\n" not in line


def test_what_cannot_be_compiled_runs_by_numpy(monkeypatch, caplog):
    pytest.importorskip("numba", reason="numba is not installed: nothing is compiled")

    def refused(*arguments):
        raise TypeError("Numba has no\nsuch function")

    monkeypatch.setattr(loop, "function_of", lambda text: refused)
    caplog.set_level("INFO")
    assert_same(run("numba", descend, (A,)), run("numpy", descend, (A,)))
    (line,) = logged(caplog)
    assert line == "the step runs by NumPy alone, for it cannot be compiled: Numba has no such function"


def test_an_activation_of_the_users_own_that_calls_numpy(way, caplog):
    """It is recorded, and agrees with the eager loop."""
    caplog.set_level("INFO")
    calls = []

    def bent(z):
        calls.append(z)
        return np.where(z > 0, np.sqrt(np.maximum(z, 0) + 1) - 1, np.tanh(z)) + np.sin(z) / 10

    def step(state, data, item):
        y = bent(np.matmul(data[0], state[0]))
        return (state[0] - 0.1 * np.matmul(np.matrix_transpose(data[0]), y),), np.sum(y * y)

    data = (np.random.default_rng(7).normal(size=(6, 5)),)
    ours = run(way, step, (A,), data)
    assert len(calls) == 1
    assert_same(ours, run("eager", step, (A,), data), rtol=1e-12)
    assert not logged(caplog)


def test_other_shapes_are_recorded_anew(way):
    def step(state, data, item):
        return (0.5 * state[0] + np.sum(item[0]),), np.sum(state[0])

    own = loop_by(way, step)
    for shape, rows in (((5, 4), 2), ((5, 4), 3), ((2, 4), 3), ((5, 4), 2)):
        state, items = (np.ones(shape),), (np.ones((3, rows)),)
        result, losses = own(state, (), items)
        assert_same((result, losses), run("eager", step, state, (), items), rtol=1e-14)


def test_few_steps_of_many_parameters_are_recorded(chosen, monkeypatch):
    """An eager step allocates several arrays of that size. A single step is over before it could be recorded."""
    monkeypatch.setattr(loop, "MANY_ELEMENTS", 5 * A.size)
    assert [chosen(n) for n in (1, 4, 5)] == ["line by line", "line by line", "numpy"]
    monkeypatch.setattr(loop, "MANY_ELEMENTS", A.size)
    assert [chosen(n) for n in (1, 2)] == ["line by line", "numpy"]
