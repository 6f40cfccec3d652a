import copy
import dataclasses
import io
import math
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import special
from sklearn import metrics
from sklearn.datasets import load_digits
from sklearn.preprocessing import StandardScaler
from sklearn.utils import compute_sample_weight

from mlpgpu import Config, InputError, MLPClassifier, Model, cross_validate, train_and_test
from mlpgpu.backends.numpy import NumpyBackend
from mlpgpu.callbacks import Callback, EarlyStopping, LambdaCallback
from mlpgpu.callbacks.progress import EpochLines, ProgressBar
from mlpgpu.data import mapped
from mlpgpu.maths.losses import LOSSES
from mlpgpu.prepared import prepare
from mlpgpu.results import report

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_example_of_the_readme(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1), {})
    accuracy, predicted = capsys.readouterr().out.splitlines()
    assert float(accuracy) > 0.95
    # The first digits of scikit-learn's set are 0, 1, 2, 3, 4; they may be among those trained on.
    assert predicted == "[0 1 2 3 4]"


def test_the_readme_names_what_there_is():
    from mlpgpu.maths.activations import TRAINABLE
    from mlpgpu.maths.losses import LOSSES
    from mlpgpu.maths.optimizers import OPTIMIZERS
    from mlpgpu.maths.schedules import SCHEDULES

    for heading, table in (
        ("activations", TRAINABLE),
        ("losses", LOSSES),
        ("optimizers", OPTIMIZERS),
        ("schedules", SCHEDULES),
    ):
        row = re.search(rf"^\| {heading} \| ([^;|]*)", README, re.MULTILINE).group(1)
        assert {name.strip() for name in row.split(",")} == set(table)


def test_a_config_and_what_was_prepared_of_it_are_the_same_run():
    config = Config(dataset="iris", hidden=(8,), epochs=3)
    one, two = train_and_test(config), train_and_test(prepare(config))
    np.testing.assert_array_equal(one.model.params, two.model.params)


def test_without_validation_rows(tmp_path):
    outcome = train_and_test(Config(dataset="iris", hidden=(8,), epochs=3, validation_fraction=0))
    assert (outcome.metrics["n_train"], outcome.metrics["n_validation"], outcome.metrics["n_test"]) == (120, 0, 30)
    assert outcome.metrics["best_epoch"] is None
    assert not any(key.startswith("validation") for key in outcome.run.history[0])
    outcome.model.save(tmp_path / "m.safetensors")
    assert Model.load(tmp_path / "m.safetensors").classes == ("setosa", "versicolor", "virginica")


@pytest.mark.parametrize("progress", ["lines", "bar"])
def test_a_set_that_does_not_fit_is_streamed_and_the_user_told(monkeypatch, progress):
    config = Config(dataset="iris", hidden=(8,), epochs=3)
    resident = train_and_test(config)
    free = prepare(config).need.beside
    monkeypatch.setattr(NumpyBackend, "free_memory", lambda self: free)
    said = io.StringIO()
    streamed = train_and_test(
        config, [EpochLines(write=lambda line: said.write(line + "\n")) if progress == "lines" else ProgressBar(said)]
    )
    assert "does not fit on the device" in said.getvalue()
    np.testing.assert_array_equal(streamed.model.params, resident.model.params)


def test_many_rows_are_scored_in_part(monkeypatch):
    """For at most 12 of 108 rows, every ninth is scored, not the first 12, which may be of one class."""
    config = Config(dataset="iris", hidden=(8,), epochs=2, seed=1)
    data = prepare(config).data
    x, y = data.x_train, data.y_train
    assert len(x) == 108
    for most, every in ((12, 9), (107, 2), (108, 1), (10_000, 1)):
        monkeypatch.setattr("mlpgpu.prepared.SCORED_ROWS", most)
        outcome = train_and_test(config)
        expected = metrics.accuracy_score(y[::every], outcome.model.predict_proba(x[::every]).argmax(1))
        assert outcome.metrics["train_accuracy"] == pytest.approx(expected, rel=1e-6), most


