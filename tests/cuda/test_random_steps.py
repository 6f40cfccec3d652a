"""Random steps: their kernels agree with eager NumPy to the last bit, since all numbers are whole."""

import re
import sys
from pathlib import Path

import hosted
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpgpu.backends.base import Backend
from mlpgpu.backends.numpy import NumpyBackend
from mlpgpu.cuda import loop
from mlpgpu.cuda.indexing import NotCaptured
from mlpgpu.cuda.program import PRELUDE
from mlpgpu.fusion.trace import Recorder

sys.path.append(str(Path(__file__).parents[1] / "fusion"))
from programs import programs

COUNT = 120


def recorded_steps():
    """Draw random steps; return those that can be captured, with recordings and kernels, and why others cannot."""
    found, refused = [], set()

    @settings(max_examples=COUNT)
    @given(programs(), st.just(0))
    def draw(program, _):
        given_ = tuple(program.state), tuple(program.data), tuple(program.items)
        try:
            one = loop.Recorded(Recorder(), program.step(), *given_)
            found.append((program, one, one.program().kernels))
        except NotCaptured as error:
            refused.add(re.sub(r"\d+", "n", str(error)))

    draw()
    return found, refused


def test_random_steps(cupy, monkeypatch):
    found, refused = recorded_steps()
    # Enough steps can be captured, and the others are refused for a known reason.
    assert len(found) > COUNT // 3
    assert refused <= {
        "a change of shape that needs a copy",
        "products of other than two axes",
        "products of parts of a matrix",
        "sums over more than two axes",
    }
    # Compiling all of them at once takes only as long as compiling a few of them one by one.
    texts = [re.sub(r"\blevel(\d+)\(", rf"step{n}_level\1(", kernels) for n, (_, _, kernels) in enumerate(found)]
    library = hosted.compiled("\n".join([PRELUDE, *texts]))
    different = []
    for n, (program, one, _) in enumerate(found):
        monkeypatch.setattr(hosted.Function, "order", n % 4)
        monkeypatch.setattr(hosted.Stream, "at_once", bool(n % 3))
        monkeypatch.setattr(
            cupy,
            "RawModule",
            lambda n=n, **_: type(
                "", (), {"get_function": lambda self, name: hosted.Function(library, f"step{n}_{name}")}
            )(),
        )
        put = lambda arrays: tuple(cupy.asarray(array) for array in arrays)  # noqa: E731
        state, data, items = put(program.state), put(program.data), put(program.items)
        try:
            captured = loop.Captured(cupy, one, state, data, items, "float32")
        except NotCaptured:
            continue
        ours = captured(state, items)
        expected = Backend.compile_loop(NumpyBackend(), program.step())(
            tuple(program.state), tuple(program.data), tuple(program.items)
        )
        pairs = zip([*ours[0], ours[1]], [*expected[0], expected[1]], strict=True)
        if not all(np.array_equal(a, b) for a, b in pairs):
            different.append(program)
    assert not different, f"{len(different)} of {len(found)}, such as\n{min(map(repr, different), key=len)}"
