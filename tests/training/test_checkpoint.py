import dataclasses
import json
import math
import signal
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from played import run_of
from safetensors.numpy import save_file
from textbook import BATCH_SIZE, FACTOR, N_ROWS, SHIFT, STEPS, TASKS, plan_of, rows_of, without_times
from unsealed import unsealed

from mlpgpu import Config, InputError, MLPRegressor, Model, backends, train_and_test
from mlpgpu.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    RunCheckpoint,
    TerminateOnNaN,
    TimeLimit,
)
from mlpgpu.training.checkpoint import Checkpoint, fingerprint
from mlpgpu.training.feed import Rows, Scaled
from mlpgpu.training.run import Best, Diverged
from mlpgpu.training.trainer import fit

pytestmark = pytest.mark.usefixtures("not_compiled")


class Fails(Exception):
    """Raised to stand for the end of the process."""


class Stop(Callback):
    """Request a checkpoint after a step or an epoch, and fail once it is written."""

    def __init__(self, path, epoch, done=None):
        self.path, self.epoch, self.done = path, epoch, done

    def on_steps(self, run, done, losses):
        self.end(run)
        if self.done is not None and run.epoch == self.epoch and done >= self.done:
            run.checkpoint(self.path)
            self.asked = True

    def on_epoch_begin(self, run):
        self.end(run)

    def on_epoch_end(self, run, record):
        self.end(run)
        if self.done is None and run.epoch == self.epoch:
            run.checkpoint(self.path)
            self.asked = True

    def on_begin(self, run):
        self.asked = False

    def end(self, run):
        if self.asked:
            raise Fails


def model_of(plan):
    task = TASKS[plan.loss]
    classes = ("a", "b", "c") if task == "classification" else ()

    def as_model(params):
        return Model(params, SHIFT, FACTOR, plan.network.sizes, plan.activations, plan.loss, task, classes)

    return as_model


def train(backend, plan, callbacks, **more):
    rows, validation = rows_of(plan.loss), rows_of(plan.loss, 30, seed=1)
    placement = Scaled(backend, SHIFT, FACTOR, plan.dtype)
    watched = {"train": rows, "validation": validation}
    state, run = fit(backend, plan, rows, watched, placement, callbacks, as_model=model_of(plan), **more)
    return backend.to_host(state.params), run


WAYS = {
    "dropout": {"dropout": 0.3, "input_dropout": 0.1},
    "one-cycle": {"schedule": "one_cycle", "warmup": 1.5, "optimizer": "adamw"},
    "lion, clipped": {"optimizer": "lion", "clip_norm": 0.5, "learning_rate": 0.01},
    "replacement, normalised": {"replacement": True, "optimizer": "nesterov", "normalization": "batch"},
}


def callbacks_of():
    return [
        EarlyStopping(patience=5),
        ReduceLROnPlateau(patience=1, factor=0.5, min_delta=0.05),
        # A second callback of the same class, with a different state.
        ReduceLROnPlateau("loss", patience=2, factor=0.8, min_delta=0.05),
        # It changes the rate at the start of an epoch, which a resumed epoch must not repeat.
        LearningRateScheduler(lambda epoch, rate: rate * 0.9),
    ]


@pytest.fixture(scope="module")
def whole_runs():
    """Parameters and runs that are never cut, by backend and way."""
    return {}


# Where it is cut matters to what goes by the number of the step: masks, the schedule, and the order of the rows.
@pytest.mark.parametrize(
    ("epoch", "done", "way"),
    [
        *((2, None, way) for way in WAYS),
        (3, 1, "dropout"),
        (3, 1, "replacement, normalised"),
        (1, STEPS, "one-cycle"),
    ],
)
def test_a_run_is_resumed_to_the_bit(tmp_path, real_backend, whole_runs, way, epoch, done):
    """On every backend: weights, losses, history and the effects of callbacks."""
    if done is not None and real_backend.steps_per_call > 1:
        done = STEPS
    plan, key = plan_of(epochs=6, **WAYS[way]), (real_backend.name, way)
    if key not in whole_runs:
        whole_runs[key] = train(real_backend, plan, callbacks_of())
    expected, whole = whole_runs[key]
    path = tmp_path / "c.safetensors"
    with pytest.raises(Fails):
        train(real_backend, plan, [*callbacks_of(), Stop(path, epoch, done)])
    params, run = train(real_backend, plan, callbacks_of(), resume=Checkpoint.load(path))
    np.testing.assert_array_equal(params, expected)
    np.testing.assert_array_equal(np.concatenate(run.losses), np.concatenate(whole.losses))
    assert without_times(run.history) == without_times(whole.history)
    assert run.steps_before == (epoch - 1) * STEPS + (done or STEPS)
    assert (run.best_epoch, run.stopped, run.restored) == (whole.best_epoch, whole.stopped, whole.restored)
    np.testing.assert_array_equal(real_backend.to_host(run.best_params), real_backend.to_host(whole.best_params))


