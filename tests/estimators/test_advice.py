"""What is said to do about rows, targets and weights that are refused, in addition to the words of scikit-learn."""

import re

import numpy as np
import pandas as pd
import pytest
from quick import QUICK, THREE, TWO, X, classifier

from mlpgpu import MLPClassifier, MLPRegressor

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

IMAGES = np.zeros((150, 4, 4))
DATES = pd.date_range("2020", periods=150)


class Samples:
    """Pairs of a row and its class."""

    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        return X[i], TWO[i]


class Batches:
    """What other libraries train on: whatever gives batches."""

    def __iter__(self):
        return iter([(X, TWO)])


class Query:
    """A query that becomes a data frame, as LazyFrame of Polars."""

    def collect(self):
        return pd.DataFrame(X)


def lacking(y, value, row=3):
    changed = y.astype(object)
    changed[row] = value
    return changed


@pytest.mark.parametrize(
    ("x", "said"),
    [
        ((row for row in X), "X is of type generator; allowed: an array"),
        (Batches(), "X is of type Batches; allowed: an array"),
        (Samples(), "X is of type Samples; allowed: an array"),
        (Query(), "or a list of rows; make it a data frame by X.collect()."),
        ({"a": X[:, 0]}, "make it one by pandas.DataFrame(X)"),
        ("rows.csv", "read the file first"),
        (None, "X is of type NoneType; allowed: an array"),
        (IMAGES, "dim <= 2 is required by MLPClassifier. Give each sample as one row: X.reshape(len(X), -1)."),
        (IMAGES.tolist(), "np.reshape(X, (len(X), -1))."),
        ([X, TWO], "X is a list of 2 items of different shapes"),
        (["good", "bad"] * 75, "TfidfVectorizer"),
        (pd.DataFrame(X).assign(s="a", day=DATES), "X has text or dates in its columns 's', 'day'; encode"),
        (pd.DataFrame(X).astype(object).replace(X[3, 2], pd.NA), "X has pandas.NA in its columns '2'; fill in these"),
        (lacking(X, pd.NA).tolist(), "X has pandas.NA in its columns '0', '1', '2', '3'; fill in these"),
        (pd.DataFrame(X).to_records(), "X is a recarray of records with fields; make it a data frame"),
        (pd.DataFrame(index=range(150)), "X is a DataFrame without columns"),
        (pd.DataFrame({"day": DATES, "n": range(150)}), "X has text or dates in its columns 'day'; encode"),
    ],
)
def test_rows_of_other_kinds(x, said):
    with pytest.raises((TypeError, ValueError), match=re.escape(said)):
        classifier().fit(x, TWO)


def test_the_advice_for_samples_and_loaders_of_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from torch.utils.data import DataLoader, TensorDataset

    pairs = TensorDataset(torch.tensor(X), torch.tensor(TWO))
    with pytest.raises(ValueError, match=r"the target y is None. X is of type DataLoader; .* partial_fit"):
        classifier().fit(DataLoader(pairs), None)
    with pytest.raises(ValueError, match=r"X is of type TensorDataset; .*X, y = map\(np\.stack, zip\(\*pairs\)\)"):
        classifier().fit(pairs, TWO)
    x, y = map(np.stack, zip(*pairs, strict=True))
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, TWO)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("value", [None, np.nan, pd.NA, pd.NaT])
def test_targets_that_are_missing(kind, value):
    said = rf"y is missing in 1 of 150 rows: y\[3\] is {value}; fill in"
    for y in (lacking(TWO, value), lacking(TWO, value).tolist(), lacking(TWO[:, None], value)):
        with pytest.raises((TypeError, ValueError), match=said) as caught:
            kind(**QUICK).fit(X, y)
        assert str(caught.value).count("missing in") == 1


def test_targets_that_are_missing_in_other_calls():
    y, begun = lacking(TWO, None), classifier().partial_fit(X, TWO, classes=[0, 1])
    calls = [
        lambda: classifier().partial_fit(X, y, classes=[0, 1]),
        lambda: begun.partial_fit(X, y),
        lambda: begun.score(X, y),
        lambda: classifier().fit(X, TWO, X_val=X, y_val=y),
    ]
    for call in calls:
        with pytest.raises((TypeError, ValueError), match=r"y is missing in 1 of 150 rows: y\[3\] is None"):
            call()


def test_objects_that_are_numbers_are_targets():
    ours = MLPRegressor(**QUICK).fit(X, X[:, 0].astype(object))
    np.testing.assert_array_equal(ours.predict(X), MLPRegressor(**QUICK).fit(X, X[:, 0]).predict(X))


@pytest.mark.parametrize("y", [(label for label in TWO), 5, {"a": TWO}, "target"])
def test_targets_of_other_kinds(y):
    with pytest.raises(TypeError, match=f"y is of type {type(y).__name__}; allowed: an array or list of targets"):
        classifier().fit(X, y)


@pytest.mark.parametrize("weights", ["balanced", {0: 1.0}])
def test_weights_of_classes_in_place_of_rows(weights):
    with pytest.raises((TypeError, ValueError), match="one number for each row; those of classes are class_weight"):
        classifier().fit(X, TWO, sample_weight=weights)


@pytest.mark.parametrize(
    "given", [(X[:, :2], THREE), (X, THREE + 1), (X[:9], THREE), (X[None], THREE)], ids=["narrow", "new", "few", "3-D"]
)
def test_which_rows_are_meant(given):
    with pytest.raises(ValueError, match=r"[.] This is about the rows to validate on, X_val and y_val\.$"):
        classifier().fit(X, THREE, X_val=given[0], y_val=given[1])


def test_advice_that_fails_leaves_the_error_as_it_is():
    class Odd:
        shape = (150, 2)

        def __array__(self, dtype=None, copy=None):
            raise ValueError("no array today")

    with pytest.raises(ValueError, match="^no array today$"):
        classifier().fit(Odd(), TWO)
