"""Text tables with any column separator, decimal mark, encoding and compression."""

import bz2
import csv
import gzip
import io
import itertools
import zipfile

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mlpgpu import Config, InputError, __main__, endings, train, train_and_test
from mlpgpu.data import load, packed, reading, table

pd = pytest.importorskip("pandas", reason="pandas is not installed: no tables")

PLAIN = {"sep": ",", "decimal": "."}
DIALECTS = [{"sep": sep, "decimal": decimal} for sep in ";\t|" for decimal in ".,"]


@pytest.fixture
def houses():
    rng = np.random.default_rng(0)
    n = 60
    frame = pd.DataFrame({"size, m": rng.normal(size=n), "rooms; all": rng.integers(1, 6, n)})
    frame["town"] = rng.choice(["Ulm", "Bonn, Süd", "Köln; Nord", 'say "so"', "tab\there", "1,2,3", "two\nlines"], n)
    frame["garden"] = rng.random(n) < 0.5
    frame["age"] = np.where(rng.random(n) < 0.2, np.nan, rng.uniform(0, 50, n).round(2))
    return frame.assign(price=rng.normal(200, 20, n))


def trained(path):
    config = Config(dataset=path, target="price", impute="mean", hidden=(4,), epochs=2, quiet=True)
    return train_and_test(config).model


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_table_is_the_same_however_it_is_written(tmp_path, houses, dialect, quoting):
    # So that some chunks have no decimal mark.
    houses.loc[:20, ["size, m", "age", "price"]] = 3
    houses.to_csv(tmp_path / "plain.csv", index=False)
    houses.to_csv(tmp_path / "other.tsv", index=False, quoting=quoting, **dialect)
    frames = [table.read(tmp_path / name) for name in ("plain.csv", "other.tsv")]
    pd.testing.assert_frame_equal(*frames, check_exact=True)
    columns = load(Config(dataset=tmp_path / "plain.csv", target="price", impute="mean")).columns
    expected = reading.read_features(tmp_path / "plain.csv", columns)
    for rows in (None, 7):
        found = np.concatenate(list(reading.features(tmp_path / "other.tsv", columns, rows)))
        np.testing.assert_array_equal(found, expected)


def test_a_model_is_the_same_however_its_table_is_written(tmp_path, houses):
    houses.to_csv(tmp_path / "plain.csv", index=False)
    houses.to_csv(tmp_path / "other.csv", index=False, sep=";", decimal=",")
    one, other = (trained(tmp_path / name) for name in ("plain.csv", "other.csv"))
    np.testing.assert_array_equal(one.params, other.params)
    frame = pd.read_csv(tmp_path / "other.csv", sep=";", decimal=",")
    predicted = [other.predict(reading.read_features(tmp_path / "plain.csv", other.columns)), one.predict(frame)]
    np.testing.assert_array_equal(*predicted)


def test_every_door_says_what_was_found(tmp_path, houses, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reading, "ROWS", 7)
    houses["price"] = houses["price"].round()
    houses.to_csv("houses.csv.gz", index=False, sep=";", decimal=",")
    houses.to_csv("new.csv", index=False)
    houses.to_csv("new.tab", index=False, sep="\t")

    def run(command):
        assert train.run_command(__main__.app, command.split()) == 0
        return capsys.readouterr()

    out, _ = run("train --dataset houses.csv.gz --target price --hidden 4 --epochs 1 --impute mean")
    assert "houses: " in out
    assert "Note      semicolons between columns, decimal commas\n" in out
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("houses-2")
    plain, semicolons, tabs = (run(f"predict {folder} {name}") for name in ("new.csv", "houses.csv.gz", "new.tab"))
    assert plain.out == semicolons.out == tabs.out
    assert plain.err == ""
    assert semicolons.err == "note: semicolons between columns, decimal commas\n"
    assert tabs.err == "note: tabs between columns, decimal points\n"
    figures = [run(f"evaluate {folder} {name}") for name in ("new.csv", "houses.csv.gz")]
    assert figures[0].out.replace("new.csv", "") == figures[1].out.replace("houses.csv.gz", "")
    assert figures[1].err == "note: semicolons between columns, decimal commas\n"
    # Excel's format "Unicode text".
    houses.to_csv("new.txt", index=False, sep="\t", decimal=",", encoding="utf-16", lineterminator="\r\n")
    assert run(f"predict {folder} new.txt").out == plain.out
    assert run(f"evaluate {folder} new.txt").out.replace("new.txt", "") == figures[0].out.replace("new.csv", "")
    out, _ = run("train --dataset new.txt --target price --hidden 4 --epochs 1 --impute mean --run-dir again")
    assert "Note      tabs between columns, decimal commas\n" in out


