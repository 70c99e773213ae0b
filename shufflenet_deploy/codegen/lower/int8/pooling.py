"""Lowering of max, average and adaptive pools."""

from __future__ import annotations

from dataclasses import replace

from shufflenet_deploy.codegen.ir import ops as ir
from shufflenet_deploy.codegen.ir.int8 import Padding, PixelView
from shufflenet_deploy.codegen.ir.op import Op
from shufflenet_deploy.codegen.lower.int8 import lookup_tables
from shufflenet_deploy.codegen.lower.int8.buffer_assignment import NhwcAssigner, Target
from shufflenet_deploy.codegen.lower.int8.requantize import average_constants, mean_constants
from shufflenet_deploy.network.graph import (
    Activation,
    AdaptiveAveragePool,
    Layer,
    Pair,
    Pool,
    PoolKind,
)

#: Kernel, stride and padding.
WindowSpec = tuple[Pair, Pair, Padding]


def pool(layer: Pool, assigner: NhwcAssigner) -> None:
    """Lower a pool."""
    source = assigner.read_map(layer)
    if layer.kind is PoolKind.MAX:
        _max_pool(layer, source, assigner)
        return
    to = assigner.target(layer, layer.activation)
    kernel, stride, padding = window = layer.kernel, layer.stride, layer.padding
    if layer.count_padding or not any(layer.padding):
        op = average_pool(layer, source, to.view, window, assigner)
        if op is not None:
            assigner.emit(op)
            assigner.emit_epilogue(layer.name, to)
            return
    rows = lookup_tables.clipped_ranges(
        source.height, to.view.height, kernel[0], stride[0], padding[0]
    )
    columns = lookup_tables.clipped_ranges(
        source.width, to.view.width, kernel[1], stride[1], padding[1]
    )
    divisor = kernel[0] * kernel[1] if layer.count_padding else None
    _adaptive_areas(layer, to, (rows, columns), divisor, assigner)


def adaptive_pool(layer: AdaptiveAveragePool, assigner: NhwcAssigner) -> None:
    """Lower a pool that makes a map of a given size."""
    if assigner.layout.unchanged(layer):
        assigner.views[layer.output] = assigner.read(layer)
        return
    source = assigner.read_map(layer)
    if layer.size != (1, 1):
        height, width = layer.size
        ends = (
            lookup_tables.adaptive_ranges(source.height, height),
            lookup_tables.adaptive_ranges(source.width, width),
        )
        _adaptive_areas(layer, assigner.target(layer, Activation.NONE), ends, None, assigner)
        return
    global_average_pool(layer, source, assigner)


def global_average_pool(layer: Layer, source: PixelView, assigner: NhwcAssigner) -> None:
    """Lower the mean of each channel."""
    # Whole vectors are stored, so that it is never part of something else.
    to = Target(view=assigner.buffer_of(layer.output), value=layer.output)
    epilogue, to = assigner.with_requantize_fallback(
        to, lambda view: mean_constants(layer.name, assigner.arithmetic, source, view)
    )
    assigner.emit(
        ir.GlobalAveragePool(
            name=layer.name,
            sources=(source,),
            target=to.view,
            epilogue=epilogue,
        )
    )
    assigner.emit_epilogue(layer.name, to)


def average_pool(
    layer: Layer, source: PixelView, target: PixelView, window: WindowSpec, assigner: NhwcAssigner
) -> Op[PixelView] | None:
    """An average pool, if its sums fit 16 bits."""
    kernel, stride, padding = window
    found = average_constants(assigner.arithmetic, source, target, kernel[0] * kernel[1])
    if found is None:
        return None
    start, multiplier, up = found
    return ir.AveragePool(
        name=layer.name,
        sources=(source,),
        target=target,
        kernel=kernel,
        stride=stride,
        padding=padding,
        start=start,
        multiplier=multiplier,
        left_shift=up,
    )


def _adaptive_areas(
    layer: Layer,
    to: Target,
    ends: tuple[lookup_tables.Ranges1d, lookup_tables.Ranges1d],
    divisor: int | None,
    assigner: NhwcAssigner,
) -> None:
    """Lower averages over areas of any size, the products of ranges of rows and of columns."""
    source, (rows, columns) = assigner.read(layer), ends
    found, to = assigner.with_requantize_fallback(
        to,
        lambda view: lookup_tables.area_constants(
            layer.name, assigner.arithmetic, source, view, rows, columns, divisor
        ),
    )
    assigner.emit(
        ir.AdaptivePool(
            name=layer.name,
            sources=(source,),
            target=to.view,
            epilogue=found,
        )
    )
    assigner.emit_epilogue(layer.name, to)


def _max_pool(layer: Pool, source: PixelView, assigner: NhwcAssigner) -> None:
    """Lower a max pool, which keeps the scale of its input."""
    lowest = assigner.arithmetic.lowest
    if any(layer.padding) and source.fill != lowest:
        source = _copy_with_padding(layer, source, assigner)
    plain = layer.activation is Activation.NONE or (
        layer.activation is Activation.RELU and source.zero_point == lowest
    )
    if plain:
        view = assigner.layout.allocate_with(layer.output, source.scale, source.zero_point)
        assigner.views[layer.output] = view
        to = Target(view=view, value=layer.output)
    else:
        to = assigner.target(layer, Activation.NONE)
        view = assigner.layout.new_buffer(
            assigner.layout.size(layer.output), source.scale, source.zero_point
        )
        to = replace(to.via(view), activation=layer.activation)
    assigner.emit(
        ir.MaxPool(
            name=layer.name,
            sources=(source,),
            target=to.view,
            kernel=layer.kernel,
            stride=layer.stride,
            padding=layer.padding,
        )
    )
    assigner.emit_epilogue(layer.name, to)


def _copy_with_padding(layer: Pool, source: PixelView, assigner: NhwcAssigner) -> PixelView:
    """Copy a value into a buffer with the border that a max pool needs."""
    size = (source.channels, source.height, source.width)
    view = assigner.layout.new_buffer(
        size, source.scale, source.zero_point, layer.padding, assigner.arithmetic.lowest
    )
    assigner.emit_lookup_table(layer.name, source, view)
    assigner.emit(ir.FillPadding(name=layer.name, sources=(view,), target=view))
    return view
