"""Lowering to planar programs, fp32 and fp16."""

from __future__ import annotations

from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.ir.planar import PlanarProgram
from shufflenet_deploy.codegen.lower.fp import convolutions, data_movement, elementwise, pooling
from shufflenet_deploy.codegen.lower.fp.buffer_assignment import BufferAssigner, is_identity
from shufflenet_deploy.errors import ExportError
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

__all__ = ["lower"]


def lower(graph: Graph, cpu: CpuTarget) -> PlanarProgram:
    """The program that computes ``graph`` on ``cpu``.

    Raises:
        ExportError: a layer that there is no code for; the message names it.
    """
    assigner = BufferAssigner(graph, cpu)
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
        case AdaptiveAveragePool() if not is_identity(layer, assigner.graph):
            pooling.average(layer, layer.size, assigner)
        case Add():
            elementwise.add(layer, assigner)
        case Multiply():
            elementwise.multiply(layer, assigner)
        case LocalResponseNorm():
            elementwise.local_response_norm(layer, assigner)
        case Shuffle() | Concat() | Elementwise() | Flatten() | AdaptiveAveragePool():
            data_movement.move(layer, assigner)
        case _:
            raise ExportError(
                f"{layer.name}: the native format has no code for {type(layer).__name__}"
            )
