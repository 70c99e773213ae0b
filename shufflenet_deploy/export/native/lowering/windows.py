"""Layers that look at one channel after the other: pools, means, and depthwise 3x3 windows."""

from __future__ import annotations

import numpy as np

from shufflenet_deploy.export.graph import (
    Activation,
    AdaptiveAveragePool,
    Conv,
    FloatArray,
    Pair,
    Pool,
    PoolKind,
)
from shufflenet_deploy.export.native import program as steps
from shufflenet_deploy.export.native.geometry import Windows, is_direct
from shufflenet_deploy.export.native.lowering.placing import Placing, divided


def direct(layer: Conv | Pool, values: Placing) -> None:
    """A step whose windows are read from the picture where it stands; see ``is_direct``."""
    target, activation = values.target(layer.output, layer.activation)
    own, left = divided(activation)
    convolution = layer if isinstance(layer, Conv) else None
    values.emit(
        steps.Window3x3(
            name=layer.name,
            sources=(values.read(layer.inputs[0]),),
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
    values.finish(layer.name, target, target, left)


def pool(layer: Pool, values: Placing) -> None:
    """The steps of a pool."""
    shape_in, shape_out = (values.graph.shapes[one] for one in (layer.inputs[0], layer.output))
    average = layer.kind is PoolKind.AVERAGE and layer.activation is Activation.NONE
    if average and layer.kernel == shape_in[1:] and not any(layer.padding):
        mean(layer, (1, 1), values)
        return
    if is_direct(layer, shape_in, shape_out):
        direct(layer, values)
        return
    windows = Windows.of(layer, shape_in, shape_out)
    outside = float("-inf") if layer.kind is PoolKind.MAX else 0.0
    source = values.split(layer, windows, outside)
    target, activation = values.target(layer.output, layer.activation)
    kept, (own, left) = values.whole(target), divided(activation)
    values.emit(
        steps.Window(
            name=layer.name,
            sources=(source,),
            target=kept,
            kind=layer.kind,
            taps=windows.taps(source.layout),
            spread=len(windows.phases),
            scale=_scale(layer, windows),
            activation=own,
        )
    )
    values.finish(layer.name, kept, target, left)


def mean(layer: Pool | AdaptiveAveragePool, size: Pair, values: Placing) -> None:
    """The step of an average over all of a picture, or over each of ``size`` parts of it."""
    source = values.places[layer.inputs[0]]
    target, activation = values.target(layer.output, Activation.NONE)
    kind = steps.GlobalAverage if size == (1, 1) else steps.AdaptiveAverage
    values.emit(kind(name=layer.name, sources=(source,), target=target))
    values.finish(layer.name, target, target, activation)


def _scale(layer: Pool, windows: Windows) -> FloatArray | None:
    """What sums of windows are multiplied by: a number for each pixel, or one if all are equal."""
    if layer.kind is PoolKind.MAX:
        return None
    counts = np.full(windows.out_size, layer.kernel[0] * layer.kernel[1], np.float32)
    if not layer.count_padding and any(layer.padding):
        counts = windows.inside()
    scale: FloatArray = (np.float32(1) / counts).astype(np.float32)
    return scale[:1, :1] if (scale == scale[0, 0]).all() else scale
