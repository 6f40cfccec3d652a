"""What a product can do to its result before it writes it, found in what was recorded.

cuBLASLt adds a bias and takes the positive part as a product's last act. Recorded are operations of their own, which
would go over memory once more. Its way back through the positive part is not used: where the sum is exactly 0, it lets
the gradient through, and `mlpgpu.maths.activations.relu_derivative` does not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mlpgpu.cuda.indexing import NotCaptured, layout
from mlpgpu.fusion.schedule import GIVEN, base
from mlpgpu.fusion.trace import Traced


@dataclass(frozen=True, eq=False)
class Epilogue:
    """The end of a product: ``max(a b + bias, 0)``.

    Attributes
    ----------
    product : Traced
        The product itself, which is not kept.
    bias : Traced
        A view of one row, added to each.
    """

    product: Traced
    bias: Traced


def find(
    nodes: Sequence[Traced], users: Mapping[Traced, Sequence[Traced]], results: Collection[Traced] = ()
) -> dict[Traced, Epilogue]:
    """The epilogues among recorded operations, by what they write.

    Parameters
    ----------
    nodes : sequence of Traced
        In order.
    users : mapping of Traced to sequence of Traced
        What reads each, also through views.
    results : collection of Traced
        What has to be written, whoever reads it.
    """
    found = ((node, _epilogue(node, users, results)) for node in nodes)
    return {node: epilogue for node, epilogue in found if epilogue is not None}


def _epilogue(node: Traced, users: Mapping[Traced, Sequence[Traced]], results: Collection[Traced]) -> Epilogue | None:
    # Where the next product does not read it, it need not be written at all.
    if node.operation != "maximum" or not any(user.operation == "matmul" for user in users[node]):
        return None

    def is_within(argument: Traced, user: Traced) -> bool:
        return argument not in results and all(other is user for other in users[argument])

    sums = [argument for argument in node.parents if argument.operation == "add" and is_within(argument, node)]
    if len(sums) != 1 or len(sums[0].parents) != 2 or not any(_is_zero(argument) for argument in node.arguments):
        return None
    for product, bias in (sums[0].parents, sums[0].parents[::-1]):
        if _is_product(product) and is_within(product, sums[0]) and _is_row(bias, product):
            return Epilogue(product, bias)
    return None


def _is_product(node: Traced) -> bool:
    # In float64 the library need not have such an end.
    return node.operation == "matmul" and node.ndim == 2 and node.dtype == np.float32


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
