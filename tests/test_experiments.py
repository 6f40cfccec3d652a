"""Every experiment writes its report when run with --quick, and the published reports are complete."""

import re
import runpy
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="Matplotlib is not installed")

from scripts.experiments import running
from scripts.experiments.report import Report

ROOT = Path(__file__).parents[1]
NAMES = ("iris_and_mnist", "one_variable", "two_layers", "pytorch_mnist", "fashion_mnist")


def pictures(report):
    return [report.parent / name for name in re.findall(r"!\[[^]]+\]\(([^)]+)\)", report.read_text(encoding="utf-8"))]


@pytest.mark.usefixtures("data_dir", "not_compiled")
@pytest.mark.parametrize("name", NAMES)
def test_the_quick_version_writes_its_report(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--quick", "--seeds", "1", "--out", str(tmp_path)])
    runpy.run_module(f"scripts.experiments.{name}", run_name="__main__")
    out, err = capsys.readouterr()
    report = tmp_path / f"{name}.md"
    assert out.splitlines()[-1] == f"Saved {report}"
    assert "left" in err
    assert f"python -m scripts.experiments.{name} --quick --seeds 1" in report.read_text(encoding="utf-8")
    assert len(pictures(report)) >= 2
    assert all(picture.read_bytes()[:4] == b"\x89PNG" for picture in pictures(report))


@pytest.mark.parametrize("name", NAMES)
def test_the_report_that_is_kept_is_of_a_full_run_and_has_its_pictures(name):
    report = ROOT / "docs" / "experiments" / f"{name}.md"
    text = report.read_text(encoding="utf-8")
    assert f"`python -m scripts.experiments.{name}`" in text
    assert all(picture.stat().st_size > 10_000 for picture in pictures(report))
    assert f"docs/experiments/{name}.md" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_a_report(tmp_path):
    from mlpgpu.plots import new_figure

    report = Report("What came out", "trial", tmp_path / "not yet there")
    report.heading("Figures")
    report.text("One.", "Two.")
    report.table(["data", "accuracy"], [["Iris", 0.98], ["MNIST", "97 %"]])
    report.code("print(1)\n", "python")
    report.picture(new_figure((3, 2), "A title"), "curve", "a curve")
    path = report.write("python -m this", 61.4)
    assert path.read_text(encoding="utf-8").startswith(
        "# What came out\n\n## Figures\n\nOne.\n\nTwo.\n\n| data | accuracy |\n| --- | ---: |\n| Iris | 0.98 |\n"
        "| MNIST | 97 % |\n\n```python\nprint(1)\n```\n\n![a curve](trial-curve.png)\n\n"
        "Made by `python -m this` in 61 s on "
    )
    assert pictures(path) == [path.parent / "trial-curve.png"]


def command(monkeypatch, run, *given):
    experiment = running.Experiment("trial", "A trial", run, seconds=10, quick_seconds=1)
    monkeypatch.setattr(sys, "argv", ["trial", *given])
    running.main(experiment, description="Try.\n\nMore.")


def test_the_command(monkeypatch, tmp_path, capsys):
    seen = []

    def run(given, report, progress):
        seen.append((given, list(progress.over("abc", 1.0))))

    command(monkeypatch, run, "--quick", "--device", "cuda:1", "--seeds", "3", "--out", str(tmp_path))
    assert seen == [(running.Given(quick=True, device="cuda:1", seeds=3), ["a", "b", "c"])]
    out, err = capsys.readouterr()
    assert out == f"Saved {tmp_path / 'trial.md'}\n"
    assert "100%" in err
    said = (tmp_path / "trial.md").read_text(encoding="utf-8")
    assert "`python -m scripts.experiments.trial --quick --device cuda:1 --seeds 3`" in said


@pytest.mark.parametrize("given", [["--seeds", "0"], ["--seeds", "x"], ["--fast"]])
def test_a_wrong_call_is_told_in_a_line(monkeypatch, capsys, given):
    with pytest.raises(SystemExit) as ended:
        command(monkeypatch, None, *given)
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err.splitlines()[-1]


def test_what_mlpgpu_refuses_is_told_in_a_line(monkeypatch, tmp_path):
    from mlpgpu import InputError

    def run(given, report, progress):
        raise InputError("device 'cuda' is not there")

    with pytest.raises(SystemExit) as ended:
        command(monkeypatch, run, "--out", str(tmp_path))
    assert ended.value.code == "error: device 'cuda' is not there"
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_found_before_the_run(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as ended:
        command(monkeypatch, None, "--out", str(tmp_path / "file"))
    assert ended.value.code.startswith(f"error: cannot write the folder {tmp_path / 'file'}: ")


def test_progress_ends_where_it_should_whatever_was_expected(capsys):
    progress = running.Progress(10)
    assert list(progress.over(range(3), 6)) == [0, 1, 2]
    assert list(progress.over([], 1)) == []
    assert list(progress.over("ab", 9)) == ["a", "b"]
    progress.close()
    assert "100%" in capsys.readouterr().err
