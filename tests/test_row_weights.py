"""Weights of rows: in training, in its figures, in the test, and in the commands."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics
from sklearn.utils.class_weight import compute_sample_weight

from mlpgpu import Config, InputError, MLPClassifier, Model, cross_validate, evaluate, prepared, train_and_test
from mlpgpu.callbacks import RunCheckpoint
from mlpgpu.data import load
from mlpgpu.prepared import prepare
from mlpgpu.results import run_folder
from mlpgpu.results.comparison import rank
from mlpgpu.results.report import data_lines
from mlpgpu.training.feed import Scaled
from mlpgpu.training.learning_rates import range_test

pytestmark = pytest.mark.usefixtures("not_compiled")

SETTINGS = {"hidden": (4,), "epochs": 5, "dropout": 0, "input_dropout": 0, "dtype": "float64", "quiet": True}
# Each row counts by its weight alone: scaling and splits do not regard weights.
BY_WEIGHT = SETTINGS | {"batch_size": "full", "shuffle": False, "validation_fraction": 0}
BY_WEIGHT |= {"scale": "none", "target_scale": "none"}
TASKS = ["classes", "labels", "targets"]


def rows_of(task, n=80, seed=0):
    """Return x, y and weights; some are 0."""
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(n, 3)), rng.choice([0, 0.5, 1, 3.25], n)
    z = x[:, :2] + 0.3 * rng.normal(size=(n, 2))
    y = {"classes": np.digitize(z[:, 0], [-0.5, 0.8]), "labels": (z > 0.3).astype(int), "targets": z}[task]
    return x, y, w


def saved(path, task, **arrays):
    """Write x, y, w and other arrays, and return settings for them."""
    x, y, w = rows_of(task)
    np.savez(path, **{"x": x, "y": y, "w": w} | arrays)
    return {"dataset": str(path), "task": "regression" if task == "targets" else "classification"}


def untimed(outcome):
    """Return history and metrics but for what tells of the time, or of weights."""
    without = ("seconds", "epoch_seconds", "samples_per_second", "sample_weight", "n_test_effective")
    figures = [*outcome.run.history, outcome.metrics]
    return [{name: value for name, value in each.items() if name not in without} for each in figures]


@pytest.mark.parametrize("task", TASKS)
def test_weights_of_one_change_nothing(tmp_path, task):
    settings = SETTINGS | saved(tmp_path / "a.npz", task, w=np.ones(80))
    plain, weighted = (train_and_test(Config(**settings, **given)) for given in ({}, {"sample_weight": "w"}))
    np.testing.assert_array_equal(weighted.model.params, plain.model.params)
    assert untimed(weighted) == untimed(plain)
    assert weighted.metrics["n_test_effective"] == 16


@pytest.mark.parametrize("task", TASKS)
def test_a_weight_is_as_many_rows(tmp_path, task):
    """Rows of weight 0 are absent, those of weight 2 there twice: in training, and in all figures."""
    times = np.random.default_rng(1).integers(0, 3, 80)
    x, y, _ = rows_of(task)
    train, test = np.arange(60), np.arange(60, 80)
    parts = {}
    for name, values in (("x", x), ("y", y), ("w", times)):
        parts |= {f"{name}_train": values[train], f"{name}_test": values[test]}
    settings = BY_WEIGHT | saved(tmp_path / "a.npz", task, **parts)
    for part in ("train", "test"):
        for name in ("x", "y"):
            parts[f"{name}_{part}"] = np.repeat(parts[f"{name}_{part}"], parts[f"w_{part}"], axis=0)
    repeated = BY_WEIGHT | saved(tmp_path / "b.npz", task, **parts)
    weighted = train_and_test(Config(**settings, sample_weight="w", l2=0.1))
    outcome = train_and_test(Config(**repeated, l2=0.1))
    np.testing.assert_allclose(weighted.model.params, outcome.model.params, rtol=1e-9)
    for ours, theirs in zip(untimed(weighted), untimed(outcome), strict=True):
        for name, value in theirs.items():
            if name == "test_targets":
                for target, figures in value.items():
                    assert figures.pop("n_rows", 0) >= ours[name][target].pop("n_rows", 0)
                    assert ours[name][target] == pytest.approx(figures, rel=1e-9)
            elif isinstance(value, float):
                assert ours[name] == pytest.approx(value, rel=1e-9), name
    # Counts of rows remain counts.
    assert weighted.metrics["n_test"] == 20
    assert weighted.confusion is None or weighted.confusion.sum() == 20


def figures_of(task, truth, predictions, w):
    """Return scikit-learn's figures."""
    if task == "targets":
        figures = {
            "rmse": metrics.root_mean_squared_error,
            "mae": metrics.mean_absolute_error,
            "r2": metrics.r2_score,
        }
        return {name: figure(truth, predictions, sample_weight=w) for name, figure in figures.items()}
    averages = ("macro", "weighted") if task == "classes" else ("macro", "micro", "weighted")
    figures = {f"f1_{a}": metrics.f1_score(truth, predictions, average=a, sample_weight=w) for a in averages}
    figures["accuracy"] = metrics.accuracy_score(truth, predictions, sample_weight=w)
    if task == "classes":
        figures["balanced_accuracy"] = metrics.balanced_accuracy_score(truth, predictions, sample_weight=w)
    return figures