def test_classes_that_are_called_as_gaps_are(tmp_path):
    (tmp_path / "a.tsv").write_text("\ufeffy\ta\n" + "NA\t1,5\nNone\t2,5\nx\t3,5\n" * 10, encoding="utf-8")
    assert load(Config(dataset=tmp_path / "a.tsv", target="y")).classes == ("NA", "None", "x")


# --- column separators ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("a;b,c\n1,2\n", ["a;b", "c"]),
        ("a;b,c\n1;2\n", ["a", "b,c"]),
        ("a;b,c;d\n1;2,5;3\n1;2;3\n", ["a", "b,c", "d"]),
        ('"a, b";c\n1,5;2\n', ["a, b", "c"]),
        ('c;"a, b"\n2;1,5\n', ["c", "a, b"]),
        ('c;"a ""x, y"" b"\n2;1,5\n', ["c", 'a "x, y" b']),
        ('"a;b\tc","d\ne;f"\n1,2\n', ["a;b\tc", "d\ne;f"]),
        ('a,5" pipe;x\n1,2\n', ["a", '5" pipe;x']),
        ("a, b\tc\n1,5\t2\n", ["a, b", "c"]),
        ("a,b,c\t\n1,2,3\n", ["a", "b", "c\t"]),
        ("\n\na;b\n\n1;2\n", ["a", "b"]),
        ("\ufeffa;b\r\n1;2\r\n", ["a", "b"]),
        ("a\n1\n", ["a"]),
        ("a|\n1\n", ["a|"]),
        ("a;b\n1\n2\n", ["a;b"]),
        ("sep=;\na, m;y\n1,5;2\n", ["a, m", "y"]),
        ('\ufeff"SEP=\t"\r\na;b\ty\r\n1\t2\r\n', ["a;b", "y"]),
        ("sep=,\n\na;b,y\n1,2\n", ["a;b", "y"]),
        ("sep=|\na,b|y\n1|2\n", ["a,b", "y"]),
        ("a,b|c\n1|2\n", ["a,b", "c"]),
        ("a|b,c\n1|2|3,4\n", ["a|b", "c"]),
        ("sep=;x;y\n1;2;3\n", ["sep=", "x", "y"]),
        ("a" * 70_000 + "," + "b" * 70_000 + "\n1,2\n", ["a" * 70_000, "b" * 70_000]),
    ],
)
def test_the_separator_is_found(tmp_path, content, names):
    (tmp_path / "a.csv").write_bytes(content.encode())
    assert list(table.read(tmp_path / "a.csv").columns) == names


@pytest.mark.parametrize("rows", [None, 7])
def test_a_first_line_for_excel_is_no_row(tmp_path, houses, rows):
    houses.to_csv(tmp_path / "plain.csv", index=False)
    text = houses.to_csv(index=False, sep=";", decimal=",", lineterminator="\r\n")
    (tmp_path / "excel.csv").write_bytes(b"\xef\xbb\xbfsep=;\r\n" + text.encode())
    (tmp_path / "excel.csv.gz").write_bytes(gzipped(b"sep=;\n" + text.encode()))
    for name in ("excel.csv", "excel.csv.gz"):
        found = pd.concat(table.read_chunks(tmp_path / name, rows=rows))
        pd.testing.assert_frame_equal(found, table.read(tmp_path / "plain.csv"), check_exact=True)