@pytest.mark.parametrize("memory_map", ["auto", "always"])
def test_rows_in_a_file_train_as_well_and_the_run_can_be_repeated(tmp_path, monkeypatch, memory_map):
    digits = load_digits()
    ascending = np.argsort(digits.target, kind="stable")
    np.save(tmp_path / "x.npy", digits.data[ascending].astype(np.uint8))
    np.save(tmp_path / "y.npy", digits.target[ascending])
    monkeypatch.setattr(mapped, "BLOCK", 4 * 64)
    monkeypatch.setattr("mlpgpu.data.array_file.available_memory", lambda: 1000)
    given = {"dataset": str(tmp_path / "x.npy"), "target": str(tmp_path / "y.npy"), "hidden": (64,), "epochs": 30}
    prepared = prepare(Config(**given, memory_map=memory_map))
    assert prepared.data.block == 4
    assert prepared.config.memory_map == "always"
    outcome, again = train_and_test(prepared), train_and_test(prepared.config)
    np.testing.assert_array_equal(outcome.model.params, again.model.params)
    in_memory = train_and_test(Config(**given, memory_map="never"))
    # The test rows are the same, and each of the 360 counts 0.0028.
    assert outcome.metrics["test_accuracy"] == pytest.approx(in_memory.metrics["test_accuracy"], abs=0.02)
    assert prepare(Config(**given | {"epochs": 1})).config.memory_map == "always"
    monkeypatch.setattr("mlpgpu.data.array_file.available_memory", lambda: 10**9)
    assert prepare(Config(**given | {"epochs": 1})).config.memory_map == "never"


def test_rows_of_a_file_that_are_scored_are_read_once(tmp_path, monkeypatch):
    """They are far apart, so each is a disk read if the file is larger than memory."""
    digits = load_digits()
    np.save(tmp_path / "x.npy", digits.data)
    np.save(tmp_path / "y.npy", digits.target)
    read, keys = mapped.Mapped.__getitem__, []
    monkeypatch.setattr(mapped.Mapped, "__getitem__", lambda x, key: keys.append(key) or read(x, key))
    monkeypatch.setattr("mlpgpu.prepared.SCORED_ROWS", 100)
    given = {"dataset": str(tmp_path / "x.npy"), "target": str(tmp_path / "y.npy"), "memory_map": "always"}
    train_and_test(Config(**given, hidden=(8,), epochs=3))
    assert sum(isinstance(key, slice) and (key.step or 1) > 1 for key in keys) == 1


def test_figures_of_the_last_epoch():
    outcome = train_and_test(Config(dataset="iris", hidden=(8,), epochs=3))
    last = outcome.run.history[-1]
    assert outcome.metrics["train_loss"] == last["loss"]
    for key in ("train_accuracy", "validation_loss", "validation_accuracy"):
        assert outcome.metrics[key] == last[key]
    assert "loss" not in outcome.metrics
    assert outcome.metrics["n_validation"] == len(prepare(Config(dataset="iris")).data.x_validation) > 0


def test_a_callback_is_handed_models_that_predict():
    """A model from the end of an epoch has the metrics on record for it, whatever the run does afterwards."""
    prepared = prepare(Config(dataset="digits", hidden=(16,), epochs=3, dtype="float64"))
    models = []

    class Keep(Callback):
        def on_epoch_end(self, run, record):
            models.append((run.model(), record))

    outcome = train_and_test(prepared, [Keep()])
    data = prepared.data
    for model, record in models:
        found = metrics.log_loss(data.y_validation, model.predict_proba(data.x_validation))
        assert found == pytest.approx(record["validation_loss"], rel=1e-10)
    np.testing.assert_array_equal(models[-1][0].params, outcome.model.params)
    assert models[-1][0].classes == outcome.model.classes
    assert models[-1][0].config == outcome.model.config


DIABETES = {"dataset": "diabetes", "hidden": (8,), "epochs": 3, "dtype": "float64"}