def loss_of(task, model, x, truth, w):
    """Return the mean loss of rows by scikit-learn's functions."""
    if task == "targets":
        error = (model.predict(x) - truth) * model.target_factor
        return np.average((error**2).sum(axis=1) / 2, weights=w)
    p = model.predict_proba(x)
    if task == "classes":
        return metrics.log_loss(truth, p, sample_weight=w, labels=[0, 1, 2])
    return sum(metrics.log_loss(column, q, sample_weight=w) for column, q in zip(truth.T, p.T, strict=True))


@pytest.mark.parametrize(
    ("task", "balanced"), [*((task, "none") for task in TASKS), *((task, "balanced") for task in TASKS[:2])]
)
def test_figures_are_those_of_scikit_learn(tmp_path, task, balanced):
    config = Config(**SETTINGS | saved(tmp_path / "a.npz", task), sample_weight="w", class_weight=balanced)
    ready = prepare(config)
    outcome, data = train_and_test(ready), ready.data
    model, last = outcome.model, outcome.run.history[-1]
    # The parts have the weights of their rows.
    x, _, w = rows_of(task)
    by_row = {row.tobytes(): weight for row, weight in zip(x, w, strict=True)}
    for part in ("train", "validation", "test"):
        rows, given = getattr(data, f"x_{part}"), getattr(data, f"weights_{part}")
        np.testing.assert_array_equal(given, [by_row[row.tobytes()] for row in rows])
    # In training, balanced weights multiply them, as in scikit-learn.
    by_class = compute_sample_weight("balanced", data.y_train) if balanced == "balanced" else 1
    np.testing.assert_allclose(ready.train.weights, data.weights_train * by_class, rtol=1e-12)

    expected = figures_of(task, outcome.truth, outcome.predictions, data.weights_test)
    expected["loss"] = loss_of(task, model, data.x_test, outcome.truth, data.weights_test)
    assert {name: outcome.metrics[f"test_{name}"] for name in expected} == pytest.approx(expected, rel=1e-9)
    unweighted = figures_of(task, outcome.truth, outcome.predictions, None)
    assert all(expected[name] != pytest.approx(value, rel=1e-4) for name, value in unweighted.items())
    for i, (name, each) in enumerate(outcome.metrics.get("test_targets", {}).items()):
        columns = outcome.truth[:, i], outcome.predictions[:, i]
        if task == "targets":
            column = figures_of(task, *columns, data.weights_test)
        else:
            column = {
                "accuracy": metrics.accuracy_score(*columns, sample_weight=data.weights_test),
                "f1": metrics.f1_score(*columns, sample_weight=data.weights_test),
                "n_rows": columns[0].sum(),
            }
        assert each == pytest.approx(column, rel=1e-9), name

    weights = data.weights_validation
    if balanced == "balanced":
        of_class = {y.tobytes(): weight for y, weight in zip(data.y_train, by_class, strict=True)}
        weights = weights * [of_class[y.tobytes()] for y in data.y_validation]
    assert last["validation_loss"] == pytest.approx(
        loss_of(task, model, data.x_validation, data.y_validation, weights), rel=1e-9
    )
    score = "r2" if task == "targets" else "accuracy"
    predictions = model.decided(model.outputs(model.logits(data.x_validation))[0])
    found = figures_of(task, data.y_validation, predictions, weights)
    assert last[f"validation_{score}"] == pytest.approx(found[score], rel=1e-9)


