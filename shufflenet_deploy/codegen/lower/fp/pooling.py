"""Lowering of pools, averages and depthwise 3x3."""

from __future__ import annotations

import numpy as np

from shufflenet_deploy.codegen.ir import ops as ir
from shufflenet_deploy.codegen.ir.window_geometry import WindowGeometry, supports_direct_3x3
from shufflenet_deploy.codegen.lower.fp.buffer_assignment import (
    PlanarAssigner,
    is_identity,
    split_activation,
)
from shufflenet_deploy.codegen.lower.fp.data_movement import move
from shufflenet_deploy.network.graph import (
    Activation,
    AdaptiveAveragePool,
    Conv,
    FloatArray,
    Pair,
    Pool,
    PoolKind,
)


def direct_3x3(layer: Conv | Pool, assigner: PlanarAssigner) -> None:
    """Lower 3x3 windows that read the map in place; see ``supports_direct_3x3``."""
    target, activation = assigner.target(layer.output, layer.activation)
    own, left = split_activation(activation)
    convolution = layer if isinstance(layer, Conv) else None
    assigner.emit(
        ir.Direct3x3(
            name=layer.name,
            sources=(assigner.read(layer.inputs[0]),),
            target=target,
            stride=layer.stride[0],
            top=layer.padding[0],
            left=layer.padding[1],
            weight=convolution.weight.reshape(-1, 9) if convolution else None,
            bias=convolution.bias if convolution else None,
            kind=layer.kind if isinstance(layer, Pool) else PoolKind.AVERAGE,
            scale=1 / 9,
            activation=own,
        )
    )
    assigner.emit_epilogue(layer.name, target, target, left)


def pool(layer: Pool, assigner: PlanarAssigner) -> None:
    """Lower a pool."""
    shape_in, shape_out = (assigner.graph.shapes[one] for one in (layer.inputs[0], layer.output))
    is_plain = layer.kind is PoolKind.AVERAGE and layer.activation is Activation.NONE
    if is_plain and layer.kernel == shape_in[1:] and not any(layer.padding):
        average(layer, (1, 1), assigner)
        return
    if supports_direct_3x3(layer, shape_in, shape_out):
        direct_3x3(layer, assigner)
        return
    windows = WindowGeometry.of(layer, shape_in, shape_out)
    outside = float("-inf") if layer.kind is PoolKind.MAX else 0.0
    source = assigner.phase_split(layer, windows, outside)
    target, activation = assigner.target(layer.output, layer.activation)
    kept, (own, left) = assigner.vector_aligned_view(target), split_activation(activation)
    assigner.emit(
        ir.Pool(
            name=layer.name,
            sources=(source,),
            target=kept,
            kind=layer.kind,
            taps=windows.taps(source.layout),
            planes_per_channel=len(windows.phases),
            scale=_scale(layer, windows),
            activation=own,
        )
    )
    assigner.emit_epilogue(layer.name, kept, target, left)


def adaptive_average(layer: AdaptiveAveragePool, assigner: PlanarAssigner) -> None:
    """Lower an adaptive average pool, or the copies that an identity still needs."""
    if is_identity(layer, assigner.graph):
        move(layer, assigner)
    else:
        average(layer, layer.size, assigner)


def average(layer: Pool | AdaptiveAveragePool, size: Pair, assigner: PlanarAssigner) -> None:
    """Lower an average over the whole map, or over each of ``size`` areas of it."""
    source = assigner.views[layer.inputs[0]]
    target, activation = assigner.target(layer.output, Activation.NONE)
    kind = ir.GlobalAveragePool if size == (1, 1) else ir.AdaptivePool
    assigner.emit(kind(name=layer.name, sources=(source,), target=target, epilogue=None))
    assigner.emit_epilogue(layer.name, target, target, activation)


def _scale(layer: Pool, windows: WindowGeometry) -> FloatArray | None:
    """Reciprocal window sizes: one per pixel, or a single one if all are equal."""
    if layer.kind is PoolKind.MAX:
        return None
    counts = np.full(windows.out_size, layer.kernel[0] * layer.kernel[1], np.float32)
    if not layer.count_padding and any(layer.padding):
        counts = windows.valid_counts()
    scale: FloatArray = (np.float32(1) / counts).astype(np.float32)
    return scale[:1, :1] if (scale == scale[0, 0]).all() else scale
