"""How the task is inferred from a target, and which targets are refused."""

import numpy as np
import pytest
from sklearn.utils.multiclass import type_of_target

from mlpgpu.data.target import decide
from mlpgpu.errors import InputError

WHERE = "column 'y'"


@pytest.mark.parametrize(
    ("y", "classes", "codes", "why"),
    [
        (np.array(["b", "a", "b", "a"], object), ("a", "b"), [1, 0, 1, 0], "the text in column 'y'"),
        (np.array(["b", "a", "b", "a"]), ("a", "b"), [1, 0, 1, 0], "the text"),
        (np.array([True, False, True]), (False, True), [1, 0, 1], "truth values"),
        (np.array([7, 3, 7, 3, 7], np.int8), (3, 7), [1, 0, 1, 0, 1], "2 distinct whole numbers"),
        (np.array([[7], [3], [7], [3], [7]]), (3, 7), [1, 0, 1, 0, 1], "2 distinct whole numbers"),
        (np.array([1.0, 0, 1, 0, 1]), (0.0, 1.0), [1, 0, 1, 0, 1], "2 distinct whole numbers"),
        (np.array([1.0, -0.0, 1, 0, 1], np.float32), (0.0, 1.0), [1, 0, 1, 0, 1], "2 distinct whole numbers"),
    ],
)
def test_infers_classes(y, classes, codes, why):
    target = decide(y, "auto", WHERE)
    assert target.task == "classification"
    assert target.classes == classes
    assert {type(label) for label in target.classes} == {type(classes[0])}
    assert target.y.dtype == np.int64
    np.testing.assert_array_equal(target.y, codes)
    assert target.note.startswith("task: classification, inferred from")
    assert why in target.note


def test_infers_classes_from_categories_of_many_numbers():
    y = np.arange(30)
    assert decide(y, "auto", WHERE, categorical=True).task == "classification"
    assert decide(y, "auto", WHERE).task == "regression"


@pytest.mark.parametrize(
    ("n_distinct", "n_rows", "task"),
    [(20, 41, "classification"), (20, 40, "regression"), (21, 400, "regression"), (2, 5, "classification")],
)
def test_whole_numbers_are_classes_up_to_a_limit(n_distinct, n_rows, task):
    assert decide(np.arange(n_rows) % n_distinct, "auto", WHERE).task == task


def test_infers_classes_where_scikit_learn_does():
    for y in (
        np.arange(50) % 3,
        np.arange(50) % 2.0,
        np.arange(50) % 3 + 0.5,
        np.arange(50) / 10,
        np.ones((50, 2)) / 3,
    ):
        discrete = type_of_target(y) in {"binary", "multiclass"}
        assert (decide(np.vstack([y, y + 1]) if y.ndim == 2 else y, "auto", WHERE).task == "classification") == discrete


@pytest.mark.parametrize(
    "y",
    [
        np.array([0.5, 1, 0.5, 1, 0.5]),
        np.ones((6, 2)) * [[1], [2], [1], [2], [1], [2]],
        np.array([[1, 2], [3, 4]]),
        np.arange(9, dtype=np.uint8),
    ],
)
def test_infers_regression(y):
    target = decide(y, "auto", WHERE)
    assert target.task == "regression"
    assert target.classes == ()
    assert target.y.dtype == np.float64
    np.testing.assert_array_equal(target.y, y if y.ndim == 2 else y[:, None])
    assert target.note.startswith("task: regression, inferred from")


def test_task_given_is_obeyed_without_a_note():
    y = np.array([0.5, 1.5, 0.5, 1.5, 0.5])
    target = decide(y, "classification", WHERE)
    assert (target.classes, target.note) == ((0.5, 1.5), None)
    assert decide(np.array([1, 2, 1, 2, 1]), "regression", WHERE).y.shape == (5, 1)
    assert decide(np.array([True, False]), "regression", WHERE).y.tolist() == [[1], [0]]


@pytest.mark.parametrize(
    ("y", "task", "says"),
    [
        (np.array(["a", "b"]), "regression", "holds text; give task classification"),
        (np.array([0.1, 0.2, 0.3, 0.3]), "classification", "3 distinct numbers in 4 rows"),
        (np.array(["a", "b", "c", "a", "b"]), "auto", "3 distinct texts in 5 rows.*; choose another target"),
        (
            np.array(["1.234,50", "x", "2,5", "9"]),
            "auto",
            r"4 distinct texts .*; write numbers such as '1\.234,50' with a decimal point alone, or",
        ),
        (np.array(["€ 1'200", "$5 000", "1 %"], object), "auto", "; write numbers such as '[€$1]"),
        (np.array(["1.12.2024", "2.12.2024"]), "auto", "as many as rows; choose another target"),
        (np.array(["7 Oak Street", "8 Elm Street"], object), "auto", "as many as rows; choose another target"),
        (np.array([f"id {i}" for i in range(2000)], object), "classification", "2,000 distinct texts in 2,000 rows"),
        (np.array(["a", "a"]), "auto", "the one value a"),
        (np.ones(5), "auto", "the one value 1.0"),
        (np.array([1, np.nan, np.inf]), "auto", "2 missing or infinite"),
        (np.array([[1, 2], [3, np.nan]]), "regression", "1 missing or infinite"),
        (np.array([1j, 2]), "auto", "complex128"),
        (np.array(["2020-01-01", "2020-01-02"], "M8[D]"), "auto", "datetime64"),
        (np.ones((4, 0)), "auto", "shape"),
        (np.ones((4, 2)), "regression", "the one value 1.0"),
        (np.ones((2, 2, 2)), "auto", "shape"),
    ],
)
def test_refuses_what_cannot_be_predicted(y, task, says):
    with pytest.raises(InputError, match=says) as caught:
        decide(y, task, WHERE)
    assert "column 'y'" in str(caught.value)
    assert "\n" not in str(caught.value)
