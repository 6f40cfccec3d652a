"""Unusual rows and targets: the results and errors of scikit-learn's estimators, or deliberately better ones."""

import itertools
import json
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn import neural_network

from mlpgpu import MLPClassifier, MLPRegressor, train

pytestmark = pytest.mark.usefixtures("one_thread")

PAIRS = {
    "classifier": (MLPClassifier, neural_network.MLPClassifier),
    "regressor": (MLPRegressor, neural_network.MLPRegressor),
}
SETTINGS = {"hidden_layer_sizes": (6,), "max_iter": 4, "batch_size": 20, "random_state": 0}

RNG = np.random.default_rng(20260101)
X = RNG.normal(size=(60, 4))
TARGETS = {"classifier": (X[:, 0] + X[:, 1] > 0).astype(int) + (X[:, 2] > 1), "regressor": 2 * X[:, 0] + X[:, 1]}


def having(array, value, row=3):
    """Return a copy with another value in one row."""
    changed = array.astype(float) if isinstance(value, float) else array.astype(object)
    changed[row, ...] = value
    return changed


def outcome(estimator, x, y):
    """Return the fitted weights and the predictions, or the error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            estimator.fit(x, y)
            predicted = estimator.predict(x)
        except Exception as error:
            return error
        return [*estimator.coefs_, *estimator.intercepts_], predicted


def outcomes(task, x, y, **settings):
    return [outcome(kind(**SETTINGS, **settings), x, y) for kind in PAIRS[task]]


SAME = {
    "one row": lambda x, y: (x[:1], y[:1]),
    "two rows": lambda x, y: (x[:2], y[:2]),
    "one class": lambda x, y: (x, 0 * y),
    "one feature": lambda x, y: (x[:, :1], y),
    "constant features": lambda x, y: (np.ones_like(x), y),
    "features of zero": lambda x, y: (0 * x, y),
    "1e30": lambda x, y: (1e30 * x, y),
    "1e-30": lambda x, y: (1e-30 * x, y),
    "object": lambda x, y: (x.astype(object), y),
    "truth values": lambda x, y: (x > 0, y),
    "whole numbers": lambda x, y: ((10 * x).astype(np.int64), y),
    "half precision": lambda x, y: (x.astype(np.float16), y),
    "extended precision": lambda x, y: (x.astype(np.longdouble), y),
    "other byte order": lambda x, y: (x.astype(">f8"), y),
    "lists": lambda x, y: (x.tolist(), y.tolist()),
    "a table of mixed types": lambda x, y: (pd.DataFrame({"i": np.arange(60) % 5, "x": x[:, 0], "b": x[:, 1] > 0}), y),
    "a table of objects": lambda x, y: (pd.DataFrame(x).astype(object), y),
    "targets in a column": lambda x, y: (x, y[:, None]),
}


# With huge features, sgd diverges, and scikit-learn clips the loss that lbfgs minimises: both are tested below.
APART = {("1e30", "sgd", task) for task in PAIRS} | {("1e30", "lbfgs", "classifier")}
COMPARED = [case for case in itertools.product(SAME, ["adam", "sgd", "lbfgs"], PAIRS) if case not in APART]


@pytest.mark.parametrize(("name", "solver", "task"), COMPARED)
def test_what_works_there_gives_the_same_here(name, solver, task):
    (ours, predicted), (theirs, expected) = outcomes(task, *SAME[name](X, TARGETS[task]), solver=solver)
    for own, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(own, other, rtol=0, atol=1e-10 * np.abs(other).max())
    np.testing.assert_allclose(predicted, expected, rtol=1e-9, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("scale", [1e30, 1e160])
def test_the_loss_of_huge_features_is_not_cut_off(scale):
    """It grows with the features; scikit-learn's is 36.04 at most, as it clips probabilities at 2.2e-16."""
    ours, theirs = (kind(**SETTINGS) for kind in PAIRS["classifier"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for estimator in (ours, theirs):
            estimator.fit(scale * X, TARGETS["classifier"])
    assert theirs.loss_curve_[0] < 40
    assert scale / 100 < ours.loss_curve_[0] < 100 * scale
    np.testing.assert_array_equal(ours.predict(scale * X), theirs.predict(scale * X))


@pytest.mark.parametrize("task", PAIRS)
def test_huge_features_are_more_than_sgd_can_do(task):
    ours, theirs = outcomes(task, 1e30 * X, TARGETS[task], solver="sgd")
    assert "Solver produced non-finite parameter weights" in str(theirs)
    assert str(ours).startswith(str(theirs))
    assert "try StandardScaler" in str(ours)


FAILS = {
    "nan": lambda x, y: (having(x, np.nan), y),
    "inf": lambda x, y: (having(x, np.inf), y),
    "-inf": lambda x, y: (having(x, -np.inf), y),
    "no rows": lambda x, y: (x[:0], y[:0]),
    "no features": lambda x, y: (x[:, :0], y),
    "an axis": lambda x, y: (x[:, 0], y),
    "three axes": lambda x, y: (x[None], y),
    "too few targets": lambda x, y: (x, y[:-1]),
    "too many targets": lambda x, y: (x[:-1], y),
    "no targets": lambda x, y: (x, None),
    "targets of three axes": lambda x, y: (x, y[:, None, None]),
    "nan among the targets": lambda x, y: (x, having(y, np.nan)),
    "inf among the targets": lambda x, y: (x, having(y, np.inf)),
    "complex": lambda x, y: (x + 1j, y),
    "an object that is text": lambda x, y: (having(x, "text"), y),
    "an object that is None": lambda x, y: (having(x, None), y),
    "a number of 400 digits": lambda x, y: (having(x, 10**400), y),
    "text": lambda x, y: (np.full(x.shape, "a"), y),
    "a column of text": lambda x, y: (pd.DataFrame(x).assign(s="a"), y),
    "a column of gaps": lambda x, y: (pd.DataFrame(x).assign(s=pd.array([1, None] * 30, dtype="Int64")), y),
    "rows of different lengths": lambda x, y: ([[1, 2], [1]] * 30, y),
    "records": lambda x, y: (np.zeros(60, [("a", "f8")]), y),
    "None": lambda x, y: (None, y),
    "a word": lambda x, y: ("abc", y),
}


@pytest.mark.parametrize("task", PAIRS)
@pytest.mark.parametrize("name", FAILS)
def test_what_fails_there_fails_here_with_the_same_words(name, task):
    ours, theirs = outcomes(task, *FAILS[name](X, TARGETS[task]))
    assert isinstance(theirs, ValueError | TypeError | OverflowError)
    assert type(ours) is type(theirs)
    # The messages name the class, which has the same name in both libraries; ours may go on to say what to do.
    assert str(ours).startswith(str(theirs))


@pytest.mark.parametrize("task", PAIRS)
@pytest.mark.parametrize("method", ["predict", "score", "partial_fit"])
@pytest.mark.parametrize(
    "name", ["nan", "inf", "no rows", "an axis", "complex", "an object that is text", "three axes"]
)
def test_so_do_other_methods(name, task, method):
    said = []
    for kind in PAIRS[task]:
        estimator = kind(**SETTINGS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator.fit(X, TARGETS[task])
        x, y = FAILS[name](X, TARGETS[task])
        with pytest.raises((ValueError, TypeError)) as caught:
            getattr(estimator, method)(*([x] if method == "predict" else [x, y]))
        said.append((caught.type, str(caught.value)))
    assert said[0][0] == said[1][0]
    assert said[0][1].startswith(said[1][1])


@pytest.mark.parametrize("task", PAIRS)
@pytest.mark.parametrize("kind", ["U24", "S24", "M8[s]"])
def test_rows_that_fit_takes_are_predicted_too(task, kind):
    """scikit-learn's fit converts numbers written as text, and dates, to numbers, but its predict refuses them."""
    x = (100 * X).astype(int).astype(kind)
    ours, theirs = outcomes(task, x, TARGETS[task])
    assert isinstance(theirs, ValueError | TypeError)
    numbers = (100 * X).astype(int).astype(float)
    np.testing.assert_array_equal(ours[1], outcome(PAIRS[task][0](**SETTINGS), numbers, TARGETS[task])[1])


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (TARGETS["classifier"].astype(object), "Unknown label type: unknown"),
        (np.array([1, "a", 2.0] * 20, object), "y has values of type float and int and str; give y.astype(str)"),
        (np.array([1, "a", None] * 20, object), "y is missing in 20 of 60 rows: y[2] is None; fill in"),
        (TARGETS["classifier"] * 1e30, "Unknown label type: continuous"),
    ],
)
def test_labels_that_are_none_in_one_line(y, said):
    """scikit-learn's message contains the whole array, or the error of comparing its values."""
    ours, theirs = outcomes("classifier", X, y)
    assert isinstance(theirs, ValueError | TypeError)
    assert isinstance(ours, ValueError)
    assert said in str(ours)
    assert "\n" not in str(ours)


@pytest.mark.parametrize("where", ["y", "y_val"])
@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda y: y.astype(str), ValueError, "y is of type <U32; allowed: numbers"),
        (lambda y: np.array(["low", "high"])[(y > 0).astype(int)], ValueError, "y is of type <U4; allowed: numbers"),
        (lambda y: y.astype("M8[s]"), ValueError, r"y is of type datetime64\[s\]; allowed: numbers"),
        (lambda y: np.where(y > 0, "low", y.astype(object)), ValueError, "y is of type object; allowed: numbers"),
        (lambda y: [10**400] * len(y), ValueError, "y is of type object; allowed: numbers"),
        (lambda y: csr_array(y[:, None]), TypeError, r"y is a sparse matrix; .* such as y.toarray\(\)"),
    ],
    ids=["text of numbers", "text", "dates", "objects", "huge", "sparse"],
)
def test_targets_that_are_no_numbers_in_one_line(change, error, said, where):
    """scikit-learn passes on the errors of NumPy's functions."""
    y = TARGETS["regressor"]
    given = {"y": y, "X_val": X, "y_val": y} | {where: change(y)}
    with pytest.raises(error, match=f"^{said}.*$"):
        MLPRegressor(**SETTINGS).fit(X, **given)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("task", PAIRS)