@pytest.mark.parametrize("lines", ["# of 2024\na,b\n1,2\n", "a\n1,2\n", "Houses;\na;b;c\n1;2;3\n", "a;b\n1;2;3\n"])
def test_cells_without_a_name(tmp_path, lines):
    (tmp_path / "a.csv").write_text(lines)
    for rows in (None, 1):
        with pytest.raises(InputError, match=r"more cells than there are names in its first line; allowed: a name for"):
            list(table.read_chunks(tmp_path / "a.csv", rows=rows))


@pytest.mark.parametrize("rows", ["1,5;2\n", "1;2,5;3\n1\n", ""])
def test_a_separator_that_cannot_be_told(tmp_path, rows):
    (tmp_path / "a.csv").write_text("size, m;y\n" + rows)
    with pytest.raises(InputError, match="has commas and semicolons in its header, and its first rows do not tell"):
        table.read(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text('"size, m";y\n1,5;2\n')
    assert table.read(tmp_path / "a.csv")["size, m"].tolist() == [1.5]


NAMES = st.text(st.sampled_from('ab,;\t|"\n. '), min_size=1, max_size=6)


@settings(max_examples=40)
@given(st.lists(NAMES, min_size=2, max_size=4, unique=True), st.sampled_from(",;\t|"))
def test_names_in_quotes_hold_anything(tmp_path, names, separator):
    """Except unpaired quotes: with those, the rows do not determine the separator either."""
    assume(all(name.count('"') % 2 == 0 for name in names))
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter=separator, quoting=csv.QUOTE_ALL)
        writer.writerows([names, range(len(names))])
    frame = table.read(tmp_path / "a.csv")
    assert list(frame.columns) == names
    assert frame.loc[0].tolist() == list(range(len(names)))


# --- decimal marks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1,5", "-2,25"], [1.5, -2.25]),
        (["1,5", "1,234"], [1.5, 1.234]),
        (["0,123", "7"], [0.123, 7]),
        (["1234,567", "7"], [1234.567, 7]),
        (["1,234e2", "7"], [123.4, 7]),
        (["+,5", "5,"], [0.5, 5]),
        ([" 1,5 ", "NA"], [1.5, np.nan]),
        (["1.5", "1.234"], [1.5, 1.234]),
        (["0.5", "1.234"], [0.5, 1.234]),
        (["1", "2"], [1, 2]),
        # From here on, the first cell is not a number, so the column is text.
        (["1,234.5", "0.5"], ["1,234.5", "0.5"]),
        (["1.234,5", "0,5"], ["1.234,5", "0.5"]),
        (["1,234,567", "5"], ["1,234,567", "5"]),
        (["31.12.2024", "1,5"], ["31.12.2024", "1.5"]),
    ],
)
@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_decimals_are_found(tmp_path, cells, values, separator):
    (tmp_path / "a.csv").write_text(f"a{separator}y\n" + "".join(f"{cell}{separator}1\n" for cell in cells))
    column = table.read(tmp_path / "a.csv")["a"]
    np.testing.assert_array_equal(column.to_numpy(type(values[0])), values)


