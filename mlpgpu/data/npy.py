"""The header of NumPy's .npy format, in a file of its own or within an .npz."""

from typing import IO

import numpy as np

__all__ = ["header"]


def header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape of an array, whether it lies column by column, and its type; `file` then stands at the elements.

    Raises
    ------
    Exception
        Of any kind where the header is damaged, for it is Python's text.
    """
    npy = np.lib.format
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    return readers[npy.read_magic(file)](file)
