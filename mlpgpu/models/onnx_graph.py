"""Convert a model to an ONNX graph: the functions of `mlpgpu.maths` are traced, and each operation becomes a node."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from mlpgpu import __version__
from mlpgpu.errors import InputError
from mlpgpu.fusion.trace import Recorder, Traced, number_in, operations
from mlpgpu.maths import network
from mlpgpu.maths.parameters import join, split
from mlpgpu.maths.scaling import scale, unscale
from mlpgpu.models.model import Model

# onnxruntime 1.17 reads these, and has every operator below in single and double precision. The bitwise operations are
# logical ones, since a network has no integers.
OPSET, IR_VERSION = 17, 8
OPERATORS = {
    "absolute": "Abs",
    "add": "Add",
    "bitwise_and": "And",
    "bitwise_or": "Or",
    "ceil": "Ceil",
    "divide": "Div",
    "equal": "Equal",
    "exp": "Exp",
    "floor": "Floor",
    "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
    "less": "Less",
    "less_equal": "LessOrEqual",
    "log": "Log",
    "logical_and": "And",
    "logical_not": "Not",
    "logical_or": "Or",
    "matmul": "MatMul",
    "maximum": "Max",
    "minimum": "Min",
    "multiply": "Mul",
    "negative": "Neg",
    "power": "Pow",
    "reciprocal": "Reciprocal",
    "sign": "Sign",
    "sin": "Sin",
    "sqrt": "Sqrt",
    "subtract": "Sub",
    "tanh": "Tanh",
    "where": "Where",
}
# Largest |shift * factor|, a feature's distance from 0 in scaled units, with which scaling is folded into the first
# layer: x w' and b' then nearly cancel, which loses log2(|shift * factor|) bits, here 2 of the 24 of single precision.
FARTHEST = 4.0
# Weights folded with factors outside this range could overflow or underflow in single precision.
FACTORS = 1e-30, 1e30


def to_onnx(model: Model) -> tuple[bytes, str]:
    """Convert a model to an ONNX file.

    The input ``x`` of the graph has shape (n_rows, n_features) and is unscaled. The outputs are ``label`` and
    ``probabilities`` for classification, or ``prediction`` for regression.

    Parameters
    ----------
    model : Model

    Returns
    -------
    content : bytes
        Content of the file. Its metadata has task, feature names, names of several targets, classes, values of labels
        and encoding of columns as JSON.
    dtype : str
        The dtype of ``x``: that of the weights, or float64 if scaling in a smaller type would lose digits.

    Raises
    ------
    InputError
        If the package onnx is not installed.
    """
    try:
        from onnx import helper
    except ImportError:
        raise InputError(
            "writing ONNX needs the package onnx, which is not installed; pip install 'mlpgpu[onnx]'"
        ) from None

    params, folded = _fold(model)
    nodes = Nodes()
    # The graph does not depend on the number of rows.
    x = Recorder().input((1, model.sizes[0]), model.params.dtype if folded else np.float64)
    scaled = x if folded else np.astype(scale(np, x, model.shift, model.factor), model.params.dtype)
    outputs = model.network.loss.link(np, network.logits(np, model.network, params, scaled))
    if model.target_shift is not None:
        outputs = unscale(np, outputs, model.target_shift, model.target_factor)
    found = nodes.of(outputs, x)
    if model.task == "regression":
        nodes.add("Identity", found, name="prediction")
        described = [("prediction", _type(outputs.dtype), [model.sizes[-1]])]
    else:
        described = _classification(nodes, found, model)
    graph = helper.make_graph(
        nodes.nodes,
        "mlpgpu",
        [helper.make_tensor_value_info("x", _type(x.dtype), ["n_rows", model.sizes[0]])],
        [helper.make_tensor_value_info(name, kind, ["n_rows", *shape]) for name, kind, shape in described],
        nodes.constants,
    )
    whole = helper.make_model(
        graph,
        producer_name="mlpgpu",
        producer_version=__version__,
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    known = {
        "task": model.task,
        "feature_names": list(model.feature_names),
        "targets": list(model.targets),
        "classes": list(model.classes),
        "label_values": list(model.label_values),
        "columns": model.columns,
    }
    helper.set_model_props(whole, {name: json.dumps(value) for name, value in known.items()})
    return whole.SerializeToString(), str(x.dtype)


class Nodes:
    """The nodes and constants of a graph, in the order in which they are added."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operator: str, *inputs: str, name: str | None = None, **settings: Any) -> str:
        """Add a node, and return the name of its output."""
        from onnx import helper

        name = name or f"{operator.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **settings))
        return name

    def constant(self, value: Any) -> str:
        """Add a constant, and return its name."""
        from onnx import numpy_helper

        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def of(self, result: Traced, x: Traced) -> str:
        """Add the nodes that compute `result` from the input `x`, and return the name of their output."""
        names = {x.number: "x"}
        for node in operations([result]):
            if node.number not in names:
                names[node.number] = self._of(node, names)
        return names[result.number]

    def _of(self, node: Traced, names: dict[int, str]) -> str:
        if node.operation == "constant":
            return self.constant(node.value)
        if node.operation == "fill":
            # A single number suffices, since it is broadcast.
            return self.constant(np.reshape(node.value, (1,) * node.ndim))
        given = [
            names[a.number] if isinstance(a, Traced) else self.constant(number_in(node, a)) for a in node.arguments
        ]
        if node.operation in OPERATORS:
            return self.add(OPERATORS[node.operation], *given)
        if node.operation == "astype":
            return self.add("Cast", *given, to=_type(node.dtype))
        if node.operation == "sum":
            axes, keepdims = node.settings
            return self.add("ReduceSum", *given, self.constant(np.array(axes)), keepdims=int(keepdims))
        if node.operation == "max":
            axes, keepdims = node.settings
            return self.add("ReduceMax", *given, axes=axes, keepdims=int(keepdims))
        if node.operation == "square":
            return self.add("Mul", *given, *given)
        if node.operation == "not_equal":
            return self.add("Not", self.add("Equal", *given))
        one = self.constant(np.array(1, node.dtype))
        if node.operation == "expm1":
            # ONNX has no expm1. tanh(z / 2) (exp(z) + 1) is equal, and accurate near 0.
            half = self.add("Mul", *given, self.constant(np.array(0.5, node.dtype)))
            return self.add("Mul", self.add("Tanh", half), self.add("Add", self.add("Exp", *given), one))
        if node.operation == "log1p":
            # ONNX has no log1p. log(1 + z) only adds the absolute error of rounding 1 + z.
            return self.add("Log", self.add("Add", *given, one))
        raise NotImplementedError(f"no operator of ONNX for {node.operation}")


