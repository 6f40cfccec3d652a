"""How ``bench/gpu.py`` evaluates its times, and that its contestants train alike; on the CPU."""

import dataclasses
import importlib
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).parents[1] / "bench"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="select waits for sockets alone")


@pytest.fixture
def module(monkeypatch):
    """``module("gpu.races")`` imports a module from the folder of the benchmarks."""
    monkeypatch.syspath_prepend(BENCH)
    return importlib.import_module


@pytest.fixture
def command(module):
    """``bench/gpu.py``, whose name as a module is that of a folder."""
    spec = importlib.util.spec_from_file_location("bench_gpu", BENCH / "gpu.py")
    command = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(command)
    return command


@pytest.fixture
def results(module):
    """``results(captured=(2.0, 0.5), ...)`` -> results with these seconds per round, all with the same loss."""
    result = module("peers.rounds").Result
    return lambda **seconds: {
        name.replace("_", "-"): result(seconds=list(each), losses=[0.5]) for name, each in seconds.items()
    }


def test_ratios_are_compared_with_their_targets(module, results):
    races = module("gpu.races")
    small, large, wide, rounded = (race.name for race in races.RACES)
    played = {
        small: results(captured=(1, 1), eager=(9, 12), torch_step=(4, 4), torch_epoch=(2, 2), jax=(1, 1)),
        large: results(captured=(3, 3), products=(2, 2)),
        wide: results(captured=(10, 10), products=(9.5, 9.5)),
    }
    rows = list(races.verdicts(played))
    assert [(row[2], row[4]) for row in rows] == [
        ("10.50", "reached"),
        ("0.50", "reached"),
        ("1.00", "not reached"),
        ("1.50", "reached"),
        ("0.95", "reached"),
        ("", "not measured"),
    ]
    assert [row[3] for row in rows] == [
        "at least 10",
        "at most 0.6",
        "at most 0.5",
        "at most 1.5",
        "at least 0.9",
        "at least 0.9",
    ]
    said = "a captured step takes 0.50 of PyTorch's graph, 1.00 of JAX's scan, 0.10 of --no-capture"
    assert races.finding(played) == f"{small}: {said}"
    # 70,000 rows are 350 steps of 200.
    assert any("2,857.1 (2,857.1 to 2,857.1)" in line for line in races.lines(played, 70_000))
    assert rounded not in "\n".join(races.lines(played, 70_000)).partition("| ratio |")[0]


def test_a_race_of_which_nothing_counts_has_no_ratio(module, results):
    races = module("gpu.races")
    played = results(captured=(1, 1), jax=(2, 2))
    played["jax"].reason = "it did not answer in 60 s"
    assert races.ratio_to(races.TARGETS[2], played) is None
    assert races.finding({races.RACES[0].name: played}) == "Microseconds of a training step"


def test_who_trains_something_else_is_not_counted(module, results):
    races = module("gpu.races")
    played = results(captured=(1, 1), eager=(1, 1), jax=(1, 1), products=(1, 1))
    played["jax"].losses, played["products"].losses = [0.6], [None]
    races.judge(played, 0.01)
    assert {name: bool(result.reason) for name, result in played.items()} == {
        "captured": False,
        "eager": False,
        "jax": True,
        "products": False,
    }
    assert "0.6" in played["jax"].reason


def test_turns_last(module, monkeypatch):
    lasting = module("gpu.lasting")
    now, seen = [0.0], []
    monkeypatch.setattr(lasting.time, "perf_counter", lambda: now[0])

    class Kind:
        def __init__(self, problem):
            self.setting = problem

        def turn(self, number):
            seen.append(number)
            now[0] += 0.01 if number else 100
            return number / 10

    contestant = lasting.Lasting(Kind, "as it is")
    assert (contestant.turn(0), contestant.setting) == (0.0, "as it is")
    assert contestant.epochs == 25
    began = now[0]
    contestant.turn(1)
    assert now[0] - began == pytest.approx(lasting.SECONDS)
    assert seen == list(range(4 + 25))


def problem_in(folder, module):
    rng = np.random.default_rng(0)
    np.save(folder / "rows.npy", rng.integers(0, 256, (330, 20), np.uint8))
    np.save(folder / "labels.npy", rng.integers(0, 3, 330))
    return module("peers.problem").Problem(str(folder), (20, 8, 3), 50, rounds=2, fit_epochs=1)


@pytest.mark.parametrize(
    ("entry", "library"),
    [
        ("gpu.ours:Eager", "numpy"),
        ("gpu.pytorch:Step", "torch"),
        ("gpu.pytorch:Epoch", "torch"),
        ("gpu.jax_scan:Scan", "jax"),
    ],
)
def test_all_begin_alike_and_take_the_same_steps(module, monkeypatch, tmp_path, entry, library):
    pytest.importorskip(library, reason=f"{library} is not installed")
    monkeypatch.setattr(module("gpu.lasting"), "SECONDS", 0.001)
    problem = problem_in(tmp_path, module)
    expected = module("gpu.ours").Captured(problem).turn(0)
    name, _, kind = entry.partition(":")
    # Only one unroll factor to choose from, since each takes a second to compile.
    monkeypatch.setattr(module(name), "UNROLLS", (1,), raising=False)
    contestant = getattr(module(name), kind)(problem)
    try:
        assert contestant.turn(0) == pytest.approx(expected, rel=1e-5)
        assert contestant.turn(1) < expected
    finally:
        if library == "jax":
            sys.modules["jax"].config.update("jax_default_matmul_precision", None)


