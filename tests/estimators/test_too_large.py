"""Fits that do not fit into memory, which are refused before they take it."""

import numpy as np
import pytest
from quick import THREE, TWO, X, classifier, regressor

from mlpgpu.errors import InputError
from mlpgpu.protocol import memory
from mlpgpu.training import preflight

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N_PARAMETERS = 4 * 8 + 8 + 8 * 5 + 5 + 5 * 3 + 3


@pytest.fixture
def having(monkeypatch):
    """Return a function that sets the free memory; all fits are checked."""
    monkeypatch.setattr(memory, "LARGE", 0)
    return lambda free: monkeypatch.setattr(preflight, "available_memory", lambda: free)


@pytest.mark.parametrize("call", [
    lambda **given: classifier(**given).fit(X, TWO),
    lambda **given: classifier(**given).partial_fit(X, TWO, classes=[0, 1]),
    lambda **given: classifier(**given).find_learning_rate(X, TWO),
    lambda **given: classifier(**given, solver="lbfgs").fit(X, TWO),
    lambda **given: regressor(**given, init="he_normal").fit(X, TWO),
])  # fmt: skip
def test_a_network_that_cannot_be_drawn(monkeypatch, call):
    monkeypatch.setattr(preflight, "available_memory", lambda: 10**9)
    with pytest.raises(
        InputError,
        match=r"6,000,000,001 parameters, .* takes 48\.0 GB of .*, which has 1\.0 GB free; lower hidden_layer_sizes$",
    ):
        call(hidden_layer_sizes=10**9)


def test_one_that_can_be_drawn_and_not_trained(having):
    having(8 * N_PARAMETERS - 1)
    with pytest.raises(InputError, match=f"the network has {N_PARAMETERS} parameters, whose drawing"):
        classifier().fit(X, THREE)
    having(8 * N_PARAMETERS)
    with pytest.raises(InputError, match="the run needs about .* for weights and adam_hat, .* 50 rows.*; lower hidden"):
        classifier().fit(X, THREE)
    having(10**9)
    classifier().fit(X, THREE)


def test_a_batch_that_is_too_large(having):
    having(30_000)
    with pytest.raises(InputError, match=r"; lower batch_size to (\d+) or less, or hidden_layer_sizes$") as caught:
        classifier(batch_size=150).fit(X, THREE)
    fitting = int(str(caught.value).split("batch_size to ")[1].split()[0])
    assert 0 < fitting < 150
    classifier(batch_size=fitting).fit(X, THREE)


def test_what_is_in_memory_already_is_not_refused(having):
    begun = classifier().partial_fit(X, THREE, classes=[0, 1, 2])
    having(0)
    before = [w.copy() for w in begun.coefs_]
    begun.partial_fit(X, THREE)
    assert not any(np.array_equal(w, old) for w, old in zip(begun.coefs_, before, strict=True))


def test_a_small_fit_does_not_ask(monkeypatch):
    monkeypatch.setattr(preflight, "available_memory", lambda: pytest.fail("it takes longer than the fit"))
    classifier().fit(X, THREE)
