"""Agreement with scikit-learn's estimators for the same data, seed and settings, and the deliberate differences."""

import functools
import itertools
import math
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse, special
from sklearn import neural_network
from threadpoolctl import threadpool_limits

from mlpgpu import MLPClassifier, MLPRegressor

OURS = {"classifier": MLPClassifier, "regressor": MLPRegressor}
THEIRS = {"classifier": neural_network.MLPClassifier, "regressor": neural_network.MLPRegressor}

RNG = np.random.default_rng(20260101)
X, X_NEW = RNG.normal(size=(72, 5)), RNG.normal(size=(20, 5))
TRUTH = np.tanh(X @ RNG.normal(size=(5, 3)))
TARGETS = {
    "classifier": (TRUTH + 0.3 * RNG.gumbel(size=TRUTH.shape)).argmax(1),
    "regressor": TRUTH[:, 0] + 0.1 * RNG.normal(size=len(X)),
}
BINARY, MULTILABEL, COUNTS = (
    (TRUTH[:, 0] > 0.2).astype(int),
    (TRUTH > 0.1).astype(int),
    RNG.poisson(np.exp(TRUTH[:, 0])),
)
WEIGHTS = RNG.uniform(0.2, 3, size=len(X))

# Low patience and a high learning rate, so that runs end before max_iter and adaptive rates fall within a few epochs.
SETTINGS = {
    "hidden_layer_sizes": (7, 4),
    "batch_size": 20,
    "max_iter": 12,
    "n_iter_no_change": 2,
    "tol": 0.01,
    "learning_rate_init": 0.05,
    "alpha": 0.01,
    "random_state": 3,
}
# Never ends before max_iter.
ENDLESS = SETTINGS | {"max_iter": 6, "tol": 0.0, "n_iter_no_change": math.inf}

COUNTED = ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_", "_no_improvement_count")
MEASURED = ("loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_")


@pytest.fixture(autouse=True)
def _one_thread():
    """Limit BLAS to one thread: more do not speed up products this small, and wait for each other under load."""
    with threadpool_limits(1):
        yield


def fit(estimator, *data, **more):
    """Fit the estimator; return it and the categories of the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator.fit(*data, **more)
    return estimator, [warning.category for warning in caught]


def quietly(estimator, *data, **more):
    return fit(estimator, *data, **more)[0]


def fit_both(pair, *data, **more):
    (_, ours), (_, theirs) = (fit(estimator, *data, **more) for estimator in pair)
    assert ours == theirs


def both(task, **settings):
    """Return our estimator and scikit-learn's."""
    return OURS[task](**(SETTINGS | settings)), THEIRS[task](**(SETTINGS | settings))


