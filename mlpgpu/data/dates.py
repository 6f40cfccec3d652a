"""Columns of dates: how they are written, and the numbers that each becomes.

A record of `mlpgpu.data.columns` has the ``kind`` ``date`` then; ``first``, which part of a date comes first where that
is not the year: ``day``, ``month``, or ``year`` where it always is; and ``hours``, whether training rows have times
other than midnight. Its ``fill`` is in days.
"""

import contextlib
import datetime as dt
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.data import cells
from mlpgpu.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TYPES", "days", "doubt", "features", "learn", "names"]

# What pandas calls dates that are no text.
TYPES = ("datetime64", "datetime", "date")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# Wider than what can be read: 0000-00-00 and 31-Dec-21 are dates with a mistake in them, and no words. Two digits are a
# year after a name alone, for 1.2.21 may be a version.
_WRITTEN = {
    first: re.compile(pattern, re.ASCII | re.IGNORECASE)
    for first, pattern in {
        "year": r"(?P<year>\d{4})(?P<mark>[-/])(?P<month>\d\d?)(?P=mark)(?P<day>\d\d?)",
        "day": rf"(?P<day>\d\d?)(?P<mark>[-/.])(?P<month>\d\d?|{'|'.join(_MONTHS)})(?P=mark)"
        r"(?P<year>\d{4}|(?<=[a-z].)\d\d)",
        "month": r"(?P<month>\d\d?)(?P<mark>[-/])(?P<day>\d\d?)(?P=mark)(?P<year>\d{4})",
    }.items()
}
_BEFORE_CLOCK = re.compile(r"(?<=\d)[T ]\s*", re.IGNORECASE)
_CLOCK = re.compile(
    r"(?P<hour>\d\d?)(?P<rest>:[\d:.,]+) ?(?:(?P<half>[ap])m)? ?(?P<zone>z|utc|[+-][\d:]+)?", re.ASCII | re.IGNORECASE
)
# In microseconds.
_DAY = 24 * 60 * 60 * 10**6


def learn(column: "pd.Series") -> dict[str, Any]:
    """What a record has of a column of training rows that holds dates; nothing of one that holds other text.

    Raises
    ------
    InputError
        Where one cannot be read, or they do not tell the day from the month.
    """
    import pandas as pd

    first = "year"
    if pd.api.types.infer_dtype(column, skipna=True) not in TYPES:
        found = {_parted(str(value))[0] for value in column.dropna().unique()}
        if not all(map(_is_like_one, found)):
            return {}
        n_read = {order: sum(_date(text, order) is not None for text in found) for order in _WRITTEN}
        orders = [order for order, n in n_read.items() if n == max(n_read.values())]
        if orders == ["day", "month"] and n_read["day"] == len(found):
            raise InputError(
                f"column {column.name!r} holds dates that do not tell the day from the month, such as "
                f"{cells.first(column.dropna())}; write them as 2021-12-31, or leave it out with --drop"
            )
        first = orders[0]
    moments = _moments(column, first, "leave the column out with --drop")
    moments = moments[~np.isnat(moments)]
    return {"kind": "date", "first": first, "hours": bool((moments != moments.astype("M8[D]")).any())}


def doubt(column: "pd.Series") -> str:
    """Which part of some text is dates, and what would make all of it so; empty where that is not most of it."""
    present = column.dropna().map(str)
    texts = present.unique()
    others = {text for text in texts if not _is_like_one(_parted(text)[0])}
    if 2 * len(others) >= len(texts):
        return ""
    # Rounded down: all of them are 100%.
    share = 100 * (len(texts) - len(others)) // len(texts)
    return (
        f"{share}% of them are dates, but {cells.first(present[present.isin(others)])} is not; to have the features of "
        "dates, leave such cells empty, with impute mean or median"
    )


def names(record: dict[str, Any]) -> list[str]:
    """Of the features of a column."""
    name, parts = record["name"], ["month", "weekday", *(["hour"] if record["hours"] else [])]
    return [name, *(f"{name} ({part})" for part in parts)]


