"""The settings group and hold_out, in all that divides rows."""

import json

import numpy as np
import pytest

from mlpgpu import Config, InputError, cross_validate, cross_validation, find_learning_rate, train_and_test
from mlpgpu.callbacks import RunCheckpoint
from mlpgpu.data import load
from mlpgpu.prepared import prepare


@pytest.fixture
def patients(tmp_path):
    """Twenty rows of each of 40 patients, who can be recognised; which are ill is drawn at random."""
    rng = np.random.default_rng(0)
    patient = rng.permutation(np.repeat(np.arange(40), 20))
    x = rng.normal(size=(40, 6))[patient] + 0.05 * rng.normal(size=(800, 6))
    path = tmp_path / "patients.npz"
    np.savez(path, x=x, y=rng.permutation(np.arange(40) % 2)[patient], patient=patient)
    return {"dataset": str(path), "hidden": (64,), "epochs": 60, "learning_rate": 0.01, "backend": "numpy"}


def test_what_only_the_group_tells_is_not_known_of_other_groups(patients):
    known = train_and_test(Config(**patients)).metrics
    new = train_and_test(Config(**patients, group="patient")).metrics
    assert (known["n_test"], new["n_test"]) == (160, 160)
    assert known["test_accuracy"] > 0.9
    assert new["test_accuracy"] < 0.8
    folds = cross_validate(Config(**patients, group="patient"), 4)
    assert folds.mean["test_accuracy"] < 0.75
    patient = np.load(patients["dataset"])["patient"]
    assert len(np.unique(np.stack([patient, folds.fold_of_row]), axis=1)[0]) == 40


def test_no_patient_is_in_two_of_three_parts(patients):
    stored = np.load(patients["dataset"])
    patient_of = dict(zip(map(tuple, stored["x"]), stored["patient"], strict=True))
    data = load(Config(**patients, group="patient", validation_fraction=0.25))
    parts = [{patient_of[tuple(row)] for row in x} for x in (data.x_train, data.x_validation, data.x_test)]
    assert [len(part) for part in parts] == [24, 8, 8]
    assert len(set.union(*parts)) == 40
    assert "test_fraction: 8 of 40 groups, with 20.0% of the rows" in data.notes
    assert "validation_fraction: 8 of 32 groups, with 25.0% of the rows" in data.notes


def test_a_set_that_divides_groups_itself_is_refused(tmp_path, rng):
    x, y, g = rng.normal(size=(30, 2)), np.arange(30) % 2, np.arange(30) // 4
    parts = {"x": x, "y": y, "g": g}
    path = tmp_path / "own.npz"
    for cut in (20, 21):
        np.savez(
            path,
            **{f"{k}_train": v[:cut] for k, v in parts.items()},
            **{f"{k}_test": v[cut:] for k, v in parts.items()},
        )
        config = Config(dataset=str(path), group="g")
        if cut == 20:
            assert len(load(config).x_test) == 10
            continue
        with pytest.raises(
            InputError, match="group is 'g', and 1 of its groups, such as '5', have both training and test"
        ):
            load(config)
        # Folds divide all rows anew.
        assert cross_validate(Config(dataset=str(path), group="g", hidden=(), epochs=1), 3).complete


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        (
            ["0", "1"],
            [1, 2],
            "groups of .* have type <U1 in training rows and int64 in test rows; allowed: the same kind",
        ),
        ([0, 1], [1.0, 2.0], "such as '1.0', have both"),
        ([0, 1j], [1j, 2], "such as '1j', have both"),
        (np.array([0, 1], "M8[D]"), np.array([24, 48], "M8[h]"), "such as '1970-01-02T00', have both"),
    ],
)
def test_groups_of_training_and_test_rows_are_compared_in_any_type(tmp_path, train, test, said):
    parts = {f"{name}_{part}": np.arange(20.0).reshape(-1, 1) for name in "xy" for part in ("train", "test")}
    np.savez(tmp_path / "own.npz", **parts, g_train=np.repeat(train, 10), g_test=np.repeat(test, 10))
    with pytest.raises(InputError, match=said):
        load(Config(dataset=str(tmp_path / "own.npz"), group="g"))