@pytest.mark.parametrize("task", TASKS)
def test_pictures_are_given_the_weights_and_say_so(tmp_path, monkeypatch, task):
    drawn = {}
    monkeypatch.setattr("mlpgpu.plots.available", lambda: True)
    for name in ("curves", "confusion", "labels", "predictions"):
        monkeypatch.setattr(f"mlpgpu.plots.{name}", lambda *_, name=name, **given: drawn.update({name: given}))
    outcome = train_and_test(Config(**SETTINGS | saved(tmp_path / "a.npz", task), sample_weight="w"))
    run_folder.write(tmp_path, outcome)
    said = {
        "classes": "16 test rows right, by weight",
        "labels": "16 test rows right in all labels, by weight",
        "targets": f": mean test R² {outcome.metrics.get('test_r2', 0):.4f}, by weight",
    }
    assert drawn.pop("curves")["title"].endswith(said[task])
    ((name, given),) = drawn.items()
    assert name == {"classes": "confusion", "labels": "labels", "targets": "predictions"}[task]
    if task != "classes":
        np.testing.assert_array_equal(given["weights"], outcome.weights)
    untested = train_and_test(Config(**SETTINGS | saved(tmp_path / "a.npz", task), sample_weight="w", test_fraction=0))
    run_folder.write(tmp_path, untested)
    assert drawn["curves"]["title"].endswith("72 rows, none to test on")
    w = rows_of(task)[2]
    found = cross_validate(Config(**SETTINGS | saved(tmp_path / "a.npz", task), sample_weight="w"), folds=2)
    np.testing.assert_array_equal(found.weights, w[found.rows])
    assert run_folder.titled(found, outcome.model, "that", ", 2 folds").endswith(", 2 folds: that, by weight")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_training_is_that_of_the_estimator(tmp_path):
    """The run starts from the weights of an estimator that has seen one epoch, and both go on."""
    x, y, w = rows_of("classes")
    settings = BY_WEIGHT | saved(tmp_path / "a.npz", "classes")
    given = {"solver": "sgd", "momentum": 0, "learning_rate_init": 0.1, "alpha": 0.02, "batch_size": len(x)}
    given |= {"hidden_layer_sizes": (4,), "shuffle": False, "random_state": 0, "n_iter_no_change": 99}
    MLPClassifier(max_iter=1, **given).fit(x, y, w).save(tmp_path / "start.safetensors")
    theirs = MLPClassifier(max_iter=7, **given).fit(x, y, w)
    settings |= {"optimizer": "sgd", "learning_rate": 0.1, "schedule": "constant", "l2": 0.02, "test_fraction": 0}
    # Rows for a model of an estimator are never scaled.
    settings |= {"scale": "auto", "target_scale": "auto"}
    settings |= {"epochs": 6, "start_from": str(tmp_path / "start.safetensors")}
    ours = train_and_test(Config(**settings, sample_weight="w")).run
    assert [record["loss"] for record in ours.history] == pytest.approx(theirs.loss_curve_[1:], rel=1e-9)


