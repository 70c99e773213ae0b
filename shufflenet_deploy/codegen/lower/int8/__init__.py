"""Lowering of a graph and its calibrated ranges to int8 programs."""

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
from shufflenet_deploy.network.quantization.ranges import Ranges

__all__ = ["lower"]


def lower(graph: Graph, ranges: Ranges, arithmetic: Requantization) -> Int8Program:
    """The int8 program that computes ``graph`` with these calibrated ranges.

    Raises:
        ExportError: a layer that there is no int8 code for; the message names it.
    """
    assigner = BufferAssigner(graph, ranges, arithmetic)
    assigner.emit_input()
    for layer in assigner.traversal:
        _lower(layer, assigner)
    assigner.emit_output()
    return assigner.program


def _lower(layer: Layer, assigner: BufferAssigner) -> None:
    match layer:
        case Conv():
            convolutions.convolution(layer, assigner)
        case Dense():
            convolutions.dense(layer, assigner)
        case Pool():
            pooling.pool(layer, assigner)
        case AdaptiveAveragePool() if not assigner.unchanged(layer):
            pooling.adaptive_pool(layer, assigner)
        case AdaptiveAveragePool():
            assigner.views[layer.output] = assigner.read(layer)
        case Flatten():
            assigner.views[layer.output] = assigner.views[layer.inputs[0]]
        case Add():
            elementwise.add(layer, assigner)
        case Multiply():
            elementwise.multiply(layer, assigner)
        case LocalResponseNorm():
            elementwise.local_response_norm(layer, assigner)
        case Elementwise():
            elementwise.elementwise(layer, assigner)
        case Concat():
            data_movement.concat(layer, assigner)
        case Shuffle():
            data_movement.shuffle(layer, assigner)
        case _:
            raise assigner.unsupported(layer)