@pytest.mark.parametrize(("separator", "called"), [("\t", "tabs"), ("|", "vertical bars")])
def test_points_alone_are_before_decimals_where_spreadsheets_put_no_such_separator(tmp_path, separator, called):
    (tmp_path / "a.tsv").write_text("a\ty\n1.234\t1\n22.500\t2\n".replace("\t", separator))
    written = []
    np.testing.assert_array_equal(table.read(tmp_path / "a.tsv", written=written)["a"], [1.234, 22.5])
    assert [dialect.notes() for dialect in written] == [[f"{called} between columns, decimal points"]]
    (tmp_path / "a.tsv").write_text("a\ty\n1,234\t1\n22,500\t2\n".replace("\t", separator))
    with pytest.raises(InputError, match="numbers such as '1,234' in row 1, whose comma may be"):
        table.read(tmp_path / "a.tsv")
    # The first column is text, and its comma suggests that points may separate thousands.
    (tmp_path / "a.tsv").write_text("a\ty\n0,5\t1.234\nx\t22.500\n".replace("\t", separator))
    with pytest.raises(InputError, match="numbers such as '1.234' in row 1, whose point may be"):
        table.read(tmp_path / "a.tsv")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["1,5;1.5"], "with a comma, such as '1,5' in row 1, and with a point, such as '1.5' in row 1; allowed: one"),
        (["1;", "", "1,5;NA"] + ["2;7"] * 300 + ["3;1.25"], "'1,5' in row 2, and .* '1.25' in row 303; "),
        (["1,234;0.5"], "'1,234' in row 1, and .* '0.5' in row 1; "),
        (["1.234;0,5"], "'0,5' in row 1, and .* '1.234' in row 1; "),
        (['"1,5";"1.5"'], "'1,5' in row 1, and .* '1.5' in row 1; "),
        (["1,234;5", "22,500;7"], "numbers such as '1,234' in row 1, whose comma may be before decimals or between"),
        (["1;2", "-1.234;5"], "numbers such as '-1.234' in row 2, whose point may be before decimals or between"),
        (["1,234,567;5", "1,000;7"], "numbers such as '1,000' in row 2, whose comma may be"),
        # The first column has text, so it does not count, and the second alone is ambiguous.
        (["0,5;1.234", "x;22.500"], "numbers such as '1.234' in row 1, whose point may be before decimals or between"),
        (["1.234,5;1.234", "0,5;22.500"], "'0,5' in row 2, and .* '1.234' in row 1; "),
        (["1,5;2", "1.5;3"], "'1,5' in row 1, and .* '1.5' in row 2; "),
    ],
)
def test_decimals_that_cannot_be_told(tmp_path, rows, said):
    (tmp_path / "a.csv").write_text("\n".join(["a;y", *rows, ""]))
    for n_rows in (None, 1):
        with pytest.raises(InputError, match=said) as caught:
            list(table.read_chunks(tmp_path / "a.csv", rows=n_rows))
        assert str(caught.value).isprintable()


VERSIONS = "version;price;y\n" + "1.2;0,5;2\n1.10.3;1,25;3\n1.3;2;4\n" * 5


def test_numbers_among_text_do_not_say_what_is_before_decimals(tmp_path):
    (tmp_path / "a.csv").write_text(VERSIONS)
    d = load(Config(dataset=tmp_path / "a.csv", target="y", task="regression"))
    assert d.notes[0] == "semicolons between columns, decimal commas"
    assert d.feature_names == ("version=1.10.3", "version=1.2", "version=1.3", "price")
    # Here all versions are numbers, but for the model the column is text.
    (tmp_path / "b.csv").write_text("price;version\n0,5;1.2\n2,25;1.3\n")
    expected = [[0, 1, 0, 0.5], [0, 0, 1, 2.25]]
    np.testing.assert_array_equal(reading.read_features(tmp_path / "b.csv", d.columns), expected)
    with pytest.raises(InputError, match="'0,5' in row 1, and with a point, such as '1.2' in row 1"):
        table.read(tmp_path / "b.csv")


def test_marks_among_text_alone_do_not_matter(tmp_path):
    (tmp_path / "a.csv").write_text("a;b;y\n" + "1,5;x;1\nx;1.5;2\n1.234;1.2.3;3\n" * 5)
    assert table.read(tmp_path / "a.csv").iloc[:3].to_numpy().tolist() == [
        ["1,5", "x", 1],
        ["x", "1.5", 2],
        ["1.234", "1.2.3", 3],
    ]


def test_targets_say_what_is_before_decimals(tmp_path):
    """Although they are not features of the model, and even where a numeric feature has text."""
    columns = [{"name": "a", "kind": "number", "fill": None}]
    for rows, said in (
        ("1;x;1.234\n", "numbers such as '1.234' in row 1, whose point may be"),
        ("0,5;x;1.234\n", "with a comma, such as '0,5' in row 1, and with a point, such as '1.234'"),
        ("1.234;7;1\nx;7;1\n", "numbers such as '1.234' in row 1, whose point may be"),
    ):
        (tmp_path / "a.csv").write_text("a;b;y\n" + rows)
        with pytest.raises(InputError, match=said):
            list(reading.features_and_targets(tmp_path / "a.csv", columns, "y"))
    (tmp_path / "a.csv").write_text("a;b;y\n1;1.234;2\n")
    ((x, y, _),) = reading.features_and_targets(tmp_path / "a.csv", columns, "y")
    assert (x.tolist(), y.tolist()) == ([[1]], [2])


