"""Tables in CSV and Parquet files: features, targets, missing values, and what is refused or noted."""

import builtins
import json

import numpy as np
import pytest
from sklearn.datasets import load_iris

from mlpgpu.data import dialect, load, read_features, reading, table
from mlpgpu.errors import InputError
from mlpgpu.settings.config import Config

pd = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")


@pytest.fixture
def iris():
    bunch = load_iris(as_frame=True)
    return bunch.frame.assign(species=bunch.target_names[bunch.target]).drop(columns="target")


@pytest.fixture
def mixed():
    rng = np.random.default_rng(0)
    n = 60
    return pd.DataFrame(
        {
            "size": rng.normal(size=n).round(3),
            "rooms": rng.integers(1, 6, n),
            "town": rng.choice(["Ulm", "Bonn", "Köln, Süd", 'say "so"'], n),
            "garden": rng.random(n) < 0.5,
            "price": rng.normal(200, 20, n),
        }
    )


def save(frame, path):
    frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_parquet(path)
    return str(path)


@pytest.mark.parametrize("end", [".csv", ".parquet"])
def test_iris_from_a_file_is_iris(tmp_path, iris, end):
    d = load(Config(dataset=save(iris, tmp_path / f"flowers{end}"), target="species"))
    ours = load(Config(dataset="iris"))
    np.testing.assert_allclose(d.x_train, ours.x_train)
    np.testing.assert_array_equal(d.y_test, ours.y_test)
    assert d.classes == ("setosa", "versicolor", "virginica")
    assert d.name == "flowers"
    assert d.target == "species"
    assert d.feature_names == ours.feature_names
    assert d.scaling.kind == "standard"
    assert d.notes == ("task: classification, inferred from the text in column 'species'",)


@pytest.mark.parametrize("end", [".csv", ".parquet"])
def test_model_file_repeats_the_encoding(tmp_path, mixed, end):
    path = tmp_path / f"houses{end}"
    d = load(Config(dataset=save(mixed, path), target="price"))
    assert d.task == "regression"
    assert d.feature_names[:2] == ("size", "rooms")
    assert set(d.feature_names[2:6]) == {f"town={town}" for town in mixed["town"]}
    records = json.loads(json.dumps(d.columns))
    x = read_features(path, records)
    dummies = pd.get_dummies(mixed.drop(columns="price"), prefix_sep="=", dtype=float)
    np.testing.assert_allclose(x, dummies[list(d.feature_names)].to_numpy(float))
    known = {row.tobytes() for row in x}
    assert all(row.tobytes() in known for row in np.concatenate([d.x_train, d.x_validation, d.x_test]))
    save(mixed.drop(columns="price")[::-1], path)
    np.testing.assert_array_equal(read_features(str(path), records), x[::-1])


def test_categories_come_from_the_training_rows_only(tmp_path):
    frame = pd.DataFrame({"n": range(40), "c": [f"c{i:02}" for i in range(40)], "y": np.arange(40) / 7})
    d = load(Config(dataset=save(frame, tmp_path / "a.csv"), target="y"))
    in_training = [int(n) for n in d.x_train[:, 0]]
    assert d.columns[1]["categories"] == [f"c{i:02}" for i in sorted(in_training)]
    assert (d.x_train[:, 1:].sum(axis=1) == 1).all()
    assert (d.x_test[:, 1:] == 0).all()


@pytest.mark.parametrize("impute", ["mean", "median"])
def test_missing_values_are_filled_from_the_training_rows(tmp_path, mixed, impute):
    mixed["key"] = range(60)
    mixed["garden"] = mixed["garden"].astype(object)
    mixed.loc[::4, ["size", "town", "garden"]] = None
    path = save(mixed, tmp_path / "a.csv")
    d = load(Config(dataset=path, target="price", impute=impute))
    training = mixed.iloc[d.x_train[:, -1].astype(int)]
    fills = {record["name"]: record["fill"] for record in d.columns}
    assert fills["size"] == pytest.approx(getattr(training["size"], impute)())
    assert fills["town"] == "missing"
    assert fills["garden"] == training["garden"].astype(float).mode()[0]
    assert d.notes[-1].startswith("45 missing values filled: 15 of 'size' with ")
    gaps = d.x_test[d.x_test[:, -1] % 4 == 0]
    assert len(gaps)
    assert (gaps[:, 0] == fills["size"]).all()
    assert (gaps[:, d.feature_names.index("town=missing")] == 1).all()
    with pytest.raises(InputError, match=r"'size' \(15\), 'town' \(15\), 'garden' \(15\)"):
        load(Config(dataset=path, target="price"))


