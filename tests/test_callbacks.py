import contextlib
import csv
import io
import re
from types import SimpleNamespace

import pytest

from mlpgpu import callbacks
from mlpgpu.callbacks import Callback, EarlyStopping, EpochLines, HistoryFile, ProgressBar, describe, finalised
from mlpgpu.trainer import Run


def run_of(epochs=12, steps=4, rows=100):
    return Run(SimpleNamespace(epochs=epochs, steps_per_epoch=steps), rows)


def record_of(epoch, **more):
    return {
        "epoch": epoch,
        "train_loss": 0.123456 / epoch,
        "train_accuracy": 0.9,
        "validation_loss": 0.25,
        "validation_accuracy": 0.97531,
        "learning_rate": 1e-3,
        "seconds": 0.1 + 0.2,
        "samples_per_second": 123456.7,
        **more,
    }


def play(run, callback, records):
    """A run of these records, as the trainer tells of it."""
    with finalised([callback], run):
        for run.epoch, record in enumerate(records, 1):
            for done in range(1, run.plan.steps_per_epoch + 1):
                callback.on_steps(run, done)
            run.history.append(record)
            callback.on_epoch_end(run, record)
            yield run.epoch


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
    """What it would end is not there yet."""
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
    list(play(run, Callback(), []))
    assert vars(run) == before


@pytest.mark.parametrize(("losses", "patience", "stops"), [
    ([5, 4, 3, 4, 5, 6], 2, 5),
    ([5, 4, 3, 4, 5, 6], 1, 4),
    ([5, 6, 4, 6, 6, 6], 3, 6),
    ([6, 5, 4, 3, 2, 1], 1, None),
])  # fmt: skip
def test_early_stopping_waits_for_patience(losses, patience, stops):
    run, stopping = run_of(), EarlyStopping(patience)
    for run.epoch, loss in enumerate(losses, 1):
        run.history.append(record_of(run.epoch, validation_loss=loss))
        run.best_epoch = 1 + losses.index(min(losses[: run.epoch]))
        stopping.on_epoch_end(run, run.history[-1])
        if run.stopped:
            break
    assert (run.epoch if run.stopped else None) == stops
    assert run.stopped in {"", "early stopping"}


# --- history --------------------------------------------------------------------------------------------------------


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_history_is_complete_after_each_epoch(tmp_path):
    path = tmp_path / "history.csv"
    records = [record_of(epoch) for epoch in range(1, 6)]
    for epoch in play(run_of(), HistoryFile(path), records):
        rows = read(path)
        assert [list(row) for row in rows] == [list(records[0])] * epoch
        # Numbers come back as they were, to the last digit.
        assert [{key: float(value) for key, value in row.items()} for row in rows] == records[:epoch]
        assert [row["epoch"] for row in rows] == [str(n) for n in range(1, epoch + 1)]
        assert list(tmp_path.iterdir()) == [path]


