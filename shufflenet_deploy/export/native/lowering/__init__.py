"""From a ``Graph`` to a ``Program``: which layers merge, where values are stored and how."""

from __future__ import annotations

from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.export.graph import (
    AdaptiveAveragePool,
    Add,
    Concat,
    Conv,
    Dense,
    Elementwise,
    Flatten,
    Graph,
    Layer,
    LocalResponseNorm,
    Multiply,
    Pool,
    Shuffle,
)
from shufflenet_deploy.export.native import floors
from shufflenet_deploy.export.native.lowering import convolutions, moves, pixelwise, windows
from shufflenet_deploy.export.native.lowering.placing import Placing, unchanged
from shufflenet_deploy.export.native.machine import Machine
from shufflenet_deploy.export.native.moving import activations_moved_on, biases_moved_on
from shufflenet_deploy.export.native.program import Program

__all__ = ["lower"]


def lower(graph: Graph, machine: Machine) -> Program:
    """The program that computes ``graph`` on ``machine``.

    Raises:
        ExportError: a layer that there is no code for; the message names it.
    """
    values = Placing(activations_moved_on(biases_moved_on(graph)), machine)
    for layer in values.walk:
        _lower(layer, values)
    values.hand_out()
    if machine.by_lane:
        floors.apply(values.program)
    return values.program


def _lower(layer: Layer, values: Placing) -> None:
    match layer:
        case Conv():
            convolutions.convolution(layer, values)
        case Dense():
            convolutions.dense(layer, values)
        case Pool():
            windows.pool(layer, values)
        case AdaptiveAveragePool() if not unchanged(layer, values.graph):
            windows.mean(layer, layer.size, values)
        case Add():
            pixelwise.add(layer, values)
        case Multiply():
            pixelwise.multiply(layer, values)
        case LocalResponseNorm():
            pixelwise.normalise(layer, values)
        case Shuffle() | Concat() | Elementwise() | Flatten() | AdaptiveAveragePool():
            moves.move(layer, values)
        case _:
            raise ExportError(
                f"{layer.name}: the native format has no code for {type(layer).__name__}"
            )
