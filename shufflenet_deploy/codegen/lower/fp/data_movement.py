"""Lowering of layers that only move elements: the copies that fusion left over."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from shufflenet_deploy.codegen.ir.element_ops import Apply, Move
from shufflenet_deploy.codegen.ir.ops import Copy
from shufflenet_deploy.codegen.lower import walks
from shufflenet_deploy.codegen.lower.fp.buffer_assignment import (
    COPIED,
    PlanarAssigner,
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


def shuffle(layer: Shuffle, assigner: PlanarAssigner) -> None:
    """Lower a channel shuffle: copies of planes that nobody stored in place.

    The channels of what is neither a map nor a vector are two axes, which are exchanged.
    """
    value = layer.inputs[0]
    channels, *others = assigner.graph.shapes[value]
    if len(others) in {0, 2}:
        move(layer, assigner)
        return
    groups, each, inside = layer.groups, channels // layer.groups, prod(others)
    counts = (each, groups, inside)
    from_, to = (
        tuple(walks.times(walks.COLUMN, step) for step in steps)
        for steps in ((inside, each * inside, 1), (groups * inside, inside, 1))
    )
    assigner.emit(
        Move(
            name=layer.name,
            sources=(assigner.read(value),),
            target=assigner.buffer_of(layer.output),
            walk=walks.walk(counts, from_, to),
            epilogue=None,
        )
    )


def move(
    layer: Shuffle | Concat | Elementwise | Flatten | AdaptiveAveragePool, assigner: PlanarAssigner
) -> None:
    """Emit the copies that a layer still needs."""
    if all(value in assigner.stored for value in layer.inputs):
        return
    if isinstance(layer, Flatten) and not is_identity(layer, assigner.graph):
        flat = assigner.views[layer.output] = assigner.flattened(layer)
        target, activation = assigner.target(layer.output, Activation.NONE)
        assigner.emit_epilogue(layer.name, flat, target, activation)
        return
    own = layer.activation if isinstance(layer, Concat | Elementwise) else Activation.NONE
    target, activation = assigner.target(layer.output, own)
    first = 0
    for value in layer.inputs:
        channels = assigner.plane_count(value)
        if value not in assigner.stored:
            where = tuple(range(channels))
            if isinstance(layer, Shuffle):
                where = shuffle_order(channels, layer.groups)
            part = replace(target, planes=tuple(target.planes[first + at] for at in where))
            if activation in COPIED:
                source = assigner.views[value]
                assigner.emit(
                    Copy(name=layer.name, sources=(source,), target=part, activation=activation)
                )
            else:
                source = assigner.read(value)
                assigner.emit(
                    Apply(name=layer.name, sources=(source,), target=part, function=activation)
                )
        first += channels
