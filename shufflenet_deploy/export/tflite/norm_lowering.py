"""Lowering of layer, group and instance norms, and of powers; all of them compute in float."""

from __future__ import annotations

import math

import numpy as np

from shufflenet_deploy.export.tflite.activations import binary, scalar
from shufflenet_deploy.export.tflite.graph_lowering import GraphLowering
from shufflenet_deploy.export.tflite.layouts import Order
from shufflenet_deploy.network.graph import FloatArray, Normalize, Power

_POWERS = {0.5: "SQRT", -0.5: "RSQRT"}

Shape = tuple[int, ...]


def lower_normalize(lowering: GraphLowering, layer: Normalize) -> None:
    """Write a norm in any order of the axes; groups are an axis of their own in between."""
    value = layer.inputs[0]
    order = lowering.common_order((value,))
    source, shape = lowering.in_order(value, order), lowering.shape_in(value, order)
    grid, axes = shape, tuple(sorted(1 + order.index(axis) for axis in layer.axes))
    if layer.groups > 1:
        grid, axes = _grouped(shape, order, layer.groups)
        target = f"{layer.output}:grouped"
        lowering.reshape(source, target, grid, rearranges=lowering.calibrated(value))
        source = target
    normal = _normal(lowering, layer, source, grid, axes)
    if grid != shape:
        lowering.write(
            "RESHAPE",
            (normal, lowering.constant(f"shape:{shape}", np.array(shape, np.int32))),
            f"{layer.output}:normal",
            shape,
            {"newShape": shape},
            real=True,
        )
        normal = f"{layer.output}:normal"
    scale, shift = (_in_order(array, order) for array in (layer.scale, layer.shift))
    scaled = f"{layer.output}:scaled"
    operands = (normal, lowering.constant(f"{layer.name}:scale", scale))
    binary(lowering, "MUL", operands, scaled, shape, real=True)
    operands = (scaled, lowering.constant(f"{layer.name}:shift", shift))
    lowering.emit(layer, "ADD", operands, {}, order)


def _grouped(shape: Shape, order: Order, groups: int) -> tuple[Shape, tuple[int, ...]]:
    """A shape with its channels as groups, and the axes of one of them."""
    at = 1 + order.index(0)
    before, channels, after = math.prod(shape[:at]), shape[at], math.prod(shape[at + 1 :])
    return (before, groups, channels // groups * after), (0, 2) if before > 1 else (2,)


def _normal(
    lowering: GraphLowering, layer: Normalize, source: str, shape: Shape, axes: tuple[int, ...]
) -> str:
    """A tensor less its mean, by the root of its variance."""
    sizes = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    places = lowering.constant(f"axes:{','.join(map(str, axes))}", np.array(axes, np.int32))

    def mean(of: str, word: str) -> str:
        name = f"{layer.output}:{word}"
        lowering.write("MEAN", (of, places), name, sizes, {"keepDims": True}, real=True)
        return name

    def combined(code: str, a: str, b: str, word: str, made: Shape) -> str:
        return binary(lowering, code, (a, b), f"{layer.output}:{word}", made, real=True)

    centred = combined("SUB", source, mean(source, "mean"), "centred", shape)
    squares = combined("MUL", centred, centred, "squares", shape)
    variance = mean(squares, "variance")
    raised = combined("ADD", variance, scalar(lowering, layer.epsilon), "raised", sizes)
    factor = f"{layer.output}:factor"
    lowering.write("RSQRT", (raised,), factor, sizes, {}, real=True)
    return combined("MUL", centred, factor, "normalised", shape)


def _in_order(array: FloatArray, order: Order) -> FloatArray:
    return np.ascontiguousarray(array.transpose(order)[None], np.float32)


def lower_power(lowering: GraphLowering, layer: Power) -> None:
    """Write a power: a root by its own operation."""
    value = layer.inputs[0]
    order = lowering.common_order((value,))
    source = lowering.in_order(value, order)
    code = _POWERS.get(layer.exponent)
    if code is not None:
        lowering.emit(layer, code, (source,), {}, order)
    else:
        lowering.emit(layer, "POW", (source, scalar(lowering, layer.exponent)), {}, order)
