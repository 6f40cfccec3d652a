"""A pickle between two calls of `partial_fit` changes nothing: training stops, and goes on another day."""

import io
import pickle

import joblib
import numpy as np
import pytest
from beside import OURS, TARGETS, both, difference
from beside import X as ROWS
from quick import THREE, X, classifier, same_weights

CLASSES = [0, 1, 2]


def by_pickle(estimator):
    return pickle.loads(pickle.dumps(estimator))


def by_joblib(estimator):
    file = io.BytesIO()
    joblib.dump(estimator, file)
    return joblib.load(file)


def by_skops(estimator):
    skops = pytest.importorskip("skops.io", reason="skops is not installed")
    held = skops.dumps(estimator)
    unknown = skops.get_untrusted_types(data=held)
    assert all(word.startswith("mlpgpu.") for word in unknown), unknown
    return skops.loads(held, trusted=unknown)


@pytest.mark.parametrize("again", [by_pickle, by_joblib])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("task", OURS)
def test_it_is_scikit_learns_where_nothing_is_drawn(task, solver, again):
    estimators = both(task, solver=solver, shuffle=False)
    classes = {"classes": CLASSES} if task == "classifier" else {}
    for _ in range(4):
        estimators = [again(estimator.partial_fit(ROWS, TARGETS[task], **classes)) for estimator in estimators]
    assert difference(*estimators) < 1e-10


@pytest.mark.parametrize("again", [by_pickle, by_joblib, by_skops])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"normalization": "batch"},
        {"dropout": 0.3, "optimizer": "adamw", "replacement": True},
        {"random_state": np.random.RandomState(3)},
        {"dtype": "float32", "freeze": 1},
    ],
    ids=["plain", "normalised", "dropout", "a generator", "a frozen layer"],
)
def test_it_is_the_one_that_was_never_pickled(given, again):
    def parts(between):
        estimator = by_pickle(classifier(**given))
        for _ in range(4):
            estimator = between(estimator.partial_fit(X, THREE, classes=CLASSES))
        return estimator

    found, expected = parts(again), parts(lambda estimator: estimator)
    for name in ("coefs_", "intercepts_"):
        for one, other in zip(getattr(found, name), getattr(expected, name), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12 if one.dtype == np.float64 else 1e-5)
    assert found.loss_curve_ == pytest.approx(expected.loss_curve_, rel=1e-6)


@pytest.mark.parametrize("between", [by_pickle, lambda estimator: estimator], ids=["a pickle", "nothing"])
def test_it_goes_on_on_another_backend(real_backend, between):
    """Beside its weights, the moments of its optimizer move there, and back."""
    there = {"backend": real_backend.name, "device": "cpu" if real_backend.device == "cpu" else "cuda"}
    here = {"backend": "auto", "device": "cpu"}
    moved, stayed = classifier(dropout=0.2), classifier(dropout=0.2)
    for at in (there, here, there, here):
        moved = between(moved.set_params(**at).partial_fit(X, THREE, classes=CLASSES))
        stayed.partial_fit(X, THREE, classes=CLASSES)
    for one, other in zip(moved.coefs_, stayed.coefs_, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-12)


def test_only_with_a_seed_do_several_go_on_alike():
    for seed in (1, None):
        held = pickle.dumps(classifier(random_state=seed).partial_fit(X, THREE, classes=CLASSES))
        one, other = (pickle.loads(held).partial_fit(X, THREE) for _ in range(2))
        assert same_weights(one, other) == (seed is not None)


def test_it_holds_no_more_than_scikit_learns():
    ours, theirs = both("classifier", hidden_layer_sizes=(300, 300))
    for estimator in (ours, theirs):
        estimator.partial_fit(ROWS, TARGETS["classifier"], classes=CLASSES)
    assert len(pickle.dumps(ours)) < 1.05 * len(pickle.dumps(theirs))
