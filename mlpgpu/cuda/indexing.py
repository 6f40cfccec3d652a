"""Map an index of an operation's result to the indices at which it reads its arguments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from mlpgpu.fusion.trace import Traced

# The innermost loop that an index depends on: none, the loop over rows, or the loop over the elements of a row.
SCALAR, ROW, ELEMENT = 0, 1, 2


class NotCaptured(TypeError):
    """A function that cannot be expressed as kernels and products."""


class Index(NamedTuple):
    """An index along one axis.

    Attributes
    ----------
    text : str
        C expression, such as a loop variable; empty for 0.
    offset : int
        Constant that is added to it.
    level : int
        `SCALAR`, `ROW` or `ELEMENT`.
    origin : tuple or None
        If it was unravelled from a flat index: that index, the shape, and the axis of this one.
    """

    text: str = ""
    offset: int = 0
    level: int = SCALAR
    origin: tuple[Index, tuple[int, ...], int] | None = None

    def __str__(self) -> str:
        if not self.text:
            return str(self.offset)
        return f"({self.text} + {self.offset})" if self.offset else self.text

    def shifted(self, by: int) -> Index:
        """Return the index plus `by`."""
        return self._replace(offset=self.offset + by, origin=None if by else self.origin)


ZERO = Index()
At = tuple[Index, ...]


def level_of(at: At) -> int:
    """Return the level of the innermost loop that `at` depends on."""
    return max((index.level for index in at), default=SCALAR)


def broadcast(at: At, shape: Sequence[int]) -> At:
    """Return the index into an array of `shape` for index `at` of the result that it is broadcast to."""
    return tuple(ZERO if n == 1 else index for n, index in zip(shape, at[len(at) - len(shape) :], strict=True))


def linear(at: At, shape: Sequence[int]) -> Index:
    """Return the flat index of `at` in an array of `shape`, in C order."""
    flat, of, _ = next((index.origin for index in at if index.origin), (ZERO, (), 0))
    axes = zip(at, shape, range(len(shape)), strict=True)
    if of == tuple(shape) and all(n == 1 or index.origin == (flat, of, axis) for index, n, axis in axes):
        return flat
    terms, offset = [], 0
    for axis, index in enumerate(at):
        stride = math.prod(shape[axis + 1 :])
        offset += stride * index.offset
        if index.text:
            terms.append(index.text if stride == 1 else f"{index.text} * {stride}")
    text = " + ".join(terms)
    return Index(f"({text})" if len(terms) > 1 else text, offset, level_of(at))


def through_view(view: Traced, at: At) -> At:
    """Return the index into the array that `view` is a view of, for index `at` of the view."""
    of = view.parents[0]
    if view.operation == "matrix_transpose":
        return (*at[:-2], at[-1], at[-2])
    if view.operation == "getitem":
        return _sliced(view, at)
    assert view.operation == "reshape", view.operation
    if [n for n in of.shape if n != 1] == [n for n in view.shape if n != 1]:
        long = iter([index for n, index in zip(view.shape, at, strict=True) if n != 1])
        return tuple(ZERO if n == 1 else next(long) for n in of.shape)
    flat = linear(at, view.shape)
    if of.ndim == 1:
        return (flat,)
    places = []
    for axis, n in enumerate(of.shape):
        stride = math.prod(of.shape[axis + 1 :])
        text = f"({flat} / {stride})" if stride > 1 else str(flat)
        text = f"({text} % {n})" if axis else text
        places.append(ZERO if n == 1 else Index(text, 0, flat.level, (flat, of.shape, axis)))
    return tuple(places)


def _sliced(view: Traced, at: At) -> At:
    of, parts = view.parents[0], list(view.settings)
    taken = sum(part is not None and part is not Ellipsis for part in parts)
    at_ellipsis = parts.index(Ellipsis) if Ellipsis in parts else len(parts)
    parts[at_ellipsis : at_ellipsis + 1] = [(None, None, None)] * (of.ndim - taken)
    given, places, axis = iter(at), [], 0
    for part in parts:
        if part is None:
            next(given)
            continue
        n = of.shape[axis]
        axis += 1
        if isinstance(part, int):
            places.append(Index("", part % n))
            continue
        start, _, step = slice(*part).indices(n)
        index = next(given)
        if step != 1:
            index = Index(
                f"({index} * {step})" if index.text else "", 0 if index.text else index.offset * step, index.level
            )
        places.append(index.shifted(start))
    return tuple(places)


class Layout(NamedTuple):
    """Where a view lies in the memory of its base array.

    Attributes
    ----------
    base : Traced
    offset : int
        Offset of its first element, in elements.
    strides : tuple of int
        In elements.
    """

    base: Traced
    offset: int
    strides: tuple[int, ...]


def layout(node: Traced) -> Layout:
    """Return the layout of an array, resolving views.

    Raises
    ------
    NotCaptured
        If a reshape needs a copy.
    """
    if node.operation == "getitem":
        of = layout(node.parents[0])
        first = _sliced(node, (ZERO,) * node.ndim)
        steps = [_sliced(node, tuple(Index("", int(k == axis)) for k in range(node.ndim))) for axis in range(node.ndim)]
        position = lambda at: sum(index.offset * stride for index, stride in zip(at, of.strides, strict=True))  # noqa: E731
        return Layout(of.base, of.offset + position(first), tuple(position(step) - position(first) for step in steps))
    if node.operation == "matrix_transpose":
        of = layout(node.parents[0])
        return of._replace(strides=(*of.strides[:-2], of.strides[-1], of.strides[-2]))
    if node.operation == "reshape":
        of = layout(node.parents[0])
        if not is_contiguous(node.parents[0].shape, of.strides):
            raise NotCaptured("a change of shape that needs a copy")
        return of._replace(strides=contiguous(node.shape))
    return Layout(node, 0, contiguous(node.shape))


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the strides of a C-contiguous array, in elements."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def is_contiguous(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether an array with these strides, in elements, is C-contiguous."""
    return all(n == 1 or stride == own for n, stride, own in zip(shape, strides, contiguous(shape), strict=True))
