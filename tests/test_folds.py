"""Cross-validation against scikit-learn's, and the command ``mlpgpu cross-validate``."""

import csv
import json
import os
import re
import signal
import tracemalloc
import weakref

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.metrics import confusion_matrix, f1_score, r2_score, root_mean_squared_error
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import mlpgpu.data
from mlpgpu import Config, InputError, MLPClassifier, MLPRegressor, cross_validate, cross_validation, train
from mlpgpu.callbacks import LambdaCallback, TimeLimit
from mlpgpu.data.split import in_folds
from mlpgpu.folds import CrossValidation
from mlpgpu.maths.parameters import split
from mlpgpu.training import initial

PLAIN = {"dropout": (0.0,), "input_dropout": 0.0, "validation_fraction": 0.0}


@pytest.fixture
def drawing_command(command_of):
    return command_of(cross_validation.app)


@pytest.fixture
def command(drawing_command, unrendered):
    return drawing_command


def written(folder):
    """Return the rows of ``predictions.csv`` and the content of ``metrics.json``."""
    with (folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file)), json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("dataset", "read", "estimator", "splitter", "n_outputs"),
    [
        ("iris", load_iris, MLPClassifier, StratifiedKFold, 3),
        ("breast-cancer", load_breast_cancer, MLPClassifier, StratifiedKFold, 1),
        ("diabetes", load_diabetes, MLPRegressor, KFold, 1),
    ],
)
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_it_predicts_what_a_pipeline_predicts(dataset, read, estimator, splitter, n_outputs):
    x, y = read(return_X_y=True)
    settings = {"epochs": 8, "batch_size": 16, "shuffle": False, "schedule": "constant", "learning_rate": 0.01}
    config = Config(
        dataset=dataset, hidden=(6,), target_scale="none", dtype="float64", backend="numpy", seed=3, **settings, **PLAIN
    )
    found = cross_validate(config, 4)

    sizes = (x.shape[1], 6, n_outputs)
    same = estimator(
        hidden_layer_sizes=(6,),
        init=split(np, initial.draw(sizes, ["he_uniform", "glorot_uniform"], 3), sizes),
        alpha=0,
        batch_size=16,
        shuffle=False,
        learning_rate_init=0.01,
        max_iter=8,
        n_iter_no_change=9,
        optimizer="adam",
        backend="numpy",
    )
    folds = splitter(4, shuffle=True, random_state=3)
    expected = cross_val_predict(make_pipeline(StandardScaler(), same), x, y, cv=folds)
    np.testing.assert_allclose(found.predictions.ravel(), expected, rtol=1e-9)
    np.testing.assert_array_equal(found.rows, np.arange(len(x)))
    np.testing.assert_array_equal(found.truth.ravel(), y)
    for fold, (_, test) in zip(found.folds, folds.split(x, y), strict=True):
        np.testing.assert_array_equal(fold.rows, test)
    for number, (_, test) in enumerate(folds.split(x, y), 1):
        assert set(found.fold_of_row[test]) == {number}


def test_figures_are_means_over_the_folds():
    found = cross_validate(Config(dataset="iris", hidden=(4,), epochs=30, learning_rate=0.05), 3)
    accuracy = [np.mean(found.predictions[fold.rows] == found.truth[fold.rows]) for fold in found.folds]
    f1 = [f1_score(found.truth[fold.rows], found.predictions[fold.rows], average="macro") for fold in found.folds]
    assert 0.5 < np.mean(accuracy) < 1
    assert found.mean["test_accuracy"] == pytest.approx(np.mean(accuracy))
    assert found.std["test_accuracy"] == pytest.approx(np.std(accuracy))
    assert found.mean["test_f1_macro"] == pytest.approx(np.mean(f1))
    np.testing.assert_array_equal(found.confusion, confusion_matrix(found.truth, found.predictions))
    assert found.metrics["complete"]
    assert [one["n_test"] for one in found.metrics["by_fold"]] == [50, 50, 50]