@pytest.mark.parametrize(("name", "number"), [("cuda", 0), ("cuda:1", 1)])
def test_a_device_has_a_number(module, monkeypatch, name, number):
    """PyTorch's own `set_device` accepts no device without one."""
    torch, taken = pytest.importorskip("torch", reason="torch is not installed"), []
    monkeypatch.setattr(torch._C, "_cuda_setDevice", taken.append, raising=False)
    assert module("gpu.graphs").opened(name) == torch.device("cuda", number)
    assert taken == [number]


def test_the_products_are_those_of_a_step(module, monkeypatch, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    monkeypatch.setattr(module("gpu.lasting"), "SECONDS", 0.001)
    shapes = []
    real = torch.mm
    monkeypatch.setattr(torch, "mm", lambda a, b, out: (shapes.append((*a.shape, b.shape[1])), real(a, b, out=out)))
    products = module("gpu.products").Products(problem_in(tmp_path, module))
    assert products.turn(0) is None
    # Five epochs, the first of them to warm up, of seven steps with these five products each.
    assert set(shapes[:5]) == {(50, 20, 8), (50, 8, 3), (20, 50, 8), (8, 50, 3), (50, 3, 8)}
    assert len(shapes) == 5 * 7 * 5


TOY = """
import time

class Trains:
    def __init__(self, problem):
        self.setting = problem.device
    def turn(self, number):
        time.sleep(0.05)
        return 1 / (1 + number)

class Breaks(Trains):
    def turn(self, number):
        raise ValueError("no such turn")

class Hangs(Trains):
    def turn(self, number):
        time.sleep(60)
"""


@pytest.fixture
def toys(module, monkeypatch, tmp_path):
    """``toys("Trains", "Hangs")`` -> contestants of these kinds by name, and a problem."""
    (tmp_path / "toy.py").write_text(TOY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    contestant = module("peers.contestants").Contestant
    made = module("peers.problem").Problem("", (1, 1), 1, rounds=50, fit_epochs=1)
    return lambda *kinds: ({kind: contestant(kind, f"toy:{kind}", "epoch", "#000") for kind in kinds}, made)


def test_rounds_end_with_their_time(module, toys):
    contestants, problem = toys("Trains")
    with module("peers.rounds").Rounds(contestants) as rounds:
        results = rounds.play(problem, ends=time.perf_counter() + 0.6)["Trains"]
        once = rounds.play(problem, ends=0.0)["Trains"]
        assert rounds.play(problem, names=()) == {}
    assert 1 <= len(results.seconds) < 10
    assert (len(once.seconds), len(once.losses)) == (1, 2)
    assert (results.setting, results.reason) == ("cpu", "")
    assert min(results.seconds) > 0.05


def test_one_that_breaks_is_out_and_says_where(module, toys, capsys):
    contestants, problem = toys("Breaks", "Trains")
    with module("peers.rounds").Rounds(contestants) as rounds:
        results = rounds.play(problem, ends=0.0)
    assert results["Breaks"].reason == "ValueError: no such turn"
    assert results["Trains"].reason == ""
    assert 'toy.py", line ' in capsys.readouterr().err


def test_one_that_does_not_answer_is_out(module, toys):
    contestants, problem = toys("Hangs", "Trains")
    with module("peers.rounds").Rounds(contestants, patience=60) as rounds:
        assert [player.patience for player in rounds.players.values()] == [60, 60]
        rounds.players["Hangs"].patience = 0.2
        results = rounds.play(dataclasses.replace(problem, rounds=1))
    assert results["Hangs"].reason == "it did not answer in 0.2 s"
    assert (results["Trains"].reason, len(results["Trains"].seconds)) == ("", 1)


def test_the_picture_and_what_is_recorded(module, command, monkeypatch, results, tmp_path):
    pytest.importorskip("matplotlib", reason="Matplotlib is not installed")
    races, picture = module("gpu.races"), module("gpu.picture")
    played = {races.RACES[0].name: results(captured=(1, 2), eager=(9, 12), jax=(3, 3))}
    picture.draw(played, 70_000, races.finding(played), "a GPU", tmp_path / "gpu.png")
    assert (tmp_path / "gpu.png").stat().st_size > 10_000
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--tiny"])
    _, given = command.read_arguments()
    found = json.loads(json.dumps(command.record(played, {"failed": "no"}, {"cuda": []}, given)))
    assert found["rows"] == command.TINY_ROWS
    assert found["races"][0]["contestants"]["eager"]["seconds"] == [9, 12]
    assert len(found["reaches"]) == len(races.TARGETS)


@pytest.mark.parametrize("name", ["gpu", "peers", "scaling", "larger_than_memory"])
def test_a_folder_that_cannot_be_written_is_found_before_anything_is_measured(tmp_path, name):
    (tmp_path / "file").touch()
    done = subprocess.run(
        [sys.executable, BENCH / f"{name}.py", "--out", tmp_path / "file"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert f"{name}.py: error: argument --out: cannot write the folder {tmp_path / 'file'}: " in done.stderr
    assert done.stdout == ""


def test_interrupted_in_the_first_race_it_keeps_the_limits(command, monkeypatch, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "ceilings", lambda device: {"failed": "no"})
    monkeypatch.setattr(command, "play", interrupted)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        command.main()
    (path,) = tmp_path.iterdir()
    assert ended.value.code == f"error: interrupted; what was measured is in {path}"
    assert json.loads(path.read_text())["ceilings"] == {"failed": "no"}
