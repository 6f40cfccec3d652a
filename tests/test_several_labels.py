"""Several labels per row, from the table to the metrics, against scikit-learn and the estimator."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import several
from several import SETTINGS
from sklearn import metrics
from sklearn.utils.class_weight import compute_sample_weight

from mlpgpu import Config, InputError, MLPClassifier, Model, train_and_test
from mlpgpu.data import load
from mlpgpu.prepared import prepare
from mlpgpu.results import report

pd = pytest.importorskip("pandas", reason="pandas is not installed: no tables")

LABELS = ["drama", "comedy", "crime"]
WORDS = {"drama": ["no", "yes"], "comedy": [False, True], "crime": [0, 1]}
TARGET = ",".join(LABELS)
OF_LABELS = f"--target {TARGET} --task classification"


def flags_of(n=160):
    """Return a table of features, and an array of 0 and 1 with one column per label."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3))
    y = x + 0.5 * rng.normal(size=x.shape) > [0, 0.5, 1.2]
    frame = pd.DataFrame(x, columns=["length", "age", "cost"])
    return frame.assign(town=rng.choice(["A", "B"], n)), y.astype(int)


def table_of(words=WORDS):
    frame, y = flags_of()
    return frame.assign(**{name: np.array(words[name])[column] for name, column in zip(LABELS, y.T, strict=True)})


def check(found, truth, predicted, prefix=""):
    """Check that the metrics of a run or an evaluation are those of scikit-learn."""
    assert found[f"{prefix}accuracy"] == metrics.accuracy_score(truth, predicted)
    for average in ("macro", "micro", "weighted"):
        expected = metrics.f1_score(truth, predicted, average=average, zero_division=0)
        assert found[f"{prefix}f1_{average}"] == pytest.approx(expected, rel=1e-12)
    each = found[f"{prefix}targets"]
    assert list(each) == LABELS
    for i, figures in enumerate(each.values()):
        assert figures == {
            "accuracy": pytest.approx(metrics.accuracy_score(truth[:, i], predicted[:, i])),
            "f1": pytest.approx(metrics.f1_score(truth[:, i], predicted[:, i], zero_division=0)),
            "n_rows": np.sum(truth[:, i]),
        }


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return several.trained(tmp_path_factory.mktemp("labels"), table_of(), f"{OF_LABELS} --epochs 30")


@pytest.fixture
def command(trained, monkeypatch, capsys, unrendered):
    # So that there is more than one chunk.
    return several.command_in(trained, monkeypatch, capsys, rows=70)


@pytest.mark.parametrize("given", [{}, {"label_smoothing": 0.1}, {"class_weight": "balanced"}], ids=str)
def test_a_run_is_the_fit_of_the_estimator(tmp_path, given):
    """The same steps from the same weights give the same losses and the same score."""
    frame, y = flags_of()
    x = frame.drop(columns="town").to_numpy()
    np.savez(tmp_path / "rows.npz", x=x, y=y)
    plain = {"test_fraction": 0, "validation_fraction": 0, "scale": "none", "schedule": "constant"}
    config = Config(
        dataset=tmp_path / "rows.npz", task="classification", hidden=(4,), optimizer="momentum", learning_rate=0.1,
        batch_size="full", epochs=5, **plain, **SETTINGS, **given,
    )  # fmt: skip
    prepared = prepare(config)
    outcome = train_and_test(prepared)
    network, start = prepared.plan.network, prepared.plan.params
    layers = [(start[:12].reshape(3, 4), np.zeros(4)), (start[12:24].reshape(4, 3), np.zeros(3))]
    estimator = MLPClassifier(
        (4,), solver="sgd", learning_rate_init=0.1, nesterovs_momentum=False, batch_size=len(x), max_iter=5, alpha=0,
        init=layers, **given,
    )  # fmt: skip
    assert network.sizes == (3, 4, 3)
    with pytest.warns(match="Maximum iterations"):
        estimator.fit(x, y)
    np.testing.assert_allclose([r["loss"] for r in outcome.run.history], estimator.loss_curve_, rtol=1e-12)
    np.testing.assert_allclose(outcome.model.predict_proba(x), estimator.predict_proba(x), rtol=1e-12)
    weights = None
    if given.get("class_weight"):
        weights = compute_sample_weight("balanced", y)
        np.testing.assert_allclose(prepared.train.weights, weights, rtol=1e-12)
    score = estimator.score(x, y, sample_weight=weights)
    assert outcome.run.history[-1]["train_accuracy"] == pytest.approx(score, rel=1e-12)