@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.9])
def test_the_level_of_the_quantile_loss(quantile):
    outcome = train_and_test(Config(**DIABETES, loss="quantile", quantile=quantile, target_scale="none"))
    expected = metrics.mean_pinball_loss(outcome.truth, outcome.predictions, alpha=quantile)
    assert outcome.metrics["test_loss"] == pytest.approx(expected, rel=1e-12)


def test_a_quantile_has_its_part_of_the_rows_below_it():
    prepared = prepare(
        Config(
            dataset="diabetes", hidden="none", input_dropout=0, epochs=600, learning_rate=5, batch_size="full",
            loss="quantile", quantile=0.8, dtype="float64",
        )
    )  # fmt: skip
    outcome = train_and_test(prepared)
    below = prepared.data.y_train <= outcome.model.predict(prepared.data.x_train)
    # A linear model with 11 coefficients can fit 11 rows exactly, and these are on neither side.
    assert abs(below.sum() - 0.8 * len(below)) <= 11


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_a_regression_explains_nearly_all_that_can_be_explained(tmp_path, rng, loss):
    """A run explains almost as much of the variance of these counts as their known mean does."""
    x = rng.uniform(-2, 2, (1500, 3))
    mean = np.exp(3 + np.sin(2 * x[:, 0]) + 0.5 * x[:, 1])
    y = rng.poisson(mean)
    np.savez(tmp_path / "counts.npz", x=x, y=y)
    given = {"task": "regression", "loss": loss, "hidden": (64, 64), "epochs": 40, "batch_size": 32}
    figures = train_and_test(Config(dataset=tmp_path / "counts.npz", **given)).metrics
    assert figures["test_r2"] > metrics.r2_score(y, mean) - 0.06


@pytest.mark.parametrize(
    ("dataset", "hidden", "given", "rates"),
    [
        ("iris", (8, 4), {}, (0.1, 0.2, 0.2)),
        ("diabetes", (8, 4), {}, (0, 0, 0)),
        ("diabetes", (8, 4), {"dropout": (0.3, 0.1)}, (0, 0.3, 0.1)),
        ("diabetes", (8, 4), {"input_dropout": 0.05}, (0.05, 0, 0)),
        ("iris", (8, 4), {"dropout": 0, "input_dropout": 0}, (0, 0, 0)),
        ("iris", (), {}, (0.1,)),
    ],
)
def test_what_is_dropped_where_nothing_is_said_of_it(dataset, hidden, given, rates):
    assert prepare(Config(dataset=dataset, hidden=hidden, **given)).plan.dropout == rates


def test_a_regression_ends_where_its_validation_rows_do_no_better():
    """Unless the settings ask for more: hundreds of epochs overfit a few noisy rows."""
    ended = train_and_test(Config(dataset="diabetes", hidden=(32,)))
    losses = [record["validation_loss"] for record in ended.run.history]
    assert len(losses) < ended.run.plan.epochs
    assert ended.metrics["weights_of_epoch"] == 1 + np.argmin(losses) < len(losses)
    unvalidated = {"validation_fraction": 0}
    for given in ({"early_stopping": False}, {"epochs": 2 * len(losses)}, unvalidated):
        whole = train_and_test(Config(dataset="diabetes", hidden=(32,), **given)).run
        assert len(whole.history) == whole.plan.epochs
    for early_stopping in (None, True):
        given = {"hidden": (8,), "learning_rate": 0.3, "early_stopping": early_stopping}
        breast_cancer = train_and_test(Config(dataset="breast-cancer", **given)).run
        assert (len(breast_cancer.history) < breast_cancer.plan.epochs) == bool(early_stopping)
    told = train_and_test(Config(dataset="diabetes", hidden=(32,), epochs=300, early_stopping=True)).run
    assert len(told.history) < 300


