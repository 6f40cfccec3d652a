"""The number of threads of a BLAS, which is one per process: fits at once share it."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

# Names of the functions of OpenBLAS in different builds.
NAMES = (
    "scipy_openblas_{}_num_threads64_",
    "openblas_{}_num_threads64_",
    "scipy_openblas_{}_num_threads",
    "openblas_{}_num_threads",
)


class BlasThreads:
    """The threads of a BLAS. Its functions are called directly: threadpoolctl lets a single thread change the number.

    Parameters
    ----------
    library : callable
        Returns the library in which the functions of the BLAS can be looked up, or None. A BLAS without those of
        OpenBLAS counts as one of a single thread.
    """

    def __init__(self, library: Callable[[], Any]) -> None:
        self._library = library
        self._changed = threading.Condition()
        # The number without users, and the cores of each user.
        self._before, self._taken = 1, dict[object, int]()
        # Windows does not fork.
        if hasattr(os, "register_at_fork"):
            lock = self._changed
            os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=self._forget)

    @functools.cached_property
    def _switch(self) -> tuple[Callable[[], int], Callable[[int], Any]]:
        for name in NAMES:
            with contextlib.suppress(AttributeError, OSError):
                library = self._library()
                return getattr(library, name.format("get")), getattr(library, name.format("set"))
        return lambda: 1, lambda number: None

    def number(self) -> int:
        """Return the number of threads while no context limits it."""
        with self._changed:
            return self._before if self._taken else self._switch[0]()

    @contextlib.contextmanager
    def one_thread(self, n_cores: int = 1) -> Iterator[None]:
        """Make the BLAS single-threaded within the context, which is entered when `n_cores` cores are free.

        If there are more threads than cores, those at a barrier wait long for the others. A single thread meets no
        others, so it enters at once. The last of several users to leave restores the number.
        """
        user, taken = object(), self._taken
        with self._changed:
            self._changed.wait_for(lambda: n_cores == 1 or not taken or sum(taken.values()) + n_cores <= self._before)
            if not taken:
                self._before = self._switch[0]()
                self._switch[1](1)
            taken[user] = n_cores
        try:
            yield
        finally:
            with self._changed:
                if taken.pop(user, 0) and not taken:
                    self._switch[1](self._before)
                self._changed.notify_all()

    def _forget(self) -> None:
        """Forget the users in a forked child, where the threads of most no longer exist."""
        if self._taken:
            self._taken.clear()
            self._switch[1](self._before)
        self._changed.release()


@functools.cache
def library_of_numpy() -> ctypes.CDLL:
    """Return a library in which the functions of NumPy's BLAS can be looked up.

    Raises
    ------
    OSError, AttributeError
        If it cannot be opened.
    """
    # Except on Windows, a lookup in a library also searches the libraries that it depends on.
    return ctypes.CDLL(np._core._multiarray_umath.__file__)  # type: ignore[attr-defined]


def _library_of_scipy() -> ctypes.CDLL | None:
    """Return the BLAS that SciPy's wheels have beside NumPy's, once it is loaded."""
    from threadpoolctl import threadpool_info

    paths = [pool["filepath"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    return next((ctypes.CDLL(path) for path in paths if Path(path).parent.name == "scipy.libs"), None)


OF_NUMPY, OF_SCIPY = BlasThreads(library_of_numpy), BlasThreads(_library_of_scipy)