def test_the_figures_of_a_run_are_those_of_scikit_learn(trained):
    found = json.loads((trained / "run" / "metrics.json").read_text())
    data = load(Config(dataset=trained / "rows.csv", target=TARGET, task="classification"))
    predicted = Model.load(trained / "run").predict_proba(data.x_test) > 0.5
    check(found, data.y_test, predicted, "test_")
    assert found["test_loss"] == pytest.approx(
        3 * metrics.log_loss(data.y_test.ravel(), Model.load(trained / "run").predict_proba(data.x_test).ravel()),
        rel=1e-5,
    )


def test_a_run_tells_of_each_label(command, monkeypatch):
    drawn = []
    monkeypatch.setattr("mlpgpu.plots.available", lambda: True)
    monkeypatch.setattr("mlpgpu.plots.curves", lambda *_, **given: drawn.append(given["title"]))
    monkeypatch.setattr("mlpgpu.plots.labels", lambda *given, **_: drawn.append(given))
    line = f"train --dataset rows.csv {OF_LABELS} --hidden 6 --epochs 1 --run-dir again"
    code, out, _ = command(line)
    assert code == 0
    for words in ("Label     drama: yes in ", "comedy: True in ", "Test rows by label", "all labels right", "micro F1"):
        assert words in out
    (truth, predictions, names, path), title = drawn
    assert (truth.shape, predictions.shape, names, path.name) == ((32, 3), (32, 3), tuple(LABELS), "labels.png")
    assert "test rows right in all labels" in title


def test_predictions_are_in_the_words_that_came_in(command):
    model, frame = Model.load("run"), pd.read_csv("rows.csv")
    chosen = (model.predict_proba(frame) > 0.5).astype(int)
    expected = [[WORDS[name][code] for name, code in zip(LABELS, row, strict=True)] for row in chosen.tolist()]
    code, out, err = command("predict run rows.csv")
    assert (code, err) == (0, "")
    found = pd.read_csv(io.StringIO(out))
    assert list(found) == LABELS
    assert found.astype(object).to_numpy().tolist() == expected
    assert [dtype.kind for dtype in found[["comedy", "crime"]].dtypes] == ["b", "i"]
    assert command("predict run rows.csv --out p.npy")[0] == 0
    assert np.load("p.npy").tolist() == [list(map(str, row)) for row in expected]
    code, out, _ = command("predict run rows.csv --proba")
    found = pd.read_csv(io.StringIO(out))
    assert (code, list(found)) == (0, LABELS)
    np.testing.assert_allclose(found, model.predict_proba(frame), rtol=1e-6)


@pytest.mark.parametrize(
    ("pair", "kind"), [([0, 1], "i"), ([False, True], "b"), ([0.5, 2.0], "f"), (["NA", "None"], "U")], ids=str
)
def test_labels_of_one_kind_stay_of_it(tmp_path, pair, kind):
    """Booleans and text need no task setting; NA is a label if the column has another one."""
    path = tmp_path / "rows.csv"
    table_of(dict.fromkeys(LABELS, pair)).to_csv(path, index=False)
    task = "auto" if kind in "bU" else "classification"
    model = train_and_test(Config(dataset=path, target=TARGET, task=task, hidden=(), epochs=1, **SETTINGS)).model
    assert (model.multilabel, model.label_values) == (True, (tuple(pair),) * 3)
    predicted = model.predict(pd.read_csv(path))
    assert predicted.dtype.kind == kind
    assert set(predicted.ravel().tolist()) <= set(pair)


