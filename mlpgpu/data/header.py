"""Checks of a table's column names: no duplicates, not too many, and names rather than values."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from mlpgpu.errors import InputError

# Each column costs a fraction of a millisecond and some kilobytes, whatever it holds.
MAX_COLUMNS = 100_000


def check(path: Path, names: Sequence[str]) -> None:
    """Refuse duplicate names, or too many.

    Raises
    ------
    InputError
        If a name occurs more than once, or there are more than 100,000.
    """
    if len(names) > MAX_COLUMNS:
        raise InputError(f"{path} has {len(names):,} columns; allowed: {MAX_COLUMNS:,}; give that many numbers as .npz")
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise InputError(
            f"{path} has more than one column {', '.join(map(repr, twice[:10]))}; give each column its own name"
            f"{if_values(names)}"
        )


def if_values(names: Sequence[Any]) -> str:
    """Return the end of a message if the names look like values, as in a file without a header; else an empty string.

    Those that are numbers then do not rise, as 0, 1, 2 or years would.
    """
    numbers = [number for name in names if math.isfinite(number := _number(name))]
    if all(one < other for one, other in pairwise(numbers)):
        return ""
    return "; the first line looks like a row of values: if it is one, write a line of names above it"


def _number(name: Any) -> float:
    try:
        return float(str(name).replace(",", "."))
    except ValueError:
        return math.nan
