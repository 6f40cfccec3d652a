"""The IDX format of MNIST: a magic number, big-endian dimensions, then the elements.

A header is not trusted: memory is allocated only for bytes that the file really has.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mlpgpu.data.inflation import MAX_INFLATION
from mlpgpu.errors import InputError

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

_PIECE = 2**20


def read(path: str | Path) -> np.ndarray:
    """Read the array in an IDX file, gzipped or plain.

    Returns
    -------
    ndarray
        Writable, with the shape and dtype of the file, in native byte order.

    Raises
    ------
    InputError
        If the file cannot be read, or is not exactly one IDX array.
    """
    return parse(unpack(path), path)


def unpack(path: str | Path) -> bytearray:
    """Read the uncompressed bytes of an IDX file, checked to be as many as its header declares.

    Raises
    ------
    InputError
        If the file cannot be read, or its size disagrees with its header.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            zipped = is_packed(file.read(2))
            file.seek(0)
            if not zipped:
                return _checked(file, size, path)
            with gzip.open(file) as inflated:
                return _checked(inflated, size * MAX_INFLATION, path)  # type: ignore[arg-type]
    except EOFError:
        raise InputError(f"{path} is a truncated gzip file; get it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} is a damaged gzip file ({error}); get it again") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; give a readable IDX file") from None


def is_packed(start: bytes) -> bool:
    """Return whether a file that begins with these bytes is gzipped."""
    return start[:2] == b"\x1f\x8b"


def header(path: str | Path) -> tuple[int, np.dtype, tuple[int, ...]]:
    """Read the header of a plain IDX file, and check it against the size of the file.

    Returns
    -------
    offset : int
        Bytes before the elements.
    dtype : dtype
        In the byte order of the file.
    shape : tuple of int

    Raises
    ------
    InputError
        If the file cannot be read, or its size disagrees with its header.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data, dtype, shape, promised = _promise(file, path)
        _compare(path.stat().st_size, promised, path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; give a readable IDX file") from None
    return len(data), dtype, shape


def parse(data: bytearray, path: str | Path) -> np.ndarray:
    """Return the array in the bytes from `unpack`, sharing their memory if the byte order allows it.

    Parameters
    ----------
    data : bytearray
        Header and elements.
    path : str or Path
        The file, for messages.
    """
    dtype, shape = _header(data, path)
    flat = np.frombuffer(data, dtype, offset=4 + 4 * len(shape))
    return flat.reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def encode(array: np.ndarray) -> bytearray:
    """Encode a ``uint8`` array as IDX."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 0x08, array.ndim, *array.shape)
    return bytearray(header + array.astype(np.uint8).tobytes())


def _checked(file: BinaryIO, most: int, path: Path) -> bytearray:
    data, _, _, promised = _promise(file, path)
    if promised <= most:
        # Reading one more byte than declared shows whether more follow, and stops there for a gzip bomb.
        while len(data) <= promised and (piece := file.read(min(_PIECE, promised + 1 - len(data)))):
            data += piece
    _compare(len(data), promised, path)
    return data


def _promise(file: BinaryIO, path: Path) -> tuple[bytearray, np.dtype, tuple[int, ...], int]:
    """Return the bytes of the header, the dtype and shape in it, and the size that the whole file should have."""
    data = bytearray(file.read(4))
    if len(data) == 4:
        data += file.read(4 * data[3])
    dtype, shape = _header(data, path)
    # Unlike NumPy's integers, Python's do not overflow for huge dimensions.
    return data, dtype, shape, len(data) + math.prod(shape) * dtype.itemsize


def _compare(found: int, promised: int, path: Path) -> None:
    if found > promised:
        raise InputError(f"{path} has bytes after the {promised:,} that its IDX header promises; get it again")
    if found < promised:
        raise InputError(f"{path} is truncated: its IDX header promises {promised:,} bytes; get it again")


def _header(data: bytearray, path: str | Path) -> tuple[np.dtype, tuple[int, ...]]:
    if len(data) < 4 or data[0] or data[1] or data[2] not in DTYPES or not data[3]:
        raise InputError(
            f"{path} is not an IDX file: its first bytes are {data[:4].hex(' ') or 'missing'}; allowed: "
            "00 00, a type 08 to 0e, a number of dimensions; give an IDX file such as train-images-idx3-ubyte"
        )
    if len(data) < 4 + 4 * data[3]:
        raise InputError(f"{path} is truncated in its IDX header; get it again")
    shape = struct.unpack_from(f">{data[3]}I", data, 4)
    # NumPy allows at most 64 dimensions.
    if 0 in shape or len(shape) > 64:
        shown = "x".join(map(str, shape[:5])) + ("..." if len(shape) > 5 else "")
        raise InputError(f"{path} promises an array of {shown}; allowed: 1 to 64 dimensions above 0; get it again")
    return np.dtype(DTYPES[data[2]]), shape
