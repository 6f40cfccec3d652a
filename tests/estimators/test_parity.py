"""Fits whose numbers are those of scikit-learn's estimators for the same data, seed and settings."""

import functools
import itertools

import numpy as np
import pandas as pd
import pytest
from beside import (
    BINARY,
    COUNTS,
    MULTILABEL,
    OURS,
    SETTINGS,
    TARGETS,
    THEIRS,
    TRUTH,
    WEIGHTS,
    X_NEW,
    X,
    both,
    difference,
    fit_both,
    quietly,
    relative_error,
)
from scipy import sparse

pytestmark = pytest.mark.usefixtures("one_thread")


# Early stopping, learning rate, shuffle and weights: all together with one activation, and every pair of them with the
# others, since an activation shares no code with them.
EVERY = [*itertools.product([False, True], ["constant", "invscaling", "adaptive"], [True, False], [None, WEIGHTS])]
IN_PAIRS = [
    (False, "constant", True, None),
    (True, "constant", False, WEIGHTS),
    (False, "invscaling", False, WEIGHTS),
    (True, "invscaling", True, None),
    (False, "adaptive", True, WEIGHTS),
    (True, "adaptive", False, None),
]


@functools.cache
def compared(solver, activation, task):
    """Return the difference, whether the run ended early and whether its rate was divided, for each other setting."""
    found = []
    for early_stopping, learning_rate, shuffle, weights in EVERY if activation == "relu" else IN_PAIRS:
        settings = {"early_stopping": early_stopping, "learning_rate": learning_rate, "shuffle": shuffle}
        ours, theirs = pair = both(task, solver=solver, activation=activation, **settings)
        fit_both(pair, X, TARGETS[task], sample_weight=weights)
        divided = (solver, learning_rate) == ("sgd", "adaptive") and theirs._optimizer.learning_rate < 0.05
        found.append((difference(ours, theirs), theirs.n_iter_ < theirs.max_iter, divided))
    return found


SOLVERS, ACTIVATIONS = ("adam", "sgd", "lbfgs"), ("relu", "logistic", "tanh", "identity")


