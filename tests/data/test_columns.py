"""How the columns of a table are encoded and imputed, and what is refused or noted."""

import datetime as dt
import decimal
import json
import re
import sys

import numpy as np
import pytest

from mlpgpu.data import columns
from mlpgpu.data.remarks import Remarks
from mlpgpu.errors import InputError

pd = pytest.importorskip("pandas")


@pytest.fixture
def frame():
    return pd.DataFrame(
        {
            "age": [30, 41, 22, 35],
            "colour": ["red", "blue", "red", "green"],
            "height": [1.5, 2.5, 0.5, 1.0],
            "member": [True, False, True, True],
            "grade": pd.Categorical([3, 1, 3, 1], categories=[1, 2, 3]),
        }
    )


def test_encodes_as_pandas_dummies_do(frame):
    records, notes = columns.fit(frame, "none")
    x = columns.encode(frame, records)
    expected = pd.get_dummies(frame.astype({"grade": str}), columns=["colour", "grade"], prefix_sep="=", dtype=float)
    names = columns.feature_names(records)
    assert set(names) == set(expected.columns)
    assert names[:4] == ("age", "colour=blue", "colour=green", "colour=red")
    np.testing.assert_array_equal(x, expected[list(names)].to_numpy(float))
    assert x.dtype == np.float64
    assert x.flags.c_contiguous
    assert notes == []


def test_sparse_columns_are_encoded_as_dense_ones():
    frame = pd.DataFrame({"count": [1, 0, 3], "share": [0.5, 0.0, np.nan], "member": [True, False, True]})
    records, _ = columns.fit(frame, "mean")
    sparse = frame.astype({"count": "Sparse[int]", "share": "Sparse[float]", "member": pd.SparseDtype(bool, False)})
    np.testing.assert_array_equal(columns.encode(sparse, records), columns.encode(frame, records))


def test_records_survive_json_and_take_columns_in_any_order(frame):
    records, _ = columns.fit(frame, "mean")
    copy = json.loads(json.dumps(records))
    assert copy == records
    shuffled = frame[["grade", "member", "height", "colour", "age"]].assign(more="x")
    np.testing.assert_array_equal(columns.encode(shuffled, copy), columns.encode(frame, records))


def test_unseen_category_is_all_zeros(frame):
    records, _ = columns.fit(frame, "none")
    frame.loc[1, "colour"] = "violet"
    x = columns.encode(frame, records)
    assert x[1, 1:4].tolist() == [0, 0, 0]
    assert x[0, 1:4].tolist() == [0, 0, 1]


@pytest.mark.parametrize("categories", [["1", "2", "A"], ["1.0", "2.0", "1"]])
def test_codes_among_gaps_are_those_without(categories):
    """pandas reads the codes 1 and 2 as integers, but as 1.0 and 2.0 in a column with an empty cell."""
    records, _ = columns.fit(pd.DataFrame({"code": [*categories, None]}), "mean")
    found = columns.encode(pd.DataFrame({"code": [1.0, None, 7.0, 0.5]}), records)
    known = columns.feature_names(records)
    assert [[known[i] for i in np.flatnonzero(row)] for row in found] == [
        [f"code={categories[0]}"], ["code=missing"], [], []
    ]  # fmt: skip


def test_objects_that_are_equal_and_not_the_same():
    """1, True and 1.0 are the same key of a dict, and a list cannot be a key."""
    records = columns.fit(pd.DataFrame({"code": ["1", "True"]}), "none")[0]
    found = columns.encode(pd.DataFrame({"code": [True, 1, 1.0, [1]]}), records)
    assert found.tolist() == [[0, 1], [1, 0], [1, 0], [0, 0]]