def test_text_that_pandas_takes_for_missing_is_told_from_the_rest(tmp_path):
    """In the data set House Prices, NA means that there is no garage."""
    path = tmp_path / "a.csv"
    path.write_text("garage,y\n" + "NA,1.5\nNone,0.5\nbuilt-in,2.5\n" * 10)
    d = load(Config(dataset=path, target="y", impute="median", validation_fraction=0))
    assert d.feature_names == ("garage=built-in", "garage=missing")
    assert "20 missing values filled: 20 of 'garage' with the category 'missing'" in d.notes
    assert read_features(path, json.loads(json.dumps(d.columns)))[:3].tolist() == [[0, 1], [0, 1], [1, 0]]


@pytest.mark.parametrize("other", ["Attchd", "null"])
def test_a_class_may_be_called_as_pandas_writes_missing(tmp_path, other):
    path = tmp_path / "a.csv"
    path.write_text("a,y\n" + f"1,NA\n2,None\n3,{other}\n" * 10)
    assert load(Config(dataset=path, target="y")).classes == tuple(sorted(["NA", "None", other]))
    path.write_text("a,y\n" + f"1,NA\n2,\n3,{other}\n" * 10)
    with pytest.raises(InputError, match="'y', has 10 missing values"):
        load(Config(dataset=path, target="y"))


@pytest.mark.parametrize("values", ["1.5 NA 2.5", "True NA False", "1 null 2"])
def test_missing_numbers_and_truth_values_of_a_target_stay_missing(tmp_path, values):
    path = tmp_path / "a.csv"
    path.write_text("a,y\n" + "".join(f"1,{value}\n" for value in values.split()) * 10)
    with pytest.raises(InputError, match="'y', has 10 missing values"):
        load(Config(dataset=path, target="y"))


@pytest.mark.parametrize("labels", [[], ["y"], ["y", "a"]])
def test_missing_is_what_pandas_takes_for_it(tmp_path, labels):
    path = tmp_path / "a.csv"
    cells = [*dialect.MISSING, "na", " NA", "-", "?", "NONE", "x"]
    path.write_text(",a,y\n" + "".join(f"{cell},{cell},{cell}\n" for cell in cells))
    ours, theirs = table.read(path, labels=labels), pd.read_csv(path)
    pd.testing.assert_frame_equal(ours.drop(columns=labels), theirs.drop(columns=labels))
    for label in labels:
        assert ours[label].fillna("").tolist() == cells


def test_categories_that_look_like_numbers_later_stay_text(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("zip,y\n" + "00123,1.5\nA12,2.5\n" * 20)
    d = load(Config(dataset=str(path), target="y", validation_fraction=0))
    assert d.feature_names == ("zip=00123", "zip=A12")
    path.write_text("zip\n00123\n00123\n")
    assert read_features(path, d.columns).tolist() == [[1, 0], [1, 0]]


def test_table_for_a_model_of_arrays_is_taken_in_order(tmp_path):
    (tmp_path / "a.csv").write_text("p,q\n1,2.5\n3,4\n")
    assert read_features(tmp_path / "a.csv", None).tolist() == [[1, 2.5], [3, 4]]
    (tmp_path / "a.csv").write_text("p,q\n1,2.5\n3,\n")
    with pytest.raises(InputError, match=r"column 'q' \(1\), the first in row 2; the model cannot fill them"):
        read_features(tmp_path / "a.csv", None)


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        (pd.Categorical(["b", "a"] * 20), "classification", ("a", "b")),
        (pd.Series([1, 2] * 20, dtype="Int64"), "classification", (1, 2)),
        (pd.Series([True, False] * 20, dtype="boolean"), "classification", (False, True)),
        (pd.Series(np.arange(40) / 3, dtype="Float32"), "regression", ()),
    ],
)
def test_targets_of_parquet(tmp_path, values, task, classes):
    frame = pd.DataFrame({"a": np.arange(40.0), "y": values})
    d = load(Config(dataset=save(frame, tmp_path / "a.parquet"), target="y"))
    assert (d.task, d.classes) == (task, classes)


def test_categories_of_numbers_are_classes(monkeypatch):
    # Parquet need not preserve categories of numbers, so the frame does not come from a file.
    frame = pd.DataFrame({"a": np.arange(40.0), "y": pd.Categorical(range(40))})
    monkeypatch.setattr(table, "read", lambda *_, **__: frame)
    d = load(Config(dataset="a.parquet", target="y"))
    assert d.classes == tuple(range(40))
    assert "the categories of column 'y'" in d.notes[0]


