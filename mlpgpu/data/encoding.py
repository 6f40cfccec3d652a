"""The encoding of a text file: UTF-8, or UTF-16 if it has a byte-order mark."""

import codecs
import re
from pathlib import Path

from mlpgpu.errors import InputError

# First bytes of files in neither encoding, and what they are.
_OTHERS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    b"PK\x03\x04": "an Excel workbook, or another archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
}
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# Characters that separate cells.
_BETWEEN = re.compile(rb'[,;|\t\r\n"]')
# Bytes of a cell that a message shows before and after the undecodable one.
_SHOWN = 20


def of_start(path: Path, start: bytes) -> str:
    """Return Python's name for the encoding of a file from its first four bytes or more.

    Raises
    ------
    InputError
        If they are not the start of text in a supported encoding.
    """
    found = next((what for mark, what in _OTHERS.items() if start.startswith(mark)), None)
    if found is None and not start.startswith(_UTF_16) and b"\0" in start[:4]:
        found = "UTF-16 without that mark"
    if found is not None:
        raise _refused(path, f"it looks like {found}")
    return "utf-16" if start.startswith(_UTF_16) else "utf-8-sig"


def refusal(path: Path, error: UnicodeDecodeError) -> InputError:
    """Return the error for a file with bytes that cannot be decoded."""
    if error.encoding.startswith("utf-16"):
        return _refused(path, f"it begins as UTF-16, and is damaged ({error.reason})")
    at = error.start
    before = _BETWEEN.split(error.object[max(0, at - _SHOWN) : at])[-1]
    after = _BETWEEN.split(error.object[at : at + _SHOWN])[0]
    try:
        cell = (before + after).decode("cp1252")
    except UnicodeDecodeError:
        return _refused(path, f"it has the byte 0x{error.object[at]:02x}")
    return _refused(path, f"it has {cell!r} if it is Windows-1252, which Excel calls CSV", "windows-1252")


def _refused(path: Path, found: str, encoding: str = "") -> InputError:
    convert = f", or convert it by iconv -f {encoding} -t utf-8" if encoding else ""
    return InputError(
        f"{path} is not UTF-8 text, nor UTF-16 with a byte-order mark: {found}; save it as UTF-8, which Excel calls "
        f"CSV UTF-8{convert}"
    )