def test_a_run_that_was_over_is_over(tmp_path, real_backend):
    plan = plan_of(epochs=30, learning_rate=2.0)
    stopping = EarlyStopping(patience=2)
    expected, whole = train(real_backend, plan, [stopping, RunCheckpoint(tmp_path, every=1)])
    assert whole.stopped == "early stopping"
    params, run = train(real_backend, plan, [EarlyStopping(patience=2)], resume=Checkpoint.load(tmp_path))
    assert (run.stopped, run.epoch, run.restored) == ("early stopping", whole.epoch, True)
    np.testing.assert_array_equal(params, expected)


def test_a_time_limit_is_not_the_end(tmp_path, real_backend):
    plan = plan_of(epochs=5)
    expected, whole = train(real_backend, plan, [])
    _, cut = train(real_backend, plan, [TimeLimit(1e-9), RunCheckpoint(tmp_path, every="none")])
    assert cut.stopped == "time limit"
    params, run = train(real_backend, plan, [], resume=Checkpoint.load(tmp_path))
    assert run.stopped == ""
    np.testing.assert_array_equal(params, expected)
    assert without_times(run.history) == without_times(whole.history)


def test_a_run_that_is_interrupted_in_its_last_epoch_is_over(tmp_path, real_backend):
    plan = plan_of(epochs=30, learning_rate=2.0)
    expected, whole = train(real_backend, plan, [EarlyStopping(patience=2)])

    def interrupt(run, done, losses):
        if (run.epoch, done) == (whole.epoch, STEPS):
            signal.raise_signal(signal.SIGTERM)

    for every in ("none", 1):
        keep = RunCheckpoint(tmp_path / str(every), every)
        _, cut = train(real_backend, plan, [LambdaCallback(on_steps=interrupt), keep, EarlyStopping(patience=2)])
        assert (cut.stopped, cut.final, cut.signal) == ("early stopping", True, signal.SIGTERM)
        params, run = train(real_backend, plan, [EarlyStopping(patience=2)], resume=Checkpoint.load(keep.folder))
        assert (run.stopped, len(run.history)) == ("early stopping", len(whole.history))
        np.testing.assert_array_equal(params, expected)


@pytest.mark.parametrize("whole", [True, False])
def test_a_final_reason_to_stop_goes_before_one_that_is_not(whole):
    """Unless it comes from the metrics of an incomplete epoch."""
    run = run_of()
    run.stop("interrupted", final=False)
    run.whole = whole
    run.stop("early stopping")
    run.stop("time limit", final=False)
    run.stop("diverged")
    assert (run.stopped, run.final) == (("early stopping", True) if whole else ("interrupted", False))


