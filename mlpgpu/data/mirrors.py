"""Downloading a set of IDX files from whichever server has it, checked before it is kept."""

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from mlpgpu.data import idx, openml
from mlpgpu.data.download import DownloadError, fetch, probe
from mlpgpu.errors import InputError

__all__ = ["UnavailableError", "download", "md5"]

# A good connection answers in well under a second; once one server has not, the network is likely gone.
_FIRST_SECONDS = 5.0
_NEXT_SECONDS = 2.0


class UnavailableError(InputError):
    """A set that can be neither found nor downloaded."""


def md5(data: bytearray) -> str:
    """MD5 of bytes, in hexadecimal."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def download(
    mirrors: Sequence[str], checksums: Mapping[str, str], folder: Path, data_id: int, train_rows: int, *, progress: bool
) -> dict[str, bytearray]:
    """Download IDX files into a folder.

    Parameters
    ----------
    mirrors : sequence of str
        Addresses, each with a slash at its end, below which the files lie with ``.gz`` added.
    checksums : mapping of str to str
        The wanted files and the MD5 of their uncompressed bytes.
    folder : Path
        Where to keep them. What fails its checksum, or is broken off, is not kept.
    data_id, train_rows : int
        The set at OpenML, which is asked last.
    progress : bool
        Whether to draw progress bars.

    Returns
    -------
    dict of str to bytearray
        The uncompressed bytes of each wanted file.

    Raises
    ------
    UnavailableError
        Where no server has them, or the folder cannot be written; the message says what was tried.
    """
    got: dict[str, bytearray] = {}
    failures: list[str] = []
    seconds = _FIRST_SECONDS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Beside the kept files, so that a finished one is moved into place in one step.
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as scratch:
            for mirror in mirrors:
                try:
                    probe(mirror, seconds)
                    for file in [file for file in checksums if file not in got]:
                        path = Path(scratch, f"{file}.gz")
                        fetch(f"{mirror}{file}.gz", path, seconds, progress=progress)
                        got[file] = _checked(path, checksums[file])
                        path.replace(folder / path.name)
                except DownloadError as error:
                    failures.append(f"{urlsplit(mirror).netloc}: {error.reason}")
                    seconds = _NEXT_SECONDS if error.unreachable else seconds
                if len(got) == len(checksums):
                    return got
            try:
                parts = openml.fetch(data_id, train_rows, seconds)
                for file, data in parts.items():
                    if file in checksums and file not in got:
                        path = Path(scratch, file)
                        path.write_bytes(data)
                        got[file] = _checked(path, checksums[file])
                        path.replace(folder / file)
            except DownloadError as error:
                failures.append(f"{urlsplit(openml.SERVER).netloc}: {error.reason}")
    except OSError as error:
        raise UnavailableError(f"cannot write the cache folder {folder}: {error.strerror}") from None
    if len(got) < len(checksums):
        raise UnavailableError(f"no server gave it ({', '.join(failures)})")
    return got


def _checked(path: Path, expected: str) -> bytearray:
    try:
        data = idx.unpack(path)
    except InputError:
        raise DownloadError("damaged file") from None
    if md5(data) != expected:
        raise DownloadError("wrong checksum")
    return data
