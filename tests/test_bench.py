"""The command ``mlpgpu bench``, mostly on simulated devices with known speeds."""

import json
import os
import signal
import subprocess
import sys

import pytest
from clocked import Machine

from mlpgpu import bench, commands


@pytest.fixture
def drawing_command(command_of):
    return command_of(bench.app)


@pytest.fixture
def command(drawing_command, unrendered):
    return drawing_command


SMALL = "--dataset synthetic --samples 5000 --features 3"


@pytest.fixture
def machine(monkeypatch):
    # A step takes 1 s + 10 ms per row on the CPU and 2 s + 1 ms per row on the GPU: equal at 1000 / 9 = 111 rows.
    return Machine(cpu=(1.0, 0.01), cuda_0=(2.0, 0.001)).install(monkeypatch)


def figures_in(folder):
    return json.loads((folder / "throughput.json").read_text())


def test_the_table_the_files_and_where_the_gpu_overtakes(drawing_command, machine, tmp_path):
    code, out, err = drawing_command(f"{SMALL} --out out --batch-sizes 10,100,125,1000 --seconds 60")
    assert (code, err) == (0, "")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"throughput.json", "throughput.png"}
    rows = [line.split() for line in out.splitlines()]
    assert ["batch", "cpu,", "samples/s", "cuda:0,", "samples/s", "cuda:0", "/", "cpu"] in rows
    for size in (10, 100, 125, 1000):
        cpu, gpu = size / (1 + size / 100), size / (2 + size / 1000)
        assert [f"{size:,}", f"{cpu:,.0f}", f"{gpu:,.0f}", f"{gpu / cpu:.2f}"] in rows
    assert "Finding   cuda:0 overtakes cpu at batch ~110\n" in out
    assert "Device    cuda:0, Fake" in out
    assert "synthetic: 4,000 rows of 3 features" in out
    assert "3-128-10, adam, float32" in out
    assert "Saved     out" in out

    found = figures_in(tmp_path / "out")
    assert found["crossings"] == [{"gpu": "cuda:0", "cpu": "cpu", "batch_size": pytest.approx(111, rel=0.01)}]
    assert found["findings"] == ["cuda:0 overtakes cpu at batch ~110"]
    assert not found["interrupted"]
    assert found["sizes"] == [3, 128, 10]
    assert found["machine"]["cores"] >= 1
    for point in found["points"]:
        rate = point["batch_size"] / (1 + point["batch_size"] / 100)
        assert point["samples_per_second"]["cpu"] == pytest.approx(rate)
        assert point["measurements"]["cpu"] == pytest.approx([rate] * 5)


def test_every_device_is_asked_for_the_precision(command, machine, tmp_path, monkeypatch):
    asked, select = [], machine.select
    monkeypatch.setattr("mlpgpu.backends.select", lambda *given: asked.append(given[2:]) or select(*given))
    assert command(f"{SMALL} --out out --batch-sizes 10 --seconds 60 --precision tf32")[0] == 0
    assert set(asked) == {("float32", "tf32")}
    assert figures_in(tmp_path / "out")["precision"] == "tf32"


def test_the_picture_has_the_finding_for_a_title(command, machine, monkeypatch):
    titles = []
    monkeypatch.setattr("mlpgpu.throughput.picture.draw", lambda *_, title: titles.append(title))
    command(f"{SMALL} --out out --batch-sizes 10,100,125,1000 --hidden 8,4 --optimizer lion")
    assert titles == ["synthetic, 3-8-4-10, lion, float32: cuda:0 overtakes cpu at batch ~110"]


def test_what_a_step_does_beside_is_told(command, machine, tmp_path):
    line = f"{SMALL} --out out --batch-sizes 10 --hidden 8,4 --normalization batch,none --weight-decay 0.1 --dropout 0"
    _, out, _ = command(line)
    assert "Training  synthetic, 3-8-4-10, adam, float32, normalization batch,none, weight decay 0.1: median" in out
    found = figures_in(tmp_path / "out")
    assert (found["normalization"], found["weight_decay"], found["clip_norm"]) == (["batch", "none"], 0.1, None)