def test_a_checkpoint_comes_back_from_its_file(tmp_path, real_backend):
    plan = plan_of(epochs=4, optimizer="adam")
    with pytest.raises(Fails):
        train(real_backend, plan, [EarlyStopping(), Stop(tmp_path / "a", 2, 1)], rollbacks=3)
    first = Checkpoint.load(tmp_path / "a")
    first.save(tmp_path / "b")
    second = Checkpoint.load(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    for field in dataclasses.fields(Checkpoint):
        ours, theirs = getattr(first, field.name), getattr(second, field.name)
        if field.name in {"state", "before"}:
            for one, other in zip(
                [ours.params, *ours.slots, *ours[2:]], [theirs.params, *theirs.slots, *theirs[2:]], strict=True
            ):
                np.testing.assert_array_equal(one, other)
                assert one.dtype == other.dtype
        elif field.name not in {"model", "losses", "best_params"}:
            assert ours == theirs
    assert len(first.state.slots) == 2
    assert int(first.state.step) == len(first.losses) == STEPS + len(first.begun)
    assert first.where() == f"epoch 2, step {len(first.begun)}"


def test_files_of_a_run(tmp_path):
    """The last checkpoint, the one before it, and that of the best epoch; each is also a model."""
    seen = []

    def look(run):
        seen.append({path.stem: len(Checkpoint.load(path).history) for path in tmp_path.iterdir()})

    outcome = train_and_test(
        Config(dataset="iris", hidden=(8,), epochs=6, learning_rate=0.2, schedule="constant"),
        [RunCheckpoint(tmp_path, every=1), LambdaCallback(on_epoch_begin=look, on_end=look)],
    )
    assert seen[0] == {}
    assert [found["last"] for found in seen[1:]] == [1, 2, 3, 4, 5, 6]
    assert [found.get("previous") for found in seen[1:]] == [None, 1, 2, 3, 4, 5]
    losses = [record["validation_loss"] for record in outcome.run.history]
    assert [found["best"] for found in seen[1:]] == [1 + int(np.argmin(losses[:n])) for n in range(1, 7)]
    assert len({found["best"] for found in seen[1:]}) > 1
    np.testing.assert_array_equal(Model.load(tmp_path / "last.safetensors").params, outcome.model.params)


@pytest.mark.parametrize(
    ("every", "epochs"),
    [(1, [1, 2, 3, 4, 5]), (2, [2, 4]), ("3", [3]), ("none", []), ("1e9s", []), ("1e-9s", [1, 2, 3, 4, 5])],
)
def test_when_they_are_written(tmp_path, every, epochs):
    found = []

    def look(run):
        if (path := tmp_path / "last.safetensors").exists():
            found.append(len(Checkpoint.load(path).history))
            path.unlink()

    train_and_test(
        Config(dataset="iris", hidden=(8,), epochs=5, batch_size="full"),
        [RunCheckpoint(tmp_path, every=every), LambdaCallback(on_epoch_begin=look, on_end=look)],
    )
    assert found == epochs


def test_a_model_checkpoint_goes_on(tmp_path):
    config = Config(dataset="iris", hidden=(8,), epochs=6)
    whole = train_and_test(config, [ModelCheckpoint(tmp_path / "{epoch}")])
    again = train_and_test(config, resume=Checkpoint.load(tmp_path / "3"))
    np.testing.assert_array_equal(again.model.params, whole.model.params)
    assert without_times(again.run.history) == without_times(whole.run.history)


def test_an_epoch_that_is_cut_short_is_no_model_checkpoint(tmp_path, step_by_step):
    config = Config(dataset="iris", hidden=(8,), epochs=4, batch_size=20)
    whole = train_and_test(config)
    stop = LambdaCallback(on_steps=lambda run, done, _: run.epoch == 3 and run.stop("time limit", final=False))
    full, alone = ModelCheckpoint(tmp_path / "full"), ModelCheckpoint(tmp_path / "alone", weights_only=True)
    cut = train_and_test(config, [stop, full, alone, RunCheckpoint(tmp_path / "run", every=1)])
    assert [len(losses) for losses in cut.run.losses] == [6, 6, 1]
    # The incomplete epoch is the best so far all the same.
    assert cut.run.best_epoch == 3
    assert Checkpoint.load(tmp_path / "run" / "best.safetensors").where() == "the end of epoch 2"
    kept = Checkpoint.load(full.path)
    assert kept.where() == "the end of epoch 2"
    assert not np.array_equal(Model.load(alone.path).params, kept.model.params)
    np.testing.assert_array_equal(train_and_test(config, resume=kept).model.params, whole.model.params)


def test_a_checkpoint_at_the_end_is_the_model_that_the_run_returns(tmp_path):
    config = Config(dataset="iris", hidden=(8,), epochs=9, learning_rate=0.2, early_stopping=True, patience=1)
    outcome = train_and_test(config, [LambdaCallback(on_end=lambda run: run.checkpoint(tmp_path / "end"))])
    assert outcome.run.restored
    np.testing.assert_array_equal(Model.load(tmp_path / "end").params, outcome.model.params)
    with pytest.raises(InputError, match="is a model, and no checkpoint to go on from"):
        Checkpoint.load(tmp_path / "end")


def test_a_checkpoint_at_the_end_of_lbfgs(tmp_path):
    end = LambdaCallback(on_end=lambda run: run.checkpoint(tmp_path / "end"))
    given = {"hidden_layer_sizes": (3,), "activation": "identity", "solver": "lbfgs", "callbacks": [end]}
    x = np.random.default_rng(0).normal(size=(30, 2))
    fitted = MLPRegressor(**given).fit(x, x[:, 0])
    np.testing.assert_allclose(Model.load(tmp_path / "end").predict(x)[:, 0], fitted.predict(x), rtol=1e-9, atol=1e-9)


def test_paths_of_callbacks_may_be_texts_and_begin_with_the_home_folder(tmp_path, monkeypatch):
    for home in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(home, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    callbacks = [
        RunCheckpoint("~/run", every=1),
        ModelCheckpoint("~/{epoch}"),
        CSVLogger("~/log.csv"),
        LambdaCallback(on_epoch_end=lambda run, record: run.checkpoint("~/own", "previous")),
    ]
    outcome = train_and_test(Config(dataset="iris", hidden=(8,), epochs=2), callbacks)
    assert {path.name for path in tmp_path.iterdir()} == {"run", "1", "2", "log.csv", "own", "previous"}
    assert without_times(Checkpoint.load("~/run").history) == without_times(outcome.run.history)


def test_weights_only(tmp_path):
    config = Config(dataset="iris", hidden=(8,), epochs=2)
    outcome = train_and_test(config, [ModelCheckpoint(tmp_path / "m", weights_only=True)])
    np.testing.assert_array_equal(Model.load(tmp_path / "m").params, outcome.model.params)
    with pytest.raises(InputError, match="is a model, and no checkpoint to go on from"):
        Checkpoint.load(tmp_path / "m")


def test_other_settings_are_refused(tmp_path):
    config = Config(dataset="iris", hidden=(8,), epochs=2)
    train_and_test(config, [RunCheckpoint(tmp_path, every=1)])
    with pytest.raises(InputError, match="optimizer is nesterov, and the run to resume has adam"):
        train_and_test(dataclasses.replace(config, optimizer="nesterov"), resume=Checkpoint.load(tmp_path))


def test_a_setting_of_another_version_is_refused(command):
    command("--dataset iris --epochs 2 --checkpoint-every 1 --run-dir run")
    path = Path("run/checkpoints/last.safetensors")
    first = Checkpoint.load(path)
    model = dataclasses.replace(first.model, config=first.model.config | {"curvature": 2})
    dataclasses.replace(first, model=model).save(path)
    code, _, error = command(f"--resume {path}")
    assert code == 2
    assert "the run to resume has the setting curvature, which this version of mlpgpu does not have" in error
    with pytest.raises(InputError, match="the setting curvature, which this version"):
        train_and_test(Config(dataset="iris", epochs=2), resume=path)


def test_another_precision_is_refused_and_another_way_of_its_steps_is_not(tmp_path, caplog):
    plan = plan_of(epochs=4, dtype="float32", precision="tf32")
    backend = backends.select("cpu", "numpy", "float32", "tf32")[0]
    expected, _ = train(backend, plan, [])
    with pytest.raises(Fails):
        train(backend, plan, [Stop(tmp_path / "c", 2)])
    taken = Checkpoint.load(tmp_path / "c")
    with pytest.raises(InputError, match="^precision is bf16, and the run to resume has tf32; "):
        train(backend, dataclasses.replace(plan, precision="bf16"), [], resume=taken)
    params, _ = train(backend, dataclasses.replace(plan, capture=False), [], resume=taken)
    np.testing.assert_allclose(params, expected, rtol=0, atol=1e-5)
    (line,) = caplog.messages
    assert "tf32 products (emulated, no faster)" in line
    assert "Numba, line by line: its figures agree" in line


def test_what_is_written_does_not_fit(tmp_path):
    """Without a digest, only the content can show that a file is wrong."""
    train_and_test(Config(dataset="iris", hidden=(8,), epochs=1, batch_size=20), [RunCheckpoint(tmp_path, every=1)])
    arrays, content = unsealed(tmp_path / "last.safetensors")

    def says(content, arrays):
        save_file(arrays, tmp_path / "x", {"mlpgpu": json.dumps(content)})
        with pytest.raises(InputError) as caught:
            Checkpoint.load(tmp_path / "x")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    run = content["run"]
    assert "checkpoint version 2; this mlpgpu reads up to 1: upgrade it" in says(
        content | {"run": run | {"version": 2}}, arrays
    )
    assert "damaged" in says(content | {"run": {"version": 1}}, arrays)
    assert "damaged" in says(content | {"run": []}, arrays)
    assert "damaged" in says(content | {"run": run | {"n_slots": 3}}, arrays)
    assert "damaged" in says(content, {name: array for name, array in arrays.items() if name != "losses"})
    (record,) = run["history"]
    for changed, what in (
        ({"steps_per_epoch": 0}, "numbers of steps"),
        ({"steps_per_epoch": float(run["steps_per_epoch"])}, "numbers of steps"),
        ({"best_epoch": -1}, "numbers of steps"),
        ({"best_epoch": 2}, "best epochs"),
        ({"history": [record | {"epoch": 2}]}, "epochs of the history"),
        ({"history": [record | {"loss": "low"}]}, "figures of the history"),
        ({"history": [record, record | {"epoch": 2}]}, "losses"),
        ({"steps_per_epoch": 1}, "losses"),
        ({"seconds": "none"}, "times"),
        ({"stopped": 1}, "texts"),
        ({"arithmetic": None}, "texts"),
        ({"callbacks": [["EarlyStopping", {}], ["Other", 1]]}, "callbacks"),
        ({"data": run["data"] | {"test": 1}}, "the rows"),
    ):
        assert f"({what} are not those of a run)" in says(content | {"run": run | changed}, arrays)
    for name, array, what in (
        ("losses", arrays["losses"][:, None], "losses"),
        ("best_params", arrays["best_params"][:-1], "the best weights"),
        ("slot0", arrays["slot0"][:-1], "slots"),
        ("step", arrays["step"].astype(np.int64), "steps"),
        ("learning_rate", arrays["learning_rate"][None], "steps"),
    ):
        assert f"({what} are not those of a run)" in says(content, arrays | {name: array})


@pytest.mark.parametrize(
    "state", [{}, {"best": "low", "since": 1}, {"best": 10**400, "since": 1}, {"best": [], "since": 1}]
)
def test_a_state_that_a_callback_cannot_take(tmp_path, state):
    train_and_test(Config(dataset="iris", hidden=(8,), epochs=1), [RunCheckpoint(tmp_path, every=1)])
    kept = dataclasses.replace(Checkpoint.load(tmp_path), callbacks=[("EarlyStopping", state)])
    with pytest.raises(InputError, match="EarlyStopping cannot go on from its state"):
        kept.restore([EarlyStopping()])


def test_a_fingerprint_tells_rows_from_others():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)), np.arange(40) % 3
    given = Rows(x, y)
    found = fingerprint(given, np.asarray)
    assert found == fingerprint(Rows(x.copy(order="F"), y.copy()), np.asarray)
    others = [
        Rows(x.astype(np.float32), y),
        Rows(x[::-1], y),
        Rows(x, y[::-1]),
        Rows(x[1:], y[1:]),
        Rows(x + np.where(np.arange(120).reshape(40, 3) == 71, 1e-15, 0), y),
        Rows(x, y, np.ones(40)),
        Rows(scipy.sparse.csr_array(x), y),
    ]
    digests = [json.dumps(fingerprint(rows, np.asarray)) for rows in [given, *others]]
    assert len(set(digests)) == len(digests)


