"""A recorded step with rounded products, compared with an eager step with products rounded by other means."""

import numpy as np
import pytest
from test_training import ALL_AT_ONCE, assert_close, plan_of, rows_of
from ways import logged

from mlpgpu.backends.base import VARIABLE
from mlpgpu.backends.numpy import NumpyBackend
from mlpgpu.backends.precision import BITS, Namespace
from mlpgpu.feed import Unscaled
from mlpgpu.training import Training


def by_bits(array, bits):
    """Return float32 numbers rounded to `bits` explicit bits, halves to even, by integer arithmetic."""
    words, dropped = np.ascontiguousarray(array).view(np.int32), 23 - bits
    words = words + (1 << dropped - 1) - 1 + (words >> dropped & 1)
    return (words >> dropped << dropped).view(np.float32)


def trained(backend, plan, rows, way, monkeypatch):
    monkeypatch.setenv(VARIABLE, way)
    training = Training(backend, plan, rows, Unscaled(backend, plan.dtype))
    losses = [training.epoch(number)[0] for number in range(1, plan.epochs + 1)]
    return [np.array(array) for array in (training.state.params, *training.state.slots, np.concatenate(losses))]


@pytest.mark.parametrize("precision", BITS)
def test_training_with_rounded_products(way, precision, monkeypatch, caplog):
    """Within a few roundings of float32, compared with products that `by_bits` rounds in an eager step."""
    caplog.set_level("INFO")
    bits = BITS[precision]
    by_hand = NumpyBackend()
    by_hand.xp = Namespace(np, matmul=lambda a, b: np.matmul(by_bits(a, bits), by_bits(b, bits)))
    # Everything besides the products takes long to compile, and the case ``numpy`` tests it.
    loss, given = ("cross_entropy", ALL_AT_ONCE) if way == "numpy" else ("squared_error", {"hidden": (6,)})
    rows = rows_of(loss)
    plan = plan_of(rows, loss, dtype="float32", precision=precision, optimizer="momentum", **given)
    expected = trained(by_hand, plan, rows, "eager", monkeypatch)
    assert_close(trained(NumpyBackend(precision), plan, rows, way, monkeypatch), expected, 2e-6)
    assert not logged(caplog)
    plain = trained(NumpyBackend(), plan, rows, "eager", monkeypatch)
    assert np.abs(plain[0] - expected[0]).max() > 2e-5 * np.abs(expected[0]).max()
