"""Lowering of additions, channel scales, local response normalization and activations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from shufflenet_deploy.codegen.ir import ops as ir
from shufflenet_deploy.codegen.ir.int8 import Int8Array, PixelView
from shufflenet_deploy.codegen.lower.int8 import axes, lookup_tables
from shufflenet_deploy.codegen.lower.int8.activation_functions import Float64Array
from shufflenet_deploy.codegen.lower.int8.buffer_assignment import NhwcAssigner, Target
from shufflenet_deploy.network.graph import (
    Activation,
    Add,
    Clip,
    Elementwise,
    Elu,
    Layer,
    LeakyRelu,
    LocalResponseNorm,
    Multiply,
    Power,
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
    value, name = assigner.read_map(layer), layer.inputs[1]
    if name in assigner.folded_activations:
        by, activation = assigner.folded_activations[name]
    else:
        by, activation = assigner.read(layer, 1), Activation.NONE
    if (by.height, by.width) != (1, 1):
        raise assigner.unsupported(layer, "a product of maps")
    to = assigner.target(layer, Activation.NONE)
    scale_channels(layer.name, value, by, activation, to, assigner)


def scale_channels(
    name: str,
    value: PixelView,
    by: PixelView,
    activation: Activation,
    to: Target,
    assigner: NhwcAssigner,
) -> None:
    """Lower a map times one factor per channel, the activation of what is at ``by``."""
    table, to = assigner.with_requantize_fallback(
        to,
        lambda view: lookup_tables.channel_scale_factors(
            name, assigner.arithmetic, value, by, view, activation
        ),
    )
    assigner.emit(ir.ChannelScale(name=name, sources=(value, by), target=to.view, epilogue=table))
    assigner.emit_epilogue(name, to)


def local_response_norm(layer: LocalResponseNorm, assigner: NhwcAssigner) -> None:
    """Lower a local response normalization."""
    source = assigner.read_map(layer)
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


def leaky_relu(layer: LeakyRelu, assigner: NhwcAssigner) -> None:
    """Lower a leaky or parametric ReLU to a lookup table, or one for each channel."""
    shape = assigner.graph.shapes[layer.inputs[0]]
    if layer.slope.size > 1 and len(shape) > axes.MOST_AXES:
        raise assigner.unsupported(layer, f"slopes per channel of a value of {len(shape)} axes")
    slope = layer.slope.reshape(-1, 1).astype(np.float64)
    _tables(layer, lambda x: np.where(x > 0, x, x * slope), assigner)


def elu(layer: Elu, assigner: NhwcAssigner) -> None:
    """Lower an ELU to a lookup table."""
    _tables(layer, lambda x: np.where(x > 0, x, layer.alpha * np.expm1(np.minimum(x, 0))), assigner)


def power(layer: Power, assigner: NhwcAssigner) -> None:
    """Lower a power to a lookup table; what has none, as a root of a number below 0, is 0."""

    def function(x: Float64Array) -> Float64Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.nan_to_num(x**layer.exponent, nan=0.0, posinf=np.inf, neginf=-np.inf)

    _tables(layer, function, assigner)


def clip(layer: Clip, assigner: NhwcAssigner) -> None:
    """Lower a clip to a lookup table."""
    _tables(layer, lambda x: np.minimum(np.maximum(x, layer.low), layer.high), assigner)


def _tables(
    layer: Layer, function: Callable[[Float64Array], Float64Array], assigner: NhwcAssigner
) -> None:
    """Lower a function of real numbers, ``(1, 256)`` to as many or to as many of each channel."""
    source, to = assigner.read(layer), assigner.target(layer, Activation.NONE)
    values = function(lookup_tables.real_values(assigner.arithmetic, source)[None])
    tables = lookup_tables.quantized(assigner.arithmetic, values, to.view)
    emit_tables(layer.name, source, to.view, tables, assigner)
    assigner.emit_epilogue(layer.name, to)


def emit_tables(
    name: str,
    source: PixelView,
    target: PixelView,
    tables: Int8Array,
    assigner: NhwcAssigner,
    groups: int = 1,
) -> None:
    """Emit a lookup in ``tables``, ``(1, 256)`` for all channels or ``(channels, 256)``."""
    table = tables[0] if len(tables) == 1 else tables
    assigner.emit(
        ir.LookupTable(name=name, sources=(source,), target=target, table=table, shuffle=groups)
    )
