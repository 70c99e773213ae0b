"""Lowering of operations with two operands: of values with each other, and with constants.

What a constant does to a byte is a table, one for all channels or one for each; other constants are
stored as bytes and combined like a value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from shufflenet_deploy.codegen.ir import element_ops as ir
from shufflenet_deploy.codegen.ir import ops
from shufflenet_deploy.codegen.ir.int8 import PixelView
from shufflenet_deploy.codegen.ir.ops import RequantizeSum
from shufflenet_deploy.codegen.lower import walks
from shufflenet_deploy.codegen.lower.int8 import axes, elementwise, lookup_tables
from shufflenet_deploy.codegen.lower.int8.activation_functions import Float64Array
from shufflenet_deploy.codegen.lower.int8.buffer_assignment import NhwcAssigner
from shufflenet_deploy.codegen.lower.int8.requantize import quantize_multiplier
from shufflenet_deploy.codegen.lower.walks import Shape
from shufflenet_deploy.network.graph import Activation, Arithmetic, ArithmeticKind, FloatArray

_SUMS = (ArithmeticKind.ADD, ArithmeticKind.SUBTRACT)
_CHOICES = (ArithmeticKind.MAXIMUM, ArithmeticKind.MINIMUM)
_INT32_MAX = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class _Operand:
    """A view and the shape of what lies in it."""

    view: PixelView
    shape: Shape


def arithmetic(layer: Arithmetic, assigner: NhwcAssigner) -> None:
    """Lower an operation of two operands."""
    if layer.constant is not None:
        _with_constant(layer, layer.constant, assigner)
        return
    shapes = [assigner.graph.shapes[value] for value in layer.inputs]
    gated = [at for at in (0, 1) if _is_channel_scale(shapes[at], shapes[1 - at])]
    if layer.kind is ArithmeticKind.MULTIPLY and gated:
        by, value = assigner.read(layer, gated[0]), assigner.read(layer, 1 - gated[0])
        to = assigner.target(layer, layer.activation)
        elementwise.scale_channels(layer.name, value, by, Activation.NONE, to, assigner)
        return
    one, two = (
        _Operand(view=assigner.read(layer, at), shape=shape) for at, shape in enumerate(shapes)
    )
    _combine(layer, one, two, assigner)


def _is_channel_scale(shape: Shape, other: Shape) -> bool:
    """True if a value is a factor for each channel of another, a map."""
    return len(shape) == len(other) == 3 and shape[1:] == (1, 1) and shape[0] == other[0]


def _with_constant(layer: Arithmetic, constant: FloatArray, assigner: NhwcAssigner) -> None:
    """Lower an operation with a constant."""
    shape = assigner.graph.shapes[layer.inputs[0]]
    out = assigner.graph.shapes[layer.output]
    source = assigner.read(layer)
    aligned = constant.reshape((1,) * (len(shape) - constant.ndim) + constant.shape)
    tabled = shape == out and (
        aligned.size == 1 or (aligned.size == shape[0] == aligned.shape[0] and len(shape) <= 3)
    )
    if tabled:
        to = assigner.target(layer, layer.activation, shuffles=aligned.size == 1)
        numbers = lookup_tables.real_values(assigner.arithmetic, source)[None]
        by = aligned.reshape(-1, 1).astype(np.float64)
        results = computed(layer.kind, *((by, numbers) if layer.reverse else (numbers, by)))
        tables = lookup_tables.quantized(assigner.arithmetic, results, to.view)
        groups = to.groups if to.final is None else 1
        elementwise.emit_tables(layer.name, source, to.view, tables, assigner, groups)
        assigner.emit_epilogue(layer.name, to)
        return
    value = _Operand(view=source, shape=shape)
    other = _Operand(view=_stored(layer, constant, assigner), shape=constant.shape)
    one, two = (other, value) if layer.reverse else (value, other)
    _combine(layer, one, two, assigner)


def computed(kind: ArithmeticKind, a: Float64Array, b: Float64Array) -> Float64Array:
    """An operation on real numbers; zero by zero is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Float64Array = {
            ArithmeticKind.ADD: np.add,
            ArithmeticKind.SUBTRACT: np.subtract,
            ArithmeticKind.MULTIPLY: np.multiply,
            ArithmeticKind.DIVIDE: np.divide,
            ArithmeticKind.MAXIMUM: np.maximum,
            ArithmeticKind.MINIMUM: np.minimum,
        }[kind](a, b)
    return np.nan_to_num(found, nan=0.0, posinf=np.inf, neginf=-np.inf)


