"""How much larger than itself a file may become."""

from pathlib import Path

from mlpgpu.errors import InputError

__all__ = ["MOST_INFLATION", "refuse_bomb"]

# Deflate packs at most 258 bytes into 2 bits; no other format is allowed more.
MOST_INFLATION = 1032
# Constant columns of a small table may take next to nothing in its file.
_ALWAYS_ALLOWED = 2**26


def refuse_bomb(path: Path, promised: int) -> None:
    """Refuse a file that would take far more memory than it can honestly need.

    Parameters
    ----------
    path : Path
    promised : int
        Bytes that it unpacks to, as it says itself.

    Raises
    ------
    InputError
        Where they are more than 64 MiB and 1,032 times the size of the file.
    """
    size = path.stat().st_size
    if promised > _ALWAYS_ALLOWED + MOST_INFLATION * size:
        raise InputError(
            f"{path} has {size:,} bytes and promises {promised:,}; allowed: 64 MiB and {MOST_INFLATION:,} times its "
            "size; get it again, or write it uncompressed"
        )
