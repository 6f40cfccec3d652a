"""How a table in text is written, found out from the file: what is between its columns, and before its decimals."""

import contextlib
import csv
import re
from collections.abc import Callable, Iterable, Iterator, Set
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TextIO

from mlpgpu.data.packed import open_text
from mlpgpu.errors import InputError

__all__ = ["MISSING", "SEPARATED_BY", "Dialect", "find", "open_rows"]

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
SEPARATED_BY = f"{', '.join([*_SEPARATORS.values()][:-1])} or {[*_SEPARATORS.values()][-1]}"
_MARKS = {",": "comma", ".": "point"}
# What stands for a missing value in text: what pandas takes for one.
MISSING = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
# The header and so many rows tell what separates columns, where the header alone does not.
_LINES = 101
_PIECE = 2**20
# A first line for Excel, above the header.
_SAID = re.compile(r'"?sep=([,;\t|])"?[\r\n]+', re.IGNORECASE)


def _number(mark: str, unlike: str = "") -> re.Pattern[str]:
    """A cell that is a number with a mark in it, as pandas reads one; there is a zero byte on each side of a cell."""
    digits = rf"(?:\d+{mark}\d*|{mark}\d+)(?:[eE][+-]?\d+)?"
    return re.compile(rf"\0(\s*[+-]?{unlike}{digits}\s*)(?=\0)", re.ASCII)


_WITH = {mark: _number(re.escape(mark)) for mark in _MARKS}
# Three digits after the mark, and one to three before it, may be 1,234 as well as 1.234.
_CERTAIN = _number("[,.]", unlike=r"(?![1-9]\d{0,2}[,.]\d{3}\s*\0)")
# Any number, also with marks between thousands.
_NUMBER = re.compile(
    r"\s*[+-]?(?:\d+[,.]?\d*|[,.]\d+|\d{1,3}(?:[,.]\d{3})+(?:[,.]\d*)?|inf(?:inity)?)(?:e[+-]?\d+)?\s*",
    re.ASCII | re.IGNORECASE,
)


class Dialect(NamedTuple):
    """How a table is written.

    Attributes
    ----------
    names : list of str
        Its header; a column without a name is called as pandas calls it.
    separator : str
        What is between its columns.
    decimal : str or None
        What is before its decimals; None where there are none, and where the separator is a comma, which leaves points.
    """

    names: list[str]
    separator: str
    decimal: str | None

    @property
    def mark(self) -> str:
        """What is to be before decimals, in words."""
        if self.decimal is None and self.separator != ",":
            return "decimal mark"
        return f"decimal {_MARKS[self.decimal or '.']}"

    def notes(self) -> list[str]:
        """One line on what is not plain CSV."""
        if self.separator == ",":
            return []
        decimals = [] if self.decimal is None else [f"{self.mark}s"]
        return [", ".join([f"{_SEPARATORS[self.separator]} between columns", *decimals])]


def find(path: Path, aside: Callable[[list[str]], Set[str]], *, text: bool) -> Dialect:
    """How the table in a file is written. All of its cells are looked at, unless commas separate them.

    Parameters
    ----------
    path : Path
    aside : callable
        ``aside(names)``: columns of which no numbers are taken. Where all columns together do not tell what is before
        decimals, these are not asked.
    text : bool
        Whether others may be text: those with a cell that is no number are not asked either.

    Raises
    ------
    InputError
        Where the file does not tell.
    """
    separator = _separator(path)
    with open_rows(path) as file:
        names = [name or f"Unnamed: {place}" for place, name in enumerate(next(_rows(file, separator), []))]
    if separator == ",":
        return Dialect(names, separator, None)
    not_asked = aside(names)
    places = {place for place, name in enumerate(names) if name in not_asked}
    return Dialect(names, separator, _decimal(path, separator, places, text))


def open_rows(path: Path) -> TextIO:
    """The text of a table, from its header on."""
    said, file = _said(path), open_text(path)
    if said:
        file.readline()
    return file


def _said(path: Path) -> str | None:
    """The separator that a line such as ``sep=;`` names."""
    with open_text(path) as file:
        found = _SAID.fullmatch(file.readline(10))
    return found[1] if found else None


