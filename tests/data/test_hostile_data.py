"""Random and malicious data files: what is written is read back, and small files take little memory and time."""

import csv
import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mlpgpu.data import header, idx, load, npz, reading, scaling, table
from mlpgpu.data.target import decide
from mlpgpu.errors import InputError
from mlpgpu.settings.config import Config

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


def refused(read, path, said):
    with pytest.raises(InputError, match=said) as caught:
        read(path)
    assert str(caught.value).isprintable()


# --- round trips ----------------------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(st.data(), st.sampled_from(sorted(CODES)))
def test_any_idx_comes_back(tmp_path, data, kind):
    array = data.draw(hnp.arrays(f">{kind}", hnp.array_shapes(max_dims=4, max_side=5)))
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, CODES[kind], array.ndim, *array.shape)
    (tmp_path / "a").write_bytes(head + array.tobytes())
    np.testing.assert_array_equal(idx.read(tmp_path / "a"), array.astype(array.dtype.newbyteorder("=")), strict=True)


@settings(max_examples=100)
@given(st.data(), st.sampled_from(["?", "<u1", "<i8", ">f4", "<f8", "<f2"]), st.booleans(), st.booleans())
def test_any_npz_comes_back(tmp_path, data, kind, fortran, packed):
    x = data.draw(hnp.arrays(kind, hnp.array_shapes(min_dims=2, max_dims=4, max_side=5)))
    x = np.asfortranarray(x) if fortran else x
    (np.savez_compressed if packed else np.savez)(tmp_path / "a.npz", x=x)
    read = npz.read_x(tmp_path / "a.npz")
    np.testing.assert_array_equal(read, x.reshape(len(x), -1))
    assert read.flags.c_contiguous


KINDS = {
    "n": st.integers(-(2**53), 2**53),
    "x": st.floats(-1e300, 1e300),
    "t": st.booleans(),
    # The first letter keeps text from looking like a number or a missing value.
    "w": st.text(LETTERS, max_size=8).map(lambda word: f"w{word}"),
}


@st.composite
def columns(draw):
    """Draw columns of the same length, name -> values; the first letter of a name is its kind."""
    n_rows = draw(st.integers(1, 6))
    name = st.builds(str.__add__, st.sampled_from(sorted(KINDS)), st.text(LETTERS, max_size=8))
    names = draw(st.lists(name, min_size=1, max_size=5, unique=True))
    return {name: draw(st.lists(KINDS[name[0]], min_size=n_rows, max_size=n_rows)) for name in names}


@settings(max_examples=100)
@given(columns())
def test_any_csv_comes_back(tmp_path, given):
    with (tmp_path / "a.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([given, *zip(*given.values(), strict=True)])
    frame = table.read(tmp_path / "a.csv")
    assert list(frame.columns) == list(given)
    for name, values in given.items():
        if name[0] == "x":
            # pandas may round the last digit differently.
            np.testing.assert_allclose(frame[name], values, rtol=1e-15)
        else:
            assert frame[name].tolist() == values


@settings(max_examples=100)
@given(columns(), st.booleans(), st.sampled_from([None, 2]))
def test_any_parquet_comes_back(tmp_path, given, as_numbers, rows):
    pq.write_table(pa.table(given), tmp_path / "a.parquet", use_dictionary=as_numbers, row_group_size=3)
    frames = list(table.read_chunks(tmp_path / "a.parquet", rows=rows))
    assert list(frames[0].columns) == list(given)
    for name, values in given.items():
        assert [value for frame in frames for value in frame[name]] == values


# --- small files that unpack to much data ---------------------------------------------------------------------------


def promising(tmp_path, shape, elements, method=zipfile.ZIP_STORED, kind="<f8"):
    """Write an archive of two arrays whose headers promise a shape; return its path."""
    head = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
        for name in ("x.npy", "y.npy"):
            archive.writestr(name, b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(elements))
    return tmp_path / "a.npz"


@pytest.mark.parametrize("shape", [(10**12, 2), (500_000_000, 2), (3, 2), (-1, 2), (0, 2), (10**30, 2)])
def test_an_array_has_as_many_bytes_as_its_header_says(tmp_path, shape):
    path = promising(tmp_path, shape, 16)
    tracemalloc.start()
    try:
        refused(npz.read_x, path, "the header of array 'x' promises")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_packing_that_has_no_bound_is_not_read(tmp_path):
    path = promising(tmp_path, (10**6, 2), 16 * 10**6, zipfile.ZIP_BZIP2)
    assert path.stat().st_size < 1000
    refused(npz.read_x, path, "array 'x' is packed in a way that numpy does not write")


def test_an_archive_whose_directory_lies_is_not_read(tmp_path):
    path = promising(tmp_path, (10**8, 2), 16)
    content = path.read_bytes()
    lying = content.replace((16 + 128).to_bytes(4, "little"), (16 * 10**8 + 128).to_bytes(4, "little"))
    assert lying != content
    path.write_bytes(lying)
    # Newer versions of Python refuse to open the entry because it would overlap the directory.
    refused(npz.read_x, path, "promises 1,600,000,000; allowed: 64 MiB and 1,032 times its size|Overlapped entries")


def test_objects_are_not_unpickled(tmp_path):
    path = promising(tmp_path, (2, 2), 32, kind="|O")
    refused(npz.read_x, path, "Python objects, which are not read")


def test_names_that_lead_elsewhere_are_never_written(tmp_path):
    x = io.BytesIO()
    np.save(x, np.ones((2, 2)))
    folder = tmp_path / "in"
    folder.mkdir()
    with zipfile.ZipFile(folder / "a.npz", "w") as archive:
        for name in ("x.npy", "../x.npy", "/x.npy"):
            archive.writestr(name, x.getvalue())
    np.testing.assert_array_equal(npz.read_x(folder / "a.npz"), np.ones((2, 2)))
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "a.npz"]