# --- divergence -----------------------------------------------------------------------------------------------------


def test_a_run_goes_back_and_on_with_a_tenth_of_the_rate(real_backend, caplog):
    """The result is that of a run with the lower rate from that epoch on."""

    class Raise(Callback):
        """Multiply the learning rate when the third epoch begins for the first time."""

        def __init__(self, factor):
            self.factor, self.epochs = factor, []

        def on_epoch_begin(self, run):
            self.epochs.append(run.epoch)
            if run.epoch == 3 and self.epochs.count(3) == 1:
                run.learning_rate *= self.factor

    plan = plan_of("squared_error", epochs=5, activation="relu")
    wild, tame = Raise(1e10), Raise(0.1)
    with caplog.at_level("WARNING", "mlpgpu"):
        params, run = train(real_backend, plan, [wild], rollbacks=2)
    expected, other = train(real_backend, plan, [tame], rollbacks=2)
    assert wild.epochs == [1, 2, 3, 3, 4, 5]
    assert run.rollbacks == 1
    assert [record["rollbacks"] for record in run.history] == [0, 0, 1, 1, 1]
    assert [record["epoch"] for record in run.history] == [1, 2, 3, 4, 5]
    assert "(1 of 2 times)" in caplog.text
    assert "in epoch 3, step " in caplog.text
    assert run.diverged is None
    # A rollback takes a tenth of the rate from before the callback, which is the rate that `tame` sets.
    np.testing.assert_array_equal(params, expected)
    assert other.rollbacks == 0


