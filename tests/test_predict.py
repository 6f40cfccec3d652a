"""The command ``mlpgpu predict``, and what the commands that use a model say of bad input."""

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
import rooms
from rooms import filled, read, table_of
from sklearn.exceptions import ConvergenceWarning

from mlpgpu import Config, InputError, MLPClassifier, MLPRegressor, Model, train_and_test
from mlpgpu.data import reading

pd = pytest.importorskip("pandas", reason="pandas is not installed: no tables")

command, models = rooms.command, rooms.models


def test_predictions_are_those_of_the_model(command, models):
    for target in ("price", "size"):
        model = Model.load(models / f"{target}.safetensors")
        expected = model.predict(reading.read_features(models / "rows.csv", model.columns))
        code, out, err = command("predict", f"{target}.safetensors", "rows.csv")
        assert (code, err) == (0, filled(model, table_of()))
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
    with pytest.raises(InputError, match="which the model takes; it has '0', '1', '2'; add what is missing"):
        model.predict(pd.DataFrame(np.ones((2, 3))))
    for function in (model.predict, model.predict_proba):
        with pytest.warns(
            UserWarning, match="column 'town': 2 rows of 90 with a value new to the model, such as 'Z'"
        ) as told:
            function(frame.assign(town=["Z", "Z", *frame["town"][2:]]))
        assert told[0].filename == __file__
    with pytest.raises(InputError, match=r"shape \(n_rows, 5\), or a DataFrame with the columns of its table"):
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
    _, expected, _ = command("predict", "size.safetensors", "rows.csv")
    for name in ("x.npy", "x.npz"):
        assert command("predict", "size.safetensors", name) == (0, expected, "")


def test_images_that_seem_to_be_divided_already(command, tmp_path):
    x, y = np.random.default_rng(0).integers(0, 256, (90, 2, 3), dtype=np.uint8), np.arange(90) % 2
    np.savez(tmp_path / "images.npz", x=x, y=y)
    np.savez(tmp_path / "divided.npz", x=x / 255, y=y)
    train_and_test(Config(dataset=tmp_path / "images.npz", **rooms.SETTINGS)).model.save(tmp_path / "m.safetensors")
    for name in ("predict", "evaluate"):
        assert command(name, "m.safetensors", "images.npz")[::2] == (0, "")
        code, _, err = command(name, "m.safetensors", "divided.npz")
        # Three chunks, and one note.
        assert (code, err.count("\n")) == (0, 1)
        assert err.startswith("note: no feature is above 1, as if divided by 255, which the model does itself")


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
    assert (code, out, err) == (0, "", filled(model, table_of()))
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
        note = f"note: column 'town': {n_unseen} rows of 90 with a value new to the model, such as 'b'\n"
        assert err == note + filled(Model.load(f"{target}.safetensors"), frame)
        if line.startswith("predict"):
            assert len(read(out)[1]) == 90
        else:
            assert json.loads(out)["n_rows"] == 90


def test_what_is_filled_is_noted_once_for_all_chunks(command, recwarn):
    frame = table_of()[["age", "rooms", "price"]]
    frame.loc[[3, 50], "age"] = np.nan
    frame.to_csv("gaps.csv", index=False)
    train_and_test(Config(dataset="gaps.csv", target="price", impute="median", **rooms.SETTINGS)).model.save("m")
    model, frame["age"] = Model.load("m"), np.nan
    frame.to_csv("new.csv", index=False)
    features = frame[["age", "rooms"]].to_numpy()
    np.savez("new.npz", x=features, price=frame["price"])
    np.save("new.npy", features)
    expected, note = model.predict(frame), filled(model, frame)
    for name in ("new.csv", "new.npz", "new.npy"):
        code, out, err = command("predict", "m", name)
        assert (code, err) == (0, note)
        np.testing.assert_allclose(np.float64(read(out)[1]), expected, rtol=1e-5)
    for name in ("new.csv", "new.npz"):
        assert command("evaluate", "m", name)[::2] == (0, note)
    # In Python, filling them is what was asked for.
    assert not recwarn


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


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("predict nothing.safetensors rows.csv", "cannot read the model nothing.safetensors"),
        ("predict price.safetensors nothing.csv", "nothing.csv is not a file"),
        ("predict price.safetensors rows.doc", "rows.doc ends in '.doc'; allowed: a .csv, .tsv"),
        ("predict price.safetensors rows", "rows has no ending; allowed: a .csv, .tsv"),
        ("predict price.safetensors digits", "digits is a data set to train on, and not a file; allowed: a .csv, .tsv"),
        ("predict price.safetensors .", "error: . is a folder; give a .csv, .tsv"),
        ("predict price.safetensors rows.csv --proba", "predicts a number, which has no probabilities"),
        ("predict price.safetensors rows.csv --out p.xlsx", "ends in '.xlsx'; allowed: .csv, .parquet, .npy"),
        ("predict price.safetensors rows.csv --out p", "out is p, which has no ending; allowed: .csv, .parquet, .npy"),
        ("predict price.safetensors rows.csv --out no/p.csv", "there is no folder no; make it first"),
        ("predict ~no.such.user/m.safetensors rows.csv", "cannot read the model ~no.such.user/m.safetensors"),
        ("predict price.safetensors rows.csv --out ./rows.csv", "out is rows.csv, which is read here and would be"),
        ("evaluate price.safetensors size.csv", "size.csv has no column 'price' to compare with"),
        ("evaluate price.safetensors rows.csv --target pryce", "'pryce' to compare with; did you mean 'price'?"),
        ("evaluate price.safetensors rows.csv --target romms", "no column 'romms' to compare with; it has 'rooms', "),
        ("evaluate price.safetensors rows.csv --target x", "no column 'x' to compare with; it has 'rooms', 'town', "),
        ("predict size.safetensors huge.csv", "output is not finite; their features are missing or too large"),
        ("evaluate price.safetensors rows.csv --target size", "the targets are text, such as 'large'; the model"),
        ("predict size.safetensors rows.csv --probabilities", "did you mean --proba?"),
        ("predict price.safetensors rows.csv --target price", "--target is a flag of mlpgpu train, and not of this"),
        ("evaluate size.safetensors gaps.csv --target other", "row 1 has the label 'huge', which is no class of the"),
        ("evaluate size.safetensors gaps.csv --target number", "has the label '4', which is no class of the model"),
        ("evaluate size.safetensors gaps.csv", "column 'size', has 1 missing value, the first in row 51; remove"),
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
            assert (code, out.replace("standard input", "rows.csv"), err) == expected
            assert out.count("\n") > 3
    for first in ("predict", "evaluate"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"age;age\n1;2\n")))
        said = "error: standard input has more than one column 'age'; give each column its own name\n"
        assert command(first, "size.safetensors", "-") == (2, "", said)
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
