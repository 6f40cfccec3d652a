"""Text files, plain or compressed; unpacked bytes are counted, to refuse decompression bombs."""

import bz2
import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO, cast

from mlpgpu.data.encoding import of_start
from mlpgpu.data.inflation import refuse_bomb
from mlpgpu.errors import InputError, listed


def open_text(path: Path) -> TextIO:
    """Open a text file in UTF-8, or in UTF-16 with a byte-order mark, without newline translation.

    Raises
    ------
    InputError
        On opening, if an archive does not hold exactly one file, or the file does not begin as text; on reading, if far
        more bytes are unpacked than a file of its size should hold.
    """
    unpack = _UNPACK.get(path.suffix.lower())
    file = path.open("rb") if unpack is None else io.BufferedReader(_Counted(path, unpack(path)))
    try:
        encoding = of_start(path, file.peek(4)[:4])
    except BaseException:
        file.close()
        raise
    return io.TextIOWrapper(file, encoding=encoding, newline="")


class _Counted(io.RawIOBase):
    """The unpacked bytes of a file, counted as they are read."""

    def __init__(self, path: Path, unpacked: io.BufferedIOBase) -> None:
        self._path, self._unpacked, self._count = path, unpacked, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._unpacked.read(len(buffer))
        buffer[: len(data)] = data
        self._count += len(data)
        refuse_bomb(self._path, self._count)
        return len(data)

    def close(self) -> None:
        self._unpacked.close()
        super().close()


def _only_entry(path: Path) -> io.BufferedIOBase:
    # The open entry keeps the archive's file open after the with statement.
    with zipfile.ZipFile(path) as archive:
        # macOS adds a folder of metadata.
        entries = [entry for entry in archive.infolist() if not entry.is_dir() and "__MACOSX/" not in entry.filename]
        if len(entries) != 1:
            raise InputError(
                f"{path} holds {len(entries):,} files: {listed([entry.filename for entry in entries])}; allowed: one "
                "table; unpack it, and give the file that is meant"
            )
        # One of the other methods takes as much memory as its header asks for.
        if entries[0].compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise InputError(f"{path} is not packed by deflate, as archives are nearly always; pack it again so")
        return cast(io.BufferedIOBase, archive.open(entries[0]))


_UNPACK: dict[str, Callable[[Path], io.BufferedIOBase]] = {
    ".gz": gzip.GzipFile,
    ".bz2": bz2.BZ2File,
    ".zip": _only_entry,
}
