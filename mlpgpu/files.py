"""Writing a file whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to, put in its place on leaving; after an error the old file stands.

    Parameters
    ----------
    path : path

    Yields
    ------
    path
        In the same folder, with the same suffix.
    """
    beside = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