def test_byte_order_mark_and_upper_case_ending(tmp_path):
    path = tmp_path / "A.CSV"
    path.write_bytes("\ufeffa,y\n".encode() + b"1,u\n2,v\n" * 10)
    assert load(Config(dataset=str(path), target="y")).feature_names == ("a",)


@pytest.mark.parametrize("target", ["log-loss", "logloss", "LOG_LOSS"])
def test_a_name_that_is_written_alike_comes_before_one_of_another_library(tmp_path, target):
    path = tmp_path / "figures.csv"
    path.write_text("cross_entropy,log_loss\n" + "1,2\n2,1\n" * 10)
    with pytest.raises(InputError, match=f"target is '{target}'.*; did you mean 'log_loss'\\?$"):
        load(Config(dataset=path, target=target))


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (None, "target is not given; .* columns 'size', 'rooms', 'town', 'garden', 'price'"),
        ("prices", "target is 'prices'.*allowed: 'size', 'rooms'.*did you mean 'price'?"),
        ("PRICE", "target is 'PRICE'.*did you mean 'price'?"),
        ("qqq", "target is 'qqq'.*'price'$"),
    ],
)
def test_target_must_be_a_column(tmp_path, mixed, target, says):
    with pytest.raises(InputError, match=says):
        load(Config(dataset=save(mixed, tmp_path / "a.csv"), target=target))


@pytest.mark.parametrize("end", [".csv", ".parquet"])
def test_columns_are_left_out(tmp_path, mixed, end):
    mixed["when"] = pd.date_range("2020-01-01", periods=60)
    path = save(mixed, tmp_path / f"a{end}")
    d = load(Config(dataset=path, target="price", drop=["town", "when"]))
    assert d.feature_names == ("size", "rooms", "garden")
    np.testing.assert_array_equal(read_features(path, d.columns), mixed[["size", "rooms", "garden"]].to_numpy(float))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"drop": "rooms,towns"}, "drop has 'towns', which .* allowed: 'size', .*'garden'; did you mean 'town'?"),
        ({"drop": "size,rooms,town,garden"}, "drop leaves none of the columns 'size', .* leave at least one"),
        ({"drop": "price,town"}, "drop has 'price', which is the target; leave it out, or choose"),
    ],
)
def test_what_cannot_be_left_out(tmp_path, mixed, given, says):
    path = save(mixed, tmp_path / "a.csv")
    with pytest.raises(InputError, match=says):
        load(Config(**{"dataset": path, "target": "price", **given}))


@pytest.mark.parametrize("drop", ["size, m²,town", "town, size, m²", ["town", "size, m²"], ["town", "size", " m²"]])
def test_names_with_commas_are_left_out(tmp_path, mixed, drop):
    path = save(mixed.rename(columns={"size": "size, m²"}), tmp_path / "a.csv")
    config = Config(dataset=path, target="price", drop=drop)
    for same in (config, Config(**config.to_dict())):
        assert load(same).feature_names == ("rooms", "garden")
    with pytest.raises(InputError, match="drop has 'size', which .* did you mean 'size, m²'?"):
        load(Config(dataset=path, target="price", drop="size"))


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("end", [".csv", ".parquet"])
def test_a_column_that_numbers_the_rows_is_noted(tmp_path, mixed, start, end):
    mixed["row id"] = np.arange(60) + start
    path = save(mixed, tmp_path / f"a{end}")
    d = load(Config(dataset=path, target="price"))
    assert d.feature_names[-1] == "row id"
    assert d.notes[0].startswith("column 'row id' numbers the rows of the file; ")
    assert d.notes[0].endswith("leave it out with --drop 'row id'")
    d = load(Config(dataset=path, target="price", drop="row id"))
    assert "row id" not in d.feature_names
    assert len(d.notes) == 1


@pytest.mark.parametrize(
    "values",
    [
        np.arange(60)[::-1],
        np.arange(60) + 2,
        np.arange(60) * 2,
        np.arange(60.0),
        np.arange(60) // 2,
        np.arange(60) > 0,
        pd.array([None, *range(1, 60)], "Int64"),
    ],
)
def test_a_column_that_does_not_is_not(tmp_path, mixed, values):
    path = save(mixed.assign(rooms=values), tmp_path / "a.parquet")
    assert not any(
        "numbers the rows" in note for note in load(Config(dataset=path, target="price", impute="mean")).notes
    )


