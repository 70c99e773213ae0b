"""From a ``Graph`` to a ``Program``: which layers merge, where values are stored and how."""

from __future__ import annotations

from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.ir.planar import PlanarProgram
from shufflenet_deploy.codegen.lower.fp import convolutions, data_movement, elementwise, pooling
from shufflenet_deploy.codegen.lower.fp.buffer_assignment import BufferAssigner, is_identity
from shufflenet_deploy.codegen.passes import bias_to_clamp
from shufflenet_deploy.codegen.passes.graph_rewrites import (
    fold_depthwise_bias,
    sink_activation_below_maxpool,
)
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


def lower(graph: Graph, machine: CpuTarget) -> PlanarProgram:
    """The program that computes ``graph`` on ``machine``.

    Raises:
        ExportError: a layer that there is no code for; the message names it.
    """
    values = BufferAssigner(sink_activation_below_maxpool(fold_depthwise_bias(graph)), machine)
    for layer in values.walk:
        _lower(layer, values)
    values.hand_out()
    if machine.by_lane:
        bias_to_clamp.run(values.program)
    return values.program


def _lower(layer: Layer, values: BufferAssigner) -> None:
    match layer:
        case Conv():
            convolutions.convolution(layer, values)
        case Dense():
            convolutions.dense(layer, values)
        case Pool():
            pooling.pool(layer, values)
        case AdaptiveAveragePool() if not is_identity(layer, values.graph):
            pooling.average(layer, layer.size, values)
        case Add():
            elementwise.add(layer, values)
        case Multiply():
            elementwise.multiply(layer, values)
        case LocalResponseNorm():
            elementwise.local_response_norm(layer, values)
        case Shuffle() | Concat() | Elementwise() | Flatten() | AdaptiveAveragePool():
            data_movement.move(layer, values)
        case _:
            raise ExportError(
                f"{layer.name}: the native format has no code for {type(layer).__name__}"
            )
