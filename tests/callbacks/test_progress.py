import contextlib
import copy
import io
import pickle
import re
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from played import play, record_of, run_of

from mlpgpu.callbacks import LambdaCallback, progress
from mlpgpu.callbacks.base import finalised
from mlpgpu.callbacks.progress import EpochLines, ProgressBar, describe

# --- lines ----------------------------------------------------------------------------------------------------------


def lines_of(records, **given):
    lines = []
    run = run_of()
    list(play(run, records, EpochLines(write=lines.append, **given)))
    return lines


def test_a_line_tells_the_figures():
    assert lines_of([record_of(1)]) == [
        "epoch  1/12  loss 0.1235  train accuracy 90.00%  validation loss 0.2500  validation accuracy 97.53%  "
        "123,457 samples/s"
    ]


def test_a_line_of_a_regression():
    record = {"epoch": 1, "loss": 2.0, "train_r2": 0.5, "validation_loss": 3.0, "validation_r2": -0.25}
    assert describe(record | {"samples_per_second": 10.4}) == (
        "loss 2.0000  validation loss 3.0000  train R² 0.5000  validation R² -0.2500  10 samples/s"
    )


@pytest.mark.parametrize(
    ("loss", "said"),
    [(0.25, "0.2500"), (0.0, "0.0000"), (1e-9, "1e-09"), (2500.4, "2,500"), (499645205708.8, "4.996e+11")],
)
def test_a_loss_of_any_size(loss, said):
    assert describe(record_of(1, loss=loss)).startswith(f"loss {said}  train accuracy ")


def test_a_line_without_validation():
    assert describe({"loss": 1, "train_accuracy": 1.0, "samples_per_second": 1e6}) == (
        "loss 1.0000  train accuracy 100.00%  1,000,000 samples/s"
    )


@pytest.mark.parametrize(
    ("every", "told"), [(1, range(1, 13)), ("5", [5, 10, 12]), (12, [12]), (100, [12]), ("none", [12])]
)
def test_lines_are_as_many_as_asked_for_and_the_last(every, told):
    lines = lines_of([record_of(epoch) for epoch in range(1, 13)], every=every)
    assert [int(re.match(r"epoch +(\d+)/12 ", line)[1]) for line in lines] == list(told)


def test_the_epoch_that_a_run_stops_in_has_a_line():
    lines = []
    stops = LambdaCallback(on_epoch_end=lambda run, record: run.stop("enough") if run.epoch == 2 else None)
    list(play(run_of(), [record_of(epoch) for epoch in range(1, 4)], stops, EpochLines(5, lines.append)))
    assert [line[:11] for line in lines] == ["epoch  2/12"]


def test_a_long_run_has_some_hundred_lines():
    lines, run = [], run_of(epochs=1000, steps=1)
    list(play(run, [record_of(epoch) for epoch in range(1, 1001)], EpochLines(write=lines.append)))
    assert [int(line.split("/")[0].split()[1]) for line in lines] == list(range(10, 1001, 10))


def test_it_is_said_where_rows_do_not_fit_on_the_device():
    lines, run = [], run_of()
    run.streamed = True
    list(play(run, [record_of(1)], EpochLines(write=lines.append)))
    assert len(lines) == 2
    assert "does not fit on the device" in lines[0]


def test_lines_go_to_standard_output(capsys):
    list(play(run_of(), [record_of(1)], EpochLines()))
    assert capsys.readouterr().out.startswith("epoch  1/12  loss 0.1235  ")


def test_lines_within_a_long_epoch(clock):
    """With a second per call of the loop, a line follows after at least 2.5 seconds."""
    lines, run = [], run_of(epochs=2, steps=500)
    teller = EpochLines("2.5s", lines.append)
    teller.on_begin(run)
    for run.epoch in (1, 2):
        for done in range(100, 501, 100):
            clock.now += 1
            teller.on_steps(run, done, lambda done=done: np.array([done, done + 2.0]))
        teller.on_epoch_end(run, record_of(run.epoch))
    assert [line.split("  train")[0] for line in lines] == [
        "epoch 1/2  step 300/500  loss 301.0000",
        "epoch 2/2  step 100/500  loss 101.0000",
        "epoch 2/2  step 400/500  loss 401.0000",
        "epoch 2/2  loss 0.0617",
    ]


def test_the_last_step_of_an_epoch_has_no_line_of_its_own(clock):
    run = run_of(epochs=1, steps=500)
    teller = EpochLines("1s", print)
    teller.on_begin(run)
    clock.now += 2
    teller.on_steps(run, 500, no_losses)


def test_losses_within_an_epoch_are_not_fetched_where_no_line_is_due(clock):
    run = run_of(epochs=2, steps=500)
    for every in (None, 1, "none", "1e6s"):
        teller = EpochLines(every, print)
        teller.on_begin(run)
        clock.now += 100
        teller.on_steps(run, 100, no_losses)


# --- bar ------------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


def no_losses():
    raise AssertionError("the losses were fetched, which waits for the device")


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets, and that advances by a microsecond, or by `tick`, at each reading."""
    clock = SimpleNamespace(now=1000.0, tick=1e-6)

    def read():
        clock.now += clock.tick
        return clock.now

    clock.perf_counter = read
    monkeypatch.setattr(progress, "time", clock)
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    return clock


def frames(terminal):
    """Return the drawn lines, without colours and cursor movements."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    return [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]


