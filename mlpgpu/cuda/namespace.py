"""The array namespace of CuPy, which can be told to record."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from mlpgpu.backends.precision import Namespace


class Recordable(Namespace):
    """CuPy's functions; while a function is being recorded, those of NumPy, which arrays without values take.

    Attributes
    ----------
    is_recording : bool
    """

    is_recording = False

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Within it, functions are those that record."""
        library, self._xp, self.is_recording = self._xp, np, True
        try:
            yield
        finally:
            self._xp, self.is_recording = library, False
