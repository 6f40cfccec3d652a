"""The commands that use a model: predict, evaluate, inspect."""

import csv
import dataclasses
import io
import json
import os
import subprocess
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics
from sklearn.exceptions import ConvergenceWarning

from mlpgpu import Config, InputError, MLPClassifier, MLPRegressor, Model, __main__, train, train_and_test
from mlpgpu.data import mnist, reading

pd = pytest.importorskip("pandas", reason="pandas is not installed: no tables")

SETTINGS = {"hidden": (8,), "epochs": 5, "dropout": 0, "input_dropout": 0, "quiet": True}


def table_of(n=90, seed=0):
    """Return a table of rooms, towns and ages with gaps, a price as a number and a size as text."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"rooms": rng.integers(1, 7, n), "town": rng.choice(["A", "B", "C"], n)})
    frame["age"] = np.where(rng.random(n) < 0.1, np.nan, rng.uniform(0, 50, n))
    frame["price"] = frame["rooms"] * 30.0 + rng.normal(size=n)
    frame["size"] = np.where(frame["rooms"] > 3, "large", "small")
    return frame


@pytest.fixture
def command(tmp_path, monkeypatch, capsys, unrendered):
    """``command("predict", ...)`` runs in an empty folder -> exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    # So that there is more than one chunk.
    monkeypatch.setattr(reading, "ROWS", 40)

    def run(*arguments):
        code = train.run_command(__main__.app, [str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def models(tmp_path):
    """Folder with ``rows.csv`` and models of its columns: a regression of ``price``, a classification of ``size``."""
    frame = table_of()
    frame.to_csv(tmp_path / "rows.csv", index=False)
    for target, other in (("price", "size"), ("size", "price")):
        frame.drop(columns=other).to_csv(tmp_path / f"{target}.csv", index=False)
        config = Config(dataset=tmp_path / f"{target}.csv", target=target, impute="median", **SETTINGS)
        train_and_test(config).model.save(tmp_path / f"{target}.safetensors")
    return tmp_path


def read(text):
    names, *rows = csv.reader(io.StringIO(text))
    return names, rows


def test_predictions_are_those_of_the_model(command, models):
    for target in ("price", "size"):
        model = Model.load(models / f"{target}.safetensors")
        expected = model.predict(reading.read_features(models / "rows.csv", model.columns))
        code, out, err = command("predict", f"{target}.safetensors", "rows.csv")
        assert (code, err) == (0, "")
        names, rows = read(out)
        assert names == [target]
        assert [row[0] for row in rows] == [str(value) for value in expected.reshape(len(expected), -1)[:, 0]]


def test_a_data_frame_is_encoded_by_the_names_of_its_columns(models):
    frame = pd.read_csv(models / "rows.csv")
    for target in ("price", "size"):
        model = Model.load(models / f"{target}.safetensors")
        expected = model.predict_proba(reading.read_features(models / "rows.csv", model.columns))
        for given in (frame, frame[sorted(frame.columns, reverse=True)]):
            np.testing.assert_array_equal(model.predict_proba(given), expected)
    named = frame.set_axis([f"row {i}" for i in range(len(frame))])
    np.testing.assert_array_equal(model.predict_proba(named), expected)
    # The interface of a polars data frame.
    other = types.SimpleNamespace(columns=list(frame), to_pandas=lambda: frame)
    np.testing.assert_array_equal(model.predict_proba(other), expected)
    with pytest.raises(InputError, match="column 'rooms' holds text, such as 'x' in row 3; allowed: numbers"):
        model.predict(named.assign(rooms=["1", "2", "x"] * 30))
    unfilled = dataclasses.replace(model, columns=[{**record, "fill": None} for record in model.columns])
    with pytest.raises(
        InputError, match=r"missing values in column 'town' \(88\), the first in row 3; the model cannot"
    ):
        unfilled.predict(named.assign(age=1, town=named["town"][:2]))
    with pytest.raises(InputError, match="the table has no column 'rooms'"):
        model.predict(frame.drop(columns="rooms"))
    for function in (model.predict, model.predict_proba):
        with pytest.warns(
            UserWarning, match="column 'town': 2 of 90 rows hold values new to the model, such as 'Z'"
        ) as told:
            function(frame.assign(town=["Z", "Z", *frame["town"][2:]]))
        assert told[0].filename == __file__
    with pytest.raises(InputError, match=r"takes \(n_rows, 5\), or a DataFrame with the columns of its table"):
        model.predict(frame["age"].to_numpy()[:, None])
    with pytest.raises(InputError, match="their features are missing or too large"):
        model.predict(np.full((2, 5), np.nan))


def test_an_array_has_no_text_that_fills_it(tmp_path):
    town = {"name": "town", "kind": "category", "fill": "missing", "categories": ["a", "missing"]}
    columns = [{"name": "age", "kind": "number", "fill": 30.0}, town]
    np.save(tmp_path / "x.npy", np.ones((3, 3)))
    np.testing.assert_array_equal(reading.read_features(tmp_path / "x.npy", columns), np.ones((3, 3)))
    np.save(tmp_path / "x.npy", np.full((3, 3), np.nan))
    with pytest.raises(InputError, match="missing values in feature 0"):
        reading.read_features(tmp_path / "x.npy", columns)
    np.save(tmp_path / "x.npy", np.ones((3, 2)))
    with pytest.raises(InputError, match="has 2 features; the model was trained on 3; give as many"):
        reading.read_features(tmp_path / "x.npy", columns)


def test_an_array_may_hold_the_encoded_features_of_a_table(command, models):
    x = reading.read_features(models / "rows.csv", Model.load(models / "size.safetensors").columns)
    np.save("x.npy", x)
    np.savez("x.npz", x=x)
    expected = command("predict", "size.safetensors", "rows.csv")
    for name in ("x.npy", "x.npz"):
        assert command("predict", "size.safetensors", name) == expected


def test_a_data_frame_for_an_estimator_that_knows_its_columns(tmp_path):
    frame = table_of()[["rooms", "price"]]
    warnings.simplefilter("ignore", ConvergenceWarning)
    fitted = MLPRegressor(hidden_layer_sizes=(4,), max_iter=3, random_state=0).fit(frame, frame["rooms"])
    fitted.save(tmp_path / "m.safetensors")
    found = Model.load(tmp_path / "m.safetensors").predict(frame[["price", "rooms"]])
    np.testing.assert_allclose(found[:, 0], fitted.predict(frame), rtol=1e-12)


@pytest.mark.parametrize("ending", ["csv", "parquet", "npy"])
def test_probabilities_in_each_format(command, models, ending):
    model = Model.load(models / "size.safetensors")
    expected = model.predict_proba(reading.read_features(models / "rows.csv", model.columns))
    code, out, err = command("predict", "size.safetensors", "rows.csv", "--proba", "--out", f"p.{ending}")
    assert (code, out, err) == (0, "", "")
    found = {
        "csv": lambda path: pd.read_csv(path, dtype=np.float32),
        "parquet": pd.read_parquet,
        "npy": lambda path: pd.DataFrame(np.load(path), columns=list(model.classes)),
    }[ending](models / f"p.{ending}")
    assert list(found.columns) == ["large", "small"]
    np.testing.assert_array_equal(found.to_numpy(np.float32), expected)


def test_nothing_is_left_of_what_could_not_be_written_whole(command, models):
    frame = table_of()
    frame["age"] = frame["age"].astype(object)
    frame.loc[70, "age"] = "old"
    frame.to_csv(models / "bad.csv", index=False)
    code, _, err = command("predict", "price.safetensors", "bad.csv", "--out", "p.csv")
    assert code == 2
    cell = "'old' in row 71"
    assert err == f"error: column 'age' holds text, such as {cell}; allowed: numbers, as in training; convert it\n"
    assert not list(models.glob("p.csv")) + list(models.glob(".*"))


def test_measured_as_scikit_learn_does(command, models):
    frame = pd.read_csv(models / "rows.csv")
    for target in ("price", "size"):
        model = Model.load(models / f"{target}.safetensors")
        x = reading.read_features(models / "rows.csv", model.columns)
        truth, predicted = frame[target].to_numpy(), model.predict(x).reshape(-1)
        code, out, err = command("evaluate", f"{target}.safetensors", "rows.csv", "--json")
        assert (code, err) == (0, "")
        found = json.loads(out)
        assert found["n_rows"] == 90
        if target == "size":
            assert found["f1_macro"] == pytest.approx(metrics.f1_score(truth, predicted, average="macro"))
            assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(truth, predicted))
            assert found["accuracy"] == metrics.accuracy_score(truth, predicted)
            assert found["f1_weighted"] == pytest.approx(metrics.f1_score(truth, predicted, average="weighted"))
            p = model.predict_proba(x)
            assert found["loss"] == pytest.approx(metrics.log_loss(truth, p), rel=1e-5)
            assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(truth, p[:, 1]))
            second = metrics.average_precision_score(truth, p[:, 1], pos_label=model.classes[1])
            assert found["average_precision"] == pytest.approx(second)
        else:
            assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(truth, predicted), rel=1e-6)
            assert found["r2"] == pytest.approx(metrics.r2_score(truth, predicted), rel=1e-5)
            assert found["mae"] == pytest.approx(metrics.mean_absolute_error(truth, predicted), rel=1e-6)
            assert found["loss"] == pytest.approx((found["rmse"] * model.target_factor[0]) ** 2 / 2, rel=1e-6)
        code, out, _ = command("evaluate", f"{target}.safetensors", "rows.csv")
        assert code == 0
        assert "on 90 rows of rows.csv" in out
        assert ("Confusion matrix" in out) == (target == "size")
        assert (f"ROC AUC {found.get('roc_auc', 0):.4f} on 90 rows" in out) == (target == "size")