def test_the_training_score_is_measured_on_rows_with_weight(tmp_path, monkeypatch):
    monkeypatch.setattr(prepared, "SCORED_ROWS", 20)
    w = np.zeros(80)
    w[1::2] = np.random.default_rng(0).uniform(1, 2, 40)
    settings = BY_WEIGHT | saved(tmp_path / "a.npz", "classes", w=w)
    ready = prepare(Config(**settings, sample_weight="w", test_fraction=0))
    rows = ready.watched["train"]
    np.testing.assert_array_equal(rows.weights, w[1::4])
    np.testing.assert_array_equal(rows.x, rows_of("classes")[0][1::4])


@pytest.mark.parametrize("hold_out", ["random", "last"])
@pytest.mark.parametrize("part", ["training", "validation", "test"])
def test_a_part_without_weight_is_refused(tmp_path, part, hold_out):
    x, _, _ = rows_of("classes")
    settings = SETTINGS | saved(tmp_path / "a.npz", "classes") | {"hold_out": hold_out}
    data = load(Config(**settings))
    rows = getattr(data, {"training": "x_train"}.get(part, f"x_{part}"))
    empty = {row.tobytes() for row in rows}
    saved(tmp_path / "a.npz", "classes", w=np.array([row.tobytes() not in empty for row in x]))
    with pytest.raises(InputError, match=f"sample_weight is 'w', which is 0 in every {part} row; allowed: ") as found:
        prepare(Config(**settings, sample_weight="w"))
    assert ("another seed" in str(found.value)) == (hold_out == "random")


def test_the_data_tell_that_rows_are_weighted(tmp_path):
    settings = SETTINGS | saved(tmp_path / "a.npz", "classes", w=np.array([2, 0, 1, 1] * 20))
    lines = data_lines(load(Config(**settings, sample_weight="w", test_fraction=0, validation_fraction=0)), "none")
    # (20 * 4)² / (20 * 6)
    said = "rows are weighted by 'w', from 0 to 2 in training, where they count as much as 53 of equal weight"
    assert f"Note      {said}" in lines
    assert not any("weight" in line for line in data_lines(load(Config(**settings)), "none"))


def test_a_run_is_resumed_with_the_same_weights_only(tmp_path):
    config = Config(**SETTINGS | saved(tmp_path / "a.npz", "classes"), sample_weight="w")
    whole = train_and_test(config, [RunCheckpoint(tmp_path / "run", 2)])
    checkpoint = tmp_path / "run" / "previous.safetensors"
    again = train_and_test(config, resume=checkpoint)
    np.testing.assert_array_equal(again.model.params, whole.model.params)
    assert untimed(again) == untimed(whole)
    with pytest.raises(InputError, match="sample_weight is None, and the run to resume has w"):
        train_and_test(dataclasses.replace(config, sample_weight=None), resume=checkpoint)
    saved(tmp_path / "a.npz", "classes", w=rows_of("classes")[2] + 1)
    with pytest.raises(InputError, match="training rows"):
        train_and_test(config, resume=checkpoint)


def test_folds_have_the_weights_of_their_rows(tmp_path):
    x, y, w = rows_of("classes")
    parts = {}
    for name, values in (("x", x), ("y", y), ("w", w)):
        parts |= {f"{name}_train": values[:60], f"{name}_test": values[60:]}
    settings = SETTINGS | saved(tmp_path / "a.npz", "classes", **parts)
    found = cross_validate(Config(**settings, sample_weight="w"), folds=3)
    for fold in found.folds:
        outcome = fold.outcome
        np.testing.assert_array_equal(outcome.truth, y[fold.rows])
        expected = figures_of("classes", outcome.truth, outcome.predictions, w[fold.rows])
        assert {name: outcome.metrics[f"test_{name}"] for name in expected} == pytest.approx(expected, rel=1e-12)
    assert found.confusion.sum() == 80


