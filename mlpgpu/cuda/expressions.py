"""Types, numbers and operations of recorded arrays, in CUDA's C++."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlpgpu.cuda.indexing import NotCaptured
from mlpgpu.fusion.trace import INFIX

TYPES = {
    "bool": "bool",
    "int8": "signed char",
    "int16": "short",
    "int32": "int",
    "int64": "long long",
    "uint8": "unsigned char",
    "uint16": "unsigned short",
    "uint32": "unsigned int",
    "uint64": "unsigned long long",
    "float32": "float",
    "float64": "double",
}
# As NumPy does, an extreme of what is no number is no number.
CALLS = {
    "negative": "-{0}",
    "positive": "{0}",
    "square": "{0} * {0}",
    "reciprocal": "1 / {0}",
    "maximum": "({0} >= {1} || {0} != {0}) ? {0} : {1}",
    "minimum": "({0} <= {1} || {0} != {0}) ? {0} : {1}",
    "sign": "({0} != {0}) ? {0} : ({0} > 0) - ({0} < 0)",
    "absolute": "({0} < 0) ? -{0} : {0}",
    "logical_not": "!{0}",
    "logical_and": "{0} && {1}",
    "logical_or": "{0} || {1}",
    "isfinite": "{0} - {0} == 0",
    "isnan": "{0} != {0}",
}
# Those of the C library, whose names end in f for float.
FUNCTIONS = {
    **{name: name for name in ("exp", "expm1", "log", "log1p", "tanh", "sqrt", "cos", "sin", "floor", "ceil", "rint")},
    "absolute": "fabs",
    "power": "pow",
}
# Of what is true or false, + and - are other things to NumPy than to C.
OF_BOOLS = ("bitwise_and", "bitwise_or", "bitwise_xor", "equal", "not_equal")


def c_type(dtype: Any) -> str:
    """A type's name in C.

    Raises
    ------
    NotCaptured
        Where it has none here, such as complex numbers.
    """
    found = TYPES.get(np.dtype(dtype).name)
    if found is None:
        raise NotCaptured(f"arrays of type {np.dtype(dtype).name}")
    return found


def literal(value: Any) -> str:
    """One number of NumPy, in C and in its own type."""
    array = np.asarray(value)
    name, number = c_type(array.dtype), array.item()
    if isinstance(number, bool):
        return "true" if number else "false"
    if isinstance(number, int):
        # The lowest number has no literal of its own.
        text = f"({number + 1}LL - 1)" if number < 0 else f"{number}{'ULL' if number > 2**63 - 1 else 'LL'}"
    elif math.isfinite(number):
        # Of float32 the shortest decimal that float64 reads as the same number.
        text = repr(float(number))
    else:
        text = "NOT_A_NUMBER" if number != number else "INFINITE" if number > 0 else "-INFINITE"
    return f"({name})({text})"


def expression(operation: str, arguments: Sequence[str], common: Any, result: Any) -> str:
    """An elementwise operation, in the type of its result.

    Parameters
    ----------
    operation : str
        A NumPy ufunc's name.
    arguments : sequence of str
        In C, of type `common`.
    common, result : dtype

    Raises
    ------
    NotCaptured
        Where it is not known here.
    """
    common, kind = np.dtype(common), c_type(result)
    if common.kind == "f" and operation in FUNCTIONS:
        text = f"{FUNCTIONS[operation]}{'f' if common.itemsize == 4 else ''}({', '.join(arguments)})"
    elif operation in {"add", "subtract", "multiply", "negative", "left_shift"} and common.kind == "i":
        # Whole numbers wrap around, which C grants to those without a sign.
        unsigned = [f"({c_type(f'uint{8 * common.itemsize}')}){argument}" for argument in arguments]
        text = f"-{unsigned[0]}" if operation == "negative" else f" {INFIX[operation]} ".join(unsigned)
    elif operation in INFIX and (common.kind != "b" or operation in OF_BOOLS):
        text = f" {INFIX[operation]} ".join(arguments)
    elif operation in CALLS:
        text = CALLS[operation].format(*arguments)
    else:
        raise NotCaptured(f"the operation {operation!r} on {common.name}")
    return f"({kind})({text})"


def common_type(operands: Sequence[Any], result: Any) -> np.dtype[Any]:
    """The type in which NumPy does an elementwise operation.

    Parameters
    ----------
    operands : sequence of dtype or number
        Python's own numbers have the type that those beside them have.
    result : dtype
        Of the operation.
    """
    common = np.result_type(*operands)
    # Such as the division of whole numbers.
    return np.result_type(common, result) if np.dtype(result).kind == "f" else common