def test_rows_of_one_class_have_no_roc_auc(command, models):
    frame = pd.read_csv(models / "rows.csv")
    frame[frame["size"] == "small"].to_csv(models / "small.csv", index=False)
    code, out, _ = command("evaluate", "size.safetensors", "small.csv", "--json")
    found = json.loads(out)
    assert (code, found["roc_auc"], found["average_precision"]) == (0, None, None)
    code, out, _ = command("evaluate", "size.safetensors", "small.csv")
    assert (code, "ROC AUC" in out) == (0, False)


@pytest.mark.parametrize("given", ["new.csv", "new.parquet"])
def test_rows_of_labels_that_the_model_does_not_know_are_wrong(command, models, given):
    model, frame = Model.load(models / "size.safetensors"), pd.read_csv(models / "rows.csv")
    x = reading.read_features(models / "rows.csv", model.columns)
    truth = frame["size"].to_numpy(object)
    truth[[3, 50, 51]], truth[[60, 7]] = "huge", "tiny"
    frame.assign(size=truth).to_csv(models / "new.csv", index=False)
    frame.assign(size=truth).to_parquet(models / "new.parquet")
    known, predicted = np.isin(truth, model.classes), model.predict(x)
    code, out, err = command("evaluate", "size.safetensors", given, "--json")
    assert code == 0
    assert err == (
        "note: 5 of 90 rows have labels that are no classes of the model, 'huge' (3), 'tiny' (2): whatever it predicts "
        "there counts as wrong, and the loss is that of the other rows\n"
    )
    found = json.loads(out)
    assert (found["n_rows"], found["unknown_labels"]) == (90, {"huge": 3, "tiny": 2})
    assert found["accuracy"] == metrics.accuracy_score(truth, predicted)
    for average in ("macro", "weighted"):
        expected = metrics.f1_score(truth, predicted, average=average, zero_division=0)
        assert found[f"f1_{average}"] == pytest.approx(expected)
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(truth, predicted))
    p = model.predict_proba(x[known])
    assert found["loss"] == pytest.approx(metrics.log_loss(truth[known], p), rel=1e-5)
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(truth[known], p[:, 1]))
    _, out, _ = command("evaluate", "size.safetensors", given)
    table = [line.split() for line in out.splitlines()]
    assert ["large", "small"] in table
    labels = ["large", "small", "huge", "tiny"]
    for i, row in enumerate(metrics.confusion_matrix(truth, predicted, labels=labels)[:, :2]):
        assert [labels[i], *(str(n) if n or i == j else "·" for j, n in enumerate(row))] in table