def test_a_prompt_shows_the_figures_in_a_line():
    found = cross_validate(Config(dataset="iris", hidden=(4,), epochs=2), 3, [_interrupting(3)])
    mean, std = found.mean["test_accuracy"], found.std["test_accuracy"]
    assert repr(found).startswith("CrossValidation(2 of 3 folds, loss ")
    assert f", accuracy {mean:.2%} ± {std:.2%}, " in repr(found)
    assert repr(found.folds[0]) == f"Fold(outcome={found.folds[0].outcome!r})"
    assert repr(CrossValidation(3, ())) == "CrossValidation(0 of 3 folds)"


def test_the_command_writes_what_it_found(drawing_command, tmp_path):
    code, out, err = drawing_command("--dataset iris --hidden 4 --epochs 30 --folds 3 --out found")
    assert (code, err) == (0, "")
    rows, metrics = written(tmp_path / "found")
    assert [one["true"] for one in rows] == [load_iris().target_names[code] for code in load_iris().target]
    assert [int(one["row"]) for one in rows] == [*range(1, 151)]
    right = [one["true"] == one["predicted"] for one in rows]
    assert metrics["mean"]["test_accuracy"] == pytest.approx(np.mean(right))
    assert (tmp_path / "found/confusion.png").read_bytes()[:4] == b"\x89PNG"
    lines = out.splitlines()
    assert [line[:6] for line in lines if line.startswith("Fold ")] == ["Fold 1", "Fold 2", "Fold 3"]
    (mean,) = [line for line in lines if line.startswith("Mean ")]
    assert f"accuracy {np.mean(right):.2%} ± {metrics['std']['test_accuracy']:.2%}" in mean
    assert lines[-1] == (
        "Train     a model to keep by mlpgpu train --dataset iris --hidden 4 --epochs 30 --test-fraction 0"
    )


def table_of(path, rng, n_rows=60):
    """Write a table with two numeric targets and two labels, and return these four columns."""
    x = rng.normal(size=(n_rows, 3)).round(3)
    price, size = (x @ rng.normal(size=(3, 2))).round(3).T
    red, big = np.where(x[:, 0] > 0, "yes", "no"), np.where(size > 0, "big", "small")
    names = ["a", "b", "c", "price", "size", "red", "large"]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([names, *zip(*x.T, price, size, red, big, strict=True)])
    return {"price": price, "size": size, "red": red, "large": big}


def test_several_targets_and_labels(command, tmp_path, rng):
    truth = table_of(tmp_path / "rows.csv", rng)
    assert not command(
        "--dataset rows.csv --target price,size --drop red,large --hidden 4 --epochs 5 --folds 3 --out numbers"
    )[0]
    rows, metrics = written(tmp_path / "numbers")
    folds = np.array([int(one["fold"]) for one in rows])
    for name in ("price", "size"):
        true, predicted = (np.array([float(one[f"{what} {name}"]) for one in rows]) for what in ("true", "predicted"))
        np.testing.assert_array_equal(true, truth[name])
        for figure, of in (("rmse", root_mean_squared_error), ("r2", r2_score)):
            each = [of(true[folds == fold], predicted[folds == fold]) for fold in (1, 2, 3)]
            assert metrics["mean"]["test_targets"][name][figure] == pytest.approx(np.mean(each))
    assert (tmp_path / "numbers/predictions.png").exists()

    of_labels = "--dataset rows.csv --target red,large --drop price,size --hidden 4 --epochs 5 --folds 3"
    code, out, _ = command(f"{of_labels} --out labels --quiet --json")
    rows, metrics = written(tmp_path / "labels")
    assert code == 0
    assert json.loads(out) == {**metrics, "out": "labels"}
    for name in ("red", "large"):
        np.testing.assert_array_equal([one[f"true {name}"] for one in rows], truth[name])
    n_rows = {name: figures["n_rows"] for name, figures in metrics["mean"]["test_targets"].items()}
    assert n_rows == {"red": np.sum(truth["red"] == "yes"), "large": np.sum(truth["large"] == "small")}
    right = [all(one[f"true {name}"] == one[f"predicted {name}"] for name in ("red", "large")) for one in rows]
    assert metrics["mean"]["test_accuracy"] == pytest.approx(np.mean(right))


