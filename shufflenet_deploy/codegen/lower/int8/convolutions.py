"""Lowering of convolutions, with the addition after them where it is exact, and dense layers."""

from __future__ import annotations

from dataclasses import replace

from shufflenet_deploy.codegen.ir import ops as ir
from shufflenet_deploy.codegen.ir.element_ops import ORIGIN
from shufflenet_deploy.codegen.ir.int8 import PixelView
from shufflenet_deploy.codegen.lower import walks
from shufflenet_deploy.codegen.lower.int8.axes import axis_steps
from shufflenet_deploy.codegen.lower.int8.buffer_assignment import (
    CLAMPED_BY_RANGE,
    NhwcAssigner,
    Target,
)
from shufflenet_deploy.codegen.lower.int8.requantize import (
    QuantizedConv,
    ScaleTooSmallError,
    quantize_conv,
    residual_scale,
)
from shufflenet_deploy.network.graph import Activation, Add, Conv, Dense


def convolution(layer: Conv, assigner: NhwcAssigner) -> None:
    """Lower a convolution, and the addition after it where it can be fused."""
    source = assigner.read_map(layer)
    if 1 < layer.groups == source.channels < layer.weight.shape[0]:
        source = _repeated(layer, source, assigner)
        layer = replace(layer, groups=source.channels)
    if _fuse_addition(layer, source, assigner):
        return
    quick = _is_depthwise(layer)
    to = assigner.target(layer, layer.activation, shuffles=not quick)
    folded, to = assigner.with_requantize_fallback(
        to, lambda view: quantize_conv(assigner.arithmetic, layer, layer.weight, source, view)
    )
    groups = to.groups if to.final is None else 1
    if groups > 1 and layer.groups == 1:
        folded, groups = folded.shuffled(groups), 1
    if quick:
        assigner.emit(
            ir.DepthwiseConvolution(
                name=layer.name,
                sources=(source,),
                target=to.view,
                weight=folded.weight[:, 0],
                bias=folded.bias,
                stride=layer.stride,
                padding=layer.padding,
                dilation=layer.dilation,
                epilogue=folded.requantize(),
            )
        )
    else:
        epilogue = folded.requantize(shuffle=groups)
        assigner.emit(_convolution_op(layer, (source,), to.view, folded, epilogue))
    assigner.emit_epilogue(layer.name, to)


def _repeated(layer: Conv, source: PixelView, assigner: NhwcAssigner) -> PixelView:
    """A copy with each channel as often in a row as a depthwise convolution has outputs of it.

    Depthwise kernels compute one output of each channel, many channels at once.
    """
    times = layer.weight.shape[0] // source.channels
    counts = (source.channels, times, source.height, source.width)
    channel, row, column = axis_steps(counts[1:])
    walk = walks.walk(
        counts,
        (channel, ORIGIN, row, column),
        (walks.times(channel, times), channel, row, column),
    )
    size = (layer.weight.shape[0], source.height, source.width)
    scale, zero_point = source.scale, source.zero_point
    view = assigner.layout.new_buffer(size, scale, zero_point, layer.padding, zero_point)
    assigner.emit_copy(layer.name, source, view, walk)
    if any(view.border):
        assigner.emit(ir.FillPadding(name=layer.name, sources=(view,), target=view))
    return view


def dense(layer: Dense, assigner: NhwcAssigner) -> None:
    """Lower a dense layer as a convolution whose window is the whole map."""
    if len(assigner.graph.shapes[layer.inputs[0]]) != 1:
        raise assigner.unsupported(layer, "a dense layer of something else than a vector")
    source = assigner.views[layer.inputs[0]]
    weight = layer.weight.reshape(-1, source.channels, source.height, source.width)
    window = Conv(
        name=layer.name,
        inputs=layer.inputs,
        output=layer.output,
        weight=weight,
        bias=layer.bias,
        activation=layer.activation,
    )
    if assigner.is_only_output(layer.output) and layer.activation is Activation.NONE:
        folded = quantize_conv(assigner.arithmetic, window, weight, source, None)
        logits = assigner.output_view(assigner.graph.outputs.index(layer.output))
        epilogue = folded.requantize(float_output=True)
        assigner.emit(_convolution_op(window, (source,), logits, folded, epilogue))
        return
    to = assigner.target(layer, layer.activation)
    folded, to = assigner.with_requantize_fallback(
        to, lambda view: quantize_conv(assigner.arithmetic, window, weight, source, view)
    )
    assigner.emit(_convolution_op(window, (source,), to.view, folded, folded.requantize()))
    assigner.emit_epilogue(layer.name, to)


def _is_depthwise(layer: Conv) -> bool:
    """True if a convolution has a depthwise kernel."""
    return layer.depthwise and layer.weight.shape[0] > 1


def _convolution_op(
    layer: Conv,
    sources: tuple[PixelView, ...],
    target: PixelView,
    folded: QuantizedConv,
    epilogue: ir.Requantize,
) -> ir.Int8Convolution:
    return ir.Convolution(
        name=layer.name,
        sources=sources,
        target=target,
        weight=folded.weight,
        bias=folded.bias,
        groups=layer.groups,
        window=ir.StridedWindow(
            stride=layer.stride, padding=layer.padding, dilation=layer.dilation
        ),
        epilogue=epilogue,
    )


def _fuse_addition(layer: Conv, source: PixelView, assigner: NhwcAssigner) -> bool:
    """Fuse the residual addition into a convolution, if possible; True if it was emitted.

    The scale of the sum is chosen so that the residual's is an integer number of its fractions.
    """
    found = assigner.traversal.fusable_add(layer)
    if found is None or layer.activation is not Activation.NONE or _is_depthwise(layer):
        return False
    addition, known = found
    if addition.activation not in CLAMPED_BY_RANGE:
        return False
    other, value = assigner.read(addition, addition.inputs.index(known)), addition.output
    scale, zero_point = assigner.layout.scale(value)
    parts = residual_scale(layer, source, other, scale)
    if parts is None:
        return False
    target = _sum_buffer(layer, source, found, parts.scale, zero_point, assigner)
    try:
        folded = quantize_conv(
            assigner.arithmetic,
            layer,
            layer.weight,
            source,
            target,
            other=other,
            residual=parts.number,
            fraction=parts.shift,
        )
    except ScaleTooSmallError:
        return False
    assigner.traversal.merge(addition)
    assigner.views[value] = target
    epilogue = folded.requantize(residual=parts.number, fraction=parts.shift)
    assigner.emit(_convolution_op(layer, (source, other), target, folded, epilogue))
    assigner.emit_epilogue(layer.name, Target(view=target, value=value))
    return True


def _sum_buffer(
    layer: Conv,
    source: PixelView,
    found: tuple[Add, str],
    scale: float,
    zero_point: int,
    assigner: NhwcAssigner,
) -> PixelView:
    """The view of a sum: over the residual, if that is not read any more."""
    (addition, known), value = found, found[0].output
    other = assigner.views[known]
    here = [name for name, view in assigner.views.items() if view.buffer == other.buffer]
    free = not {*here} & {*assigner.graph.outputs} and all(
        assigner.traversal.is_last_use(assigner.layout.readers(name), layer, addition)
        for name in here
    )
    needed, maxima = assigner.layout.border(value, zero_point)
    whole = other.first == 0 and other.channels + other.overwrite_slack == other.pixel_stride
    if free and whole and needed == other.border and other.buffer != source.buffer:
        fill = assigner.arithmetic.lowest if maxima else zero_point
        return replace(other, scale=scale, zero_point=zero_point, fill=fill)
    return assigner.layout.allocate_with(value, scale, zero_point)
