"""Decimal marks of text tables: found, or refused where they cannot be told."""

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpgpu import Config, InputError
from mlpgpu.data import load, reading, table

pd = pytest.importorskip("pandas", reason="pandas is not installed: no tables")


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