def test_early_stopping_waits_for_some_steps_of_a_small_set():
    """An epoch of iris is one step, and ten steps are too few for any progress."""
    config = Config(dataset="iris", hidden=(16,), early_stopping=True)
    assert prepare(config).plan.steps_per_epoch == 1
    outcome = train_and_test(config)
    assert len(outcome.run.history) >= 100
    assert outcome.metrics["test_accuracy"] > 0.9
    again = train_and_test(Config(dataset="iris", hidden=(16,), early_stopping=True, patience=3, min_delta=1))
    assert len(again.run.history) == 1 + 3
    digits = Config(dataset="digits", hidden=(4,), early_stopping=True, min_delta=1, batch_size=64)
    assert len(train_and_test(digits).run.history) == 1 + 10


@pytest.mark.parametrize("delta", [0.5, 1.0, 80.0])
def test_where_the_huber_loss_turns(delta):
    outcome = train_and_test(Config(**DIABETES, loss="huber", huber_delta=delta, target_scale="none"))
    expected = special.huber(delta, outcome.truth - outcome.predictions).mean()
    assert outcome.metrics["test_loss"] == pytest.approx(expected, rel=1e-12)
    # Only several targets have metrics by name.
    assert "test_targets" not in outcome.metrics


SCALED = [name for name, known in LOSSES.items() if known.task == "regression" and name != "poisson"]


@pytest.mark.parametrize("loss", SCALED)
def test_a_target_is_scaled_as_scikit_learn_does(tmp_path, loss):
    """A run on a target that StandardScaler has scaled gives the same losses, and the same predictions unscaled."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(120, 4))
    y = np.column_stack([1.7e9 + 1e3 * x[:, 0] + 300 * rng.normal(size=120), 1e-6 * x[:, 1] ** 2, np.full(120, 0.1)])
    settings = {"hidden": (8,), "epochs": 6, "dtype": "float64", "loss": loss}
    if loss == "huber":
        settings |= {"huber_delta": 0.7}
    np.savez(tmp_path / "raw.npz", x=x, y=y)
    prepared = prepare(Config(dataset=str(tmp_path / "raw.npz"), **settings))
    ours = train_and_test(prepared)
    scaler = StandardScaler().fit(prepared.data.y_train)
    np.savez(tmp_path / "scaled.npz", x=x, y=scaler.transform(y))
    theirs = train_and_test(Config(dataset=str(tmp_path / "scaled.npz"), target_scale="none", **settings))
    for mine, other in zip(ours.run.history, theirs.run.history, strict=True):
        # Rounding of values of about 1.7e9 leaves ten digits of their spread of 1e3.
        for name in ("loss", "validation_loss", "validation_r2", "train_r2"):
            assert mine[name] == pytest.approx(other[name], rel=1e-8)
    assert ours.metrics["test_loss"] == pytest.approx(theirs.metrics["test_loss"], rel=1e-8)
    assert ours.metrics["test_r2"] == pytest.approx(theirs.metrics["test_r2"], rel=1e-8)
    expected = scaler.inverse_transform(theirs.predictions)
    np.testing.assert_allclose(ours.predictions, expected, rtol=1e-8)
    np.testing.assert_allclose(ours.model.predict(prepared.data.x_test), expected, rtol=1e-8)
    assert ours.metrics["test_rmse"] == pytest.approx(metrics.root_mean_squared_error(ours.truth, expected))
    assert ours.metrics["test_mae"] == pytest.approx(metrics.mean_absolute_error(ours.truth, expected))


def rare(tmp_path, n=600):
    """Write rows of two overlapping classes, 1 in 20 of the second, and return settings for them."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 20 == 0
    path = tmp_path / "rare.npz"
    np.savez(path, x=rng.normal(size=(n, 3)) + 1.2 * y[:, None], y=np.where(y, "rare", "often"))
    return {"dataset": str(path), "hidden": (8,), "epochs": 60, "dtype": "float64", "dropout": 0, "input_dropout": 0}


