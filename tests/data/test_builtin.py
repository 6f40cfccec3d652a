"""Built-in data sets against scikit-learn's, and the synthetic one against its recipe."""

from collections import Counter

import numpy as np
import pytest
from sklearn import datasets
from sklearn.linear_model import LogisticRegression

from mlpgpu.data import builtin, load
from mlpgpu.errors import InputError
from mlpgpu.settings.config import Config


@pytest.mark.parametrize(
    ("name", "rows", "features", "counts"),
    [
        ("digits", 1797, 64, dict(enumerate([178, 182, 177, 183, 181, 182, 181, 179, 174, 180]))),
        ("iris", 150, 4, {"setosa": 50, "versicolor": 50, "virginica": 50}),
        ("breast-cancer", 569, 30, {"malignant": 212, "benign": 357}),
    ],
)
def test_has_the_known_rows_of_each_class(name, rows, features, counts):
    d = load(Config(dataset=name))
    y = np.concatenate([d.y_train, d.y_validation, d.y_test])
    assert len(y) == rows
    assert d.task == "classification"
    assert d.n_features == features
    assert d.n_targets == len(counts)
    assert Counter(d.classes[code] for code in y) == counts
    assert y.dtype == np.int64
    assert d.columns is None


def test_rows_keep_their_labels():
    d = load(Config(dataset="iris"))
    x, y = datasets.load_iris(return_X_y=True)
    known = {(*row, label) for row, label in zip(x.tolist(), y.tolist(), strict=True)}
    ours = {(*row, code) for row, code in zip(d.x_train.tolist(), d.y_train.tolist(), strict=True)}
    assert ours <= known
    assert d.feature_names == tuple(datasets.load_iris().feature_names)


def test_digits_are_images_of_whole_numbers():
    d = load(Config(dataset="digits"))
    assert d.x_train.dtype == np.uint8
    assert d.feature_names == ()
    assert d.scaling.kind == "minmax"
    x = np.concatenate([d.x_train, d.x_validation, d.x_test])
    assert x.sum() == datasets.load_digits().data.sum()
    assert x.max() == 16


def test_diabetes_is_regression():
    d = load(Config(dataset="diabetes"))
    assert d.task == "regression"
    assert d.classes == ()
    assert d.n_targets == 1
    assert d.y_train.shape == (len(d.x_train), 1)
    y = np.concatenate([d.y_train, d.y_validation, d.y_test])
    assert sorted(y[:, 0]) == sorted(datasets.load_diabetes().target)


def test_synthetic_is_seeded_balanced_and_learnable():
    config = Config(dataset="synthetic", samples=3001, features=20, classes=4, seed=5)
    d = load(config)
    assert d.x_train.dtype == np.float32
    assert d.n_features == 20
    y = np.concatenate([d.y_train, d.y_validation, d.y_test])
    assert sorted(Counter(y.tolist()).values()) == [750, 750, 750, 751]
    score = LogisticRegression(max_iter=500).fit(d.x_train, d.y_train).score(d.x_test, d.y_test)
    assert score > 0.9
    np.testing.assert_array_equal(load(config).x_train, d.x_train)
    other = load(Config(dataset="synthetic", samples=3001, features=20, classes=4, seed=6))
    assert not np.array_equal(other.x_train, d.x_train)


def test_synthetic_follows_its_recipe_whatever_the_chunks(monkeypatch):
    config = Config(dataset="synthetic", samples=101, features=3, classes=5, seed=9)
    monkeypatch.setattr(builtin, "_CHUNK_ROWS", 10)
    rows = builtin.synthetic(config)
    rng = np.random.default_rng(9)
    centres = rng.standard_normal((5, 3), np.float32) * np.float32(4 / np.sqrt(3))
    y = rng.permutation(np.arange(101) % 5)
    np.testing.assert_array_equal(rows.y, y)
    np.testing.assert_allclose(rows.x, centres[y] + rng.standard_normal((101, 3), np.float32), rtol=1e-6, atol=1e-6)


def test_synthetic_needs_a_row_for_each_class():
    with pytest.raises(InputError, match="samples is 10 for 11 classes"):
        load(Config(dataset="synthetic", samples=10, classes=11))


@pytest.mark.parametrize(("name", "task"), [("iris", "regression"), ("diabetes", "classification")])
def test_refuses_a_task_that_contradicts_the_set(name, task):
    with pytest.raises(InputError, match=f"task is '{task}', but {name}"):
        load(Config(dataset=name, task=task))
