"""Columns and arrays that are set aside: the weights and groups of rows."""

import decimal

import numpy as np
import pytest

from mlpgpu import Config, InputError
from mlpgpu.data import array_file, npz, table


def _source(path, **given):
    config = Config(dataset=path, **given)
    return {".npz": npz.load, ".npy": array_file.load}.get(path.suffix, lambda *of: table.load(*of, None))(path, config)


@pytest.fixture
def frame(rng):
    pd = pytest.importorskip("pandas", reason="pandas is not installed: no tables")
    n = 12
    return pd.DataFrame(
        {
            "a": rng.normal(size=n),
            "w": rng.choice([0, 0.5, 1234.25], n),
            "id": [f"{i % 5:03}" for i in range(n)],
            "when": pd.date_range("2020-01-01", periods=n).where(np.arange(n) % 2 == 0, pd.Timestamp("2021-01-01")),
            "b": rng.normal(size=n),
            "y": rng.normal(size=n),
        }
    )


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
@pytest.mark.parametrize("group", ["id", "when"])
def test_weights_and_groups_are_no_features(tmp_path, frame, ending, group):
    path = tmp_path / f"a.{ending}"
    if ending == "parquet":
        frame.to_parquet(path)
    elif ending == "csv":
        frame.to_csv(path, index=False)
    else:
        # With decimal commas.
        frame.to_csv(path, index=False, sep="\t", decimal=",")
    source = _source(path, target="y", sample_weight="w", group=group, drop="when" if group == "id" else "id")
    assert list(source.x.columns) == ["a", "b"]
    np.testing.assert_array_equal(source.weights, frame["w"])
    assert source.weights.dtype == np.float64
    same = frame[group].to_numpy()[:, None] == frame[group].to_numpy()
    np.testing.assert_array_equal(source.groups[:, None] == source.groups, same)
    without = _source(path, target="y", drop=("when", "id", "w"))
    assert (without.weights, without.groups) == (None, None)


def test_cells_of_a_group_are_compared_as_they_stand(tmp_path):
    """A code may have leading zeros, more digits than a float, marks that a number may not have, or be called NA."""
    cells = ["7", "007", "NA", "1.234", "1,5", "12345678901234567890123", "12345678901234567890124"]
    rows = "".join(f"{i};{cell};{i / 2}\n" for i, cell in enumerate(cells, 1))
    (tmp_path / "a.csv").write_text("a;g;y\n" + rows)
    assert _source(tmp_path / "a.csv", target="y", group="g").groups.tolist() == cells


def test_weights_may_be_decimals(tmp_path, frame):
    frame["w"] = [decimal.Decimal("1.5")] * len(frame)
    frame.to_parquet(tmp_path / "a.parquet")
    source = _source(tmp_path / "a.parquet", target="y", sample_weight="w", drop="when")
    np.testing.assert_array_equal(source.weights, 1.5)


def test_arrays_of_weights_and_groups(tmp_path, rng):
    x, y, w, g = rng.normal(size=(9, 2)), rng.normal(size=9), np.arange(9), np.arange(9).astype(str)
    np.savez(tmp_path / "a.npz", x=x, y=y, w=w[:, None], g=g)
    source = _source(tmp_path / "a.npz", sample_weight="w", group="g")
    np.testing.assert_array_equal(source.weights, w)
    np.testing.assert_array_equal(source.groups, g)
    names = {"x_train": x[:6], "y_train": y[:6], "x_test": x[6:], "y_test": y[6:]}
    np.savez(tmp_path / "b.npz", **names, w_train=w[:6], w_test=w[6:], g_train=g[:6], g_test=g[6:])
    source = _source(tmp_path / "b.npz", sample_weight="w", group="g")
    for part, at in ((source, slice(6)), (source.own["test"], slice(6, 9))):
        for found, expected in ((part.x, x), (part.y, y), (part.weights, w), (part.groups, g)):
            np.testing.assert_array_equal(found, expected[at])
    with pytest.raises(
        InputError,
        match=r"sample_weight is 'w_train', .*does not have with _train and _test after it; allowed: 'w', 'g'",
    ):
        _source(tmp_path / "b.npz", sample_weight="w_train")


