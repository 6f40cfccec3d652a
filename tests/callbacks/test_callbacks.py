"""When callbacks are called, and what each takes as arguments and does in a second run."""

import math
import pickle
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from irises import four_epochs as iris
from played import play, run_of

from mlpgpu import InputError, callbacks
from mlpgpu.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    JSONLogger,
    LambdaCallback,
    LearningRateScheduler,
    MLflowLogger,
    ModelCheckpoint,
    ReduceLROnPlateau,
    RunCheckpoint,
    TensorBoard,
    TerminateOnNaN,
    TimeLimit,
)
from mlpgpu.callbacks.base import finalised

pytestmark = pytest.mark.usefixtures("step_by_step")


pytestmark = pytest.mark.usefixtures("step_by_step")


class Named(Callback):
    def __init__(self, name, told, fails=""):
        self.name, self.told, self.fails = name, told, fails

    def on_begin(self, run):
        self.tell("begin")

    def on_end(self, run):
        self.tell("end")

    def tell(self, what):
        self.told.append(f"{what} {self.name}")
        if self.fails == what:
            raise RuntimeError(f"{what} {self.name}")


def test_those_that_began_are_ended_last_first():
    told = []
    with finalised([Named(name, told) for name in "abc"], run_of()):
        told.append("run")
    assert told == ["begin a", "begin b", "begin c", "run", "end c", "end b", "end a"]


def test_they_are_ended_after_an_error():
    told = []
    with pytest.raises(KeyboardInterrupt), finalised([Named(name, told) for name in "ab"], run_of()):
        raise KeyboardInterrupt
    assert told == ["begin a", "begin b", "end b", "end a"]


def test_they_are_ended_where_another_does_not_begin():
    told = []
    with (
        pytest.raises(RuntimeError, match="begin b"),
        finalised([Named("a", told), Named("b", told, "begin")], run_of()),
    ):
        told.append("run")
    assert "run" not in told
    assert told[-1] == "end a"


def test_one_that_did_not_begin_is_not_ended():
    """Its `on_end` would need what `on_begin` did not set up."""
    told = []
    with (
        pytest.raises(RuntimeError, match="begin b"),
        finalised([Named("a", told), Named("b", told, "begin"), Named("c", told)], run_of()),
    ):
        pass
    assert told == ["begin a", "begin b", "end a"]


def test_they_are_ended_where_another_does_not_end():
    told = []
    with pytest.raises(RuntimeError, match="end b"), finalised([Named("a", told), Named("b", told, "end")], run_of()):
        pass
    assert told[-2:] == ["end b", "end a"]


def test_a_callback_does_nothing_of_itself():
    run = run_of()
    before = vars(run).copy()
    list(play(run, [], Callback()))
    assert vars(run) == before


def test_all_are_told_in_order():
    told = []
    hooks = {
        "on_begin": lambda run: told.append("begin"),
        "on_epoch_begin": lambda run: told.append(f"epoch {run.epoch}"),
        "on_steps": lambda run, done, losses: told.append(done),
        "on_epoch_end": lambda run, record: told.append(record),
        "on_end": lambda run: told.append("end"),
    }
    run = iris(LambdaCallback(**hooks), LambdaCallback(), epochs=2).run
    steps = list(range(1, 12))
    assert told == ["begin", "epoch 1", *steps, run.history[0], "epoch 2", *steps, run.history[1], "end"]