@pytest.mark.parametrize("ending", ["npz", "csv", "npy"])
def test_the_last_rows_are_held_out_in_their_order(tmp_path, rng, ending):
    x, y = rng.normal(size=(50, 2)).round(3), rng.normal(size=50).round(3)
    path, more = tmp_path / f"a.{ending}", {}
    if ending == "npz":
        np.savez(path, x=x, y=y)
    elif ending == "npy":
        np.save(path, x)
        np.save(tmp_path / "y.npy", y)
        more = {"target": str(tmp_path / "y.npy"), "memory_map": "always"}
    else:
        pytest.importorskip("pandas", reason="pandas is not installed: no tables")
        lines = [",".join(map(str, row)) for row in np.column_stack([x, y]).tolist()]
        path.write_text("\n".join(["a,b,y", *lines]))
        more = {"target": "y"}
    data = load(Config(dataset=str(path), hold_out="last", test_fraction=0.21, validation_fraction=0.1, **more))
    # Rounded up: 11 of 50 rows, then 4 of 39.
    for part, at in (("train", slice(0, 35)), ("validation", slice(35, 39)), ("test", slice(39, 50))):
        np.testing.assert_array_equal(getattr(data, f"x_{part}")[:], x[at])
        np.testing.assert_array_equal(getattr(data, f"y_{part}")[:, 0], y[at])
    assert {"test_fraction: the last rows, 40 to 50", "validation_fraction: the last rows, 36 to 39"} <= set(data.notes)


def test_only_validation_rows_are_the_last_of_a_set_with_test_rows(tmp_path, rng):
    x, y = rng.normal(size=(30, 2)), rng.normal(size=30)
    np.savez(tmp_path / "a.npz", x_train=x[:20], y_train=y[:20], x_test=x[20:], y_test=y[20:])
    data = load(Config(dataset=str(tmp_path / "a.npz"), hold_out="last"))
    np.testing.assert_array_equal(data.x_validation, x[18:20])
    np.testing.assert_array_equal(data.x_test, x[20:])


@pytest.mark.parametrize("more", [{}, {"class_weight": "balanced"}, {"early_stopping": True}])
def test_classes_may_be_absent_among_training_or_test_rows(tmp_path, rng, more):
    x, y = rng.normal(size=(100, 3)), np.repeat(["a", "b", "c", "d"], [60, 10, 5, 25])
    x[np.arange(100), np.repeat([0, 1, 2, 2], [60, 10, 5, 25])] += 5
    np.savez(tmp_path / "a.npz", x=x, y=y)
    given = {"hidden": (4,), "epochs": 3, "hold_out": "last", "validation_fraction": 0.1}
    prepared = prepare(Config(dataset=str(tmp_path / "a.npz"), **given, **more))
    outcome = train_and_test(prepared)
    assert "no training rows of class 'd': it cannot be learned" in prepared.data.notes
    assert "all 20 test rows have one value of the target 'y'" in prepared.data.notes
    # The recall of the one class that occurs.
    assert outcome.metrics["test_accuracy"] == outcome.metrics["test_balanced_accuracy"]
    assert np.isfinite([outcome.metrics["test_loss"], outcome.metrics["validation_loss"]]).all()
    if more.get("class_weight"):
        assert set(prepared.train.weights) == {72 / (3 * 60), 72 / (3 * 10), 72 / (3 * 2)}
        # As in the estimators, a class without training rows has weight 1.
        assert prepared.watched["validation"].weights.tolist() == [12.0] * 3 + [1.0] * 5


def test_targets_that_are_constant_in_a_part(tmp_path, rng):
    y = np.concatenate([np.full(36, 2.0), rng.normal(size=4), np.full(10, 7.0)])
    np.savez(tmp_path / "a.npz", x=rng.normal(size=(50, 2)), y=y, two=np.column_stack([y, rng.normal(size=50)]))
    given = {"dataset": str(tmp_path / "a.npz"), "hidden": (3,), "epochs": 2, "hold_out": "last", "task": "regression"}
    prepared = prepare(Config(**given))
    assert "all 36 training rows have one value of the target 'y'" in prepared.data.notes
    assert "all 10 test rows have one value of the target 'y'" in prepared.data.notes
    metrics = train_and_test(prepared).metrics
    assert metrics["test_r2"] == 0
    assert metrics["test_rmse"] == pytest.approx(5, abs=2)
    assert "all 10 test rows have one value of the target 'two0'" in load(Config(**given, target="two")).notes