def test_balanced_classes_are_weighed_as_scikit_learn_does(tmp_path):
    config = Config(**rare(tmp_path), class_weight="balanced")
    prepared = prepare(config)
    data = prepared.data
    expected = compute_sample_weight("balanced", data.y_train)
    np.testing.assert_allclose(prepared.train.weights, expected, rtol=1e-12)
    outcome = train_and_test(prepared)
    last, model = outcome.run.history[-1], outcome.model
    by_class = np.array([expected[data.y_train == code][0] for code in (0, 1)])
    weights, p = by_class[data.y_validation], model.predict_proba(data.x_validation)
    assert last["validation_loss"] == pytest.approx(metrics.log_loss(data.y_validation, p, sample_weight=weights))
    found = metrics.accuracy_score(data.y_validation, p.argmax(axis=1), sample_weight=weights)
    assert last["validation_accuracy"] == pytest.approx(found)
    assert outcome.metrics["test_accuracy"] == np.mean(outcome.truth == outcome.predictions)
    balanced = metrics.balanced_accuracy_score(outcome.truth, outcome.predictions)
    assert outcome.metrics["test_balanced_accuracy"] == pytest.approx(balanced)
    second = model.predict_proba(data.x_test)[:, 1]
    assert outcome.metrics["test_roc_auc"] == pytest.approx(metrics.roc_auc_score(outcome.truth, second))
    assert outcome.metrics["test_average_precision"] == pytest.approx(
        metrics.average_precision_score(outcome.truth, second)
    )
    plain = train_and_test(dataclasses.replace(config, class_weight="none"))
    assert outcome.metrics["test_balanced_accuracy"] > plain.metrics["test_balanced_accuracy"] + 0.1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"bias_init": -1}, r"rare \(6 rows\); --class-weight balanced weighs rare ones up"),
        ({"bias_init": 1}, r"often \(114 rows\); more --epochs or another --learning-rate may help"),
        ({"dataset": "iris"}, r"\w+ \(10 rows\), \w+ \(10 rows\); more --epochs or another --learning-rate may help"),
    ],
)
def test_a_class_that_is_never_found_is_noted(tmp_path, settings, said):
    untrained = {"epochs": 1, "learning_rate": 1e-9, "init": "zeros"}
    lines = report.result_lines(train_and_test(Config(**rare(tmp_path) | untrained | settings)))
    assert any(re.fullmatch(f"Note +no test row is found of {said}", line) for line in lines)


def test_a_class_that_is_found_is_not_noted():
    lines = report.result_lines(train_and_test(Config(dataset="iris", epochs=20)))
    assert not any("no test row" in line for line in lines)


def test_classes_are_weighed_of_a_classification_only():
    with pytest.raises(InputError, match="class_weight is for classification, and the target makes this regression"):
        prepare(Config(dataset="diabetes", class_weight="balanced"))


@pytest.mark.parametrize(("dataset", "loss"), [("diabetes", "poisson"), ("iris", "cross_entropy")])
def test_a_target_that_is_not_to_be_scaled(dataset, loss):
    for target_scale in ("auto", "none"):
        model = train_and_test(Config(dataset=dataset, epochs=1, loss=loss, target_scale=target_scale)).model
        assert model.target_shift is model.target_factor is None
    with pytest.raises(InputError, match=f"target_scale is 'standard', and loss '{loss}' takes its target as it is"):
        prepare(Config(dataset=dataset, loss=loss, target_scale="standard"))


def test_a_target_too_wide_to_be_scaled(tmp_path):
    np.savez(tmp_path / "wide.npz", x=np.ones((50, 2)), y=np.linspace(-1e200, 1e200, 50))
    with pytest.raises(InputError, match="target_scale is 'standard', but the values of target 'y' are too far apart"):
        prepare(Config(dataset=str(tmp_path / "wide.npz")))