def _rows(file: Iterable[str], separator: str) -> Iterator[list[str]]:
    """The lines that are not empty, as pandas counts them."""
    return filter(None, csv.reader(file, delimiter=separator))


def _separator(path: Path) -> str:
    """What separates columns: what splits the header and rows, and of several the one that splits them well."""
    if said := _said(path):
        return said
    possible = [mark for mark in _SEPARATORS if _splits(path, mark)]
    # A tab is hardly a part of a name.
    for is_likely in (_leaves_quotes, _fits_rows, lambda _, mark: mark == "\t"):
        if len(possible) > 1:
            possible = [mark for mark in possible if is_likely(path, mark)] or possible
    if len(possible) > 1:
        raise InputError(
            f"{path} has {' and '.join(_SEPARATORS[mark] for mark in possible)} in its header, and its first rows do "
            "not tell which are between columns; put names that hold one in quotes"
        )
    return possible[0] if possible else ","


def _start(path: Path, separator: str, lines: int) -> Iterator[list[str]]:
    """The first lines, up to one with a cell that is larger than csv takes: split so, it is no cell."""
    with open_rows(path) as file, contextlib.suppress(csv.Error):
        yield from islice(_rows(file, separator), lines)


def _header(path: Path, separator: str) -> list[str]:
    return next(_start(path, separator, 1), [])


def _widths(path: Path, separator: str) -> list[int]:
    """How many cells the header and the first rows have."""
    return [*map(len, _start(path, separator, _LINES))]


def _splits(path: Path, separator: str) -> bool:
    """Whether there are columns then; a name of a single one may have any mark in it."""
    header, *rows = _widths(path, separator) or [0]
    return header > 1 and (not rows or max(rows) > 1)


def _leaves_quotes(path: Path, separator: str) -> bool:
    """Whether no name is cut where it is in quotes."""
    return all(name.count('"') % 2 == 0 for name in _header(path, separator))


def _fits_rows(path: Path, separator: str) -> bool:
    return len(set(_widths(path, separator))) == 1


def _decimal(path: Path, separator: str, aside: Set[int], text: bool) -> str | None:
    """The mark in the numbers of a table, where that can only be before decimals; see `find`."""
    first, certain = _marks(path, separator)
    # Spreadsheets that write points between thousands put semicolons between columns.
    if not first or (len(first) == 1 and (certain or ("." in first and separator != ";"))):
        return next(iter(first), None)
    first, certain = _marks(path, separator, aside | (_text(path, separator) if text else set()))
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


def _marks(path: Path, separator: str, aside: Set[int] = frozenset()) -> tuple[dict[str, str], bool]:
    """The marks in numbers, each with the first of them, and whether one can only be before decimals.

    Columns at the places `aside` are not looked at, and no more rows than tell.
    """
    with open_rows(path) as file:
        pieces = iter(lambda: file.read(_PIECE), "")
        there = {mark for piece in pieces for mark in _MARKS if mark in piece}
    first: dict[str, str] = {}
    certain = False
    with open_rows(path) as file:
        for number, row in enumerate(islice(_rows(file, separator), 1, None), 1):
            if not there or len(first) == len(_WITH) or (certain and len(there) == 1):
                # Nothing more is to be found, and to look at cells takes longer than at letters.
                break
            asked = [cell for place, cell in enumerate(row) if place not in aside] if aside else row
            cells = "\0".join(["", *asked, ""])
            for mark, pattern in _WITH.items():
                if mark not in first and mark in cells and (cell := pattern.search(cells)):
                    first[mark] = f"{cell[1]!r} in row {number:,}"
            certain = certain or bool(first and _CERTAIN.search(cells))
    return first, certain


def _text(path: Path, separator: str) -> set[int]:
    """The places of columns with a cell that is no number, whatever is before decimals."""
    places: set[int] = set()
    with open_rows(path) as file:
        for row in islice(_rows(file, separator), 1, None):
            places |= {
                place
                for place, cell in enumerate(row)
                if place not in places and cell not in MISSING and not _NUMBER.fullmatch(cell)
            }
    return places
