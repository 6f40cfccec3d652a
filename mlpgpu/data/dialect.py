"""The dialect of a text table, inferred from the file: its column separator and its decimal mark."""

import contextlib
import csv
import re
from collections.abc import Callable, Iterable, Iterator, Set
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TextIO

from mlpgpu.data.header import if_values
from mlpgpu.data.packed import open_text
from mlpgpu.errors import InputError, listed

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
SEPARATED_BY = f"{', '.join([*_SEPARATORS.values()][:-1])} or {[*_SEPARATORS.values()][-1]}"
_MARKS = {",": "comma", ".": "point"}
# Cells that mean a missing value: the defaults of pandas.
MISSING = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
# Rows from which the separator is inferred if the header alone is ambiguous.
_ROWS = 100
_PIECE = 2**20
# A line for Excel above the header that declares the separator.
_SEP_LINE = re.compile(r'"?sep=([,;\t|])"?[\r\n]+', re.IGNORECASE)


def _number(mark: str, unlike: str = "") -> re.Pattern[str]:
    """Compile a pattern for a cell that pandas reads as a number with this mark; null bytes delimit the cells."""
    digits = rf"(?:\d+{mark}\d*|{mark}\d+)(?:[eE][+-]?\d+)?"
    return re.compile(rf"\0(\s*[+-]?{unlike}{digits}\s*)(?=\0)", re.ASCII)


_WITH = {mark: _number(re.escape(mark)) for mark in _MARKS}
# The mark is certainly a decimal mark unless one to three digits come before it and three after it: 1,234 may be 1234.
_CERTAIN = _number("[,.]", unlike=r"(?![1-9]\d{0,2}[,.]\d{3}\s*\0)")
# Any number, including those with thousands separators.
_NUMBER = re.compile(
    r"\s*[+-]?(?:\d+[,.]?\d*|[,.]\d+|\d{1,3}(?:[,.]\d{3})+(?:[,.]\d*)?|inf(?:inity)?)(?:e[+-]?\d+)?\s*",
    re.ASCII | re.IGNORECASE,
)


class Dialect(NamedTuple):
    """The format of a text table.

    Attributes
    ----------
    names : list of str
        The header; columns without a name are named as by pandas.
    separator : str
        Column separator.
    decimal : str or None
        Decimal mark; None if no number has one, or if the separator is a comma, so that the mark must be a point.
    """

    names: list[str]
    separator: str
    decimal: str | None

    @property
    def mark(self) -> str:
        """The decimal mark to use in this table, in words."""
        if self.decimal is None and self.separator != ",":
            return "decimal mark"
        return f"decimal {_MARKS[self.decimal or '.']}"

    def notes(self) -> list[str]:
        """Return one-line notes: of what differs from plain CSV, and of names that look like values."""
        values = if_values(self.names)
        notes = [f"the columns are called {listed(self.names)}{values}"] if values else []
        if self.separator == ",":
            return notes
        decimals = [] if self.decimal is None else [f"{self.mark}s"]
        return [", ".join([f"{_SEPARATORS[self.separator]} between columns", *decimals]), *notes]


def find(path: Path, non_numeric: Callable[[list[str]], Set[str]], *, text: bool) -> Dialect:
    """Infer the dialect of the table in a file. This reads the whole file, unless commas separate its columns.

    Parameters
    ----------
    path : Path
    non_numeric : callable
        ``non_numeric(names)`` returns the columns that are not used as numbers. If the decimal mark is ambiguous over
        all columns, these are ignored.
    text : bool
        Whether other columns may be text: then those with a cell that is not a number are ignored as well.

    Raises
    ------
    InputError
        If the separator or the decimal mark is ambiguous.
    """
    separator = _separator(path)
    with open_rows(path) as file:
        names = [name or f"Unnamed: {place}" for place, name in enumerate(next(_rows(file, separator), []))]
    if separator == ",":
        return Dialect(names, separator, None)
    ignored = non_numeric(names)
    places = {place for place, name in enumerate(names) if name in ignored}
    return Dialect(names, separator, _decimal(path, separator, places, text))


def open_rows(path: Path) -> TextIO:
    """Open the text of a table at its header."""
    declared, file = _declared_separator(path), open_text(path)
    if declared:
        file.readline()
    return file


def _declared_separator(path: Path) -> str | None:
    """Return the separator that a first line such as ``sep=;`` declares, if there is one."""
    with open_text(path) as file:
        found = _SEP_LINE.fullmatch(file.readline(10))
    return found[1] if found else None


