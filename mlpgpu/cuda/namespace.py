"""The array namespace of CuPy, which can be told to record."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


class Recordable:
    """CuPy's functions; while a function is being recorded, those of NumPy, which arrays without values take.

    Parameters
    ----------
    library : namespace
        Of CuPy, by the array API standard.

    Attributes
    ----------
    is_recording : bool
    """

    def __init__(self, library: Any) -> None:
        self._library = library
        self.is_recording = False

    def __getattr__(self, name: str) -> Any:
        if "_library" not in vars(self):
            # What copies this asks before anything is set.
            raise AttributeError(name)
        return getattr(np if self.is_recording else self._library, name)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Within it, functions are those that record."""
        self.is_recording = True
        try:
            yield
        finally:
            self.is_recording = False