def features(column: "pd.Series", record: dict[str, Any]) -> np.ndarray:
    """Days since 1970 began in UTC, the month from 1, the weekday from Monday, 0, and the hour, where a record has it.

    Raises
    ------
    InputError
        Where a value is no date as those of training were.
    """
    moments = _moments(column, record["first"])
    if record["fill"] is not None:
        moments = np.where(np.isnat(moments), np.datetime64(round(record["fill"] * _DAY), "us"), moments)
    month = moments.astype("M8[M]").astype(np.int64) % 12 + 1
    # 1970 began on a Thursday.
    weekday = (moments.astype("M8[D]").astype(np.int64) + 3) % 7
    hour = moments.astype("M8[h]").astype(np.int64) % 24
    return np.column_stack([_days(moments), month, weekday, *([hour] if record["hours"] else [])])


def days(column: "pd.Series", record: dict[str, Any]) -> np.ndarray:
    """Days since 1970 began, of a column without gaps."""
    return _days(_moments(column, record["first"]))


def _days(moments: np.ndarray) -> np.ndarray:
    return moments.astype(np.int64) / _DAY


def _moments(column: "pd.Series", first: str, cure: str = "remove such rows") -> np.ndarray:
    """The values of a column in UTC, as ``datetime64[us]``; gaps are NaT."""
    import pandas as pd

    if column.dtype.kind == "M":
        in_utc = pd.to_datetime(column, utc=True).dt.tz_localize(None)
        years = in_utc.to_numpy("M8[s]").astype("M8[Y]")
        # Beyond the years of text, microseconds may be too many.
        near = (years >= np.datetime64("0001")) & (years <= np.datetime64("9999"))
        moments = in_utc.where(near).to_numpy("M8[us]")
    else:
        numbers, distinct = pd.factorize(column.map(str, na_action="ignore"))
        # Gaps have the number -1, which is the last here.
        dates, clocks = zip(*map(_parted, [*distinct, ""]), strict=True)
        days = _each(dates, lambda text: _date(text, first), "M8[us]")
        moments = (days + _each(clocks, _since_midnight, "m8[us]"))[numbers]
    unread = np.isnat(moments) & column.notna().to_numpy()
    if unread.any():
        order = "" if first == "year" else f", or with the {first} first"
        raise InputError(
            f"column {column.name!r} is one of dates, and {cells.first(column[unread])} is none that can be read; "
            f"allowed: dates as 2021-12-31 or 2021-12-31 09:30{order}; write it so, or {cure}"
        )
    return moments


def _each(texts: Sequence[str], read: Callable[[str], Any], dtype: str) -> np.ndarray:
    """What is read of each text; of many that are the same, once."""
    import pandas as pd

    numbers, distinct = pd.factorize(np.array(texts, object))
    return np.array([read(text) for text in distinct], dtype)[numbers]


def _parted(text: str) -> tuple[str, str]:
    """A date and a time of day, as they are written."""
    date, *clock = _BEFORE_CLOCK.split(text.strip(), 1)
    return date, clock[0] if clock else "0:00"


def _is_like_one(text: str) -> bool:
    return any(pattern.fullmatch(text) for pattern in _WRITTEN.values())


def _date(text: str, first: str) -> dt.date | None:
    found = _WRITTEN["year"].fullmatch(text) or _WRITTEN[first].fullmatch(text)
    if not found or len(found["year"]) < 4:
        return None
    name = found["month"].lower()
    month = _MONTHS.index(name) + 1 if name in _MONTHS else int(name)
    with contextlib.suppress(ValueError):
        return dt.date(int(found["year"]), month, int(found["day"]))
    return None


def _since_midnight(text: str) -> dt.timedelta | None:
    """The time that is written, in UTC."""
    found = _CLOCK.fullmatch(text)
    if not found:
        return None
    hour, zone = int(found["hour"]), (found["zone"] or "").upper().replace("UTC", "Z")
    if found["half"]:
        hour = hour % 12 + 12 * (found["half"] in "pP")
    with contextlib.suppress(ValueError):
        time = dt.time.fromisoformat(f"{hour:02}{found['rest']}{zone}")
        day = dt.date(1970, 1, 1)
        return dt.datetime.combine(day, time) - dt.datetime.combine(day, dt.time(tzinfo=time.tzinfo and dt.UTC))
    return None
