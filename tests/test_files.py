import errno
import os
import re
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlpgpu.errors import InputError
from mlpgpu.files import ABANDONED, check_out, expanded, out_folder, replacing


class Given(os.PathLike):
    """A path of another library."""

    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return self.path


@pytest.mark.parametrize("path", ["~/a/ä.csv", Path("~/a/ä.csv"), Given("~/a/ä.csv"), Given("~/a/ä.csv".encode())])
def test_a_path_of_any_kind(path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/of")
    monkeypatch.setenv("USERPROFILE", "/home/of")
    assert expanded(path) == Path("/home/of/a/ä.csv")


@pytest.mark.parametrize("path", ["a\0b", Path("a\0b"), Given(b"a\0b"), "a\ud800b"])
def test_a_path_that_no_file_can_have(path):
    with pytest.raises(InputError, match=r"^a path is 'a\\(x00|ud800)b'; allowed: a text in UTF-8 without null bytes$"):
        expanded(path)


def test_a_file_is_there_when_it_is_whole(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with replacing(path) as beside:
        assert beside.parent == tmp_path
        assert beside != path
        assert beside.suffix == ".json"
        beside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def fail(path, error, written):
    with replacing(path) as beside:
        if written is not None:
            beside.write_text(written)
        raise error


@pytest.mark.parametrize("written", [True, False])
def test_after_an_error_the_old_file_stands(tmp_path, written):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        fail(path, KeyboardInterrupt(), "ne" if written else None)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_that_fails_is_not_there(tmp_path):
    with pytest.raises(OSError, match="disk full"):
        fail(tmp_path / "a", OSError("disk full"), "ne")
    assert list(tmp_path.iterdir()) == []


def test_a_name_without_an_ending(tmp_path):
    with replacing(tmp_path / "LOCK") as beside:
        beside.write_bytes(b"1")
    assert (tmp_path / "LOCK").read_bytes() == b"1"


def test_nothing_written_is_an_error_and_not_an_empty_file(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["no/such/a.json", "file/a.json"])
def test_a_folder_that_is_not_there_is_named_and_no_name_of_ones_own(tmp_path, name):
    (tmp_path / "file").touch()
    path = tmp_path / name
    with pytest.raises(FileNotFoundError) as caught:
        fail(path, KeyboardInterrupt(), "ne")
    assert caught.value.strerror == f"there is no folder {path.parent}; make it first"
    assert caught.value.filename == str(path)


def test_a_folder_in_its_place_is_named(tmp_path):
    with pytest.raises(IsADirectoryError, match="this is a folder; give the path of a file") as caught:
        fail(tmp_path, KeyboardInterrupt(), "ne")
    assert caught.value.filename == str(tmp_path)
    with pytest.raises(InputError, match=f"out is {re.escape(str(tmp_path))}, which is a folder; give the path of a"):
        check_out(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="Windows opens no folders")
def test_it_is_on_the_disk_before_it_takes_the_place_and_so_is_the_place(tmp_path, monkeypatch):
    path, seen = tmp_path / "a", []
    path.write_text("old")

    def note(number):
        found = os.fstat(number)
        seen.append((stat.S_ISDIR(found.st_mode) or found.st_size, path.read_text()))

    monkeypatch.setattr(os, "fsync", note)
    with replacing(path) as beside:
        beside.write_text("12345")
    assert seen == [(5, "old"), (True, "12345")]


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has a umask")
def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    with replacing(tmp_path / "a") as beside:
        beside.write_text("x")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_an_error_that_does_not_say_where_is_told_where(tmp_path):
    with pytest.raises(OSError, match="No space left") as caught:
        fail(tmp_path / "a", OSError(errno.ENOSPC, "No space left on device"), "ne")
    assert caught.value.filename == str(tmp_path / "a")


def test_the_old_file_may_be_kept(tmp_path):
    path, previous = tmp_path / "a", tmp_path / "b"
    for text in ("1", "2", "3"):
        with replacing(path, previous) as beside:
            beside.write_text(text)
    assert (path.read_text(), previous.read_text()) == ("3", "2")


def test_of_two_writers_at_once_the_last_one_wins(tmp_path):
    path, previous = tmp_path / "a", tmp_path / "b"
    with replacing(path, previous) as one:
        one.write_text("one")
        with replacing(path, previous) as other:
            other.write_text("other")
        assert path.read_text() == "other"
    assert (path.read_text(), previous.read_text()) == ("one", "other")
    assert sorted(tmp_path.iterdir()) == [path, previous]


def test_many_writers_at_once_leave_one_whole_file(tmp_path):
    path, previous = tmp_path / "a.json", tmp_path / "b.json"

    def write(text):
        for _ in range(100):
            with replacing(path, previous) as beside:
                beside.write_text(text)

    texts = [str(i) * 1000 for i in range(4)]
    with ThreadPoolExecutor(len(texts)) as threads:
        list(threads.map(write, texts))
    assert path.read_text() in texts
    assert previous.read_text() in texts
    assert sorted(tmp_path.iterdir()) == [path, previous]


def test_what_a_killed_process_left_goes_after_a_day(tmp_path):
    path = tmp_path / "a[1].json"
    with replacing(path) as beside:
        beside.write_text("x")
    old = beside, beside.with_name("." + path.name), tmp_path / beside.name.replace("a[1]", "b")
    for left in old:
        left.touch()
        os.utime(left, (time.time() - ABANDONED - 60,) * 2)
    with replacing(path) as recent:
        recent.write_text("killed in the middle of it")
        # A second writer keeps the recent file, whose writer may still finish.
        with replacing(path) as beside:
            beside.write_text("x")
        assert sorted(tmp_path.iterdir()) == sorted([path, recent, *old[1:]])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="may write to any folder")
def test_a_folder_that_may_not_be_written_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match=f"cannot write the folder {tmp_path}: .*; choose another with --out"):
            out_folder(str(tmp_path), "bench")
    finally:
        tmp_path.chmod(0o700)
