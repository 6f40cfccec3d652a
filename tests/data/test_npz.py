"""Data in .npz files: names and shapes of arrays, imputation, and damaged files."""

import zipfile

import numpy as np
import pytest
from sklearn.impute import SimpleImputer

from mlpgpu.data import load, read_features
from mlpgpu.data.reading import features_and_targets
from mlpgpu.errors import InputError
from mlpgpu.settings.config import Config


def save(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


def x_y(rng, n=40):
    return rng.normal(size=(n, 3)).astype(np.float32), np.arange(n) % 4


@pytest.mark.parametrize("name", ["x", "X"])
def test_arrays_x_and_y_are_split(tmp_path, rng, name):
    x, y = x_y(rng)
    d = load(Config(dataset=save(tmp_path / "my.npz", **{name: x, "y": y})))
    assert d.name == "my"
    assert d.task == "classification"
    assert d.x_train.dtype == np.float32
    assert d.feature_names == ("x0", "x1", "x2")
    assert d.columns is None
    assert d.notes == ("task: classification, inferred from the 4 distinct whole numbers in array 'y'",)
    label = {row.tobytes(): code for row, code in zip(x, y, strict=True)}
    rows, codes = np.concatenate([d.x_train, d.x_validation, d.x_test]), [*d.y_train, *d.y_validation, *d.y_test]
    assert [label[row.tobytes()] for row in rows] == codes
    assert len(codes) == 40


def test_target_names_the_array(tmp_path, rng):
    x, y = x_y(rng)
    path = save(tmp_path / "a.npz", x=x, y=y, z=np.array([[0.5, 1.5]] * 20 + [[2, 3]] * 20))
    d = load(Config(dataset=path, target="z"))
    assert (d.task, d.n_targets, d.target) == ("regression", 2, "z")


def test_keras_names_bring_their_own_test_rows(tmp_path, rng):
    x = rng.integers(0, 256, (60, 5, 4), np.uint8)
    y = (np.arange(60) % 3).astype(np.uint8)
    path = save(tmp_path / "mnist.npz", x_train=x[:50], y_train=y[:50], x_test=x[50:], y_test=y[50:])
    d = load(Config(dataset=path))
    assert d.x_train.dtype == np.uint8
    assert d.scaling.kind == "255"
    assert d.feature_names == ()
    np.testing.assert_array_equal(d.x_test, x[50:].reshape(10, 20))
    np.testing.assert_array_equal(d.y_test, y[50:])
    assert len(d.x_train) == 45
    assert load(Config(dataset=path, validation_fraction=0)).x_train.shape == (50, 20)
    np.testing.assert_array_equal(read_features(path, None), x[50:].reshape(10, 20))


@pytest.mark.parametrize(("shape", "kind"), [((60, 5, 4, 3), "255"), ((60, 3, 5, 4), "255"), ((60, 12), "standard")])
def test_bytes_in_colour_are_images_and_bytes_in_columns_are_not(tmp_path, rng, shape, kind):
    x = rng.integers(0, 256, shape, np.uint8)
    data = load(Config(dataset=save(tmp_path / "a.npz", x=x, y=np.arange(60) % 3)))
    assert (data.scaling.kind, data.feature_names == ()) == (kind, kind == "255")


def test_arrays_that_are_not_used_are_named(tmp_path, rng):
    x, y = x_y(rng)
    parts = {f"{name}_{part}": each for part in ("train", "test") for name, each in (("x", x), ("y", y))}
    path = save(tmp_path / "a.npz", **parts, x_val=x, w_train=y, w_test=y)
    assert "not used: arrays 'x_val', 'w_train', 'w_test'" in load(Config(dataset=path)).notes
    assert "not used: array 'x_val'" in load(Config(dataset=path, sample_weight="w")).notes
    only = load(Config(dataset=save(tmp_path / "b.npz", x=x, y=y, id=y)))
    assert "not used: array 'id'" in only.notes


def test_classes_that_only_test_rows_have_are_named(tmp_path, rng):
    x, _ = x_y(rng)
    parts = {"x_train": x[:30], "y_train": ["a", "b"] * 15, "x_test": x[30:]}
    for tested, words in [("abcb", "class 'c': it"), ("abcd", "classes 'c', 'd': they")]:
        path = save(tmp_path / "a.npz", **parts, y_test=[*tested, *"bababa"])
        assert f"no training rows of {words} cannot be learned" in load(Config(dataset=path)).notes


def test_labels_of_test_rows_alone_are_classes_too(tmp_path, rng):
    x, _ = x_y(rng)
    y = np.array(["b", "a"] * 20)
    path = save(tmp_path / "a.npz", x_train=x[:30], y_train=y[:30], x_test=x[30:], y_test=["c"] * 10)
    d = load(Config(dataset=path))
    assert d.classes == ("a", "b", "c")
    assert d.y_test.tolist() == [2] * 10


def test_labels_of_bytes_are_text_in_every_part_and_later(tmp_path, rng):
    x, _ = x_y(rng)
    y = np.array(["ä", "b"] * 20)
    as_bytes = np.char.encode(y, "utf-8")
    path = save(tmp_path / "a.npz", x_train=x[:30], y_train=as_bytes[:30], x_test=x[30:], y_test=y[30:])
    d = load(Config(dataset=path))
    assert d.classes == ("b", "ä")
    assert d.y_test.tolist() == [1, 0] * 5
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", as_bytes)
    for file, target in ((save(tmp_path / "b.npz", x=x, y=as_bytes), "y"), (tmp_path / "x.npy", tmp_path / "y.npy")):
        (known,) = features_and_targets(file, None, str(target))
        np.testing.assert_array_equal(known.y, y)


@pytest.mark.parametrize(("shape", "images"), [((6, 2, 3, 1), True), ((6, 2, 3, 3), True), ((6, 2), False)])
def test_rows_are_flattened(tmp_path, shape, images):
    x = np.arange(np.prod(shape), dtype=">i4").reshape(shape)
    d = load(Config(dataset=save(tmp_path / "a.npz", x=x, y=[1.5, 2, 3, 4, 5, 6]), validation_fraction=0))
    assert (d.feature_names == ()) == images
    assert d.x_train.dtype == np.dtype("i4")
    assert d.x_train.dtype.isnative
    np.testing.assert_array_equal(read_features(tmp_path / "a.npz", None), x.reshape(6, -1))


def test_truth_values_are_zeros_and_ones(tmp_path):
    path = save(tmp_path / "a.npz", x=np.eye(6, dtype=bool), y=np.arange(6) / 4)
    assert read_features(path, None).dtype == np.uint8
    assert read_features(path, None).tolist() == np.eye(6).tolist()


@pytest.mark.parametrize("impute", ["mean", "median"])
def test_missing_values_are_filled_from_the_training_rows(tmp_path, rng, impute):
    x = rng.normal(size=(50, 4))
    x[:, 3] = np.arange(50)
    x[::5, 1] = np.nan
    path = save(tmp_path / "a.npz", x=x, y=rng.normal(size=50))
    d = load(Config(dataset=path, impute=impute))
    training = x[d.x_train[:, 3].astype(int)]
    reference = SimpleImputer(strategy=impute).fit(training)
    np.testing.assert_allclose(d.x_train, reference.transform(training))
    np.testing.assert_allclose(read_features(path, d.columns), reference.transform(x))
    assert [record["name"] for record in d.columns] == ["x0", "x1", "x2", "x3"]
    with pytest.raises(InputError, match=r"missing values in feature x1 \(10\); give impute mean"):
        load(Config(dataset=path))
    with pytest.raises(InputError, match=r"missing values in feature 1 \(10\); the model cannot fill them"):
        read_features(path, None)
    with pytest.raises(InputError, match="has 2 features; the model was trained on 4"):
        read_features(save(tmp_path / "b.npz", x=x[:, :2]), d.columns)
    whole = save(tmp_path / "c.npz", x=np.ones((2, 4), int))
    np.testing.assert_array_equal(read_features(whole, d.columns), np.ones((2, 4)))


def test_missing_values_of_images_are_filled_too(tmp_path, rng):
    x = rng.normal(size=(20, 2, 3))
    x[::4, 1, 2] = np.nan
    path = save(tmp_path / "a.npz", x=x, y=rng.normal(size=20))
    d = load(Config(dataset=path, impute="mean", test_fraction=0, validation_fraction=0))
    np.testing.assert_allclose(d.x_train, SimpleImputer().fit_transform(x.reshape(20, 6)))


def test_infinite_values_are_not_filled(tmp_path):
    x = np.array([[1, 2], [np.nan, np.inf]] * 6)
    path = save(tmp_path / "a.npz", x=x, y=np.arange(12))
    with pytest.raises(InputError, match=r"infinite values in feature x1 \(6\)"):
        load(Config(dataset=path, impute="mean"))
    records = [{"name": name, "kind": "number", "fill": 0.0} for name in ("x0", "x1")]
    with pytest.raises(InputError, match=r"infinite values in feature 1 \(6\)"):
        read_features(path, records)


def test_missing_values_of_own_test_rows_are_filled_too(tmp_path, rng):
    x = rng.normal(size=(50, 2))
    x[45, 0] = np.nan
    y = rng.normal(size=50)
    path = save(tmp_path / "a.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    d = load(Config(dataset=path, impute="mean", validation_fraction=0))
    assert d.x_test[5, 0] == pytest.approx(x[:40, 0].mean())


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"a": [1]}, "has the arrays a; allowed: x and y"),
        ({}, "has the arrays none"),
        ({"x": np.ones((6, 2))}, "no array 'y' to predict; it has x; give one of them as target"),
        ({"x": np.ones((6, 2)), "yy": np.ones(6)}, "did you mean yy?"),
        ({"x": np.ones((6, 2)), "y": np.arange(5)}, "6 rows of x for 5 of y"),
        ({"x": np.ones(6), "y": np.arange(6)}, r"shape \(6,\); allowed"),
        ({"x": np.ones((6, 0)), "y": np.arange(6)}, r"shape \(6, 0\); allowed"),
        ({"x": 3, "y": np.arange(6)}, "'x' of .* is a single value"),
        ({"x": np.array([["a"]] * 6), "y": np.arange(6)}, "type <U1"),
        ({"x": np.ones((6, 2), complex), "y": np.arange(6)}, "type complex128"),
        ({"x": np.ones((4, 2)), "y": np.arange(4)}, "4 rows; allowed: at least 5"),
        ({"x": np.array([[1, np.inf]] * 6), "y": np.arange(6)}, r"infinite values in feature x1 \(6\)"),
        ({"x": np.full((6, 12), np.nan), "y": np.arange(6)}, r"x9 \(6\) and 2 more"),
        ({"x": np.full((6, 2, 2), np.nan), "y": np.arange(6)}, r"feature 0 \(6\), 1 \(6\)"),
        ({"x": np.ones((6, 2)), "y": np.array([None] * 6, object)}, "cannot read .*allow_pickle"),
        (
            {"x_train": np.ones((6, 2)), "y_train": range(6), "x_test": np.ones((3, 3)), "y_test": range(3)},
            "2 features in its training rows, and 3 in x_test",
        ),
        (
            {"x_train": np.ones((6, 2)), "y_train": range(6), "x_test": np.ones((3, 2)), "y_test": ["a"] * 3},
            "that of x_test and y_test <U1",
        ),
    ],
)
def test_arrays_that_do_not_do_are_one_line(tmp_path, arrays, says):
    with pytest.raises(InputError, match=says) as caught:
        load(Config(dataset=save(tmp_path / "a.npz", **arrays)))
    assert "\n" not in str(caught.value)


