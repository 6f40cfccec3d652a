"""Several targets of a regression, from the table to the metrics, against scikit-learn."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import several
from several import SETTINGS
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from sklearn.preprocessing import StandardScaler

from mlpgpu import Config, MLPClassifier, Model, train_and_test
from mlpgpu.data import load
from mlpgpu.prepared import prepare

pd = pytest.importorskip("pandas", reason="pandas is not installed: no tables")

TARGETS = ["price", "area"]


def table_of(n=80):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.normal(50, 10, n), "town": rng.choice(["A", "B"], n)})
    frame["price"] = 2e6 + 3e4 * frame["size"] + 1e5 * (frame["town"] == "A") + 1e5 * rng.normal(size=n)
    frame["age"] = rng.normal(size=n)
    frame["area"] = 1e-6 * (frame["size"] + 5 * frame["age"] + rng.normal(size=n))
    return frame


def figures(truth, predicted, **multioutput):
    return {
        "r2": r2_score(truth, predicted, **multioutput),
        "rmse": root_mean_squared_error(truth, predicted, **multioutput),
        "mae": mean_absolute_error(truth, predicted, **multioutput),
    }


def check(found, truth, predicted, prefix=""):
    """Check that the metrics of each target, and their means, are those of scikit-learn."""
    each = found[f"{prefix}targets"]
    assert list(each) == TARGETS
    by_target = figures(truth, predicted, multioutput="raw_values")
    means = figures(truth, predicted, multioutput="uniform_average")
    for key, values in by_target.items():
        assert [each[name][key] for name in TARGETS] == pytest.approx(values, rel=1e-6)
        assert found[prefix + key] == pytest.approx(means[key], rel=1e-6)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return several.trained(tmp_path_factory.mktemp("several"), table_of(), "--target price,area --epochs 4")


@pytest.fixture
def command(trained, monkeypatch, capsys, unrendered):
    # So that there is more than one chunk.
    return several.command_in(trained, monkeypatch, capsys, rows=30)


def test_targets_of_very_different_sizes_are_each_learnt(tmp_path):
    """A linear network converges to the least-squares solution for the scaled targets."""
    table_of().to_csv(tmp_path / "rows.csv", index=False)
    linear = {"hidden": (), "optimizer": "momentum", "learning_rate": 0.1, "batch_size": 80, "schedule": "constant"}
    config = Config(dataset=tmp_path / "rows.csv", target="price,area", epochs=400, **linear, **SETTINGS)
    outcome, data = train_and_test(config), load(config)
    scaler = StandardScaler().fit(data.y_train)
    np.testing.assert_allclose(outcome.model.target_shift, scaler.mean_, rtol=1e-12)
    np.testing.assert_allclose(1 / outcome.model.target_factor, scaler.scale_, rtol=1e-12)
    fitted = TransformedTargetRegressor(LinearRegression(), transformer=StandardScaler())
    expected = fitted.fit(data.x_train, data.y_train).predict(data.x_test)
    np.testing.assert_allclose(outcome.predictions, expected, rtol=1e-6)
    check(outcome.metrics, data.y_test, expected, "test_")


def test_a_run_tells_of_each_target(command, monkeypatch):
    found = json.loads(Path("run/metrics.json").read_text())
    data = load(Config(dataset="rows.csv", target="price,area"))
    check(found, data.y_test, Model.load("run").predict(data.x_test), "test_")
    drawn = []
    monkeypatch.setattr("mlpgpu.plots.available", lambda: True)
    monkeypatch.setattr("mlpgpu.plots.curves", lambda *_, **given: drawn.append(given["title"]))
    monkeypatch.setattr("mlpgpu.plots.predictions", lambda *_, **given: drawn.append(given["target"]))
    code, out, _ = command("train --dataset rows.csv --target price,area --hidden 6 --epochs 1 --run-dir again")
    assert code == 0
    assert [word for line in out.splitlines() for word in line.split()[:2] if word.strip(":") in TARGETS] == [
        "price:", "area:", "price", "area",
    ]  # fmt: skip
    assert drawn[0] == ("price", "area")
    assert "mean test R²" in drawn[1]


def test_predictions_have_a_column_for_each(command):
    model, frame = Model.load("run"), pd.read_csv("rows.csv")
    expected = model.predict(frame.drop(columns=TARGETS))
    code, out, err = command("predict run rows.csv")
    assert (code, err) == (0, "")
    found = pd.read_csv(io.StringIO(out))
    assert list(found) == TARGETS
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert command("predict run rows.csv --out p.parquet")[0] == 0
    pd.testing.assert_frame_equal(pd.read_parquet("p.parquet"), pd.DataFrame(expected, columns=TARGETS))


def test_evaluation_takes_all_of_them_by_name(command):
    frame = pd.read_csv("rows.csv")
    check(json.loads(command("evaluate run rows.csv --json")[1]), frame[TARGETS], Model.load("run").predict(frame))
    frame[["area", "town", "size", "price", "age"]].rename(columns={"price": "cost"}).to_csv("other.csv", index=False)
    found = json.loads(command("evaluate run other.csv --target cost,area --json")[1])
    check(found, frame[TARGETS], Model.load("run").predict(frame))
    found = json.loads(command("evaluate run rows.csv --target area,price --json")[1])
    check(found, frame[TARGETS], Model.load("run").predict(frame))
    code, out, _ = command("evaluate run rows.csv")
    assert (code, "Test rows by target" in out) == (0, True)
    frame[:1].to_csv("one.csv", index=False)
    one = json.loads(command("evaluate run one.csv --json")[1])
    assert [one["r2"], *(one["targets"][name]["r2"] for name in TARGETS)] == [None] * 3
    assert "R² undefined" in command("evaluate run one.csv")[1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--target pryce,area", "has no column 'pryce' to compare with; did you mean 'price'?"),
        ("--target price", "the model predicts 2 numbers for each row ('price', 'area'); give as many numbers"),
        ("--target price,area,age", "the table has no column 'age', which the model takes"),
        ("--target price,kind", "the targets are text, such as 'x'; the model predicts 2 numbers"),
        ("--target price,price", "has 'price' twice"),
    ],
)
def test_what_evaluation_cannot_compare_with(command, given, said):
    table_of().assign(kind="x").to_csv("odd.csv", index=False)
    code, out, err = command(f"evaluate run odd.csv {given}")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_the_model_file_has_their_names(command):
    assert (Model.load("run").target, Model.load("run").targets) == ("price,area", ("price", "area"))
    assert "Predicts  price, area, a number each" in command("inspect run")[1]
    assert json.loads(command("inspect run --json")[1])["targets"] == TARGETS
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    assert command("export run --to onnx --out m.onnx")[0] == 0
    assert {p.key: json.loads(p.value) for p in onnx.load("m.onnx").metadata_props}["targets"] == TARGETS


@pytest.mark.parametrize(
    ("target", "drop", "n_layers", "why"),
    [
        (" price , area", "", 2, ""),
        ("area,price", "", 1, "other targets"),
        ("price,rooms", "area", 1, "other targets"),
        ("price", "area,rooms", 1, "another number of targets"),
    ],
)
def test_a_run_takes_the_last_layer_for_the_same_targets(trained, monkeypatch, target, drop, n_layers, why):
    monkeypatch.chdir(trained)
    table_of().assign(rooms=np.arange(80) % 7).to_csv("next.csv", index=False)
    start = prepare(Config(dataset="next.csv", target=target, drop=drop or (), hidden=(6,), start_from="run")).start
    assert (start.n_layers, start.why) == (n_layers, why)


def test_columns_of_an_array_have_numbers(tmp_path, rng):
    x = rng.normal(size=(40, 3))
    np.savez(tmp_path / "rows.npz", x=x, y=x[:, :2] * [1e6, 1e-6])
    outcome = train_and_test(Config(dataset=tmp_path / "rows.npz", hidden=(3,), epochs=2, **SETTINGS))
    by_target = figures(outcome.truth, outcome.predictions, multioutput="raw_values")
    assert list(outcome.metrics["test_targets"]) == list(outcome.model.target_names) == ["y0", "y1"]
    for i, found in enumerate(outcome.metrics["test_targets"].values()):
        assert found == pytest.approx({name: values[i] for name, values in by_target.items()})


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_labels_from_columns(command, rng):
    """A model of several labels can also be evaluated on a table."""
    x = rng.normal(size=(80, 2))
    y = (x > 0).astype(int)
    classifier = MLPClassifier((4,), max_iter=30, random_state=0).fit(x, y)
    classifier.save("labels.safetensors")
    pd.DataFrame(np.hstack([x, y]), columns=["u", "v", "a", "b"]).to_csv("labels.csv", index=False)
    code, out, err = command("evaluate labels.safetensors labels.csv --target a,b --json")
    assert (code, err) == (0, "")
    assert json.loads(out)["accuracy"] == classifier.score(x, y)
