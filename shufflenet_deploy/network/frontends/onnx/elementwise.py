"""Readers of what works element by element: arithmetic, activations, clips."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from shufflenet_deploy.network.frontends.file_builder import Value, float_array
from shufflenet_deploy.network.frontends.onnx.node import Array, Node, Tensor, without_batch
from shufflenet_deploy.network.graph import (
    Activation,
    Arithmetic,
    ArithmeticKind,
    Clip,
    Elu,
    Layer,
    LeakyRelu,
    Power,
)
from shufflenet_deploy.network.passes.recognise import Erf, Softplus

_SELU = (1.67326319217681884765625, 1.05070102214813232421875)


def _binary(kind: ArithmeticKind, node: Node) -> Tensor:
    if len(node.inputs) != 2:
        node.fail(f"has {len(node.inputs)} operands instead of 2")
    return _combined(node, kind, _operand(node, 0), _operand(node, 1))


def _variadic(kind: ArithmeticKind, node: Node) -> Tensor:
    """Max, Min, Sum and Mean of any number of operands; constants among them are one."""
    found = [_operand(node, index) for index in range(len(node.inputs))]
    result = found[0]
    for other in found[1:]:
        if isinstance(result, Tensor) or isinstance(other, Tensor):
            result = _combined(node, kind, result, other)
        else:
            result = _NUMPY[kind](result, other)
    if not isinstance(result, Tensor):
        node.fail("has no computed operand")
    if node.op == "Mean":
        count = float(len(found))
        divided = node.builder.with_constant(result.value, ArithmeticKind.DIVIDE, count)
        return Tensor(divided, result.shape)
    return result


def _operand(node: Node, index: int) -> Tensor | Array:
    found = node.inputs[index]
    return node.constant(index) if found is None else found


def _combined(node: Node, kind: ArithmeticKind, a: Tensor | Array, b: Tensor | Array) -> Tensor:
    """Two operands of which one at least is computed, with ONNX's broadcasting."""
    try:
        shape = tuple(map(int, np.broadcast_shapes(a.shape, b.shape)))
    except ValueError:
        node.fail(f"has operands of {a.shape} and {b.shape}, which do not fit")
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return Tensor(node.builder.of_two(a.value, b.value, kind), shape)
    tensor, constant, reverse = (a, b, False) if isinstance(a, Tensor) else (b, a, True)
    assert isinstance(tensor, Tensor)
    assert isinstance(constant, np.ndarray)
    surplus = max(0, constant.ndim - len(without_batch(shape)))
    numbers = float_array(constant).reshape(constant.shape[surplus:])
    if reverse and kind not in {ArithmeticKind.SUBTRACT, ArithmeticKind.DIVIDE}:
        reverse = False
    made = node.builder.with_constant(tensor.value, kind, numbers, reverse=reverse)
    return Tensor(made, shape)


def _layer(make: Callable[..., Layer], node: Node, **fields: Any) -> Tensor:
    tensor = node.tensor()
    return Tensor(node.builder.emit(make, tensor.value, **fields), tensor.shape)


def _activation(activation: Activation, node: Node) -> Tensor:
    tensor = node.tensor()
    return Tensor(node.builder.elementwise(tensor.value, activation), tensor.shape)


def _gelu(node: Node) -> Tensor:
    approximate = node.attribute("approximate", "none")
    return _activation(Activation.GELU_TANH if approximate == "tanh" else Activation.GELU, node)


def _swish(node: Node) -> Tensor:
    if node.attribute("alpha", 1.0) != 1:
        node.fail("has an alpha other than 1")
    return _activation(Activation.SILU, node)


def _hard_sigmoid(node: Node) -> Tensor:
    alpha, beta = node.attribute("alpha", 0.2), node.attribute("beta", 0.5)
    if math.isclose(alpha, 1 / 6, abs_tol=1e-6) and beta == 0.5:
        return _activation(Activation.HARD_SIGMOID, node)
    tensor, builder = node.tensor(), node.builder
    scaled = builder.with_constant(tensor.value, ArithmeticKind.MULTIPLY, alpha)
    shifted = builder.with_constant(scaled, ArithmeticKind.ADD, beta)
    return Tensor(builder.emit(Clip, shifted, low=0.0, high=1.0), tensor.shape)


def _clip(node: Node) -> Tensor:
    if "min" in node.attributes or "max" in node.attributes or node.opset < 11:
        low, high = node.attribute("min", -math.inf), node.attribute("max", math.inf)
    else:
        low, high = node.number(1, -math.inf), node.number(2, math.inf)
    # Where they cross, the upper one wins.
    return _layer(Clip, node, low=min(low, high), high=high)


