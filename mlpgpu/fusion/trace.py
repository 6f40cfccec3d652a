"""What a pure function of arrays does, recorded: operations on arrays of known shape and type.

The function is called once with arrays that have no values. What it returns knows the operations that lead there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partialmethod
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.lib.mixins import NDArrayOperatorsMixin

# Of these an operation sees another shape of the same numbers.
VIEWS = ("reshape", "getitem", "matrix_transpose")
REDUCTIONS = {"sum": np.add, "max": np.maximum, "min": np.minimum, "prod": np.multiply}
# Those that Python and C write between their two arguments, and alike.
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
    """An array without values, and how it comes about; NumPy's functions and operators take it as one of theirs.

    Attributes
    ----------
    operation : str
        A NumPy ufunc's name, ``where``, ``astype``, ``take``, ``matmul``, ``concatenate``, one of `REDUCTIONS` or
        `VIEWS`, ``input``, ``constant`` or ``fill``.
    arguments : tuple of Traced or number
    settings : tuple
        What else the operation needs, such as an axis.
    shape : tuple of int
    dtype : numpy.dtype
    value : array or None
        Of a constant; of a fill, its one number.
    number : int
        Of this array, in the order in which they were recorded.
    """

    # An array of CuPy beside it leaves their operation to this one.
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
        self.number = next(recorder.numbers)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def parents(self) -> list[Traced]:
        """The arrays among the arguments."""
        return [argument for argument in self.arguments if isinstance(argument, Traced)]

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
    # Comparing is an operation, so that arrays are told apart by what they are.
    __hash__ = object.__hash__

    def __array_ufunc__(self, function: np.ufunc, method: str, *given: Any, **more: Any) -> Any:
        # What is called like one of NumPy's own is not always one of them.
        if method != "__call__" or more or function.nout > 1 or getattr(np, function.__name__, None) is not function:
            return NotImplemented
        if function is np.matmul:
            return self.recorder.matmul(*given)
        return self.recorder.elementwise(function, *given) if function.signature is None else NotImplemented

    def __array_function__(self, function: Any, types: Any, given: Any, more: Any) -> Any:
        # By its name, for a recorder of another kind may have its own.
        return getattr(self.recorder, function.__name__)(*given, **more) if function in RECORDED else NotImplemented


class Recorder:
    """What NumPy's functions do with traced arrays: they are recorded, each once."""

    def __init__(self) -> None:
        self.numbers = itertools.count()
        self._known: dict[tuple[Any, ...], Traced] = {}
        self._constants: dict[int, Traced] = {}

    def input(self, shape: Sequence[int], dtype: Any) -> Traced:
        """An array that the function is given."""
        return Traced(self, "input", (), (), tuple(shape), dtype)

    def constant(self, value: Any) -> Traced:
        """An array of NumPy as an argument."""
        if isinstance(value, Traced):
            return value
        value = np.asarray(value)
        found = self._constants.get(id(value))
        if found is None:
            found = self._constants[id(value)] = Traced(self, "constant", (), (), value.shape, value.dtype, value)
        return found

    @property
    def constants(self) -> list[Traced]:
        """NumPy's arrays that were met."""
        return list(self._constants.values())

    def record(
        self, operation: str, arguments: tuple[Any, ...], settings: tuple[Any, ...], shape: Sequence[int], dtype: Any
    ) -> Traced:
        """An operation; the one recorded before where it is the same."""
        # Traced arrays compare by an operation; and 1, 1.0 and True are equal, but not the same to NumPy.
        key = (operation, tuple((type(a), a.number if isinstance(a, Traced) else repr(a)) for a in arguments), settings)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = Traced(self, operation, arguments, settings, tuple(shape), dtype)
        return found

    def elementwise(self, function: np.ufunc, *given: Any) -> Traced:
        """A function of each element."""
        arguments = self._arguments(given)
        for factor, other in (arguments, arguments[::-1]) if function is np.multiply else ():
            if isinstance(other, Traced) and _is(factor, 1, other):
                return other
        if function is np.subtract and isinstance(arguments[0], Traced) and _is(arguments[1], 0, arguments[0]):
            return arguments[0]
        return self.record(function.__name__, arguments, (), *_meet(function, arguments))

    def where(self, condition: Any, a: Any, b: Any) -> Traced:
        """One of two arrays, element by element."""
        if condition.dtype != bool:
            condition = condition != 0
        arguments = self._arguments((condition, a, b))
        return self.record("where", arguments, (), *_meet(np.where, arguments))

    def astype(self, x: Traced, dtype: Any, *, copy: bool = True) -> Traced:
        """Another type."""
        return x if x.dtype == dtype else self.record("astype", (x,), (np.dtype(dtype),), x.shape, dtype)

    def take(self, x: Any, indices: Any, *, axis: int) -> Traced:
        """Rows, by their numbers, from 0 up and all there: that is not looked at again."""
        x, indices = self.constant(x), self.constant(indices)
        if axis != 0 or indices.ndim != 1:
            raise TypeError("only rows are taken")
        return self.record("take", (x, indices), (), (*indices.shape, *x.shape[1:]), x.dtype)

    def matmul(self, a: Any, b: Any) -> Traced:
        """The product of matrices."""
        a, b = self.constant(a), self.constant(b)
        if min(a.ndim, b.ndim) < 2 or a.shape[-1] != b.shape[-2]:
            raise TypeError("only matrices are multiplied")
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        dtype = np.result_type(a.dtype, b.dtype)
        return self.record("matmul", (a, b), (), (*lead, a.shape[-2], b.shape[-1]), dtype)

    def concatenate(self, arrays: Sequence[Any], axis: int = 0) -> Traced:
        """Arrays side by side."""
        parts = tuple(self.constant(a) for a in arrays)
        axis = normalize_axis_index(axis, parts[0].ndim)
        shape = list(parts[0].shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        return self.record("concatenate", parts, (axis,), shape, np.result_type(*(part.dtype for part in parts)))

    def reshape(self, x: Traced, shape: Sequence[int]) -> Traced:
        """Another shape."""
        rest = x.size // max(math.prod(n for n in shape if n != -1), 1)
        shape = tuple(rest if n == -1 else n for n in shape)
        return x if shape == x.shape else self.record("reshape", (x,), shape, shape, x.dtype)

    def matrix_transpose(self, x: Traced) -> Traced:
        """The last two axes exchanged."""
        return self.record("matrix_transpose", (x,), (), (*x.shape[:-2], x.shape[-1], x.shape[-2]), x.dtype)

    def full_like(self, x: Traced, fill_value: Any) -> Traced:
        """The same number throughout."""
        value = np.asarray(fill_value, x.dtype)
        if value.ndim:
            raise TypeError("only one number is filled in")
        return Traced(self, "fill", (), (), x.shape, x.dtype, value)

    def ones_like(self, x: Traced) -> Traced:
        """1 throughout."""
        return self.full_like(x, 1)

    def zeros_like(self, x: Traced) -> Traced:
        """0 throughout."""
        return self.full_like(x, 0)

    def reduce(self, name: str, x: Traced, axis: Any = None, keepdims: bool = False) -> Traced:
        """A sum, product or extreme along axes."""
        axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
        axes = tuple(sorted(normalize_axis_index(a, x.ndim) for a in axes))
        shape = [1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes]
        dtype = getattr(np, name)(np.ones(1, x.dtype)).dtype
        return self.record(name, (x,), (axes, keepdims), shape, dtype)

    sum, prod = partialmethod(reduce, "sum"), partialmethod(reduce, "prod")
    max, min = partialmethod(reduce, "max"), partialmethod(reduce, "min")

    def all(self, x: Traced, axis: Any = None, keepdims: bool = False) -> Traced:
        """Whether all is true along axes."""
        return self.min(x if x.dtype == bool else x != 0, axis, keepdims)

    def mean(self, x: Traced, axis: Any = None, keepdims: bool = False) -> Traced:
        """The mean along axes."""
        x = x if x.dtype.kind == "f" else self.astype(x, np.float64)
        total = self.sum(x, axis, keepdims)
        return total / (x.size // max(total.size, 1))

    def clip(self, x: Traced, min: Any = None, max: Any = None) -> Traced:
        """Each element within bounds."""
        x = x if min is None else self.elementwise(np.maximum, x, min)
        return x if max is None else self.elementwise(np.minimum, x, max)

    def argmax(self, x: Traced, axis: int, *, keepdims: bool = False) -> Traced:
        """The first place of the largest along an axis; where something there is no number, that of the first such."""
        n = x.shape[axis]
        places = np.reshape(np.arange(n), (n,) + (1,) * (x.ndim - 1 - normalize_axis_index(axis, x.ndim)))
        largest = (x == self.max(x, axis, keepdims=True)) | (x != x)
        return self.min(self.where(largest, places, n), axis, keepdims)

    def _arguments(self, given: Sequence[Any]) -> tuple[Any, ...]:
        # Python's own numbers take the type of the arrays that they meet.
        return tuple(a if type(a) in {int, float, bool} else self.constant(a) for a in given)


# NumPy's functions whose work a recorder does by a method of that name.
RECORDED = (
    np.sum, np.prod, np.max, np.min, np.all, np.mean, np.clip, np.argmax, np.where, np.astype, np.take, np.concatenate,
    np.reshape, np.matrix_transpose, np.full_like, np.ones_like, np.zeros_like,
)  # fmt: skip


def _meet(function: Callable[..., Any], arguments: Sequence[Any]) -> tuple[tuple[int, ...], Any]:
    """Shape and type of an elementwise function's result, the type as NumPy finds it for arrays without elements."""
    shape = np.broadcast_shapes(*(a.shape for a in arguments if isinstance(a, Traced)))
    empty = (np.empty(0, a.dtype) if isinstance(a, Traced) else a for a in arguments)
    return shape, function(*empty).dtype


def _is(argument: Any, number: int, beside: Traced) -> bool:
    """Whether `argument` is `number` throughout, so that `beside` stays as it is, in type and shape too."""
    if not isinstance(argument, Traced):
        return False
    known = argument.value is not None and argument.value.size and bool((argument.value == number).all())
    fits = argument.dtype == beside.dtype and np.broadcast_shapes(argument.shape, beside.shape) == beside.shape
    return known and fits


def number_in(node: Traced, number: Any) -> np.ndarray:
    """Python's own number among the arguments of `node`, in the type that it takes beside the arrays there."""
    return np.asarray(number, np.result_type(*(parent.dtype for parent in node.parents[-2:]), number))


def leaves(tree: Any) -> Iterator[Any]:
    """The arrays of nested tuples, in order."""
    if isinstance(tree, tuple):
        for branch in tree:
            yield from leaves(branch)
    else:
        yield tree


def rebuild(tree: Any, with_leaves: Iterator[Any]) -> Any:
    """Tuples nested as in `tree`, with other arrays."""
    if not isinstance(tree, tuple):
        return next(with_leaves)
    branches = [rebuild(branch, with_leaves) for branch in tree]
    return type(tree)(*branches) if hasattr(tree, "_fields") else tuple(branches)


def moved(own: Sequence[Any], given: Sequence[Any]) -> list[tuple[Any, Any]]:
    """What of `given` is to be copied into `own`: to, from; one of `own` in another place is first copied elsewhere."""
    pairs = [(mine, leaf) for mine, leaf in zip(own, given, strict=True) if mine is not leaf]
    return [(mine, leaf.copy() if any(leaf is other for other in own) else leaf) for mine, leaf in pairs]


def operations(results: Sequence[Traced]) -> list[Traced]:
    """All that `results` are made of, in the order in which it was recorded: each after what it needs."""
    found: dict[int, Traced] = {}
    left = list(results)
    while left:
        node = left.pop()
        if node.number not in found:
            found[node.number] = node
            left += node.parents
    return [found[number] for number in sorted(found)]