def test_evaluation_takes_their_words_by_name(command):
    frame, y = pd.read_csv("rows.csv"), flags_of()[1]
    predicted = Model.load("run").predict_proba(frame) > 0.5
    code, out, err = command("evaluate run rows.csv --json")
    assert (code, err) == (0, "")
    check(json.loads(out), y, predicted)
    renamed = table_of().rename(columns={"comedy": "funny"})
    renamed[["crime", "town", "drama", "cost", "age", "funny", "length"]].to_csv("other.csv", index=False)
    check(json.loads(command("evaluate run other.csv --target drama,funny,crime --json")[1]), y, predicted)
    code, out, _ = command("evaluate run rows.csv")
    assert (code, "Test rows by label" in out) == (0, True)


def test_a_label_called_na_is_evaluated_as_it_was_trained(tmp_path, command):
    """Also in a chunk without any other value."""
    words = {"drama": ["NA", "x"], "comedy": ["07", "x"], "crime": [0, 1]}
    frame = table_of(words).sort_values(LABELS, ignore_index=True)
    frame.to_csv(tmp_path / "na.csv", index=False)
    line = f"train --dataset {tmp_path / 'na.csv'} {OF_LABELS} --hidden none --epochs 1 --quiet"
    assert command(f"{line} --run-dir {tmp_path / 'run'}")[0] == 0
    code, out, err = command(f"evaluate {tmp_path / 'run'} {tmp_path / 'na.csv'} --json")
    assert (code, err) == (0, "")
    assert json.loads(out)["targets"]["drama"]["n_rows"] == (frame["drama"] == "x").sum()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--target drama,commedy,crime", "has no column 'commedy' to compare with; did you mean 'comedy'?"),
        ("--target drama,comedy", "the model predicts 3 labels ('drama', 'comedy', 'crime'): give a column for each"),
        (
            "--target crime,comedy,play",
            "row 1 has the label '0' for 'drama', which is no class of the model; its",
        ),
    ],
)
def test_what_evaluation_cannot_compare_with(command, given, said):
    frame = table_of()
    frame.assign(play=frame["drama"]).to_csv("odd.csv", index=False)
    code, out, err = command(f"evaluate run odd.csv {given}")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_what_a_model_of_them_says_of_itself(command):
    model = Model.load("run")
    assert (model.targets, model.classes) == (tuple(LABELS), (0, 1, 2))
    assert model.label_values == tuple(map(tuple, WORDS.values()))
    assert "Predicts  drama, comedy, crime, each by values of its own (0 or 1; False" in command("inspect run")[1]
    assert json.loads(command("inspect run --json")[1])["label_values"] == list(WORDS.values())
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    assert command("export run --to onnx --out m.onnx")[0] == 0
    said = {p.key: json.loads(p.value) for p in onnx.load("m.onnx").metadata_props}
    assert (said["targets"], said["label_values"]) == (LABELS, list(WORDS.values()))


def test_labels_of_the_same_words_are_said_once(tmp_path, command):
    table_of({name: ["no", "yes"] for name in LABELS}).to_csv(tmp_path / "rows.csv", index=False)
    line = f"train --dataset {tmp_path / 'rows.csv'} --target {TARGET} --hidden none --epochs 1 --quiet"
    assert command(f"{line} --run-dir {tmp_path / 'run'}")[0] == 0
    assert "Predicts  drama, comedy, crime, no or yes each" in command(f"inspect {tmp_path / 'run'}")[1]


@pytest.mark.parametrize(
    ("target", "words", "n_layers", "why"),
    [
        (TARGET, WORDS, 2, ""),
        ("comedy,drama,crime", WORDS | {"comedy": ["no", "yes"], "drama": [False, True]}, 1, "other targets"),
        (TARGET, WORDS | {"crime": ["no", "yes"]}, 1, "other classes"),
        ("drama,comedy", WORDS, 1, "other classes"),
        ("crime", WORDS, 1, "other classes"),
    ],
)
def test_a_run_takes_the_last_layer_for_the_same_labels(trained, monkeypatch, target, words, n_layers, why):
    monkeypatch.chdir(trained)
    table_of(words).to_csv("next.csv", index=False)
    left_out = tuple(name for name in LABELS if name not in target)
    config = Config(
        dataset="next.csv", target=target, drop=left_out, task="classification", hidden=(6,), start_from="run"
    )
    start = prepare(config).start
    assert (start.n_layers, start.why) == (n_layers, why)


