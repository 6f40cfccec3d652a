"""How GPU checks are isolated and reported; the checks themselves run here on the CPU and on stand-ins."""

import json
import logging
import os
import sys
import time
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
from toys import absent, bad, dies, good, hangs, leaves, raises

from mlpgpu import machine
from mlpgpu.backends.captures import tell_refused
from mlpgpu.cuda import function
from scripts import gpu_smoke
from scripts.smoke import agreement, capture, device, libraries, memory, nets, phases, runs
from scripts.smoke.checks import FAILED, NOT_RUN, PASSED, Check, Row, run, table
from scripts.smoke.place import Place
from scripts.smoke.ways import CAPTURED, NUMPY, difference, warned

HERE = Place("cpu", tiny=True)


def rows_of(*functions, seconds=100.0, limit=20.0):
    return list(run([Check(f.__name__, "all", f, limit) for f in functions], HERE, seconds))


def test_no_check_ends_those_after_it(capfd):
    rows = rows_of(good, raises, good, leaves, dies, absent, bad, good)
    assert [row.result for row in rows] == [PASSED, FAILED, PASSED, FAILED, FAILED, NOT_RUN, FAILED, PASSED]
    assert [row.figure for row in rows[:6]] == [
        "on cpu",
        "RuntimeError: an illegal memory access was encountered",
        "on cpu",
        "SystemExit: no",
        "its process ended with 3",
        "JAX is not installed",
    ]
    before, after, last = (rows[i].details["process"] for i in (0, 2, 7))
    # A check that raises may leave the device in any state, so a new process runs the next one.
    assert len({before, after, last, os.getpid()}) == 4
    # The row has no place for where the error was raised.
    assert ", in raises\n" in capfd.readouterr().err


def test_one_process_for_those_that_work():
    first, second = rows_of(good, good)
    assert first.details == second.details


def test_one_that_hangs_is_ended_and_says_where(capfd):
    began = time.perf_counter()
    rows = list(run([Check("hangs", "all", hangs, 1), Check("good", "all", good, 20)], HERE, 60))
    assert [row.result for row in rows] == [FAILED, PASSED]
    assert rows[0].figure == "took more than 1 s"
    assert time.perf_counter() - began < 50
    assert " in hangs\n" in capfd.readouterr().err


def test_what_no_longer_fits_is_not_run():
    rows = list(run([Check("long", "all", good, 1000), Check("short", "all", good, 20)], HERE, 60))
    assert [row.result for row in rows] == [NOT_RUN, PASSED]
    assert rows[0].figure == "may take 1000 s, 60 s left"


def test_libraries_have_processes_of_their_own():
    checks = [Check("one", "all", good, 20, "cupy"), Check("other", "all", good, 20, "torch")]
    first, second = run(checks, HERE, 60)
    assert first.details != second.details


def test_the_table_is_in_columns_and_short():
    lines = table([Row("step", PASSED, "9 us", "less"), Row("a long name", FAILED, "no " * 100, "more")])
    assert [line.index(word) for line, word in zip(lines, ("result", PASSED, FAILED), strict=True)] == [13] * 3
    assert len({line.rindex(word) for line, word in zip(lines, ("wanted", "less", "more"), strict=True)}) == 1
    assert max(map(len, lines)) < 120


def test_the_command_prints_writes_and_says_how_it_ended(monkeypatch, capsys, tmp_path):
    checks = (*gpu_smoke.opening.CHECKS, Check("bad", "4 of 4", bad, 20))
    monkeypatch.setattr(gpu_smoke, "CHECKS", checks)
    monkeypatch.setattr(sys, "argv", ["gpu_smoke", "--device", "cpu", "--tiny", "--out", str(tmp_path)])
    assert gpu_smoke.main() == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("[1/2]")
    assert out[-1].startswith("1 passed, 1 failed, 0 not run; ")
    assert out[-2].split() == ["bad", "failed", "3", "of", "4", "4", "of", "4"]
    (path,) = tmp_path.iterdir()
    assert path.name == f"gpu-smoke-{machine.name_of(machine.describe(), 'cpu')}.json"
    found = json.loads(path.read_text())
    assert found["machine"]["versions"]["numpy"] == np.__version__
    assert [check["result"] for check in found["checks"]] == [PASSED, FAILED]
    assert found["backend"].startswith("cpu, NumPy")
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--only", "opens"])
    assert gpu_smoke.main() == 0