def test_categories_are_not_looked_up_row_by_row():
    """The number of Python function calls is the same for a hundred times the rows."""

    def n_calls(n_rows):
        frame = pd.DataFrame({"colour": ["red", "green", None, "blue"] * n_rows})
        records = columns.fit(frame, "mean")[0]
        calls = []
        sys.setprofile(lambda frame, event, _: calls.append(event) if event == "call" else None)
        try:
            columns.encode(frame, records)
        finally:
            sys.setprofile(None)
        return len(calls)

    n_calls(10)
    assert n_calls(1000) == n_calls(10)


@pytest.mark.parametrize(
    ("dtypes", "common"),
    [
        (["uint8", "uint8"], np.uint8),
        (["bool", "bool"], np.uint8),
        (["int64", "bool"], np.int64),
        (["Int32", "boolean"], np.int32),
        (["float32", "uint8"], np.float32),
        (["Float64", "int8"], np.float64),
    ],
)
def test_keeps_the_smallest_common_type(dtypes, common):
    frame = pd.DataFrame({i: pd.Series([0, 1, 1], dtype=dtype) for i, dtype in enumerate(dtypes)})
    frame.columns = ["a", "b"]
    records, _ = columns.fit(frame, "none")
    x = columns.encode(frame, records)
    assert x.dtype == common
    assert x.tolist() == [[0, 0], [1, 1], [1, 1]]


@pytest.mark.parametrize(("impute", "filled"), [("mean", 4.0), ("median", 2.0)])
@pytest.mark.parametrize("number", ["float64", "Int64"])
def test_fills_from_the_training_rows(impute, filled, number):
    train = pd.DataFrame(
        {
            "n": pd.Series([1, 2, 9, None], dtype=number),
            "b": [True, True, False, None],
            "c": ["u", "v", "v", None],
            "k": pd.Categorical(["p", "q", "p", None]),
        }
    )
    records, _ = columns.fit(train, impute)
    assert [record["fill"] for record in records] == [filled, 1.0, "missing", "missing"]
    rows = pd.DataFrame({"n": [None, 7.0], "b": [None, False], "c": [None, "u"], "k": [None, "q"]})
    assert columns.feature_names(records) == ("n", "b", "c=u", "c=v", "c=missing", "k=p", "k=q", "k=missing")
    assert columns.encode(rows, records).tolist() == [[filled, 1, 0, 0, 1, 0, 0, 1], [7, 0, 1, 0, 0, 0, 1, 0]]


def test_the_category_of_missing_text_takes_no_name_that_is_there():
    train = pd.DataFrame({"c": ["missing", None, "(missing)", "a"]})
    records, _ = columns.fit(train, "mean")
    assert records[0]["categories"] == ["(missing)", "a", "missing", "((missing))"]
    assert columns.encode(train, records).tolist() == [[0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0]]


def test_text_without_gaps_in_training_is_filled_with_the_most_frequent_category():
    records, _ = columns.fit(pd.DataFrame({"c": ["u", "v", "v"]}), "mean")
    assert records == [{"name": "c", "kind": "category", "categories": ["u", "v"], "fill": "v"}]
    assert columns.encode(pd.DataFrame({"c": [None, "u"]}), records).tolist() == [[0, 1], [1, 0]]


def test_what_is_filled_is_noted_once():
    frame = pd.DataFrame(
        {"n": [1, 3, None], "b": [True, True, None], "c": ["u", None, None], "whole": ["x", "y", "z"]}
        | {f"n{i}": [1234567.5, 1234567.5, None] for i in range(4)}
    )
    records, _ = columns.fit(frame, "mean")
    remarks = Remarks()
    columns.encode(frame[["whole"]], records[3:4], remarks)
    assert remarks.notes() == []
    for chunk in (frame[:2], frame[2:]):
        columns.encode(chunk, records, remarks)
    assert remarks.notes() == [
        "8 missing values filled: 1 of 'n' with 2, 1 of 'b' with true, 2 of 'c' with the category 'missing', "
        "1 of 'n0' with 1,234,568, 1 of 'n1' with 1,234,568, and those of 2 columns more"
    ]