def test_a_bar_shows_epoch_loss_accuracy_and_speed(clock):
    terminal, run, clock.tick = Terminal(), run_of(), 0.2
    for epoch in play(run, [record_of(1), record_of(2)], ProgressBar(terminal)):
        last = frames(terminal)[-1]
        assert last.startswith(f"epoch {epoch}/12 ")
        assert f"loss {0.123456 / epoch:.4f}" in last
        assert "val accuracy 97.53%" in last
    run, clock.tick = run_of(), 1e-6
    bar = ProgressBar(terminal)
    bar.on_begin(run)
    run.epoch = 3
    clock.now += 0.5
    bar.on_steps(run, 2, no_losses)
    bar.on_end(run)
    # Ten steps of 25 rows in half a second.
    assert "500 samples/s" in frames(terminal)[-1]
    assert frames(terminal)[-1].startswith("epoch 3/12 ")


def test_the_speed_of_a_run_that_was_resumed_is_that_of_its_own_steps(clock):
    terminal, run = Terminal(), run_of()
    run.steps_before = 5
    bar = ProgressBar(terminal)
    bar.on_begin(run)
    for run.epoch, speed in ((1, "0"), (3, "125")):
        clock.now += 0.5
        bar.on_steps(run, 2, no_losses)
        # Five of the ten steps were taken before; the others are 125 rows in a second.
        assert f" {speed} samples/s" in frames(terminal)[-1]
    bar.on_end(run)


def test_a_bar_shows_the_r2_of_a_regression(clock):
    terminal = Terminal()
    list(play(run_of(), [{"loss": 0.5, "validation_r2": 0.25}], ProgressBar(terminal)))
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
    bar.on_steps(run, 4, no_losses)
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
        bar.on_steps(run, done, no_losses)
        drawn.append(len(terminal.getvalue()) > before)
    bar.on_end(run)
    assert 1 <= sum(drawn) <= 10


def test_a_bar_is_not_drawn_for_every_short_epoch_and_ends_with_the_last(clock):
    terminal, run, clock.tick = Terminal(), run_of(epochs=1000, steps=1), 5e-4
    list(play(run, [record_of(epoch) for epoch in range(1, 1001)], ProgressBar(terminal)))
    shown = frames(terminal)
    assert 10 <= len(shown) <= 20
    assert shown[-1].startswith("epoch 1000/1000 ")
    assert "loss 0.0001235" in shown[-1]


class Notebook:
    """Stands in for the display of IPython: what each output shows, in the order of the outputs."""

    def __init__(self, monkeypatch):
        self.outputs = []
        monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
        # Rich keeps a console for all who give none, and one made here would show nothing in later tests.
        monkeypatch.setattr("rich._console", None)
        monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
        monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=self.display))

    def display(self, shown, *, display_id):
        assert display_id
        self.outputs.append(shown._repr_mimebundle_((), ()))
        number = len(self.outputs) - 1
        return SimpleNamespace(update=lambda shown: self.outputs.__setitem__(number, shown._repr_mimebundle_((), ())))


def test_a_bar_in_a_notebook_is_one_output_without_widgets(clock, monkeypatch, capsys):
    notebook = Notebook(monkeypatch)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    bars = [ProgressBar(), ProgressBar()]
    list(play(run_of(), [record_of(1), record_of(2)], *bars, LambdaCallback(on_end=lambda run: print("ends"))))
    assert len(notebook.outputs) == 2
    for output in notebook.outputs:
        assert "epoch 2/12 " in output["text/plain"]
        assert "loss 0.0617  val accuracy 97.53%" in output["text/html"]
    assert capsys.readouterr().out == "ends\n"
    copy.deepcopy(bars)


def test_a_bar_in_a_file_is_there_and_not_in_the_notebook(clock, monkeypatch):
    notebook, file = Notebook(monkeypatch), io.StringIO()
    list(play(run_of(), [record_of(1)], ProgressBar(file)))
    assert "loss 0.1235" in file.getvalue()
    assert not notebook.outputs


def test_a_bar_that_ends_gives_the_cursor_back(clock):
    terminal = Terminal()
    with pytest.raises(OSError, match="disk full"), finalised([ProgressBar(terminal)], run_of()):
        raise OSError("disk full")
    assert terminal.getvalue().rstrip().endswith("\x1b[?25h")


def test_a_bar_goes_where_standard_output_goes(clock):
    terminal = Terminal()
    with contextlib.redirect_stdout(terminal):
        list(play(run_of(), [record_of(1)], ProgressBar()))
    assert "loss 0.1235" in terminal.getvalue()


@pytest.mark.parametrize("make", [ProgressBar, EpochLines])
def test_they_can_be_copied_before_a_run_and_after_it(clock, make):
    shown = make()
    with contextlib.redirect_stdout(io.StringIO()) as said:
        for copied in (copy.deepcopy(shown), pickle.loads(pickle.dumps(shown))):
            list(play(run_of(), [record_of(1)], copied))
            list(play(run_of(), [record_of(1)], copy.deepcopy(copied), pickle.loads(pickle.dumps(copied))))
    assert said.getvalue().count("loss 0.1235") >= 6


def test_a_bar_can_be_copied_after_an_error(clock):
    bar = ProgressBar(Terminal())
    with pytest.raises(OSError, match="disk full"), finalised([bar], run_of()):
        raise OSError("disk full")
    copy.deepcopy(bar)