def test_an_entry_without_an_ending_does_not_stand_for_the_one_that_is_checked(tmp_path):
    x = io.BytesIO()
    np.save(x, np.ones((2, 2)))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x", b"no array")
        archive.writestr("x.npy", x.getvalue())
    np.testing.assert_array_equal(npz.read_x(tmp_path / "a.npz"), np.ones((2, 2)))


@pytest.mark.parametrize("rows", [None, 100])
@pytest.mark.parametrize("as_categories", [True, False])
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary()])
def test_a_word_that_stands_once_and_is_everywhere(tmp_path, kind, as_categories, rows):
    word = pa.array(["w" * 1_000_000], kind).dictionary_encode().take(pa.array([0] * 1000))
    pq.write_table(pa.table({"a": word}), tmp_path / "a.parquet", compression="zstd", store_schema=as_categories)
    assert (tmp_path / "a.parquet").stat().st_size < 10_000
    before = pa.default_memory_pool().max_memory()
    refused(lambda path: list(table.read_chunks(path, rows=rows)), tmp_path / "a.parquet", "bytes and promises 1,?0")
    assert pa.default_memory_pool().max_memory() < max(before, 2**26)


def test_a_word_seen_from_many_places(tmp_path):
    """Arrow's schema may ask for string views, each of which would load the page that it refers to."""
    word = pa.array(["w" * 1_000_000] * 200, pa.string_view())
    pq.write_table(pa.table({"a": word}), tmp_path / "a.parquet", compression="zstd")
    refused(table.read, tmp_path / "a.parquet", "bytes and promises 200,000,000")
    pq.write_table(pa.table({"a": word[:2]}), tmp_path / "a.parquet")
    assert table.read(tmp_path / "a.parquet")["a"].tolist() == word[:2].to_pylist()


def test_rows_that_stand_for_each_other(tmp_path):
    """Ten million equal numbers take a few kilobytes."""
    zeros = pa.array(np.zeros(10_000_000))
    pq.write_table(pa.table({"a": zeros, "y": zeros}), tmp_path / "a.parquet", row_group_size=10_000_000)
    refused(table.read, tmp_path / "a.parquet", "promises 160,000,000; allowed: 64 MiB and 1,032 times its size")


def test_an_honest_table_of_a_million_equal_rows_is_read(tmp_path):
    pq.write_table(pa.table({"a": np.zeros(1_000_000), "b": ["word"] * 1_000_000}), tmp_path / "a.parquet")
    frame = table.read(tmp_path / "a.parquet")
    assert frame.shape == (1_000_000, 2)
    assert set(frame["b"]) == {"word"}


# --- found by fuzzing, and other malicious files --------------------------------------------------------------------