def test_masked_values_are_refused(task):
    """scikit-learn uses what is behind the mask."""
    x, y, weights = X, TARGETS[task], np.ones(60)
    masked = [np.ma.masked_array(array, np.arange(array.size).reshape(array.shape) == 3) for array in (x, y, weights)]
    more = {"classes": np.unique(y)} if task == "classifier" else {}
    fitted, new = (PAIRS[task][0](**SETTINGS) for _ in range(2))
    fitted.fit(x, y)
    for i, array in enumerate(masked):
        given = [x, y, weights]
        given[i] = array
        for method in (new.fit, lambda *rows: new.partial_fit(*rows, **more), fitted.score):
            with pytest.raises(ValueError, match="has masked values; allowed: none are missing; fill them, or leave"):
                method(*given)
    with pytest.raises(ValueError, match="has masked values"):
        fitted.predict(masked[0])
    np.testing.assert_array_equal(fitted.predict(np.ma.masked_array(x)), fitted.predict(x))


@pytest.mark.parametrize("kind", PAIRS)
def test_weights_below_zero_are_refused(kind):
    ours, y = PAIRS[kind][0](**SETTINGS), TARGETS[kind]
    weights = np.where(np.arange(60) == 3, -1.5, 1)
    with pytest.raises(ValueError, match=r"Sample weights must not be negative, and the smallest is -1\.5"):
        ours.fit(X, y, weights)
    for wrong in (weights[:-1], np.full(60, np.nan), np.full(60, np.inf), np.ones((60, 2)), ["a"] * 60):
        with pytest.raises(ValueError, match="."):
            ours.fit(X, y, wrong)