def test_labels_of_numbers_that_the_model_does_not_know(command, tmp_path):
    x, y = np.arange(60.0).reshape(-1, 2), np.arange(30) % 2
    np.savez(tmp_path / "a.npz", x=x, y=y)
    model = train_and_test(Config(dataset=tmp_path / "a.npz", **SETTINGS)).model
    model.save(tmp_path / "m.safetensors")
    others = y + 10.0 * (np.arange(30) % 8 == 0)
    truth = {"floats": others, "text": np.where(others > 1, "x", others.astype(int).astype(str)).astype(object)}
    gaps = np.where(y, np.nan, y)
    np.savez(tmp_path / "b.npz", x=x, floats=others, gaps=gaps, text=truth["text"].astype(str))
    for name in truth:
        code, out, err = command("evaluate", "m.safetensors", "b.npz", "--target", name, "--json")
        found = json.loads(out)
        assert (code, err.count("\n")) == (0, 1)
        assert found["unknown_labels"] == ({"10.0": 4} if name == "floats" else {"x": 4})
        assert found["accuracy"] == pytest.approx(np.mean(model.predict(x) == others))
        assert found["f1_macro"] == pytest.approx(metrics.f1_score(others, model.predict(x), average="macro"))
    np.savez(tmp_path / "many.npz", x=np.ones((1000, 2)), y=np.arange(1000))
    code, out, err = command("evaluate", "m.safetensors", "many.npz")
    assert (code, "Confusion matrix" in out) == (0, False)
    assert "note: 998 of 1,000 rows have labels that" in err
    assert ", '2' (1), '3' (1), '4' (1), '5' (1), '6' (1) and 993 more: whatever it predicts" in err
    code, out, err = command("evaluate", "m.safetensors", "b.npz", "--target", "gaps")
    assert (code, out) == (2, "")
    assert err == "error: the targets have 15 missing or infinite values; remove those rows\n"