def test_a_run_goes_back_so_many_times_and_no_more(real_backend):
    plan = plan_of("squared_error", learning_rate=1e30, activation="relu")
    began = []
    note = LambdaCallback(on_epoch_begin=lambda run: began.append(run.learning_rate))
    with pytest.raises(Diverged, match=r"in epoch 1, step \d+; try a lower learning rate"):
        train(real_backend, plan, [note], rollbacks=2)
    np.testing.assert_allclose(began, [1e30, 1e29, 1e28])


def test_a_loss_that_explodes_but_stays_finite(real_backend):
    """Steps a little too large for a linear model: each loss is larger than the last, but far from infinite."""
    given = {"hidden": (), "activation": "relu", "epochs": 4, "batch_size": "full", "optimizer": "sgd"}
    plan = plan_of("squared_error", **given, learning_rate=200.0)
    _, wild = train(real_backend, plan, [])
    assert all(math.isfinite(record["loss"]) for record in wild.history)
    assert wild.history[-1]["loss"] > 1e3 * wild.history[0]["loss"]
    _, run = train(real_backend, plan, [], rollbacks=3)
    assert run.rollbacks > 0
    assert run.history[-1]["loss"] < 100 * wild.history[0]["loss"]


@pytest.mark.parametrize("batch_size", [1, BATCH_SIZE, N_ROWS - 1])
def test_a_strong_penalty_is_no_divergence(batch_size):
    """The loss of a step includes the penalty divided by the batch size; here the weights hardly change."""
    plan = plan_of(batch_size=batch_size, epochs=2, learning_rate=1e-9, l2=1e4)
    backend = backends.select("cpu", "numpy", "float64")[0]
    expected, _ = train(backend, plan, [])
    params, run = train(backend, plan, [], rollbacks=3)
    assert run.rollbacks == 0
    assert run.history[-1]["loss"] > 100 * run.history[-1]["validation_loss"]
    np.testing.assert_array_equal(params, expected)


