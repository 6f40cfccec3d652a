"""Runs that start from a trained model."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier as Theirs
from sklearn.preprocessing import scale

from mlpgpu import Config, InputError, MLPClassifier, Model, train_and_test
from mlpgpu.callbacks import Callback, RunCheckpoint
from mlpgpu.maths.parameters import split
from mlpgpu.prepared import prepare
from mlpgpu.training import initial

EXACT = {"dtype": "float64", "dropout": 0.0, "input_dropout": 0.0, "batch_size": "full", "validation_fraction": 0}
IRIS = {"dataset": "iris", "hidden": (8, 6), "activation": "tanh", **EXACT}


def layers_of(model):
    return split(np, model.params, model.sizes)


def start_of(prepared):
    """Return the weights and biases that a run starts from."""
    return split(np, prepared.plan.params, prepared.plan.network.sizes)


def same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


@pytest.fixture(scope="module")
def iris(tmp_path_factory):
    """Path of a model trained on iris, and the model."""
    path = tmp_path_factory.mktemp("iris") / "iris.safetensors"
    model = train_and_test(Config(**IRIS, epochs=30)).model
    model.save(path)
    return path, model


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_the_first_loss_is_that_of_the_model(iris, backend):
    pytest.importorskip(backend, reason="PyTorch is not installed")
    path, model = iris
    prepared = prepare(Config(**IRIS, epochs=2, start_from=path, backend=backend, device="cpu"))
    outcome = train_and_test(prepared)
    y, (*hidden, (w, b)) = (prepared.data.x_train - model.shift) * model.factor, layers_of(model)
    for w_below, b_below in hidden:
        y = np.tanh(y @ w_below + b_below)
    expected = -log_softmax(y @ w + b, axis=1)[np.arange(len(y)), prepared.data.y_train].mean()
    assert outcome.run.history[0]["loss"] == pytest.approx(expected, rel=1e-12)
    assert outcome.run.history[1]["loss"] < expected < 0.8
    assert outcome.metrics["start_from"] == outcome.model.config["start_from"] == str(path)


@pytest.mark.parametrize("optimizer", ["adamw", "lion", "momentum"])
def test_frozen_layers_keep_their_bits(iris, optimizer):
    path, model = iris
    more = {"optimizer": optimizer, "weight_decay": 0.1, "l2": 0.1, "clip_norm": 1, "dropout": 0.2, "batch_size": 32}
    ours = layers_of(train_and_test(Config(**(IRIS | more), epochs=2, start_from=path, freeze=2)).model)
    same(ours[:2], layers_of(model)[:2])
    assert not np.array_equal(ours[2][0], layers_of(model)[2][0])


def test_layers_may_be_frozen_as_they_are_drawn():
    config = Config(**IRIS, epochs=2, freeze=1)
    ours, drawn = layers_of(train_and_test(config).model), start_of(prepare(config))
    same(ours[:1], drawn[:1])
    assert not np.array_equal(ours[1][0], drawn[1][0])


def test_a_run_says_which_drawn_layers_are_frozen(command, iris):
    line = "--dataset iris --hidden 8,6 --activation tanh --epochs 1 --freeze "
    said = "Note      not trained, but as drawn: {}, as freeze is {} without start_from\n"
    for freeze, layers in ((1, "layer 1"), (2, "layers 1 and 2")):
        assert said.format(layers, freeze) in command(f"{line}{freeze}")[1]
    code, out, _ = command(f"{line}1 --start-from {iris[0]}")
    assert (code, "as drawn" in out) == (0, False)


def test_a_run_says_that_equal_units_learn_little(command, iris):
    tanh, model = "--activation tanh", f"--activation tanh --start-from {iris[0]}"
    for given, times in ((f"8 {tanh}", 1), (f"8,6,4 {model}", 1), (f"8,6 {model}", 0), ("none", 0)):
        code, out, _ = command(f"--dataset iris --epochs 1 --init zeros --hidden {given}")
        assert (code, out.count("units of a hidden layer start equal")) == (0, times)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_of_scikit_learn(tmp_path, dtype):
    """The model has no scaling, so its rows are scaled by the user."""
    x, y = load_iris(return_X_y=True)
    x = scale(x).astype(dtype)
    theirs = Theirs((8,), "tanh", random_state=0)
    for _ in range(20):
        theirs.partial_fit(x, y, classes=[0, 1, 2])
    MLPClassifier.from_sklearn(theirs).save(tmp_path / "m.safetensors")
    np.savez(tmp_path / "scaled.npz", x=x, y=y)
    given = {"dataset": tmp_path / "scaled.npz", "hidden": (8,), "start_from": tmp_path / "m.safetensors", "epochs": 1}
    prepared = prepare(Config(**(IRIS | given)))
    found = train_and_test(prepared).run.history[0]["loss"]
    expected = log_loss(prepared.data.y_train, theirs.predict_proba(prepared.data.x_train))
    assert found == pytest.approx(expected, rel=1e-12 if dtype == "float64" else 1e-6)
    with pytest.raises(InputError, match="prepares its rows as the training of that model did; leave out scale"):
        prepare(Config(**(IRIS | given), scale="minmax"))


def test_an_estimator_that_was_fitted_on_images_divided_by_255(tmp_path, capsys):
    images, y = load_digits(return_X_y=True)
    images = (images * 15).astype(np.uint8)
    with pytest.warns(ConvergenceWarning):
        first = MLPClassifier((16,), max_iter=30, random_state=0).fit(images / 255, y)
    first.save(tmp_path / "m.safetensors")
    np.savez(tmp_path / "images.npz", x=images.reshape(-1, 8, 8), y=y)
    given = {"dataset": tmp_path / "images.npz", "hidden": (16,), "start_from": tmp_path / "m.safetensors", "epochs": 3}
    noted = [note for note in prepare(Config(**given)).data.notes if "estimator" in note]
    assert [note.rpartition("; ")[2] for note in noted] == ["if it was fitted on images divided by 255, give scale 255"]
    config = Config(**given, scale="255", dtype="float64", learning_rate=1e-9, schedule="constant", dropout=0)
    prepared = prepare(config)
    assert not any("estimator" in note for note in prepared.data.notes)
    outcome = train_and_test(prepared, [RunCheckpoint(tmp_path / "kept", every=1)])
    # The outcome divides its bytes itself.
    x = prepared.data.x_test
    # Its steps are of 1e-9.
    np.testing.assert_allclose(outcome.model.predict_proba(x), first.predict_proba(x / 255), rtol=0, atol=1e-6)
    resumed = train_and_test(
        config, [RunCheckpoint(tmp_path / "kept", every=1)], resume=tmp_path / "kept" / "previous.safetensors"
    )
    np.testing.assert_array_equal(resumed.model.params, outcome.model.params)
    with pytest.raises(InputError, match="leave out scale, or start_from"):
        prepare(Config(**given, scale="standard"))


def test_a_network_of_pytorch(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.manual_seed(0)
    x, y = load_iris(return_X_y=True)
    x = scale(x)
    net = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3)).double()
    pairs = [(layer.weight.detach().numpy().T, layer.bias.detach().numpy()) for layer in (net[0], net[2])]
    MLPClassifier((5,), init=pairs, learning_rate_init=1e-300).partial_fit(x, y, classes=[0, 1, 2]).save(
        tmp_path / "m.st"
    )
    np.savez(tmp_path / "scaled.npz", x=x, y=y)
    given = {"dataset": tmp_path / "scaled.npz", "hidden": (5,), "activation": "relu", "epochs": 1}
    prepared = prepare(Config(**(IRIS | given), start_from=tmp_path / "m.st"))
    with torch.no_grad():
        rows, codes = torch.tensor(prepared.data.x_train), torch.tensor(prepared.data.y_train)
        expected = float(torch.nn.functional.cross_entropy(net(rows), codes))
    assert train_and_test(prepared).run.history[0]["loss"] == pytest.approx(expected, rel=1e-12)


# --- which layers are taken -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Folder with the digits below 5, those from 5 on, and a model trained on the former."""
    folder, (x, y) = tmp_path_factory.mktemp("digits"), load_digits(return_X_y=True)
    for name, rows in (("low", y < 5), ("high", y >= 5)):
        np.savez(folder / f"{name}.npz", x=x[rows], y=y[rows])
    train_and_test(Config(dataset=folder / "low.npz", hidden=(16, 8), epochs=5)).model.save(folder / "low.safetensors")
    return folder


