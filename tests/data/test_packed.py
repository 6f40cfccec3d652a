"""Compressed text tables and those in UTF-16; other encodings, and archives that are no table."""

import bz2
import itertools
import zipfile

import pytest
from archives import archive, gzipped

from mlpgpu import Config, InputError, endings
from mlpgpu.data import load, packed, table

pd = pytest.importorskip("pandas", reason="pandas is not installed: no tables")

PACKERS = {".gz": gzipped, ".bz2": bz2.compress, ".zip": lambda data: archive("x.csv", content=data)}


def test_each_ending_has_its_way_of_unpacking():
    assert tuple(packed._UNPACK) == endings.PACKED == tuple(PACKERS)


@pytest.mark.parametrize(("kind", "packing"), [*itertools.product(endings.TEXT, endings.PACKED)])
def test_a_compressed_table_is_that_table(tmp_path, houses, kind, packing):
    houses.to_csv(tmp_path / "plain.csv", index=False)
    text = houses.to_csv(index=False, sep=";", decimal=",").encode()
    path = tmp_path / f"Old.Houses{kind}{packing.upper()}"
    path.write_bytes(PACKERS[packing](text))
    expected = table.read(tmp_path / "plain.csv")
    pd.testing.assert_frame_equal(table.read(path), expected, check_exact=True)
    pieces = list(table.read_chunks(path, rows=7))
    assert len(pieces) == 9
    pd.testing.assert_frame_equal(pd.concat(pieces)[["age", "price"]], expected[["age", "price"]], check_exact=True)
    assert load(Config(dataset=path, target="price", impute="mean")).name == "Old.Houses"


@pytest.mark.parametrize("rows", [None, 7])
@pytest.mark.parametrize("packing", ["", *endings.PACKED])
@pytest.mark.parametrize(("encoding", "mark"), [("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff")])
def test_a_table_in_utf_16_is_that_table(tmp_path, houses, rows, packing, encoding, mark):
    # Characters of two and four bytes, some of which are split between two chunks of the file.
    houses.loc[::2, "town"] = "Žilina \U0001f3d9" * 200
    houses.to_csv(tmp_path / "plain.csv", index=False)
    for separator in "\t|":
        content = mark + houses.to_csv(index=False, sep=separator, decimal=",", lineterminator="\r\n").encode(encoding)
        path = tmp_path / f"other.csv{packing}"
        path.write_bytes(PACKERS[packing](content) if packing else content)
        found = pd.concat(table.read_chunks(path, rows=rows))
        pd.testing.assert_frame_equal(found, table.read(tmp_path / "plain.csv"), check_exact=True)


WINDOWS = r"it has '{}' if it is Windows-1252, which Excel calls CSV; save it as UTF-8, .* by iconv -f windows-1252 -t"


@pytest.mark.parametrize("packing", ["", ".gz"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a;stra\xdfe;y\n1;K\xf6ln am Rhein;2\n".encode("cp1252"), WINDOWS.format("straße")),
        ("a;y\nK;2\n\xd6sterreich;2\n".encode("cp1252"), WINDOWS.format("Österreich")),
        (("a;y\n" + "1;2\n" * 20_000 + "1;50 \u20ac\n").encode("cp1252"), WINDOWS.format("50 €")),
        (b"a,y\n1,2\n" * 300 + b"\x81,2\n", "it has the byte 0x81; save it as UTF-8, which Excel calls CSV UTF-8$"),
        ("a;y\nü;1\n".encode("utf-16-le"), "it looks like UTF-16 without that mark; save it as UTF-8"),
        ("a;y\nü;1\n".encode("utf-16-be"), "it looks like UTF-16 without that mark; save it as UTF-8"),
        ("a;y\nü;1\n".encode("utf-32"), "it looks like UTF-32; save it as UTF-8"),
        ("a;y\nü;1\n".encode("utf-16")[:-1], "it begins as UTF-16, and is damaged"),
        (b"\xff\xfea\0;\0y\0\n\0\0\xdc;\0y\0", "it begins as UTF-16, and is damaged"),
        (archive("xl/workbook.xml"), "it looks like an Excel workbook, or another archive; save it as UTF-8"),
    ],
)
def test_other_encodings_are_refused_with_what_they_look_like(tmp_path, content, said, packing):
    path = tmp_path / f"a.csv{packing}"
    path.write_bytes(PACKERS[packing](content) if packing else content)
    for rows in (None, 100):
        with pytest.raises(InputError, match=f"is not UTF-8 text, nor UTF-16 with a byte-order mark: {said}") as caught:
            list(table.read_chunks(path, rows=rows))
        assert str(caught.value).isprintable()


TEXT = b"a;y\n" + b"".join(b"%d,5;%d\n" % (n, n * n) for n in range(2000))


@pytest.mark.parametrize("rows", [None, 100])
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv.gz", gzipped(TEXT)[:-100], "as CSV: Compressed file ended before"),
        ("a.csv.gz", gzipped(TEXT)[:-8] + b"\0" * 8, "as CSV: CRC check failed"),
        ("a.csv.gz", TEXT, "as CSV: Not a gzipped file"),
        ("a.csv.gz", b"", "is empty"),
        ("a.csv.gz", gzipped(b""), "is empty"),
        ("a.csv.gz", gzipped("a;y\nü;1\n".encode("latin-1")), "is not UTF-8 text"),
        ("a.csv.bz2", bz2.compress(TEXT)[:-100], "as CSV: Compressed file ended before"),
        ("a.csv.bz2", TEXT, "as CSV: Invalid data stream"),
        ("a.csv.zip", TEXT, "as CSV: File is not a zip file"),
        ("a.csv.zip", archive("x.csv", method=zipfile.ZIP_STORED, content=TEXT).replace(b"99,", b"88,"), "Bad CRC-32"),
        ("a.csv.zip", archive("x.csv", "y\n.csv"), r"holds 2 files: 'x.csv', 'y\\n.csv'; allowed: one"),
        ("a.csv.zip", archive("folder/"), "holds 0 files"),
        ("a.csv.zip", archive("x.csv", method=zipfile.ZIP_LZMA, content=TEXT), "is not packed by deflate"),
    ],
)
def test_what_cannot_be_unpacked_is_one_line(tmp_path, name, content, said, rows):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        list(table.read_chunks(tmp_path / name, rows=rows))
    assert str(caught.value).isprintable()


def test_what_macos_adds_to_an_archive_is_no_table(tmp_path):
    (tmp_path / "a.csv.zip").write_bytes(archive("x.csv", "__MACOSX/._x.csv", content=TEXT))
    assert len(table.read(tmp_path / "a.csv.zip")) == 2000


@pytest.mark.parametrize("start", [b"a;y\n", b"a,y\n", b""])
@pytest.mark.parametrize("packing", [".bz2", ".zip"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_few_bytes_that_stand_for_many(tmp_path, monkeypatch, packing, start, encoding):
    """A small file that unpacks to many rows, or to one endless row."""
    monkeypatch.setattr("mlpgpu.data.inflation._ALWAYS_ALLOWED", 2**14)
    monkeypatch.setattr("mlpgpu.data.inflation.MAX_INFLATION", 10)
    path = tmp_path / f"a.csv{packing}"
    content = start + start.replace(b"a", b"1").replace(b"y", b"2") * 50_000 + b"w" * 2**20
    path.write_bytes(PACKERS[packing](content.decode().encode(encoding)))
    assert path.stat().st_size < 10_000
    for rows in (None, 100):
        with pytest.raises(InputError, match=r"bytes and promises .*; allowed: .* times its size; get it again"):
            list(table.read_chunks(path, rows=rows))
