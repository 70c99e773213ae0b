"""Lowering of pools: separable maxima, padded averages, and adaptive averages."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from shufflenet_deploy.export.tflite.conv_lowering import lower_conv
from shufflenet_deploy.export.tflite.graph_lowering import GraphLowering
from shufflenet_deploy.export.tflite.lowering_plans import PaddedAverage
from shufflenet_deploy.export.tflite.program import Array
from shufflenet_deploy.network.graph import AdaptiveAveragePool, Conv, Pair, Pool, PoolKind


def lower_pool(lowering: GraphLowering, layer: Pool) -> None:
    """Write a pool; averages divide by all of the window or by the pixels inside, as asked."""
    if layer.kind is PoolKind.MAX and lowering.plan.split_pools:
        _lower_separable_max_pool(lowering, layer)
    elif layer.kind is PoolKind.MAX:
        source, padding = lowering.windowed(
            layer, layer.kernel, layer.stride, layer.padding, lowest=True
        )
        lowering.emit(layer, "MAX_POOL_2D", (source,), _pool_options(layer, padding))
    elif not any(layer.padding):
        source = lowering.nhwc(layer.inputs[0])
        lowering.emit(layer, "AVERAGE_POOL_2D", (source,), _pool_options(layer, "VALID"))
    elif layer.count_padding:
        _lower_padded_average(lowering, layer)
    elif lowering.same_padding(layer.inputs[0], layer.kernel, layer.stride) == layer.padding:
        # With SAME padding the runtime divides by the pixels inside.
        source = lowering.nhwc(layer.inputs[0])
        lowering.emit(layer, "AVERAGE_POOL_2D", (source,), _pool_options(layer, "SAME"))
    else:
        _lower_unpadded_average(lowering, layer)


def _lower_separable_max_pool(lowering: GraphLowering, layer: Pool) -> None:
    """Separable max pool: over rows, each as one pixel of many channels, then over columns."""
    source, zeros = layer.inputs[0], lowering.is_non_negative(layer.inputs[0])
    channels, height, width = lowering.graph.shapes[source]
    rows = lowering.graph.shapes[layer.output][1]
    names = [f"{layer.output}:{word}" for word in ("rows", "highest-rows", "highest")]
    lowering.reshape(lowering.nhwc(source), names[0], (1, height, 1, width * channels))
    top, left, bottom, right = layer.padding
    tall = lowering.pad(names[0], f"{names[0]}:padded", (top, 0, bottom, 0), zeros=zeros)
    options = _window_options((layer.kernel[0], 1), (layer.stride[0], 1), "VALID")
    lowering.write("MAX_POOL_2D", (tall,), names[1], (1, rows, 1, width * channels), options)
    lowering.reshape(names[1], names[2], (1, rows, width, channels))
    broad = lowering.pad(names[2], f"{names[2]}:padded", (0, left, 0, right), zeros=zeros)
    options = _window_options((1, layer.kernel[1]), (1, layer.stride[1]), "VALID")
    lowering.emit(layer, "MAX_POOL_2D", (broad,), options)


def _lower_padded_average(lowering: GraphLowering, layer: Pool) -> None:
    """Average that counts its padding: a pool, or a depthwise convolution of equal weights."""
    if lowering.plan.padded_average is PaddedAverage.POOL:
        source = lowering.padded(layer.inputs[0], layer.padding)
        lowering.emit(layer, "AVERAGE_POOL_2D", (source,), _pool_options(layer, "VALID"))
        return
    channels = lowering.graph.shapes[layer.output][0]
    lower_conv(
        lowering,
        Conv(
            name=layer.name,
            inputs=layer.inputs,
            output=layer.output,
            weight=np.full((channels, 1, *layer.kernel), 1 / math.prod(layer.kernel), "f4"),
            bias=np.zeros(channels, np.float32),
            stride=layer.stride,
            padding=layer.padding,
            groups=channels,
            activation=layer.activation,
        ),
    )


def _lower_unpadded_average(lowering: GraphLowering, layer: Pool) -> None:
    """Average that ignores its padding: over all of the window, then rescaled at the border."""
    _, height, width = lowering.graph.shapes[layer.inputs[0]]
    top, left, bottom, right = layer.padding
    inside = np.pad(np.ones((height, width)), ((top, bottom), (left, right)))
    rows, columns = lowering.graph.shapes[layer.output][1:]
    (kh, kw), (sh, sw) = layer.kernel, layer.stride
    counted = np.array(
        [
            [inside[y * sh : y * sh + kh, x * sw : x * sw + kw].sum() for x in range(columns)]
            for y in range(rows)
        ]
    )
    whole = f"{layer.output}:whole"
    shape = lowering.nhwc_shape_of(layer.output)
    lowering.write(
        "AVERAGE_POOL_2D",
        (lowering.padded(layer.inputs[0], layer.padding),),
        whole,
        shape,
        _pool_options(layer, "VALID"),
    )
    share = (kh * kw / counted).astype(np.float32)[None, :, :, None]
    inputs = (whole, lowering.constant(f"{layer.name}:share", share))
    lowering.emit(layer, "MUL", inputs, {})


def lower_adaptive_pool(lowering: GraphLowering, layer: AdaptiveAveragePool) -> None:
    """Write an adaptive average as a mean, as a plain pool, or as a matrix product."""
    height, width = lowering.graph.shapes[layer.inputs[0]][1:]
    if layer.size == (1, 1):
        axes = lowering.constant("axes:1,2", np.array([1, 2], np.int32))
        inputs = (lowering.nhwc(layer.inputs[0]), axes)
        lowering.emit(layer, "MEAN", inputs, {"keepDims": True})
        return
    windows = tuple(
        _even_windows(extent, count)
        for extent, count in zip((height, width), layer.size, strict=True)
    )
    if all(windows):
        rows, columns = (pair for pair in windows if pair)
        kernel, stride = (rows[0], columns[0]), (rows[1], columns[1])
        options = _window_options(kernel, stride, "VALID")
        source = lowering.nhwc(layer.inputs[0])
        lowering.emit(layer, "AVERAGE_POOL_2D", (source,), options)
        return
    _lower_uneven_average(lowering, layer)


def _lower_uneven_average(lowering: GraphLowering, layer: AdaptiveAveragePool) -> None:
    """Uneven windows as one matrix product per channel; leaves the feature map planar."""
    height, width = lowering.graph.shapes[layer.inputs[0]][1:]
    weight = np.kron(_averages(height, layer.size[0]), _averages(width, layer.size[1]))
    flat = f"{layer.output}:pixels"
    channels, cells = lowering.graph.shapes[layer.output][0], math.prod(layer.size)
    lowering.reshape(lowering.nhwc(layer.inputs[0]), flat, (height * width, channels))
    lowering.transpose(flat, f"{layer.output}:channels", (1, 0))
    planar = f"{layer.output}:planar"
    inputs = (
        f"{layer.output}:channels",
        lowering.constant(f"{layer.name}:weight", weight.astype(np.float32)),
        lowering.constant(f"{layer.name}:bias", np.zeros(cells, np.float32)),
    )
    lowering.write("FULLY_CONNECTED", inputs, planar, (channels, cells), {})
    lowering.planes[layer.output] = planar


def _pool_options(layer: Pool, padding: str) -> dict[str, Any]:
    return _window_options(layer.kernel, layer.stride, padding)


def _window_options(kernel: Pair, stride: Pair, padding: str) -> dict[str, Any]:
    return {
        "padding": padding,
        "strideH": stride[0],
        "strideW": stride[1],
        "filterHeight": kernel[0],
        "filterWidth": kernel[1],
    }


def _bounds(extent: int, count: int) -> list[tuple[int, int]]:
    """Windows of an adaptive pool in PyTorch: from floor(i n / m) to ceil((i + 1) n / m)."""
    return [(i * extent // count, -(-(i + 1) * extent // count)) for i in range(count)]


def _even_windows(extent: int, count: int) -> Pair | None:
    """Kernel and stride, when the windows of an adaptive pool happen to be a plain pool's."""
    bounds = _bounds(extent, count)
    size, step = bounds[0][1], (bounds[1][0] if count > 1 else 1)
    even = all(bound == (i * step, i * step + size) for i, bound in enumerate(bounds))
    return (size, step) if even and step and (extent - size) // step + 1 == count else None


def _averages(extent: int, count: int) -> Array:
    """Matrix (count, extent) that averages each window of an adaptive pool."""
    matrix = np.zeros((count, extent))
    for row, (start, end) in enumerate(_bounds(extent, count)):
        matrix[row, start:end] = 1 / (end - start)
    return matrix
