"""What `MLflowLogger` logs, as MLflow's client reads it back from a folder."""

import errno
import math
import os
import re
import sys

import numpy as np
import pytest
from irises import cut_short, fail_in, iris

from mlpgpu import InputError, MLPClassifier, Model
from mlpgpu.callbacks import LambdaCallback, LearningRateScheduler, MLflowLogger, RunCheckpoint, TerminateOnNaN
from mlpgpu.callbacks import mlflow as module
from mlpgpu.training.checkpoint import Checkpoint
from mlpgpu.training.run import Diverged

mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")


@pytest.fixture
def uri(tmp_path, monkeypatch):
    """URI of an empty folder for runs, with no variable of MLflow set."""
    for name in ("TRACKING_URI", "EXPERIMENT_NAME", "EXPERIMENT_ID", "RUN_ID"):
        monkeypatch.delenv(f"MLFLOW_{name}", raising=False)
    return (tmp_path / "mlruns").as_uri()


def runs_in(uri, experiment="Default"):
    """Return the runs of an experiment in the order of their start."""
    client = mlflow.MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    return client.search_runs([found.experiment_id], order_by=["attributes.start_time ASC"])


def only_run(uri, experiment="Default"):
    (run,) = runs_in(uri, experiment)
    return run


def values(uri, run, name="loss"):
    """Return (epoch, value) for each time that a metric was sent."""
    return [
        (metric.step, metric.value) for metric in mlflow.MlflowClient(uri).get_metric_history(run.info.run_id, name)
    ]


def model_of(uri, run, folder):
    (file,) = mlflow.MlflowClient(uri).list_artifacts(run.info.run_id)
    return Model.load(mlflow.MlflowClient(uri).download_artifacts(run.info.run_id, file.path, str(folder)))


def test_what_a_run_leaves(uri, tmp_path):
    callback = MLflowLogger(uri, "flowers", "first", {"who": "me", "why": "a test"})
    outcome = iris(callback, optimizer="momentum", learning_rate=0.05, momentum=0.8, dropout=0.25, seed=3)
    run = only_run(uri, "flowers")
    assert run.info.run_name == "first"
    assert run.info.status == "FINISHED"
    assert run.data.tags.items() >= {"who": "me", "why": "a test"}.items()
    assert run.data.params.items() >= {
        "dataset": "iris", "layers": "4,8,3", "activation": "relu", "loss": "cross_entropy", "optimizer": "momentum",
        "momentum": "0.8", "learning_rate": "0.05", "batch_size": "10", "epochs": "6", "seed": "3", "dtype": "float32",
        "dropout": "0.25", "input_dropout": "0.1", "n_train": "108",
    }.items()  # fmt: skip
    history = outcome.run.history
    assert run.data.metrics.keys() == history[0].keys() - {"epoch"}
    for name in run.data.metrics:
        assert values(uri, run, name) == [(record["epoch"], record[name]) for record in history]
    np.testing.assert_array_equal(model_of(uri, run, tmp_path).params, outcome.model.params)


def test_each_epoch_is_there_when_it_ends(uri):
    seen = []

    def look(run, record):
        one = only_run(uri)
        seen.append((one.info.status, [epoch for epoch, _ in values(uri, one)]))

    iris(MLflowLogger(uri), LambdaCallback(on_epoch_end=look), epochs=3)
    assert seen == [("RUNNING", [1]), ("RUNNING", [1, 2]), ("RUNNING", [1, 2, 3])]


def test_two_runs_with_one_callback(uri):
    callback = MLflowLogger(uri)
    for epochs in (3, 2):
        iris(callback, epochs=epochs)
    assert [[epoch for epoch, _ in values(uri, run)] for run in runs_in(uri)] == [[1, 2, 3], [1, 2]]


def test_a_run_that_an_error_ends_has_failed(uri):
    with pytest.raises(OSError, match="device lost"):
        iris(MLflowLogger(uri), fail_in(3, OSError("device lost")))
    run = only_run(uri)
    assert run.info.status == "FAILED"
    assert [epoch for epoch, _ in values(uri, run)] == [1, 2]
    assert mlflow.MlflowClient(uri).list_artifacts(run.info.run_id) == []