def test_a_word_that_no_check_has_passes_for_nothing(monkeypatch, capsys, tmp_path):
    given = ["gpu_smoke", "--device", "cpu", "--tiny", "--out", str(tmp_path / "out"), "--only", "opens,tf23"]
    monkeypatch.setattr(sys, "argv", given)
    with pytest.raises(SystemExit) as ended:
        gpu_smoke.main()
    assert ended.value.code == 2
    assert "--only has 'tf23'; allowed: parts of device opens, " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_found_before_any_check(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(gpu_smoke, "run", None)
    monkeypatch.setattr(sys, "argv", ["gpu_smoke", "--device", "cpu", "--tiny", "--out", str(tmp_path / "file")])
    with pytest.raises(SystemExit) as ended:
        gpu_smoke.main()
    assert ended.value.code == 2
    assert f"error: cannot write the folder {tmp_path / 'file'}: " in capsys.readouterr().err


def test_what_was_found_is_there_whatever_ends_the_command(monkeypatch, tmp_path):
    def ended(*_):
        yield Row("good", PASSED, "all", "all")
        raise SystemExit("killed")

    monkeypatch.setattr(gpu_smoke, "run", ended)
    monkeypatch.setattr(sys, "argv", ["gpu_smoke", "--device", "cpu", "--tiny", "--out", str(tmp_path)])
    with pytest.raises(SystemExit):
        gpu_smoke.main()
    (path,) = tmp_path.iterdir()
    assert [check["check"] for check in json.loads(path.read_text())["checks"]] == ["good"]


def test_names_of_checks_are_told_apart():
    names = [check.name for check in gpu_smoke.CHECKS]
    assert len(set(names)) == len(names)
    assert set(agreement.PANELS) <= set(names)


@pytest.mark.skipif(find_spec("jax") is None, reason="JAX is not installed")
@pytest.mark.skipif(any(map(find_spec, libraries.PLUGINS)), reason="JAX has its plugin for CUDA")
def test_a_jax_that_knows_no_gpu_is_not_checked_on_one():
    (check,) = [check for check in libraries.CHECKS if check.name == "JAX, float64"]
    (row,) = run([check], Place("cuda"), 100)
    assert (row.result, row.figure) == (NOT_RUN, "JAX is installed without its plugin for CUDA")


def test_steps_captured_and_not_agree_here():
    found = agreement.agree(HERE, "float64", (CAPTURED,), **agreement.DROPOUT)
    assert found.good
    assert max(found.details["captured"]) < 1e-13
    assert capture.learning_rate(HERE).good
    assert capture.streamed(HERE).good
    assert runs.resumed(HERE).good


def test_steps_that_differ_are_found(monkeypatch):
    real = agreement.train

    def off(place, way, **settings):
        trained = real(place, way, **settings)
        trained.losses[-1] *= 1 + 1e-9 * (way is CAPTURED)
        return trained

    monkeypatch.setattr(agreement, "train", off)
    assert not agreement.agree(HERE, "float64", (CAPTURED,)).good
    # In float32, this difference is within the bound.
    assert agreement.agree(HERE, "float32", (CAPTURED,), activation="tanh").good


def test_small_nets_agree_and_are_counted(monkeypatch):
    monkeypatch.setattr(nets, "EAGER", NUMPY)
    several = {name: nets.TABLES["optimizers"][name] for name in ("sgd", "lion")}
    assert nets.small(HERE, several).figure.startswith("2 nets, at most ")
    monkeypatch.setattr(nets, "ENOUGH", 0)
    monkeypatch.setattr(nets, "worst", lambda *_: np.inf)
    found = nets.small(HERE, several)
    assert (found.good, found.figure) == (False, "1 of 2 nets, at most inf (sgd)")


def test_a_refused_capture_is_found(monkeypatch):
    real = agreement.train

    def refused(place, way, **settings):
        if way is CAPTURED:
            logging.getLogger("mlpgpu.backends").warning("the step cannot be captured: no")
        return real(place, way, **settings)

    monkeypatch.setattr(agreement, "train", refused)
    found = agreement.agree(HERE, "float64", (CAPTURED,))
    assert (found.good, found.figure) == (False, "the step cannot be captured: no")


def test_a_loss_that_is_not_finite_is_never_good():
    assert not np.all(difference(np.array([np.nan]), np.array([1.0])) <= agreement.bound(np.zeros(1)))


def test_warnings_are_collected_and_a_refusal_says_where(capsys):
    def refuse():
        raise TypeError("no graph")

    with warned() as lines:
        logging.getLogger("other").warning("two")
        try:
            refuse()
        except TypeError as error:
            tell_refused("the step", "cuda:0", error)
    assert lines == ["the step runs line by line on cuda:0, for it cannot be captured: no graph"]
    assert ", in refuse\n" in capsys.readouterr().err


def test_the_picture_of_distances(tmp_path):
    pytest.importorskip("matplotlib", reason="Matplotlib is not installed")
    steps = np.geomspace(1e-17, 1e-5, 30).tolist()
    details = {"captured": steps, "eager": steps, NUMPY.label: steps, "bound": steps}
    drawn = dict.fromkeys(agreement.PANELS, details)
    drawn["float64"] = {name: values for name, values in details.items() if name != NUMPY.label}
    agreement.draw(drawn, "a GPU", tmp_path / "agreement.png")
    assert (tmp_path / "agreement.png").stat().st_size > 10_000
    said = agreement.finding(drawn)
    assert said == (
        "Captured and eager losses lie within 1e-05 of NumPy's in float64, within 1e-05 in float32 (NumPy's own 1e-05)"
    )


def test_seconds_count_once(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(phases.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(phases, "SECONDS", (seconds := phases.defaultdict(float)))

    def inner():
        now[0] += 2

    timed = phases.timed("inner", inner)

    def outer():
        now[0] += 1
        timed()
        timed()

    phases.timed("outer", outer)()
    assert seconds == {"inner": 4.0, "outer": 1.0}


class Pool:
    """CuPy's memory pool on a device of 1,000 bytes, with blocks of 16 bytes and allocations of at most 400."""

    def __init__(self):
        self.free, self.hooks = 1000, []
        outer = self

        class MemoryHook:
            def __enter__(self):
                outer.hooks.append(self)

            def __exit__(self, *_):
                outer.hooks.remove(self)

        self.cuda = SimpleNamespace(
            MemoryHook=MemoryHook,
            Device=lambda *ordinal: SimpleNamespace(use=lambda: None),
            runtime=SimpleNamespace(
                memGetInfo=lambda: (self.free, 1000),
                malloc=self.malloc,
                free=lambda size: self.take(-size),
                CUDARuntimeError=MemoryError,
            ),
        )

    def get_default_memory_pool(self):
        return SimpleNamespace(free_all_blocks=lambda: None)

    def take(self, size):
        self.free -= size

    def malloc(self, size):
        if size > 400:
            raise MemoryError("no such piece")
        self.take(size)
        return size

    def array(self, size):
        for hook in self.hooks:
            hook.malloc_postprocess(device_id=0, size=size, mem_size=-(-size // 16) * 16, mem_ptr=1, pmem_id=1)

    def drop(self, size):
        for hook in self.hooks:
            hook.free_postprocess(device_id=0, mem_size=-(-size // 16) * 16, mem_ptr=1, pmem_id=1)


@pytest.fixture
def pool(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", pool := Pool())
    return pool


def test_the_most_memory_that_was_taken(pool):
    with device.Cuda("cuda").peak() as peak:
        pool.array(100)
        pool.array(30)
        pool.drop(100)
        pool.array(40)
        pool.take(300)
        peak.look()
        pool.take(-100)
        peak.look()
    assert (peak.used, peak.device) == (112 + 32, 300)
    assert not pool.hooks


def test_what_is_kept_from_run_to_run_counts_for_each(pool, monkeypatch):
    monkeypatch.setattr(function, "Multiplier", lambda cupy: cupy.array(64))
    here = pool, "cuda:0", 0, 0
    function.multiplier_of(*here)
    with device.Cuda("cuda").peak() as peak:
        function.multiplier_of(*here)
        function.multiplier_of(*here)
    assert peak.used == 64
    function.multiplier_of.cache_clear()


def test_a_device_is_filled_and_emptied_again(pool):
    with device.Cuda("cuda:1").full(leaving=50):
        assert pool.free == 50
    assert pool.free == 1000


def test_too_little_memory_is_told_in_a_line():
    assert memory.out_of_memory(HERE).good
    assert memory.too_large(HERE).good
