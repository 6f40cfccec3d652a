"""Checks of a table's column names: no duplicates, and not too many."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

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
        )
