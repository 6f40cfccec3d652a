"""Files of pictures, and when Matplotlib is imported."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from drawn import mnist, size_of

from mlpgpu import plots
from mlpgpu.errors import InputError


def draw_each(folder):
    plots.curves(mnist(), folder / "curves.png", title="title")
    plots.confusion(np.eye(3, dtype=int), "abc", str(folder / "confusion.png"), title="title")
    plots.predictions([1, 2], [2, 1], folder / "predictions.png", title="title", target="$^$")


def test_pictures_have_their_sizes_and_leave_nothing_else(tmp_path):
    draw_each(tmp_path)
    assert size_of(tmp_path / "curves.png") == size_of(tmp_path / "predictions.png") == (1200, 750)
    assert size_of(tmp_path / "confusion.png") == (1200, 1200)
    assert {path.name for path in tmp_path.iterdir()} == {"curves.png", "confusion.png", "predictions.png"}


def test_paths_are_those_of_all_files_of_the_package(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    plots.confusion(np.eye(3, dtype=int), "abc", "~/confusion.png")
    assert [path.name for path in tmp_path.iterdir()] == ["confusion.png"]
    for path, said in ((3, "a path is of type int; allowed"), ("https://example.com/a.png", "is a URL; allowed")):
        with pytest.raises(InputError, match=said):
            plots.confusion(np.eye(3, dtype=int), "abc", path)


@pytest.mark.parametrize("name", ["w", "sales of the north", "sales of the north and of the south"])
def test_no_line_of_a_title_ends_between_a_figure_and_its_value(name):
    parts = [name, "3-16-1", "3 folds:", "coverage 0.8782 ± 0.0607 (0.9 asked)", "D² -4.4909 ± 1.1192", "by weight"]
    title = ", ".join(parts).replace(":,", ":")
    lines = plots.new_figure((8, 5), title).get_suptitle().split("\n")
    assert len(lines) > 1
    assert " ".join(lines) == title
    assert all(line[-1] in ",:" and len(line) <= 68 for line in lines[:-1])
    words = "one " * 50
    assert max(map(len, plots.new_figure((8, 5), words).get_suptitle().split("\n"))) <= 68


def test_without_a_path_the_picture_is_that_of_the_file_and_no_file_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawn = [
        plots.curves(mnist(), title="title"),
        plots.confusion(np.eye(3, dtype=int), "abc", title="title"),
        plots.predictions([1, 2], [2, 1], title="title", target="$^$"),
    ]
    assert not list(tmp_path.iterdir())
    draw_each(tmp_path)
    for figure, name in zip(drawn, ("curves", "confusion", "predictions"), strict=True):
        # What a notebook asks a result for.
        assert figure._repr_png_() == (tmp_path / f"{name}.png").read_bytes()


def test_a_failing_save_leaves_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "curves.png"
    plots.curves(mnist(), path, title="old")
    old = path.read_bytes()

    def fail(self, place, **settings):
        place.write_bytes(b"half a picture")
        raise OSError("disk full")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        plots.curves(mnist(), path, title="new")
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    # A process that has the old picture open can still read all of it.
    with path.open("rb") as reader:
        plots.curves(mnist(), path, title="new")
        assert reader.read() == old
    assert path.read_bytes() != old


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_matplotlib_is_imported_only_to_draw_and_pyplot_never():
    code = """
import sys
from mlpgpu import plots
from mlpgpu.errors import InputError
print("matplotlib" in sys.modules)
plots.curves([{"epoch": 1, "loss": 1.0}])
print("matplotlib" in sys.modules, "matplotlib.pyplot" in sys.modules)
"""
    assert run_python(code).split() == ["False", "True", "False"]


def test_without_matplotlib_drawing_is_an_import_error(tmp_path, monkeypatch, caplog):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if "Editable" not in repr(finder)])
    assert not plots.available()
    assert not caplog.records
    with pytest.raises(ImportError, match="matplotlib"):
        plots.curves(mnist(), tmp_path / "curves.png", title="")
    assert not list(tmp_path.iterdir())


def test_a_matplotlib_that_cannot_be_imported_costs_a_run_its_pictures_only(tmp_path):
    line = ["-m", "mlpgpu", "train", "--dataset", "iris", "--hidden", "3", "--epochs", "1", "--run-dir", "run"]
    environment = {**os.environ, "MPLBACKEND": "nowhere"}
    done = subprocess.run([sys.executable, *line], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("matplotlib cannot be imported: Key backend: 'nowhere' is not a valid value")
    assert "no pictures without matplotlib" in done.stdout
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["complete"]