def test_without_a_gpu_the_cpu_alone(command, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cupy", None)
    code, out, err = command("--dataset digits --batch-sizes 16,64 --seconds 0.01 --repeats 1 --out out")
    assert (code, err) == (0, "")
    assert "Note      device 'cuda:0' needs CuPy, which is not installed" in out
    assert "Finding   no GPU measured, cpu does " in out
    assert figures_in(tmp_path / "out")["crossings"] == []


def test_the_network_of_two_classes_has_one_output(command, machine, tmp_path):
    _, out, _ = command("--dataset breast-cancer --batch-sizes 100 --out out")
    assert "breast-cancer, 30-128-1, adam" in out
    assert figures_in(tmp_path / "out")["sizes"] == [30, 128, 1]


def test_json_is_the_last_line(command, machine, tmp_path):
    _, out, _ = command(f"{SMALL} --out out --batch-sizes 100,200 --json")
    assert "Finding" not in out
    found = json.loads(out.splitlines()[-1])
    assert found.pop("out") == "out"
    assert found == figures_in(tmp_path / "out")
    _, out, _ = command(f"{SMALL} --out out --batch-sizes 100,200 --json --quiet")
    assert len(out.splitlines()) == 1


def test_quiet_prints_the_result_only(command, machine):
    _, out, _ = command(f"{SMALL} --out out --batch-sizes 100,200 --quiet")
    assert [line.split()[0] for line in out.splitlines()] == ["Finding", "Saved"]


def test_a_folder_of_its_own_by_default(command, machine, tmp_path):
    _, out, _ = command(f"{SMALL} --batch-sizes 100")
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("bench-20")
    assert f"Saved     {folder.relative_to(tmp_path)}" in out


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--batch-sizes 0", "batch_sizes is '0'"),
        (f"{SMALL} --batch-sizes 6000", "give some up to that"),
        (f"{SMALL} --devices cuda:7", "device 'cuda:7' is not there"),
        ("--devices tpu", "device is 'tpu'"),
        ("--hidden -3", "hidden is '-3'"),
        ("--dataset nothing", "dataset is 'nothing'"),
        (
            "--dataset iris --hidden none --activation tanh",
            "activation is tanh, and hidden is none; allowed: activation",
        ),
        ("--dataset iris --samples 100", "samples is 100, and dataset is iris; allowed: samples for synthetic, a set"),
        ("--nothing 3", "nothing"),
        (f"{SMALL} --out file/folder", "choose another with --out"),
    ],
)
def test_bad_input_is_one_line(command, machine, tmp_path, line, words):
    (tmp_path / "file").touch()
    code, _, err = command(line)
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err


def test_without_matplotlib_all_but_the_picture(command, machine, tmp_path, monkeypatch):
    monkeypatch.setattr("mlpgpu.plots.available", lambda: False)
    code, out, _ = command(f"{SMALL} --out out --batch-sizes 100")
    assert code == 0
    assert "pip install 'mlpgpu[plots]'" in out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"throughput.json"}


def test_ctrl_c_gives_what_was_measured_so_far(command, machine, tmp_path):
    def pressed(device, batch_size):
        if batch_size == 1000:
            raise KeyboardInterrupt

    machine.on_step = pressed
    code, out, err = command(f"{SMALL} --out out --batch-sizes 10,100,125,1000")
    assert (code, err) == (130, "")
    found = figures_in(tmp_path / "out")
    assert [point["batch_size"] for point in found["points"]] == [10, 100, 125]
    assert found["interrupted"]
    assert "Finding   cuda:0 overtakes cpu at batch ~110\n" in out
    assert (tmp_path / "out" / "throughput.png").exists()


def test_what_was_measured_is_there_whatever_ends_the_process(command, machine, tmp_path):
    def killed(device, batch_size):
        if batch_size == 125:
            raise SystemExit(137)

    machine.on_step = killed
    with pytest.raises(SystemExit):
        command(f"{SMALL} --out out --batch-sizes 10,100,125")
    found = figures_in(tmp_path / "out")
    assert [point["batch_size"] for point in found["points"]] == [10, 100]
    assert found["interrupted"]


def test_ctrl_c_before_the_first_figure(command, machine, tmp_path):
    def pressed(device, batch_size):
        raise KeyboardInterrupt

    machine.on_step = pressed
    code, _, err = command(f"{SMALL} --out out --batch-sizes 10,100")
    assert (code, err) == (130, "error: interrupted\n")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_real_ctrl_c(tmp_path):
    line = "-u -m mlpgpu bench --dataset digits --devices cpu --batch-sizes 16,32 --seconds 0.05 --repeats 60 --out out"
    process = subprocess.Popen(
        [sys.executable, *line.split()], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if line.split()[0] == "16":
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert "Saved     out" in out
    assert [point["batch_size"] for point in figures_in(tmp_path / "out")["points"]] == [16]


def test_it_is_one_of_the_commands(command, machine):
    code, out, _ = command(f"bench {SMALL} --out out --batch-sizes 100 --quiet", commands.app)
    assert (code, "Saved     out" in out) == (0, True)


def test_help_names_every_flag_and_imports_no_array_library(tmp_path):
    code = (
        "import sys, mlpgpu.bench as b\n"
        "b.run_command(b.app, ['--help'])\n"
        "print([m for m in ('numpy', 'cupy', 'torch', 'jax', 'sklearn', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "COLUMNS": "120"}
    )
    for name in ("--dataset", "--hidden", "--batch-sizes", "--devices", "--backends", "--seconds", "--out", "--json"):
        assert name in done.stdout
    assert done.stdout.rstrip().endswith("[]")