def test_an_error_that_is_being_handled_is_not_that_of_the_run(uri):
    try:
        raise KeyError("before")
    except KeyError:
        iris(MLflowLogger(uri), epochs=1)
        with pytest.raises(OSError, match="device lost"):
            iris(MLflowLogger(uri), fail_in(2, OSError("device lost")))
    assert [run.info.status for run in runs_in(uri)] == ["FINISHED", "FAILED"]


@pytest.mark.parametrize("how", ["politely", "at once"])
def test_a_run_that_is_interrupted_was_killed(uri, how):
    if how == "at once":
        with pytest.raises(KeyboardInterrupt):
            iris(MLflowLogger(uri), fail_in(2, KeyboardInterrupt))
    else:
        iris(MLflowLogger(uri), LambdaCallback(on_epoch_end=lambda run, record: run.stop("interrupted", final=False)))
    assert only_run(uri).info.status == "KILLED"


def test_a_run_that_diverges_has_failed(uri, tmp_path):
    far_too_fast = {"optimizer": "sgd", "learning_rate": 1e30}
    with pytest.raises(Diverged):
        iris(MLflowLogger(uri), on_divergence="stop", **far_too_fast)
    # This run restores its best weights, and has failed all the same.
    schedule = LearningRateScheduler(lambda epoch, rate: 1e30 if epoch == 3 else rate)
    outcome = iris(MLflowLogger(uri), TerminateOnNaN(), schedule, optimizer="sgd")
    one, two = runs_in(uri)
    assert (one.info.status, two.info.status) == ("FAILED", "FAILED")
    np.testing.assert_array_equal(model_of(uri, two, tmp_path).params, outcome.model.params)


def test_a_run_that_is_stopped_has_finished(uri):
    iris(MLflowLogger(uri), LambdaCallback(on_epoch_end=lambda run, record: run.stop("enough")))
    assert only_run(uri).info.status == "FINISHED"


def test_a_run_that_is_resumed_goes_on_in_its_own(uri, tmp_path):
    checkpoint = cut_short(tmp_path / "checkpoints", MLflowLogger(uri))
    assert [epoch for epoch, _ in values(uri, only_run(uri))] == [1, 2, 3]
    assert len(checkpoint.history) == 2
    seen = []
    look = LambdaCallback(on_epoch_end=lambda run, record: seen.append(only_run(uri).info.status))
    outcome = iris(MLflowLogger(uri), look, resume=checkpoint)
    assert seen == ["RUNNING"] * 4
    run = only_run(uri)
    assert run.info.status == "FINISHED"
    assert values(uri, run) == [(record["epoch"], record["loss"]) for record in outcome.run.history]
    np.testing.assert_array_equal(model_of(uri, run, tmp_path).params, outcome.model.params)


def test_a_run_that_is_resumed_within_its_first_epoch(uri, tmp_path, step_by_step):
    save = LambdaCallback(on_steps=lambda run, done, losses: done == 4 and run.checkpoint(tmp_path / "one"))
    with pytest.raises(OSError, match="device lost"):
        iris(
            MLflowLogger(uri),
            save,
            LambdaCallback(
                on_steps=lambda run, done, losses: done == 6 and (_ for _ in ()).throw(OSError("device lost"))
            ),
        )
    iris(MLflowLogger(uri), resume=Checkpoint.load(tmp_path / "one"))
    assert [epoch for epoch, _ in values(uri, only_run(uri))] == [1, 2, 3, 4, 5, 6]


def test_a_run_that_is_resumed_elsewhere_is_all_there(uri, tmp_path):
    iris(RunCheckpoint(tmp_path / "checkpoints", 2), epochs=6)
    outcome = iris(MLflowLogger(uri), resume=Checkpoint.load(tmp_path / "checkpoints" / "previous.safetensors"))
    assert values(uri, only_run(uri)) == [(record["epoch"], record["loss"]) for record in outcome.run.history]


