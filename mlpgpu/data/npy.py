"""NumPy's .npy format, in a .npy file or within an .npz file: its header, and text that is stored as bytes."""

from typing import IO

import numpy as np


def header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read the shape of an array, whether it is column-major, and its dtype; `file` is left at the elements.

    Raises
    ------
    Exception
        Of any type if the header is damaged, since NumPy parses it as Python source.
    """
    npy = np.lib.format
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    return readers[npy.read_magic(file)](file)


def decoded(array: np.ndarray) -> np.ndarray:
    """Return an array of bytes as text in UTF-8, and any other unchanged."""
    return np.char.decode(array, "utf-8", "replace") if array.dtype.kind == "S" else array
