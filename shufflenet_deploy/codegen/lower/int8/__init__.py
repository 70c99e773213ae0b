"""Lowering of a graph and its calibrated ranges to int8 programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shufflenet_deploy.codegen.ir.int8 import Int8Program, Requantization
from shufflenet_deploy.codegen.lower.int8 import (
    arithmetic,
    convolutions,
    data_movement,
    elementwise,
    norms,
    pooling,
    rearrangement,
    reductions,
)
from shufflenet_deploy.codegen.lower.int8.buffer_assignment import NhwcAssigner
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
from shufflenet_deploy.network.quantization.ranges import Ranges

__all__ = ["HANDLERS", "lower"]

HANDLERS: dict[type[Layer], Callable[[Any, NhwcAssigner], None]] = {
    Conv: convolutions.convolution,
    Dense: convolutions.dense,
    Pool: pooling.pool,
    AdaptiveAveragePool: pooling.adaptive_pool,
    Add: elementwise.add,
    Multiply: elementwise.multiply,
    LocalResponseNorm: elementwise.local_response_norm,
    Elementwise: elementwise.elementwise,
    Concat: data_movement.concat,
    Shuffle: data_movement.shuffle,
    Flatten: data_movement.flatten,
    Arithmetic: arithmetic.arithmetic,
    MatMul: reductions.matmul,
    LeakyRelu: elementwise.leaky_relu,
    Elu: elementwise.elu,
    Clip: elementwise.clip,
    Slice: rearrangement.sliced,
    Pad: rearrangement.pad,
    Resize: rearrangement.resize,
    DepthToSpace: rearrangement.depth_to_space,
    SpaceToDepth: rearrangement.space_to_depth,
    Permute: rearrangement.permute,
    Reshape: rearrangement.reshape,
    Reduce: reductions.reduce,
    Softmax: reductions.softmax,
    Normalize: norms.normalize,
    Power: elementwise.power,
}


def lower(graph: Graph, ranges: Ranges, requantization: Requantization) -> Int8Program:
    """The int8 program that computes ``graph`` with these calibrated ranges.

    Raises:
        ExportError: a layer that there is no int8 code for; the message names it.
    """
    assigner = NhwcAssigner(graph, ranges, requantization)
    assigner.lower(HANDLERS)
    return assigner.program