def test_a_run_that_is_gone_cannot_go_on(uri, tmp_path):
    checkpoint = cut_short(tmp_path / "checkpoints", MLflowLogger(uri))
    other = (tmp_path / "other").as_uri()
    with pytest.raises(InputError, match=rf"cannot log to MLflow at {other}: .* not found; set MLFLOW_TRACKING_URI"):
        iris(MLflowLogger(other), resume=checkpoint)


def test_an_active_run_is_joined(uri):
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        with mlflow.start_run(run_name="mine") as mine:
            mlflow.log_params({"own": 1, "l2": 0.0})
            outcome = iris(MLflowLogger(tags={"who": "me"}))
            assert mlflow.active_run().info.run_id == mine.info.run_id
            run = only_run(uri)
            assert run.info.status == "RUNNING"
            assert run.data.params.items() >= {"own": "1", "l2": "0.0", "layers": "4,8,3"}.items()
            assert run.data.tags["who"] == "me"
            assert values(uri, run) == [(record["epoch"], record["loss"]) for record in outcome.run.history]
            with pytest.raises(InputError, match=f"the active MLflow run {mine.info.run_id} has a training already"):
                iris(MLflowLogger())
            # A run with a name of its own does not join the active run.
            iris(MLflowLogger(run_name="other"))
            assert mlflow.active_run().info.run_id == mine.info.run_id
        assert [(run.info.run_name, run.info.status) for run in runs_in(uri)] == [
            ("mine", "FINISHED"), ("other", "FINISHED")
        ]  # fmt: skip
    finally:
        mlflow.set_tracking_uri(before)


def test_an_active_run_that_is_resumed(uri, tmp_path):
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        with mlflow.start_run() as mine, pytest.raises(OSError, match="device lost"):
            iris(MLflowLogger(), RunCheckpoint(tmp_path, 2), fail_in(4, OSError("device lost")))
        with mlflow.start_run(run_id=mine.info.run_id):
            outcome = iris(MLflowLogger(), resume=Checkpoint.load(tmp_path))
    finally:
        mlflow.set_tracking_uri(before)
    assert values(uri, only_run(uri)) == [(record["epoch"], record["loss"]) for record in outcome.run.history]


def test_the_surroundings_say_where(uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "named outside")
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
    for _ in range(2):
        iris(MLflowLogger(), epochs=1)
    assert len(runs_in(uri, "named outside")) == 2