def test_test_rows_of_the_set_are_in_the_folds(tmp_path, rng):
    x, y = rng.normal(size=(40, 3)), np.arange(40) % 2
    x[:, 0] = np.arange(40)
    path = tmp_path / "rows.npz"
    np.savez(path, x_train=x[:30], y_train=y[:30], x_test=x[30:], y_test=y[30:])
    found = cross_validate(Config(dataset=str(path), hidden=(), epochs=1), 4)
    np.testing.assert_array_equal(found.truth, y)
    assert sorted(np.concatenate([fold.rows for fold in found.folds])) == [*range(40)]
    assert [one["n_train"] + one["n_validation"] + one["n_test"] for one in found.metrics["by_fold"]] == [40] * 4


def test_rows_that_stay_in_their_file_are_tested_on_in_their_order(tmp_path, rng):
    x, path = rng.normal(size=(40, 3)).astype(np.float32), tmp_path / "x.npy"
    np.save(path, x)
    np.save(tmp_path / "y.npy", x[:, 0])
    settings = {"dataset": str(path), "target": str(tmp_path / "y.npy"), "hidden": (), "epochs": 2, "shuffle": False}
    mapped, read = (cross_validate(Config(**settings, memory_map=way, **PLAIN), 4) for way in ("always", "never"))
    np.testing.assert_array_equal(mapped.truth[:, 0], x[:, 0])
    np.testing.assert_allclose(mapped.predictions, read.predictions, rtol=1e-4)


def _interrupting(fold, number=signal.SIGINT):
    """Return a callback that sends SIGINT, or another signal, in the first epoch of the `fold`-th fold that begins."""
    begun = []

    def on_epoch_end(run, record):
        if run.epoch == 1:
            begun.append(run)
            if len(begun) == fold:
                os.kill(os.getpid(), number)

    return LambdaCallback(on_epoch_end=on_epoch_end)


def test_ctrl_c_keeps_the_folds_that_are_done():
    config = Config(dataset="iris", hidden=(4,), epochs=50)
    found = cross_validate(config, 5, [_interrupting(3)])
    assert (len(found.folds), found.signal) == (2, signal.SIGINT)
    assert not found.metrics["complete"]
    assert len(found.predictions) == len(found.rows) == 60
    np.testing.assert_array_equal(found.truth, load_iris().target[found.rows])
    with pytest.raises(KeyboardInterrupt):
        cross_validate(config, 5, [_interrupting(1)])


def test_another_signal_in_the_first_fold_is_for_the_process():
    came = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        with pytest.raises(KeyboardInterrupt):
            cross_validate(Config(dataset="iris", hidden=(4,), epochs=50), 5, [_interrupting(1, signal.SIGTERM)])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == [signal.SIGTERM]


