"""Validation and test rows that are given as such, in arrays of an .npz file or in files of their own."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from mlpgpu import Config, InputError, Model, cross_validate, cross_validation, find_learning_rate, train_and_test
from mlpgpu.callbacks import RunCheckpoint
from mlpgpu.data import load, read_features
from mlpgpu.prepared import prepare, prepare_folds
from mlpgpu.training.checkpoint import Checkpoint

BRIEF = {"hidden": (5,), "epochs": 3, "batch_size": 8, "backend": "numpy"}


@pytest.fixture
def arrays(rng):
    """Rows of three classes in arrays with weights and groups, by part."""
    x, y = rng.normal(size=(60, 3)), rng.permutation(np.arange(60) % 3)
    x[np.arange(60), y] += 1
    every = {"x": x, "y": y, "w": rng.uniform(0.5, 2, 60), "g": np.arange(60) // 5}
    cuts = {"train": slice(0, 40), "val": slice(40, 50), "test": slice(50, 60)}
    return {f"{name}_{part}": values[at] for part, at in cuts.items() for name, values in every.items()}


@pytest.mark.parametrize("part", ["val", "test"])
@pytest.mark.parametrize("array", ["x", "y"])
def test_a_number_too_large_for_the_network_is_told(part, array, rng, tmp_path, caplog):
    rows = {"train": rng.normal(size=(40, 3)), "val": rng.normal(size=(10, 3)), "test": rng.normal(size=(10, 3))}
    arrays = {f"{name}_{of}": values for of, x in rows.items() for name, values in {"x": x, "y": x[:, 0] + 1}.items()}
    config = Config(dataset=tmp_path / "rows.npz", task="regression", **BRIEF)
    np.savez(config.dataset, **arrays)
    train_and_test(config)
    assert not caplog.messages
    arrays[f"{array}_{part}"][3, ...] = 1e300
    np.savez(config.dataset, **arrays)
    outcome = train_and_test(config)
    (said,) = caplog.messages
    name = {"val": "validation", "test": "test"}[part]
    loss = outcome.metrics[f"{name}_loss"]
    assert not np.isfinite(loss)
    assert said.startswith(f"the {name} loss is {loss}: a row has a target, or features, too large for the model; ")
    # Of the targets themselves, in float64, the mean is a number.
    if (part, array) == ("test", "y"):
        assert outcome.metrics["test_mae"] == pytest.approx(1e299)
        assert outcome.metrics["test_rmse"] == np.inf


@pytest.fixture
def frame(rng):
    """A table with text, gaps and categories that look like numbers, of which the last rows have nothing else."""
    pd = pytest.importorskip("pandas", reason="pandas is not installed: no tables")
    town = np.concatenate([rng.choice(["01", "2", "x"], 72), ["01", "2", "3"] * 6 + ["01"] * 10])
    age = rng.normal(30, 5, 100)
    age[::9] = np.nan
    return pd.DataFrame(
        {
            "age": age,
            "town": town,
            "day": [f"2021-{i % 12 + 1:02}-{i % 28 + 1:02}" for i in range(100)],
            "w": rng.uniform(0.5, 2, 100),
            "id": rng.permutation(100),
            "sold": np.concatenate([rng.choice(["7", "no"], 72), ["7", "no"] * 4, ["7"] * 20]),
        }
    )


SOLD = {"target": "sold", "sample_weight": "w", "drop": ("id",), "impute": "median"}


@pytest.fixture
def tables(frame, tmp_path, monkeypatch):
    """Write all rows to all.csv, and the 72, 8 and 20 that hold_out last divides them into to a file each."""
    monkeypatch.chdir(tmp_path)
    frame.to_csv("all.csv", index=False)
    frame[:72].to_csv("train.csv", index=False)
    # In another order, with other columns, and without what is not needed.
    frame[72:80][["sold", "w", "town", "age", "day"]].assign(more=1).to_csv(
        "val.txt", index=False, sep=";", decimal=","
    )
    frame[80:].to_csv("test.csv", index=False)
    return Config(dataset="train.csv", validation_data="val.txt", test_data="test.csv", **SOLD, **BRIEF)


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
    for to in ("val", "test"):
        np.savez(tmp_path / f"{to}.npz", x=rows[f"x_{to}"], y=rows[f"y_{to}"])
    np.savez(tmp_path / "c.npz", x=rows["x_train"], y=rows["y_train"])
    files = {"validation_data": tmp_path / "val.npz", "test_data": tmp_path / "test.npz"}
    one, own, apart = (
        train_and_test(Config(dataset=tmp_path / f"{name}.npz", **BRIEF, **more))
        for name, more in (("a", {}), ("b", {}), ("c", files))
    )
    assert told(own) == told(one)
    assert told(apart) == told(one)


def test_the_last_rows_of_a_table_give_the_same_run_as_files_of_their_own(tables):
    """To the last bit: the encoding is fitted on the training rows, and columns of text are read as such."""
    one = train_and_test(Config(dataset="all.csv", hold_out="last", **SOLD, **BRIEF))
    own = prepare(tables)
    assert own.data.columns == one.model.columns
    assert told(train_and_test(own)) == told(one)
    assert {
        "validation rows: those of val.txt",
        "test rows: those of test.csv",
        "val.txt: semicolons between columns, decimal commas",
        "column 'town': 6 rows of 100 with a value that no training row has, such as '3'",
    } <= set(own.data.notes)


def test_figures_of_own_rows_are_those_of_scikit_learn(tables, frame):
    outcome = train_and_test(tables)
    codes, weights = (frame["sold"] == "no").to_numpy(int), frame["w"].to_numpy()
    for part, file, at in (("validation", "val.txt", slice(72, 80)), ("test", "test.csv", slice(80, 100))):
        p = outcome.model.predict_proba(read_features(file, outcome.model.columns))
        last = outcome.run.history[-1] if part == "validation" else outcome.metrics
        of = {"sample_weight": weights[at]}
        assert last[f"{part}_loss"] == pytest.approx(log_loss(codes[at], p, labels=[0, 1], **of), rel=1e-5)
        assert last[f"{part}_accuracy"] == pytest.approx(accuracy_score(codes[at], p.argmax(axis=1), **of))


def test_several_targets_and_a_parquet_file(frame, tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: no Parquet")
    frame[:80].to_parquet(tmp_path / "train.parquet")
    frame[80:].to_csv(tmp_path / "val.csv", index=False)
    given = {"dataset": tmp_path / "train.parquet", "validation_data": tmp_path / "val.csv", "target": "w,id"}
    data = load(Config(**given, impute="mean", test_fraction=0))
    np.testing.assert_array_equal(data.y_validation, frame[["w", "id"]][80:])
    assert (len(data.x_train), len(data.x_test)) == (80, 0)


def test_the_commands_take_files_of_own_rows(tables, command, command_of):
    del tables
    line = "--target sold --sample-weight w --drop id --impute median --hidden 5 --epochs 2 --backend numpy"
    code, out, err = command(f"--dataset train.csv --validation-data val.txt --test-data test.csv {line} --run-dir run")
    assert (code, err) == (0, "")
    assert "72 training, 8 validation and 20 test rows" in out
    assert "Note      validation rows: those of val.txt\n" in out
    assert " on 20 rows of test.csv\n" in out
    # Folds cannot be drawn from three files.
    assert "(95 % confidence)\n" in out
    assert command("--config run/config.toml --run-dir again")[0] == 0
    np.testing.assert_array_equal(Model.load("again").params, Model.load("run").params)
    code, out, _ = command_of(find_learning_rate.app)("--config run/config.toml --steps 20 --json --quiet")
    assert (code, json.loads(out)["n_train"]) == (0, 72)
    code, _, err = command_of(cross_validation.app)("--config run/config.toml --folds 3")
    assert (code, err.count("\n")) == (2, 1)
    assert "validation_data is val.txt, and folds" in err
    with pytest.raises(InputError, match="test_data is test.csv, and folds"):
        cross_validate(Config(dataset="train.csv", target="sold", test_data="test.csv"), 3)


def test_own_rows_of_arrays_are_in_the_folds(arrays, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    found = cross_validate(Config(dataset=tmp_path / "a.npz", hidden=(), epochs=1, group="g"), 4)
    np.testing.assert_array_equal(
        found.truth, np.concatenate([arrays[f"y_{part}"] for part in ("train", "val", "test")])
    )
    assert sorted(np.concatenate([fold.rows for fold in found.folds])) == [*range(60)]
    assert [one["n_test"] for one in found.metrics["by_fold"]] == [15] * 4


def test_a_run_without_test_rows_is_not_resumed_with_some(arrays, tmp_path):
    given = Config(dataset=tmp_path / "a.npz", hidden=(), epochs=2, test_fraction=0)
    np.savez(tmp_path / "a.npz", **{name: array for name, array in arrays.items() if "test" not in name})
    train_and_test(given, [RunCheckpoint(tmp_path / "kept", every=1)])
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match="the test rows are not those of the checkpoint: shape is"):
        train_and_test(given, resume=tmp_path / "kept" / "previous.safetensors")


def test_a_run_is_resumed_with_moved_files_but_not_with_other_rows(tables, frame):
    whole = train_and_test(tables, [RunCheckpoint("kept", every=1)])
    Path("moved").mkdir()
    given = tables.to_dict()
    for setting in ("validation_data", "test_data"):
        shutil.move(given[setting], "moved")
        given[setting] = f"moved/{given[setting]}"
    resumed = "kept/previous.safetensors"
    assert train_and_test(Config(**given), resume=resumed).model.params.tobytes() == whole.model.params.tobytes()
    frame[80:].assign(age=1).to_csv(given["test_data"], index=False)
    with pytest.raises(InputError, match="the test rows are not those of the checkpoint: x is"):
        train_and_test(Config(**given), resume=resumed)
    # A checkpoint of an earlier version does not tell which rows it was to be tested on.
    kept = Checkpoint.load(resumed)
    earlier = dataclasses.replace(kept, data={part: rows for part, rows in kept.data.items() if part != "test"})
    assert train_and_test(Config(**given), resume=earlier).model.params.tobytes() == whole.model.params.tobytes()
    frame[72:80].assign(age=1).to_csv(given["validation_data"], index=False, sep=";", decimal=",")
    with pytest.raises(InputError, match="the validation rows are not those of the checkpoint"):
        train_and_test(Config(**given), resume=resumed)
    del given["validation_data"]
    with pytest.raises(InputError, match="validation_data is None, and the run to resume has val.txt"):
        train_and_test(Config(**given), resume=resumed)


def test_a_fraction_of_0_does_not_matter_to_own_rows(arrays, tmp_path):
    """A regression with own validation rows stops early by itself."""
    np.savez(tmp_path / "a.npz", **arrays)
    given = {"dataset": tmp_path / "a.npz", "task": "regression", "hidden": 3, "patience": 3}
    data = prepare(Config(**given, validation_fraction=0)).data
    assert "validation_fraction 0 is not used: a has 10 validation rows of its own" in data.notes
    given = {"dataset": tmp_path / "a.npz", "early_stopping": True, "monitor": "score", **BRIEF}
    drawn, own = (train_and_test(Config(**given, validation_fraction=fraction)) for fraction in (0.1, 0))
    assert told(own) == told(drawn)
    said = (
        "early_stopping is true, and validation_fraction is 0; allowed: early_stopping with validation_fraction above "
        "0, such as 0.1; give that, or leave out early_stopping"
    )
    with pytest.raises(InputError, match=said):
        next(prepare_folds(Config(**given, validation_fraction=0), 3))


def test_a_model_to_start_from_that_was_tested_on_another_file(tables):
    train_and_test(tables).model.save("model.safetensors")
    given = tables.to_dict() | {"start_from": "model.safetensors"}
    said = "the model to start from had another test_data: it may have learned from rows that are tested on here"
    again = prepare(Config(**given)).data
    assert said not in again.notes
    np.testing.assert_array_equal(again.x_validation, load(tables).x_validation)
    del given["test_data"]
    assert said in prepare(Config(**given)).data.notes


@pytest.mark.parametrize("setting", ["validation_data", "test_data"])
def test_a_file_of_rows_that_are_trained_on_is_told(tables, setting):
    del tables
    Path("there").mkdir()
    Path("there/link.csv").symlink_to(Path("train.csv").resolve())
    noted = [
        [note for note in load(Config(dataset="./train.csv", **SOLD, **{setting: file})).notes if "unseen" in note]
        for file in ("there/link.csv", "there/../train.csv", "test.csv")
    ]
    assert noted[0] == noted[1]
    assert noted[0][0].startswith(f"{setting} is the file of dataset, whose rows are trained on: figures of these ")
    assert noted[2] == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sold": "maybe"}, "val.csv: no training rows of class 'maybe', which validation rows have; allowed: classes"),
        ({"age": np.nan}, r"val.csv: missing values in column 'age' \(28\), the first in row 1; give impute"),
        ({"age": "old"}, "val.csv: column 'age' holds text, such as 'old'.*; allowed: numbers, as in training"),
        ({"sold": None}, "target is 'sold', which val.csv does not have"),
        ({"town": None}, "val.csv: the table has no column 'town'"),
        ({"w": None}, "sample_weight is 'w', which val.csv does not have"),
        ({"id": 3}, "group is 'id', and 1 of its groups, such as '3', have both training and validation rows in train"),
    ],
)
def test_tables_that_do_not_go_with_the_training_rows(frame, tmp_path, monkeypatch, changes, said):
    monkeypatch.chdir(tmp_path)
    frame["age"] = 1.5
    frame["id"] = range(100)
    frame[:72].to_csv("train.csv", index=False)
    lost = [name for name, value in changes.items() if value is None]
    frame[72:].assign(**changes).drop(columns=lost).to_csv("val.csv", index=False)
    with pytest.raises(InputError, match=said) as caught:
        load(Config(dataset="train.csv", validation_data="val.csv", target="sold", sample_weight="w", group="id"))
    assert "\n" not in str(caught.value)


def test_own_rows_need_no_groups(frame, arrays, tmp_path):
    frame["id"] = np.arange(100) // 4
    frame[:80].to_csv(tmp_path / "train.csv", index=False)
    frame[80:].drop(columns="id").to_csv(tmp_path / "test.csv", index=False)
    given = {"target": "sold", "group": "id", "impute": "mean"}
    data = load(Config(dataset=tmp_path / "train.csv", test_data=tmp_path / "test.csv", **given))
    assert (len(data.x_train), len(data.x_validation), len(data.x_test)) == (72, 8, 20)
    np.savez(tmp_path / "train.npz", x=arrays["x_train"], y=arrays["y_train"], g=arrays["g_train"])
    np.savez(tmp_path / "test.npz", x=arrays["x_test"], y=arrays["y_test"])
    data = load(Config(dataset=tmp_path / "train.npz", test_data=tmp_path / "test.npz", group="g"))
    np.testing.assert_array_equal(data.x_test, arrays["x_test"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"y": np.full(10, 9)}, "val.npz: no training rows of class '9', which validation rows have"),
        ({"x": np.full((10, 3), np.nan)}, r"val.npz: missing values in feature x0 \(10\)"),
        ({"x": np.zeros((10, 2))}, "train has 3 features in its training rows, and 2 in .*val.npz; allowed: as many"),
        ({"y": np.full(10, "a")}, r"target of train has type int64 and shape \(40,\), that of .*val.npz <U1"),
        ({"w": np.ones(10)}, "sample_weight is 'v', which .*val.npz does not have"),
        ({"v": np.ones(10), "g": np.arange(10)}, "'0', have both training and validation rows"),
    ],
)
def test_arrays_that_do_not_go_with_the_training_rows(arrays, tmp_path, changes, said):
    np.savez(tmp_path / "train.npz", **{name: arrays[f"{name}_train"] for name in "xyg"}, v=arrays["w_train"])
    own = {"x": arrays["x_val"], "y": arrays["y_val"]} | changes
    np.savez(tmp_path / "val.npz", **own)
    weighed = {"sample_weight": "v"} if changes.keys() & {"w", "v"} else {}
    with pytest.raises(InputError, match=said):
        load(Config(dataset=tmp_path / "train.npz", validation_data=tmp_path / "val.npz", group="g", **weighed))


def test_files_that_do_not_go_together(arrays, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    np.save(tmp_path / "x.npy", arrays["x_val"])
    with pytest.raises(InputError, match="test_data is b.npz, and a has test rows of its own; leave it out"):
        load(Config(dataset=tmp_path / "a.npz", test_data="b.npz"))
    np.savez(tmp_path / "b.npz", x=arrays["x_train"], y=arrays["y_train"])
    with pytest.raises(
        InputError, match="validation_data is b.csv; allowed for b: a .npz file, as its own rows are in"
    ):
        load(Config(dataset=tmp_path / "b.npz", validation_data="b.csv"))
    for dataset, more in ((tmp_path / "x.npy", {"target": "y.npy"}), ("iris", {})):
        with pytest.raises(InputError, match="test_data is b.npz, and dataset is .*; allowed: test_data for a .csv"):
            prepare(Config(dataset=dataset, test_data="b.npz", **more))
    with pytest.raises(InputError, match="validation_data is v.csv, and validation_fraction is 0; allowed: a file or"):
        Config(dataset="a.csv", validation_data="v.csv", validation_fraction=0)
