"""Trace a pure function: record its operations on arrays of known shape and dtype.

The function is called once with arrays that have no values. Its results refer to the operations that compute them.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partialmethod
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.lib.mixins import NDArrayOperatorsMixin

# Operations that compute nothing.
GIVEN = ("input", "constant", "fill")
# Operations whose result is a view of their argument.
VIEWS = ("reshape", "getitem", "matrix_transpose")
REDUCTIONS = {"sum": np.add, "max": np.maximum, "min": np.minimum, "prod": np.multiply}
# The number that leaves any other unchanged as the second argument of a function.
NEUTRAL = {np.multiply: 1, np.subtract: 0}
# Binary operators that are written alike in Python and C.
INFIX = {
    "add": "+",
    "subtract": "-",
    "multiply": "*",
    "divide": "/",
    "bitwise_and": "&",
    "bitwise_or": "|",
    "bitwise_xor": "^",
    "left_shift": "<<",
    "right_shift": ">>",
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
    "equal": "==",
    "not_equal": "!=",
}


class Traced(NDArrayOperatorsMixin):
    """An array without values, and the operation that computes it; NumPy's functions and operators accept it.

    Attributes
    ----------
    operation : str
        A NumPy ufunc's name, ``where``, ``astype``, ``take``, ``matmul``, ``concatenate``, one of `REDUCTIONS` or
        `VIEWS`, ``input``, ``constant`` or ``fill``.
    arguments : tuple of Traced or number
    parents : list of Traced
        The arrays among the arguments.
    settings : tuple
        Other parameters of the operation, such as an axis.
    shape : tuple of int
    ndim, size : int
    dtype : numpy.dtype
    value : array or None
        Value of a constant; of a fill, the number that fills it.
    number : int
        Position in the order of recording.
    """

    # CuPy's arrays then defer to this class in binary operations.
    __array_priority__ = 1000

    def __init__(
        self,
        recorder: Recorder,
        operation: str,
        arguments: tuple[Any, ...],
        settings: tuple[Any, ...],
        shape: tuple[int, ...],
        dtype: Any,
        value: Any = None,
    ) -> None:
        self.recorder, self.operation, self.arguments, self.settings = recorder, operation, arguments, settings
        self.shape, self.dtype, self.value = tuple(shape), np.dtype(dtype), value
        self.ndim, self.size = len(self.shape), math.prod(self.shape)
        self.parents = [argument for argument in arguments if isinstance(argument, Traced)]
        self.number = next(recorder.numbers)

    def __getitem__(self, key: Any) -> Traced:
        parts = key if isinstance(key, tuple) else (key,)
        if not all(part is None or part is Ellipsis or type(part) in {int, slice} for part in parts):
            raise TypeError("only slices are recorded")
        shape = np.broadcast_to(np.empty((), self.dtype), self.shape)[key].shape
        settings = tuple((part.start, part.stop, part.step) if isinstance(part, slice) else part for part in parts)
        return self.recorder.record("getitem", (self,), settings, shape, self.dtype)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("an array that is being recorded has no values")

    __bool__ = __float__ = __int__ = __index__ = __iter__ = __array__
    # Hash by identity, since == records an operation.
    __hash__ = object.__hash__

    def __array_ufunc__(self, function: np.ufunc, method: str, *given: Any, **more: Any) -> Any:
        # Another ufunc may have the name of one of NumPy's.
        if method != "__call__" or more or function.nout > 1 or getattr(np, function.__name__, None) is not function:
            return NotImplemented
        if function is np.matmul:
            return self.recorder.matmul(*given)
        return self.recorder.elementwise(function, *given) if function.signature is None else NotImplemented

    def __array_function__(self, function: Any, types: Any, given: Any, more: Any) -> Any:
        # By name, so that subclasses of the recorder can override it.
        return getattr(self.recorder, function.__name__)(*given, **more) if function in RECORDED else NotImplemented


class Recorder:
    """Records NumPy's functions of traced arrays; equal operations are recorded once."""

    def __init__(self) -> None:
        self.numbers = itertools.count()
        self._known: dict[tuple[Any, ...], Traced] = {}
        self._constants: dict[int, Traced] = {}

    def input(self, shape: Sequence[int], dtype: Any) -> Traced:
        """Return a new input of the function."""
        return Traced(self, "input", (), (), tuple(shape), dtype)

    def constant(self, value: Any) -> Traced:
        """Return the node of an argument; a NumPy array becomes a constant."""
        if isinstance(value, Traced):
            return value
        value = np.asarray(value)
        found = self._constants.get(id(value))
        if found is None:
            found = self._constants[id(value)] = Traced(self, "constant", (), (), value.shape, value.dtype, value)
        return found

    @property
    def constants(self) -> list[Traced]:
        """The constants that have been recorded."""
        return list(self._constants.values())

    def record(
        self, operation: str, arguments: tuple[Any, ...], settings: tuple[Any, ...], shape: Sequence[int], dtype: Any
    ) -> Traced:
        """Record an operation, or return the equal one that was recorded before."""
        # By number, since == records an operation; by type and repr, since 1, 1.0 and True are equal, but may lead to
        # other dtypes.
        key = (operation, tuple((type(a), a.number if isinstance(a, Traced) else repr(a)) for a in arguments), settings)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = Traced(self, operation, arguments, settings, tuple(shape), dtype)
        return found

    def elementwise(self, function: np.ufunc, *given: Any) -> Traced:
        """Record an elementwise ufunc; multiplication by ones and subtraction of zeros are left out."""
        arguments = self._arguments(given)
        first, last = arguments[0], arguments[-1]
        if function is np.multiply and _is_filled_with(first, 1, last):
            return last
        if function in NEUTRAL and _is_filled_with(last, NEUTRAL[function], first):
            return first
        return self.record(function.__name__, arguments, (), *_result_type(function, arguments))

    def where(self, condition: Any, a: Any, b: Any) -> Traced:
        """Select from `a` or `b`, element by element."""
        if condition.dtype != bool:
            condition = condition != 0
        arguments = self._arguments((condition, a, b))
        return self.record("where", arguments, (), *_result_type(np.where, arguments))

    def astype(self, x: Traced, dtype: Any, *, copy: bool = True) -> Traced:
        """Convert to another dtype."""
        return x if x.dtype == dtype else self.record("astype", (x,), (np.dtype(dtype),), x.shape, dtype)

    def take(self, x: Any, indices: Any, *, axis: int) -> Traced:
        """Take rows by their indices, which must not be negative or out of bounds: that is not checked."""
        x, indices = self.constant(x), self.constant(indices)
        if axis != 0 or indices.ndim != 1:
            raise TypeError("only rows are taken")
        return self.record("take", (x, indices), (), (*indices.shape, *x.shape[1:]), x.dtype)

    def matmul(self, a: Any, b: Any) -> Traced:
        """Multiply matrices."""
        a, b = self.constant(a), self.constant(b)
        if min(a.ndim, b.ndim) < 2 or a.shape[-1] != b.shape[-2]:
            raise TypeError("only matrices are multiplied")
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        dtype = np.result_type(a.dtype, b.dtype)
        return self.record("matmul", (a, b), (), (*lead, a.shape[-2], b.shape[-1]), dtype)

    def concatenate(self, arrays: Sequence[Any], axis: int = 0) -> Traced:
        """Concatenate arrays along an axis."""
        parts = tuple(self.constant(a) for a in arrays)
        axis = normalize_axis_index(axis, parts[0].ndim)
        shape = list(parts[0].shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        return self.record("concatenate", parts, (axis,), shape, np.result_type(*(part.dtype for part in parts)))

    def reshape(self, x: Traced, shape: Sequence[int]) -> Traced:
        """Change the shape."""
        rest = x.size // max(math.prod(n for n in shape if n != -1), 1)
        shape = tuple(rest if n == -1 else n for n in shape)
        return x if shape == x.shape else self.record("reshape", (x,), shape, shape, x.dtype)

    def matrix_transpose(self, x: Traced) -> Traced:
        """Exchange the last two axes."""
        return self.record("matrix_transpose", (x,), (), (*x.shape[:-2], x.shape[-1], x.shape[-2]), x.dtype)

    def full_like(self, x: Traced, fill_value: Any) -> Traced:
        """Return an array filled with one number."""
        value = np.asarray(fill_value, x.dtype)
        if value.ndim:
            raise TypeError("only one number is filled in")
        return Traced(self, "fill", (), (), x.shape, x.dtype, value)

    def ones_like(self, x: Traced) -> Traced:
        """Return an array of ones."""
        return self.full_like(x, 1)

    def zeros_like(self, x: Traced) -> Traced:
        """Return an array of zeros."""
        return self.full_like(x, 0)

    def reduce(self, name: str, x: Traced, axis: Any = None, keepdims: bool = False) -> Traced:
        """Reduce along axes by a sum, product, maximum or minimum."""
        axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
        axes = tuple(sorted(normalize_axis_index(a, x.ndim) for a in axes))
        dtype = getattr(np, name)(np.ones(1, x.dtype)).dtype
        if not axes:
            return self.astype(x, dtype)
        shape = [1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes]
        return self.record(name, (x,), (axes, keepdims), shape, dtype)

    sum, prod = partialmethod(reduce, "sum"), partialmethod(reduce, "prod")
    max, min = partialmethod(reduce, "max"), partialmethod(reduce, "min")

    def all(self, x: Traced, axis: Any = None, keepdims: bool = False) -> Traced:
        """Test whether all elements along axes are true."""
        return self.min(x if x.dtype == bool else x != 0, axis, keepdims)

    def mean(self, x: Traced, axis: Any = None, keepdims: bool = False) -> Traced:
        """Average along axes."""
        x = x if x.dtype.kind == "f" else self.astype(x, np.float64)
        total = self.sum(x, axis, keepdims)
        return total / (x.size // max(total.size, 1))

    def clip(self, x: Traced, min: Any = None, max: Any = None) -> Traced:
        """Limit each element to bounds."""
        x = x if min is None else self.elementwise(np.maximum, x, min)
        return x if max is None else self.elementwise(np.minimum, x, max)

    def argmax(self, x: Traced, axis: int, *, keepdims: bool = False) -> Traced:
        """Return the index of the first maximum along an axis; if there are NaNs, that of the first."""
        n = x.shape[axis]
        places = np.reshape(np.arange(n), (n,) + (1,) * (x.ndim - 1 - normalize_axis_index(axis, x.ndim)))
        largest = (x == self.max(x, axis, keepdims=True)) | (x != x)
        return self.min(self.where(largest, places, n), axis, keepdims)

    def _arguments(self, given: Sequence[Any]) -> tuple[Any, ...]:
        # Python numbers stay as they are, and take the dtype of the arrays beside them.
        return tuple(a if type(a) in {int, float, bool} else self.constant(a) for a in given)


# NumPy's functions for which a recorder has a method of the same name.
RECORDED = (
    np.sum, np.prod, np.max, np.min, np.all, np.mean, np.clip, np.argmax, np.where, np.astype, np.take, np.concatenate,
    np.reshape, np.matrix_transpose, np.full_like, np.ones_like, np.zeros_like,
)  # fmt: skip


def _result_type(function: Callable[..., Any], arguments: Sequence[Any]) -> tuple[tuple[int, ...], Any]:
    """Return shape and dtype of an elementwise function's result, the dtype as NumPy finds it for empty arrays."""
    shape = np.broadcast_shapes(*(a.shape for a in arguments if isinstance(a, Traced)))
    empty = (np.empty(0, a.dtype) if isinstance(a, Traced) else a for a in arguments)
    return shape, function(*empty).dtype


def _is_filled_with(argument: Any, number: int, beside: Any) -> bool:
    """Whether `argument` is `number` throughout, and its dtype and shape leave those of `beside` unchanged."""
    if not (isinstance(argument, Traced) and isinstance(beside, Traced)) or argument.value is None:
        return False
    fits = argument.dtype == beside.dtype and np.broadcast_shapes(argument.shape, beside.shape) == beside.shape
    return fits and bool((argument.value == number).all())


def number_in(node: Traced, number: Any) -> np.ndarray:
    """Return a Python number among the arguments of `node`, in the dtype that it takes beside the arrays there."""
    return np.asarray(number, np.result_type(*(parent.dtype for parent in node.parents[-2:]), number))


def leaves(tree: Any) -> Iterator[Any]:
    """Yield the arrays of nested tuples, in order."""
    if isinstance(tree, tuple):
        for branch in tree:
            yield from leaves(branch)
    else:
        yield tree


def rebuild(tree: Any, with_leaves: Iterator[Any]) -> Any:
    """Return tuples nested as in `tree`, with other arrays."""
    if not isinstance(tree, tuple):
        return next(with_leaves)
    branches = [rebuild(branch, with_leaves) for branch in tree]
    return type(tree)(*branches) if hasattr(tree, "_fields") else tuple(branches)


def moved(own: Sequence[Any], given: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Return the destinations and sources that copy `given` into `own`.

    A source that is itself in `own`, at another position, is replaced by a copy, since it may be overwritten first.
    """
    pairs = [(mine, leaf) for mine, leaf in zip(own, given, strict=True) if mine is not leaf]
    return [(mine, leaf.copy() if any(leaf is other for other in own) else leaf) for mine, leaf in pairs]


def operations(results: Sequence[Traced]) -> list[Traced]:
    """Return all nodes that `results` depend on, in the order of recording: each after its arguments."""
    found: dict[int, Traced] = {}
    pending = list(results)
    while pending:
        node = pending.pop()
        if node.number not in found:
            found[node.number] = node
            pending += node.parents
    return [found[number] for number in sorted(found)]


def base(node: Traced) -> Traced:
    """Return the array that `node` is a view of; `node` itself if it is not a view."""
    while node.operation in VIEWS:
        node = node.arguments[0]
    return node


def users_of(nodes: Sequence[Traced]) -> defaultdict[Traced, list[Traced]]:
    """Return the operations among `nodes` that read each array, directly or through views."""
    users: defaultdict[Traced, list[Traced]] = defaultdict(list)
    for node in nodes:
        if node.operation not in VIEWS:
            for parent in node.parents:
                users[base(parent)].append(node)
    return users


def parts(joined: Traced) -> list[tuple[int, int]]:
    """Return the start and stop of each part of a concatenation, along its axis."""
    (axis,) = joined.settings
    ends = list(itertools.accumulate((part.shape[axis] for part in joined.parents), initial=0))
    return list(itertools.pairwise(ends))


def is_elementwise(node: Traced) -> bool:
    """Whether each element depends on one element of each argument; `take` counts as well."""
    return node.operation not in {*GIVEN, *VIEWS, *REDUCTIONS, "matmul", "concatenate"}
