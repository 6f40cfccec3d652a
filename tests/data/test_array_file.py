"""Data in .npy and IDX files, memory-mapped or not."""

import gzip

import numpy as np
import pytest

from mlpgpu import endings
from mlpgpu.data import array_file, idx, load, read_features
from mlpgpu.data.mapped import Mapped
from mlpgpu.data.reading import features, features_and_targets
from mlpgpu.errors import InputError
from mlpgpu.settings.config import Config

PARTS = ("train", "validation", "test")


@pytest.fixture
def files(tmp_path, rng):
    """Write rows of numbers and their labels to two files; return the folder and both arrays."""
    x, y = rng.normal(size=(60, 3)).astype(np.float32), np.arange(60) % 3
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "labels.npy", y)
    return tmp_path, x, y


def of(folder, x="x.npy", y="labels.npy", **settings):
    return load(Config(dataset=str(folder / x), target=str(folder / y), **settings))


def rows_and_labels(data):
    x = [getattr(data, f"x_{part}")[:] for part in PARTS]
    y = [getattr(data, f"y_{part}") for part in PARTS]
    return {(*row, label) for row, label in zip(np.concatenate(x).tolist(), np.concatenate(y).tolist(), strict=True)}


@pytest.mark.parametrize("memory_map", ["always", "never", "auto"])
def test_rows_keep_their_labels(files, memory_map):
    folder, x, y = files
    data = of(folder, memory_map=memory_map)
    assert isinstance(data.x_train, Mapped) == (memory_map == "always")
    assert rows_and_labels(data) == {(*row, label) for row, label in zip(x.tolist(), y.tolist(), strict=True)}
    assert [len(getattr(data, f"x_{part}")) for part in PARTS] == [43, 5, 12]
    assert (data.name, data.target, data.task) == ("x", "labels", "classification")
    assert data.feature_names == ("x0", "x1", "x2")
    assert any("memory-mapped" in note for note in data.notes) == (memory_map == "always")
    assert data.block == (2**18 // 12 if memory_map == "always" else 1)


@pytest.mark.parametrize("scale", ["standard", "minmax"])
def test_the_same_rows_are_in_each_part_whether_mapped_or_not_and_are_scaled_the_same(files, scale):
    one, two = (of(files[0], memory_map=kind, scale=scale) for kind in ("always", "never"))
    for part in PARTS:
        ours, theirs = (getattr(data, f"x_{part}")[:] for data in (one, two))
        np.testing.assert_array_equal(np.sort(ours, axis=0), np.sort(theirs, axis=0))
    np.testing.assert_allclose(one.scaling.shift, two.scaling.shift, rtol=1e-13)
    np.testing.assert_allclose(one.scaling.factor, two.scaling.factor, rtol=1e-13)


def test_rows_of_a_part_are_in_the_order_of_the_file(tmp_path, rng):
    np.save(tmp_path / "x.npy", np.arange(200).reshape(100, 2))
    np.save(tmp_path / "labels.npy", rng.normal(size=100))
    data = of(tmp_path, memory_map="always")
    for part in PARTS:
        assert (np.diff(getattr(data, f"x_{part}")[:, ...][:, 0]) > 0).all()


@pytest.mark.parametrize(("available", "kept"), [(None, False), (4 * 848, False), (4 * 848 - 1, True)])
def test_what_four_times_does_not_fit_into_memory_stays_in_the_file(files, monkeypatch, available, kept):
    """The file has 848 bytes: a header of 128, and 60 rows of three float32 numbers."""
    monkeypatch.setattr(array_file, "available_memory", lambda: available)
    assert isinstance(of(files[0]).x_train, Mapped) is kept
    assert isinstance(of(files[0], memory_map="always").x_train, Mapped)
    assert isinstance(of(files[0], memory_map="never").x_train, np.ndarray)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        ("images.idx", "labels.idx"),
        ("images.idx3-ubyte", "labels.idx1-ubyte.gz"),
        ("train-images-idx3-ubyte.gz", "labels.npy"),
    ],
)
@pytest.mark.parametrize("memory_map", ["auto", "always"])
def test_idx_files(tmp_path, rng, x, y, memory_map):
    images, labels = rng.integers(0, 256, size=(30, 4, 5), dtype=np.uint8), np.arange(30, dtype=np.uint8) % 3
    for name, array in ((x, images), (y, labels)):
        data = bytes(idx.encode(array))
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    np.save(tmp_path / "labels.npy", labels)
    if x.endswith(".gz") and memory_map == "always":
        with pytest.raises(InputError, match="is gzipped and cannot be memory-mapped; unpack it"):
            of(tmp_path, x, y, memory_map=memory_map)
        return
    data = of(tmp_path, x, y, memory_map=memory_map)
    assert isinstance(data.x_train, Mapped) == (memory_map == "always")
    assert (data.feature_names, data.scaling.kind, data.x_train.dtype) == ((), "255", np.uint8)
    expected = zip(images.reshape(30, 20).tolist(), labels.tolist(), strict=True)
    assert rows_and_labels(data) == {(*row, label) for row, label in expected}


def test_numbers_to_be_predicted(files):
    folder, x, _ = files
    np.save(folder / "y.npy", x[:, :2] * 2.0)
    data = of(folder, y="y.npy", memory_map="always")
    assert (data.task, data.n_targets) == ("regression", 2)
    np.testing.assert_array_equal(data.y_test, data.x_test[:, ...][:, :2] * 2)


def test_text_for_labels(files):
    folder, _, y = files
    np.save(folder / "y.npy", np.array(["no", "yes", "well"])[y])
    assert of(folder, y="y.npy").classes == ("no", "well", "yes")


