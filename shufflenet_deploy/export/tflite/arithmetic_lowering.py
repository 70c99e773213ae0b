"""Lowering of element-wise layers: arithmetic with broadcasting, clips and parametric units."""

from __future__ import annotations

import math

import numpy as np

from shufflenet_deploy.export.tflite.activations import activate, binary, scalar
from shufflenet_deploy.export.tflite.graph_lowering import GraphLowering
from shufflenet_deploy.export.tflite.layouts import Order
from shufflenet_deploy.network.graph import (
    Add,
    Arithmetic,
    ArithmeticKind,
    Clip,
    Elementwise,
    Elu,
    FloatArray,
    Layer,
    LeakyRelu,
    Multiply,
)

_CODES = {
    ArithmeticKind.ADD: "ADD",
    ArithmeticKind.SUBTRACT: "SUB",
    ArithmeticKind.MULTIPLY: "MUL",
    ArithmeticKind.DIVIDE: "DIV",
    ArithmeticKind.MAXIMUM: "MAXIMUM",
    ArithmeticKind.MINIMUM: "MINIMUM",
}

#: Clips that TFLite has operations for.
_CLIPS = {(0.0, math.inf): "RELU", (0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}


def lower_add(lowering: GraphLowering, layer: Add) -> None:
    """Write a sum of two values of one shape."""
    order = lowering.common_order(layer.inputs)
    inputs = tuple(lowering.in_order(name, order) for name in layer.inputs)
    lowering.emit(layer, "ADD", inputs, {}, order)


def lower_multiply(lowering: GraphLowering, layer: Multiply) -> None:
    """Write a map times a scale of its channels."""
    inputs = tuple(lowering.nhwc(name) for name in layer.inputs)
    lowering.emit(layer, "MUL", inputs, {})


def lower_arithmetic(lowering: GraphLowering, layer: Arithmetic) -> None:
    """Write an operation of two operands; those of fewer axes are filled up in front."""
    rank = len(lowering.graph.shapes[layer.output])
    whole = [name for name in layer.inputs if len(lowering.graph.shapes[name]) == rank]
    order = lowering.common_order(whole) if whole else lowering.usual_order(layer.output)
    operands = [_aligned(lowering, name, order) for name in layer.inputs]
    code = _CODES[layer.kind]
    if layer.constant is not None:
        constant = layer.constant
        if code == "DIV" and not layer.reverse and _has_reciprocal(constant):
            code, constant = "MUL", (1 / constant).astype(np.float32)
        operands.insert(
            0 if layer.reverse else 1,
            lowering.constant(f"{layer.name}:constant", _in_order(constant, order)),
        )
    lowering.emit(layer, code, tuple(operands), {}, order)


def _has_reciprocal(constant: FloatArray) -> bool:
    with np.errstate(divide="ignore", over="ignore"):
        return bool(np.isfinite(1 / constant.astype(np.float32)).all())


def _in_order(constant: FloatArray, order: Order) -> FloatArray:
    """A constant operand with as many axes as the others, batch first."""
    aligned = constant.reshape(*[1] * (len(order) - constant.ndim), *constant.shape)
    return aligned.transpose(order)[None].astype(np.float32)


def _aligned(lowering: GraphLowering, value: str, order: Order) -> str:
    """Tensor of an operand in an order of more axes than it may have itself."""
    shape = lowering.graph.shapes[value]
    missing = len(order) - len(shape)
    if not missing:
        return lowering.in_order(value, order)
    own = tuple(axis - missing for axis in order if axis >= missing)
    source = lowering.in_order(value, own)
    target = f"{value}:aligned-{'-'.join(map(str, order))}"
    if target not in lowering.tensors:
        sizes = (1, *(shape[axis - missing] if axis >= missing else 1 for axis in order))
        lowering.reshape(source, target, sizes, rearranges=lowering.calibrated(value))
    return target


def lower_elementwise(lowering: GraphLowering, layer: Elementwise) -> None:
    """Write an activation that stands alone."""
    source, order, target = _unary(lowering, layer)
    shape = lowering.shape_in(layer.output, order)
    known = lowering.calibrated(layer.output)
    activate(lowering, layer.activation, source, target, shape, rearranges=known)
    lowering.place(layer.output, target, order)


def lower_clip(lowering: GraphLowering, layer: Clip) -> None:
    """Write a clip as one operation where there is one, else as a maximum and a minimum."""
    source, order, target = _unary(lowering, layer)
    code = _CLIPS.get((layer.low, layer.high))
    if code is not None:
        lowering.emit(layer, code, (source,), {}, order)
        return
    shape, known = lowering.shape_in(layer.output, order), lowering.calibrated(layer.output)
    bounds = [("MAXIMUM", layer.low), ("MINIMUM", layer.high)]
    finite = [(code, bound) for code, bound in bounds if math.isfinite(bound)]
    for code, bound in finite:
        name = target if (code, bound) == finite[-1] else f"{target}:raised"
        operands = (source, scalar(lowering, bound))
        source = binary(lowering, code, operands, name, shape, rearranges=known)
    lowering.place(layer.output, source, order)


def lower_leaky_relu(lowering: GraphLowering, layer: LeakyRelu) -> None:
    """Write a leaky ReLU of one slope or of one slope per channel."""
    source, order, _ = _unary(lowering, layer)
    if layer.slope.size == 1:
        options = {"alpha": float(layer.slope.ravel()[0])}
        lowering.emit(layer, "LEAKY_RELU", (source,), options, order)
        return
    slopes = layer.slope.reshape(-1, *[1] * (len(order) - 1)).transpose(order)
    alpha = lowering.constant(f"{layer.name}:slope", slopes.astype(np.float32))
    lowering.emit(layer, "PRELU", (source, alpha), {}, order)


def lower_elu(lowering: GraphLowering, layer: Elu) -> None:
    """Write an ELU; TFLite's has an alpha of 1: other ones scale what is below zero."""
    source, order, target = _unary(lowering, layer)
    if layer.alpha == 1:
        lowering.emit(layer, "ELU", (source,), {}, order)
        return
    shape = lowering.shape_in(layer.output, order)
    names = {word: f"{target}:{word}" for word in ("elu", "negative", "scaled", "positive")}
    lowering.write("ELU", (source,), names["elu"], shape, {}, real=True)
    negative = (names["elu"], scalar(lowering, 0.0))
    binary(lowering, "MINIMUM", negative, names["negative"], shape, real=True)
    scaled = (names["negative"], scalar(lowering, layer.alpha))
    binary(lowering, "MUL", scaled, names["scaled"], shape, real=True)
    lowering.write("RELU", (source,), names["positive"], shape, {}, real=True)
    lowering.emit(layer, "ADD", (names["positive"], names["scaled"]), {}, order)


def _unary(lowering: GraphLowering, layer: Layer) -> tuple[str, Order, str]:
    """Source tensor of a layer that takes any order, that order, and the name of its target."""
    value = layer.inputs[0]
    order = lowering.common_order((value,))
    source = lowering.in_order(value, order)
    return source, order, lowering.name_in(layer.output, order)
