"""Random steps: their schedules, run in the planned memory, agree with the eager loop to the last bit."""

import ctypes
import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from programs import Program, programs
from ways import BACKEND

from mlpgpu.backends.base import Backend
from mlpgpu.fusion import calls, compiled
from mlpgpu.fusion.loop import Recorded


def check(program, *choices):
    """Assert that each of `choices`, functions from a `Recorded` to a `Run`, agrees with the eager loop."""
    step = program.step()
    state, losses = Backend.compile_loop(BACKEND, step)(tuple(program.state), tuple(program.data), tuple(program.items))
    for choose in choices:
        try:
            recorded = Recorded(step, tuple(program.state), tuple(program.data), tuple(program.items))
            run = choose(recorded)
        except ValueError as error:
            if "creating a copy" not in str(error):
                raise
            # A reshape that needs a copy, which memory planning does not support.
            assume(False)
        for own, leaf in zip(recorded.state, program.state, strict=True):
            np.copyto(own, leaf)
        ours = np.empty_like(losses)
        run(program.items, ours)
        for one, other in zip([*recorded.state, ours], [*state, losses], strict=True):
            np.testing.assert_array_equal(one, other)


def in_blocks(block):
    """Run NumPy calls in blocks of `block` elements."""

    def choose(recorded):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(calls, "BLOCK", block)
            return recorded.by_calls()[0]

    return choose


@settings(max_examples=150)
@given(programs())
def test_by_calls(program):
    check(program, *(in_blocks(block) for block in (1, 6, 16_384)))


def product(address, mode_a, mode_b, m, n, k, a, step_a, b, step_b, c, step_c):
    """Compute a product of float64 matrices from the arguments of a generated ``gemm`` call."""

    def matrix(address, mode, rows, columns, step):
        if mode == 112:
            return matrix(address, 111, columns, rows, step).T
        flat = np.ctypeslib.as_array((ctypes.c_double * (rows * step)).from_address(int(address)))
        return flat.reshape(rows, step)[:, :columns]

    matrix(c, 111, m, n, step_c)[...] = matrix(a, mode_a, m, k, step_a) @ matrix(b, mode_b, k, n, step_b)


def interpreted(n_threads, order):
    """Run the source in Python: in turn, each thread up to the next barrier, the last thread first if `order` is -1."""

    def choose(recorded):
        from mlpgpu.fusion.source import WAIT, NotCompiled, Source

        try:
            source = Source(recorded.schedule, recorded.memory, recorded.item, recorded.loss, n_threads)
        except NotCompiled:
            assume(False)
        names = {}
        exec(re.sub(r"@numba\.njit\(.*\)\n", "", source.text).replace(WAIT, "yield"), names)
        names |= {name: product for name in names if name.startswith("gemm")}
        arrays = [source.private.copies(source.arrays) for _ in range(1, n_threads)]

        def run(items, losses):
            for own in arrays:
                for mine, official in zip(own, source.arrays, strict=True):
                    if mine is not official:
                        np.copyto(mine, official)
            fixed = source.numbers, source.whole_numbers, losses
            threads = [
                names["run"](len(losses), i, n_threads, None, 0, *fixed, *own, *items)
                for i, own in enumerate([source.arrays, *arrays])
            ]
            while [None for thread in threads[::order] if next(thread, "done") != "done"]:
                pass

        return run

    return choose


@pytest.mark.skipif(not compiled.has_numba(), reason="numba is not installed")
@settings(max_examples=150)
@given(programs(most_axes=2))
def test_by_the_source(program):
    check(program, *(interpreted(*which) for which in [(1, 1), (2, 1), (2, -1), (3, 1), (3, -1)]))


@pytest.mark.skipif(not compiled.has_numba(), reason="numba is not installed")
@pytest.mark.parametrize(
    "other_rows",
    ["np.matrix_transpose(v0)", "v0[:2]", "v0[::-1]", "np.concat([v0, s0 + 3])[1:5]", "np.take(v0, i1, axis=0)"],
)
def test_threads_wait_for_rows_that_others_make(other_rows):
    program = Program([np.arange(16.0).reshape(4, 4)], [], [np.arange(3.0), np.array([[3, 0, 1, 2]] * 3)])
    program.add("s0 * 2", 32)
    program.add(f"{other_rows} + 1", 33)
    program.returned = "(s0 + v0,), np.sum(v1 * v1)"
    check(program, *(interpreted(*which) for which in [(2, 1), (2, -1), (3, 1), (3, -1)]))


@pytest.mark.skipif(not compiled.has_numba(), reason="numba is not installed")
@pytest.mark.parametrize(
    "number",
    ["np.sum(s0)[..., None]", "np.matmul(s1, np.matrix_transpose(s1))", "np.max(s1, axis=1)", "np.sum(s1, axis=-1)"],
)
def test_every_thread_has_a_number_that_it_made_itself(number):
    program = Program([np.arange(16.0).reshape(4, 4), np.arange(4.0)[None]], [], [np.arange(3.0)])
    program.add(number, 512)
    program.returned = "(s0 + 1, s1 + 1), np.sum(s0 * v0)"
    check(program, *(interpreted(*which) for which in [(2, 1), (2, -1), (3, 1), (3, -1)]))


@pytest.mark.skipif(not compiled.has_numba(), reason="numba is not installed")
def test_a_loss_that_another_thread_makes_is_waited_for():
    program = Program([np.arange(16.0).reshape(4, 4)], [], [np.arange(3.0)])
    program.add("s0 + 1", 32)
    program.returned = "(v0,), v0[-1, -1]"
    check(program, *(interpreted(*which) for which in [(2, 1), (2, -1)]))


@pytest.mark.skipif(not compiled.has_numba(), reason="numba is not installed")
def test_memory_is_used_again_for_numbers_of_another_type():
    program = Program([np.arange(16.0).reshape(4, 4)], [], [np.arange(3.0)])
    program.add("np.matmul(s0, s0)", 4096)
    program.add("np.astype(v0, np.int64)", 4096)
    program.returned = "(s0 + 1,), np.sum(np.astype(v1[::-1] & 5, float) * s0)"
    check(program, interpreted(1, 1), interpreted(2, 1))
