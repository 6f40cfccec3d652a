"""What the captures of steps by CuPy and by PyTorch have in common."""

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlpgpu.errors import one_line
from mlpgpu.fusion.trace import leaves

log = logging.getLogger(__name__)


def suits(captured: Any, state: Any, data: Any, items: Any) -> bool:
    """Whether a captured step can run with these arguments of its loop.

    The attributes `state`, `data` and `items` of `captured` are tuples of its own arrays. The data must be these very
    arrays, the state and the items have their shapes and dtypes, and the items be no more than there is room for.
    """
    return (
        all(mine is leaf for mine, leaf in zip(leaves(captured.data), leaves(data), strict=True))
        and shapes(captured.state) == shapes(state)
        and shapes(captured.items, of_rows=True) == shapes(items, of_rows=True)
        and len(next(leaves(items))) <= len(next(leaves(captured.items)))
    )


def shapes(tree: Any, *, of_rows: bool = False) -> list[tuple[tuple[int, ...], Any]]:
    """Return shape and dtype of each array of nested tuples, or of a row of each."""
    return [(tuple(leaf.shape)[of_rows:], leaf.dtype) for leaf in leaves(tree)]


def tell_refused(what: str, device: str, error: Exception) -> None:
    """Log in one line that `what` runs line by line, and why."""
    log.warning("%s runs line by line on %s, for it cannot be captured: %s", what, device, one_line(error))
    log.debug("where %s cannot be captured", what, exc_info=error)


@contextmanager
def without_collection() -> Iterator[None]:
    """Pause garbage collection, since destroying a CUDA graph in a reference cycle would end the capture of another."""
    is_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_enabled:
            gc.enable()
