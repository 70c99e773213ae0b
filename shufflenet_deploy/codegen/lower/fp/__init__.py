"""Lowering to planar programs, fp32 and fp16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.ir.planar import PlanarProgram
from shufflenet_deploy.codegen.lower.fp import (
    convolutions,
    data_movement,
    elementwise,
    maps,
    norms,
    pooling,
)
from shufflenet_deploy.codegen.lower.fp.buffer_assignment import PlanarAssigner
from shufflenet_deploy.network.graph import (
    AdaptiveAveragePool,
    Add,
    Arithmetic,
    Clip,
    Concat,
    Conv,
    Dense,
    DepthToSpace,
    Elementwise,
    Elu,
    Flatten,
    Graph,
    Layer,
    LeakyRelu,
    LocalResponseNorm,
    MatMul,
    Multiply,
    Normalize,
    Pad,
    Permute,
    Pool,
    Power,
    Reduce,
    Reshape,
    Resize,
    Shuffle,
    Slice,
    Softmax,
    SpaceToDepth,
)

__all__ = ["HANDLERS", "lower"]

HANDLERS: dict[type[Layer], Callable[[Any, PlanarAssigner], None]] = {
    Conv: convolutions.convolution,
    Dense: convolutions.dense,
    Pool: pooling.pool,
    AdaptiveAveragePool: pooling.adaptive_average,
    Add: elementwise.add,
    Multiply: elementwise.multiply,
    LocalResponseNorm: elementwise.local_response_norm,
    Shuffle: data_movement.shuffle,
    Concat: maps.concat,
    Slice: maps.slice_,
    Permute: maps.permute,
    Reshape: maps.reshape,
    DepthToSpace: maps.depth_to_space,
    SpaceToDepth: maps.space_to_depth,
    Pad: maps.pad,
    Resize: maps.resize,
    Arithmetic: maps.arithmetic,
    MatMul: maps.matmul,
    LeakyRelu: maps.leaky_relu,
    Elu: maps.elu,
    Clip: maps.clip,
    Softmax: maps.softmax,
    Normalize: norms.normalize,
    Power: maps.power,
    Reduce: maps.reduce,
    Elementwise: data_movement.move,
    Flatten: data_movement.move,
}


def lower(graph: Graph, cpu: CpuTarget) -> PlanarProgram:
    """The program that computes ``graph`` on ``cpu``.

    Raises:
        ExportError: a layer that there is no code for; the message names it.
    """
    assigner = PlanarAssigner(graph, cpu)
    assigner.lower(HANDLERS)
    return assigner.program
