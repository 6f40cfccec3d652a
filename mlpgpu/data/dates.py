"""Columns of dates: their formats, and the features that they become.

The record of such a column, see `mlpgpu.data.columns`, has the ``kind`` ``date``. Its ``first`` is ``year`` if all
dates begin with the year; otherwise it is ``day`` or ``month``, whichever comes first in the other dates. Its ``hours``
is true if training rows have times other than midnight. Its ``fill`` is in days since 1970-01-01 in UTC.
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

# Types that pandas infers for dates that are not stored as text.
TYPES = ("datetime64", "datetime", "date")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# These match more than can be read: 0000-00-00 and 31-Dec-21 are faulty dates rather than text. Two digits count as a
# year only after the name of a month, since 1.2.21 may be a version.
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
# Microseconds.
_DAY = 24 * 60 * 60 * 10**6


def learn(column: "pd.Series") -> dict[str, Any]:
    """Fit the date entries of a column's record on its training rows; empty if the column holds other text.

    Raises
    ------
    InputError
        If a date cannot be read, or it is ambiguous whether the day or the month comes first.
    """
    import pandas as pd

    first = "year"
    if pd.api.types.infer_dtype(column, skipna=True) not in TYPES:
        found = {_date_and_time(str(value))[0] for value in column.dropna().unique()}
        if not all(map(_looks_like_date, found)):
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
    """Say which share of a text column is dates and how to make all of it dates; empty if at most half of it is."""
    present = column.dropna().map(str)
    texts = present.unique()
    others = {text for text in texts if not _looks_like_date(_date_and_time(text)[0])}
    if 2 * len(others) >= len(texts):
        return ""
    # Rounded down, so that only all of them are 100%.
    share = 100 * (len(texts) - len(others)) // len(texts)
    return (
        f"{share}% of them are dates, but {cells.first(present[present.isin(others)])} is not; to have the features of "
        "dates, leave such cells empty, with impute mean or median"
    )


def names(record: dict[str, Any]) -> list[str]:
    """Return the names of a column's features."""
    name, parts = record["name"], ["month", "weekday", *(["hour"] if record["hours"] else [])]
    return [name, *(f"{name} ({part})" for part in parts)]


def features(column: "pd.Series", record: dict[str, Any]) -> np.ndarray:
    """Encode dates as days since 1970-01-01 in UTC, month (1 to 12), weekday (Monday is 0) and, if recorded, hour.

    Raises
    ------
    InputError
        If a value is not a date in a format of the training rows.
    """
    moments = _moments(column, record["first"])
    if record["fill"] is not None:
        moments = np.where(np.isnat(moments), np.datetime64(round(record["fill"] * _DAY), "us"), moments)
    month = moments.astype("M8[M]").astype(np.int64) % 12 + 1
    # 1970-01-01 was a Thursday.
    weekday = (moments.astype("M8[D]").astype(np.int64) + 3) % 7
    hour = moments.astype("M8[h]").astype(np.int64) % 24
    return np.column_stack([_days(moments), month, weekday, *([hour] if record["hours"] else [])])


def days(column: "pd.Series", record: dict[str, Any]) -> np.ndarray:
    """Convert a column without missing values to days since 1970-01-01 in UTC."""
    return _days(_moments(column, record["first"]))


def _days(moments: np.ndarray) -> np.ndarray:
    return moments.astype(np.int64) / _DAY


def _moments(column: "pd.Series", first: str, cure: str = "remove such rows") -> np.ndarray:
    """Return the values of a column in UTC as ``datetime64[us]``; missing ones are NaT."""
    import pandas as pd

    if column.dtype.kind == "M":
        in_utc = pd.to_datetime(column, utc=True).dt.tz_localize(None)
        years = in_utc.to_numpy("M8[s]").astype("M8[Y]")
        # Years outside the range of dates in text may overflow microseconds.
        near = (years >= np.datetime64("0001")) & (years <= np.datetime64("9999"))
        moments = in_utc.where(near).to_numpy("M8[us]")
    else:
        numbers, distinct = pd.factorize(column.map(str, na_action="ignore"))
        # Missing values have the code -1, which indexes the last entry.
        dates, clocks = zip(*map(_date_and_time, [*distinct, ""]), strict=True)
        days = _map_distinct(dates, lambda text: _date(text, first), "M8[us]")
        moments = (days + _map_distinct(clocks, _since_midnight, "m8[us]"))[numbers]
    unread = np.isnat(moments) & column.notna().to_numpy()
    if unread.any():
        order = "" if first == "year" else f", or with the {first} first"
        raise InputError(
            f"column {column.name!r} holds dates, but {cells.first(column[unread])} is not a valid date; "
            f"allowed: dates as 2021-12-31 or 2021-12-31 09:30{order}; write it so, or {cure}"
        )
    return moments


def _map_distinct(texts: Sequence[str], read: Callable[[str], Any], dtype: str) -> np.ndarray:
    """Apply `read` to each text, once per distinct one."""
    import pandas as pd

    numbers, distinct = pd.factorize(np.array(texts, object))
    return np.array([read(text) for text in distinct], dtype)[numbers]


def _date_and_time(text: str) -> tuple[str, str]:
    """Split a text into date and time of day."""
    date, *clock = _BEFORE_CLOCK.split(text.strip(), 1)
    return date, clock[0] if clock else "0:00"


def _looks_like_date(text: str) -> bool:
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
    """Return the time of day in UTC, as time since midnight of the written date."""
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