def test_the_figures_of_a_run_come_out_again(command, tmp_path):
    rng = np.random.default_rng(3)
    x, y = rng.integers(0, 256, (60, 4, 4), dtype=np.uint8), rng.integers(3, 6, 60)
    np.savez(tmp_path / "images.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    code, *_ = command(
        "train", "--dataset", "images.npz", "--run-dir", "run", "--epochs", "3", "--label-smoothing", "0.1", "--quiet"
    )
    assert code == 0
    tested = json.loads((tmp_path / "run" / "metrics.json").read_text())
    code, out, err = command("evaluate", "run", "images.npz", "--json")
    assert (code, err) == (0, "")
    for name in ("loss", "accuracy", "f1_weighted"):
        assert json.loads(out)[name] == pytest.approx(tested[f"test_{name}"], rel=1e-6)
    code, out, _ = command("predict", "run", "images.npz")
    assert code == 0
    assert set(read(out)[1][0]) <= {"3", "4", "5"}


def test_the_r2_of_one_row_is_null(command, models):
    table_of(1).to_csv(models / "one.csv", index=False)
    assert '"r2": null' in command("evaluate", "price.safetensors", "one.csv", "--json")[1]


@pytest.mark.usefixtures("data_dir")
def test_the_test_rows_of_mnist(command, tmp_path):
    outcome = train_and_test(Config(dataset="mnist", **SETTINGS | {"epochs": 1}))
    outcome.model.save(tmp_path / "m.safetensors")
    code, out, err = command("evaluate", "m.safetensors", "mnist", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["accuracy"] == outcome.metrics["test_accuracy"]
    assert "mnist" in mnist.MIRRORS


def test_labels_that_a_file_has_as_text(tmp_path, command):
    frame = table_of().drop(columns=["price", "town", "age"])
    frame["size"] = (frame["size"] == "large").astype(int)
    frame.to_csv(tmp_path / "a.csv", index=False)
    train_and_test(Config(dataset=tmp_path / "a.csv", target="size", **SETTINGS)).model.save(tmp_path / "m.safetensors")
    _, plain, _ = command("evaluate", "m.safetensors", "a.csv", "--json")
    frame["other"] = frame["size"].map({0: "0", 1: "1"}).astype("category")
    frame.to_parquet(tmp_path / "b.parquet")
    code, out, err = command("evaluate", "m.safetensors", "b.parquet", "--target", "other", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["loss"] == json.loads(plain)["loss"]


def test_text_that_looks_like_numbers(tmp_path, command):
    frame = table_of().drop(columns=["town", "age", "price"])
    frame["size"] = np.where(frame["rooms"] > 3, "01", np.where(frame["rooms"] > 2, "1", "z"))
    frame.to_csv(tmp_path / "a.csv", index=False)
    train_and_test(Config(dataset=tmp_path / "a.csv", target="size", **SETTINGS)).model.save(tmp_path / "m.safetensors")
    numbers = frame[frame["size"] != "z"]
    numbers.to_csv(tmp_path / "b.csv", index=False)
    _, predictions, _ = command("predict", "m.safetensors", "b.csv")
    right = [label for (label,) in read(predictions)[1]] == numbers["size"]
    _, figures, _ = command("evaluate", "m.safetensors", "b.csv", "--json")
    assert json.loads(figures)["accuracy"] == pytest.approx(right.mean())


def test_the_same_file_with_an_index_and_columns_left_out(tmp_path, command):
    table_of().to_csv(tmp_path / "a.csv")
    given = ("--target", "size", "--drop", "town,age", "--epochs", "3", "--run-dir", "run")
    code, out, _ = command("train", "--dataset", "a.csv", *given)
    assert code == 0
    assert "Note      column 'Unnamed: 0', the numbers of the rows, is left out\n" in out
    assert Model.load("run").feature_names == ("rooms", "price")
    predictions = command("predict", "run", "a.csv")
    assert (predictions[0], predictions[2]) == (0, "")
    table_of().to_csv(tmp_path / "b.csv", index=False)
    assert command("predict", "run", "b.csv") == predictions
    assert command("evaluate", "run", "a.csv", "--json")[0] == 0


def test_classes_of_whole_numbers_are_written_as_they_were_read(tmp_path, command):
    frame = table_of().drop(columns=["town", "age", "price"])
    frame["size"] = (frame["size"] == "large").astype(float)
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.astype({"size": int}).to_csv(tmp_path / "b.csv", index=False)
    train_and_test(Config(dataset=tmp_path / "a.csv", target="size", **SETTINGS)).model.save(tmp_path / "m.safetensors")
    _, predictions, _ = command("predict", "m.safetensors", "a.csv")
    labels = [label for (label,) in read(predictions)[1]]
    assert set(labels) <= {"0.0", "1.0"}
    for rows in ("a.csv", "b.csv"):
        code, figures, err = command("evaluate", "m.safetensors", rows, "--json")
        assert (code, err) == (0, "")
        assert json.loads(figures)["accuracy"] == pytest.approx(np.mean(np.array(labels, float) == frame["size"]))


@pytest.mark.parametrize("line", ["predict {}.safetensors new.csv", "evaluate {}.safetensors new.csv --json"])
def test_values_that_training_had_not_are_noted_once(command, models, line):
    frame = table_of()
    frame["town"] = frame["town"].replace({"A": "a", "B": "Köln\n"})
    # The first new value is in the second of three chunks.
    frame.loc[:39, "town"] = "C"
    frame.loc[40, "town"] = "b"
    frame.to_csv(models / "new.csv", index=False)
    n_unseen = int((frame["town"] != "C").sum())
    for target in ("price", "size"):
        code, out, err = command(*line.format(target).split())
        assert code == 0
        assert err == f"note: column 'town': {n_unseen} of 90 rows hold values new to the model, such as 'b'\n"
        if line.startswith("predict"):
            assert len(read(out)[1]) == 90
        else:
            assert json.loads(out)["n_rows"] == 90


def test_classes_that_pandas_takes_for_missing(tmp_path, command):
    frame = table_of().drop(columns=["town", "age", "price"])
    frame["size"] = np.where(frame["rooms"] > 3, "NA", np.where(frame["rooms"] > 2, "None", "small"))
    frame.to_csv(tmp_path / "a.csv", index=False)
    train_and_test(Config(dataset=tmp_path / "a.csv", target="size", **SETTINGS)).model.save(tmp_path / "m.safetensors")
    _, predictions, _ = command("predict", "m.safetensors", "a.csv")
    right = [label for (label,) in read(predictions)[1]] == frame["size"]
    code, figures, err = command("evaluate", "m.safetensors", "a.csv", "--json")
    assert (code, err) == (0, "")
    assert json.loads(figures)["accuracy"] == pytest.approx(right.mean())


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_several_labels(command):
    """The model is the file of an estimator."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 3))
    y = (x + 0.5 * rng.normal(size=x.shape) > [0, 0.5, -0.5]).astype(int)
    fitted = MLPClassifier((8,), max_iter=10, random_state=0).fit(x, y)
    fitted.save("m.safetensors")
    np.savez("rows.npz", x=x, y=y, other=y[:, :2], twos=2 * y)
    code, out, _ = command("predict", "m.safetensors", "rows.npz")
    assert (code, read(out)[0]) == (0, ["prediction0", "prediction1", "prediction2"])
    np.testing.assert_array_equal(np.array(read(out)[1], int), fitted.predict(x))
    code, out, _ = command("predict", "m.safetensors", "rows.npz", "--proba")
    np.testing.assert_allclose(np.array(read(out)[1], float), fitted.predict_proba(x), rtol=1e-12)
    assert command("predict", "m.safetensors", "rows.npz", "--proba", "--out", "p.parquet")[0] == 0
    assert list(pd.read_parquet("p.parquet")) == ["0", "1", "2"]
    code, out, err = command("evaluate", "m.safetensors", "rows.npz", "--json")
    assert (code, err) == (0, "")
    found, p = json.loads(out), fitted.predict_proba(x)
    assert found["accuracy"] == fitted.score(x, y)
    assert found["f1_weighted"] == metrics.f1_score(y, fitted.predict(x), average="weighted")
    assert found["loss"] == pytest.approx(-(y * np.log(p) + (1 - y) * np.log(1 - p)).sum(axis=1).mean())
    code, out, _ = command("evaluate", "m.safetensors", "rows.npz")
    assert (code, "micro F1" in out) == (0, True)
    code, out, _ = command("inspect", "m.safetensors")
    assert "each of 3 labels, or not" in out
    for target, said in (
        ("other", "shape (90, 2); the model predicts 3 labels ('prediction0', 'prediction1', 'prediction2'): give a"),
        ("twos", "has the label 2 for 'prediction0', which is no class of the model; its classes are 0, 1"),
    ):
        code, out, err = command("evaluate", "m.safetensors", "rows.npz", "--target", target)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert said in err
    np.savez("huge.npz", x=np.full((4, 3), np.finfo(float).max), y=y[:4])
    code, out, err = command("evaluate", "m.safetensors", "huge.npz")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "for 4 of 4 rows the model's output is not finite" in err


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_estimator_takes_its_columns_by_name(command):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(90, 3)), columns=["a", "b", "c"])
    fitted = MLPRegressor(hidden_layer_sizes=(8,), max_iter=10, random_state=0).fit(frame, frame["a"])
    fitted.save("m.safetensors")
    frame.assign(other="x")[["c", "other", "a", "b"]].to_csv("rows.csv", index=False)
    code, out, err = command("predict", "m.safetensors", "rows.csv")
    assert (code, err) == (0, "")
    np.testing.assert_allclose([float(row[0]) for row in read(out)[1]], fitted.predict(frame), rtol=1e-12)
    code, out, err = command("evaluate", "m.safetensors", "rows.csv")
    assert (code, out) == (2, "")
    assert err == (
        "error: target is not given, and the model knows no name of it; rows.csv has the columns 'c', 'other', 'a', "
        "'b'; give --target\n"
    )
    x = frame.to_numpy(copy=True)
    x[5, 1] = np.nan
    np.savez("gaps.npz", x=x)
    code, out, err = command("predict", "m.safetensors", "gaps.npz")
    assert (code, out) == (2, "")
    assert err.startswith("error: missing values in feature 1 (1)")


def test_what_a_model_is(command, models):
    code, out, err = command("inspect", "price.safetensors")
    assert (code, err) == (0, "")
    for words in ("Predicts  price, numbers", "Takes     5 features: rooms, town=A", "dense, relu"):
        assert words in out
    assert "missing values of 3 columns filled" in out
    assert "; the target is scaled, each column by its own" in out
    assert "Trained" not in out
    code, out, _ = command("inspect", "size.safetensors", "--json")
    found = json.loads(out)
    assert (code, found["classes"], found["metrics"]) == (0, ["large", "small"], None)
    assert found["n_parameters"] == 5 * 8 + 8 + 8 + 1
    assert found["config"]["target"] == "size"


def test_what_a_run_on_all_rows_gave(command, models):
    given = ("--dataset", "size.csv", "--target", "size", "--impute", "mean", "--epochs", "3", "--test-fraction", "0")
    assert command("train", *given, "--run-dir", "run")[0] == 0
    code, out, err = command("inspect", "run")
    assert (code, err) == (0, "")
    assert "Trained   81 rows, 3 epochs, on " in out
    assert "Test      no rows" in out


def test_what_a_run_gave(command, models):
    given = ("--dataset", "size.csv", "--target", "size", "--impute", "mean", "--epochs", "3", "--quiet")
    assert command("train", *given, "--run-dir", "run")[0] == 0
    code, out, _ = command("inspect", "run")
    assert code == 0
    n_train = json.loads((models / "run" / "metrics.json").read_text())["n_train"]
    assert f"Trained   {n_train} rows, 3 epochs, on " in out
    assert "Test      loss " in out
    for damaged in ("{", '{"test_loss": 1}', '{"test_loss": 1, "n_train": "many"}', "[" * 100_000):
        (models / "run" / "metrics.json").write_text(damaged)
        code, out, err = command("inspect", "run/model.safetensors")
        assert (code, err) == (0, "")
        assert "Trained" not in out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("predict nothing.safetensors rows.csv", "cannot read the model nothing.safetensors"),
        ("predict price.safetensors nothing.csv", "nothing.csv is not a file"),
        ("predict price.safetensors rows.doc", "rows.doc ends in '.doc'; allowed: a .csv, .tsv"),
        ("predict price.safetensors .", "error: . is a folder; give a .csv, .tsv"),
        ("predict price.safetensors rows.csv --proba", "predicts a number, which has no probabilities"),
        ("predict price.safetensors rows.csv --out p.xlsx", "ends in '.xlsx'; allowed: .csv, .parquet, .npy"),
        ("predict price.safetensors rows.csv --out no/p.csv", "there is no folder no; make it first"),
        ("predict ~no.such.user/m.safetensors rows.csv", "cannot read the model ~no.such.user/m.safetensors"),
        ("predict price.safetensors rows.csv --out ./rows.csv", "out is rows.csv, which is read here and would be"),
        ("evaluate price.safetensors size.csv", "size.csv has no column 'price' to compare with"),
        ("evaluate price.safetensors rows.csv --target pryce", "'pryce' to compare with; did you mean 'price'?"),
        ("predict size.safetensors huge.csv", "output is not finite; their features are missing or too large"),
        ("evaluate price.safetensors rows.csv --target size", "the targets are text, such as 'large'; the model"),
        ("predict price.safetensors rows.csv --target price", "--target is a flag of mlpgpu train, and not of this"),
        ("evaluate size.safetensors gaps.csv --target other", "row 1 has the label 'huge', which is no class of the"),
        ("evaluate size.safetensors gaps.csv --target number", "has the label '4', which is no class of the model"),
        ("evaluate size.safetensors gaps.csv", "column 'size', has 1 missing values, the first in row 51; remove"),
        ("evaluate size.safetensors empty.csv", "empty.csv has no rows"),
        ("evaluate price.safetensors endless.csv", "the targets have 45 missing or infinite values; remove those rows"),
        ("evaluate price.safetensors huge.csv", "for 45 of 90 rows the model's output is not finite; their features"),
        ("evaluate price.safetensors only_x.npz", "has no array 'price' to compare with; it has x; give its --target"),
        ("predict price.safetensors rows.csv p.csv", "'p.csv' belongs to no flag; leave it out"),
        ("inspect .", "cannot read the model model.safetensors"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(command, models, line, said):
    frame = table_of()
    frame.loc[50, "size"] = None
    frame["other"], frame["number"] = "huge", 4
    frame.to_csv(models / "gaps.csv", index=False)
    frame[:0].to_csv(models / "empty.csv", index=False)
    every_other = np.arange(len(frame)) % 2 == 0
    frame.assign(price=frame["price"].mask(every_other, np.inf)).to_csv(models / "endless.csv", index=False)
    frame.assign(age=frame["age"].mask(every_other, 1e300)).to_csv(models / "huge.csv", index=False)
    np.savez(models / "only_x.npz", x=np.ones((3, 3)))
    code, out, err = command(*line.split())
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert said in err
    assert err.count("\n") == 1


def test_rows_on_standard_input(command, models, monkeypatch):
    """They are read as a file with the same bytes, here a table with semicolons."""
    semicolons = (models / "rows.csv").read_bytes().replace(b",", b";")
    (models / "rows.csv").write_bytes(semicolons)
    for first, *more in (("predict",), ("predict", "--proba"), ("evaluate",)):
        expected = command(first, "size.safetensors", "rows.csv", *more)
        for last in ([*more, "-"], ["/dev/stdin", *more]):
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(semicolons)))
            code, out, err = command(first, "size.safetensors", *last)
            assert (code, out.replace("/dev/stdin", "rows.csv"), err) == expected
            assert out.count("\n") > 3
    monkeypatch.setattr("sys.stdin", None)
    assert command("predict", "size.safetensors", "-")[2].startswith("error: standard input is closed; ")


def test_whoever_has_read_enough_may_stop(models):
    table_of(50_000).to_csv(models / "many.csv", index=False)
    reader = f"{sys.executable} -m mlpgpu predict price.safetensors many.csv | head -1"
    done = subprocess.run(reader, shell=True, cwd=models, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("price\n", "")


def test_closed_streams(models):
    for model, code in (("price", 0), ("none", 2)):
        line = f"{sys.executable} -m mlpgpu predict {model}.safetensors rows.csv >&- 2>&-"
        assert subprocess.run(line, shell=True, cwd=models, check=False).returncode == code


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_log_on_a_full_disk(models):
    """The error message is lost too, but the exit code is 2, for a full disk, not 1, for a diverged loss."""
    line = f"{sys.executable} -m mlpgpu predict price.safetensors rows.csv >/dev/full 2>&1"
    assert subprocess.run(line, shell=True, cwd=models, check=False).returncode == 2


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_labels_on_standard_output_are_those_of_a_file_whatever_the_locale(tmp_path, encoding):
    x = np.arange(8.0)[:, None]
    y = np.repeat(["größer", "大きい"], 4)
    MLPClassifier(solver="lbfgs", random_state=0).fit(x, y).save(tmp_path / "m.safetensors")
    np.savez(tmp_path / "rows.npz", x=x)
    line = [sys.executable, "-m", "mlpgpu", "predict", "m.safetensors", "rows.npz", "--proba"]
    own = {"cwd": tmp_path, "check": True, "env": os.environ | {"PYTHONIOENCODING": encoding}}
    subprocess.run([*line, "--out", "p.csv"], **own)
    written = subprocess.run(line, stdout=subprocess.PIPE, **own).stdout
    assert written == (tmp_path / "p.csv").read_bytes()
    assert read(written.decode())[0] == ["größer", "大きい"]