def relative_error(ours, theirs):
    """Return the largest absolute difference, divided by the largest absolute value."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    return np.abs(ours - theirs).max() / (np.abs(theirs).max() or 1)


def difference(ours, theirs, x=X_NEW):
    """Return the largest relative difference of weights, losses, scores and predictions; counts must be equal."""
    for name in (*COUNTED, *MEASURED):
        assert hasattr(ours, name) == hasattr(theirs, name), name
    for name in COUNTED:
        assert getattr(ours, name, None) == getattr(theirs, name, None), name
    pairs = [*zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True)]
    for name in MEASURED:
        if getattr(theirs, name, None) is None:
            assert getattr(ours, name, None) is None, name
        else:
            pairs.append((getattr(ours, name), getattr(theirs, name)))
    if getattr(theirs, "validation_scores_", None) is None:
        pairs.append((ours.loss_, theirs.loss_))
    if hasattr(theirs, "classes_"):
        np.testing.assert_array_equal(ours.classes_, theirs.classes_, strict=True)
        np.testing.assert_array_equal(ours.predict(x), theirs.predict(x), strict=True)
        pairs.append((ours.predict_proba(x), theirs.predict_proba(x)))
    else:
        pairs.append((ours.predict(x), theirs.predict(x)))
    return max(relative_error(*pair) for pair in pairs)


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


# Hundreds of runs, twice as slow under coverage; other tests reach all of their lines.
@pytest.mark.uncounted
@pytest.mark.parametrize("task", OURS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_setting_gives_scikit_learns_numbers(solver, activation, task):
    assert max(worst for worst, *_ in compared(solver, activation, task)) < 1e-10


@pytest.mark.uncounted
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


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_a_warm_start_that_finds_no_better_weights_keeps_the_best(solver):
    """scikit-learn keeps training in the arrays that hold its best weights, and so ends with the last weights."""
    ours, theirs = pair = both("classifier", solver=solver, early_stopping=True, warm_start=True)
    fit_both(pair, X, BINARY)
    # No score is better than 1.
    for estimator in pair:
        estimator.best_validation_score_ = 1.0
    before, loss = [[w.copy() for w in estimator.coefs_] for estimator in pair], ours.loss_
    fit_both(pair, X, BINARY)
    for name in COUNTED:
        assert getattr(ours, name) == getattr(theirs, name)
    assert max(itertools.starmap(relative_error, zip(ours.coefs_, before[0], strict=True))) == 0
    assert ours.loss_ == loss
    assert max(itertools.starmap(relative_error, zip(theirs.coefs_, before[1], strict=True))) > 0.01


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


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("task", OURS)
def test_the_first_call_of_partial_fit_is_scikit_learns(task, solver):
    ours, theirs = both(task, solver=solver, learning_rate="invscaling")
    classes = {"classes": [0, 1, 2]} if task == "classifier" else {}
    for estimator in (ours, theirs):
        estimator.partial_fit(X, TARGETS[task], sample_weight=WEIGHTS, **classes)
    assert difference(ours, theirs) < 1e-10


@pytest.mark.parametrize("learning_rate", ["constant", "invscaling", "adaptive"])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_later_calls_of_partial_fit_are_scikit_learns_where_nothing_is_drawn(solver, learning_rate):
    ours, theirs = both("regressor", solver=solver, learning_rate=learning_rate, shuffle=False)
    for part in (X, -X, X[:30], X, X, X, X, X):
        for estimator in (ours, theirs):
            estimator.partial_fit(part, part[:, 0] ** 2)
        assert difference(ours, theirs) < 1e-10


SET_LATER = {
    "solver": {"adam": "sgd", "sgd": "adam"},
    "learning_rate": {"constant": "invscaling", "invscaling": "adaptive", "adaptive": "constant"},
    "learning_rate_init": {0.001: 0.1},
    "power_t": {0.5: 0.1},
    "momentum": {0.9: 0.1},
    "nesterovs_momentum": {True: False},
    "beta_1": {0.9: 0.1},
    "beta_2": {0.999: 0.5},
    "epsilon": {1e-8: 0.1},
    "alpha": {0.0001: 1.0},
    "n_iter_no_change": {2: 1},
}


@pytest.mark.parametrize("name", SET_LATER)
@pytest.mark.parametrize("learning_rate", ["constant", "invscaling", "adaptive"])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_what_is_set_between_calls_of_partial_fit_does_what_it_does_in_scikit_learn(solver, learning_rate, name):
    """scikit-learn creates the optimizer in the first call, and reads the other parameters in each call."""
    ours, theirs = both("regressor", solver=solver, learning_rate=learning_rate, shuffle=False, tol=0.1)
    for estimator in (ours, theirs):
        for _ in range(3):
            estimator.partial_fit(X, TARGETS["regressor"])
        estimator.set_params(**{name: SET_LATER[name].get(getattr(estimator, name), 0.1)})
        for _ in range(4):
            estimator.partial_fit(X, TARGETS["regressor"])
    assert difference(ours, theirs) < 1e-10


@pytest.mark.parametrize("first", [np.float32, np.float64])
def test_partial_fit_keeps_the_float_type_and_the_optimizer_of_its_first_call(first):
    ours, theirs = both("regressor", shuffle=False)
    for kind in (first, np.float64, np.float32, np.float64):
        for estimator in (ours, theirs):
            estimator.partial_fit(X.astype(kind), TARGETS["regressor"])
    assert {array.dtype for array in ours.coefs_} == {array.dtype for array in theirs.coefs_} == {np.dtype(first)}
    # scikit-learn computes partly in the dtype of the rows.
    assert difference(ours, theirs) < 100 * np.finfo(np.float32).eps


# Deliberate differences from scikit-learn.

UNINTERRUPTED = {
    "Adam": {},
    "descent": {"solver": "sgd"},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling"},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 0.1},
    "dropout": {"dropout": 0.3, "input_dropout": 0.1},
    "in order": {"shuffle": False},
    "an optimizer": {"optimizer": "lion", "learning_rate_init": 0.003, "weight_decay": 0.1},
}


def assert_identical(one, other):
    for name in ("coefs_", "intercepts_"):
        for a, b in zip(getattr(one, name), getattr(other, name), strict=True):
            np.testing.assert_array_equal(a, b, strict=True)
    assert one.loss_curve_ == other.loss_curve_
    assert (one.t_, one.loss_, one.best_loss_) == (other.t_, other.loss_, other.best_loss_)
    assert [record["epoch"] for record in one.history_] == [record["epoch"] for record in other.history_]


@pytest.mark.parametrize("fitted_first", [False, True])
@pytest.mark.parametrize("seed", [int, np.random.RandomState])
@pytest.mark.parametrize("task", OURS)
@pytest.mark.parametrize("settings", UNINTERRUPTED)
def test_calls_of_partial_fit_are_the_epochs_of_one_fit(settings, task, seed, fitted_first):
    """scikit-learn restarts its random generator in each call, so every epoch has the same row order."""
    y, first = TARGETS[task], 2 if fitted_first else 0
    whole, parts = (OURS[task](**ENDLESS | UNINTERRUPTED[settings] | {"random_state": seed(4)}) for _ in range(2))
    quietly(whole, X, y, sample_weight=WEIGHTS)
    if settings == "adaptive":
        assert whole.history_[-1]["learning_rate"] < whole.history_[0]["learning_rate"]
    if fitted_first:
        quietly(parts.set_params(max_iter=first), X, y, sample_weight=WEIGHTS)
    classes = {"classes": np.unique(y)} if task == "classifier" else {}
    for _ in range(ENDLESS["max_iter"] - first):
        parts.partial_fit(X, y, sample_weight=WEIGHTS, **classes)
    assert_identical(parts, whole)


@pytest.mark.parametrize("task", OURS)
@pytest.mark.parametrize(
    ("settings", "why"), [({"solver": "lbfgs"}, "stochastic"), ({"early_stopping": True}, "early_stopping=True")]
)
def test_partial_fit_is_there_only_where_it_works(task, settings, why):
    estimator = OURS[task](**settings)
    assert not hasattr(estimator, "partial_fit")
    # The error is of both classes, for callers that catch those of scikit-learn.
    for kind in (AttributeError, ValueError):
        with pytest.raises(kind, match=why):
            estimator.partial_fit(X, TARGETS[task])
    assert hasattr(OURS[task](), "partial_fit")


@pytest.mark.parametrize("by", ["fit", "partial_fit"])
@pytest.mark.parametrize("task", OURS)
def test_other_layers_need_another_fit(task, by):
    estimator = quietly(OURS[task](**SETTINGS, warm_start=True), X, TARGETS[task])
    before = [w.copy() for w in estimator.coefs_]
    estimator.set_params(hidden_layer_sizes=(6, 4))
    instead = "warm_start=False" if by == "fit" else "give the same again"
    with pytest.raises(ValueError, match=rf"hidden_layer_sizes=\(6, 4\).*{instead}, or fit a new estimator"):
        getattr(estimator, by)(X, TARGETS[task])
    assert all(itertools.starmap(np.array_equal, zip(estimator.coefs_, before, strict=True)))


@pytest.mark.parametrize("task", OURS)
def test_sizes_that_are_no_whole_numbers(task):
    for estimator in both(task, hidden_layer_sizes=(2.9,)):
        with pytest.raises(TypeError):
            estimator.fit(X, TARGETS[task])


def test_a_sparse_column_is_no_target():
    y = sparse.csr_matrix(BINARY[:, None])
    for estimator in both("classifier"):
        with pytest.raises(TypeError, match="sparse|Sparse"):
            estimator.fit(X, y)
    begun = MLPClassifier(**SETTINGS).partial_fit(X, BINARY, classes=[0, 1])
    calls = [
        lambda: MLPClassifier().partial_fit(X, y, classes=[0, 1]),
        lambda: begun.partial_fit(X, y),
        lambda: begun.partial_fit(X, sparse.csr_array(np.c_[BINARY, BINARY])),
        lambda: begun.set_params(warm_start=True).fit(X, y),
        lambda: MLPClassifier(**SETTINGS).fit(X, BINARY, X_val=X, y_val=y),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=r"y is a sparse matrix of shape \(\d+, [12]\).*y\.toarray\(\)\.ravel\(\)"):
            call()


def test_poisson_takes_no_negative_targets():
    y = COUNTS.astype(float)
    y[3] = -0.5
    with pytest.raises(ValueError, match=r"loss 'poisson'.*-0\.5"):
        MLPRegressor(loss="poisson").fit(X, y)


@pytest.mark.parametrize("kind", [int, str])
def test_two_columns_of_classes_are_refused_in_one_sentence(kind):
    y = TARGETS["classifier"]
    both = np.c_[y, y].astype(kind)
    begun, first = MLPClassifier(**SETTINGS).partial_fit(X, y, classes=[0, 1, 2]), MLPClassifier()
    calls = [
        neural_network.MLPClassifier().fit,
        first.fit,
        functools.partial(first.partial_fit, classes=[0, 1, 2]),
        begun.partial_fit,
        begun.set_params(warm_start=True).fit,
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"^Multioutput target data is not supported with label binarization.*$"):
            call(X, both)


LOUD = 1e4 * X_NEW


@pytest.mark.parametrize("y", [BINARY, TARGETS["classifier"], MULTILABEL], ids=["binary", "multiclass", "multilabel"])
def test_log_probabilities_are_finite_however_sure_the_network(y):
    ours, theirs = pair = both("classifier", activation="identity")
    fit_both(pair, X, y)
    with np.errstate(divide="ignore"):
        assert not np.isfinite(theirs.predict_log_proba(LOUD)).all()
        # For two classes, scikit-learn takes the logarithm of 1 - p, which loses its digits where p is close to 1.
        quiet = 0.1 * X_NEW
        np.testing.assert_allclose(ours.predict_log_proba(quiet), theirs.predict_log_proba(quiet), rtol=1e-9)
    found = ours.predict_log_proba(LOUD)
    assert np.isfinite(found).all()
    if y is MULTILABEL:
        # Logarithms of the probabilities of predict_proba, which are strictly between 0 and 1.
        assert found.max() < 0
        return
    z = LOUD
    for w, b in zip(ours.coefs_, ours.intercepts_, strict=True):
        z = z @ w + b
    wanted = special.log_expit(np.c_[-z, z]) if y is BINARY else special.log_softmax(z, axis=1)
    # As in predict_proba, no probability is below the smallest normal number.
    wanted = np.maximum(wanted, np.log(np.finfo(np.float64).smallest_normal))
    # Values close to 0 are differences of large numbers.
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9 * np.abs(z).max())


@pytest.mark.parametrize("task", OURS)
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_the_loss_after_early_stopping_is_that_of_the_weights_kept(solver, task):
    """scikit-learn's `loss_` is that of the last epoch."""
    ours, theirs = pair = both(task, solver=solver, early_stopping=True, tol=0.0, max_iter=100)
    fit_both(pair, X, TARGETS[task])
    best = int(np.argmax(theirs.validation_scores_))
    assert best + 1 < theirs.n_iter_ < 100
    assert relative_error(ours.loss_, theirs.loss_curve_[best]) < 1e-10
    assert theirs.loss_ == theirs.loss_curve_[-1]