@pytest.mark.parametrize("target", ["rent", "price,rent"])
def test_a_target_too_wide_to_be_scaled_is_told_by_its_name(tmp_path, target):
    path = tmp_path / "wide.csv"
    path.write_text("area,price,rent\n" + "".join(f"{i},{2 * i},{i}e200\n" for i in range(50)))
    with pytest.raises(InputError, match="the values of target 'rent' are too far apart"):
        prepare(Config(dataset=str(path), target=target))


def test_smoothed_labels():
    outcome = train_and_test(Config(dataset="iris", hidden=(8,), epochs=3, label_smoothing=0.3, dtype="float64"))
    log_p = np.log(outcome.model.predict_proba(prepare(Config(dataset="iris")).data.x_test))
    expected = -(0.7 * log_p[np.arange(30), outcome.truth] + 0.1 * log_p.sum(1)).mean()
    assert outcome.metrics["test_loss"] == pytest.approx(expected, rel=1e-10)


def test_a_run_and_its_copy_are_two():
    """Field by field, NumPy would refuse to compare them."""
    prepared = prepare(Config(dataset="digits", hidden=(), epochs=1))
    outcome = train_and_test(prepared)
    for one in (outcome, outcome.model, outcome.run, prepared, prepared.data):
        assert one != copy.copy(one)
        assert len({one, one}) == 1


def test_an_outcome_can_be_sent_elsewhere_and_holds_no_rows():
    prepared = prepare(Config(dataset="digits", hidden=(4,), epochs=2, warmup=1, label_smoothing=0.1))
    outcome = train_and_test(prepared)
    sent = pickle.dumps(outcome)
    assert len(sent) < prepared.data.x_train.nbytes
    again = pickle.loads(sent)
    assert again.metrics == outcome.metrics
    assert again.run.history == outcome.run.history
    x = prepared.data.x_test
    np.testing.assert_array_equal(again.model.predict_proba(x), outcome.model.predict_proba(x))


def test_few_test_rows_are_noted_with_how_far_to_trust_them():
    outcome = train_and_test(Config(dataset="iris", hidden=(4,), epochs=20))
    (note,) = [line for line in report.result_lines(outcome) if "test rows, that" in line]
    # Wilson's interval, as in Newcombe, Statistics in Medicine 17 (1998), p. 857, method 3.
    p, n, z = outcome.metrics["test_accuracy"], 30, 1.959964
    middle, half = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = ((middle + sign * half) / (1 + z**2 / n) for sign in (-1, 1))
    assert f"with 30 test rows, that accuracy is between {low:.0%} and {high:.0%} (95 % confidence)" in note
    many = train_and_test(Config(dataset="breast-cancer", hidden=(), epochs=1))
    # The interval is that of independent rows.
    settings = outcome.model.config | {"group": "flower"}
    grouped = dataclasses.replace(outcome, model=dataclasses.replace(outcome.model, config=settings))
    assert not any("test rows, that" in line for each in (many, grouped) for line in report.result_lines(each))


def test_rows_of_probabilities_near_1_are_ranked(tmp_path, rng):
    """Above logits of 17, all probabilities are 1 in float32."""
    x = 100 * rng.normal(size=(400, 1))
    np.savez(tmp_path / "a.npz", x=x, y=(x[:, 0] + 100 * rng.normal(size=400) > 0).astype(int))
    settings = {"hidden": (), "epochs": 1, "learning_rate": 1e-6, "scale": "none", "test_fraction": 0.5}
    config = Config(dataset=str(tmp_path / "a.npz"), **settings, bias_init=0, init="normal", init_std=1)
    prepared = prepare(config)
    outcome = train_and_test(prepared)
    z = outcome.model.logits(prepared.data.x_test)[:, 0].astype(float)
    assert np.count_nonzero(z > 17) > 10
    for name, figure in (("roc_auc", metrics.roc_auc_score), ("average_precision", metrics.average_precision_score)):
        assert outcome.metrics[f"test_{name}"] == pytest.approx(figure(outcome.truth, z))


