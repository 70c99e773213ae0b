"""Lowering of additions, channel scales and local response normalization."""

from __future__ import annotations

from shufflenet_deploy.codegen.ir import ops as ir
from shufflenet_deploy.codegen.lower.fp.buffer_assignment import PlanarAssigner, split_activation
from shufflenet_deploy.network.graph import Activation, Add, LocalResponseNorm, Multiply


def add(layer: Add, assigner: PlanarAssigner) -> None:
    """Lower an addition that no op before it fused."""
    target, activation = assigner.target(layer.output, layer.activation)
    own, left = split_activation(activation)
    sources = tuple(assigner.read(value) for value in layer.inputs)
    assigner.emit(ir.Add(name=layer.name, sources=sources, target=target, epilogue=own))
    assigner.emit_epilogue(layer.name, target, target, left)


def multiply(layer: Multiply, assigner: PlanarAssigner) -> None:
    """Lower a channel scale, whichever input is the scale."""
    one, two = layer.inputs
    shapes = assigner.graph.shapes
    if shapes[one][1:] == (1, 1) != shapes[two][1:]:
        one, two = two, one
    value, scale = assigner.read(one), assigner.read(two)
    target, added, activation = assigner.with_fused_addition(layer, value)
    own, left = split_activation(activation)
    assigner.emit(
        ir.ChannelScale(
            name=layer.name, sources=(value, scale, *added), target=target, epilogue=own
        )
    )
    assigner.emit_epilogue(layer.name, target, target, left)


def local_response_norm(layer: LocalResponseNorm, assigner: PlanarAssigner) -> None:
    """Lower a local response normalization."""
    source = assigner.read(layer.inputs[0])
    target, activation = assigner.target(layer.output, Activation.NONE)
    assigner.emit(
        ir.LocalResponseNorm(
            name=layer.name,
            sources=(source,),
            target=target,
            size=layer.size,
            alpha=layer.alpha,
            beta=layer.beta,
            k=layer.k,
            epilogue=None,
        )
    )
    assigner.emit_epilogue(layer.name, target, target, activation)