@pytest.mark.parametrize("name", ["version", "of; it, all"])
def test_columns_that_are_left_out_do_not_say_what_is_before_decimals(tmp_path, name):
    text = VERSIONS.replace("1.10.3", "1.4").replace("version", f'"{name}"')
    (tmp_path / "a.csv").write_text(text)
    given = {"dataset": tmp_path / "a.csv", "target": "y", "task": "regression"}
    with pytest.raises(InputError, match="with a comma, such as '0,5' in row 1, and with a point, such as '1.2'"):
        load(Config(**given))
    d = load(Config(**given, drop=name))
    assert d.feature_names == ("price",)
    (tmp_path / "b.csv").write_text("a;b;y\n" + "1.234;7;2\n22.500;8;3\n" * 9)
    given["dataset"] = tmp_path / "b.csv"
    with pytest.raises(InputError, match="'1.234' in row 1, whose point may be before decimals or between thousands"):
        load(Config(**given))
    assert load(Config(**given, drop="a")).feature_names == ("b",)
    # Nor does a column that is not a feature of the model.
    np.testing.assert_array_equal(reading.read_features(tmp_path / "a.csv", d.columns)[:3, 0], [0.5, 1.25, 2])
    (chunk, *_) = reading.features_and_targets(tmp_path / "a.csv", d.columns, "y")
    np.testing.assert_array_equal(chunk[1], [2, 3, 4] * 5)


def test_a_cell_is_a_number_also_where_another_makes_text_of_its_column(tmp_path):
    """So that messages name the other cell, and categories are the same in every file."""
    (tmp_path / "plain.csv").write_text("a,kind,y\n" + '1.5,"1,2,3",0.25\n-2e3,"x,y",1\n#NV,2.5,2\n' * 5)
    (tmp_path / "other.csv").write_text("a;kind;y\n" + "1,5;1,2,3;0,25\n-2e3;x,y;1\n#NV;2,5;2\n" * 5)
    columns = [{"name": "kind", "kind": "category", "fill": None, "categories": ["2.5"]}]
    for rows, known in ((None, None), (4, None), (4, columns)):
        frames = [
            pd.concat(table.read_chunks(tmp_path / name, known, rows)).astype(object)
            for name in ("plain.csv", "other.csv")
        ]
        pd.testing.assert_frame_equal(*frames)
    with pytest.raises(InputError, match="column 'a' holds text, such as '#NV' in row 3; "):
        reading.read_features(tmp_path / "other.csv", [{"name": "a", "kind": "number", "fill": None}])


@pytest.mark.parametrize(
    ("separator", "other", "mark"),
    [(";", "0,5", "comma"), (";", "0.5", "point"), ("\t", "0,5", "comma"), (";", "5", "mark"), (",", "5", "point")],
)
def test_numbers_with_units_are_to_be_written_as_in_their_file(tmp_path, separator, other, mark):
    rows = [["share", "other", "y"], *(["12,5 %", other, "3"], ["7,25 %", other, "4"]) * 10]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file, delimiter=separator).writerows(rows)
    d = load(Config(dataset=tmp_path / "a.csv", target="y"))
    said = f"to have one feature, write numbers such as '12,5 %' in row 1 with a decimal {mark} alone"
    assert sum(said in note for note in d.notes) == 1
    with (tmp_path / "a.csv").open("w", newline="") as file:
        unlike = (["share", "other", "y"], *([f"{n},5 %", other, n % 3] for n in range(2000)))
        csv.writer(file, delimiter=separator).writerows(unlike)
    with pytest.raises(
        InputError, match=f"distinct texts .*; write numbers such as '0,5 %' with a decimal {mark} alone"
    ):
        load(Config(dataset=tmp_path / "a.csv", target="share"))
    with pytest.raises(InputError, match=f"'share' is text with 1,.* distinct values; .* with a decimal {mark} alone"):
        load(Config(dataset=tmp_path / "a.csv", target="y"))


