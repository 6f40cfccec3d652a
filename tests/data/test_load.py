"""Splits and scaling of a data set against scikit-learn's, and names, fractions and imports."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from mlpgpu.data import load
from mlpgpu.data.split import hold_out
from mlpgpu.endings import parts
from mlpgpu.errors import InputError
from mlpgpu.settings.config import Config


def test_splits_as_scikit_learn_does_and_fits_on_the_training_rows():
    d = load(Config(dataset="iris", test_fraction=0.3, validation_fraction=0.2, seed=7))
    x, y = load_iris(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.3, stratify=y, random_state=7)
    x, x_validation, y, y_validation = train_test_split(x, y, test_size=0.2, stratify=y, random_state=7)
    for ours, theirs in [
        (d.x_train, x),
        (d.x_validation, x_validation),
        (d.x_test, x_test),
        (d.y_train, y),
        (d.y_validation, y_validation),
        (d.y_test, y_test),
    ]:
        np.testing.assert_array_equal(ours, theirs)
        assert ours.flags.c_contiguous
    np.testing.assert_allclose(d.scaling.shift, StandardScaler().fit(x).mean_, rtol=1e-12)


def test_validation_may_be_left_out():
    d = load(Config(dataset="iris", validation_fraction=0))
    assert d.x_validation is None
    assert d.y_validation is None
    assert len(d.x_train) == 120


@pytest.mark.parametrize("name", ["iris", "diabetes"])
def test_no_row_is_in_two_parts(name):
    d = load(Config(dataset=name))
    parts = [d.x_train, d.x_validation, d.x_test]
    assert sum(map(len, parts)) == {"iris": 150, "diabetes": 442}[name]
    if name == "diabetes":
        assert len(np.unique(np.concatenate(parts), axis=0)) == 442


@pytest.mark.parametrize(
    ("scale", "shape", "kind"),
    [("auto", (4,), "standard"), ("none", (), "none"), ("minmax", (4,), "minmax"), ("255", (), "255")],
)
def test_scale_given_is_obeyed(scale, shape, kind):
    scaling = load(Config(dataset="iris", scale=scale)).scaling
    assert scaling.kind == kind
    assert scaling.factor.shape == shape


@pytest.mark.parametrize(
    ("name", "hint"),
    [("mnits", "did you mean mnist?"), ("fashion", "fashion-mnist"), ("zzz", "file; give one$")],
)
def test_unknown_name_lists_the_known(name, hint):
    with pytest.raises(InputError, match=hint) as caught:
        load(Config(dataset=name))
    assert "breast-cancer" in str(caught.value)


def test_fraction_that_leaves_nothing_to_train_on():
    with pytest.raises(InputError, match=r"test_fraction is 0.999, which leaves none of 150 rows"):
        load(Config(dataset="iris", test_fraction=0.999))
    with pytest.raises(InputError, match=r"validation_fraction is 0.999.*120 rows"):
        load(Config(dataset="iris", validation_fraction=0.999))
    said = "test_fraction is 0.99, which leaves 1 of 150 rows, and validation_fraction takes that; lower test_fraction"
    with pytest.raises(InputError, match=said):
        load(Config(dataset="iris", test_fraction=0.99))
    assert len(load(Config(dataset="iris", test_fraction=0.99, validation_fraction=0)).x_train) == 1


def test_too_few_rows_for_every_class_are_drawn_freely_with_a_note():
    d = load(Config(dataset="iris", validation_fraction=0.001))
    assert len(d.y_validation) == 1
    assert any("validation_fraction" in note and "3 classes" in note for note in d.notes)


def test_hold_out_keeps_shares():
    labels = np.array([0] * 80 + [1] * 20)
    rows = np.arange(100) + 1000
    kept, held, note = hold_out(rows, labels, 0.1, 0, "test_fraction")
    assert note is None
    assert np.bincount(labels[held - 1000]).tolist() == [8, 2]
    assert sorted([*kept, *held]) == rows.tolist()


@pytest.mark.parametrize("n_only", [1, 5])
def test_the_only_row_of_a_class_is_kept_and_the_others_have_their_shares(n_only):
    labels = np.concatenate([np.repeat([0, 1, 2], [90, 61, 4]), 3 + np.arange(n_only)])
    n = len(labels)
    orders = set()
    for seed in range(10):
        labels = np.random.default_rng(seed).permutation(labels)
        kept, held, note = hold_out(np.arange(n), labels, 0.2, seed, "test_fraction")
        assert sorted([*kept, *held]) == list(range(n))
        assert len(held) == np.ceil(0.2 * n)
        counts = np.bincount(labels[held], minlength=3)
        assert len(counts) == 3
        assert (abs(counts - len(held) * np.array([90, 61, 4]) / 155) < 1).all()
        assert note.startswith(f"test_fraction: {n_only} class{'' if n_only == 1 else 'es'} of a single row, ")
        again = hold_out(np.arange(n), labels, 0.2, seed, "test_fraction")
        assert [kept.tolist(), held.tolist()] == [part.tolist() for part in again[:2]]
        orders.add(kept.tolist().index(np.flatnonzero(labels == 3)[0]))
    # In random order, as the other rows are.
    assert len(orders) > 5


@pytest.mark.parametrize("n_held", [2, 9])
def test_too_many_classes_of_a_single_row_for_shares(n_held):
    """All rows are drawn freely if there are none to keep of a class of several rows, or to hold out."""
    labels = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, *range(3, 14)])
    rows = np.arange(20)
    kept, held, note = hold_out(rows, labels, n_held / 20, 0, "test_fraction")
    assert sorted([*kept, *held]) == rows.tolist()
    assert len(held) == n_held
    assert note == "test_fraction: rows drawn without regard to class, as there are fewer than the 14 classes"
    assert hold_out(rows, rows, 0.2, 0, "test_fraction")[2].endswith("fewer than the 20 classes")


def test_classes_of_two_rows_and_more_are_split_as_by_scikit_learn():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [40, 8, 2]))
    for seed in range(5):
        kept, held, note = hold_out(np.arange(50), labels, 0.2, seed, "test_fraction")
        expected = train_test_split(np.arange(50), test_size=10, stratify=labels, random_state=seed)
        assert note is None
        assert [kept.tolist(), held.tolist()] == [part.tolist() for part in expected]


def test_importing_loads_nothing_heavy():
    code = "import sys, mlpgpu.data; print([m for m in sys.modules if '.' not in m])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "numpy" in loaded
    for module in ("pandas", "sklearn", "pooch", "rich", "requests", "pyarrow", "cupy", "torch", "jax"):
        assert f"'{module}'" not in loaded


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("in/Houses.csv.gz", ("Houses", ".csv")),
        ("HOUSES.CSV.GZ", ("HOUSES", ".csv")),
        ("houses.Parquet", ("houses", ".parquet")),
        # For files that are not text, the compression is the ending.
        ("houses.npz.gz", ("houses.npz", ".gz")),
        ("images-idx3-ubyte.gz", ("images-idx3-ubyte", ".gz")),
    ],
)
def test_the_name_and_the_ending_of_a_file(name, found):
    assert parts(Path(name)) == found
