"""The command ``mlpgpu evaluate``: its figures against scikit-learn's."""

import json

import numpy as np
import pytest
import rooms
from rooms import SETTINGS, filled, read, table_of
from sklearn import metrics

from mlpgpu import Config, MLPClassifier, Model, train_and_test
from mlpgpu.data import load, mnist, reading

pd = pytest.importorskip("pandas", reason="pandas is not installed: no tables")

command, models = rooms.command, rooms.models


def test_measured_as_scikit_learn_does(command, models):
    frame = pd.read_csv(models / "rows.csv")
    for target in ("price", "size"):
        model = Model.load(models / f"{target}.safetensors")
        x = reading.read_features(models / "rows.csv", model.columns)
        truth, predicted = frame[target].to_numpy(), model.predict(x).reshape(-1)
        code, out, err = command("evaluate", f"{target}.safetensors", "rows.csv", "--json")
        assert (code, err) == (0, filled(model, frame))
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


def test_targets_below_those_of_the_loss_are_refused(command, models):
    frame = table_of()
    frame["price"] -= frame["price"].min() - 1
    frame.to_csv(models / "counts.csv", index=False)
    config = Config(dataset=models / "counts.csv", target="price", loss="poisson", impute="median", **SETTINGS)
    train_and_test(config).model.save(models / "counts.safetensors")
    frame["price"] -= 3
    frame.to_csv(models / "counts.csv", index=False)
    code, out, err = command("evaluate", "counts.safetensors", "counts.csv")
    assert (code, out) == (2, "")
    assert "the targets go down to -2, and the model's loss 'poisson' takes those from 0 up" in err


def test_rows_of_one_class_have_no_roc_auc(command, models):
    frame = pd.read_csv(models / "rows.csv")
    frame[frame["size"] == "small"].to_csv(models / "small.csv", index=False)
    code, out, _ = command("evaluate", "size.safetensors", "small.csv", "--json")
    found = json.loads(out)
    assert (code, found["roc_auc"], found["average_precision"]) == (0, None, None)
    code, out, _ = command("evaluate", "size.safetensors", "small.csv")
    assert (code, "ROC AUC undefined" in out) == (0, True)


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
    assert err == filled(model, frame) + (
        "note: 5 rows of 90 with a label that is no class of the model, 'huge' (3), 'tiny' (2): whatever it predicts "
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
    assert "note: 998 rows of 1,000 with a label that" in err
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
@pytest.mark.parametrize("name", mnist.MIRRORS)
def test_the_test_rows_of_mnist(command, tmp_path, name):
    """The classes of Fashion-MNIST are names, and its files have numbers."""
    outcome = train_and_test(Config(dataset=name, **SETTINGS | {"epochs": 1}))
    outcome.model.save(tmp_path / "m.safetensors")
    code, out, err = command("evaluate", "m.safetensors", name, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["accuracy"] == outcome.metrics["test_accuracy"]
    code, out, err = command("predict", "m.safetensors", name)
    assert (code, err) == (0, "")
    assert [row for (row,) in read(out)[1]] == [str(outcome.model.classes[i]) for i in outcome.predictions]


@pytest.mark.usefixtures("data_dir")
def test_a_model_of_fashion_mnist_whose_classes_are_numbers(command, tmp_path):
    """An estimator learns the numbers of the files."""
    data = load(Config(dataset="fashion-mnist", scale="none"))
    network = MLPClassifier((3,), random_state=0).partial_fit(data.x_train, data.y_train, classes=range(10))
    network.save(tmp_path / "m.safetensors")
    code, out, _ = command("evaluate", "m.safetensors", "fashion-mnist", "--json")
    assert code == 0
    assert json.loads(out)["accuracy"] == network.score(data.x_test, data.y_test)


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


def test_a_target_that_has_no_square_is_told(command, models):
    frame = table_of()
    frame.loc[7, "price"] = 1e300
    frame.to_csv(models / "far.csv", index=False)
    code, out, err = command("evaluate", "price.safetensors", "far.csv")
    assert code == 0
    assert "loss inf, RMSE inf, MAE 1.111e+298, R² nan on 90 rows" in out
    assert err.count("\n") == 2
    assert err.endswith(
        "note: the loss is inf: a row has a target, or features, too large for the model; compare them "
        "with those of training\n"
    )


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
