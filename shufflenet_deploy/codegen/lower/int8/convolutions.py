"""Sums of products: convolutions, with the sum behind them where it is exact, and dense layers."""

from __future__ import annotations

from dataclasses import replace

from shufflenet_deploy.codegen.ir import int8 as ir
from shufflenet_deploy.codegen.ir.int8 import PixelView
from shufflenet_deploy.codegen.lower.int8.buffer_assignment import (
    CLAMPED_BY_RANGE,
    BufferAssigner,
    Target,
)
from shufflenet_deploy.codegen.lower.int8.requantize import (
    QuantizedConv,
    ScaleTooSmallError,
    quantize_conv,
    residual_scale,
)
from shufflenet_deploy.network.graph import Activation, Add, Conv, Dense


def convolution(layer: Conv, values: BufferAssigner) -> None:
    """The step of a convolution, and of the sum behind it where it can add."""
    source = values.read(layer)
    if _fuse_addition(layer, source, values):
        return
    quick = _has_depthwise_kernel(layer)
    to = values.target(layer, layer.activation, shuffles=not quick)
    folded, to = values.fitted(
        to, lambda place: quantize_conv(values.numbers, layer, layer.weight, source, place)
    )
    groups = to.groups if to.final is None else 1
    if groups > 1 and layer.groups == 1:
        folded, groups = folded.shuffled(groups), 1
    if quick:
        values.emit(
            ir.DepthwiseConvolution(
                name=layer.name,
                sources=(source,),
                target=to.place,
                weight=folded.weight[:, 0],
                bias=folded.bias,
                factor=folded.factor,
                stride=layer.stride[0],
                padding=layer.padding,
                shift=folded.shift,
            )
        )
    else:
        step = _convolution_op(layer, (source,), to.place, folded)
        values.emit(replace(step, shuffle=groups))
    values.finished(layer.name, to)


def dense(layer: Dense, values: BufferAssigner) -> None:
    """A convolution whose window is the whole map, as flattening orders it."""
    source = values.places[layer.inputs[0]]
    weight = layer.weight.reshape(-1, source.channels, source.height, source.width)
    window = Conv(
        name=layer.name, inputs=layer.inputs, output=layer.output, weight=weight,
        bias=layer.bias, activation=layer.activation,
    )  # fmt: skip
    if layer.output == values.graph.output and layer.activation is Activation.NONE:
        folded = quantize_conv(values.numbers, window, weight, source, None)
        step = _convolution_op(window, (source,), values.scores(), folded)
        values.emit(replace(step, real=True))
        return
    to = values.target(layer, layer.activation)
    folded, to = values.fitted(
        to, lambda place: quantize_conv(values.numbers, window, weight, source, place)
    )
    values.emit(_convolution_op(window, (source,), to.place, folded))
    values.finished(layer.name, to)


def _has_depthwise_kernel(layer: Conv) -> bool:
    """Whether there are kernels for a depthwise convolution."""
    quick = layer.weight.shape[2:] == (3, 3) and layer.stride in {(1, 1), (2, 2)}
    return layer.depthwise and layer.weight.shape[0] > 1 and quick


def _convolution_op(
    layer: Conv, sources: tuple[PixelView, ...], target: PixelView, folded: QuantizedConv
) -> ir.Convolution:
    return ir.Convolution(
        name=layer.name,
        sources=sources,
        target=target,
        weight=folded.weight,
        bias=folded.bias,
        factor=folded.factor,
        groups=layer.groups,
        stride=layer.stride,
        padding=layer.padding,
        shift=folded.shift,
    )


def _fuse_addition(layer: Conv, source: PixelView, values: BufferAssigner) -> bool:
    """Whether a layer's step does the sum behind it, too; it is emitted then.

    The scale of the sum is such that the other's is a whole number of its fractions.
    """
    found = values.walk.addition(layer)
    if found is None or layer.activation is not Activation.NONE or _has_depthwise_kernel(layer):
        return False
    addition, known = found
    if addition.activation not in CLAMPED_BY_RANGE:
        return False
    other, value = values.read(addition, addition.inputs.index(known)), addition.output
    scale, zero = values.scale(value)
    parts = residual_scale(layer, source, other, scale)
    if parts is None:
        return False
    target = _sum_buffer(layer, source, found, parts.scale, zero, values)
    try:
        folded = quantize_conv(
            values.numbers, layer, layer.weight, source, target,
            other=other, residual=parts.number, fraction=parts.power,
        )  # fmt: skip
    except ScaleTooSmallError:
        return False
    values.walk.merge(addition)
    values.places[value] = target
    step = _convolution_op(layer, (source, other), target, folded)
    values.emit(replace(step, residual=parts.number, fraction=parts.power))
    values.finished(layer.name, Target(place=target, value=value))
    return True


def _sum_buffer(
    layer: Conv,
    source: PixelView,
    found: tuple[Add, str],
    scale: float,
    zero: int,
    values: BufferAssigner,
) -> PixelView:
    """Where a sum goes: over the known value, if that is not needed any more."""
    (addition, known), value = found, found[0].output
    other = values.places[known]
    here = [name for name, place in values.places.items() if place.buffer == other.buffer]
    free = values.graph.output not in here and all(
        values.walk.is_past(values.readers(name), layer, addition) for name in here
    )
    needed, maxima = values.border(value, zero)
    whole = other.first == 0 and other.channels + other.room == other.pixel
    if free and whole and needed == other.border and other.buffer != source.buffer:
        fill = values.numbers.lowest if maxima else zero
        return replace(other, scale=scale, zero=zero, fill=fill)
    return values.place(value, scale, zero)
