"""IDX files: every type, and damaged, truncated and hostile files."""

import gzip
import struct
import tracemalloc

import numpy as np
import pytest

from mlpgpu.data import idx
from mlpgpu.errors import InputError

GOOD = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3]) + bytes([1, 2, 3, 4, 5, 255])


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_reads_bytes_by_content_whatever_the_name(tmp_path, pack):
    for name in ("a.gz", "a"):
        (tmp_path / name).write_bytes(pack(GOOD))
        array = idx.read(tmp_path / name)
        assert array.dtype == np.uint8
        np.testing.assert_array_equal(array, [[1, 2, 3], [4, 5, 255]])
        # PyTorch and others warn about read-only arrays.
        assert array.flags.writeable
        assert array.flags.c_contiguous


@pytest.mark.parametrize(
    ("code", "letter", "dtype", "values"),
    [
        (0x09, "b", np.int8, [-128, 127]),
        (0x0B, "h", np.int16, [-2, 300]),
        (0x0C, "i", np.int32, [-2, 70_000]),
        (0x0D, "f", np.float32, [0.5, -1e30]),
        (0x0E, "d", np.float64, [0.1, -1e300]),
    ],
)
def test_reads_every_type_into_native_order(tmp_path, code, letter, dtype, values):
    path = tmp_path / "a"
    path.write_bytes(bytes([0, 0, code, 1]) + struct.pack(">I", 2) + struct.pack(f">2{letter}", *values))
    array = idx.read(path)
    assert array.dtype == np.dtype(dtype)
    assert array.dtype.isnative
    np.testing.assert_array_equal(array, np.array(values, dtype))


def test_encode_writes_what_the_format_says():
    assert bytes(idx.encode(np.array([[1, 2, 3], [4, 5, 255]]))) == GOOD


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not an IDX file.*missing"),
        (b"\0\0\x08", "not an IDX file: its first bytes are 00 00 08"),
        (b"PK\3\4" + GOOD, "not an IDX file.*50 4b 03 04"),
        (b"\0\0\x0a" + GOOD[3:], "not an IDX file"),
        (b"\0\0\x08\0" + GOOD[4:], "not an IDX file"),
        (GOOD[:9], "truncated in its IDX header"),
        (GOOD[:-1], "truncated: its IDX header promises 18 bytes"),
        (GOOD + b"\0", "bytes after the 18"),
        (bytes([0, 0, 8, 2]) + struct.pack(">II", 0, 3), "array of 0x3"),
        (bytes([0, 0, 8, 70]) + struct.pack(">70I", *[1] * 70) + b"\0", "array of 1x1x1x1x1..."),
        (bytes([0, 0, 8, 3]) + b"\xff" * 12 + b"\0" * 50, "truncated"),
    ],
)
def test_refuses_what_is_not_exactly_one_array(tmp_path, pack, data, says):
    path = tmp_path / "file"
    path.write_bytes(pack(data))
    with pytest.raises(InputError, match=says) as caught:
        idx.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_refuses_damaged_gzip(tmp_path):
    path = tmp_path / "a.gz"
    noise = np.random.default_rng(0).bytes(1000)
    whole = gzip.compress(bytes([0, 0, 8, 1]) + struct.pack(">I", 1000) + noise)
    for end in (5, len(whole) // 2, len(whole) - 4):
        path.write_bytes(whole[:end])
        with pytest.raises(InputError, match="truncated"):
            idx.read(path)
    path.write_bytes(whole[:-8] + bytes(8))
    with pytest.raises(InputError, match="damaged gzip"):
        idx.read(path)
    path.write_bytes(whole[:12] + b"\xff" * 40 + whole[52:])
    with pytest.raises(InputError, match="damaged gzip"):
        idx.read(path)
    path.write_bytes(whole + b"more")
    with pytest.raises(InputError, match="damaged gzip"):
        idx.read(path)


@pytest.mark.parametrize("promised", [10, 2**40])
def test_memory_follows_the_promise_and_the_bytes_whichever_is_less(tmp_path, promised):
    path = tmp_path / "bomb.gz"
    shape = struct.pack(">II", 2**20, promised // 2**20) if promised > 2**32 else struct.pack(">II", 1, promised)
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 2]) + shape + bytes(50_000_000), 1))
    tracemalloc.start()
    try:
        with pytest.raises(InputError):
            idx.read(path)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_refuses_what_cannot_be_opened(tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match=f"cannot read {path}"):
            idx.read(path)
