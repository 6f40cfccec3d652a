"""Find the matrix products, and the operations that each can apply as its epilogue.

cuBLASLt can add a bias and apply ReLU before it writes a product, which saves a pass over memory. Its epilogue for the
gradient of ReLU is not used: where the sum is exactly 0, it lets the gradient through, whereas
`mlpgpu.maths.activations.relu_derivative` does not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mlpgpu.cuda.indexing import NotCaptured, layout
from mlpgpu.fusion.trace import GIVEN, Traced, base


@dataclass(frozen=True, eq=False)
class Product:
    """A matrix product.

    Attributes
    ----------
    a, b : Traced
        Arrays in memory, or views of them.
    out : Traced
        The stored result: the product, or the output of its epilogue.
    bias : Traced or None
        View of one row, which the epilogue adds before it applies ReLU.
    """

    a: Traced
    b: Traced
    out: Traced
    bias: Traced | None = None

    @property
    def read(self) -> list[Traced]:
        """The arrays in memory that it reads."""
        return [base(node) for node in (self.a, self.b, self.bias) if node is not None]


def find_products(
    nodes: Sequence[Traced], users: Mapping[Traced, Sequence[Traced]], results: Collection[Traced], *, epilogues: bool
) -> dict[Traced, Product]:
    """Return the products among traced operations, by the node that each stores.

    Parameters
    ----------
    nodes : sequence of Traced
        In topological order.
    users : mapping of Traced to sequence of Traced
        The operations that read each node, directly or through views.
    results : collection of Traced
        Nodes that must be stored, even if a single operation reads them.
    epilogues : bool
        Whether products may have epilogues.
    """
    found: dict[Traced, Product] = {}
    for node in nodes:
        if node.operation == "matmul":
            a, b = node.parents
            found[node] = Product(a, b, node)
        elif epilogues and (inside := _product_and_bias(node, users, results)):
            product, bias = inside
            found[node] = replace(found.pop(product), out=node, bias=bias)
    return found


def _product_and_bias(
    node: Traced, users: Mapping[Traced, Sequence[Traced]], results: Collection[Traced]
) -> tuple[Traced, Traced] | None:
    """Return product and bias if `node` is ``max(product + bias, 0)``, and nothing else reads what is inside."""
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
            return product, bias
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