def train(path):
    return load(Config(dataset=str(path), target=None if path.suffix == ".npz" else "y"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'"p\nq\x1b[31m",z\n1,2\n', r"allowed: 'p\\nq\\x1b\[31m', 'z'"),
        (b"a,y\n" + b'1,"u\n\x07"\n' * 6, r"the one value u\\n\\x07"),
        (b"w" * 130_000 + b",z\n1,2\n", r" \[\.\.\.\] "),
        (b"w" * 140_000 + b",y\n1,2\n", "field larger than field limit"),
        (b'"' * 10_001, "cannot read .* as CSV"),
        (b"a,y\n" + b"9" * 400 + b",2\n" + b"1,2\n1,3\n" * 6, "column 'a' holds a number that is too large"),
    ],
)
def test_tables_of_ill_will(tmp_path, content, said):
    (tmp_path / "a.csv").write_bytes(content)
    refused(train, tmp_path / "a.csv", said)


def test_names_without_number(tmp_path):
    """The time must not grow with the square of their number."""
    (tmp_path / "a.csv").write_text(",".join(f"a{i // 2}" for i in range(90_000)) + "\n1\n")
    refused(train, tmp_path / "a.csv", "more than one column 'a0', 'a1', 'a10'")
    (tmp_path / "a.csv").write_text("a," * header.MAX_COLUMNS + "y\n1\n")
    refused(train, tmp_path / "a.csv", r"has 100,001 columns; allowed: 100,000")


@pytest.mark.parametrize("letter", [0x7FFFFFFF, 0xD800])
@pytest.mark.parametrize("order", "<>")
def test_letters_that_are_none(letter, order):
    y = np.frombuffer(np.array([letter, 97, 98, 97], f"{order}u4").tobytes(), f"{order}U2")
    with pytest.raises(InputError, match="text that is not Unicode"):
        decide(y, "auto", "array 'y'")


@pytest.mark.parametrize(
    ("y", "y_test"),
    [
        (np.zeros(4, "V8"), np.zeros(2, int)),
        (np.zeros(4, int), np.zeros(2, "V8")),
        (np.zeros(4, "M8[s]"), np.zeros(2)),
        (np.zeros(4, "U3"), np.zeros(2, int)),
        (np.zeros(4, [("a", "f8")]), np.zeros(2, [("b", "f8")])),
    ],
)
def test_targets_that_one_array_cannot_hold(tmp_path, y, y_test):
    y, y_test = np.tile(y, 2), np.tile(y_test, 2)
    np.savez(tmp_path / "a.npz", x_train=np.ones((8, 2)), y_train=y, x_test=np.ones((4, 2)), y_test=y_test)
    refused(train, tmp_path / "a.npz", "allowed: the same kind; mend the file")


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="there is no wider float")
def test_targets_wider_than_json_holds():
    with pytest.raises(InputError, match="allowed: one label or number a row"):
        decide(np.arange(9, dtype=np.longdouble), "auto", "array 'y'")


def test_columns_of_lists_are_refused_before_they_are_read(tmp_path):
    pq.write_table(pa.table({"a": [[1], [2]], "y": [1, 2]}), tmp_path / "a.parquet")
    refused(train, tmp_path / "a.parquet", "column 'a' of .* holds values of type list")
    refused(lambda path: list(reading.features(path, None, 1)), tmp_path / "a.parquet", "of type list")


@pytest.mark.parametrize("rows", [None, 1])
def test_text_of_parquet_that_is_no_text(tmp_path, rows):
    """Arrow trusts the file, and used to fail only when the target was converted to an array."""
    buffers = [None, pa.py_buffer(np.array([0, 2, 4], np.int32).tobytes()), pa.py_buffer(b"\xb3\xffuv")]
    pq.write_table(pa.table({"a": [1, 2], "y": pa.Array.from_buffers(pa.string(), 2, buffers)}), tmp_path / "a.parquet")
    refused(lambda path: list(table.read_chunks(path, rows=rows)), tmp_path / "a.parquet", "Invalid UTF8 sequence")


@pytest.mark.parametrize("value", [1e30, -1e100, 0.1, 1e-30])
def test_a_constant_column_of_any_size_is_shifted_to_nothing(value):
    """The mean has a rounding error, which is large for large numbers."""
    x = np.full((97, 1), value)
    fitted = scaling.fit("standard", x)
    np.testing.assert_array_equal((x - fitted.shift) * fitted.factor, 0)
    close = x * (1 + np.finfo(float).eps * (np.arange(97)[:, None] % 2))
    fitted = scaling.fit("standard", close)
    assert np.abs((close - fitted.shift) * fitted.factor).max() <= 2