def test_a_run_that_went_back_is_resumed(tmp_path, real_backend):
    """Also from the middle of an epoch that diverges later: its checkpoint holds the state from before that epoch."""
    plan = plan_of("squared_error", epochs=4, learning_rate=30.0, activation="relu", optimizer="momentum")
    expected, whole = train(real_backend, plan, [], rollbacks=3)
    assert whole.rollbacks
    done = 2 if real_backend.steps_per_call == 1 else STEPS
    for number, (epoch, after) in enumerate([(1, done), (2, done), (2, None), (3, None)]):
        path = tmp_path / str(number)
        with pytest.raises(Fails):
            train(real_backend, plan, [Stop(path, epoch, after)], rollbacks=3)
        params, run = train(real_backend, plan, [], rollbacks=3, resume=Checkpoint.load(path))
        np.testing.assert_array_equal(params, expected)
        assert without_times(run.history) == without_times(whole.history)


def test_a_run_that_is_interrupted_in_an_epoch_that_goes_back(tmp_path, real_backend):
    """It ends with the weights from before that epoch; resumed, it ends with those of an uninterrupted run."""
    plan = plan_of("squared_error", epochs=4, learning_rate=30.0, activation="relu", optimizer="momentum")
    expected, whole = train(real_backend, plan, [], rollbacks=3)
    interrupt = LambdaCallback(on_steps=lambda run, done, _: done == STEPS and signal.raise_signal(signal.SIGINT))
    params, cut = train(real_backend, plan, [interrupt, RunCheckpoint(tmp_path, "none")], rollbacks=3)
    assert (cut.stopped, cut.final, cut.diverged, cut.history) == ("interrupted", False, None, [])
    np.testing.assert_array_equal(params, plan.params)
    params, run = train(real_backend, plan, [], rollbacks=3, resume=Checkpoint.load(tmp_path))
    np.testing.assert_array_equal(params, expected)
    assert without_times(run.history) == without_times(whole.history)


def test_a_run_that_is_stopped_for_its_loss_diverges_again(tmp_path, real_backend):
    """Also when it is resumed at the step whose loss is not finite."""
    plan = plan_of("squared_error", epochs=40, learning_rate=500.0, activation="relu")
    caught = []
    for resume in (False, True):
        with pytest.raises(Diverged) as diverged:
            train(
                real_backend,
                plan,
                [TerminateOnNaN(), RunCheckpoint(tmp_path, "1e-9s")],
                best=Best(restore="never"),
                resume=Checkpoint.load(tmp_path) if resume else None,
            )
        caught.append((diverged.value.epoch, diverged.value.step))
    assert len(Checkpoint.load(tmp_path).begun)
    assert caught[0] == caught[1]