# --- memory layout of arrays ----------------------------------------------------------------------------------------

WIDE = RNG.normal(size=(230, 37))
WIDE_TARGETS = {"classifier": WIDE[:, :3].argmax(axis=1), "regressor": WIDE[:, :2].sum(axis=1)}


def read_only(array, _path):
    array = array.copy()
    array.flags.writeable = False
    return array


def strided(array, _path):
    around = np.full([2 * n for n in array.shape], 7, array.dtype)
    view = around[tuple(slice(None, None, 2) for _ in array.shape)]
    view[...] = array
    return view


def backwards(array, _path):
    return array[::-1].copy()[::-1]


def unaligned(array, _path):
    return np.frombuffer(b"x" + array.tobytes(), np.uint8)[1:].view(array.dtype).reshape(array.shape)


def mapped(array, path):
    np.save(path, array)
    return np.load(path, mmap_mode="r")


def mapped_by_columns(array, path):
    np.save(path, np.asfortranarray(array))
    return np.load(path, mmap_mode="r+")


LAYOUTS = [
    read_only,
    lambda array, _path: np.asfortranarray(array),
    strided,
    backwards,
    unaligned,
    mapped,
    mapped_by_columns,
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
@pytest.mark.parametrize("dtype", ["float64", "float32", "uint8"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("task", PAIRS)
def test_how_arrays_lie_changes_no_bit_and_they_stay_as_they_are(tmp_path, task, solver, dtype, layout):
    plain = [np.abs(20 * WIDE).astype(dtype) if dtype == "uint8" else WIDE.astype(dtype)]
    plain += [WIDE_TARGETS[task], np.linspace(0.5, 2, len(WIDE))]
    laid = [layout(array, tmp_path / f"{i}.npy") for i, array in enumerate(plain)]
    fitted = []
    for x, y, weights in (plain, laid):
        estimator = PAIRS[task][0](**SETTINGS, solver=solver, early_stopping=solver == "adam")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator.fit(x, y, weights, **({"X_val": x, "y_val": y} if solver == "adam" else {}))
        fitted.append(
            [*estimator.coefs_, *estimator.intercepts_, estimator.predict(x), np.array(estimator.score(x, y))]
        )
    for expected, found in zip(*fitted, strict=True):
        np.testing.assert_array_equal(found, expected, strict=True)
    for array, after in zip(plain, laid, strict=True):
        np.testing.assert_array_equal(after, array)


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("end", ["csv", "npz"])
def test_scales_make_no_difference_to_the_command(tmp_path, capsys, end):
    losses = []
    for scale in (1.0, 1e30, 1e-30):
        path = tmp_path / f"a.{end}"
        y = np.array(["u", "v", "w"])[TARGETS["classifier"]]
        if end == "npz":
            np.savez(path, x=scale * X, y=y)
        else:
            # A constant column of the same scale.
            pd.DataFrame(scale * X).assign(one=scale, y=y).to_csv(path, index=False)
        line = (
            f"--dataset {path} --scale standard --epochs 3 --hidden 8 --json --quiet --run-dir {tmp_path / str(scale)}"
        )
        code = train.run_command(train.app, [*line.split(), *(["--target", "y"] if end == "csv" else [])])
        assert code == 0
        losses.append(json.loads(capsys.readouterr().out.splitlines()[-1])["test_loss"])
    assert losses[0] == pytest.approx(1, abs=0.5)
    np.testing.assert_allclose(losses[1:], losses[0], rtol=1e-5)