def test_fills_a_column_that_is_missing_altogether():
    records, _ = columns.fit(pd.DataFrame({"n": [1, 3], "c": ["u", "u"]}), "mean")
    rows = pd.DataFrame({"n": [None, None], "c": [np.nan, np.nan]})
    assert columns.encode(rows, records).tolist() == [[2, 1], [2, 1]]


def test_missing_values_are_counted_by_column():
    frame = pd.DataFrame({"a": [1, None, None], "b": [1, 2, 3], "c": ["x", None, "y"]})
    records, _ = columns.fit(frame, "none")
    with pytest.raises(InputError, match=r"'a' \(2\), 'c' \(1\), the first in row 2; give impute mean or median"):
        columns.encode(frame, records)
    many = pd.DataFrame({f"c{i}": [None, 1.0] for i in range(12)})
    with pytest.raises(InputError, match=r"'c9' \(1\) and 2 more, the first in row 1;"):
        columns.encode(many, columns.fit(many, "none")[0])


@pytest.mark.parametrize("impute", ["none", "mean"])
def test_a_column_without_values_is_left_out(impute):
    frame = pd.DataFrame({"a": [1, 2], "d": [None] * 2, "n": np.nan, "k": pd.Categorical([None] * 2, ["x"])})
    frame["when"] = pd.to_datetime([None] * 2)
    records, notes = columns.fit(frame, impute)
    assert columns.feature_names(records) == ("a",)
    assert notes == [f"column {name!r} has no values in the training rows, and is left out" for name in frame][1:]
    assert columns.encode(frame, records).tolist() == [[1], [2]]
    with pytest.raises(InputError, match="no column has values in the training rows: 'd', 'n'; fill some"):
        columns.fit(frame[["d", "n"]], impute)


@pytest.mark.parametrize("impute", ["none", "mean", "median"])
def test_infinite_values_are_refused(impute):
    frame = pd.DataFrame({"a": [1.0, 2, 3], "b": [1.0, np.inf, -np.inf]})
    records, _ = columns.fit(frame, impute)
    with pytest.raises(InputError, match="infinite values in column 'b'"):
        columns.encode(frame, records)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (pd.to_timedelta([1, 2]), "timedelta64"),
        ([dt.time(10), dt.time(11)], "of type time "),
        ([b"a", b"b"], "bytes"),
        ([[1], [2]], "mixed"),
        ([1, "a"], "mixed-integer"),
        ([1j, 2j], "complex"),
    ],
)
def test_other_types_are_refused_by_name(values, says):
    with pytest.raises(InputError, match=says) as caught:
        columns.fit(pd.DataFrame({"a": [1, 2], "when": values}), "none")
    assert "'when'" in str(caught.value)


@pytest.mark.parametrize("kind", ["object", "arrow"])
def test_decimals_are_numbers(kind):
    given = ["0.1", "-12345678901.25", None]
    values = [None if text is None else decimal.Decimal(text) for text in given]
    if kind == "arrow":
        pa = pytest.importorskip("pyarrow")
        values = pd.array(values, dtype=pd.ArrowDtype(pa.decimal128(20, 2)))
    frame = pd.DataFrame({"price": pd.Series(values)})
    records, _ = columns.fit(frame[:2], "none")
    assert columns.encode(frame[:2], records).tolist() == [[0.1], [-12345678901.25]]
    records, _ = columns.fit(frame, "mean")
    assert columns.encode(frame, records)[2, 0] == pytest.approx((0.1 - 12345678901.25) / 2)


@pytest.mark.parametrize("values", [[10**22, 5, -3], [1, 2, 2.5], [0.5, np.float32(2), 1.0], [7, 7, 8]])
def test_numbers_that_are_objects_are_numbers(values):
    frame = pd.DataFrame({"wei": pd.Series(values, dtype=object), "gaps": pd.Series([*values[:2], None], dtype=object)})
    records, _ = columns.fit(frame, "mean")
    x = columns.encode(frame, records)
    assert x[:, 0].tolist() == [float(value) for value in values]
    assert x[2, 1] == pytest.approx(sum(map(float, values[:2])) / 2)


