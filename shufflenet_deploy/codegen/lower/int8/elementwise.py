"""Layers that compute each number from those of the same pixel: sums, gates, normalisation."""

from __future__ import annotations

from shufflenet_deploy.codegen.ir import int8 as ir
from shufflenet_deploy.codegen.lower.int8 import lookup_tables
from shufflenet_deploy.codegen.lower.int8.buffer_assignment import BufferAssigner
from shufflenet_deploy.network.graph import (
    Activation,
    Add,
    Elementwise,
    LocalResponseNorm,
    Multiply,
)


def add(layer: Add, values: BufferAssigner) -> None:
    """The step of a sum that no step before it does."""
    one, two = values.read(layer), values.read(layer, 1)
    found, to = values.fitted(
        values.target(layer, layer.activation),
        lambda place: lookup_tables.add_constants(layer.name, one, two, place),
    )
    values.emit(
        ir.Add(
            name=layer.name, sources=(one, two), target=to.place, factors=found.factors,
            start=found.start, power=found.power,
        )
    )  # fmt: skip
    values.finished(layer.name, to)


def multiply(layer: Multiply, values: BufferAssigner) -> None:
    """The step of a gate, whose activation is in its table."""
    value, name = values.read(layer), layer.inputs[1]
    if name in values.gates:
        by, activation = values.gates[name]
    else:
        by, activation = values.read(layer, 1), Activation.NONE
    if (by.height, by.width) != (1, 1):
        raise values.unknown(layer, "a product of maps")
    (factors, power), to = values.fitted(
        values.target(layer, Activation.NONE),
        lambda place: lookup_tables.channel_scale_factors(
            layer.name, values.numbers, value, by, place, activation
        ),
    )
    values.emit(
        ir.ChannelScale(
            name=layer.name, sources=(value, by), target=to.place, factors=factors, power=power
        )
    )
    values.finished(layer.name, to)


def local_response_norm(layer: LocalResponseNorm, values: BufferAssigner) -> None:
    """The step of a normalisation across channels."""
    source = values.read(layer)
    (factors, power), to = values.fitted(
        values.target(layer, Activation.NONE),
        lambda place: lookup_tables.norm_factors(layer, source, place),
    )
    values.emit(
        ir.LocalResponseNorm(
            name=layer.name, sources=(source,), target=to.place, size=layer.size,
            factors=factors, power=power,
        )
    )  # fmt: skip
    values.finished(layer.name, to)


def elementwise(layer: Elementwise, values: BufferAssigner) -> None:
    """A table of its own, unless its only reader is a product, which then has one."""
    source = values.read(layer)
    if values.is_gate(layer):
        values.gates[layer.output] = (source, layer.activation)
        return
    to = values.target(layer, Activation.NONE, shuffles=True)
    values.look_up(layer.name, source, to.place, layer.activation, to.groups)
    values.finished(layer.name, to)
