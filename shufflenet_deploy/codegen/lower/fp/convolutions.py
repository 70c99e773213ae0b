"""Convolutions, each in the way that takes least: in frequencies, in bands, or tap by tap."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from shufflenet_deploy.codegen.ir import planar as ir
from shufflenet_deploy.codegen.ir.window_geometry import (
    WindowGeometry,
    is_pointwise,
    supports_direct_3x3,
)
from shufflenet_deploy.codegen.lower.fp.buffer_assignment import BufferAssigner, split_activation
from shufflenet_deploy.codegen.lower.fp.pooling import direct_3x3
from shufflenet_deploy.codegen.schedule import fused_conv_pool as fused_tile
from shufflenet_deploy.codegen.schedule import winograd, winograd_layout
from shufflenet_deploy.codegen.schedule.conv_pool_fusion import (
    ConvPool,
    fused_conv_pool,
    strip_conv_pool,
)
from shufflenet_deploy.network.graph import Activation, Conv, Dense, Pool


def convolution(layer: Conv, values: BufferAssigner) -> None:
    """The steps of a convolution, and of the pool behind it if they are computed together."""
    shape_in, shape_out = (values.graph.shapes[one] for one in (layer.inputs[0], layer.output))
    straight = supports_direct_3x3(layer, shape_in, shape_out)
    tiles = winograd.choose_tiles(layer, shape_in, shape_out, values.machine)
    whole = layer.weight.shape[2:] == shape_in[1:] and not any(layer.padding)
    if tiles and not straight:
        _lower_winograd(layer, tiles, values)
    elif _lower_conv_pool(layer, values):
        return
    elif layer.groups == 1 and whole and shape_out[1:] == (1, 1):
        dense(_flattened(layer), values)
    elif straight:
        direct_3x3(layer, values)
    else:
        _lower_direct(layer, values)


def dense(layer: Dense, values: BufferAssigner) -> None:
    """The steps of a fully connected layer."""
    source = values.flat(layer)
    target, activation = values.target(layer.output, layer.activation)
    kept = target
    if not target.contiguous or len(target.planes) != target.layout.channels:
        kept = values.new(ir.vector_layout(layer.weight.shape[0]))
    values.emit(
        ir.FullyConnected(
            name=layer.name,
            sources=(source,),
            target=kept,
            weight=layer.weight,
            bias=layer.bias,
            activation=activation,
        )
    )
    values.finish(layer.name, kept, target, Activation.NONE)


def _flattened(layer: Conv) -> Dense:
    """The same where the window is all of the picture."""
    return Dense(
        name=layer.name,
        inputs=layer.inputs,
        output=layer.output,
        weight=layer.weight.reshape(len(layer.weight), -1),
        bias=layer.bias,
        activation=layer.activation,
    )


def _lower_winograd(layer: Conv, tiles: ir.WinogradTiles, values: BufferAssigner) -> None:
    source, out = values.read(layer.inputs[0]), layer.weight.shape[0]
    given, made = (
        winograd_layout.transform_buffer(values.program, channels, tiles, values.machine.lanes)
        for channels in (source.layout.channels, out)
    )
    values.emit(
        ir.WinogradInput(
            name=layer.name,
            sources=(source,),
            target=given,
            tiles=tiles,
            top=layer.padding[0],
            left=layer.padding[1],
        )
    )
    weight = winograd.transform_weights(layer.weight, tiles.side)
    target, added, activation = values.summed(layer, made)
    values.emit(
        ir.WinogradGemm(
            name=layer.name,
            sources=(given,),
            target=made,
            weight=weight,
            bias=np.zeros(len(weight), np.float32),
            groups=tiles.frequencies * layer.groups,
            taps=(0,),
            spread=1,
            activation=Activation.NONE,
            tiles=tiles,
            pixels=target.pixels,
        )
    )
    own, left = split_activation(activation)
    values.emit(
        ir.WinogradOutput(
            name=layer.name,
            sources=(made, *added),
            target=target,
            tiles=tiles,
            bias=layer.bias,
            activation=own,
        )
    )
    values.finish(layer.name, target, target, left)


def _lower_conv_pool(layer: Conv, values: BufferAssigner) -> bool:
    """Whether this convolution and the pool behind it are one step, which is emitted then."""
    pool, shapes = values.walk.only_reader(layer.output), values.graph.shapes
    if not isinstance(pool, Pool):
        return False
    pair = ConvPool(
        conv=layer,
        pool=pool,
        picture=shapes[layer.inputs[0]],
        map=shapes[layer.output],
        pooled=shapes[pool.output],
    )
    machine, buffer = values.machine, values.program.buffer
    row, source = values.rows[layer.output], values.places[layer.inputs[0]]
    if not source.contiguous or not pair.suits(row, machine):
        return False
    target, activation = values.target(pool.output, pool.activation)
    own, left = split_activation(activation)
    pair = replace(pair, pool=replace(pool, activation=own))
    if fused_tile.fits_registers(layer, pair.picture[2], pair.map[2], machine):
        values.emit(fused_conv_pool(pair, machine, source, target, buffer))
    else:
        values.emit(strip_conv_pool(pair, machine, row, source, target, buffer))
    values.walk.merge(pool)
    values.finish(layer.name, target, target, left)
    return True


def _lower_direct(layer: Conv, values: BufferAssigner) -> None:
    """Over all pixels as one flat vector, from a picture that is split unless there is one tap."""
    shape_in, shape_out = (values.graph.shapes[one] for one in (layer.inputs[0], layer.output))
    windows = WindowGeometry.of(layer, shape_in, shape_out)
    taps: tuple[int, ...] = (0,)
    spread = 1
    if is_pointwise(layer) and shape_in[1:] != (1, 1):
        source = values.read(layer.inputs[0])
    else:
        source = values.split(layer, windows, 0.0)
        taps, spread = windows.taps(source.layout), len(windows.phases)
    target, added, activation = values.summed(layer, source)
    kept, (own, left) = values.whole(target), split_activation(activation)
    out, per_group = layer.weight.shape[:2]
    values.emit(
        ir.Convolution(
            name=layer.name,
            sources=(source, *added),
            target=kept,
            weight=layer.weight.reshape(out, per_group, -1),
            bias=layer.bias,
            groups=layer.groups,
            taps=taps,
            spread=spread,
            activation=own,
            kernel=windows.kernel,
        )
    )
    values.finish(layer.name, kept, target, left)
