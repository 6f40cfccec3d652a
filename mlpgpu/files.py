"""Paths as users give them, and writing a file whole or not at all."""

import contextlib
import datetime as dt
import errno
import glob
import os
import time
from collections.abc import Iterator
from pathlib import Path

from mlpgpu.errors import InputError

# Read where there is no such file as well, as on Windows.
STANDARD_INPUT = "/dev/stdin"
# Seconds after which an unfinished file that nobody wrote to is one of a process that was killed.
ABANDONED = 24 * 3600


def expanded(given: str | Path) -> Path:
    """A path with ``~`` as the home folder, and as it is where there is no such user."""
    # Path.expanduser has an error for a user that there is not.
    return Path(os.path.expanduser(given))  # noqa: PTH111


def in_runs(name: str) -> Path:
    """A folder in ``runs`` that is not there yet, called `name` and the time."""
    now = dt.datetime.now().strftime("%Y%m%d-%H%M%S")  # the user's own clock
    first = Path("runs") / f"{name}-{now}"
    others = (first.with_name(f"{first.name}-{n}") for n in range(2, 1000))
    return next(path for path in (first, *others) if not path.exists())


def out_folder(out: str | None, name: str) -> Path:
    """The folder `out`, or one of `in_runs`; it is made where it is not there.

    Raises
    ------
    InputError
        Where it cannot be made.
    """
    folder = in_runs(name) if out is None else expanded(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write the folder {folder}: {error.strerror}; choose another with --out") from None
    return folder


@contextlib.contextmanager
def replacing(path: Path, previous: Path | None = None) -> Iterator[Path]:
    """A path beside `path` to write to, put in its place on leaving; after an error the old file stands.

    Of several writers at once, each has a path of its own, and the last one to leave wins.

    Parameters
    ----------
    path : path
    previous : path or None
        Where the old file is moved to, in the same folder; None where it is not kept.

    Yields
    ------
    path
        In the same folder, with the same suffix.

    Raises
    ------
    FileNotFoundError
        Where there is no such folder.
    """
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
                # There is none at first, nor where another writer has just moved it.
                with contextlib.suppress(FileNotFoundError):
                    path.replace(previous)
            beside.replace(path)
            _sync_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def _clear(path: Path) -> None:
    """Remove what processes that were killed have left of `path`, where that is allowed."""
    for left in path.parent.glob(f".{glob.escape(path.stem)}.????????.part{glob.escape(path.suffix)}"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > ABANDONED:
                left.unlink()


def check_out(path: Path, *read: Path) -> None:
    """Refuse a file that `replacing` could not write, or must not.

    Parameters
    ----------
    path : path
    *read : path
        Files that what is written is made of.

    Raises
    ------
    InputError
        Where the folder is not there, or `path` is one of `read`.
    """
    if not path.parent.is_dir():
        raise InputError(f"out is {path}, and there is no folder {path.parent}; make it first")
    for source in read:
        if path.exists() and source.exists() and path.samefile(source):
            raise InputError(f"out is {path}, which is read here and would be lost; give another file")


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have an error of a write, such as that of a full disk, say where."""
    try:
        yield
    except OSError as error:
        # One without a number is text alone, which a name would take the place of.
        if error.errno is not None:
            error.filename = error.filename or str(path)
        raise


def _sync_folder(folder: Path) -> None:
    """Have the disk know the names in a folder as well; Windows does so by itself and opens no folders."""
    if os.name != "posix":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