def written(number, thousands, mark):
    """Format a number as a spreadsheet does."""
    whole, _, decimals = str(number).partition(".")
    whole = f"{int(whole):,}".replace(",", thousands) if thousands else whole
    return f"{whole}{mark}{decimals}" if decimals else whole


DECIMALS = st.decimals(0, 10**7, places=3).map(lambda d: d.normalize()).map(lambda d: f"{d:f}")


@settings(max_examples=40)
@given(
    st.lists(st.tuples(DECIMALS, DECIMALS), min_size=1, max_size=6),
    st.sampled_from([("", "."), ("", ","), (",", "."), (".", ","), (" ", ","), ("'", ".")]),
    st.sampled_from(";\t|"),
)
def test_what_is_read_as_a_number_is_that_number(tmp_path, rows, marks, separator):
    lines = (separator.join(written(number, *marks) for number in row) for row in rows)
    (tmp_path / "a.csv").write_text("\n".join([f"a{separator}b", *lines, ""]))
    try:
        frame = table.read(tmp_path / "a.csv")
    except InputError:
        return
    for name, numbers in zip(frame, zip(*rows, strict=True), strict=True):
        if pd.api.types.is_numeric_dtype(frame[name]):
            np.testing.assert_allclose(frame[name], [float(number) for number in numbers], rtol=1e-15)
        else:
            # Only numbers with a thousands separator may be read as text.
            assert marks[0]


@settings(max_examples=40)
@given(st.lists(st.floats(-1e300, 1e300), min_size=2, max_size=6), st.sampled_from(DIALECTS))
def test_any_numbers_come_back(tmp_path, numbers, dialect):
    frame = pd.DataFrame({"a": numbers, "b": 0.5})
    for name, how in (("plain.csv", PLAIN), ("other.csv", dialect)):
        frame.to_csv(tmp_path / name, index=False, **how)
    pd.testing.assert_frame_equal(*(table.read(tmp_path / n) for n in ("plain.csv", "other.csv")), check_exact=True)


# --- compressed -----------------------------------------------------------------------------------------------------


def archive(*names, method=zipfile.ZIP_DEFLATED, content=b""):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as entries:
        for name in names:
            entries.writestr(zipfile.ZipInfo(name), content, method)
    return file.getvalue()


def gzipped(data):
    """Compress to the same bytes at any time, because they are in the names of tests."""
    return gzip.compress(data, mtime=0)


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


# --- file names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.gz", "a.doc.gz", "a.parquet.gz", "a.csv.xz", "a.tar.gz", "csv.gz", ".csv.gz.zip"])
def test_other_endings_are_refused_with_what_there_is(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    allowed = r"\.csv, \.tsv, \.tab, \.txt \(plain, \.gz, \.bz2, \.zip\), \.parquet, \.npz, \.npy or IDX file"
    with pytest.raises(InputError, match=f"allowed: a {allowed}; give one"):
        reading.read_features(tmp_path / name, None)
    with pytest.raises(InputError, match=f"or a {allowed}; give one"):
        load(Config(dataset=tmp_path / name, target="y"))


@pytest.mark.parametrize("name", ["a.xlsx", "a.XLS", "a.ods"])
def test_a_workbook_is_to_be_saved_as_text(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    for read in (lambda path: reading.read_features(path, None), lambda path: load(Config(dataset=path, target="y"))):
        with pytest.raises(InputError, match="IDX file; save the sheet of the workbook as CSV UTF-8$"):
            read(tmp_path / name)


@pytest.mark.parametrize("command", ["train", "predict", "evaluate"])
def test_help_names_the_same_endings(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    train.run_command(__main__.app, [command, "--help"])
    assert endings.DATA_FILE in " ".join(capsys.readouterr().out.replace("│", " ").split())