def test_other_classes_have_a_last_layer_of_their_own(digits):
    config = Config(dataset=digits / "high.npz", hidden=(16, 8), seed=3, start_from=digits / "low.safetensors")
    prepared, model = prepare(config), Model.load(digits / "low.safetensors")
    assert (prepared.start.n_layers, prepared.start.why) == (2, "other classes")
    same(start_of(prepared)[:2], layers_of(model)[:2])
    drawn = initial.draw((64, 16, 8, 5), ["he_uniform", "he_uniform", "glorot_uniform"], 3)
    same(start_of(prepared)[2:], split(np, drawn, (64, 16, 8, 5))[2:])
    for name in ("shift", "factor"):
        np.testing.assert_array_equal(getattr(prepared.data.scaling, name), getattr(model, name))


@pytest.mark.parametrize(
    ("given", "n_layers", "why"),
    [
        ({}, 3, ""),
        ({"hidden": (8,)}, 1, "other sizes"),
        ({"hidden": (8, 3)}, 1, "other sizes"),
        ({"hidden": (8, 6, 4)}, 2, "other sizes"),
        ({"hidden": (8, 5), "activation": ("tanh", "relu")}, 1, "other sizes"),
    ],
)
def test_layers_are_used_up_to_the_first_that_differs(iris, given, n_layers, why):
    path, model = iris
    prepared = prepare(Config(**(IRIS | given), start_from=path))
    assert (prepared.start.n_layers, prepared.start.why) == (n_layers, why)
    same(start_of(prepared)[:n_layers], layers_of(model)[:n_layers])
    assert start_of(prepared)[n_layers:] == [] or not np.array_equal(start_of(prepared)[-1][0], layers_of(model)[-1][0])


