"""Layers that only move bytes: what the steps before them did not store in place already."""

from __future__ import annotations

from shufflenet_deploy.export.graph import Activation, Concat, Layer, Shuffle
from shufflenet_deploy.export.native.int8.lowering.placing import (
    NO_PADDING,
    STORED,
    Placing,
    Target,
)
from shufflenet_deploy.export.native.int8.lowering.windows import averaged
from shufflenet_deploy.export.native.int8.program import Place


def shuffle(layer: Shuffle, values: Placing) -> None:
    """The step of a shuffle that no table before it does."""
    to = values.target(layer, Activation.NONE)
    values.look_up(layer.name, values.read(layer), to.place, groups=layer.groups)
    values.finished(layer.name, to)


def concat(layer: Concat, values: Placing) -> None:
    """Parts that are already elsewhere are copied with the scale of the whole."""
    if layer.activation in STORED:
        to = Target(place=values.home(layer.output), value=layer.output)
    else:
        to = values.target(layer, layer.activation)
    for at, value in enumerate(layer.inputs):
        if value in values.places:
            _copy(layer, values.read(layer, at), values.part(to.place, layer, at), values)
    values.finished(layer.name, to)


def _copy(layer: Layer, source: Place, target: Place, values: Placing) -> None:
    """An average over one pixel, if that fits 16 bits: faster than a table."""
    step = averaged(layer, source, target, ((1, 1), (1, 1), NO_PADDING), values)
    if step is None:
        values.look_up(layer.name, source, target)
    else:
        values.emit(step)