def test_new_categories_among_the_rows_held_out_are_told(tmp_path):
    pytest.importorskip("pandas", reason="pandas is not installed: no tables")
    rows = [f"{i},{'ABC'[(i >= 30) + (i >= 38)]},{i / 7:.3f}" for i in range(40)]
    (tmp_path / "a.csv").write_text("\n".join(["n,shop,y", *rows]))
    data = load(Config(dataset=str(tmp_path / "a.csv"), target="y", hold_out="last"))
    assert "column 'shop': 10 rows of 40 with a value that no training row has, such as 'B'" in data.notes
    assert data.feature_names == ("n", "shop=A")


def test_what_does_not_go_together():
    with pytest.raises(InputError, match="hold_out is last, which may divide the groups of 'g'"):
        Config(dataset="a.csv", group="g", hold_out="last")
    with pytest.raises(InputError, match="hold_out is 'first'; allowed: random, last"):
        Config(hold_out="first")
    with pytest.raises(InputError, match="hold_out is last, and folds are drawn at random; allowed: hold_out random"):
        cross_validate(Config(dataset="iris", hold_out="last"), 3)


def test_few_test_rows_that_are_the_last_are_not_to_be_cross_validated(command):
    line = "--dataset iris --hidden 3 --epochs 1"
    assert "cross-validate tests on every row" in command(line)[1]
    out = command(f"{line} --hold-out last")[1]
    assert "(95 % confidence)\n" in out
    assert "cross-validate" not in out


@pytest.mark.usefixtures("unrendered")
def test_the_commands_take_groups(patients, command, command_of):
    line = f"--dataset {patients['dataset']} --group patient --hidden 4 --epochs 2"
    folds = command_of(cross_validation.app)
    code, out, err = folds(f"{line} --folds 4 --out found")
    assert (code, err) == (0, "")
    assert "Note      folds: 40 groups, with 200 to 200 rows in a fold\n" in out
    train_line = out.splitlines()[-1]
    assert "--group patient" in train_line
    code, out, _ = command(f"{train_line.partition('mlpgpu train ')[2]} --run-dir run")
    assert code == 0
    assert "Note      validation_fraction: 4 of 40 groups, with 10.0% of the rows\n" in out
    assert folds("--config run/config.toml --folds 3 --json --quiet")[0] == 0
    code, out, _ = command_of(find_learning_rate.app)("--config run/config.toml --steps 20 --json --quiet")
    assert (code, json.loads(out)["n_train"]) == (0, 720)


def test_a_run_with_groups_is_resumed_and_other_groups_are_noticed(patients, tmp_path):
    given = patients | {"epochs": 3, "hidden": (4,), "group": "patient"}
    whole = train_and_test(Config(**given), [RunCheckpoint(tmp_path / "kept", every=1)])
    resumed = tmp_path / "kept" / "previous.safetensors"
    again = train_and_test(Config(**given), resume=resumed)
    np.testing.assert_array_equal(again.model.params, whole.model.params)
    with pytest.raises(InputError, match="group is None, and the run to resume has patient"):
        train_and_test(Config(**(given | {"group": None})), resume=resumed)
    stored = dict(np.load(given["dataset"]))
    np.savez(given["dataset"], **(stored | {"patient": np.roll(stored["patient"], 1)}))
    with pytest.raises(InputError, match="rows"):
        train_and_test(Config(**given), resume=resumed)


@pytest.mark.parametrize(
    ("given", "changed"),
    [({"group": "patient"}, None), ({}, "group"), ({"hold_out": "last"}, "hold_out, group")],
)
def test_a_model_to_start_from_that_was_tested_on_other_rows(patients, tmp_path, given, changed):
    of_model = patients | {"epochs": 1, "hidden": (4,), "group": "patient"}
    train_and_test(Config(**of_model)).model.save(tmp_path / "model.safetensors")
    del of_model["group"]
    notes = prepare(Config(**of_model, **given, start_from=str(tmp_path / "model.safetensors"))).data.notes
    said = f"the model to start from had another {changed}: it may have learned from rows that are tested on here"
    assert (said in notes) == bool(changed)
    assert any("had another" in note for note in notes) == bool(changed)
