"""Files that cannot grow, as on a disk that is full."""

import contextlib
import resource


@contextlib.contextmanager
def limited(size):
    """Within it no file grows beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