@pytest.mark.parametrize("memory_map", ["always", "never"])
def test_files_of_weights_and_groups(tmp_path, rng, memory_map):
    values = {"x": rng.normal(size=(9, 2)), "y": rng.normal(size=9), "w": np.arange(9), "g": np.arange(9).astype(str)}
    for name, array in values.items():
        np.save(tmp_path / f"{name}.npy", array)
    y, w, g = (str(tmp_path / f"{name}.npy") for name in "ywg")
    source = _source(tmp_path / "x.npy", target=y, sample_weight=w, group=g, memory_map=memory_map)
    np.testing.assert_array_equal(source.weights, values["w"])
    np.testing.assert_array_equal(source.groups, values["g"])
    np.save(tmp_path / "w.npy", np.arange(8))
    with pytest.raises(InputError, match=r"w.npy has shape \(8,\) for 9 rows of .*; allowed: a sample_weight for each"):
        _source(tmp_path / "x.npy", target=y, sample_weight=w)
    with pytest.raises(InputError, match="sample_weight is 'w'; allowed: a .npy or IDX file"):
        _source(tmp_path / "x.npy", target=y, sample_weight="w")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"sample_weight": "W"},
            "sample_weight is 'W', which .* does not have; allowed: 'a', 'w', .*; did you mean 'w'?",
        ),
        (
            {"target": "y,a,b,when,id", "sample_weight": "z", "drop": ("w",)},
            "sample_weight is 'z', which .* does not have; leave it out$",
        ),
        ({"group": "y"}, "group is 'y', which is the target; choose another, or leave it out"),
        ({"target": "y,w", "sample_weight": "w"}, "sample_weight is 'w', which is the target; choose another"),
        ({"sample_weight": "w", "drop": ("w", "when")}, "sample_weight is 'w', which drop leaves out; choose another"),
        (
            {"target": "y,a,b,when", "sample_weight": "w", "group": "id"},
            "no columns but those of target, sample_weight",
        ),
    ],
)
def test_a_name_has_one_role(tmp_path, frame, given, said):
    frame.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match=said):
        _source(tmp_path / "a.csv", **{"target": "y"} | given)
    features = [{"name": "w", "kind": "number", "fill": None}]
    with pytest.raises(InputError, match="group is 'w', which is a feature of the model to start from; choose another"):
        table.load(tmp_path / "a.csv", Config(target="y", group="w"), features)
    with pytest.raises(InputError, match="sample_weight and group are both 'w'; leave out one"):
        Config(sample_weight="w", group="w")


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("", "column 'w' has 1 missing value, the first in row 3; allowed for weights: no missing values"),
        ("-0.5", "column 'w' has '-0.5' in row 3; allowed for weights: 0, and numbers from 1e-15 to 1e\\+15"),
        ("inf", "column 'w' has 'inf' in row 3"),
        ("1e39", "column 'w' has '1e.39' in row 3"),
        ("1e-46", "column 'w' has '1e-46' in row 3"),
        ("much", "column 'w' has 'much' in row 3"),
        ("2020-01-01", "column 'w' has '2020-01-01' in row 3"),
    ],
)
def test_what_is_no_weight_is_refused(tmp_path, frame, cell, said):
    frame["w"] = frame["w"].astype(object)
    frame.loc[2, "w"] = cell
    frame.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match=said):
        _source(tmp_path / "a.csv", target="y", sample_weight="w")


@pytest.mark.parametrize(
    ("w", "said"),
    [
        (np.array([1, 2, np.nan, 3]), "array 'w' of .* has 1 missing value, the first in row 3"),
        (np.array([1, 2, -1, 3]), "array 'w' of .* has '-1' in row 3"),
        (np.array(["1", "2", "x", "3"]), "array 'w' of .* has 'x' in row 3"),
        (np.arange("2020-01-01", "2020-01-05", dtype="M8[D]"), "array 'w' of .* has '2020-01-01' in row 1"),
        (np.array([b"1", b"2", b"\xff", b"3"]), "array 'w' of .* has '\N{REPLACEMENT CHARACTER}' in row 3"),
        (
            np.ones((4, 2)),
            r"'w' of .* has type float64 and shape \(4, 2\); allowed for weights: one value for each row",
        ),
        (np.ones(4, [("a", float, (2,))]), r"'w' of .* has type \[\('a'.* and shape \(4,\); allowed for weights"),
        (np.ones(3), "has 4 rows of x for 3 of weights; allowed: as many"),
    ],
)
def test_an_array_of_no_weights_is_refused(tmp_path, w, said):
    np.savez(tmp_path / "a.npz", x=np.ones((4, 2)), y=np.arange(4), w=w)
    with pytest.raises(InputError, match=said):
        _source(tmp_path / "a.npz", sample_weight="w")


@pytest.mark.parametrize(("name", "role"), [("x", "holds the features"), ("y", "is the target")])
def test_an_array_has_one_role(tmp_path, name, role):
    np.savez(tmp_path / "a.npz", x=np.ones((4, 2)), y=np.arange(4))
    with pytest.raises(InputError, match=f"sample_weight is '{name}', which {role}"):
        _source(tmp_path / "a.npz", sample_weight=name)


def test_an_array_of_no_groups_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones((4, 2)), y=np.arange(4), g=np.ones(4, [("a", float, (2,))]))
    with pytest.raises(InputError, match=r"array 'g' of .* has type \[\('a'.*; allowed for groups: one value for each"):
        _source(tmp_path / "a.npz", group="g")


def test_groups_without_a_value_are_refused(tmp_path, frame):
    frame.loc[[2, 5], "id"] = None
    frame.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match="column 'id' has 2 missing values, the first in row 3; allowed for groups"):
        _source(tmp_path / "a.csv", target="y", group="id")