def test_a_linear_model_has_its_last_layer_only(tmp_path, iris):
    given = EXACT | {"dataset": "iris", "hidden": (), "epochs": 2}
    train_and_test(Config(**given)).model.save(tmp_path / "linear.safetensors")
    assert prepare(Config(**given, start_from=tmp_path / "linear.safetensors")).start.n_layers == 1
    x, y = load_iris(return_X_y=True)
    np.savez(tmp_path / "two.npz", x=x, y=y > 0)
    given |= {"dataset": tmp_path / "two.npz"}
    with pytest.raises(
        InputError, match="has no hidden layers, and the one that it has is for other classes; leave out"
    ):
        prepare(Config(**given, start_from=tmp_path / "linear.safetensors"))
    said = "and the model to start from has 8,6, so that no layer is the same; leave out hidden, or start_from"
    with pytest.raises(InputError, match=f"hidden is none, {said}"):
        prepare(Config(**given, start_from=iris[0]))
    with pytest.raises(InputError, match=f"hidden is 256,256, {said}"):
        prepare(Config(dataset="iris", hidden=(256, 256), start_from=iris[0]))


@pytest.mark.parametrize(
    ("theirs", "given", "hidden", "activation"),
    [
        (((8, 6), ("tanh",)), {}, (8, 6), ("tanh",)),
        (((8, 6), ("tanh", "relu")), {}, (8, 6), ("tanh", "relu")),
        (((8, 6), ("tanh", "relu")), {"hidden": (8,)}, (8,), ("tanh",)),
        (((8, 6), ("tanh", "relu")), {"hidden": (8, 6, 4)}, (8, 6, 4), ("tanh", "relu", "relu")),
        (((8, 6), ("relu",)), {"activation": "relu", "freeze": 2}, (8, 6), ("relu",)),
        (((8, 6, 4), ("relu",)), {"dropout": (0.1, 0.2, 0.3)}, (8, 6, 4), ("relu",)),
        (((), ("relu",)), {}, (), ()),
    ],
)
def test_hidden_layers_that_are_not_given_are_those_of_the_model(tmp_path, theirs, given, hidden, activation):
    settings = EXACT | {"dataset": "iris", "epochs": 1, "dropout": None}
    one, two = tmp_path / "one.st", tmp_path / "two.st"
    model = train_and_test(Config(**settings, hidden=theirs[0], activation=theirs[1])).model
    model.save(one)
    left_open = Config(**(settings | given), start_from=one)
    prepared = prepare(left_open)
    assert (prepared.config.hidden, prepared.config.activation) == (hidden, activation)
    layers = slice(prepared.start.n_layers)
    same(start_of(prepared)[layers], layers_of(model)[layers])
    assert prepared.start.n_layers == len(hidden) + (hidden == theirs[0]) - (len(hidden) > len(theirs[0]))
    # Resumed, the run has its own layers, whatever the file has now.
    whole = train_and_test(left_open, [RunCheckpoint(tmp_path / "kept", every=1)]).model
    assert (whole.config["hidden"], whole.config["activation"]) == (list(hidden), list(activation))
    whole.save(two)
    one.unlink()
    again = train_and_test(left_open, resume=tmp_path / "kept").model
    np.testing.assert_array_equal(again.params, whole.params)
    # What a run writes down repeats it.
    assert prepare(Config(**(whole.config | {"start_from": two}))).start.n_layers == len(hidden) + 1


