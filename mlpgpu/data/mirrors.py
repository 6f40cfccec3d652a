"""Download a set of IDX files from the first server that has it, and verify checksums before keeping files."""

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from mlpgpu.data import idx, openml
from mlpgpu.data.download import DownloadError, fetch, probe
from mlpgpu.errors import InputError

# A good connection answers in well under a second. If one server does not answer, the network is probably down.
_FIRST_SECONDS = 5.0
_NEXT_SECONDS = 2.0


class UnavailableError(InputError):
    """A set that can neither be found nor downloaded."""


def md5(data: bytearray) -> str:
    """Return the MD5 of bytes, in hexadecimal."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def download(
    mirrors: Sequence[str], checksums: Mapping[str, str], folder: Path, data_id: int, *, progress: bool
) -> dict[str, bytearray]:
    """Download IDX files into a folder.

    Parameters
    ----------
    mirrors : sequence of str
        Base URLs that end in a slash, to which file name and ``.gz`` are appended.
    checksums : mapping of str to str
        Names of the files to download, with the MD5 of their uncompressed bytes.
    folder : Path
        Where to keep them. Files that are incomplete or fail their checksum are not kept.
    data_id : int
        As for `openml.fetch`; OpenML is tried last.
    progress : bool
        Whether to draw progress bars.

    Returns
    -------
    dict of str to bytearray
        The uncompressed bytes of each file.

    Raises
    ------
    UnavailableError
        If no server has them, or the folder cannot be written; the message lists what was tried.
    """
    got: dict[str, bytearray] = {}
    failures: list[str] = []
    seconds = _FIRST_SECONDS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # On the same file system as the folder, so that a complete file is moved into place atomically.
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
                    failures.append(f"{urlsplit(mirror).netloc}: {error}")
                    seconds = _NEXT_SECONDS if error.unreachable else seconds
                if len(got) == len(checksums):
                    return got
            try:
                parts = openml.fetch(data_id, seconds)
                for file, data in parts.items():
                    if file in checksums and file not in got:
                        path = Path(scratch, file)
                        path.write_bytes(data)
                        got[file] = _checked(path, checksums[file])
                        path.replace(folder / file)
            except DownloadError as error:
                failures.append(f"{urlsplit(openml.SERVER).netloc}: {error}")
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
