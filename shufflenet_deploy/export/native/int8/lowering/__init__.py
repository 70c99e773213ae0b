"""From a ``Graph`` and calibrated ranges to an int8 ``Program``."""

from __future__ import annotations

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
from shufflenet_deploy.export.native.int8.lowering import convolutions, moves, pixelwise, windows
from shufflenet_deploy.export.native.int8.lowering.placing import Placing
from shufflenet_deploy.export.native.int8.program import Numbers, Program
from shufflenet_deploy.export.quantize import Ranges, corrected

__all__ = ["lower"]


def lower(graph: Graph, ranges: Ranges, numbers: Numbers) -> Program:
    """The int8 program of ``graph``; biases are corrected for the rounding of the weights.

    Raises:
        ExportError: a layer that there is no int8 code for; the message names it.
    """
    values = Placing(corrected(graph, ranges), ranges, numbers)
    values.take_in()
    for layer in values.walk:
        _lower(layer, values)
    values.hand_out()
    return values.program


def _lower(layer: Layer, values: Placing) -> None:
    match layer:
        case Conv():
            convolutions.convolution(layer, values)
        case Dense():
            convolutions.dense(layer, values)
        case Pool():
            windows.pool(layer, values)
        case AdaptiveAveragePool() if not values.unchanged(layer):
            windows.adaptive(layer, values)
        case AdaptiveAveragePool():
            values.places[layer.output] = values.read(layer)
        case Flatten():
            values.places[layer.output] = values.places[layer.inputs[0]]
        case Add():
            pixelwise.add(layer, values)
        case Multiply():
            pixelwise.multiply(layer, values)
        case LocalResponseNorm():
            pixelwise.normalise(layer, values)
        case Elementwise():
            pixelwise.elementwise(layer, values)
        case Concat():
            moves.concat(layer, values)
        case Shuffle():
            moves.shuffle(layer, values)
        case _:
            raise values.unknown(layer)