def test_a_range_test_has_weights(tmp_path):
    times = np.random.default_rng(1).integers(0, 3, 80)
    x, y, _ = rows_of("targets")
    more = {"test_fraction": 0, "target_scale": "none"}
    curves = []
    for name, rows, given in (("a", np.arange(80), {"sample_weight": "w"}), ("b", np.repeat(np.arange(80), times), {})):
        settings = BY_WEIGHT | saved(tmp_path / f"{name}.npz", "targets", x=x[rows], y=y[rows], w=times[rows]) | more
        ready = prepare(Config(**settings, **given, optimizer="sgd"))
        plan = dataclasses.replace(ready.plan, epochs=20)
        placement = Scaled(ready.backend, ready.data.scaling.shift, ready.data.scaling.factor, plan.dtype)
        curves.append(range_test(ready.backend, plan, ready.train, placement, low=1e-4, high=0.1, steps=20).losses)
    np.testing.assert_allclose(*curves, rtol=1e-9)


def test_files_of_arrays_have_weights(tmp_path):
    for name, values in zip("xyw", rows_of("targets"), strict=True):
        np.save(tmp_path / f"{name}.npy", values)
    files = {"dataset": str(tmp_path / "x.npy"), "target": str(tmp_path / "y.npy")}
    given = SETTINGS | files | {"sample_weight": str(tmp_path / "w.npy"), "shuffle": False, "batch_size": "full"}
    mapped, held = (train_and_test(Config(**given, memory_map=how)) for how in ("always", "never"))
    # Mapped rows are sorted, so that sums are rounded otherwise.
    np.testing.assert_allclose(mapped.model.params, held.model.params, rtol=1e-6)
    assert mapped.metrics["test_rmse"] == pytest.approx(held.metrics["test_rmse"], rel=1e-9)


@pytest.fixture
def evaluated(tmp_path, monkeypatch, capsys):
    """``evaluated(data, **given)`` -> figures of ``mlpgpu evaluate`` for a model of weighted rows, standard error."""
    pd = pytest.importorskip("pandas", reason="pandas is not installed: no tables")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mlpgpu.data.reading.ROWS", 30)
    x, y, w = rows_of("classes")
    frame = pd.DataFrame(x, columns=["a", "b", "c"]).assign(w=w, y=np.array(["p", "q", "r"])[y])
    frame.to_csv("rows.csv", index=False)
    frame.drop(columns="w").to_csv("plain.csv", index=False)
    frame.rename(columns={"w": "other"}).to_csv("other.csv", index=False)
    frame.assign(y=frame["y"].replace("q", "new")).to_csv("new.csv", index=False)
    frame.assign(w=(frame["y"] == "q") + 0.0, y=frame["y"].replace("q", "new")).to_csv("only_new.csv", index=False)
    train_and_test(Config(**SETTINGS, dataset="rows.csv", target="y", sample_weight="w")).model.save(
        "model.safetensors"
    )

    def run(data, **given):
        assert evaluate.evaluate("model.safetensors", data, json=True, **given) == 0
        out, err = capsys.readouterr()
        return json.loads(out), err

    return run


