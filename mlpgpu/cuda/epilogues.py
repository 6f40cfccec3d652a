"""Find the operations that a matrix product can apply as its epilogue.

cuBLASLt can add a bias and apply ReLU before it writes a product, which saves a pass over memory. Its epilogue for the
gradient of ReLU is not used: where the sum is exactly 0, it lets the gradient through, whereas
`mlpgpu.maths.activations.relu_derivative` does not.
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
    """The epilogue of a product: ``max(a b + bias, 0)``.

    Attributes
    ----------
    product : Traced
        The product itself, which is not stored.
    bias : Traced
        View of a single row, which is added to each row of the product.
    """

    product: Traced
    bias: Traced


def find(
    nodes: Sequence[Traced], users: Mapping[Traced, Sequence[Traced]], results: Collection[Traced] = ()
) -> dict[Traced, Epilogue]:
    """Return the epilogues among traced operations, by the node that each computes.

    Parameters
    ----------
    nodes : sequence of Traced
        In topological order.
    users : mapping of Traced to sequence of Traced
        The operations that read each node, directly or through views.
    results : collection of Traced
        Nodes that must be stored, even if a single operation reads them.
    """
    found = ((node, _epilogue(node, users, results)) for node in nodes)
    return {node: epilogue for node, epilogue in found if epilogue is not None}


def _epilogue(node: Traced, users: Mapping[Traced, Sequence[Traced]], results: Collection[Traced]) -> Epilogue | None:
    # If no product reads it, a kernel can fuse it with its readers, and it is not stored at all.
    if node.operation != "maximum" or not any(user.operation == "matmul" for user in users[node]):
        return None

    def is_only_read_by(argument: Traced, user: Traced) -> bool:
        return argument not in results and all(other is user for other in users[argument])

    sums = [argument for argument in node.parents if argument.operation == "add" and is_only_read_by(argument, node)]
    if len(sums) != 1 or len(sums[0].parents) != 2 or not any(_is_zero(argument) for argument in node.arguments):
        return None
    for product, bias in (sums[0].parents, sums[0].parents[::-1]):
        if _is_product(product) and is_only_read_by(product, sums[0]) and _is_row(bias, product):
            return Epilogue(product, bias)
    return None


def _is_product(node: Traced) -> bool:
    # In float64 the library may not support this epilogue.
    return node.operation == "matmul" and node.ndim == 2 and node.dtype == np.float32


def _is_zero(argument: object) -> bool:
    if not isinstance(argument, Traced):
        return argument == 0
    return argument.operation == "fill" and argument.value is not None and not argument.value.any()


def _is_row(node: Traced, product: Traced) -> bool:
    """Whether `node` is a contiguous row of an input or constant."""
    columns = product.shape[1]
    if node.size != columns or node.shape[-1:] != (columns,) or base(node).operation not in GIVEN:
        return False
    try:
        return layout(node).strides[-1] == 1 and node.dtype == product.dtype
    except NotCaptured:
        return False
