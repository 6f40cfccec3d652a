"""Namespaces that wrap those of array libraries."""

import copy

import numpy as np
import pytest

from mlpgpu.backends.precision import emulated
from mlpgpu.cuda.recording import Recordable


@pytest.mark.parametrize("wrap", [lambda xp: emulated(xp, "tf32"), Recordable], ids=["rounding", "recordable"])
def test_a_namespace_can_be_copied_and_has_all_the_others_have(wrap):
    xp = copy.copy(wrap(np))
    assert xp.float32 is np.float32
    assert xp.__version__ == np.__version__
    with pytest.raises(AttributeError):
        _ = xp.no_such_function


def test_recording_ends_also_where_it_fails():
    class Library:
        exp = staticmethod(lambda x: "the device's")

    xp = Recordable(Library)

    def fail():
        with xp.recording():
            assert xp.exp is np.exp
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert xp.exp(0) == "the device's"