def test_an_estimator(uri, tmp_path):
    x = np.random.default_rng(0).normal(size=(80, 3))
    fitted = MLPClassifier(
        (5,), max_iter=200, early_stopping=True, n_iter_no_change=2, random_state=0, callbacks=[MLflowLogger(uri)]
    ).fit(x, x[:, 0] > 0)
    run = only_run(uri)
    assert run.info.status == "FINISHED"
    assert run.data.params.items() >= {"optimizer": "adam_hat", "layers": "3,5,1", "loss": "logistic"}.items()
    assert values(uri, run, "validation_score") == [
        (record["epoch"], record["validation_score"]) for record in fitted.history_
    ]
    np.testing.assert_allclose(model_of(uri, run, tmp_path).predict_proba(x), fitted.predict_proba(x), rtol=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_another_solver_and_functions_of_ones_own(uri):
    x = np.random.default_rng(0).normal(size=(80, 3))
    square = (lambda xp, z: z * z, lambda xp, z, y: 2 * z)
    fitted = MLPClassifier(
        (5,), activation=square, solver="lbfgs", max_iter=5, callbacks=[MLflowLogger(uri)]
    ).fit(x, x[:, 0] > 0)  # fmt: skip
    run = only_run(uri)
    assert run.info.status == "FINISHED"
    assert [epoch for epoch, _ in values(uri, run)] == list(range(1, fitted.n_iter_ + 1))
    assert run.data.params["optimizer"] == "lbfgs"
    assert mlflow.MlflowClient(uri).list_artifacts(run.info.run_id) == []


def test_a_value_that_is_long_or_no_number(uri, monkeypatch):
    # By default, MLflow truncates long values as well, with a warning.
    monkeypatch.setenv("MLFLOW_TRUNCATE_LONG_VALUES", "false")
    add = LambdaCallback(on_epoch_end=lambda run, record: record.update(extra=math.nan))
    iris(add, MLflowLogger(uri), epochs=1, run_dir="x" * 6001)
    run = only_run(uri)
    assert run.data.params["run_dir"] == "x" * 6000
    assert math.isnan(run.data.metrics["extra"])


def test_what_mlflow_missed_is_sent_later(uri, monkeypatch, caplog):
    """A server that does not answer for two epochs, and again at the end, does not stop the run."""
    send, calls = mlflow.MlflowClient.log_batch, []

    def log_batch(client, *args, **kwargs):
        calls.append(kwargs)
        if len(calls) in {3, 4}:
            raise mlflow.exceptions.MlflowException("no answer")
        return send(client, *args, **kwargs)

    def gone(*args):
        raise mlflow.exceptions.MlflowException("gone")

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", log_batch)
    monkeypatch.setattr(mlflow.MlflowClient, "log_artifact", gone)
    with caplog.at_level("WARNING", module.__name__):
        iris(MLflowLogger(uri))
    assert [epoch for epoch, _ in values(uri, only_run(uri))] == [1, 2, 3, 4, 5, 6]
    assert only_run(uri).info.status == "FINISHED"
    assert [message for name, _, message in caplog.record_tuples if name == module.__name__] == [
        *["MLflow: no answer; the run goes on without it"] * 2, "MLflow: gone; the run goes on without it"
    ]  # fmt: skip


def test_an_address_that_cannot_be_used_ends_it_before_it_begins(uri):
    begun = []
    with pytest.raises(InputError, match="cannot log to MLflow at nowhere://x: .*; set MLFLOW_TRACKING_URI") as caught:
        iris(MLflowLogger("nowhere://x"), LambdaCallback(on_epoch_begin=begun.append))
    assert begun == []
    assert "\n" not in str(caught.value)


def test_without_mlflow_nothing_begins(uri, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    begun = []
    with pytest.raises(InputError, match=re.escape("not installed; pip install 'mlpgpu[mlflow]'")):
        iris(MLflowLogger(uri), LambdaCallback(on_epoch_begin=begun.append))
    assert begun == []


def test_a_model_file_that_cannot_be_sent_ends_no_run(uri, monkeypatch, caplog):
    """A full disk and a failed request both raise an OSError, at a time when training is over."""

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "model.safetensors")

    monkeypatch.setattr(mlflow.MlflowClient, "log_artifact", full)
    with caplog.at_level("WARNING", module.__name__):
        assert len(iris(MLflowLogger(uri)).run.history) == 6
    assert only_run(uri).info.status == "FINISHED"
    (said,) = [message for name, _, message in caplog.record_tuples if name == module.__name__]
    assert "No space left on device: 'model.safetensors'; the run goes on without it" in said


# SQLAlchemy warns of the way in which MLflow uses it.
@pytest.mark.filterwarnings("ignore")
def test_a_database_as_mlflow_has_it_by_default(uri, tmp_path, monkeypatch):
    for name in ("sqlalchemy", "alembic"):
        pytest.importorskip(name, reason=f"{name} is not installed, which MLflow's database needs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
    outcome = iris(MLflowLogger())
    assert (tmp_path / "mlflow.db").exists()
    run = only_run(f"sqlite:///{tmp_path}/mlflow.db")
    assert run.info.status == "FINISHED"
    assert values(f"sqlite:///{tmp_path}/mlflow.db", run) == [(r["epoch"], r["loss"]) for r in outcome.run.history]
    np.testing.assert_array_equal(
        model_of(f"sqlite:///{tmp_path}/mlflow.db", run, tmp_path).params, outcome.model.params
    )


def test_without_a_database_it_is_said_what_brings_one(uri, tmp_path, monkeypatch):
    """MLflow's client does not install SQLAlchemy, and its own message speaks of a model registry."""
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(
        InputError, match=r"cannot log to MLflow at sqlite:.*: .*; set .*pip install 'mlpgpu\[mlflow\]'"
    ):
        iris(MLflowLogger(f"sqlite:///{tmp_path}/mlflow.db"))
