"""Several targets of a table: how their columns are named, and what they may contain."""

import decimal

import numpy as np
import pytest

from mlpgpu import Config, InputError
from mlpgpu.data import load
from mlpgpu.data.target_columns import named, values

pd = pytest.importorskip("pandas", reason="pandas is not installed: no tables")


@pytest.fixture
def houses(rng):
    """Return a table with targets of every kind, and a feature with a comma in its name."""
    n = 40
    frame = pd.DataFrame({"size": rng.normal(50, 10, n), "price,area": rng.normal(size=n)})
    frame["price"], frame["area"] = 1e6 * frame["size"], 1e-6 * rng.normal(size=n)
    frame["rooms"] = rng.integers(1, 4, n)
    frame["kind"], frame["sold"], frame["flat"] = rng.choice(["u", "v"], n), rng.random(n) > 0.5, 7
    frame["gaps"], frame["far"] = (
        frame["size"].where(frame["size"] > 50),
        frame["size"].replace(frame["size"][3], np.inf),
    )
    return frame


@pytest.mark.parametrize(
    ("target", "names", "expected"),
    [
        ("a", "abc", ["a"]),
        ("a,c", "abc", ["a", "c"]),
        (" a , c", "abc", ["a", "c"]),
        ("c,a", "abc", ["c", "a"]),
        ("a,b", ["a", "b", "a,b"], ["a,b"]),
        ("a, b", ["a", " b"], ["a", " b"]),
        ("c,a,b", ["a,b", "c"], ["c", "a,b"]),
        ("c, a, b, d", ["a, b", "c", "d"], ["c", "a, b", "d"]),
        (" a", "abc", [" a"]),
    ],
)
def test_a_column_of_that_very_name_goes_first(target, names, expected):
    assert named(target, list(names)) == expected


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_columns_are_targets_in_the_order_given(tmp_path, houses, ending):
    path = tmp_path / f"houses.{ending}"
    frame = houses[["rooms", "size", "price", "area"]]
    frame.to_csv(path, index=False) if ending == "csv" else frame.to_parquet(path)
    d = load(Config(dataset=path, target="price, rooms", test_fraction=0, validation_fraction=0))
    assert (d.task, d.target, d.targets, d.n_targets) == ("regression", "price,rooms", ("price", "rooms"), 2)
    assert d.feature_names == ("size", "area")
    np.testing.assert_allclose(d.y_train, frame[["price", "rooms"]], rtol=1e-12)


def test_one_column_whose_name_has_a_comma_is_one_target(tmp_path, houses):
    houses[["size", "price", "area", "price,area"]].to_csv(tmp_path / "houses.csv", index=False)
    d = load(Config(dataset=tmp_path / "houses.csv", target="price,area"))
    assert (d.target, d.targets, d.n_targets) == ("price,area", (), 1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"target": "price,aera"}, "and .* does not have 'aera'; allowed: 'size', .*; did you mean 'area'?"),
        ({"target": "price,"}, "does not have ''"),
        ({"target": "price, price"}, "target is 'price, price', which has 'price' twice; name each column once"),
        ({"target": "price,area", "drop": "kind,area"}, "drop has 'area', which is one of the targets; leave it out"),
        ({"target": "price,kind"}, "column 'price' of the target, .*, holds numbers, and 'kind' text; give task class"),
        ({"target": "kind,sold,rooms"}, "column 'rooms' of the target, .*, holds numbers, and 'kind' text; give task"),
        ({"target": "price,sold", "task": "regression"}, "column 'sold' of the target, .*, holds truth values; allow"),
        ({"target": "price,gaps"}, "the target, column 'gaps', has .* missing values, the first in row "),
        ({"target": "price,flat"}, "the target, column 'flat', has the one value 7.0; .*; leave it out"),
        ({"target": "price,far"}, "the target, columns 'price', 'far', has 1 missing or infinite value;"),
        ({"target": "kind,rooms", "task": "classification"}, r"column 'rooms', has 3 distinct values, such as \[1, 2,"),
        ({"target": "kind,town"}, r"column 'town', has 3 distinct values, such as \['A', 'B', 'C'\]; each of several"),
        ({"target": "kind,flat", "task": "classification"}, "the target, column 'flat', has the one value 7; .* leave"),
        ({"target": "kind,edge", "task": "classification"}, "the target, column 'edge', has infinite values; remove"),
        ({"target": "size,price,area,rooms,kind,sold,flat,gaps,far"}, "all columns of .*; leave at least one"),
    ],
)  # fmt: skip
def test_what_cannot_be_several_targets(tmp_path, houses, given, said):
    more = {"town": list("ABCA" * 10), "edge": [0.0, np.inf] * 20}
    # Add only those in the target, because one case has all other columns as targets.
    more = {name: values for name, values in more.items() if name in given["target"].split(",")}
    houses.drop(columns="price,area").assign(**more).to_parquet(tmp_path / "houses.parquet")
    with pytest.raises(InputError, match=said):
        load(Config(dataset=tmp_path / "houses.parquet", **given))


def test_categories_of_numbers_are_words():
    frame = pd.DataFrame({"sold": [True, False], "grade": pd.Categorical([1, 2])})
    y, _ = values(frame)
    assert y.tolist() == [[True, "1"], [False, "2"]]


@pytest.mark.parametrize("names", [["price"], ["price", "area"]])
def test_decimals_are_numbers_to_predict(names):
    frame = pd.DataFrame({"price": map(decimal.Decimal, ["0.1", "2.50"]), "area": [1, 2]})
    y, categorical = values(frame[names])
    assert (y.dtype, categorical) == (np.float64, False)
    assert y.tolist() == (frame.astype(float)["price"].tolist() if names == ["price"] else [[0.1, 1], [2.5, 2]])


def test_whole_numbers_of_more_than_64_bits_are_predicted(tmp_path, rng):
    """Such as amounts in the smallest unit of a currency; pandas has them as objects."""
    wei = [int(value) * 10**19 for value in rng.integers(1, 1000, 40)]
    pd.DataFrame({"wei": wei, "size": rng.normal(size=40)}).to_csv(tmp_path / "a.csv", index=False)
    d = load(Config(dataset=tmp_path / "a.csv", target="wei", test_fraction=0, validation_fraction=0))
    assert d.task == "regression"
    np.testing.assert_array_equal(d.y_train[:, 0], np.array(wei, np.float64))
