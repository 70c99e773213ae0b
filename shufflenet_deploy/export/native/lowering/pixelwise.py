"""Layers that compute each number from those of the same pixel: sums, gates, normalisation."""

from __future__ import annotations

from shufflenet_deploy.export.graph import Activation, Add, LocalResponseNorm, Multiply
from shufflenet_deploy.export.native import program as steps
from shufflenet_deploy.export.native.lowering.placing import Placing, divided


def add(layer: Add, values: Placing) -> None:
    """The step of a sum that no step before it does."""
    target, activation = values.target(layer.output, layer.activation)
    own, left = divided(activation)
    sources = tuple(values.read(value) for value in layer.inputs)
    values.emit(steps.Sum(name=layer.name, sources=sources, target=target, activation=own))
    values.finish(layer.name, target, target, left)


def multiply(layer: Multiply, values: Placing) -> None:
    """The step of a gate, whichever input that is."""
    one, two = layer.inputs
    shapes = values.graph.shapes
    if shapes[one][1:] == (1, 1) != shapes[two][1:]:
        one, two = two, one
    value, gate = values.read(one), values.read(two)
    target, added, activation = values.summed(layer, value)
    own, left = divided(activation)
    values.emit(
        steps.Gate(name=layer.name, sources=(value, gate, *added), target=target, activation=own)
    )
    values.finish(layer.name, target, target, left)


def normalise(layer: LocalResponseNorm, values: Placing) -> None:
    """The step of a normalisation across channels."""
    source = values.read(layer.inputs[0])
    target, activation = values.target(layer.output, Activation.NONE)
    values.emit(
        steps.Normalise(
            name=layer.name,
            sources=(source,),
            target=target,
            size=layer.size,
            alpha=layer.alpha,
            beta=layer.beta,
            k=layer.k,
        )
    )
    values.finish(layer.name, target, target, activation)