def test_the_index_that_pandas_writes_is_left_out(tmp_path, mixed):
    path = tmp_path / "a.csv"
    mixed.to_csv(path)
    d = load(Config(dataset=path, target="price"))
    assert d.feature_names[:2] == ("size", "rooms")
    assert d.notes[0] == "column 'Unnamed: 0', the numbers of the rows, is left out"
    with_index = read_features(path, d.columns)
    save(mixed, path)
    np.testing.assert_array_equal(read_features(path, d.columns), with_index)
    # An unnamed first column is a feature if it does not number the rows, or if there is no other feature.
    mixed[::-1].to_csv(path)
    assert load(Config(dataset=path, target="price")).feature_names[0] == "Unnamed: 0"
    mixed[["price"]].to_csv(path)
    assert load(Config(dataset=path, target="price")).feature_names == ("Unnamed: 0",)


def test_columns_without_a_name_or_values(tmp_path):
    """Spreadsheets write such columns to the right of the last."""
    (tmp_path / "a.csv").write_text("a;y;;\n" + "1;2;;\n2;4;;\n3;5;;\n" * 5 + "\n\n")
    d = load(Config(dataset=tmp_path / "a.csv", target="y", task="regression", test_fraction=0))
    assert d.feature_names == ("a",)
    said = "has no values in the training rows, and is left out"
    assert [note for note in d.notes if said in note] == [f"column 'Unnamed: {i}' {said}" for i in (2, 3)]
    assert len(d.x_train) + len(d.x_validation) == 15
    (tmp_path / "a.csv").write_text("a;y;Unnamed: 3;\n1;2;3;4\n")
    with pytest.raises(InputError, match="more than one column 'Unnamed: 3'"):
        table.read(tmp_path / "a.csv")


def test_the_row_of_a_gap_is_named(tmp_path):
    """Such as a row of separators only, or a total below the table."""
    (tmp_path / "a.csv").write_text("a,b,y\n" + "1,u,2\n\n3,v,5\n" * 5 + ",,\nall,,20\n")
    with pytest.raises(InputError, match="the target, column 'y', has 1 missing value, the first in row 11; remove"):
        load(Config(dataset=tmp_path / "a.csv", target="y"))
    (tmp_path / "a.csv").write_text("a,b,y\n" + "1,u,2\n3,v,5\n" * 5 + "30,,20\n40,,20\n")
    with pytest.raises(InputError, match=r"missing values in column 'b' \(2\), the first in row 11; give impute"):
        load(Config(dataset=tmp_path / "a.csv", target="y", task="regression"))


def test_a_column_that_cannot_be_scaled_is_named(tmp_path, mixed):
    mixed["debt"] = np.where(mixed["garden"], 1e300, -1e300)
    with pytest.raises(InputError, match="the values of feature 'debt' are too far apart"):
        load(Config(dataset=save(mixed, tmp_path / "a.csv"), target="price"))


def test_names_with_spaces_around_them_are_told_from_those_without(tmp_path):
    (tmp_path / "a.csv").write_text("a , b, y\n1,2,3\n")
    with pytest.raises(InputError, match="allowed: 'a ', ' b', ' y'; did you mean ' y'?"):
        load(Config(dataset=str(tmp_path / "a.csv"), target="y"))


def test_many_columns_are_not_all_listed(tmp_path):
    (tmp_path / "a.csv").write_text(",".join(f"c{i}" for i in range(30)) + "\n" + ",".join("1" * 30) + "\n")
    with pytest.raises(InputError, match="'c19' and 10 more; give"):
        load(Config(dataset=str(tmp_path / "a.csv")))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"a,y\n", "no rows"),
        (b"a,y\n1,2\n2,3\n", "2 rows; allowed: at least 5"),
        (b"y\n1\n2\n", "separated by commas, semicolons, tabs or vertical bars, and no title"),
        (b"a,a,y\n1,2,3\n", "more than one column 'a'"),
        (b"a,y\n1,2\n1,2,3\n", "cannot read .* as CSV: .*line 3"),
        (b"a,y\n1,2,3\n1,2,3\n", "has rows with more cells than there are names"),
        (b'a,y\n"1,2\n', "cannot read .* as CSV: "),
        (b"a,y\n\xff\xfe,2\n", "not UTF-8"),
        (b"a,y\n1,u\n" + b"2,\n" * 9, "the target, column 'y', has 9 missing values"),
        (b"a,y\n" + b"1,u\n" * 9, "the one value u"),
        (b"a,y\n" + b"1,2.5\n1,inf\n" * 9, "9 missing or infinite"),
        (b"a,y\n" + b"inf,2.5\n1,3.5\n" * 9, "infinite values in column 'a'"),
        (b"a,y\n" + b",2.5\n1,3.5\n" * 9, r"missing values in column 'a' \(9\)"),
        (b"a,y\n" + b"1/2/2020,2.5\n1/3/2020,3.5\n" * 9, "column 'a' holds dates that do not tell the day"),
    ],
)
def test_bad_csv_is_one_line(tmp_path, content, says):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        load(Config(dataset=str(path), target="y"))
    assert "\n" not in str(caught.value)


