"""Layers that compute each number from those of the same pixel: sums, gates, normalisation."""

from __future__ import annotations

from shufflenet_deploy.export.graph import (
    Activation,
    Add,
    Elementwise,
    LocalResponseNorm,
    Multiply,
)
from shufflenet_deploy.export.native.int8 import program as steps
from shufflenet_deploy.export.native.int8 import tables
from shufflenet_deploy.export.native.int8.lowering.placing import Placing


def add(layer: Add, values: Placing) -> None:
    """The step of a sum that no step before it does."""
    one, two = values.read(layer), values.read(layer, 1)
    found, to = values.fitted(
        values.target(layer, layer.activation),
        lambda place: tables.sum_numbers(layer.name, one, two, place),
    )
    values.emit(
        steps.Sum(
            name=layer.name, sources=(one, two), target=to.place, factors=found.factors,
            start=found.start, power=found.power,
        )
    )  # fmt: skip
    values.finished(layer.name, to)


def multiply(layer: Multiply, values: Placing) -> None:
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
        lambda place: tables.gate(layer.name, values.numbers, value, by, place, activation),
    )
    values.emit(
        steps.Gate(
            name=layer.name, sources=(value, by), target=to.place, factors=factors, power=power
        )
    )
    values.finished(layer.name, to)


def normalise(layer: LocalResponseNorm, values: Placing) -> None:
    """The step of a normalisation across channels."""
    source = values.read(layer)
    (factors, power), to = values.fitted(
        values.target(layer, Activation.NONE),
        lambda place: tables.normalisation(layer, source, place),
    )
    values.emit(
        steps.Normalise(
            name=layer.name, sources=(source,), target=to.place, size=layer.size,
            factors=factors, power=power,
        )
    )  # fmt: skip
    values.finished(layer.name, to)


def elementwise(layer: Elementwise, values: Placing) -> None:
    """A table of its own, unless its only reader is a product, which then has one."""
    source = values.read(layer)
    if values.is_gate(layer):
        values.gates[layer.output] = (source, layer.activation)
        return
    to = values.target(layer, Activation.NONE, shuffles=True)
    values.look_up(layer.name, source, to.place, layer.activation, to.groups)
    values.finished(layer.name, to)
