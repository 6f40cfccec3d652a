"""Translate dtypes, literals and elementwise operations to CUDA C++."""

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
# maximum and minimum propagate NaN, as in NumPy.
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
# Functions of the C library; their float versions have the suffix f.
FUNCTIONS = {
    **{name: name for name in ("exp", "expm1", "log", "log1p", "tanh", "sqrt", "cos", "sin", "floor", "ceil", "rint")},
    "absolute": "fabs",
    "power": "pow",
}
# Operators that mean the same for bool in NumPy and in C; + and - do not.
BOOL_INFIX = ("bitwise_and", "bitwise_or", "bitwise_xor", "equal", "not_equal")


def c_type(dtype: Any) -> str:
    """Return the C name of a dtype.

    Raises
    ------
    NotCaptured
        If the dtype is not supported, such as a complex one.
    """
    found = TYPES.get(np.dtype(dtype).name)
    if found is None:
        raise NotCaptured(f"arrays of type {np.dtype(dtype).name}")
    return found


def literal(value: Any) -> str:
    """Return a NumPy scalar as a C literal of the same type."""
    array = np.asarray(value)
    name, number = c_type(array.dtype), array.item()
    if isinstance(number, bool):
        return "true" if number else "false"
    if isinstance(number, int):
        # C has no literal for the lowest integer.
        text = f"({number + 1}LL - 1)" if number < 0 else f"{number}{'ULL' if number > 2**63 - 1 else 'LL'}"
    elif math.isfinite(number):
        # Exact: a float32 is a float64 too, and repr round-trips.
        text = repr(float(number))
    else:
        text = "NOT_A_NUMBER" if number != number else "INFINITE" if number > 0 else "-INFINITE"
    return f"({name})({text})"


def expression(operation: str, arguments: Sequence[str], common: Any, result: Any) -> str:
    """Return the C expression of an elementwise operation, cast to the result's type.

    Parameters
    ----------
    operation : str
        A NumPy ufunc's name.
    arguments : sequence of str
        C expressions of type `common`.
    common, result : dtype

    Raises
    ------
    NotCaptured
        If the operation is not supported.
    """
    common, kind = np.dtype(common), c_type(result)
    if common.kind == "f" and operation in FUNCTIONS:
        text = f"{FUNCTIONS[operation]}{'f' if common.itemsize == 4 else ''}({', '.join(arguments)})"
    elif operation in {"add", "subtract", "multiply", "negative", "left_shift"} and common.kind == "i":
        # NumPy's integers wrap around; in C, only overflow of unsigned integers is defined.
        unsigned = [f"({c_type(f'uint{8 * common.itemsize}')}){argument}" for argument in arguments]
        text = f"-{unsigned[0]}" if operation == "negative" else f" {INFIX[operation]} ".join(unsigned)
    elif operation in INFIX and (common.kind != "b" or operation in BOOL_INFIX):
        text = f" {INFIX[operation]} ".join(arguments)
    elif operation in CALLS:
        text = CALLS[operation].format(*arguments)
    else:
        raise NotCaptured(f"the operation {operation!r} on {common.name}")
    return f"({kind})({text})"


def common_type(operands: Sequence[Any], result: Any) -> np.dtype[Any]:
    """Return the dtype in which NumPy computes an elementwise operation.

    Parameters
    ----------
    operands : sequence of dtype or number
        A Python number takes the type of the arrays beside it (NEP 50).
    result : dtype
        Of the operation.
    """
    common = np.result_type(*operands)
    # Some operations on integers are computed in floating point, such as division.
    return np.result_type(common, result) if np.dtype(result).kind == "f" else common
