"""CuPy's array namespace, which can be switched to recording."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from mlpgpu.backends.precision import Namespace


class Recordable(Namespace):
    """CuPy's functions; while a function is being traced, NumPy's, which dispatch to the recorder of traced arrays.

    Attributes
    ----------
    is_recording : bool
    """

    is_recording = False

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Use the functions that record, within the context."""
        library, self._xp, self.is_recording = self._xp, np, True
        try:
            yield
        finally:
            self._xp, self.is_recording = library, False
