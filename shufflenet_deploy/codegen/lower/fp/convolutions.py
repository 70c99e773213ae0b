"""Lowering of convolutions: Winograd, fused with a max pool, direct 3x3, or tap by tap."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from shufflenet_deploy.codegen.ir import ops as ir
from shufflenet_deploy.codegen.ir.planar import PlanarView, vector_layout
from shufflenet_deploy.codegen.ir.window_geometry import (
    WindowGeometry,
    is_pointwise,
    is_wide_depthwise,
    supports_direct_3x3,
)
from shufflenet_deploy.codegen.lower.fp.buffer_assignment import PlanarAssigner, split_activation
from shufflenet_deploy.codegen.lower.fp.pooling import direct_3x3
from shufflenet_deploy.codegen.schedule import fused_conv_pool as fused_tile
from shufflenet_deploy.codegen.schedule import winograd, winograd_layout
from shufflenet_deploy.codegen.schedule.conv_pool_fusion import (
    ConvPool,
    fused_conv_pool,
    strip_conv_pool,
)
from shufflenet_deploy.network.graph import Activation, Conv, Dense, Pool


def convolution(layer: Conv, assigner: PlanarAssigner) -> None:
    """Lower a convolution, together with the pool after it where they are fused."""
    shape_in, shape_out = (assigner.graph.shapes[one] for one in (layer.inputs[0], layer.output))
    straight = supports_direct_3x3(layer, shape_in, shape_out)
    tiles = winograd.choose_tiles(layer, shape_in, shape_out, assigner.cpu)
    whole = layer.weight.shape[2:] == shape_in[1:] and not any(layer.padding)
    if tiles and not straight:
        _lower_winograd(layer, tiles, assigner)
    elif _lower_conv_pool(layer, assigner):
        return
    elif layer.groups == 1 and whole and shape_out[1:] == (1, 1):
        dense(_flattened(layer), assigner)
    elif straight:
        direct_3x3(layer, assigner)
    else:
        _lower_direct(layer, assigner)


def dense(layer: Dense, assigner: PlanarAssigner) -> None:
    """Lower a fully connected layer."""
    source = assigner.flattened(layer)
    target, activation = assigner.target(layer.output, layer.activation)
    kept, (own, left) = target, split_activation(activation)
    if activation is Activation.SIGMOID:
        own, left = activation, Activation.NONE  # which the op applies itself
    if not target.contiguous or len(target.planes) != target.layout.channels:
        kept = assigner.layout.new_buffer(vector_layout(layer.weight.shape[0]))
    assigner.emit(
        ir.FullyConnected(
            name=layer.name,
            sources=(source,),
            target=kept,
            weight=layer.weight,
            bias=layer.bias,
            activation=own,
        )
    )
    assigner.emit_epilogue(layer.name, kept, target, left)


def _flattened(layer: Conv) -> Dense:
    """A convolution whose window is the whole map, as a fully connected layer."""
    return Dense(
        name=layer.name,
        inputs=layer.inputs,
        output=layer.output,
        weight=layer.weight.reshape(len(layer.weight), -1),
        bias=layer.bias,
        activation=layer.activation,
    )


def _lower_winograd(layer: Conv, tiles: ir.WinogradTiles, assigner: PlanarAssigner) -> None:
    source, out = assigner.read(layer.inputs[0]), layer.weight.shape[0]
    given, made = (
        winograd_layout.transform_buffer(
            assigner.program, channels, tiles, assigner.cpu, by_channel=by_channel
        )
        for channels, by_channel in ((source.layout.channels, False), (out, True))
    )
    assigner.emit(
        ir.WinogradInput(
            name=layer.name,
            sources=(source,),
            target=given,
            tiles=tiles,
            top=layer.padding[0],
            left=layer.padding[1],
        )
    )
    weight = winograd.transform_weights(layer.weight, tiles)
    target, added, activation = assigner.with_fused_addition(layer, made)
    assigner.emit(
        ir.WinogradGemm(
            name=layer.name,
            sources=(given,),
            target=made,
            weight=weight,
            bias=np.zeros(len(weight), np.float32),
            groups=tiles.transform_size * layer.groups,
            window=ir.TapOffsets(taps=(0,), planes_per_channel=1),
            epilogue=ir.Clamp(activation=Activation.NONE),
            tiles=tiles,
            pixels=target.pixels,
        )
    )
    own, left = split_activation(activation)
    assigner.emit(
        ir.WinogradOutput(
            name=layer.name,
            sources=(made, *added),
            target=target,
            tiles=tiles,
            bias=layer.bias,
            activation=own,
        )
    )
    assigner.emit_epilogue(layer.name, target, target, left)


def _lower_conv_pool(layer: Conv, assigner: PlanarAssigner) -> bool:
    """Lower a convolution and the max pool after it to one op; False if they are not fused."""
    pool, shapes = assigner.traversal.only_reader(layer.output), assigner.graph.shapes
    if not isinstance(pool, Pool):
        return False
    pair = ConvPool(
        conv=layer,
        pool=pool,
        input_shape=shapes[layer.inputs[0]],
        conv_shape=shapes[layer.output],
        pool_shape=shapes[pool.output],
    )
    cpu, buffer = assigner.cpu, assigner.program.buffer
    row, source = assigner.layout.row_strides[layer.output], assigner.views[layer.inputs[0]]
    if not source.contiguous or not pair.is_profitable(row, cpu):
        return False
    target, activation = assigner.target(pool.output, pool.activation)
    own, left = split_activation(activation)
    pair = replace(pair, pool=replace(pool, activation=own))
    if fused_tile.fits_registers(layer, pair.input_shape[2], pair.conv_shape[2], cpu):
        assigner.emit(fused_conv_pool(pair, cpu, source, target, buffer))
    else:
        assigner.emit(strip_conv_pool(pair, cpu, row, source, target, buffer))
    assigner.traversal.merge(pool)
    assigner.emit_epilogue(layer.name, target, target, left)
    return True


def _lower_direct(layer: Conv, assigner: PlanarAssigner) -> None:
    """Lower tap by tap over all pixels as one flat vector, phase-split unless there is one tap."""
    shape_in, shape_out = (assigner.graph.shapes[one] for one in (layer.inputs[0], layer.output))
    windows = WindowGeometry.of(layer, shape_in, shape_out)
    taps: tuple[int, ...] = (0,)
    spread = 1
    if is_pointwise(layer) and shape_in[1:] != (1, 1):
        source = assigner.read(layer.inputs[0])
    else:
        source = assigner.phase_split(layer, windows, 0.0)
        taps, spread = windows.taps(source.layout), len(windows.phases)
    added: tuple[PlanarView, ...] = ()
    if is_wide_depthwise(layer):
        target, activation = assigner.target(layer.output, layer.activation)
    else:
        target, added, activation = assigner.with_fused_addition(layer, source)
    kept, (own, left) = assigner.vector_aligned_view(target), split_activation(activation)
    if is_wide_depthwise(layer) and kept is target:
        kept = assigner.widened(target, source.layout.row_stride)
    out, per_group = layer.weight.shape[:2]
    assigner.emit(
        ir.Convolution(
            name=layer.name,
            sources=(source, *added),
            target=kept,
            weight=layer.weight.reshape(out, per_group, -1),
            bias=layer.bias,
            groups=layer.groups,
            window=ir.TapOffsets(taps=taps, planes_per_channel=spread, kernel=windows.kernel),
            epilogue=ir.Clamp(activation=own),
        )
    )
    assigner.emit_epilogue(layer.name, kept, target, left)