def test_evaluate_weighs_as_in_training(evaluated):
    model = Model.load("model.safetensors")
    assert model.feature_names == ("a", "b", "c")
    x, y, w = rows_of("classes")
    p = model.predict_proba(x)
    expected = figures_of("classes", y, p.argmax(axis=1), w) | {"loss": metrics.log_loss(y, p, sample_weight=w)}
    found, err = evaluated("rows.csv")
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    assert (found["n_rows"], found["sample_weight"]) == (80, "w")
    assert "note: the rows are weighted by 'w'" in err
    assert evaluated("other.csv", sample_weight="other")[0]["loss"] == found["loss"]

    plain, err = evaluated("plain.csv")
    expected = figures_of("classes", y, p.argmax(axis=1), None) | {"loss": metrics.log_loss(y, p)}
    assert {name: plain[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    assert plain["sample_weight"] is None
    assert "note: the rows count alike: plain.csv has no 'w', by which those of the training were weighted" in err

    np.savez("rows.npz", x_test=x, y_test=np.array(["p", "q", "r"])[y], w_test=w)
    assert evaluated("rows.npz")[0]["loss"] == found["loss"]
    np.savez("rows.npz", x=x, z=np.array(["p", "q", "r"])[y])
    assert evaluated("rows.npz", target="z")[0]["loss"] == plain["loss"]
    for name, values in (("x", x), ("y", np.array(["p", "q", "r"])[y]), ("w", w)):
        np.save(f"{name}.npy", values)
    assert evaluated("x.npy", target="y.npy")[0]["loss"] == plain["loss"]
    assert evaluated("x.npy", target="y.npy", sample_weight="w.npy")[0]["loss"] == found["loss"]


def test_rows_of_unknown_labels_weigh_in_all_but_the_loss(evaluated):
    model = Model.load("model.safetensors")
    x, y, w = rows_of("classes")
    known, p = y != 1, model.predict_proba(x)
    found, _ = evaluated("new.csv")
    guess = p.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(np.average((guess == y) & known, weights=w))
    expected = metrics.log_loss(y[known], p[known], sample_weight=w[known], labels=[0, 1, 2])
    assert found["loss"] == pytest.approx(expected, rel=1e-9)
    with pytest.raises(InputError, match="sample_weight is 0 in every row with a class of the model; allowed: some"):
        evaluated("only_new.csv")


def test_evaluate_refuses_weights_that_it_does_not_find(evaluated):
    for name in ("u", ""):
        with pytest.raises(InputError, match=f"sample_weight is '{name}', which rows.csv does not have; allowed: 'w'"):
            evaluated("rows.csv", sample_weight=name)
    with pytest.raises(InputError, match="sample_weight is 'b', which is a feature of the model"):
        evaluated("rows.csv", sample_weight="b")
    with pytest.raises(InputError, match="sample_weight is 'y', which is the target"):
        evaluated("rows.csv", sample_weight="y")
    with pytest.raises(InputError, match="sample_weight is 'w', and mnist has no weights; leave it out"):
        evaluated("mnist", sample_weight="w")
    np.savez("rows.npz", x=np.ones((2, 3)), y=["p", "q"])
    np.save("x.npy", np.ones((2, 3)))
    for data, target in (("rows.csv", "has no column ''"), ("rows.npz", "has no array ''"), ("x.npy", "target is ''")):
        with pytest.raises(InputError, match=target):
            evaluated(data, target="")
    text = Path("rows.csv").read_text().splitlines()
    cells = text[50].split(",")
    text[50] = ",".join([*cells[:3], "-1", cells[4]])
    Path("rows.csv").write_text("\n".join(text) + "\n")
    with pytest.raises(InputError, match="column 'w' has '-1.0' in row 50; allowed for weights"):
        evaluated("rows.csv")


def test_ranking_of_two_classes_counts_a_weight_as_many_rows(rng):
    """Class 2 stands for a label that the model does not know."""
    truth, p, w = rng.integers(0, 3, 60), rng.random(60), rng.integers(0, 3, 60)
    repeated, known = np.repeat(truth, w), np.repeat(truth, w) < 2
    for name, figure in (("roc_auc", metrics.roc_auc_score), ("average_precision", metrics.average_precision_score)):
        assert rank(truth, p, w)[name] == pytest.approx(figure(repeated[known], np.repeat(p, w)[known]))
    assert rank(truth, p, w * (truth != 1)) == {"roc_auc": None, "average_precision": None}
    assert rank(truth, np.where(truth == 0, np.nan, p)) == {"roc_auc": None, "average_precision": None}
