"""Validation and test rows that are given as such, in arrays of an .npz file."""

import numpy as np
import pytest

from mlpgpu import Config, InputError, cross_validate, train_and_test
from mlpgpu.data import load

BRIEF = {"hidden": (5,), "epochs": 3, "batch_size": 8, "backend": "numpy"}


@pytest.fixture
def arrays(rng):
    """Rows of three classes in arrays with weights and groups, by part."""
    x, y = rng.normal(size=(60, 3)), rng.permutation(np.arange(60) % 3)
    x[np.arange(60), y] += 1
    every = {"x": x, "y": y, "w": rng.uniform(0.5, 2, 60), "g": np.arange(60) // 5}
    cuts = {"train": slice(0, 40), "val": slice(40, 50), "test": slice(50, 60)}
    return {f"{name}_{part}": values[at] for part, at in cuts.items() for name, values in every.items()}


def told(outcome):
    """Return the weights of a run and its figures, but times and its name."""
    apart = {"dataset", "epoch_seconds", "samples_per_second"}
    figures = {k: v for k, v in outcome.metrics.items() if k not in apart}
    history = [{k: v for k, v in one.items() if "second" not in k} for one in outcome.run.history]
    return outcome.model.params.tobytes(), figures, history


def test_arrays_of_own_rows(arrays, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    data = load(Config(dataset=tmp_path / "a.npz", sample_weight="w", group="g"))
    for part, name in (("train", "train"), ("validation", "val"), ("test", "test")):
        np.testing.assert_array_equal(getattr(data, f"x_{part}"), arrays[f"x_{name}"])
        np.testing.assert_array_equal(getattr(data, f"y_{part}"), arrays[f"y_{name}"])
        np.testing.assert_array_equal(getattr(data, f"weights_{part}"), arrays[f"w_{name}"])
    np.testing.assert_allclose(data.scaling.shift, arrays["x_train"].mean(axis=0))
    assert {"validation rows: those of x_val and y_val", "test rows: those of x_test and y_test"} <= set(data.notes)
    data = load(Config(dataset=tmp_path / "a.npz", validation_fraction=0.3))
    assert "validation_fraction 0.3 is not used: a has 10 validation rows of its own" in data.notes


def test_validation_rows_of_a_class_without_training_rows_are_refused(arrays, tmp_path):
    arrays["y_val"][3:5] = 7, 8
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match="x_val and y_val: no training rows of classes '7', '8', which validation"):
        load(Config(dataset=tmp_path / "a.npz"))


def test_test_rows_are_drawn_beside_own_validation_rows(arrays, tmp_path):
    np.savez(tmp_path / "a.npz", **{name: each for name, each in arrays.items() if "test" not in name})
    data = load(Config(dataset=tmp_path / "a.npz"))
    np.testing.assert_array_equal(data.x_validation, arrays["x_val"])
    assert (len(data.x_train), len(data.x_test)) == (32, 8)
    found = np.concatenate([data.x_train, data.x_test])
    np.testing.assert_array_equal(np.unique(found, axis=0), np.unique(arrays["x_train"], axis=0))


def test_rows_that_a_split_draws_give_the_same_run_as_own_rows(tmp_path, rng):
    """To the last bit."""
    x, y = rng.normal(size=(60, 3)), rng.permutation(np.arange(60) % 3)
    np.savez(tmp_path / "a.npz", x=x, y=y)
    drawn = load(Config(dataset=tmp_path / "a.npz"))
    parts = {"train": "train", "val": "validation", "test": "test"}
    rows = {f"{name}_{to}": getattr(drawn, f"{name}_{part}") for to, part in parts.items() for name in "xy"}
    np.savez(tmp_path / "b.npz", **rows)
    one, own = (train_and_test(Config(dataset=tmp_path / f"{name}.npz", **BRIEF)) for name in "ab")
    assert told(own) == told(one)


def test_own_rows_of_arrays_are_in_the_folds(arrays, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    found = cross_validate(Config(dataset=tmp_path / "a.npz", hidden=(), epochs=1, group="g"), 4)
    np.testing.assert_array_equal(
        found.truth, np.concatenate([arrays[f"y_{part}"] for part in ("train", "val", "test")])
    )
    assert sorted(np.concatenate([fold.rows for fold in found.folds])) == [*range(60)]
    assert [one["n_test"] for one in found.metrics["by_fold"]] == [15] * 4
