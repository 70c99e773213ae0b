"""Layers that only move bytes: what the steps before them did not store in place already."""

from __future__ import annotations

from shufflenet_deploy.codegen.ir.int8 import PixelView
from shufflenet_deploy.codegen.lower.int8.buffer_assignment import (
    CLAMPED_BY_RANGE,
    NO_PADDING,
    BufferAssigner,
    Target,
)
from shufflenet_deploy.codegen.lower.int8.pooling import average_pool
from shufflenet_deploy.network.graph import Activation, Concat, Layer, Shuffle


def shuffle(layer: Shuffle, values: BufferAssigner) -> None:
    """The step of a shuffle that no table before it does."""
    to = values.target(layer, Activation.NONE)
    values.look_up(layer.name, values.read(layer), to.place, groups=layer.groups)
    values.finished(layer.name, to)


def concat(layer: Concat, values: BufferAssigner) -> None:
    """Parts that are already elsewhere are copied with the scale of the whole."""
    if layer.activation in CLAMPED_BY_RANGE:
        to = Target(place=values.home(layer.output), value=layer.output)
    else:
        to = values.target(layer, layer.activation)
    for at, value in enumerate(layer.inputs):
        if value in values.places:
            _copy(layer, values.read(layer, at), values.part(to.place, layer, at), values)
    values.finished(layer.name, to)


def _copy(layer: Layer, source: PixelView, target: PixelView, values: BufferAssigner) -> None:
    """An average over one pixel, if that fits 16 bits: faster than a table."""
    step = average_pool(layer, source, target, ((1, 1), (1, 1), NO_PADDING), values)
    if step is None:
        values.look_up(layer.name, source, target)
    else:
        values.emit(step)
