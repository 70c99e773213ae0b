"""Borders of zeros that a window reads become its padding."""

from __future__ import annotations

import math
from dataclasses import replace

from shufflenet_deploy.network.graph import Conv, Graph, Layer, Pad, PadMode, Pair, Pool, PoolKind
from shufflenet_deploy.network.passes.rewriting import alive

_Padding = tuple[int, int, int, int]


def padded_windows(graph: Graph) -> Graph:
    """Constant borders read by convolutions and pools, where padding is the same border."""
    producers = {layer.output: layer for layer in graph.layers}
    layers: list[Layer] = []
    for layer in graph.layers:
        border = producers.get(layer.inputs[0])
        layers.append(layer)
        if isinstance(layer, (Conv, Pool)) and isinstance(border, Pad) and _same(border, layer):
            layers[-1] = _padded(layer, border, graph.shapes)
            producers[layer.output] = layers[-1]
    return alive(replace(graph, layers=tuple(layers)))


def _same(border: Pad, layer: Conv | Pool) -> bool:
    """True if padding means what the border holds."""
    if border.mode is not PadMode.CONSTANT or min(border.padding) < 0:
        return False
    if isinstance(layer, Conv):
        return border.value == 0
    sides = zip(layer.padding, border.padding, layer.kernel * 2, strict=True)
    if any(own + more >= size for own, more, size in sides):
        return False  # Some window would lie outside the image.
    if layer.kind is PoolKind.MAX:
        return border.value == -math.inf
    return border.value == 0 and (layer.count_padding or not any(layer.padding))


def _padded(layer: Conv | Pool, border: Pad, shapes: dict[str, tuple[int, ...]]) -> Layer:
    window: Pair = layer.window if isinstance(layer, Conv) else layer.kernel
    size = shapes[border.inputs[0]][1:]
    outputs = shapes[layer.output][1:]
    starts = [layer.padding[axis] + border.padding[axis] for axis in (0, 1)]
    ends = [
        max(0, (outputs[axis] - 1) * layer.stride[axis] + window[axis] - size[axis] - starts[axis])
        for axis in (0, 1)
    ]
    padding: _Padding = (starts[0], starts[1], ends[0], ends[1])
    if isinstance(layer, Conv):
        return replace(layer, inputs=border.inputs, padding=padding)
    return replace(layer, inputs=border.inputs, padding=padding, count_padding=True)