def test_numbers_as_categories_are_numbers_where_training_had_numbers():
    frame = pd.DataFrame({"i": [3, 1, 3, 2], "f": [0.5, -1.0, 0.5, 2.0], "b": [True, False, True, True]})
    records, _ = columns.fit(frame, "mean")
    np.testing.assert_array_equal(columns.encode(frame.astype("category"), records), columns.encode(frame, records))
    gaps = frame.astype(object)
    gaps.iloc[1] = None
    filled = columns.encode(gaps.astype("category"), records)
    np.testing.assert_array_equal(filled, columns.encode(gaps, records))
    np.testing.assert_array_equal(filled[1], [2.25, 0.5, 1])
    assert all(record["kind"] == "category" for record in columns.fit(frame.astype("category"), "mean")[0])


def test_a_number_that_is_too_large_for_any():
    with pytest.raises(InputError, match="column 'a' holds a number that is too large; allowed: up to 1e308"):
        columns.encode(pd.DataFrame({"a": [10**400, 1]}), columns.numbers(["a"]))


def test_all_columns_that_cannot_be_used_are_named():
    """Otherwise users have to run the command once per column."""
    frame = pd.DataFrame({"my id": [f"name {i}" for i in range(1001)], "a": range(1001), "when": ["1/2/2020"] * 1001})
    with pytest.raises(InputError, match="column 'my id' is text with 1,001 distinct values") as caught:
        columns.fit(frame, "none")
    assert str(caught.value).endswith("; nor can 'when' be used: --drop 'my id,when' leaves out all of these")
    with pytest.raises(InputError, match="holds dates") as caught:
        columns.fit(frame.drop(columns="my id"), "none")
    assert "nor can" not in str(caught.value)


def test_text_of_many_values_is_refused():
    frame = pd.DataFrame({"id": [f"name {i}" for i in range(1001)]})
    with pytest.raises(InputError, match="column 'id' is text with 1,001 distinct values"):
        columns.fit(frame, "none")
    records, _ = columns.fit(frame[:1000], "none")
    assert len(columns.feature_names(records)) == 1000
    prices = pd.DataFrame({"price": [f"{i:,}" for i in range(2000)]})
    with pytest.raises(
        InputError, match="'price' is text with 2,000 .* 100% of them are numbers; .* such as '1,000' in row 1,001 with"
    ):
        columns.fit(prices, "none")


def test_numbers_among_which_some_are_not():
    values = [f"{i / 7:.3f}" for i in range(4950)]
    values[90:90] = ["?"] * 25
    values[4000:4000] = ["n/k"] * 25
    frame = pd.DataFrame({"a": values})
    training = frame.iloc[np.random.default_rng(0).permutation(5000)]
    with pytest.raises(
        InputError,
        match=r"'a' is text with 4,952 distinct values; allowed: at most 1,000; 99% of them "
        r"are numbers, but '\?' in row 91 is not; to have one feature, leave such cells empty, with impute",
    ):
        columns.fit(training, "none")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            ["130", "165", "?", "150"],
            "75% of them are numbers, but '\\?' in row 3 is not; to have one feature, leave such cells empty",
        ),
        (
            ["1,000", "12,500", "130"],
            "100% of them are numbers; to have one feature, write numbers such as '1,000' in row 1 with",
        ),
        (["1'000", "1\u2019200", "1 300", "1_400.5", "1\u202f500"], "100% of them are numbers"),
        (["12 %", "7%", "0.5 %"], "write numbers such as '12 %' in row 1 with a decimal point alone"),
        (["$5", "-3", "€ 1.50", "(2)"], "100% of them are numbers"),
        (["8GB", "16GB", "1.37 kg", "30 km/h", "5 m²", "-4 °C", "60+"], "100% of them are numbers"),
        (
            ["$5", "$7", "none"],
            "66% of them are numbers, but 'none' in row 3 is not; .* such as '\\$5' in row 1 with a decimal point",
        ),
        (
            [f"name {i}" for i in range(50)],
            "though there are 50 rows, too few to learn from each; leave it out with --drop",
        ),
    ],
)
def test_text_that_is_hardly_meant_as_categories_is_noted(values, says):
    _, notes = columns.fit(pd.DataFrame({"a": range(len(values)), "power": values}), "none")
    assert len(notes) == 1
    assert notes[0].startswith(f"column 'power' is text, one feature for each of its {len(values)} values, though ")
    assert re.search(says, notes[0])
    assert "\n" not in notes[0]


