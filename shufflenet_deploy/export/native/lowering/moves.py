"""Layers that only move numbers: what the steps before them did not store in place already."""

from __future__ import annotations

from shufflenet_deploy.export.graph import (
    Activation,
    AdaptiveAveragePool,
    Concat,
    Elementwise,
    Flatten,
    Shuffle,
)
from shufflenet_deploy.export.native.lowering.placing import Placing, shuffled, unchanged
from shufflenet_deploy.export.native.program import Copy, Place


def move(
    layer: Shuffle | Concat | Elementwise | Flatten | AdaptiveAveragePool, values: Placing
) -> None:
    """The copies that a layer still needs."""
    if all(value in values.stored for value in layer.inputs):
        return
    if isinstance(layer, Flatten) and not unchanged(layer, values.graph):
        flat = values.places[layer.output] = values.flat(layer)
        target, activation = values.target(layer.output, Activation.NONE)
        values.finish(layer.name, flat, target, activation)
        return
    own = layer.activation if isinstance(layer, Concat | Elementwise) else Activation.NONE
    target, activation = values.target(layer.output, own)
    first = 0
    for value in layer.inputs:
        channels = values.graph.shapes[value][0]
        if value not in values.stored:
            where = tuple(range(channels))
            if isinstance(layer, Shuffle):
                where = shuffled(channels, layer.groups)
            part = Place(
                buffer=target.buffer,
                layout=target.layout,
                planes=tuple(target.planes[first + at] for at in where),
            )
            source = values.places[value]
            values.emit(
                Copy(name=layer.name, sources=(source,), target=part, activation=activation)
            )
        first += channels
