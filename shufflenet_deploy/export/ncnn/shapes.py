"""Shapes and multiply-adds of ncnn's layers, by the keys of their parameters in its text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from shufflenet_deploy.export.ncnn.param import Layer
from shufflenet_deploy.export.untrusted import product
from shufflenet_deploy.records import TensorSpec

#: (channels, height, width), or fewer.
Shape = tuple[int, ...]

CONVOLUTIONS = ("Convolution", "ConvolutionDepthWise")
#: Layers whose output is shaped as their largest input.
_SAME = frozenset((
    "BinaryOp", "UnaryOp", "ReLU", "Clip", "Sigmoid", "HardSwish", "HardSigmoid", "Swish", "TanH",
    "Dropout", "BatchNorm", "Scale", "Bias", "PReLU", "ShuffleChannel", "Split", "LRN", "Softmax",
    "GELU", "ELU", "Noop",
))  # fmt: skip
#: A size that is not stated; a padding that ncnn works out as TensorFlow does is this or less.
_NOT_STATED = -233


class _Window(NamedTuple):
    """The keys of a window's parameters; each pair is of the height's and the width's."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]
    end_pad: tuple[int, int]
    dilation: tuple[int, int] | None = None


_CONVOLUTION = _Window((11, 1), (13, 3), (14, 4), (16, 15), (12, 2))
_POOLING = _Window((11, 1), (12, 2), (13, 3), (15, 14))


def cost(
    layers: Sequence[Layer], inputs: Sequence[TensorSpec]
) -> tuple[int, set[str], dict[str, Shape]]:
    """Multiply-adds, the kinds of layers behind which they are not known, and shapes of values."""
    shapes: dict[str, Shape] = {one.name: tuple(one.shape[1:]) for one in inputs}
    total, missing = 0, set()
    for layer in layers:
        given = [shapes[name] for name in layer.inputs if name in shapes]
        if layer.kind == "Input" or len(given) < len(layer.inputs):
            continue
        shape = _shape(layer, given)
        if shape is None:
            missing.add(layer.kind)
            continue
        product(shape)
        shapes |= dict.fromkeys(layer.outputs, shape)
        if layer.kind in CONVOLUTIONS:
            total += layer.number(6, 0) * math.prod(shape[1:])
        elif layer.kind == "InnerProduct":
            total += layer.number(2, 0)
    return total, missing, shapes


def _shape(layer: Layer, given: Sequence[Shape]) -> Shape | None:
    """The shape of a layer's outputs; None for a layer that is not known here."""
    shape: Shape | None = None
    if layer.kind in _SAME:
        shape = max(given, key=math.prod)
    elif layer.kind == "InnerProduct":
        shape = (layer.number(0, 0),)
    elif layer.kind in ("Flatten", "Reshape"):
        shape = _reshaped(layer, given[0])
    elif layer.kind == "Concat" and layer.number(0, 0) == 0:
        shape = (sum(one[0] for one in given), *given[0][1:])
    elif layer.kind == "Slice" and layer.number(1, 0) == 0:
        shape = _part(layer, given[0])
    elif layer.kind in CONVOLUTIONS:
        shape = (layer.number(0, 0), *_windows(layer, _CONVOLUTION, given[0], ceil=False))
    elif layer.kind == "Pooling":
        shape = _pooled(layer, given[0])
    return shape


def _pooled(layer: Layer, given: Shape) -> Shape:
    if layer.number(4, 0):  # over the whole map
        return given[:1]
    if layer.number(7, 0):  # adaptive
        width = layer.number(8, 0)
        return (given[0], layer.number(18, width), width)
    return (given[0], *_windows(layer, _POOLING, given, ceil=layer.number(5, 0) == 0))


def _part(layer: Layer, given: Shape) -> Shape | None:
    """The shape of each slice of channels where all are alike, as in files of this package."""
    count = len(layer.outputs)
    if set(layer.numbers(0)) != {_NOT_STATED} or given[0] % count:
        return None
    return (given[0] // count, *given[1:])


def _reshaped(layer: Layer, given: Shape) -> Shape:
    sizes = [layer.number(key, _NOT_STATED) for key in (2, 1, 0)]
    wanted = [size for size in sizes if size != _NOT_STATED]
    if layer.kind == "Flatten" or not wanted:
        return (math.prod(given),)
    rest = math.prod(given) // max(1, math.prod(size for size in wanted if size > 0))
    return tuple(size if size > 0 else rest for size in wanted)


def _windows(layer: Layer, keys: _Window, given: Shape, *, ceil: bool) -> tuple[int, int]:
    """Height and width of what windows make of a map (channels, height, width)."""
    _, *sides = given

    def pair(of: tuple[int, int], otherwise: int) -> tuple[int, int]:
        width = layer.number(of[1], otherwise)
        return layer.number(of[0], width), width

    kernels, strides, pads = pair(keys.kernel, 1), pair(keys.stride, 1), pair(keys.pad, 0)
    ends = tuple(layer.number(key, pad) for key, pad in zip(keys.end_pad, pads, strict=True))
    dilations = pair(keys.dilation, 1) if keys.dilation else (1, 1)
    found = []
    for axis, size in enumerate(sides):
        if pads[axis] <= _NOT_STATED:
            found.append(-(-size // strides[axis]))
            continue
        reach = dilations[axis] * (kernels[axis] - 1) + 1
        room = size + pads[axis] + ends[axis] - reach
        found.append((-(-room // strides[axis]) if ceil else room // strides[axis]) + 1)
    height, width = found
    return height, width
