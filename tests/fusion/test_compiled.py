"""The cache of compiled functions on disk."""

import os
import subprocess
import sys

import numpy as np
import pytest

from mlpgpu.fusion import compiled

if not compiled.has_numba():
    pytest.skip("numba is not installed: nothing is compiled", allow_module_level=True)

TEXT = """\
import numba


@numba.njit(cache=True)
def run(x):
    return 3 * x + 1
"""
COMPILING = "compiling the training loop"
# A process that compiles in a folder, and prints how many functions it read from the cache and how many it compiled.
PROCESS = """
import logging, pathlib, sys
from mlpgpu.fusion import compiled
logging.basicConfig(level="INFO", stream=sys.stdout, format="%(message)s")
compiled.folder = lambda: pathlib.Path(sys.argv[1])
run = compiled.function_of(sys.argv[2])
assert run(2) == 7
print("read", sum(run.stats.cache_hits.values()), "made", sum(run.stats.cache_misses.values()))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch, caplog):
    """The folder of the cache, which does not exist yet."""
    caplog.set_level("INFO")
    path = tmp_path / "not" / "there yet"
    monkeypatch.setattr(compiled, "folder", lambda: path)
    compiled.function_of.cache_clear()
    yield path
    compiled.function_of.cache_clear()


def lines(caplog):
    return [record.getMessage() for record in caplog.records if record.name.startswith("mlpgpu")]


def process(folder, text=TEXT):
    given = [sys.executable, "-c", PROCESS, str(folder), text]
    done = subprocess.run(given, capture_output=True, text=True, check=True, env=os.environ)
    return done.stdout.splitlines()


def test_the_source_is_written_and_told_of_once(folder, caplog):
    assert compiled.function_of(TEXT)(2) == 7
    assert compiled.function_of(TEXT) is compiled.function_of(TEXT)
    (path,) = folder.glob("*.py")
    assert path.read_text(encoding="utf-8") == TEXT
    assert lines(caplog) == [f"{COMPILING}; it stays compiled in {folder}"]
    # As in another process: no function is in memory, and the file is found.
    compiled.function_of.cache_clear()
    assert compiled.function_of(TEXT)(2) == 7
    assert len(lines(caplog)) == 1


def test_another_source_is_another_file(folder):
    assert compiled.function_of(TEXT)(2) == 7
    assert compiled.function_of(TEXT.replace("3 *", "5 *"))(2) == 11
    assert len(list(folder.glob("*.py"))) == 2


def test_a_file_that_was_changed_is_written_again(folder, caplog):
    compiled.function_of(TEXT)
    (path,) = folder.glob("*.py")
    path.write_text(TEXT.replace("3 *", "5 *"), encoding="utf-8")
    compiled.function_of.cache_clear()
    assert compiled.function_of(TEXT)(2) == 7
    assert path.read_text(encoding="utf-8") == TEXT
    assert [line.partition(";")[0] for line in lines(caplog)] == [COMPILING, COMPILING]
    assert list(folder.glob("*.part*")) == []


def test_a_folder_that_cannot_be_made(folder, caplog):
    folder.parent.write_text("A file is where the folder would be.")
    assert compiled.function_of(TEXT)(2) == 7
    assert compiled.function_of(TEXT)(np.float64(0.5)) == 2.5
    assert lines(caplog) == [f"{COMPILING}, for this process alone: {folder} cannot be written to"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="may write to any folder")
def test_a_folder_that_cannot_be_written_to(folder, caplog):
    folder.mkdir(parents=True)
    folder.chmod(0o500)
    try:
        assert compiled.function_of(TEXT)(2) == 7
    finally:
        folder.chmod(0o700)
    assert lines(caplog) == [f"{COMPILING}, for this process alone: {folder} cannot be written to"]
    assert list(folder.iterdir()) == []


def test_a_second_process_reads_what_the_first_compiled(folder):
    assert process(folder) == [f"{COMPILING}; it stays compiled in {folder}", "read 0 made 1"]
    assert process(folder) == ["read 1 made 0"]
    # The code compiled from another source is not used.
    assert process(folder, TEXT.replace("3 * x + 1", "x + 5"))[-1] == "read 0 made 1"
