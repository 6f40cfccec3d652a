"""The names of a table's columns: each once, and no more than a table has."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mlpgpu.errors import InputError

__all__ = ["check"]

# Each costs a fraction of a millisecond and some kilobytes, whatever is in it.
MOST_COLUMNS = 100_000


def check(path: Path, names: Sequence[str]) -> None:
    """Refuse names that cannot be those of a table's columns.

    Raises
    ------
    InputError
        Where a name is there more than once, or there are more than 100,000.
    """
    if len(names) > MOST_COLUMNS:
        raise InputError(
            f"{path} has {len(names):,} columns; allowed: {MOST_COLUMNS:,}; give that many numbers as .npz"
        )
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise InputError(
            f"{path} has more than one column {', '.join(map(repr, twice[:10]))}; give each column its own name"
        )
