"""Layers that only move numbers: what the steps before them did not store in place already."""

from __future__ import annotations

from shufflenet_deploy.codegen.ir.planar import BufferView, Copy
from shufflenet_deploy.codegen.lower.fp.buffer_assignment import (
    BufferAssigner,
    is_identity,
    shuffle_order,
)
from shufflenet_deploy.network.graph import (
    Activation,
    AdaptiveAveragePool,
    Concat,
    Elementwise,
    Flatten,
    Shuffle,
)


def move(
    layer: Shuffle | Concat | Elementwise | Flatten | AdaptiveAveragePool, values: BufferAssigner
) -> None:
    """The copies that a layer still needs."""
    if all(value in values.stored for value in layer.inputs):
        return
    if isinstance(layer, Flatten) and not is_identity(layer, values.graph):
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
                where = shuffle_order(channels, layer.groups)
            part = BufferView(
                buffer=target.buffer,
                layout=target.layout,
                planes=tuple(target.planes[first + at] for at in where),
            )
            source = values.places[value]
            values.emit(
                Copy(name=layer.name, sources=(source,), target=part, activation=activation)
            )
        first += channels