def test_ctrl_c_between_two_folds_keeps_those_that_are_done():
    def interrupted_before(fold):
        begun = []

        def on_fold_begin(prepared):
            begun.append(prepared)
            if len(begun) == fold:
                signal.raise_signal(signal.SIGINT)

        return cross_validate(Config(dataset="iris", hidden=(4,), epochs=1), 5, on_fold_begin=on_fold_begin)

    found = interrupted_before(3)
    assert (len(found.folds), found.signal) == (2, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupted_before(1)


def test_ctrl_c_while_a_fold_is_told_of_leaves_its_figures_with_its_predictions(command, tmp_path, monkeypatch):
    def line(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cross_validation, "_line", line)
    code, out, _ = command("--dataset iris --hidden 4 --epochs 1 --folds 3 --out found")
    rows, metrics = written(tmp_path / "found")
    assert (code, len(rows), metrics["n_rows"]) == (130, 50, 50)
    assert "Stopped   after 1 of 3 folds" in out


def timeless(found):
    """Return the metrics of a cross-validation without times and speeds."""
    by_fold = [{k: v for k, v in one.items() if "second" not in k} for one in found["by_fold"]]
    return found | {"by_fold": by_fold}


@pytest.mark.parametrize(
    "settings",
    [
        {"dataset": "iris", "epochs": 3, "normalization": ("batch",), "class_weight": "balanced"},
        {"dataset": "diabetes", "epochs": 40, "early_stopping": True, "patience": 1, "learning_rate": 0.3},
    ],
)
def test_the_same_call_again_goes_on_where_it_was_stopped(tmp_path, settings):
    config = Config(**settings, hidden=(4,), checkpoint_every="none")
    whole = cross_validate(config, 3)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(config, 3, [_interrupting(1)], checkpoints=tmp_path)
    # The first fold continues with its second epoch, so the signal comes in the second fold.
    part = cross_validate(config, 3, [_interrupting(1)], checkpoints=tmp_path)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["fold-1", "fold-2"]
    assert len(part.folds) == 1
    begun = []
    counting = LambdaCallback(on_epoch_begin=lambda run: begun.append(run.epoch))
    for trained in (True, False):
        begun.clear()
        found = cross_validate(config, 3, [counting], checkpoints=str(tmp_path))
        # The first call trains the second fold from its second epoch and the third fold; the second call, nothing.
        epochs = [one["epochs"] for one in found.metrics["by_fold"]]
        assert begun == ([*range(2, epochs[1] + 1), *range(1, epochs[2] + 1)] if trained else [])
        np.testing.assert_array_equal(found.predictions, whole.predictions)
        assert timeless(found.metrics) == timeless(whole.metrics)
    with pytest.raises(InputError, match="the training rows are not those of the checkpoint"):
        cross_validate(config, 4, checkpoints=tmp_path)


def test_a_fold_whose_last_checkpoint_is_damaged_goes_on_from_the_one_before_it(tmp_path):
    config = Config(dataset="iris", hidden=(4,), epochs=4, checkpoint_every="1")
    whole = cross_validate(config, 2, checkpoints=tmp_path)
    last = tmp_path / "fold-2/last.safetensors"
    last.write_bytes(last.read_bytes()[:1000])
    before = last.with_name("previous.safetensors")
    said = f"the one before it is {before}: go on from that one, or move {last.name} away"
    with pytest.raises(InputError, match=re.escape(said)):
        cross_validate(config, 2, checkpoints=tmp_path)
    last.unlink()
    found = cross_validate(config, 2, checkpoints=tmp_path)
    np.testing.assert_array_equal(found.predictions, whole.predictions)


def test_a_fold_whose_time_is_up_counts():
    found = cross_validate(Config(dataset="iris", hidden=(4,), epochs=50), 3, [TimeLimit(1e-9)])
    assert [fold.outcome.run.stopped for fold in found.folds] == ["time limit"] * 3
    assert (found.signal, len(found.predictions)) == (0, 150)


@pytest.mark.parametrize("by_command", [False, True])
def test_rows_of_a_fold_are_let_go_of_before_the_next_are_taken(command, monkeypatch, by_command):
    taken, left, split_up = [], [], mlpgpu.data._split

    def spied(*given):
        left.append([ref() for ref in taken if ref() is not None])
        taken.append(weakref.ref(found := split_up(*given)))
        return found

    monkeypatch.setattr(mlpgpu.data, "_split", spied)
    if by_command:
        assert command("--dataset iris --hidden 4 --epochs 1 --folds 3")[0] == 0
    else:
        cross_validate(Config(dataset="iris", hidden=(4,), epochs=1), 3)
    assert left == [[], [], []]


def test_many_folds_take_no_memory_beside_that_of_the_rows():
    tracemalloc.start()
    try:
        parts, _ = in_folds(1000, None, 1000, 0)
        assert sorted(test.item() for _, test in parts) == [*range(1000)]
        # The numbers of the training rows of all folds would take 8 MB.
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


def test_the_command_says_where_it_was_stopped(command, tmp_path, monkeypatch):
    interrupting = _interrupting(2)
    monkeypatch.setattr("mlpgpu.callbacks.LambdaCallback", lambda **_: interrupting)
    settings = "--dataset iris --hidden 4 --epochs 5 --folds 4"
    code, out, _ = command(f"{settings} --out found")
    assert code == 130
    assert "Stopped   after 1 of 4 folds" in out
    assert out.splitlines()[-1] == "Resume    go on with it by mlpgpu cross-validate --resume found"
    metrics = json.loads((tmp_path / "found/metrics.json").read_text())
    assert (metrics["complete"], len(metrics["by_fold"])) == (False, 1)

    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert command(f"{settings} --out whole")[0] == 0
    code, out, _ = command("--resume found")
    assert code == 0
    assert [line[:6] for line in out.splitlines() if line.startswith("Fold ")] == [f"Fold {i}" for i in (1, 2, 3, 4)]
    assert out.splitlines()[-1].endswith("by mlpgpu train --dataset iris --hidden 4 --epochs 5 --test-fraction 0")
    rows, metrics = written(tmp_path / "found")
    assert rows == written(tmp_path / "whole")[0]
    assert timeless(metrics) == timeless(written(tmp_path / "whole")[1])
    found, whole = ({path.name for path in (tmp_path / name).iterdir()} for name in ("found", "whole"))
    assert found == whole

    said = "Complete  the cross-validation in found is finished, and its results are there\n"
    assert command("--resume found") == (0, said, "")
    assert json.loads(command("--resume found --json")[1]) == {**metrics, "out": "found"}


def test_ctrl_c_in_the_first_fold_says_how_to_go_on(command, tmp_path, monkeypatch):
    interrupting = _interrupting(1)
    monkeypatch.setattr("mlpgpu.callbacks.LambdaCallback", lambda **_: interrupting)
    code, out, err = command("--dataset iris --hidden 4 --epochs 5 --folds 4 --out found --quiet")
    assert (code, err) == (130, "error: interrupted\n")
    assert out == "Resume    go on with it by mlpgpu cross-validate --resume found\n"
    assert (tmp_path / "found/checkpoints/fold-1/last.safetensors").exists()


def test_classes_that_are_rare(tmp_path, rng, command):
    x, y = rng.normal(size=(30, 2)), np.repeat(["a", "b", "c"], [18, 9, 3])
    np.savez(tmp_path / "rows.npz", x=x, y=y)
    code, out, err = command("--dataset rows.npz --target y --hidden 3 --epochs 1 --folds 5")
    assert (code, err) == (0, "")
    assert "Note      folds: fewer than 5 rows in 1 of 3 classes, and some folds have none of them" in out
    assert "without regard to" not in command("--dataset rows.npz --target y --hidden 3 --epochs 1 --folds 18")[1]
    code, out, _ = command("--dataset rows.npz --target y --hidden 3 --epochs 1 --folds 20")
    assert "Note      folds: rows drawn without regard to class, as no class has 20 rows" in out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--folds 151", "folds is 151, for 150 rows; allowed: at most a fold a row; lower it"),
        ("--folds 1", "folds is '1'; allowed: a whole number from 2 up"),
        ("--cv 5", "--cv is not a flag of this command; did you mean --folds?"),
        ("--test-fraction 0.1", "--test-fraction is a flag of mlpgpu train, and not of this command; leave it out"),
        ("--test-data a.csv", "--test-data is a flag of mlpgpu train, and not of this command; leave it out"),
        (
            "--out run",
            "out run holds a run already; choose another folder, remove that one, or go on with it by mlpgpu train "
            "--resume run",
        ),
        (
            "--out found",
            "out found holds a cross-validation already; choose another folder, remove that one, or go on with it by "
            "mlpgpu cross-validate --resume found",
        ),
        (
            "--resume found --out other",
            "resume brings the settings and the folder of its folds; leave out config and out",
        ),
        (
            "--resume run",
            "resume is run, which is of a run; go on with it by mlpgpu train --resume run",
        ),
        (
            "--resume nowhere",
            "resume is nowhere, which is neither the folder of a cross-validation nor one of its checkpoints",
        ),
    ],
)
def test_what_cannot_be_used_is_said_in_a_line(command, tmp_path, line, said):
    for folder, file in (("run", "config.toml"), ("found", "folds.toml")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).touch()
    assert command(f"--dataset iris --epochs 1 {line}") == (2, "", f"error: {said}\n")


