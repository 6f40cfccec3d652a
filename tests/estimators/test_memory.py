"""The memory of a fit, as tracemalloc counts it: copies of the rows and targets, and what is left of them."""

import gc
import tracemalloc

import numpy as np
import pytest
from quick import classifier

from mlpgpu import MLPRegressor
from mlpgpu.training.checkpoint import fingerprint
from mlpgpu.training.feed import Rows

N_ROWS, N_COLUMNS = 20_000, 60
SIZE = N_ROWS * N_COLUMNS


def peak(x, y, **settings):
    """Return the bytes at the peak of the second of two fits, which imports nothing."""
    regressor = MLPRegressor(hidden_layer_sizes=(4,), max_iter=1, batch_size=1000, random_state=0, **settings)
    with pytest.warns(UserWarning, match="Maximum iterations"):
        regressor.fit(x[:2000], y[:2000])
    tracemalloc.start()
    try:
        with pytest.warns(UserWarning, match="Maximum iterations"):
            regressor.fit(x, y)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# In multiples of the rows in float64; their orders and masks, and some steps and validation rows, come on top.
@pytest.mark.parametrize(("dtype", "order", "outputs", "settings", "copies"), [
    ("float64", "C", 1, {}, 0),
    ("float64", "F", 1, {}, 1),
    ("uint8", "C", 1, {}, 1),
    ("uint8", "F", 1, {}, 1),
    ("float32", "C", N_COLUMNS, {}, 0),
    ("float64", "C", N_COLUMNS, {"early_stopping": True}, 2),
    ("float64", "F", N_COLUMNS, {"early_stopping": True}, 2),
])  # fmt: skip
def test_rows_and_targets_are_copied_only_where_they_must_be(rng, dtype, order, outputs, settings, copies):
    x = np.asarray(rng.integers(0, 9, size=(N_ROWS, N_COLUMNS)), dtype, order=order)
    y = rng.normal(size=(N_ROWS, outputs)).astype(np.float32 if dtype == "float32" else np.float64)
    y = y[:, 0] if outputs == 1 else y
    assert copies <= peak(x, y, **settings) / (8 * SIZE) < copies + 0.6


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_targets_in_float32_are_those_in_float64(rng):
    """Also in the validation score, which is computed in float64."""
    x, y = rng.normal(size=(60, 3)).astype(np.float32), rng.normal(size=(60, 2)).astype(np.float32)
    one, other = (
        MLPRegressor(hidden_layer_sizes=(4,), max_iter=50, random_state=0, early_stopping=True).fit(x, given)
        for given in (y, y.astype(np.float64))
    )
    assert one.validation_scores_ == other.validation_scores_
    assert one.loss_curve_ == other.loss_curve_


def test_checkpoints_of_targets_in_float64_suit_those_in_float32(rng):
    """Earlier versions converted targets to float64, and a fit of theirs can be resumed."""
    x, y = rng.normal(size=(6, 3)).astype(np.float32), rng.normal(size=(6, 2)).astype(np.float32)
    assert fingerprint(Rows(x, y), np.asarray) == fingerprint(Rows(x, y.astype(np.float64)), np.asarray)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("method", "given", "settings"),
    [
        ("fit", {}, {}),
        ("fit", {}, {"early_stopping": True}),
        ("fit", {}, {"dtype": "float32", "dropout": 0.1}),
        ("partial_fit", {"classes": [False, True]}, {}),
    ],
)
def test_rows_are_given_back_after_a_fit(method, given, settings):
    """They are freed at once: a fit has few objects for many rows, so the garbage collector would run late."""
    x = np.random.default_rng(0).integers(0, 256, size=(10_000, 100), dtype=np.uint8)
    y = x[:, 0] > 100

    def fitted():
        return getattr(classifier(max_iter=1, **settings), method)(x, y, **given)

    # What a first fit imports, compiles and caches is not counted.
    fitted()
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        model = fitted()
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert model.n_features_in_ == 100
    # A fit's copy of the rows has at least four bytes per number, the caller's rows have one.
    assert left < x.nbytes
