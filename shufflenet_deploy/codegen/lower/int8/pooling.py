"""Layers that look at one channel after the other: maxima and averages."""

from __future__ import annotations

from dataclasses import replace

from shufflenet_deploy.codegen.ir import int8 as ir
from shufflenet_deploy.codegen.ir.int8 import Padding, PixelOp, PixelView
from shufflenet_deploy.codegen.lower.int8 import lookup_tables
from shufflenet_deploy.codegen.lower.int8.buffer_assignment import BufferAssigner, Target
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


def pool(layer: Pool, values: BufferAssigner) -> None:
    """The steps of a pool."""
    source = values.read(layer)
    if layer.kind is PoolKind.MAX:
        _max_pool(layer, source, values)
        return
    to = values.target(layer, layer.activation)
    kernel, stride, padding = window = layer.kernel, layer.stride, layer.padding
    if layer.count_padding or not any(layer.padding):
        step = average_pool(layer, source, to.place, window, values)
        if step is not None:
            values.emit(step)
            values.finished(layer.name, to)
            return
    rows = lookup_tables.clipped_ranges(
        source.height, to.place.height, kernel[0], stride[0], padding[0]
    )
    columns = lookup_tables.clipped_ranges(
        source.width, to.place.width, kernel[1], stride[1], padding[1]
    )
    divisor = kernel[0] * kernel[1] if layer.count_padding else None
    _adaptive_areas(layer, to, (rows, columns), divisor, values)


def adaptive_pool(layer: AdaptiveAveragePool, values: BufferAssigner) -> None:
    """The step of a pool that makes a map of a given size."""
    source = values.read(layer)
    if layer.size != (1, 1):
        height, width = layer.size
        ends = (
            lookup_tables.adaptive_ranges(source.height, height),
            lookup_tables.adaptive_ranges(source.width, width),
        )
        _adaptive_areas(layer, values.target(layer, Activation.NONE), ends, None, values)
        return
    # Whole vectors are stored, so that it is never part of something else.
    to = Target(place=values.home(layer.output), value=layer.output)
    (start, factor, shift), to = values.fitted(
        to, lambda place: mean_constants(layer.name, values.numbers, source, place)
    )
    values.emit(
        ir.GlobalAveragePool(
            name=layer.name,
            sources=(source,),
            target=to.place,
            start=start,
            factor=factor,
            shift=shift,
        )
    )
    values.finished(layer.name, to)


def average_pool(
    layer: Layer, source: PixelView, target: PixelView, window: WindowSpec, values: BufferAssigner
) -> PixelOp | None:
    """The step of averages over windows, if their sums fit 16 bits."""
    kernel, stride, padding = window
    found = average_constants(values.numbers, source, target, kernel[0] * kernel[1])
    if found is None:
        return None
    start, factor, up = found
    return ir.AveragePool(
        name=layer.name, sources=(source,), target=target, kernel=kernel, stride=stride,
        padding=padding, start=start, factor=factor, up=up,
    )  # fmt: skip


def _adaptive_areas(
    layer: Layer,
    to: Target,
    ends: tuple[lookup_tables.Ranges1d, lookup_tables.Ranges1d],
    divisor: int | None,
    values: BufferAssigner,
) -> None:
    """Averages over areas of any size, which ``ends`` are of rows and columns."""
    source, (rows, columns) = values.read(layer), ends
    found, to = values.fitted(
        to,
        lambda place: lookup_tables.area_constants(
            layer.name, values.numbers, source, place, rows, columns, divisor
        ),
    )
    values.emit(
        ir.AdaptivePool(
            name=layer.name, sources=(source,), target=to.place, rows=rows, columns=columns,
            start=found.start, factor=found.factor, shift=found.shift,
        )
    )  # fmt: skip
    values.finished(layer.name, to)


def _max_pool(layer: Pool, source: PixelView, values: BufferAssigner) -> None:
    """A maximum keeps the scale of what it reads."""
    lowest = values.numbers.lowest
    if any(layer.padding) and source.fill != lowest:
        source = _copy_with_padding(layer, source, values)
    plain = layer.activation is Activation.NONE or (
        layer.activation is Activation.RELU and source.zero == lowest
    )
    if plain:
        place = values.place(layer.output, source.scale, source.zero)
        values.places[layer.output] = place
        to = Target(place=place, value=layer.output)
    else:
        to = values.target(layer, Activation.NONE)
        place = values.memory(values.size(layer.output), source.scale, source.zero)
        to = replace(to.coarser(place), activation=layer.activation)
    values.emit(
        ir.MaxPool(
            name=layer.name,
            sources=(source,),
            target=to.place,
            kernel=layer.kernel,
            stride=layer.stride,
            padding=layer.padding,
        )
    )
    values.finished(layer.name, to)


def _copy_with_padding(layer: Pool, source: PixelView, values: BufferAssigner) -> PixelView:
    """A value once more, with the border that a maximum needs."""
    size = (source.channels, source.height, source.width)
    place = values.memory(size, source.scale, source.zero, layer.padding, values.numbers.lowest)
    values.look_up(layer.name, source, place)
    values.emit(ir.FillPadding(name=layer.name, sources=(place,), target=place))
    return place
