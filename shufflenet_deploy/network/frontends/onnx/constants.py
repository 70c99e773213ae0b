"""Constants of an ONNX file: stored in nodes, shapes of tensors, and what follows from constants.

What is evaluated is a list of harmless operators, by ONNX's own reference implementation, and no
result may be larger than a network's weights.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import onnx

from shufflenet_deploy.network.frontends.onnx.model_file import ModelFile
from shufflenet_deploy.network.frontends.onnx.node import Array, Node
from shufflenet_deploy.network.shapes import Shape

#: Elements of a constant that is computed; the largest matrix of VGG-16 has 103 million.
_MOST_ELEMENTS = 1 << 27

_FOLDED = frozenset({
    "Abs", "Add", "And", "Cast", "Ceil", "Clip", "Concat", "ConstantOfShape", "Div", "Equal",
    "Erf", "Exp", "Expand", "Flatten", "Floor", "Gather", "Greater", "GreaterOrEqual", "Identity",
    "Less", "LessOrEqual", "Log", "MatMul", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow",
    "Range", "Reciprocal", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
    "Relu", "Reshape", "Round", "Shape", "Sigmoid", "Sign", "Size", "Slice", "Split", "Sqrt",
    "Squeeze", "Sub", "Sum", "Tanh", "Tile", "Transpose", "Unsqueeze", "Where",
})  # fmt: skip


def of_node(node: Node, file: ModelFile) -> Array:
    """The value of a Constant node."""
    for name, entry in node.attributes.items():
        if name == "value":
            return file.array(entry.t)
        if name == "value_int":
            return np.asarray(entry.i, np.int64)
        if name == "value_ints":
            return np.asarray(entry.ints, np.int64)
        if name == "value_float":
            return np.asarray(entry.f, np.float32)
        if name == "value_floats":
            return np.asarray(entry.floats, np.float32)
    return node.fail("holds no numbers")


def of_shape(node: Node, shape: Shape) -> Array:
    """The output of Shape or Size for a computed tensor."""
    if node.op == "Size":
        return np.asarray(math.prod(shape), np.int64)
    start = node.attribute("start", 0)
    end = node.attribute("end", len(shape))
    return np.asarray(shape[start:end], np.int64)


def folded(node: Node) -> tuple[Array, ...]:
    """The outputs of a node whose inputs are all constants."""
    if node.op not in _FOLDED:
        node.fail("computes a constant by an operator that is not evaluated: run onnxslim on it")
    _check_size(node)
    feeds = {
        f"in{index}": value
        for index, value in enumerate(node.inputs)
        if isinstance(value, np.ndarray)
    }
    try:
        with np.errstate(all="ignore"):
            results = _evaluator(_single(node), node.opset).run(None, feeds)
    except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError):
        node.fail("has constants that do not fit together")
    arrays = tuple(np.asarray(one) for one in results)
    if any(one.dtype == np.object_ or one.size > _MOST_ELEMENTS for one in arrays):
        node.fail("makes a constant that no layer takes")
    return tuple(
        one.astype(np.float32) if one.dtype.kind == "f" and one.dtype != np.float32 else one
        for one in arrays
    )


def _single(node: Node) -> bytes:
    """The node alone, its inputs renamed by position: equal nodes are evaluated by one program."""
    proto = onnx.NodeProto(op_type=node.op, attribute=node.proto.attribute)
    proto.input.extend(
        f"in{index}" if value is not None else "" for index, value in enumerate(node.inputs)
    )
    proto.output.extend(f"out{index}" for index in range(node.outputs))
    return bytes(proto.SerializeToString(deterministic=True))


@lru_cache(maxsize=256)
def _evaluator(serialized: bytes, opset: int) -> Any:
    from onnx.reference import ReferenceEvaluator  # noqa: PLC0415 - a second, where it is needed

    node = onnx.NodeProto.FromString(serialized)
    empty = onnx.TypeProto()
    graph = onnx.helper.make_graph(
        [node],
        "constant",
        [onnx.helper.make_value_info(name, empty) for name in node.input if name],
        [onnx.helper.make_value_info(name, empty) for name in node.output],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    return ReferenceEvaluator(model)


def _check_size(node: Node) -> None:
    """Refuse what would be larger than any weights before it is computed."""
    inputs = [value for value in node.inputs if isinstance(value, np.ndarray)]
    sizes = [value.size for value in inputs]
    claim = float(max(sizes, default=0))
    numbers = [np.asarray(value, np.float64).reshape(-1) for value in inputs if value.size <= 64]
    if node.op in {"ConstantOfShape", "Expand"} and numbers:
        claim = max(claim, float(np.prod(np.maximum(numbers[-1], 1))))
    elif node.op == "Tile" and numbers:
        claim = sizes[0] * float(np.prod(np.maximum(numbers[-1], 1)))
    elif node.op == "Range" and len(numbers) == 3 and all(one.size for one in numbers):
        start, stop, step = (one[0] for one in numbers)
        claim = abs(stop - start) / abs(step) if step else math.inf
    elif node.op == "MatMul" and len(inputs) == 2 and all(one.ndim for one in inputs):
        claim = float(sizes[0]) * sizes[1] / max(inputs[0].shape[-1], 1) ** 2
    elif node.op == "Gather" and len(inputs) == 2:
        claim = float(sizes[0]) * sizes[1] / max(*inputs[0].shape, 1)
    elif len(inputs) > 1:
        claim = max(claim, _broadcast_size(inputs))
    if not claim <= _MOST_ELEMENTS:
        node.fail("makes a constant larger than any network's weights")


def _broadcast_size(inputs: list[Array]) -> float:
    """Elements that the inputs have together, as a column and a row have."""
    try:
        return math.prod(np.broadcast_shapes(*(value.shape for value in inputs)))
    except ValueError:
        return 0
