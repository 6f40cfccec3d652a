"""What a product can do to its result before it writes it, found in what was recorded.

cuBLASLt adds a bias and takes the positive part as a product's last act, and on the way back lets the gradient through
where the result was positive and adds it up by columns. What is found here was recorded as operations of their own,
which go over memory once more each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mlpgpu.cuda.indexing import NotCaptured, layout
from mlpgpu.fusion.schedule import GIVEN, base
from mlpgpu.fusion.trace import Traced


@dataclass(frozen=True, eq=False)
class Epilogue:
    """The end of a product.

    Attributes
    ----------
    product : Traced
        The product itself, which is not kept.
    out : Traced
        What is written in its place.
    bias : Traced or None
        A view of one row, added to each; what is positive of the sum is `out`.
    signs : Traced or None
        The `out` of another epilogue: where that is not positive, this one is 0.
    sums : Traced or None
        The sums of `out` over its rows.
    """

    product: Traced
    out: Traced
    bias: Traced | None = None
    signs: Traced | None = None
    sums: Traced | None = None


def find(nodes: Sequence[Traced], users: Mapping[Traced, Sequence[Traced]]) -> dict[Traced, Epilogue]:
    """The epilogues among recorded operations, by what they write.

    Parameters
    ----------
    nodes : sequence of Traced
        In order.
    users : mapping of Traced to sequence of Traced
        What reads each, also through views.
    """
    found: dict[Traced, Epilogue] = {}
    for node in nodes:
        epilogue = _forward(node, users) or _backward(node, users, found)
        if epilogue is not None:
            found[node] = epilogue
    return found


def _forward(node: Traced, users: Mapping[Traced, Sequence[Traced]]) -> Epilogue | None:
    """``max(a b + bias, 0)``, where that is what the next product reads."""
    if node.operation != "maximum" or not any(user.operation == "matmul" for user in users[node]):
        return None
    sums = [argument for argument in node.parents if argument.operation == "add" and _is_read_by(argument, node, users)]
    if not sums or not any(_is_zero(argument) for argument in node.arguments):
        return None
    for product, bias in (sums[0].parents, sums[0].parents[::-1]) if len(sums[0].parents) == 2 else ():
        if _is_product(product) and _is_read_by(product, sums[0], users) and _is_row(bias, product):
            return Epilogue(product, node, bias=bias)
    return None


def _backward(
    node: Traced, users: Mapping[Traced, Sequence[Traced]], found: Mapping[Traced, Epilogue]
) -> Epilogue | None:
    """``a b`` where another epilogue's result is positive, and its sums over the rows."""
    if node.operation != "multiply" or len(node.parents) != 2:
        return None
    for product, factor in (node.parents, node.parents[::-1]):
        if not (_is_product(product) and _is_read_by(product, node, users) and factor.operation == "astype"):
            continue
        (sign,) = factor.parents
        if sign.operation == "greater" and _is_zero(sign.arguments[1]) and sign.arguments[0] in found:
            sums = [user for user in users[node] if _is_sum_of_rows(user, node)]
            if len(sums) == 1:
                return Epilogue(product, node, signs=sign.arguments[0], sums=sums[0])
    return None


def _is_product(node: Traced) -> bool:
    # In float64 the library has no such ends.
    return node.operation == "matmul" and node.ndim == 2 and node.dtype == np.float32


def _is_read_by(node: Traced, user: Traced, users: Mapping[Traced, Sequence[Traced]]) -> bool:
    return all(other is user for other in users[node])


def _is_zero(argument: object) -> bool:
    if not isinstance(argument, Traced):
        return argument == 0
    return argument.operation == "fill" and argument.value is not None and not argument.value.any()


def _is_row(node: Traced, product: Traced) -> bool:
    """Whether `node` is a row of numbers that follow each other in what is given."""
    columns = product.shape[1]
    if node.size != columns or node.shape[-1:] != (columns,) or base(node).operation not in GIVEN:
        return False
    try:
        return layout(node).strides[-1] == 1 and node.dtype == product.dtype
    except NotCaptured:
        return False


def _is_sum_of_rows(node: Traced, of: Traced) -> bool:
    return node.operation == "sum" and node.parents[0] is of and node.settings == ((0,), False)