def _leaky_relu(node: Node) -> Tensor:
    slope = float_array([node.attribute("alpha", 0.01)])
    return _layer(LeakyRelu, node, slope=slope)


def _prelu(node: Node) -> Tensor:
    tensor = node.tensor()
    x, slope = tensor.value, float_array(node.constant(1))
    if slope.size == 1:
        return _layer(LeakyRelu, node, slope=slope.reshape(1))
    try:
        whole = np.broadcast_to(slope, tensor.shape)
    except ValueError:
        node.fail(f"has slopes of {slope.shape} for {tensor.shape}")
    rows = whole.reshape(x.shape[0], -1)
    if (rows != rows[:, :1]).any():
        node.fail(f"has slopes of {slope.shape} for {tensor.shape}: one per channel is known")
    return _layer(LeakyRelu, node, slope=float_array(rows[:, 0]))


def _elu(node: Node) -> Tensor:
    return _layer(Elu, node, alpha=node.attribute("alpha", 1.0))


def _selu(node: Node) -> Tensor:
    alpha, gamma = node.attribute("alpha", _SELU[0]), node.attribute("gamma", _SELU[1])
    made = _layer(Elu, node, alpha=alpha)
    scaled = node.builder.with_constant(made.value, ArithmeticKind.MULTIPLY, gamma)
    return Tensor(scaled, made.shape)


def _negative(node: Node) -> Tensor:
    return _by_constant(node, ArithmeticKind.MULTIPLY, -1.0)


def _reciprocal(node: Node) -> Tensor:
    return _by_constant(node, ArithmeticKind.DIVIDE, 1.0, reverse=True)


def _by_constant(
    node: Node, kind: ArithmeticKind, number: float, *, reverse: bool = False
) -> Tensor:
    tensor = node.tensor()
    made = node.builder.with_constant(tensor.value, kind, number, reverse=reverse)
    return Tensor(made, tensor.shape)


def _absolute(node: Node) -> Tensor:
    x = node.tensor().value
    mirrored = node.builder.with_constant(x, ArithmeticKind.MULTIPLY, -1.0)
    made = node.builder.emit(Arithmetic, x, mirrored, kind=ArithmeticKind.MAXIMUM)
    return Tensor(made, node.tensor().shape)


def _power(node: Node) -> Tensor:
    tensor, exponent = node.tensor(), node.number(1, 1.0)
    if exponent not in {1, 2, 3, 4}:
        return _layer(Power, node, exponent=exponent)
    result: Value = tensor.value
    for _ in range(int(exponent) - 1):
        result = node.builder.emit(Arithmetic, result, tensor.value, kind=ArithmeticKind.MULTIPLY)
    return Tensor(result, tensor.shape)


_NUMPY: dict[ArithmeticKind, Callable[[Any, Any], Any]] = {
    ArithmeticKind.ADD: np.add,
    ArithmeticKind.MAXIMUM: np.maximum,
    ArithmeticKind.MINIMUM: np.minimum,
}

READERS: dict[str, Callable[[Node], Any]] = {
    "Add": partial(_binary, ArithmeticKind.ADD),
    "Sub": partial(_binary, ArithmeticKind.SUBTRACT),
    "Mul": partial(_binary, ArithmeticKind.MULTIPLY),
    "Div": partial(_binary, ArithmeticKind.DIVIDE),
    "Max": partial(_variadic, ArithmeticKind.MAXIMUM),
    "Min": partial(_variadic, ArithmeticKind.MINIMUM),
    "Sum": partial(_variadic, ArithmeticKind.ADD),
    "Mean": partial(_variadic, ArithmeticKind.ADD),
    "Neg": _negative,
    "Abs": _absolute,
    "Reciprocal": _reciprocal,
    "Pow": _power,
    "Sqrt": partial(_layer, Power, exponent=0.5),
    "Relu": partial(_activation, Activation.RELU),
    "Sigmoid": partial(_activation, Activation.SIGMOID),
    "Tanh": partial(_activation, Activation.TANH),
    "HardSwish": partial(_activation, Activation.HARD_SWISH),
    "Mish": partial(_activation, Activation.MISH),
    "Gelu": _gelu,
    "Swish": _swish,
    "HardSigmoid": _hard_sigmoid,
    "Clip": _clip,
    "LeakyRelu": _leaky_relu,
    "PRelu": _prelu,
    "Elu": _elu,
    "Selu": _selu,
    "Erf": partial(_layer, Erf),
    "Softplus": partial(_layer, Softplus),
}