@pytest.mark.parametrize(("make", "message"), [
    (lambda: EarlyStopping(patience=-1), "patience is -1; allowed: a whole number from 0 up"),
    (lambda: EarlyStopping(patience=1.5), "patience is 1.5; allowed: a whole number from 0 up"),
    (lambda: EarlyStopping("loss", mode="most"), "mode is 'most'; allowed: auto, min, max"),
    (lambda: EarlyStopping("loss", min_delta=-0.1), "min_delta is -0.1; allowed: a number from 0 up"),
    (lambda: EarlyStopping("loss", baseline=math.nan), "baseline is nan; allowed: a number"),
    (lambda: EarlyStopping(start_from_epoch=-1), "start_from_epoch is -1; allowed: a whole number from 0 up"),
    *(
        (
            partial(EarlyStopping, **given),
            "mode is {mode!r}, min_delta is {min_delta} and baseline is {baseline} without a monitor to apply to; "
            "give a monitor, such as 'validation_loss', or leave them out".format(
                **{"mode": "auto", "min_delta": 0.0, "baseline": None} | given
            ),
        )
        for given in ({"mode": "min"}, {"min_delta": 0.5}, {"baseline": 1.0})
    ),
    (lambda: ModelCheckpoint("m", mode="less"), "mode is 'less'; allowed: auto, min, max"),
    (lambda: ModelCheckpoint("m", save_every=0), "save_every is 0; allowed: a whole number from 1 up"),
    (lambda: ModelCheckpoint("m", save_best_only="loss"), "save_best_only is 'loss'; allowed: true or false"),
    (lambda: ReduceLROnPlateau(factor=1), "factor is 1; allowed: a number above 0 to below 1"),
    (lambda: ReduceLROnPlateau(factor=0), "factor is 0; allowed: a number above 0 to below 1"),
    (lambda: ReduceLROnPlateau(patience=-1), "patience is -1; allowed: a whole number from 0 up"),
    (lambda: ReduceLROnPlateau(cooldown=-1), "cooldown is -1; allowed: a whole number from 0 up"),
    (lambda: ReduceLROnPlateau(mode=None), "mode is None; allowed: auto, min, max"),
    (lambda: ReduceLROnPlateau(min_learning_rate=-1), "min_learning_rate is -1; allowed: a number from 0 up"),
    (lambda: LearningRateScheduler(0.1), "schedule is 0.1; allowed: a function of the epoch and the learning rate"),
    (lambda: CSVLogger("h.csv", append="a"), "append is 'a'; allowed: true or false"),
    (lambda: JSONLogger("h.jsonl", append=1), "append is 1; allowed: true or false"),
    (lambda: TensorBoard("logs", histogram_freq=-1), "histogram_freq is -1; allowed: a whole number from 0 up"),
    (lambda: TensorBoard("logs", histogram_freq=None), "histogram_freq is None; allowed: a whole number from 0 up"),
    (lambda: TimeLimit(0), "seconds is 0; allowed: a number above 0"),
    (lambda: TimeLimit(math.nan), "seconds is nan; allowed: a number above 0"),
    (lambda: TimeLimit(None), "seconds is None; allowed: a number above 0"),
    (lambda: LambdaCallback(on_end=1), "on_end is 1; allowed: a function that takes what Callback.on_end takes"),
])  # fmt: skip
def test_arguments_that_are_not_allowed(make, message):
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value) == message


def halved(epoch, rate):
    return rate / 2


def stop_in_second(run, record):
    if run.epoch == 2:
        run.stop("enough")


MAKE = {
    "Callback": lambda folder: Callback(),
    "EarlyStopping": lambda folder: EarlyStopping("learning_rate", patience=2, mode="max"),
    "ModelCheckpoint": lambda folder: ModelCheckpoint(folder / "best", save_best_only=True),
    "ReduceLROnPlateau": lambda folder: ReduceLROnPlateau("epoch", patience=2, cooldown=1),
    "LearningRateScheduler": lambda folder: LearningRateScheduler(halved),
    "RunCheckpoint": lambda folder: RunCheckpoint(folder, every=4),
    "CSVLogger": lambda folder: CSVLogger(folder / "history.csv"),
    "JSONLogger": lambda folder: JSONLogger(folder / "history.jsonl"),
    "TensorBoard": lambda folder: TensorBoard(folder, histogram_freq=2),
    "MLflowLogger": lambda folder: MLflowLogger(folder / "mlruns"),
    "TerminateOnNaN": lambda folder: TerminateOnNaN(),
    "TimeLimit": lambda folder: TimeLimit(1e9),
    "LambdaCallback": lambda folder: LambdaCallback(on_epoch_end=stop_in_second),
}
NEEDS = {"TensorBoard": "tensorboardX", "MLflowLogger": "mlflow"}


def test_every_callback_is_tested_here():
    # The progress bar is tested in test_progress.py.
    assert {*MAKE, "ProgressBar"} == set(callbacks.__all__)


@pytest.mark.parametrize("name", MAKE)
# A copy by `copy.deepcopy` goes the same way as one by `pickle`.
@pytest.mark.parametrize("copied", [lambda one: one, lambda one: pickle.loads(pickle.dumps(one))], ids=["same", "copy"])
def test_one_that_was_used_starts_afresh(tmp_path, name, copied):
    """A used callback, or a copy of it, does in a second run what it did in the first."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"{NEEDS[name]} is not installed")
    callback = copied(MAKE[name](tmp_path))
    runs, files = [], []
    for _ in range(2):
        outcome = iris(callback, learning_rate=0.1, epochs=6)
        runs.append([outcome.run.stopped, [record["learning_rate"] for record in outcome.run.history]])
        np.testing.assert_array_equal(
            outcome.model.params, iris(MAKE[name](tmp_path), learning_rate=0.1, epochs=6).model.params
        )
        # Some names contain the time.
        files.append(sorted(re.sub(r"\d{6,}", "N", path.name) for path in tmp_path.iterdir()))
        for path in filter(Path.is_file, tmp_path.iterdir()):
            path.unlink()
        callback = copied(callback)
    assert runs[0] == runs[1]
    assert files[0] == files[1]