def test_truth_values_and_other_byte_orders(tmp_path, rng):
    np.save(tmp_path / "labels.npy", np.arange(40) % 2)
    numbers = rng.normal(size=(40, 3))
    for x in (numbers < 0.5, numbers.astype(">f8"), np.asfortranarray(numbers)):
        np.save(tmp_path / "x.npy", x)
        data = of(tmp_path, memory_map="never")
        assert data.x_train.dtype == (np.uint8 if x.dtype == bool else np.float64)
        assert {row[:-1] for row in rows_and_labels(data)} == set(map(tuple, x.tolist()))


def test_rows_to_predict_for_and_to_measure_on(files, monkeypatch):
    folder, x, y = files
    for available, kept in ((None, False), (0, True)):
        monkeypatch.setattr(array_file, "available_memory", lambda there=available: there)
        assert isinstance(array_file.read_x(folder / "x.npy"), Mapped) is kept
        np.testing.assert_array_equal(read_features(folder / "x.npy", None), x)
        parts = list(features(folder / "x.npy", None, 25))
        assert [len(part) for part in parts] == [25, 25, 10]
        np.testing.assert_array_equal(np.concatenate(parts), x)
        ((rows, targets, _),) = features_and_targets(folder / "x.npy", None, str(folder / "labels.npy"))
        np.testing.assert_array_equal(rows, x)
        np.testing.assert_array_equal(targets, y)


def test_missing_values(files):
    folder, x, _ = files
    x[3, 1] = np.nan
    np.save(folder / "x.npy", x)
    for memory_map in ("always", "never"):
        with pytest.raises(InputError, match=r"missing values in feature x1 \(1\)"):
            of(folder, memory_map=memory_map)
    with pytest.raises(InputError, match="impute 'mean' cannot fill them; give memory_map never, or fill them"):
        of(folder, memory_map="always", impute="mean")
    assert not np.isnan(of(folder, memory_map="never", impute="mean").x_train).any()


MISTAKES = {
    "no target": ({"target": None}, "target is not given"),
    "a word": ({"target": "label"}, "target is 'label'; allowed: a .npy or IDX file"),
    "a target that is not there": ({"target": "gone.npy"}, "cannot read gone.npy: No such file"),
    "a folder": ({"dataset": "folder.npy"}, "cannot read folder.npy: Is a directory"),
    "rows that are not there": ({"dataset": "gone-idx3-ubyte"}, "cannot read gone-idx3-ubyte: No such file"),
    "fewer targets": ({"target": "few.npy"}, r"few.npy has shape \(59,\) for 60 rows of x.npy"),
    "a single target": ({"target": "single.npy"}, r"single.npy has shape \(\) for 60 rows"),
    "objects": ({"target": "objects.npy"}, "objects.npy holds Python objects"),
    "one axis": ({"dataset": "labels.npy"}, r"labels.npy has type int64 and shape \(60,\); allowed: numbers of shape"),
    "text for rows": ({"dataset": "text.npy"}, r"text.npy has type <U2 and shape \(60, 1\)"),
    "columns": ({"dataset": "columns.npy"}, "column by column, whose rows cannot be memory-mapped; write it again"),
    "text": ({"dataset": "text-idx1-ubyte"}, "not an IDX file"),
    "short": ({"dataset": "short.npy"}, "short.npy has 847 bytes, and its header promises 848"),
    "long": ({"dataset": "long.npy"}, "long.npy has 849 bytes, and its header promises 848"),
    "short target": ({"target": "short.npy"}, "short.npy has 847 bytes"),
    "not .npy": ({"dataset": "magic.npy"}, "cannot read magic.npy as .npy: .*magic"),
    "another version": ({"dataset": "version.npy"}, "cannot read version.npy as .npy"),
    "a damaged header": ({"dataset": "header.npy"}, "cannot read header.npy as .npy"),
    "a huge promise": ({"dataset": "huge.npy"}, "its header promises 7,200,000,000,000,128; write it with numpy.save"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("memory_map", ["always", "never"])
def test_mistakes_are_one_line_each(files, monkeypatch, mistake, memory_map):
    folder, x, _ = files
    monkeypatch.chdir(folder)
    (folder / "folder.npy").mkdir()
    (folder / "text-idx1-ubyte").write_text("words")
    np.save("few.npy", np.arange(59))
    np.save("single.npy", 3)
    np.save("objects.npy", np.array([{}] * 60), allow_pickle=True)
    np.save("text.npy", np.array([["no"]] * 60))
    np.save("columns.npy", np.asfortranarray(x))
    good = (folder / "x.npy").read_bytes()
    for name, data in {
        "short": good[:-1],
        "long": good + b"1",
        "magic": b"NUMPY" + good[5:],
        "version": good[:6] + b"\x09" + good[7:],
        "header": good.replace(b"'shape'", b"'shape'(((("),
        # The length of the header stays the same.
        "huge": good.replace(b"(60, 3), }" + b" " * 13, b"(60" + b"0" * 13 + b", 3), }"),
    }.items():
        (folder / f"{name}.npy").write_bytes(data)
    given, says = MISTAKES[mistake]
    if mistake == "columns" and memory_map == "never":
        return
    with pytest.raises(InputError, match=says) as caught:
        load(Config(**({"dataset": "x.npy", "target": "labels.npy", "memory_map": memory_map} | given)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "is_array"),
    [
        ("x.npy", True), ("X.NPY", True), ("x.idx", True), ("train-images-idx3-ubyte", True), ("a.idx3-ubyte", True),
        ("a-idx1-ubyte.gz", True), ("a.idx.gz", True), ("idx", True), ("myidx", False), ("idx.csv", False),
        ("x.npz", False), ("a.index", False), ("x.npy.gz", False),
    ],
)  # fmt: skip
def test_names(tmp_path, name, is_array):
    assert (endings.kind(tmp_path / name) == "array") is is_array
