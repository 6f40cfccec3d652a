"""Several labels per row: how the two values of each column are encoded, and what is refused."""

import numpy as np
import pytest
from sklearn.preprocessing import LabelBinarizer

from mlpgpu import Config, InputError
from mlpgpu.data import load
from mlpgpu.data.label_columns import encode, kinds
from mlpgpu.data.split import hold_out
from mlpgpu.data.target import decide

FLAGS = "all are 0 and 1: give task classification for labels"
WORDS = np.array([["no", True, 3], ["yes", True, 2.0], ["no", False, 3], ["no", True, 2.0]], object)


def test_each_column_is_encoded_as_scikit_learn_does_one():
    names = ("a", "b", "c")
    codes, values = encode(WORDS, names)
    assert kinds(WORDS) == ["text", "truth values", "numbers"]
    assert values == (("no", "yes"), (False, True), (2.0, 3))
    for i, pair in enumerate(values):
        column = np.array(WORDS[:, i].tolist())
        binarizer = LabelBinarizer().fit(column)
        assert binarizer.classes_.tolist() == list(pair)
        np.testing.assert_array_equal(codes[:, i], binarizer.transform(column)[:, 0])


@pytest.mark.parametrize(
    ("y", "task", "expected", "why"),
    [
        (np.eye(5, 2, dtype=bool), "auto", "classification", "the truth values in array 'y'"),
        (np.array([["a", "c"], ["b", "d"], ["a", "d"]]), "auto", "classification", "the text in array 'y'"),
        (WORDS[:, :2], "auto", "classification", "the truth values and text in array 'y'"),
        (np.eye(5, 2), "auto", "regression", f"the 2 numbers a row of array 'y'; {FLAGS}"),
        (np.eye(5, 2) + 1, "auto", "regression", "the 2 numbers a row of array 'y'"),
        (np.eye(5, 2), "regression", "regression", None),
        (WORDS, "classification", "classification", None),
    ],
)
def test_columns_are_labels_where_none_holds_numbers(y, task, expected, why):
    target = decide(y, task, "array 'y'", names=("y0", "y1", "y2")[: y.shape[1]])
    assert target.task == expected
    assert target.note == (why and f"task: {expected}, inferred from {why}")
    assert (target.y.dtype, target.y.shape) == (np.float64, y.shape)
    assert len(target.classes) == len(target.label_values) == (y.shape[1] if expected == "classification" else 0)


def test_arrays_of_an_npz_file(tmp_path, rng):
    path, y = tmp_path / "rows.npz", rng.integers(0, 2, (40, 3))
    np.savez(path, x=rng.normal(size=(40, 2)), y=y, other=y + (np.arange(40) == 7)[:, None] * [0, 2, 0])
    d = load(Config(dataset=path, task="classification", test_fraction=0, validation_fraction=0))
    np.testing.assert_array_equal(d.y_train, y)
    assert (d.target, d.targets, d.classes, d.label_values) == ("y", ("y0", "y1", "y2"), (0, 1, 2), ((0, 1),) * 3)
    assert (d.multilabel, d.n_targets) == (True, 3)
    assert not load(Config(dataset=path)).multilabel
    with pytest.raises(InputError, match="column 'other1', has 3 distinct values, such as .*each of several labels"):
        load(Config(dataset=path, target="other", task="classification"))


def test_test_rows_of_their_own_are_encoded_with_the_others(tmp_path, rng):
    path, y = tmp_path / "rows.npz", np.array([["n", "b"], ["y", "a"]] * 5)
    np.savez(path, x_train=rng.normal(size=(10, 2)), y_train=y, x_test=np.ones((2, 2)), y_test=y[1:3])
    d = load(Config(dataset=path, validation_fraction=0))
    assert d.label_values == (("n", "y"), ("a", "b"))
    assert d.y_test.tolist() == [[1, 0], [0, 1]]


def test_combinations_of_labels_are_in_equal_shares_or_a_note_says_why_not():
    y = np.repeat([[0, 0], [0, 1], [1, 1]], [40, 40, 20], axis=0).astype(float)
    rows = np.arange(100)
    kept, held, note = hold_out(rows, y, 0.1, 0, "test_fraction")
    assert note is None
    assert sorted([*kept, *held]) == rows.tolist()
    assert np.unique(y[held], axis=0, return_counts=True)[1].tolist() == [4, 4, 2]
    y[0] = [1, 0]
    _, held, note = hold_out(rows, y, 0.1, 0, "test_fraction")
    assert note == "test_fraction: 1 combination of labels of a single row, which is not held out"
    assert len(held) == 10
    assert 0 not in held
    y[:2] = [1, 0]
    assert "fewer than the 4 combinations" in hold_out(rows, y, 0.02, 0, "test_fraction")[2]


def test_rows_whose_combination_is_theirs_alone_are_held_out_like_the_others():
    single = np.array([[i >> bit & 1 for bit in range(8)] for i in range(2, 82)])
    y = np.concatenate([np.repeat([np.zeros(8), np.eye(8)[0]], [80, 40], axis=0), single])
    for seed in range(5):
        kept, held, note = hold_out(np.arange(200), y, 0.2, seed, "test_fraction")
        assert note is None
        assert np.histogram(held, [0, 80, 120, 200])[0].tolist() == [16, 8, 16]
        assert sorted([*kept, *held]) == list(range(200))


def test_more_labels_than_a_byte_are_told_apart():
    y = np.zeros((400, 9))
    y[:200, 8] = 1
    for seed in range(5):
        held = hold_out(np.arange(400), y, 0.25, seed, "test_fraction")[1]
        assert y[held, 8].sum() == 50