def test_settings_of_a_cross_validation_that_is_gone_on_with_stay(command, tmp_path):
    (tmp_path / "found").mkdir()
    (tmp_path / "found/folds.toml").write_text('dataset = "iris"\nfolds = 3\n')
    code, out, err = command("--resume found --folds 4")
    assert (code, out) == (2, "")
    assert err.startswith("error: folds is 4, and the run to resume has 3; leave it as it was")


def test_folds_are_checked_from_python_too():
    with pytest.raises(InputError, match="folds is 2.5; allowed: a whole number from 2 up"):
        cross_validate(Config(dataset="iris"), 2.5)


def test_settings_of_a_run_are_taken(command, tmp_path):
    (tmp_path / "run.toml").write_text('dataset = "iris"\nhidden = [3]\nepochs = 1\ntest_fraction = 0.5\n')
    code, out, _ = command("--config run.toml --folds 2 --json --quiet")
    assert code == 0
    assert [one["n_test"] for one in json.loads(out)["by_fold"]] == [75, 75]


def test_layers_other_than_those_of_the_model_to_start_from_are_part_of_the_command_to_train(command):
    assert not command("--dataset iris --hidden 256 --epochs 1 --run-dir run", train.app)[0]
    for given in ("--hidden 256,256 --activation relu ", ""):
        code, out, _ = command(f"--dataset iris {given}--start-from run --epochs 1 --folds 2")
        assert code == 0
        assert out.endswith(f"mlpgpu train --dataset iris {given}--start-from run --epochs 1 --test-fraction 0\n")


