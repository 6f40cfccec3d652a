"""A limit on file sizes, as on a full disk."""

import contextlib
import resource


@contextlib.contextmanager
def limited(size):
    """Limit each file to `size` bytes within the context."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