def test_what_is_given_still_contradicts(iris):
    path, _ = iris
    for given, said in (
        ({"activation": "relu"}, "activation is relu,relu, and the layers to take .* have tanh,tanh; leave out"),
        ({"activation": "relu,tanh,relu"}, "activation names 3 functions for 2 hidden layers"),
        ({"freeze": 3}, "freeze is 3; allowed: 0 to 2"),
    ):
        with pytest.raises(InputError, match=said):
            prepare(Config(dataset="iris", start_from=path, **given))


@pytest.mark.parametrize(
    ("dataset", "loss", "n_layers"),
    [
        ("breast-cancer", "cross_entropy", 1),
        ("diabetes", "poisson", 1),
        ("diabetes", "huber", 2),
    ],
)
def test_a_last_layer_has_the_outputs_of_its_loss(tmp_path, dataset, loss, n_layers):
    given = {"dataset": dataset, "hidden": (4,), "epochs": 1}
    train_and_test(Config(**given)).model.save(tmp_path / "m.st")
    prepared = prepare(Config(**given, loss=loss, start_from=tmp_path / "m.st"))
    assert (prepared.start.n_layers, prepared.start.why) == (n_layers, "another loss" if n_layers == 1 else "")
    assert (prepared.target_scaling is None) == (loss != "huber")


def test_a_model_that_fits_its_rows_does_not_diverge_by_dropout(tmp_path):
    """The loss of the model is so small that dropout multiplies it by hundreds."""
    x, y = load_iris(return_X_y=True)
    np.savez(tmp_path / "apart.npz", x=x, y=y == 0)
    given = IRIS | {"dataset": tmp_path / "apart.npz", "epochs": 200, "learning_rate": 0.1, "test_fraction": 0}
    model = train_and_test(Config(**given)).model
    model.save(tmp_path / "m.st")
    given |= {"epochs": 2, "learning_rate": 1e-9, "dropout": 0.5, "input_dropout": 0.5, "start_from": tmp_path / "m.st"}
    outcome = train_and_test(Config(**given))
    assert outcome.run.history[0]["loss"] > 200 * log_loss(y == 0, model.predict_proba(x))
    assert (outcome.metrics["rollbacks"], outcome.run.diverged) == (0, None)


# --- regression -----------------------------------------------------------------------------------------------------

DIABETES = {"dataset": "diabetes", "hidden": (6,), **EXACT}


@pytest.fixture(scope="module")
def diabetes(tmp_path_factory):
    """Folder with a model, its data set with further targets, and a shifted copy of its rows with a larger target."""
    folder, (x, y) = tmp_path_factory.mktemp("diabetes"), load_diabetes(return_X_y=True)
    np.savez(folder / "rows.npz", x=x, y=y, double=2 * y, several=np.column_stack([y, y]))
    train_and_test(Config(**DIABETES | {"dataset": folder / "rows.npz", "epochs": 30})).model.save(folder / "m.st")
    np.savez(folder / "shifted.npz", x=x[:300] + 1, y=5 * y[:300])
    return folder