@pytest.mark.parametrize(("other", "noted"), [("iris", True), ("synthetic --features 4 --classes 3", False)])
def test_a_model_to_start_from_may_know_the_rows(command, other, noted):
    assert not command(f"--dataset {other} --hidden 3 --epochs 1 --run-dir run", train.app)[0]
    code, out, _ = command("--dataset iris --hidden 3 --epochs 1 --folds 2 --start-from run")
    assert code == 0
    said = "the model to start from was trained on this set: it may have learned from rows that are tested on here"
    assert (f"Note      {said}\n" in out) == noted


def test_a_fold_that_diverges_is_named(command):
    code, _, err = command(
        "--dataset diabetes --hidden 3 --optimizer sgd --learning-rate 1e30 --on-divergence stop --folds 2"
    )
    assert code == 1
    assert err.startswith("error: fold 1: the loss is ")


@pytest.mark.parametrize(("folds", "more"), [(2, ""), (4, "; 2 folds more diverged")])
def test_a_fold_that_goes_back_to_its_best_weights_is_named(command, monkeypatch, folds, more):
    begun = []

    def on_epoch_end(run, record):
        begun.extend([run] * (run.epoch == 1))
        if len(begun) > 1 and run.epoch == 3:
            run.learning_rate = 1e30

    monkeypatch.setattr("mlpgpu.callbacks.LambdaCallback", lambda **_: LambdaCallback(on_epoch_end=on_epoch_end))
    of_run = "--dataset diabetes --hidden 3 --optimizer sgd --schedule constant --epochs 6 --on-divergence stop"
    code, _, err = command(f"{of_run} --folds {folds} --quiet --json")
    assert code == 1
    assert err.startswith("error: fold 2: the loss is ")
    assert err.endswith(f"; it was tested with the weights of epoch 3{more}\n")
    assert err.count("\n") == 1