def _fold(model: Model) -> tuple[np.ndarray, bool]:
    """Fold the input scaling into the first layer if that is accurate; return the parameters, and whether it did."""
    shift, factor = model.shift, model.factor
    small, large = FACTORS
    if np.abs(shift * factor).max() > FARTHEST or np.abs(factor).min() < small or np.abs(factor).max() > large:
        return model.params, False
    (w, b), *rest = split(np, model.params.astype(np.float64), model.sizes)
    n_features = len(w)
    w = np.broadcast_to(factor, n_features)[:, None] * w
    b = b - np.broadcast_to(shift, n_features) @ w
    return join(np, [(w, b), *rest]).astype(model.params.dtype), True


def _classification(nodes: Nodes, outputs: str, model: Model) -> list[tuple[str, int, list[int]]]:
    dtype = model.params.dtype
    if model.multilabel:
        nodes.add("Identity", outputs, name="probabilities")
        chosen = nodes.add("Greater", outputs, nodes.constant(np.array(0.5, dtype)))
        values = _classes(model.labels)
        without, having = (nodes.constant(column[None]) for column in values.T)
        nodes.add("Where", chosen, having, without, name="label")
        labels = ("label", _type(values.dtype), [model.sizes[-1]])
        return [labels, ("probabilities", _type(dtype), [model.sizes[-1]])]
    n_columns = model.sizes[-1]
    if n_columns == 1:
        n_columns = 2
        others = nodes.add("Sub", nodes.constant(np.array(1, dtype)), outputs)
        nodes.add("Concat", others, outputs, axis=1, name="probabilities")
    else:
        nodes.add("Identity", outputs, name="probabilities")
    classes = _classes(model.labels)
    # With a single class, only the first of the two probabilities is considered.
    bounds = [nodes.constant(np.array([n])) for n in (0, len(classes), 1)]
    among = nodes.add("Slice", "probabilities", *bounds)
    number = nodes.add("ArgMax", among, axis=1, keepdims=0)
    nodes.add("Gather", nodes.constant(classes), number, name="label")
    return [("label", _type(classes.dtype), []), ("probabilities", _type(dtype), [n_columns])]


def _classes(labels: np.ndarray) -> np.ndarray:
    """Return labels as int64 for integers and truth values, unchanged for floats, and otherwise as text."""
    if labels.dtype.kind in "bi":
        return labels.astype(np.int64)
    return labels if labels.dtype.kind == "f" else labels.astype(str).astype(object)


def _type(dtype: Any) -> int:
    from onnx import helper

    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
