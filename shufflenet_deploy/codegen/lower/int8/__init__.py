"""From a ``Graph`` and calibrated ranges to an int8 ``Program``."""

from __future__ import annotations

from shufflenet_deploy.codegen.ir.int8 import Int8Program, Requantization
from shufflenet_deploy.codegen.lower.int8 import convolutions, data_movement, elementwise, pooling
from shufflenet_deploy.codegen.lower.int8.buffer_assignment import BufferAssigner
from shufflenet_deploy.network.graph import (
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
from shufflenet_deploy.network.quantization.ranges import Ranges, corrected

__all__ = ["lower"]


def lower(graph: Graph, ranges: Ranges, numbers: Requantization) -> Int8Program:
    """The int8 program of ``graph``; biases are corrected for the rounding of the weights.

    Raises:
        ExportError: a layer that there is no int8 code for; the message names it.
    """
    values = BufferAssigner(corrected(graph, ranges), ranges, numbers)
    values.take_in()
    for layer in values.walk:
        _lower(layer, values)
    values.hand_out()
    return values.program


def _lower(layer: Layer, values: BufferAssigner) -> None:
    match layer:
        case Conv():
            convolutions.convolution(layer, values)
        case Dense():
            convolutions.dense(layer, values)
        case Pool():
            pooling.pool(layer, values)
        case AdaptiveAveragePool() if not values.unchanged(layer):
            pooling.adaptive_pool(layer, values)
        case AdaptiveAveragePool():
            values.places[layer.output] = values.read(layer)
        case Flatten():
            values.places[layer.output] = values.places[layer.inputs[0]]
        case Add():
            elementwise.add(layer, values)
        case Multiply():
            elementwise.multiply(layer, values)
        case LocalResponseNorm():
            elementwise.local_response_norm(layer, values)
        case Elementwise():
            elementwise.elementwise(layer, values)
        case Concat():
            data_movement.concat(layer, values)
        case Shuffle():
            data_movement.shuffle(layer, values)
        case _:
            raise values.unknown(layer)