def test_a_run_starts_from_an_estimator_of_as_many_labels(tmp_path):
    frame, y = flags_of()
    x = frame.drop(columns="town").to_numpy()
    with pytest.warns(match="Maximum iterations"):
        MLPClassifier((4,), max_iter=1).fit(x, y).save(tmp_path / "m.safetensors")
    np.savez(tmp_path / "rows.npz", x=x, y=y)
    config = {"dataset": tmp_path / "rows.npz", "hidden": (4,), "start_from": tmp_path / "m.safetensors"}
    start = prepare(Config(**config, task="classification")).start
    assert (start.n_layers, start.why) == (2, "")
    assert prepare(Config(**config)).start.why == "another task"


def test_a_model_that_neither_scales_nor_has_words_is_an_estimator(tmp_path):
    frame, y = flags_of()
    x = frame.drop(columns="town").to_numpy()
    np.savez(tmp_path / "rows.npz", x=x, y=y, words=np.where(y, "yes", "no"))
    config = {"dataset": tmp_path / "rows.npz", "scale": "none", "hidden": (4,), "epochs": 2, **SETTINGS}
    model = train_and_test(Config(**config, task="classification")).model
    model.save(tmp_path / "m.safetensors")
    estimator = MLPClassifier.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(estimator.classes_, [0, 1, 2])
    np.testing.assert_array_equal(estimator.predict(x), model.predict(x))
    model = train_and_test(Config(**config, target="words")).model
    model.save(tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="has words for its labels, which an estimator does not; load it with mlpgpu"):
        MLPClassifier.load(tmp_path / "w.safetensors")


def test_a_run_is_resumed_and_ends_the_same(command):
    line = f"train --dataset rows.csv {OF_LABELS} --hidden 6 --quiet --json --early-stopping"
    line += " --class-weight balanced --monitor score --patience 3 --epochs 12"
    whole = json.loads(command(f"{line} --run-dir whole --checkpoint-every 2")[1])
    (Path("whole") / "metrics.json").unlink()
    kept = sorted((Path("whole") / "checkpoints").iterdir())[0]
    again = json.loads(command(f"train --resume {kept} --json --quiet")[1])
    timed = {"epoch_seconds", "samples_per_second"}
    assert {k: v for k, v in whole.items() if k not in timed} == {k: v for k, v in again.items() if k not in timed}


def test_one_class_a_row_is_another_loss(trained):
    config = {"dataset": trained / "rows.csv", "target": TARGET, "task": "classification"}
    with pytest.raises(InputError, match="loss 'cross_entropy' is for one class a row, and there are 3 labels; choose"):
        prepare(Config(**config, loss="cross_entropy"))
    assert prepare(Config(**config)).plan.loss == "logistic"


def test_a_label_that_is_never_found_is_noted(trained):
    config = Config(
        dataset=trained / "rows.csv", target=TARGET, task="classification", hidden=(), epochs=1, learning_rate=1e-9,
        bias_init=-1, init="zeros", **SETTINGS,
    )  # fmt: skip
    outcome = train_and_test(config)
    lines = report.result_lines(outcome)
    rows = outcome.truth.sum(axis=0)
    said = ", ".join(f"{name} ({n:.0f} rows)" for name, n in zip(LABELS, rows, strict=True))
    assert f"Note      no test row is found of {said}; --class-weight balanced weighs rare ones up" in lines


def test_a_learning_rate_is_found(command):
    code, out, _ = command(f"find-learning-rate --dataset rows.csv {OF_LABELS} --steps 60 --json")
    assert (code, len(json.loads(out.splitlines()[-1])["losses"])) == (0, 60)
