"""Properties of the generated source that no test can observe by running it, such as indices of huge arrays."""

import re

import numpy as np

from mlpgpu.cuda.program import Program
from mlpgpu.cuda.source import name_of
from mlpgpu.fusion.trace import Recorder


def kernels_of(function, *shapes):
    """Return the source of a function of float32 arrays."""
    recorder = Recorder()
    return Program([function(*(recorder.input(shape, np.float32) for shape in shapes))]).kernels


def test_arrays_of_more_elements_than_32_bits_count():
    small, large = (kernels_of(lambda x: x * 2, (n, 2**16)) for n in (2**8, 2**16))
    assert re.search(r"for \(int e = .*; e < 16777216; ", small)
    assert re.search(r"for \(long long e = .*; e < 4294967296; ", large)
    # A view of few elements, whose offsets in the array need 64 bits.
    view = kernels_of(lambda x: np.reshape(x, (2**16, -1))[:, :2] * 2, (2**32,))
    assert "const long long i = " in view
    assert "[(i * 65536 + j)]" in view
    column_sums = kernels_of(lambda x: np.sum(x, axis=0), (2**16, 2**16))
    assert "const long long i = " in column_sums
    assert "const long long j = " in column_sums


def test_only_the_offset_of_a_taken_row_has_64_bits():
    taken = kernels_of(lambda x, rows: np.take(x, np.astype(rows, np.int64), axis=0) * 2, (2**24, 2**8), (100,))
    assert "const int i = " in taken
    assert re.search(r"a0\[\(\(long long\)v\d+_\d+ \* 256 \+ j\)\]", taken)


def test_loops_over_accumulators_are_unrolled_if_these_fit_into_registers():
    softmax = lambda x: np.sum(x - np.max(x, axis=1, keepdims=True), axis=0)  # noqa: E731
    few, many = (kernels_of(softmax, (8, n)) for n in (1024, 1025))
    assert "#pragma unroll 4" not in few
    assert "#pragma unroll 4" in many


def test_the_layout_of_memory_is_that_of_every_run():
    """It must not depend on the addresses of Python objects: the estimate of a run's memory would change with them."""

    def layout():
        recorder = Recorder()
        x = recorder.input((300, 3), np.float32)
        program = Program([np.sum(x * np.sum(x * factor)) for factor in range(2, 12)])
        return {name_of(buffer): offset for buffer, offset in program.offsets.items()}, program

    layouts = [layout() for _ in range(5)]
    assert len(layouts[0][0]) > 20
    assert all(one == layouts[0][0] for one, _ in layouts)