def test_the_scaling_of_a_target_goes_with_the_last_layer(diabetes):
    model = Model.load(diabetes / "m.st")
    given = DIABETES | {"dataset": diabetes / "shifted.npz", "epochs": 1, "start_from": diabetes / "m.st"}
    outcome, data = train_and_test(Config(**given)), prepare(Config(**given)).data
    np.testing.assert_array_equal(outcome.model.target_shift, model.target_shift)
    error = (model.predict(data.x_train) - data.y_train) * model.target_factor
    assert outcome.run.history[0]["loss"] == pytest.approx((error**2).mean() / 2, rel=1e-12)
    with pytest.raises(InputError, match="target_scale is 'none', and a run that starts from a model"):
        prepare(Config(**given, target_scale="none"))


@pytest.mark.parametrize(("target", "why"), [("double", "another target"), ("several", "another number of targets")])
def test_another_target_is_scaled_for_itself(diabetes, target, why):
    given = DIABETES | {"dataset": diabetes / "rows.npz", "target": target, "start_from": diabetes / "m.st"}
    for target_scale in ("auto", "none"):
        prepared = prepare(Config(**given, target_scale=target_scale))
        assert (prepared.start.n_layers, prepared.start.why) == (1, why)
        assert (prepared.target_scaling is None) == (target_scale == "none")
    prepared = prepare(Config(**given))
    np.testing.assert_allclose(prepared.target_scaling.shift, prepared.data.y_train.mean(axis=0))


# --- how rows are prepared ------------------------------------------------------------------------------------------


def town_table(rng, towns, age, n_rows=60):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: no tables")
    frame = pandas.DataFrame(
        {
            "age": rng.normal(age, 5, n_rows),
            "town": rng.choice(towns, n_rows),
            "owner": rng.random(n_rows) < 0.5,
            "price": rng.normal(age, 5, n_rows),
        }
    )
    frame.loc[::7, "age"] = np.nan
    return frame


@pytest.fixture
def tables(rng, command):
    """A table that differs from that of the run in ``one``, the model of that run, and `command`."""
    town_table(rng, ["01", "2", "x"], 30).to_csv("one.csv", index=False)
    frame = town_table(rng, ["01", "2", "3"], 60)[["town", "price", "owner", "age"]].assign(more=1.5)
    frame.to_csv("two.csv", index=False)
    code, *_ = command("--dataset one.csv --target price --impute median --hidden 6 --epochs 3 --run-dir one")
    assert code == 0
    return frame, Model.load("one"), command