def test_a_prompt_shows_an_outcome_and_its_run_in_a_line():
    outcome = train_and_test(
        Config(dataset="digits", hidden=(16, 8), activation=("relu", "tanh"), epochs=3),
        [LambdaCallback(on_epoch_end=lambda run, record: run.stop("enough"))],
    )
    model = "Model(classification, 64-16-8-10, relu, tanh, loss cross_entropy)"
    loss, accuracy, f1 = (outcome.metrics[f"test_{name}"] for name in ("loss", "accuracy", "f1_weighted"))
    figures = f"loss {loss:.4f}, accuracy {accuracy:.2%}, weighted F1 {f1:.4f}"
    assert repr(outcome) == f"Outcome({model}, {figures} on 360 test rows; stopped: enough in epoch 1)"
    assert repr(outcome.run) == f"Run(1 of 3 epochs, loss {outcome.run.history[0]['loss']:.4f}; stopped: enough)"
    untested = train_and_test(Config(dataset="digits", hidden=(), epochs=1, test_fraction=0))
    assert repr(untested) == "Outcome(Model(classification, 64-10, loss cross_entropy), no test rows)"
    assert repr(untested.run) == f"Run(1 of 1 epoch, loss {untested.run.history[0]['loss']:.4f})"


def test_a_prompt_shows_a_prepared_run_in_a_line():
    prepared = prepare(Config(dataset="digits", hidden=(8,), activation="tanh", epochs=3, validation_fraction=0))
    data = "DataSet(digits, classification, x_train uint8 (1437, 64), y_train int64 (1437,), "
    data += "x_test uint8 (360, 64), y_test int64 (360,))"
    assert repr(prepared.data) == data
    assert repr(prepared) == f"Prepared({data}, 64-8-10, tanh, loss cross_entropy, 3 epochs, numpy on cpu)"


@pytest.mark.parametrize("given", ["digits", {"dataset": "digits"}, None])
def test_what_is_no_config(given):
    for run in (train_and_test, cross_validate):
        with pytest.raises(InputError, match=f"^the settings of a run are {re.escape(repr(given))}; allowed: a Config"):
            run(given)


def test_arrays_in_place_of_a_config(rng):
    x, y = rng.normal(size=(20, 3)), np.arange(20) % 2
    said = r"settings of a run are 'ndarray of shape \(20, 3\)'; .*; for arrays, take MLPClassifier or MLPRegressor"
    for run in (train_and_test, cross_validate):
        with pytest.raises(InputError, match=said):
            run(x, y)
    with pytest.raises(InputError, match=r"settings of a run are MLPClassifier\(\); allowed"):
        cross_validate(MLPClassifier(), x, y)


def test_what_is_no_checkpoint_and_no_hook():
    with pytest.raises(InputError, match="a path is of type int"):
        train_and_test(Config(dataset="iris"), resume=3)
    for name in ("on_fold_begin", "on_fold_end"):
        with pytest.raises(InputError, match=f"^{name} is 'print'; allowed: a function of one argument, or None"):
            cross_validate(Config(dataset="iris"), **{name: "print"})


@pytest.mark.parametrize(
    ("given", "message"),
    [(EarlyStopping(), "allowed: a sequence"), ([EarlyStopping], "allowed: instances"), ("ab", "holds 'a'; allowed")],
)
def test_what_are_no_callbacks(given, message):
    for run in (train_and_test, cross_validate):
        with pytest.raises(InputError, match=f"^callbacks .*{message}"):
            run(Config(dataset="iris"), callbacks=given)


@pytest.mark.parametrize("scale", ["none", "minmax", "standard"])
def test_numbers_too_small_are_zero_even_where_numpy_raises_an_error_for_them(tmp_path, rng, scale):
    x = rng.normal(size=(60, 3))
    np.savez(tmp_path / "a.npz", x=1e-300 * x, y=(x[:, 0] > 0).astype(int))
    config = Config(dataset=str(tmp_path / "a.npz"), hidden=(4,), epochs=2, scale=scale, device="cpu")
    expected = train_and_test(config)
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(train_and_test(config).model.params, expected.model.params)