def test_a_history_takes_the_place_of_an_old_one(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("old\n" * 1000)
    list(play(run_of(), HistoryFile(path), [record_of(1)]))
    assert len(read(path)) == 1


def test_a_history_that_cannot_be_written_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(play(run_of(), HistoryFile(tmp_path / "none" / "history.csv"), [record_of(1)]))


def test_a_history_ends_with_the_last_epoch_before_an_error(tmp_path):
    path = tmp_path / "history.csv"

    class Fails(HistoryFile):
        def on_steps(self, run, done):
            if run.epoch == 3:
                raise OSError("device lost")

    with pytest.raises(OSError, match="device lost"):
        list(play(run_of(), Fails(path), [record_of(1), record_of(2), record_of(3)]))
    assert [row["epoch"] for row in read(path)] == ["1", "2"]


# --- lines ----------------------------------------------------------------------------------------------------------


def lines_of(records, **given):
    lines = []
    run = run_of()
    list(play(run, EpochLines(write=lines.append, **given), records))
    return lines


def test_a_line_tells_the_figures():
    assert lines_of([record_of(1)]) == [
        "epoch  1/12  loss 0.1235  train accuracy 90.00%  validation loss 0.2500  validation accuracy 97.53%  "
        "123,457 samples/s"
    ]


def test_a_line_of_a_regression():
    record = {"epoch": 1, "train_loss": 2.0, "train_r2": 0.5, "validation_loss": 3.0, "validation_r2": -0.25}
    assert describe(record | {"samples_per_second": 10.4}) == (
        "loss 2.0000  validation loss 3.0000  train R² 0.5000  validation R² -0.2500  10 samples/s"
    )


def test_a_line_without_validation():
    assert describe({"train_loss": 1, "train_accuracy": 1.0, "samples_per_second": 1e6}) == (
        "loss 1.0000  train accuracy 100.00%  1,000,000 samples/s"
    )


@pytest.mark.parametrize(("every", "told"), [(1, range(1, 13)), (5, [5, 10, 12]), (12, [12]), (100, [12])])
def test_lines_are_as_many_as_asked_for_and_the_last(every, told):
    lines = lines_of([record_of(epoch) for epoch in range(1, 13)], every=every)
    assert [int(re.match(r"epoch +(\d+)/12 ", line)[1]) for line in lines] == list(told)


def test_the_epoch_that_a_run_stops_in_has_a_line():
    lines, run = [], run_of()
    for epoch in play(run, EpochLines(5, lines.append), [record_of(epoch) for epoch in range(1, 4)]):
        if epoch == 2:
            run.stop("early stopping")
    assert [line[:11] for line in lines] == ["epoch  3/12"]


def test_a_long_run_has_some_hundred_lines():
    lines, run = [], run_of(epochs=1000, steps=1)
    list(play(run, EpochLines(write=lines.append), [record_of(epoch) for epoch in range(1, 1001)]))
    assert [int(line.split("/")[0].split()[1]) for line in lines] == list(range(10, 1001, 10))


def test_it_is_said_where_rows_do_not_fit_on_the_device():
    lines, run = [], run_of()
    run.streamed = True
    list(play(run, EpochLines(write=lines.append), [record_of(1)]))
    assert len(lines) == 2
    assert "does not fit on the device" in lines[0]


def test_lines_go_to_standard_output(capsys):
    list(play(run_of(), EpochLines(), [record_of(1)]))
    assert capsys.readouterr().out.startswith("epoch  1/12  loss 0.1235  ")


# --- bar ------------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets; between two readings it moves on by a microsecond."""
    clock = SimpleNamespace(now=1000.0)

    def read():
        clock.now += 1e-6
        return clock.now

    clock.perf_counter = read
    monkeypatch.setattr(callbacks, "time", clock)
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    return clock


def frames(terminal):
    """What was drawn, line by line, without colours and moves of the cursor."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    return [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]


def test_a_bar_shows_epoch_loss_accuracy_and_speed(clock):
    terminal, run = Terminal(), run_of()
    for epoch in play(run, ProgressBar(terminal), [record_of(1), record_of(2)]):
        last = frames(terminal)[-1]
        assert last.startswith(f"epoch {epoch}/12 ")
        assert f"loss {0.123456 / epoch:.4f}" in last
        assert "val accuracy 97.53%" in last
    run = run_of()
    bar = ProgressBar(terminal)
    bar.on_begin(run)
    run.epoch = 3
    clock.now += 0.5
    bar.on_steps(run, 2)
    bar.on_end(run)
    # Ten steps of 25 rows in half a second.
    assert "500 samples/s" in frames(terminal)[-1]
    assert frames(terminal)[-1].startswith("epoch 3/12 ")


def test_a_bar_shows_the_r2_of_a_regression(clock):
    terminal = Terminal()
    list(play(run_of(), ProgressBar(terminal), [{"train_loss": 0.5, "validation_r2": 0.25}]))
    assert "loss 0.5000  val R² 0.2500" in frames(terminal)[-1]


@pytest.mark.parametrize("columns", ["80", "100"])
def test_a_bar_is_one_line_of_the_terminal(clock, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    terminal, run = Terminal(), run_of(epochs=100)
    bar = ProgressBar(terminal)
    bar.on_begin(run)
    run.epoch = 99
    bar.on_epoch_end(run, record_of(99))
    clock.now += 0.5
    run.epoch = 100
    bar.on_steps(run, 4)
    bar.on_end(run)
    assert all(len(line) <= int(columns) for line in frames(terminal))
    for part in ("epoch 100/100", "loss 0.0012", "val accuracy 97.53%", "20,000 samples/s"):
        assert part in frames(terminal)[-1]


def test_a_bar_is_not_drawn_for_every_step(clock):
    terminal, run = Terminal(), run_of(steps=1000)
    bar = ProgressBar(terminal)
    bar.on_begin(run)
    run.epoch = 1
    drawn = []
    for done in range(1, 1001):
        clock.now += 0.001
        before = len(terminal.getvalue())
        bar.on_steps(run, done)
        drawn.append(len(terminal.getvalue()) > before)
    bar.on_end(run)
    assert 1 <= sum(drawn) <= 10


def test_a_bar_that_ends_gives_the_cursor_back(clock):
    terminal = Terminal()
    with pytest.raises(OSError, match="disk full"), finalised([ProgressBar(terminal)], run_of()):
        raise OSError("disk full")
    assert terminal.getvalue().rstrip().endswith("\x1b[?25h")


def test_a_bar_goes_where_standard_output_goes(clock):
    terminal = Terminal()
    with contextlib.redirect_stdout(terminal):
        list(play(run_of(), ProgressBar(), [record_of(1)]))
    assert "loss 0.1235" in terminal.getvalue()