@pytest.mark.parametrize("n_rows", [30, 1200])
def test_what_makes_text_of_numbers_is_named_in_whichever_row(n_rows):
    """The training rows, which set the categories, are all numbers; cells of other rows make the column text."""
    values = [str(i % 10 if n_rows == 30 else i) for i in range(n_rows)]
    frame = pd.DataFrame({"a": range(n_rows + 2), "b": [*values, "?", "12,5 %"]})
    try:
        records, said = columns.fit(frame, "none", rows=np.arange(n_rows)[::-1])
    except InputError as error:
        assert n_rows > 1000
        said = [str(error)]
    else:
        assert records[1]["categories"] == [*"0123456789"]
    (said,) = said
    assert f"% of them are numbers, but '?' in row {n_rows + 1:,} is not; to have one feature, write numbers" in said


@pytest.mark.parametrize(
    "values",
    [
        # All are numbers given as text, which must be on purpose.
        ["1", "2", "3", "4"],
        ["red", "green", "2"],
        ["A1", "B2", "C3"],
        ["10-20", "20-30", "30-40"],
        ["10:30", "1/2", "1.2.3"],
        ["10-ABC-20", "11-XYZ-2021"],
        ["12-34-567", "1-2/2020"],
        ["?", "%", ""],
        [f"name {i}" for i in range(20)],
        [f"name {i}" for i in range(50)] * 2,
    ],
)
def test_text_that_may_be_categories_is_not(values):
    assert columns.fit(pd.DataFrame({"a": values}), "none")[1] == []


def test_rows_to_predict_must_match():
    records, _ = columns.fit(pd.DataFrame({"a": [1, 2], "b": [1, 2]}), "none")
    with pytest.raises(InputError, match="no column 'b', which the model takes; it has 'a', 'c'; add what"):
        columns.encode(pd.DataFrame({"a": [1], "c": [2]}), records)
    # A data frame, unlike a file, may have duplicate names, which do not matter where the model takes none of them.
    twice = pd.DataFrame([[1, 2, 3, 4]], columns=["a", "b", "c", "c"])
    assert columns.encode(twice, records).tolist() == [[1, 2]]
    for fill in (None, 1.0):
        with pytest.raises(InputError, match="the table has more than one column 'b'; give each column its own name"):
            columns.encode(twice.set_axis([*"abbc"], axis=1), [record | {"fill": fill} for record in records])
    for values, cell in ((["7", "1.5", "x", "y"], "'x' in row 3"), (["1", "2"], "'1' in row 1")):
        frame = pd.DataFrame({"a": 1, "b": values})
        with pytest.raises(InputError, match=f"'b' holds text, such as {cell}; allowed: numbers, as in training"):
            columns.encode(frame, records)
    records, _ = columns.fit(pd.DataFrame({"a": [1, 2], "b": [True, False]}), "none")
    for values, cell in ((["True", "false", "no"], "'no' in row 3"), (["1", "x"], "'1' in row 1")):
        with pytest.raises(InputError, match=f"'b' holds text, such as {cell}; allowed: truth values, as in training"):
            columns.encode(pd.DataFrame({"a": 1, "b": values}), records)
    wide = pd.DataFrame([range(25)], columns=[f"c{i}" for i in range(25)])
    with pytest.raises(InputError, match="'c19' and 5 more"):
        columns.encode(wide, records)