def test_bad_parquet_is_one_line(tmp_path, mixed):
    path = tmp_path / "a.parquet"
    save(mixed, path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    spoiled = [b"", b"PAR1", b"a,b\n1,2\n", whole[:100], whole[:-20], b"PAR1" + rng.bytes(400) + b"PAR1"]
    for content in spoiled:
        path.write_bytes(content)
        with pytest.raises(InputError, match="cannot read .* as Parquet") as caught:
            load(Config(dataset=str(path), target="price"))
        assert "\n" not in str(caught.value)


def test_parquet_with_a_name_twice(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    twice = pa.Table.from_arrays([pa.array([1, 2]), pa.array([3, 4])], names=["a", "a"])
    parquet.write_table(twice, tmp_path / "a.parquet")
    with pytest.raises(InputError, match="more than one column 'a'"):
        load(Config(dataset=str(tmp_path / "a.parquet"), target="a"))


def test_lists_in_parquet_matter_only_where_they_are_used(tmp_path, mixed):
    mixed["self"], mixed["seen"] = [[1, 2]] * len(mixed), [{"on": 1}] * len(mixed)
    path = save(mixed, tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"column 'self' of .* type list.*; convert it, or leave it out with --drop"):
        load(Config(dataset=path, target="price", drop="seen"))
    with pytest.raises(InputError, match="column 'seen' of .* type struct"):
        load(Config(dataset=path, target="seen", drop="self"))
    d = load(Config(dataset=path, target="price", drop="self,seen"))
    plain = save(mixed.drop(columns=["self", "seen"]), tmp_path / "plain.parquet")
    np.testing.assert_array_equal(d.x_train, load(Config(dataset=plain, target="price")).x_train)
    x = read_features(plain, d.columns)
    np.testing.assert_array_equal(read_features(path, d.columns), x)
    for part, y, _ in reading.features_and_targets(path, d.columns, "price"):
        np.testing.assert_array_equal(part, x)
        np.testing.assert_array_equal(y, mixed["price"])


@pytest.mark.parametrize("values", [pd.to_datetime(["2020-01-01"] * 6), [[1]] * 6])
def test_target_of_another_type(tmp_path, values):
    path = save(pd.DataFrame({"a": range(6), "y": values}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="column 'y'.* holds values of type"):
        load(Config(dataset=path, target="y"))


def test_path_must_be_a_file(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    for name in ("absent.csv", "folder.csv", "absent.parquet", "absent.npz"):
        with pytest.raises(InputError, match=f"{name} is not a file"):
            load(Config(dataset=str(tmp_path / name), target="y"))
    with pytest.raises(InputError, match=r"ends in '\.doc'; allowed"):
        read_features(tmp_path / "a.doc", None)


@pytest.mark.parametrize(("lacking", "end"), [("pandas", ".csv"), ("pyarrow", ".parquet")])
def test_missing_library_says_what_to_install(tmp_path, mixed, monkeypatch, lacking, end):
    path = save(mixed, tmp_path / f"a{end}")
    real = builtins.__import__

    def no_library(name, *args, **kwargs):
        if name.split(".")[0] == lacking:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_library)
    with pytest.raises(InputError, match=r'pip install "mlpgpu\[tables\]"'):
        load(Config(dataset=path, target="price"))


def test_task_given_is_obeyed(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,y\n" + "".join(f"{2 * i},{i % 3}\n" for i in range(30)))
    assert load(Config(dataset=str(path), target="y")).classes == (0, 1, 2)
    d = load(Config(dataset=str(path), target="y", task="regression"))
    assert d.y_train.shape == (len(d.x_train), 1)
    assert d.notes == ()
    path.write_text("a,y\n" + "".join(f"{i},k{i % 3}\n" for i in range(30)))
    with pytest.raises(InputError, match="holds text"):
        load(Config(dataset=str(path), target="y", task="regression"))


def test_class_with_a_single_row_is_split_with_a_note(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,y\n" + "1,u\n2,v\n" * 20 + "3,w\n")
    d = load(Config(dataset=str(path), target="y"))
    assert d.classes == ("u", "v", "w")
    assert any("single row" in note for note in d.notes)


def test_reads_names_as_text(tmp_path):
    path = tmp_path / "a.parquet"
    pd.DataFrame({0: [1], 1: [2]}).to_parquet(path)
    assert list(table.read(path).columns) == ["0", "1"]