def test_a_table_is_prepared_as_the_first_one(tables):
    """It has another order of columns, a new column, other gaps and means, and only towns that look like numbers."""
    frame, model, command = tables
    median = model.columns[0]["fill"]
    assert abs(median - 30) < 5
    data = prepare(Config(dataset="two.csv", target="price", hidden=(6,), start_from="one")).data
    towns = model.columns[1]["categories"]
    assert towns == ["01", "2", "x"]
    expected = np.column_stack(
        [frame["age"].fillna(median), *((frame["town"] == town) for town in towns), frame["owner"]]
    ).astype(float)
    found = np.concatenate([data.x_train, data.x_validation, data.x_test])
    np.testing.assert_array_equal(np.unique(found, axis=0), np.unique(expected, axis=0))
    np.testing.assert_array_equal(data.scaling.shift, model.shift)
    assert data.columns == model.columns

    code, out, err = command("--dataset two.csv --target price --epochs 2 --start-from one --run-dir two")
    assert (code, err) == (0, "")
    n_new = (frame["town"] == "3").sum()
    for line in (
        "Note      left out, as the model to start from has no such column: 'more'",
        f"Note      column 'town': {n_new} rows of 60 with a value new to the model, such as '3'",
        f"Note      9 missing values filled: 9 of 'age' with {median:.4g}",
        "Start     layers 1 and 2 of 2 from one/model.safetensors, with hidden 6 and activation relu",
    ):
        assert line in out.splitlines()
    assert out.count("scaled: as in the model") == 2
    again = Model.load("two")
    assert again.columns == model.columns
    np.testing.assert_array_equal(again.shift, model.shift)
    assert again.config["start_from"] == json.loads(Path("two/metrics.json").read_text())["start_from"] == "one"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "--impute mean",
            "impute is 'mean', and a run that starts from a model prepares its rows as the training of that model did",
        ),
        ("--scale minmax", "scale is 'minmax', and a run that starts from a model"),
        ("--target age", "the target, column 'age', has 9 missing values"),
        (
            "--target owner",
            "the table has no column 'owner', which the model takes; it has 'town', 'price', 'age', 'more'",
        ),
        ("--drop town", "the table has no column 'town', which the model takes"),
        (
            "--hidden 7",
            "hidden is 7, and the model to start from has 6, so that no layer is the same; leave out hidden,",
        ),
        (
            "--activation tanh",
            "activation is tanh, and the layers to take from the model to start from have relu; leave out",
        ),
        ("--start-from none.safetensors", "cannot read the model none.safetensors: No such file"),
        ("--start-from two.csv", "cannot read the model two.csv"),
        ("--dataset iris", "iris has 4 features, and the model to start from takes 5; give data with as many"),
    ],
)
def test_what_does_not_go_together(tables, line, said):
    given = dict(zip(words := line.split(), words[1:], strict=False))
    base = {"--hidden": "6", "--start-from": "one", "--run-dir": "new"}
    if "--dataset" not in given:
        base |= {"--dataset": "two.csv", "--target": "price"}
    code, _, err = tables[2](" ".join(f"{name} {value}" for name, value in (base | given).items()))
    assert code == 2
    assert err.startswith(f"error: {said}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("given", [{}, {"impute": "median"}])
def test_settings_of_the_model_may_be_given_again(tables, given):
    assert prepare(Config(dataset="two.csv", target="price", hidden=(6,), start_from="one", **given)).start


def test_gaps_in_arrays_are_filled_as_there(tmp_path, rng):
    x, y = rng.normal(size=(60, 3)), np.arange(60) % 2
    x[::5, 1] = np.nan
    np.savez(tmp_path / "one.npz", x=x, y=y)
    train_and_test(Config(dataset=tmp_path / "one.npz", hidden=(4,), impute="mean", epochs=1)).model.save(
        tmp_path / "m.st"
    )
    np.savez(tmp_path / "two.npz", x=x + 7, y=y)
    given = {"hidden": (4,), "epochs": 1, "start_from": tmp_path / "m.st"}
    prepared = prepare(Config(dataset=tmp_path / "two.npz", **given))
    model = Model.load(tmp_path / "m.st")
    assert (np.concatenate([prepared.data.x_train, prepared.data.x_test])[:, 1] == model.columns[1]["fill"]).sum() > 8
    np.savez(tmp_path / "whole.npz", x=np.nan_to_num(x), y=y)
    assert train_and_test(Config(dataset=tmp_path / "whole.npz", **given)).model.columns == model.columns


def test_names_of_features_count_where_they_say_something(tmp_path):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: no tables")
    x, y = load_iris(return_X_y=True, as_frame=True)
    given = {"hidden": (4,), "epochs": 1, "target": "kind"}
    x.assign(kind=y).to_csv(tmp_path / "one.csv", index=False)
    renamed = x.rename(columns={"petal width (cm)": "width"})
    renamed.assign(kind=y).to_csv(tmp_path / "two.csv", index=False)
    np.savez(tmp_path / "rows.npz", x=x, kind=y)
    train_and_test(Config(dataset="iris", hidden=(4,), epochs=1)).model.save(tmp_path / "iris.st")
    train_and_test(Config(dataset=tmp_path / "rows.npz", **given)).model.save(tmp_path / "rows.st")
    assert prepare(Config(dataset=tmp_path / "one.csv", start_from=tmp_path / "iris.st", **given)).start.n_layers == 1
    for dataset in ("one.csv", "two.csv"):
        assert prepare(Config(dataset=tmp_path / dataset, start_from=tmp_path / "rows.st", **given)).start.n_layers == 2
    with pytest.raises(
        InputError, match=r"two has the features .*'width', and the model to start from takes .*\(cm\)'"
    ):
        prepare(Config(dataset=tmp_path / "two.csv", start_from=tmp_path / "iris.st", **given))
    assert pandas.read_csv(tmp_path / "two.csv").columns[3] == "width"


@pytest.mark.parametrize(
    ("given", "changed"),
    [({}, None), ({"seed": 1}, "seed"), ({"test_fraction": 0.3, "seed": 2}, "test_fraction, seed")],
)
def test_rows_that_may_have_been_learned_are_told(iris, given, changed):
    notes = prepare(Config(**IRIS, start_from=iris[0], **given)).data.notes
    expected = f"the model to start from had another {changed}: it may have learned from rows that are tested on here"
    assert list(notes) == ([expected] if changed else [])


# --- resumed runs ---------------------------------------------------------------------------------------------------


class Fails(Callback):
    """Fail, to stand for the end of the process."""

    def on_epoch_begin(self, run):
        if run.epoch == 4:
            raise KeyError


@pytest.mark.parametrize("file", ["there", "gone", "other"])
def test_a_run_is_resumed_to_the_bit_wherever_its_model_is(diabetes, tmp_path, monkeypatch, file):
    monkeypatch.setenv("MLPGPU_LOOP", "numpy")
    path = tmp_path / "m.st"
    shutil.copy(diabetes / "m.st", path)
    given = {"dataset": diabetes / "shifted.npz", "start_from": path, "freeze": 1, "dropout": 0.2, "epochs": 6}
    config = Config(**(DIABETES | given))
    prepared, whole = prepare(config), train_and_test(config)
    with pytest.raises(KeyError):
        train_and_test(config, [RunCheckpoint(tmp_path / "kept", every=1), Fails()])
    if file != "there":
        path.unlink()
    if file == "other":
        model = Model.load(diabetes / "m.st")
        dataclasses.replace(model, params=model.params + 1, shift=model.shift + 1).save(path)
        with pytest.raises(InputError, match="which is another model than when the run began"):
            train_and_test(prepare(config), resume=tmp_path / "kept")
    again = train_and_test(config, resume=tmp_path / "kept")
    for name, array in whole.model.parts()[1].items():
        np.testing.assert_array_equal(again.model.parts()[1][name], array)
    assert again.model.parts()[0] == whole.model.parts()[0]
    np.testing.assert_array_equal(train_and_test(prepared, resume=tmp_path / "kept").model.params, whole.model.params)


def test_the_command_takes_up_a_run_whose_model_has_moved(tables, monkeypatch):
    monkeypatch.setenv("MLPGPU_LOOP", "numpy")
    _, _, command = tables
    line = "--dataset two.csv --target price --hidden 6 --epochs 4 --start-from one --checkpoint-every 2 --run-dir two"
    assert command(line)[0] == 0
    expected = Model.load("two").params
    run = Path("two")
    Path("there").mkdir()
    shutil.move("one", "there")
    (run / "checkpoints" / "previous.safetensors").replace(run / "checkpoints" / "last.safetensors")
    (run / "metrics.json").unlink()
    code, out, err = command("--resume two")
    assert (code, err) == (0, "")
    assert "Resumed   after the end of epoch 2 of two" in out
    assert "Start  " not in out
    np.testing.assert_array_equal(Model.load("two").params, expected)

    # Without a checkpoint, the run begins again, and needs the model.
    shutil.rmtree(run / "checkpoints")
    (run / "metrics.json").unlink()
    code, _, err = command("--resume two")
    assert (code, err.count("\n")) == (2, 1)
    assert "cannot read the model one" in err
    assert command("--resume two --start-from there/one")[0] == 0
    np.testing.assert_array_equal(Model.load("two").params, expected)


def test_gaps_that_the_model_cannot_fill(tmp_path):
    pd = pytest.importorskip("pandas", reason="pandas is not installed: no tables")
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0] * 10, "y": ["u", "v"] * 20})
    frame.to_csv(tmp_path / "full.csv", index=False)
    given = {"target": "y", "hidden": (3,), "epochs": 1}
    model = train_and_test(Config(dataset=str(tmp_path / "full.csv"), **given)).model
    model.save(tmp_path / "model.safetensors")
    frame.mask(frame["a"] == 3).assign(y=frame["y"]).to_csv(tmp_path / "gaps.csv", index=False)
    with pytest.raises(InputError, match="the model cannot fill them: remove those rows, or train one with impute"):
        prepare(Config(dataset=str(tmp_path / "gaps.csv"), start_from=str(tmp_path / "model.safetensors"), **given))