def test_a_pickle_holds_what_prediction_needs_and_no_more():
    """scikit-learn's also holds the moments of Adam, the best weights and the generator's state."""
    ours, theirs = pair = both("classifier", hidden_layer_sizes=(500, 500), max_iter=2, n_iter_no_change=10)
    fit_both(pair, X, TARGETS["classifier"])
    size = sum(array.nbytes for array in ours.coefs_ + ours.intercepts_)
    held = pickle.dumps(ours)
    assert len(held) < 1.2 * size < len(pickle.dumps(theirs)) / 2
    again = pickle.loads(held)
    for method in ("predict", "predict_proba", "predict_log_proba"):
        np.testing.assert_array_equal(getattr(again, method)(X_NEW), getattr(ours, method)(X_NEW), strict=True)
    assert again.get_params() == ours.get_params()
    assert again.loss_curve_ == ours.loss_curve_


def test_batches_without_weight_change_nothing():
    settings = {"solver": "sgd", "momentum": 0.0, "shuffle": False, "batch_size": 12, "alpha": 0.0}
    weights, idle = WEIGHTS.copy(), slice(24, 36)
    weights[idle] = 0
    ours, theirs = both("regressor", **settings)
    with pytest.raises(ZeroDivisionError):
        theirs.fit(X, TARGETS["regressor"], sample_weight=weights)
    quietly(ours, X, TARGETS["regressor"], sample_weight=weights)
    _, rest = both("regressor", **settings)
    quietly(rest, np.delete(X, idle, 0), np.delete(TARGETS["regressor"], idle), sample_weight=np.delete(WEIGHTS, idle))
    assert max(itertools.starmap(relative_error, zip(ours.coefs_, rest.coefs_, strict=True))) < 1e-10


@pytest.mark.parametrize(("task", "y"), [("classifier", [0, 1] * 5), ("regressor", np.arange(10.0))])
def test_early_stopping_works_with_ten_rows(task, y):
    ours, theirs = both(task, early_stopping=True)
    with pytest.raises(ValueError, match=r"validation set is too small|should be greater or equal"):
        theirs.fit(X[:10], y)
    quietly(ours, X[:10], y)
    assert len(ours.validation_scores_) == ours.n_iter_
    # Two rows are held out.
    assert ours.t_ == 8 * ours.n_iter_
