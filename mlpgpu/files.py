"""Paths given by users, and atomic writing of files."""

import contextlib
import datetime as dt
import errno
import glob
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlpgpu.errors import InputError
from mlpgpu.figures import as_json

# Stands for standard input also where there is no such file, as on Windows.
STANDARD_INPUT = "/dev/stdin"
# An unfinished file that has not been written to for this many seconds is left over from a process that was killed.
ABANDONED = 24 * 3600
# A drive letter of Windows is a single one.
_URL = re.compile(r"[a-z][a-z\d+.-]+://", re.IGNORECASE)


def called(given: str | Path) -> str:
    """Return what messages call a file to read."""
    return "standard input" if str(given) == STANDARD_INPUT else str(given)


def expanded(given: str | os.PathLike[Any]) -> Path:
    """Return a path with ``~`` expanded to the home folder; unchanged if there is no such user.

    Raises
    ------
    InputError
        If it is no text or path, cannot be that of a file, or is a URL, which as a path would be that of another file.
    """
    if not isinstance(given, str | os.PathLike):
        raise InputError(f"a path is of type {type(given).__name__}; allowed: a text or a pathlib.Path")
    path = os.fsdecode(given)
    if not _is_nameable(path):
        raise InputError(f"a path is {path!r}; allowed: a text in UTF-8 without null bytes")
    if _URL.match(path):
        raise InputError(f"{path} is a URL; allowed: files and folders of this machine; download it, and give the path")
    # Path.expanduser raises an error for an unknown user.
    return Path(os.path.expanduser(path))  # noqa: PTH111


def _is_nameable(path: str) -> bool:
    """Whether the system can be asked for a file of this path, which need not exist."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def ending(path: Path) -> str:
    """Say in a message how the name of a file ends."""
    return f"ends in {path.suffix!r}" if path.suffix else "has no ending"


def in_runs(name: str) -> Path:
    """Return a path in ``runs`` that does not exist yet, made of `name` and the time."""
    now = dt.datetime.now().strftime("%Y%m%d-%H%M%S")  # the user's own clock
    first = Path("runs") / f"{name}-{now}"
    others = (first.with_name(f"{first.name}-{n}") for n in range(2, 1000))
    return next(path for path in (first, *others) if not path.exists())


def out_folder(out: str | Path | None, name: str) -> Path:
    """Return the folder `out`, or a new one from `in_runs`, and create it if necessary.

    Raises
    ------
    InputError
        If it cannot be created, or cannot be written to.
    """
    folder = in_runs(name) if out is None else expanded(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise InputError(f"cannot write the folder {folder}: {error.strerror}; choose another with --out") from None
    return folder


@contextlib.contextmanager
def replacing(path: Path, previous: Path | None = None) -> Iterator[Path]:
    """Replace a file atomically: write to the path yielded, which takes the place of `path` on exit.

    After an error the old file remains. Concurrent writers have paths of their own, and the last one to exit wins.

    Parameters
    ----------
    path : path
    previous : path or None
        Where to move the old file, in the same folder; None to discard it.

    Yields
    ------
    path
        A temporary path in the same folder, with the same suffix.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    IsADirectoryError
        If `path` is a folder.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "this is a folder; give the path of a file", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {path.parent}; make it first", str(path))
    _clear(path)
    beside = path.with_name(f".{path.stem}.{os.urandom(4).hex()}.part{path.suffix}")
    try:
        with naming(path):
            yield beside
            with beside.open("rb+") as file:
                os.fsync(file.fileno())
            if previous is not None:
                # There is no old file at first, nor if another writer has just moved it.
                with contextlib.suppress(FileNotFoundError):
                    path.replace(previous)
            beside.replace(path)
            _sync_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def write_json(found: Any, path: Path) -> None:
    """Write `found` as JSON by `as_json`, atomically."""
    with replacing(path) as beside:
        beside.write_text(as_json(found, indent=1) + "\n", encoding="utf-8")


def _clear(path: Path) -> None:
    """Remove unfinished files of `path` left by processes that were killed, if permissions allow."""
    for left in path.parent.glob(f".{glob.escape(path.stem)}.????????.part{glob.escape(path.suffix)}"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > ABANDONED:
                left.unlink()


def check_out(path: Path, *read: Path) -> None:
    """Refuse an output file that `replacing` could not write, or that is also an input.

    Parameters
    ----------
    path : path
    *read : path
        Input files.

    Raises
    ------
    InputError
        If the folder does not exist, or `path` is a folder or one of `read`.
    """
    if path.is_dir():
        raise InputError(f"out is {path}, which is a folder; give the path of a file")
    if not path.parent.is_dir():
        raise InputError(f"out is {path}, and there is no folder {path.parent}; make it first")
    for source in read:
        if path.exists() and source.exists() and path.samefile(source):
            raise InputError(f"out is {path}, which is read here and would be lost; give another file")


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the path to an error of writing, such as a full disk."""
    try:
        yield
    except OSError as error:
        # An error without a number has only a text, which `str` would no longer show once a path is set.
        if error.errno is not None:
            error.filename = error.filename or str(path)
        raise


def _sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to disk; not needed on Windows, which cannot open folders."""
    if os.name != "posix":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
