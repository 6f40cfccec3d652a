"""The history of a run as a CSV file and as JSON lines."""

import copy
import csv
import json
import math

import pytest
from irises import cut_short, fail_in, iris
from played import play, record_of, run_of

from mlpgpu import InputError
from mlpgpu.callbacks import CSVLogger, JSONLogger, LambdaCallback
from mlpgpu.training.checkpoint import Checkpoint

LOGGERS = {"csv": CSVLogger, "jsonl": JSONLogger}


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_history_is_complete_after_each_epoch(tmp_path):
    path = tmp_path / "history.csv"
    records = [record_of(epoch) for epoch in range(1, 6)]
    for epoch in play(run_of(), records, CSVLogger(path)):
        rows = read(path)
        assert [list(row) for row in rows] == [list(records[0])] * epoch
        # Numbers are read back exactly.
        assert [{key: float(value) for key, value in row.items()} for row in rows] == records[:epoch]
        assert [row["epoch"] for row in rows] == [str(n) for n in range(1, epoch + 1)]
        assert list(tmp_path.iterdir()) == [path]


def test_a_history_takes_the_place_of_an_old_one(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("old\n" * 1000)
    logger = CSVLogger(path)
    for epochs in (3, 1):
        records = [record_of(epoch) for epoch in range(1, epochs + 1)]
        list(play(run_of(), records, logger))
        assert [row["epoch"] for row in read(path)] == [str(record["epoch"]) for record in records]


def test_a_history_that_cannot_be_written_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(play(run_of(), [record_of(1)], CSVLogger(tmp_path / "none" / "history.csv")))


def test_a_history_ends_with_the_last_epoch_before_an_error(tmp_path):
    path = tmp_path / "history.csv"
    logger, records = CSVLogger(path), [record_of(1), record_of(2), record_of(3)]
    with pytest.raises(OSError, match="device lost"):
        list(play(run_of(), records, logger, fail_in(3, OSError("device lost"))))
    assert [row["epoch"] for row in read(path)] == ["1", "2"]
    copy.deepcopy(logger)


def test_a_history_may_go_on(tmp_path):
    path = tmp_path / "history.csv"
    logger = CSVLogger(str(path), append=True)
    for _ in range(2):
        list(play(run_of(), [record_of(1), record_of(2)], logger))
    assert [row["epoch"] for row in read(path)] == ["1", "2", "1", "2"]
    path.write_text("")
    list(play(run_of(), [record_of(1)], logger))
    assert [row["epoch"] for row in read(path)] == ["1"]


@pytest.mark.parametrize("suffix", LOGGERS)
def test_a_last_line_without_its_end_stays_apart_from_the_next(tmp_path, suffix):
    path = tmp_path / f"history.{suffix}"
    for _ in range(2):
        list(play(run_of(), [record_of(1)], LOGGERS[suffix](path, append=True)))
        path.write_bytes(path.read_bytes().rstrip())
    lines = path.read_text().splitlines()
    assert len(lines) == {"csv": 3, "jsonl": 2}[suffix]
    assert lines[-1] == lines[-2]


def test_a_history_of_other_columns_does_not_go_on(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("epoch,loss\n1,2.0\n")
    with pytest.raises(
        InputError, match=r"has the columns epoch, loss, and this run epoch, loss, train_accuracy, .*new"
    ):
        list(play(run_of(), [record_of(1)], CSVLogger(path, append=True)))
    assert path.read_text() == "epoch,loss\n1,2.0\n"


def test_a_history_is_that_of_the_run(tmp_path):
    run = iris(CSVLogger(tmp_path / "history.csv")).run
    assert [{key: float(value) for key, value in row.items()} for row in read(tmp_path / "history.csv")] == run.history


# --- JSONLogger -----------------------------------------------------------------------------------------------------


def lines(path):
    def no_such_word(word):
        raise ValueError(f"{word} is not JSON")

    return [json.loads(line, parse_constant=no_such_word) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_line_of_json_after_each_epoch(tmp_path):
    path = tmp_path / "history.jsonl"
    records = [record_of(epoch) for epoch in range(1, 6)]
    for epoch in play(run_of(), records, JSONLogger(path)):
        assert lines(path) == records[:epoch]
        assert path.read_text().endswith("}\n")


def test_what_is_no_finite_number_is_null(tmp_path):
    path = tmp_path / "history.jsonl"
    record = record_of(1, loss=math.nan, validation_loss=math.inf, train_loss=-math.inf)
    list(play(run_of(), [record], JSONLogger(path)))
    assert lines(path) == [record | {"loss": None, "validation_loss": None, "train_loss": None}]


def test_lines_may_go_on(tmp_path):
    path = tmp_path / "history.jsonl"
    for append in (False, True, True, False, True):
        list(play(run_of(), [record_of(1), record_of(2)], JSONLogger(path, append=append)))
    assert [line["epoch"] for line in lines(path)] == [1, 2, 1, 2]


# --- both -----------------------------------------------------------------------------------------------------------


def epochs_in(path):
    return [int(row["epoch"]) for row in (read(path) if path.suffix == ".csv" else lines(path))]


@pytest.mark.parametrize("suffix", LOGGERS)
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("then", [False, True])
def test_a_run_that_is_resumed_has_each_epoch_once(tmp_path, suffix, first, then):
    path = tmp_path / f"history.{suffix}"
    make = LOGGERS[suffix]
    checkpoint = cut_short(tmp_path / "checkpoints", make(path, append=first))
    assert epochs_in(path) == [1, 2, 3]
    assert len(checkpoint.history) == 2
    run = iris(make(path, append=then), resume=checkpoint).run
    assert epochs_in(path) == [1, 2, 3, 4, 5, 6]
    rows = read(path) if suffix == "csv" else lines(path)
    assert [float(row["loss"]) for row in rows] == [record["loss"] for record in run.history]


@pytest.mark.parametrize("suffix", LOGGERS)
def test_what_an_earlier_run_left_in_the_file_stays(tmp_path, suffix):
    path = tmp_path / f"history.{suffix}"
    logger = LOGGERS[suffix](path, append=True)
    iris(logger, epochs=2)
    checkpoint = cut_short(tmp_path / "checkpoints", logger)
    # As after a write that was cut off in the middle of a line.
    path.write_bytes(path.read_bytes()[:-7])
    iris(logger, resume=checkpoint)
    assert epochs_in(path) == [1, 2, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("suffix", LOGGERS)
def test_a_run_that_is_resumed_before_its_first_line(tmp_path, suffix, step_by_step):
    """The checkpoint is from within the first epoch, when the file was still empty."""
    path = tmp_path / f"history.{suffix}"
    logger = LOGGERS[suffix](path, append=True)
    save = LambdaCallback(on_steps=lambda run, done, losses: done + run.epoch == 5 and run.checkpoint(tmp_path / "one"))
    checkpoint = None

    def keep(run):
        nonlocal checkpoint
        checkpoint = checkpoint or Checkpoint.load(tmp_path / "one")

    iris(logger, save, LambdaCallback(on_end=keep), epochs=1)
    assert len(checkpoint.history) == 0
    assert epochs_in(path) == [1]
    iris(logger, epochs=1, resume=checkpoint)
    assert epochs_in(path) == [1]


@pytest.mark.parametrize("suffix", LOGGERS)
def test_a_file_that_is_no_longer_there(tmp_path, suffix):
    path = tmp_path / f"history.{suffix}"
    make = LOGGERS[suffix]
    checkpoint = cut_short(tmp_path / "checkpoints", make(path, append=True))
    path.unlink()
    with pytest.raises(
        InputError, match=r"has 0 bytes, and had \d+ when the checkpoint was written; put the file back"
    ):
        iris(make(path, append=True), resume=checkpoint)
    iris(make(path), resume=checkpoint)
    assert epochs_in(path) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("suffix", LOGGERS)
def test_a_full_disk_is_named(tmp_path, suffix, small_files):
    path = tmp_path / f"history.{suffix}"
    with small_files(1000), pytest.raises(OSError, match="too large") as caught:
        list(play(run_of(), [record_of(epoch) for epoch in range(1, 100)], LOGGERS[suffix](path)))
    assert caught.value.filename == str(path)
    assert path.stat().st_size == 1000