def _rows(file: Iterable[str], separator: str) -> Iterator[list[str]]:
    """Iterate over the rows that are not empty, which are those that pandas counts."""
    return filter(None, csv.reader(file, delimiter=separator))


def _separator(path: Path) -> str:
    """Infer the separator: the mark that splits the header and the rows; of several, the one that splits them best."""
    if declared := _declared_separator(path):
        return declared
    starts = {mark: _start(path, mark) for mark in _SEPARATORS}
    # The name of a single column may contain any mark.
    possible = [mark for mark, (header, widths) in starts.items() if len(header) > 1 and max(widths, default=2) > 1]
    whole_quotes = {mark for mark, (header, _) in starts.items() if all(name.count('"') % 2 == 0 for name in header)}
    equal_widths = {mark for mark, (header, widths) in starts.items() if {*widths} <= {len(header)}}
    # A column name rarely contains a tab.
    for likely in (whole_quotes, equal_widths, {"\t"}):
        possible = [mark for mark in possible if mark in likely] or possible
    if len(possible) > 1:
        raise InputError(
            f"{path} has {' and '.join(_SEPARATORS[mark] for mark in possible)} in its header, and its first rows do "
            "not tell which are between columns; put names that hold one in quotes"
        )
    return possible[0] if possible else ","


def _start(path: Path, separator: str) -> tuple[list[str], list[int]]:
    """Return the header, and the number of cells of each of the first rows.

    They end before a cell above the csv module's limit: a wrong separator gives such cells.
    """
    header, widths = [], []
    with open_rows(path) as file, contextlib.suppress(csv.Error):
        rows = _rows(file, separator)
        header = next(rows, [])
        for row in islice(rows, _ROWS):
            widths.append(len(row))
    return header, widths


def _decimal(path: Path, separator: str, ignored: Set[int], text: bool) -> str | None:
    """Return the mark in the numbers of a table if it can only be a decimal mark; see `find`."""
    first, certain = _marks(path, separator)
    # Spreadsheets that write points between thousands separate columns by semicolons.
    if not first or (len(first) == 1 and (certain or ("." in first and separator != ";"))):
        return next(iter(first), None)
    first, certain = _marks(path, separator, ignored | (_text(path, separator) if text else set()))
    if len(first) > 1:
        raise InputError(
            f"{path} has numbers with a comma, such as {first[',']}, and with a point, such as {first['.']}; "
            "allowed: one of them, before decimals, and nothing between thousands; write all numbers so"
        )
    for mark, shown in first.items():
        if not certain:
            raise InputError(
                f"{path} has numbers such as {shown}, whose {_MARKS[mark]} may be before decimals or between "
                "thousands; save it with decimal points, and commas between columns"
            )
    return next(iter(first), None)


def _marks(path: Path, separator: str, ignored: Set[int] = frozenset()) -> tuple[dict[str, str], bool]:
    """Return the first number with each mark, described, and whether some number can only have a decimal mark.

    Columns with an index in `ignored` are skipped. Reading stops as soon as the result is known.
    """
    with open_rows(path) as file:
        pieces = iter(lambda: file.read(_PIECE), "")
        there = {mark for piece in pieces for mark in _MARKS if mark in piece}
    first: dict[str, str] = {}
    certain = False
    with open_rows(path) as file:
        for number, row in enumerate(islice(_rows(file, separator), 1, None), 1):
            if not there or len(first) == len(_WITH) or (certain and len(there) == 1):
                # No more can be found, and checking cells takes longer than searching the text for the marks.
                break
            checked = [cell for place, cell in enumerate(row) if place not in ignored] if ignored else row
            cells = "\0".join(["", *checked, ""])
            for mark, pattern in _WITH.items():
                if mark not in first and mark in cells and (cell := pattern.search(cells)):
                    first[mark] = f"{cell[1]!r} in row {number:,}"
            certain = certain or bool(first and _CERTAIN.search(cells))
    return first, certain


def _text(path: Path, separator: str) -> set[int]:
    """Return the indices of columns with a cell that is not a number under either decimal mark."""
    places: set[int] = set()
    with open_rows(path) as file:
        for row in islice(_rows(file, separator), 1, None):
            places |= {
                place
                for place, cell in enumerate(row)
                if place not in places and cell not in MISSING and not _NUMBER.fullmatch(cell)
            }
    return places
