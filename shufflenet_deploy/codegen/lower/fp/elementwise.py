"""Layers that compute each number from those of the same pixel: sums, gates, normalisation."""

from __future__ import annotations

from shufflenet_deploy.codegen.ir import planar as ir
from shufflenet_deploy.codegen.lower.fp.buffer_assignment import BufferAssigner, split_activation
from shufflenet_deploy.network.graph import Activation, Add, LocalResponseNorm, Multiply


def add(layer: Add, values: BufferAssigner) -> None:
    """The step of a sum that no step before it does."""
    target, activation = values.target(layer.output, layer.activation)
    own, left = split_activation(activation)
    sources = tuple(values.read(value) for value in layer.inputs)
    values.emit(ir.Add(name=layer.name, sources=sources, target=target, activation=own))
    values.finish(layer.name, target, target, left)


def multiply(layer: Multiply, values: BufferAssigner) -> None:
    """The step of a gate, whichever input that is."""
    one, two = layer.inputs
    shapes = values.graph.shapes
    if shapes[one][1:] == (1, 1) != shapes[two][1:]:
        one, two = two, one
    value, gate = values.read(one), values.read(two)
    target, added, activation = values.summed(layer, value)
    own, left = split_activation(activation)
    values.emit(
        ir.ChannelScale(
            name=layer.name, sources=(value, gate, *added), target=target, activation=own
        )
    )
    values.finish(layer.name, target, target, left)


def local_response_norm(layer: LocalResponseNorm, values: BufferAssigner) -> None:
    """The step of a normalisation across channels."""
    source = values.read(layer.inputs[0])
    target, activation = values.target(layer.output, Activation.NONE)
    values.emit(
        ir.LocalResponseNorm(
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
