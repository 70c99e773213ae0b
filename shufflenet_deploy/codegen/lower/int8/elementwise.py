"""Lowering of additions, channel scales, local response normalization and activations."""

from __future__ import annotations

from shufflenet_deploy.codegen.ir import ops as ir
from shufflenet_deploy.codegen.lower.int8 import lookup_tables
from shufflenet_deploy.codegen.lower.int8.buffer_assignment import NhwcAssigner
from shufflenet_deploy.network.graph import (
    Activation,
    Add,
    Elementwise,
    LocalResponseNorm,
    Multiply,
)


def add(layer: Add, assigner: NhwcAssigner) -> None:
    """Lower an addition that no convolution fused."""
    one, two = assigner.read(layer), assigner.read(layer, 1)
    found, to = assigner.with_requantize_fallback(
        assigner.target(layer, layer.activation),
        lambda view: lookup_tables.add_constants(layer.name, one, two, view),
    )
    assigner.emit(
        ir.Add(
            name=layer.name,
            sources=(one, two),
            target=to.view,
            epilogue=found,
        )
    )
    assigner.emit_epilogue(layer.name, to)


def multiply(layer: Multiply, assigner: NhwcAssigner) -> None:
    """Lower a channel scale, with its activation folded into the table of factors."""
    value, name = assigner.read(layer), layer.inputs[1]
    if name in assigner.folded_activations:
        by, activation = assigner.folded_activations[name]
    else:
        by, activation = assigner.read(layer, 1), Activation.NONE
    if (by.height, by.width) != (1, 1):
        raise assigner.unsupported(layer, "a product of maps")
    table, to = assigner.with_requantize_fallback(
        assigner.target(layer, Activation.NONE),
        lambda view: lookup_tables.channel_scale_factors(
            layer.name, assigner.arithmetic, value, by, view, activation
        ),
    )
    assigner.emit(
        ir.ChannelScale(
            name=layer.name,
            sources=(value, by),
            target=to.view,
            epilogue=table,
        )
    )
    assigner.emit_epilogue(layer.name, to)


def local_response_norm(layer: LocalResponseNorm, assigner: NhwcAssigner) -> None:
    """Lower a local response normalization."""
    source = assigner.read(layer)
    table, to = assigner.with_requantize_fallback(
        assigner.target(layer, Activation.NONE),
        lambda view: lookup_tables.norm_factors(layer, source, view),
    )
    assigner.emit(
        ir.LocalResponseNorm(
            name=layer.name,
            sources=(source,),
            target=to.view,
            size=layer.size,
            alpha=layer.alpha,
            beta=layer.beta,
            k=layer.k,
            epilogue=table,
        )
    )
    assigner.emit_epilogue(layer.name, to)


def elementwise(layer: Elementwise, assigner: NhwcAssigner) -> None:
    """Lower an activation to a lookup table, or fold it into the product that reads it."""
    source = assigner.read(layer)
    if assigner.layout.is_gate(layer):
        assigner.folded_activations[layer.output] = (source, layer.activation)
        return
    to = assigner.target(layer, Activation.NONE, shuffles=True)
    assigner.emit_lookup_table(layer.name, source, to.view, layer.activation, to.groups)
    assigner.emit_epilogue(layer.name, to)
