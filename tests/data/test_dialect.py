"""Text tables with any column separator: a table and its model are the same, and the separator is found."""

import csv

import numpy as np
import pytest
from archives import gzipped
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mlpgpu import Config, InputError, commands, train, train_and_test
from mlpgpu.data import load, reading, table

pd = pytest.importorskip("pandas", reason="pandas is not installed: no tables")


PLAIN = {"sep": ",", "decimal": "."}
DIALECTS = [{"sep": sep, "decimal": decimal} for sep in ";\t|" for decimal in ".,"]


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
        assert train.run_command(commands.app, command.split()) == 0
        return capsys.readouterr()

    out, _ = run("train --dataset houses.csv.gz --target price --hidden 4 --epochs 1 --impute mean")
    assert "houses: " in out
    assert "Note      semicolons between columns, decimal commas\n" in out
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("houses-2")
    plain, semicolons, tabs = (run(f"predict {folder} {name}") for name in ("new.csv", "houses.csv.gz", "new.tab"))
    assert plain.out == semicolons.out == tabs.out
    assert plain.err.startswith("note: 17 missing values filled: 17 of 'age' with ")
    assert semicolons.err == "note: semicolons between columns, decimal commas\n" + plain.err
    assert tabs.err == "note: tabs between columns, decimal points\n" + plain.err
    figures = [run(f"evaluate {folder} {name}") for name in ("new.csv", "houses.csv.gz")]
    assert figures[0].out.replace("new.csv", "") == figures[1].out.replace("houses.csv.gz", "")
    assert figures[1].err == "note: semicolons between columns, decimal commas\n" + plain.err
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


@settings(max_examples=40)
@given(st.lists(st.floats(-1e300, 1e300), min_size=2, max_size=6), st.sampled_from(DIALECTS))
def test_any_numbers_come_back(tmp_path, numbers, dialect):
    frame = pd.DataFrame({"a": numbers, "b": 0.5})
    for name, how in (("plain.csv", PLAIN), ("other.csv", dialect)):
        frame.to_csv(tmp_path / name, index=False, **how)
    pd.testing.assert_frame_equal(*(table.read(tmp_path / n) for n in ("plain.csv", "other.csv")), check_exact=True)