def test_folds_that_diverge_before_their_first_checkpoint_leave_none_to_remove(command, tmp_path, monkeypatch):
    def on_epoch_end(run, record):
        run.learning_rate = 1e30

    monkeypatch.setattr("mlpgpu.callbacks.LambdaCallback", lambda **_: LambdaCallback(on_epoch_end=on_epoch_end))
    code, out, err = command("--dataset diabetes --hidden 3 --epochs 3 --on-divergence stop --folds 2 --out cv")
    assert code == 1
    assert "; it was tested with the weights of epoch 1; 1 fold more diverged" in err
    assert "Mean      loss" in out
    assert not (tmp_path / "cv" / "checkpoints").exists()


@pytest.mark.filterwarnings("error")
def test_figures_of_a_fold_that_are_none(command, tmp_path, rng, monkeypatch):
    x = rng.normal(size=(7, 2))
    y = x.sum(axis=1)
    np.savez(tmp_path / "rows.npz", x=x, y=y, two=np.column_stack([y, -y]))
    # R² is undefined for a single row, and so is a mean that includes it.
    for target in ("y", "two"):
        code, out, _ = command(f"--dataset rows.npz --target {target} --hidden 2 --epochs 1 --folds 5 --out {target}")
        metrics = written(tmp_path / target)[1]
        assert code == 0
        assert re.search("^Mean .*R² undefined$", out, re.MULTILINE)
        assert [one["test_r2"] is None for one in metrics["by_fold"]] == [False, False, True, True, True]
        assert metrics["mean"]["test_r2"] is metrics["std"]["test_r2"] is None
        assert metrics["std"]["test_rmse"] > 0
    titles = []
    monkeypatch.setattr("mlpgpu.results.run_folder.draw_tested", lambda *_, title: titles.append(title))
    of_run = "--dataset rows.npz --target y --hidden 2 --epochs 1"
    assert "R² undefined on 1 row of rows\n" in command(f"{of_run} --test-fraction 0.1", train.app)[1]
    assert titles == ["rows, 2-2-1: test R² undefined"]
    code, out, _ = command(f"{of_run} --folds 7")
    assert "R² undefined on 1 row;" in out

    x[3] = 1e36
    np.savez(tmp_path / "far.npz", x=x, y=y)
    code, out, _ = command("--dataset far.npz --target y --hidden none --epochs 1 --folds 3 --validation-fraction 0")
    assert code == 0
    assert "Mean      loss inf ± nan" in out


def test_a_fold_of_one_class_has_no_roc_auc_and_is_seen(command, tmp_path, rng):
    np.savez(tmp_path / "rare.npz", x=rng.normal(size=(20, 2)), y=np.arange(20) < 2)
    code, out, _ = command("--dataset rare.npz --hidden none --epochs 1 --folds 3 --out found")
    metrics = written(tmp_path / "found")[1]
    assert code == 0
    assert out.count("ROC AUC undefined on") == [one["test_roc_auc"] for one in metrics["by_fold"]].count(None) == 1
    assert re.search("^Mean .*ROC AUC undefined$", out, re.MULTILINE)
    assert metrics["mean"]["test_roc_auc"] is metrics["std"]["test_roc_auc"] is None


def test_the_title_of_the_picture_has_an_r2_of_any_size_in_few_digits(command, tmp_path, rng, monkeypatch):
    """And says if rows are weighted."""
    titles = []
    monkeypatch.setattr("mlpgpu.results.run_folder.draw_tested", lambda *_, title: titles.append(title))
    x, y = rng.normal(size=(12, 2)), 1 + 1e-7 * rng.normal(size=12)
    y[4] = 50
    np.savez(tmp_path / "rows.npz", x=x, y=y, w=np.ones(12))
    for name, more, by in (("found", "", ""), ("weighted", " --sample-weight w", ", by weight")):
        assert not command(f"--dataset rows.npz --target y --hidden none --epochs 1 --folds 3 --out {name}{more}")[0]
        metrics = written(tmp_path / name)[1]
        mean, std = metrics["mean"]["test_r2"], metrics["std"]["test_r2"]
        assert mean < -1e9
        assert titles.pop() == f"rows, 2-1, 3 folds: R² {mean:.4g} ± {std:.4g}{by}"
