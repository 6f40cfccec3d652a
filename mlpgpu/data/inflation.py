"""Limits on the unpacked size of a file."""

from pathlib import Path

from mlpgpu.errors import InputError

# Deflate's highest ratio, 258 bytes from 2 bits; it is the limit for other formats too.
MAX_INFLATION = 1032
# Constant columns of a small table may take almost no space in its file.
_ALWAYS_ALLOWED = 2**26


def refuse_bomb(path: Path, promised: int) -> None:
    """Refuse a file that unpacks to far more than a file of its size should.

    Parameters
    ----------
    path : Path
    promised : int
        Unpacked bytes: those that the file declares, or those unpacked so far.

    Raises
    ------
    InputError
        If they are more than the sum of 64 MiB and 1,032 times the size of the file.
    """
    size = path.stat().st_size
    if promised > _ALWAYS_ALLOWED + MAX_INFLATION * size:
        raise InputError(
            f"{path} has {size:,} bytes and promises {promised:,}; allowed: 64 MiB and {MAX_INFLATION:,} times its "
            "size; get it again, or write it uncompressed"
        )
