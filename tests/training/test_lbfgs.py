"""The objective that SciPy minimises, and the threads of its BLAS meanwhile."""

import threading

import numpy as np
import pytest
from textbook import plan_of
from threadpoolctl import threadpool_info, threadpool_limits

from mlpgpu import MLPClassifier
from mlpgpu.callbacks import Callback
from mlpgpu.maths.network import loss_and_gradient
from mlpgpu.training import lbfgs
from mlpgpu.training.feed import Resident, Rows, Streamed, Unscaled


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("feed", [Resident, Streamed])
def test_loss_and_gradient_of_batches_are_those_of_all_rows(backend, feed, weighted, monkeypatch, rng):
    monkeypatch.setattr("mlpgpu.training.feed.CHUNK", 13)
    plan = plan_of("cross_entropy", l2=0.3, dtype="float64")
    x, y = rng.normal(size=(50, plan.network.sizes[0])), rng.integers(0, plan.network.sizes[-1], size=50)
    weights = rng.uniform(0.5, 2, size=50).astype("float32")
    weights[[*range(13), 20, 49]] = 0
    rows = Rows(x, y, weights if weighted else None)
    objective = lbfgs._objective(backend, plan, feed(backend, rows, Unscaled(backend, "float64")))
    for params in (plan.params, -2 * plan.params):
        expected = loss_and_gradient(np, plan.network, params, x, y, rows.weight_of_each().astype("float64"), l2=0.3)
        for one, other in zip(objective(params), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_callbacks_see_the_weights_of_the_last_iteration_until_the_next_one_ends():
    class Kept(Callback):
        def on_epoch_begin(self, run):
            seen.append(run.params)

        on_end = on_epoch_begin

        def on_epoch_end(self, run, record):
            ends.append(run.params)

    seen, ends = [], []
    MLPClassifier((3,), solver="lbfgs", callbacks=[Kept()], max_iter=5, random_state=0).fit(np.eye(6), [0, 1, 2] * 2)
    assert len(ends) == 5
    np.testing.assert_array_equal(seen[1:], ends)


def threads():
    """Return the number of threads of SciPy's BLAS, in a list; an empty one where SciPy has none of its own."""
    import scipy.linalg

    assert scipy.linalg
    return [pool["num_threads"] for pool in threadpool_info() if "scipy.libs" in pool["filepath"]]


@pytest.fixture
def _two_threads():
    """SciPy's BLAS with two threads: processes that run tests side by side may have one in any case."""
    if not threads():
        pytest.skip("SciPy has no BLAS of its own here")
    with threadpool_limits(2, "blas"):
        yield


@pytest.mark.usefixtures("_two_threads")
@pytest.mark.parametrize("first_out", [0, 1])
def test_the_blas_of_scipy_has_one_thread_until_the_last_fit_ends(first_out):
    class Waiting(Callback):
        def __init__(self):
            self.began, self.goes_on = threading.Event(), threading.Event()

        def on_epoch_begin(self, run):
            self.began.set()
            assert self.goes_on.wait(60)

        def on_epoch_end(self, run, record):
            # Before SciPy may end without convergence, of which the estimator would warn.
            run.stop("the first iteration is enough")

    def fit(callback):
        classifier = MLPClassifier((3,), solver="lbfgs", callbacks=[callback], max_iter=200, random_state=0)
        classifier.fit(np.eye(6), [0, 1, 2] * 2)

    callbacks = [Waiting(), Waiting()]
    fits = [threading.Thread(target=fit, args=[each]) for each in callbacks]
    for each, callback in zip(fits, callbacks, strict=True):
        each.start()
        assert callback.began.wait(60)
    for i in (first_out, 1 - first_out):
        assert threads() == [1]
        callbacks[i].goes_on.set()
        fits[i].join()
    assert threads() == [2]
