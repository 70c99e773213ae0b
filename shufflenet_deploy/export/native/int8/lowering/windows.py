"""Layers that look at one channel after the other: maxima and averages."""

from __future__ import annotations

from dataclasses import replace

from shufflenet_deploy.export.graph import (
    Activation,
    AdaptiveAveragePool,
    Layer,
    Pair,
    Pool,
    PoolKind,
)
from shufflenet_deploy.export.native.int8 import program as steps
from shufflenet_deploy.export.native.int8 import tables
from shufflenet_deploy.export.native.int8.folding import average, mean
from shufflenet_deploy.export.native.int8.lowering.placing import Placing, Target
from shufflenet_deploy.export.native.int8.program import Padding, Place, Step

#: Kernel, stride and padding.
Window = tuple[Pair, Pair, Padding]


def pool(layer: Pool, values: Placing) -> None:
    """The steps of a pool."""
    source = values.read(layer)
    if layer.kind is PoolKind.MAX:
        _maximum(layer, source, values)
        return
    to = values.target(layer, layer.activation)
    kernel, stride, padding = window = layer.kernel, layer.stride, layer.padding
    if layer.count_padding or not any(layer.padding):
        step = averaged(layer, source, to.place, window, values)
        if step is not None:
            values.emit(step)
            values.finished(layer.name, to)
            return
    rows = tables.inside(source.height, to.place.height, kernel[0], stride[0], padding[0])
    columns = tables.inside(source.width, to.place.width, kernel[1], stride[1], padding[1])
    divisor = kernel[0] * kernel[1] if layer.count_padding else None
    _areas(layer, to, (rows, columns), divisor, values)


def adaptive(layer: AdaptiveAveragePool, values: Placing) -> None:
    """The step of a pool that makes a map of a given size."""
    source = values.read(layer)
    if layer.size != (1, 1):
        height, width = layer.size
        ends = tables.parts(source.height, height), tables.parts(source.width, width)
        _areas(layer, values.target(layer, Activation.NONE), ends, None, values)
        return
    # Whole vectors are stored, so that it is never part of something else.
    to = Target(place=values.home(layer.output), value=layer.output)
    (start, factor, shift), to = values.fitted(
        to, lambda place: mean(layer.name, values.numbers, source, place)
    )
    values.emit(
        steps.Mean(
            name=layer.name,
            sources=(source,),
            target=to.place,
            start=start,
            factor=factor,
            shift=shift,
        )
    )
    values.finished(layer.name, to)


def averaged(
    layer: Layer, source: Place, target: Place, window: Window, values: Placing
) -> Step | None:
    """The step of averages over windows, if their sums fit 16 bits."""
    kernel, stride, padding = window
    found = average(values.numbers, source, target, kernel[0] * kernel[1])
    if found is None:
        return None
    start, factor, up = found
    return steps.Average(
        name=layer.name, sources=(source,), target=target, kernel=kernel, stride=stride,
        padding=padding, start=start, factor=factor, up=up,
    )  # fmt: skip


def _areas(
    layer: Layer,
    to: Target,
    ends: tuple[tables.Ends, tables.Ends],
    divisor: int | None,
    values: Placing,
) -> None:
    """Averages over areas of any size, which ``ends`` are of rows and columns."""
    source, (rows, columns) = values.read(layer), ends
    found, to = values.fitted(
        to,
        lambda place: tables.areas(
            layer.name, values.numbers, source, place, rows, columns, divisor
        ),
    )
    values.emit(
        steps.Areas(
            name=layer.name, sources=(source,), target=to.place, rows=rows, columns=columns,
            start=found.start, factor=found.factor, shift=found.shift,
        )
    )  # fmt: skip
    values.finished(layer.name, to)


def _maximum(layer: Pool, source: Place, values: Placing) -> None:
    """A maximum keeps the scale of what it reads."""
    lowest = values.numbers.lowest
    if any(layer.padding) and source.fill != lowest:
        source = _copied(layer, source, values)
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
        steps.Maximum(
            name=layer.name,
            sources=(source,),
            target=to.place,
            kernel=layer.kernel,
            stride=layer.stride,
            padding=layer.padding,
        )
    )
    values.finished(layer.name, to)


def _copied(layer: Pool, source: Place, values: Placing) -> Place:
    """A value once more, with the border that a maximum needs."""
    size = (source.channels, source.height, source.width)
    place = values.memory(size, source.scale, source.zero, layer.padding, values.numbers.lowest)
    values.look_up(layer.name, source, place)
    values.emit(steps.Border(name=layer.name, sources=(place,), target=place))
    return place