def test_column_without_values_cannot_be_filled(tmp_path):
    x = np.array([[1, np.nan]] * 6)
    with pytest.raises(InputError, match="feature x1 has no values in the training rows"):
        load(Config(dataset=save(tmp_path / "a.npz", x=x, y=np.arange(6)), impute="median"))


def test_damaged_file_is_one_line(tmp_path, rng):
    path = tmp_path / "a.npz"
    x, y = x_y(rng)
    save(path, x=x, y=y)
    whole = path.read_bytes()
    for content in (b"", b"x,y\n", whole[:200], whole[:150] + b"\xff" * 40 + whole[190:], b"\x93NUMPY" + whole[6:]):
        path.write_bytes(content)
        with pytest.raises(InputError, match="cannot read .* as .npz") as caught:
            load(Config(dataset=str(path)))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("at", "byte"), [(6, 99), (8, 1), (8, 32), (10, 99)])
def test_archive_locked_or_packed_in_unknown_ways_is_one_line(tmp_path, rng, at, byte):
    path = tmp_path / "a.npz"
    x, y = x_y(rng)
    save(path, x=x, y=y)
    content = bytearray(path.read_bytes())
    # Bytes 6, 8 and 10 of each entry of the central directory are version, flags and compression method.
    entry = content.find(b"PK\x01\x02")
    while entry >= 0:
        content[entry + at] = byte
        entry = content.find(b"PK\x01\x02", entry + 4)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read .* as \.npz"):
        load(Config(dataset=str(path)))


def test_header_that_promises_the_moon_is_one_line(tmp_path):
    path = tmp_path / "a.npz"
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (4000000000000, 2), }".ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("x.npy", "y.npy"):
            archive.writestr(name, b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(InputError, match="cannot read .* as .npz"):
        load(Config(dataset=str(path)))
