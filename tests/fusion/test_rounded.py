"""A recorded step with rounded products, compared with an eager step with products rounded by other means."""

import numpy as np
import pytest
from rounding import by_bits
from small_networks import ALL_AT_ONCE, plan_of, rows_of
from ways import assert_close, logged, trained

from mlpgpu.backends.numpy import NumpyBackend
from mlpgpu.backends.precision import BITS, Namespace


@pytest.mark.parametrize("precision", BITS)
def test_training_with_rounded_products(way, precision, caplog):
    """Within a few roundings of float32, compared with products that `by_bits` rounds in an eager step."""
    caplog.set_level("INFO")
    bits = BITS[precision]
    by_hand = NumpyBackend()
    by_hand.xp = Namespace(np, matmul=lambda a, b: np.matmul(by_bits(a, bits), by_bits(b, bits)))
    # Everything besides the products takes long to compile, and the case ``numpy`` tests it.
    loss, given = ("cross_entropy", ALL_AT_ONCE) if way == "numpy" else ("squared_error", {"hidden": (6,)})
    rows = rows_of(loss)
    plan = plan_of(rows, loss, dtype="float32", precision=precision, optimizer="momentum", **given)
    expected = trained("eager", plan, rows, by_hand)
    assert_close(trained(way, plan, rows, NumpyBackend(precision)), expected, 2e-6)
    assert not logged(caplog)
    plain = trained("eager", plan, rows)
    assert np.abs(plain[0] - expected[0]).max() > 2e-5 * np.abs(expected[0]).max()
