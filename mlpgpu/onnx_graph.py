"""A model as an ONNX graph: the formulas of `mlpgpu.maths`, recorded, and each operation as a node."""

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
from mlpgpu.model import Model

# What onnxruntime 1.17 reads. It has every operator below in single and in double precision. Bits are those of truth
# values: there are no whole numbers in a network.
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
# Folded, x w' and b' cancel where a feature is many of its own units away from 0, and as many bits are lost as that
# number has: here two, of the 24 of single precision.
FARTHEST = 4.0
# A factor beyond these has no weights in single precision.
FACTORS = 1e-30, 1e30


def to_onnx(model: Model) -> tuple[bytes, str]:
    """The graph of a model.

    Its input ``x`` has shape (n_rows, n_features) and is not scaled yet. Its outputs are ``label`` and
    ``probabilities``, or ``prediction``.

    Parameters
    ----------
    model : Model

    Returns
    -------
    content : bytes
        Of a file, with the names of features and of several targets, the classes, the values of labels and the task as
        JSON in its metadata.
    dtype : str
        Of ``x``: that of the weights, or float64 where less would lose digits.

    Raises
    ------
    InputError
        Where the package onnx is not installed.
    """
    try:
        from onnx import helper
    except ImportError:
        raise InputError(
            "writing ONNX needs the package onnx, which is not installed; pip install 'mlpgpu[onnx]'"
        ) from None

    params, folded = _fold(model)
    nodes = Nodes()
    # Nothing depends on the number of rows.
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
    """The nodes and constants of a graph, as they come."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operator: str, *inputs: str, name: str | None = None, **settings: Any) -> str:
        """One node more; the name of its output."""
        from onnx import helper

        name = name or f"{operator.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **settings))
        return name

    def constant(self, value: Any) -> str:
        """One constant more; its name."""
        from onnx import numpy_helper

        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def of(self, result: Traced, x: Traced) -> str:
        """All that `result` is made of, `x` being the input; the name of its output."""
        names = {x.number: "x"}
        for node in operations([result]):
            if node.number not in names:
                names[node.number] = self._of(node, names)
        return names[result.number]

    def _of(self, node: Traced, names: dict[int, str]) -> str:
        if node.operation == "constant":
            return self.constant(node.value)
        if node.operation == "fill":
            # One number, which is broadcast.
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
            # ONNX has none. tanh(z / 2) (exp(z) + 1) is the same, and keeps its digits near 0.
            half = self.add("Mul", *given, self.constant(np.array(0.5, node.dtype)))
            return self.add("Mul", self.add("Tanh", half), self.add("Add", self.add("Exp", *given), one))
        if node.operation == "log1p":
            # ONNX has none either. The digits that are lost here are those below the last of 1.
            return self.add("Log", self.add("Add", *given, one))
        raise NotImplementedError(f"no operator of ONNX for {node.operation}")


def _fold(model: Model) -> tuple[np.ndarray, bool]:
    """Parameters whose first layer scales as well, and whether they do; else those that there are."""
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
    # Where there is one class only, it is the first of the two that the output stands for.
    bounds = [nodes.constant(np.array([n])) for n in (0, len(classes), 1)]
    among = nodes.add("Slice", "probabilities", *bounds)
    number = nodes.add("ArgMax", among, axis=1, keepdims=0)
    nodes.add("Gather", nodes.constant(classes), number, name="label")
    return [("label", _type(classes.dtype), []), ("probabilities", _type(dtype), [n_columns])]


def _classes(labels: np.ndarray) -> np.ndarray:
    """int64 for whole numbers that it holds, float64 for others, and else text."""
    if labels.dtype.kind in "bi":
        return labels.astype(np.int64)
    return labels if labels.dtype.kind == "f" else labels.astype(str).astype(object)


def _type(dtype: Any) -> int:
    from onnx import helper

    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