@pytest.mark.parametrize("task", OURS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_setting_gives_scikit_learns_numbers(solver, activation, task):
    assert max(worst for worst, *_ in compared(solver, activation, task)) < 1e-10


@pytest.mark.parametrize("solver", SOLVERS)
def test_those_settings_reach_both_ends_of_a_run(solver):
    """At least a fifth of the runs reach each end; otherwise the stopping rules would hardly be compared."""
    found = [one for rest in itertools.product(ACTIVATIONS, OURS) for one in compared(solver, *rest)]
    _, ended_early, divided = (np.array(column) for column in zip(*found, strict=True))
    assert 0.2 < ended_early.mean() < 0.8
    # A third of the runs are adaptive.
    assert divided.mean() > 0.2 / 3 or solver != "sgd"


CASES = {
    "binary": ("classifier", X, BINARY, {}),
    "binary, part of it held out": ("classifier", X, BINARY, {"early_stopping": True}),
    "multilabel": ("classifier", X, MULTILABEL, {}),
    "multilabel, part of it held out": ("classifier", X, MULTILABEL, {"early_stopping": True}),
    "labels that are 255": ("classifier", X, 255 * MULTILABEL, {}),
    "one class": ("classifier", X, np.full(len(X), 7), {}),
    "one class, part of it held out": ("classifier", X, np.full(len(X), 7), {"early_stopping": True}),
    "names": ("classifier", X, np.array(["ash", "beech", "oak"])[TARGETS["classifier"]], {}),
    "two names": ("classifier", X, np.array(["yes", "no"], object)[BINARY], {"early_stopping": True}),
    "truth": ("classifier", X, BINARY.astype(bool), {}),
    "a column of classes": ("classifier", X, BINARY[:, None], {}),
    "a column of targets": ("regressor", X, TARGETS["regressor"][:, None], {}),
    "several targets": ("regressor", X, TRUTH, {}),
    "several targets, part of them held out": ("regressor", X, TRUTH, {"early_stopping": True}),
    "counts": ("regressor", X, COUNTS, {"loss": "poisson", "learning_rate_init": 0.01}),
    "several counts": ("regressor", X, np.c_[COUNTS, COUNTS[::-1]], {"loss": "poisson", "learning_rate_init": 0.01}),
    "CSR": ("classifier", sparse.csr_matrix(X * (X > 0)), TARGETS["classifier"], {}),
    "CSC": ("regressor", sparse.csc_matrix(X * (X > 0)), TARGETS["regressor"], {"early_stopping": True}),
    "a table": ("regressor", pd.DataFrame(X, columns=list("abcde")), TARGETS["regressor"], {"early_stopping": True}),
    "no momentum": ("classifier", X, TARGETS["classifier"], {"momentum": 0.0}),
    "Polyak's momentum": ("classifier", X, TARGETS["classifier"], {"nesterovs_momentum": False}),
    "other moments": ("regressor", X, TARGETS["regressor"], {"beta_1": 0.0, "beta_2": 0.9, "epsilon": 1e-3}),
    "another power": ("regressor", X, TARGETS["regressor"], {"learning_rate": "invscaling", "power_t": 0.2}),
    "no hidden layer": ("classifier", X, TARGETS["classifier"], {"hidden_layer_sizes": ()}),
    "few evaluations": ("regressor", X, TARGETS["regressor"], {"max_fun": 4}),
    "half of it held out": (
        "classifier",
        X,
        TARGETS["classifier"],
        {"early_stopping": True, "validation_fraction": 0.5},
    ),
    "one hidden layer": ("regressor", X, TARGETS["regressor"], {"hidden_layer_sizes": 6}),
    "no penalty": ("regressor", X, TARGETS["regressor"], {"alpha": 0}),
    "batches larger than the data": ("classifier", X, TARGETS["classifier"], {"batch_size": 1000}),
    "batches of 200": (
        "classifier",
        np.tile(X, (6, 1)),
        np.tile(TARGETS["classifier"], 6),
        {"batch_size": "auto", "max_iter": 5},
    ),
    "a rate too low to divide": (
        "regressor",
        X,
        TARGETS["regressor"],
        {"learning_rate": "adaptive", "learning_rate_init": 1e-6},
    ),
}


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_problem_gives_scikit_learns_numbers(case, solver):
    task, x, y, settings = CASES[case]
    ours, theirs = pair = both(task, solver=solver, **settings)
    fit_both(pair, x, y)
    assert difference(ours, theirs, x) < 1e-10
    weights = np.resize(WEIGHTS, x.shape[0])
    assert relative_error(ours.score(x, y, weights), theirs.score(x, y, weights)) < 1e-10
    np.testing.assert_array_equal(getattr(ours, "feature_names_in_", None), getattr(theirs, "feature_names_in_", None))


@pytest.mark.parametrize("task", OURS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_random_state_is_drawn_from_as_scikit_learn_does(solver, task):
    states = [np.random.RandomState(5) for _ in range(2)]
    pair = tuple(
        kinds[task](**SETTINGS | {"solver": solver, "early_stopping": True, "random_state": state})
        for kinds, state in zip((OURS, THEIRS), states, strict=True)
    )
    # The second fit continues the random sequence where the first ended.
    for _ in range(2):
        fit_both(pair, X, TARGETS[task])
        assert difference(*pair) < 1e-10
    assert len({state.randint(2**31) for state in states}) == 1


@pytest.mark.parametrize(
    "given",
    [
        {"alpha": False},
        {"alpha": True, "solver": "lbfgs"},
        {"beta_1": False, "epsilon": True},
        {"momentum": False, "solver": "sgd"},
        {"power_t": True, "solver": "sgd", "learning_rate": "invscaling"},
    ],
    ids=str,
)
def test_true_and_false_are_numbers(given):
    ours, theirs = pair = both("regressor", **given)
    fit_both(pair, X, TARGETS["regressor"])
    assert difference(ours, theirs, X_NEW) < 1e-10


@pytest.mark.parametrize("task", OURS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_float32_stays_float32(solver, task):
    ours, theirs = pair = both(task, solver=solver, max_iter=3)
    x, new = X.astype(np.float32), X_NEW.astype(np.float32)
    fit_both(pair, x, TARGETS[task])
    assert {array.dtype for array in ours.coefs_ + ours.intercepts_} == {np.dtype(np.float32)}
    # Rounding differs, and three epochs amplify it little.
    assert difference(ours, theirs, new) < 100 * np.finfo(np.float32).eps
    # scikit-learn's L-BFGS returns float64.
    if solver != "lbfgs":
        assert ours.predict(new).dtype == theirs.predict(new).dtype
        assert ours.predict(X_NEW).dtype == theirs.predict(X_NEW).dtype


@pytest.mark.parametrize("task", OURS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_warm_start_goes_on_as_scikit_learns_does(solver, task):
    pair = both(task, solver=solver, warm_start=True)
    for _ in range(3):
        fit_both(pair, X, TARGETS[task])
        assert difference(*pair) < 1e-10


@pytest.mark.parametrize("learning_rate", ["constant", "adaptive", "invscaling"])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_a_warm_start_with_early_stopping_carries_scores_and_counts_over(solver, learning_rate):
    """The rates are low enough for each fit to find better weights; the next test has a fit that does not."""
    pair = both(
        "regressor",
        **{"solver": solver, "learning_rate": learning_rate, "learning_rate_init": 0.005, "max_iter": 4, "tol": 1e-4},
        **{"early_stopping": True, "warm_start": True},
    )
    scores = []
    for _ in range(3):
        fit_both(pair, X, TARGETS["regressor"])
        assert difference(*pair) < 1e-10
        scores.append(pair[0].best_validation_score_)
    assert scores == sorted(set(scores))
    assert len(pair[0].validation_scores_) == len(pair[0].history_) == 12


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("learning_rate", ["constant", "adaptive"])
def test_verbose_prints_scikit_learns_lines(learning_rate, early_stopping, capsys):
    said = []
    for estimator in both(
        "classifier", solver="sgd", learning_rate=learning_rate, early_stopping=early_stopping, tol=0.1, verbose=True
    ):
        quietly(estimator, X, TARGETS["classifier"])
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert "did not improve" in said[0]