def _stored(layer: Arithmetic, constant: FloatArray, assigner: NhwcAssigner) -> PixelView:
    """A constant as bytes in a buffer, with a scale of its own."""
    scale, zero_point = assigner.layout.byte_scale((float(constant.min()), float(constant.max())))
    size = axes.size_of(constant.shape)
    view = assigner.layout.new_buffer(size, scale, zero_point)
    data = lookup_tables.quantized(assigner.arithmetic, constant.astype(np.float64), view)
    planar = data.reshape(size).transpose(1, 2, 0)
    assigner.emit(ir.StoreConstant(name=layer.name, sources=(view,), target=view, data=planar))
    return view


def _combine(layer: Arithmetic, one: _Operand, two: _Operand, assigner: NhwcAssigner) -> None:
    """Lower an operation of two values."""
    out = assigner.graph.shapes[layer.output]
    sources = (one.view, two.view)
    to = assigner.target(layer, layer.activation)
    if layer.kind in _SUMS and one.shape == two.shape == out:
        sign = -1 if layer.kind is ArithmeticKind.SUBTRACT else 1
        found, to = assigner.with_requantize_fallback(
            to, lambda view: lookup_tables.add_constants(layer.name, *sources, view, sign)
        )
        assigner.emit(ops.Add(name=layer.name, sources=sources, target=to.view, epilogue=found))
        assigner.emit_epilogue(layer.name, to)
        return
    steps = (walks.broadcast(axes.axis_steps(of), of, out) for of in (one.shape, two.shape))
    epilogue, to = assigner.with_requantize_fallback(
        to, lambda view: _epilogue(layer, sources, view, assigner)
    )
    op = ir.Arithmetic(
        name=layer.name,
        sources=sources,
        target=to.view,
        kind=layer.kind,
        walk=walks.walk(out, *steps, axes.axis_steps(out)),
        epilogue=epilogue,
    )
    assigner.emit(op)
    assigner.emit_epilogue(layer.name, to)


def _epilogue(
    layer: Arithmetic, sources: tuple[PixelView, PixelView], view: PixelView, assigner: NhwcAssigner
) -> RequantizeSum | ir.RequantizeProduct | ir.RequantizeQuotient:
    """Constants of an operation into the scale of a view.

    Raises:
        ScaleTooSmallError: that scale is smaller than that of a product, or much smaller than those
            of the operands.
    """
    one, two = sources
    if layer.kind is ArithmeticKind.MULTIPLY:
        ratio = np.array([one.scale * two.scale / view.scale])
        multiplier, shift = quantize_multiplier(layer.name, assigner.arithmetic, ratio)
        return ir.RequantizeProduct(multiplier=multiplier, shift=shift)
    if layer.kind is ArithmeticKind.DIVIDE:
        exact = math.ldexp(one.scale / (two.scale * view.scale), ir.QUOTIENT_BITS)
        return ir.RequantizeQuotient(factor=min(_INT32_MAX, round(exact)))
    if layer.kind in _CHOICES:
        return lookup_tables.choice_constants(layer.name, one, two, view)
    sign = -1 if layer.kind is ArithmeticKind.SUBTRACT else 1
    return lookup_tables.add_constants(layer.name, one, two, view, sign)
