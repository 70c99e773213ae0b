"""The shape of what each layer of a graph computes: one rule for all readers of files.

Shapes are those of the graph, without the batch. A layer that does not fit its inputs raises
``ValueError`` with the reason, to which a reader adds the place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from shufflenet_deploy.network.graph import (
    AdaptiveAveragePool,
    Add,
    Arithmetic,
    Concat,
    Conv,
    ConvTranspose,
    Dense,
    DepthToSpace,
    Elementwise,
    Flatten,
    Layer,
    LeakyRelu,
    LocalResponseNorm,
    Multiply,
    Normalize,
    Pad,
    Pair,
    Permute,
    Pool,
    Reduce,
    Reshape,
    Resize,
    Shuffle,
    Slice,
    SpaceToDepth,
)

Shape = tuple[int, ...]

#: 2 GB in float32: more than a map of any network, and no claim of a hostile file gets further.
MOST_ELEMENTS = 1 << 29
#: Across more channels no network normalises.
_MOST_NORMALISED = 1 << 12


def output_shape(layer: Layer, inputs: Sequence[Shape]) -> Shape:
    """Shape of ``layer.output``, from those of the layer's inputs; most layers keep the first's.

    Raises:
        ValueError: the layer cannot take such inputs, or its output is no tensor (a size below 1,
            more than ``MOST_ELEMENTS``).
    """
    rule = _RULES.get(type(layer))
    shape = inputs[0] if rule is None else rule(layer, *inputs)
    if any(size < 1 for size in shape):
        raise ValueError(f"leaves nothing of {_text(inputs[0])}: choose a larger resolution")
    _check_size(shape)
    return shape


def _check_size(shape: Sequence[int]) -> None:
    if math.prod(shape) > MOST_ELEMENTS:
        raise ValueError(f"makes a tensor of {_text(tuple(shape))}, more than any network has")


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "one number"


def _map(shape: Shape) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise ValueError(f"needs a feature map, (channels, height, width), and gets {_text(shape)}")
    return (shape[0], shape[1], shape[2])


def _positive(what: str, sizes: Sequence[int]) -> None:
    if any(size < 1 for size in sizes):
        raise ValueError(f"has the {what} {_text(tuple(sizes))}")


def _window_counts(size: Pair, window: Pair, stride: Pair, padding: Sequence[int]) -> Pair:
    _positive("stride", stride)
    _positive("window", window)
    if min(padding) < 0:
        raise ValueError("has a negative padding")
    whole = [size[axis] + padding[axis] + padding[2 + axis] for axis in (0, 1)]
    _check_size(whole)
    rooms = (whole[axis] - window[axis] for axis in (0, 1))
    height, width = (
        room // step + 1 if room >= 0 else 0 for room, step in zip(rooms, stride, strict=True)
    )
    return height, width


def _check_channels(found: int, wanted: int) -> None:
    if found != wanted:
        raise ValueError(f"has weights for {wanted} channels and gets {found}")


def _check_bias(bias: np.ndarray, channels: int) -> None:
    if bias.shape != (channels,):
        raise ValueError(f"has a bias of {_text(bias.shape)} for {channels} channels")


def _conv(layer: Conv, x: Shape) -> Shape:
    channels, *size = _map(x)
    out, per_group, *kernel = layer.weight.shape
    _positive("kernel", kernel)
    _positive("dilation", layer.dilation)
    if layer.groups < 1 or out % layer.groups:
        raise ValueError(f"makes {out} channels in {layer.groups} groups")
    _check_channels(channels, per_group * layer.groups)
    _check_bias(layer.bias, out)
    return (out, *_window_counts((size[0], size[1]), layer.window, layer.stride, layer.padding))


def _conv_transpose(layer: ConvTranspose, x: Shape) -> Shape:
    channels, *size = _map(x)
    rows, per_group, *kernel = layer.weight.shape
    _positive("kernel", kernel)
    _positive("stride", layer.stride)
    _positive("dilation", layer.dilation)
    if layer.groups < 1 or rows % layer.groups:
        raise ValueError(f"takes {rows} channels in {layer.groups} groups")
    _check_channels(channels, rows)
    _check_bias(layer.bias, per_group * layer.groups)
    whole = [
        (size[axis] - 1) * layer.stride[axis] + (kernel[axis] - 1) * layer.dilation[axis] + 1
        for axis in (0, 1)
    ]
    _check_size([per_group * layer.groups, *whole])
    height, width = (
        whole[axis] - layer.cropping[axis] - layer.cropping[2 + axis] for axis in (0, 1)
    )
    return (per_group * layer.groups, height, width)


def _dense(layer: Dense, x: Shape) -> Shape:
    if len(x) != 1:
        raise ValueError(f"needs a vector and gets {_text(x)}")
    _check_channels(x[0], layer.weight.shape[1])
    _check_bias(layer.bias, layer.weight.shape[0])
    return (layer.weight.shape[0],)


def _pool(layer: Pool, x: Shape) -> Shape:
    channels, *size = _map(x)
    if any(
        pixels >= layer.kernel[axis % 2] for axis, pixels in enumerate(layer.padding) if axis < 2
    ):
        raise ValueError("has windows that lie in the padding alone")
    return (
        channels,
        *_window_counts((size[0], size[1]), layer.kernel, layer.stride, layer.padding),
    )


def _adaptive(layer: AdaptiveAveragePool, x: Shape) -> Shape:
    return (_map(x)[0], *layer.size)


def _same(_: Layer, x: Shape, *others: Shape) -> Shape:
    if any(other != x for other in others):
        raise ValueError(f"has operands of {_text(x)} and {_text(others[0])}")
    return x


def _broadcast(_: Layer, *operands: Shape) -> Shape:
    try:
        return tuple(map(int, np.broadcast_shapes(*operands)))
    except ValueError:
        shown = " and ".join(map(_text, operands))
        raise ValueError(f"has operands of {shown}, which do not fit") from None


def _multiply(_: Multiply, x: Shape, gate: Shape) -> Shape:
    if gate != (_map(x)[0], 1, 1):
        raise ValueError(f"has operands of {_text(x)} and {_text(gate)}")
    return x


def _arithmetic(layer: Arithmetic, *operands: Shape) -> Shape:
    constant = () if layer.constant is None else (tuple(layer.constant.shape),)
    return _broadcast(layer, *operands, *constant)


def _axis(axis: int, shape: Shape) -> int:
    if not 0 <= axis < len(shape):
        raise ValueError(f"works along axis {axis} of {_text(shape)}")
    return axis


def _concat(layer: Concat, *parts: Shape) -> Shape:
    axis = _axis(layer.axis, parts[0])
    rests = {(*part[:axis], *part[axis + 1 :]) for part in parts if len(part) == len(parts[0])}
    if len(rests) != 1 or any(len(part) != len(parts[0]) for part in parts):
        raise ValueError(f"joins {' and '.join(map(_text, parts))}, which do not fit")
    return (*parts[0][:axis], sum(part[axis] for part in parts), *parts[0][axis + 1 :])


def _slice(layer: Slice, x: Shape) -> Shape:
    axis = _axis(layer.axis, x)
    if layer.step < 1 or not 0 <= layer.start <= layer.stop <= x[axis]:
        raise ValueError(f"takes [{layer.start}:{layer.stop}:{layer.step}] of {x[axis]}")
    return (*x[:axis], len(range(layer.start, layer.stop, layer.step)), *x[axis + 1 :])


def _pad(layer: Pad, x: Shape) -> Shape:
    channels, height, width = _map(x)
    top, left, bottom, right = layer.padding
    if min(layer.padding) < 0:
        raise ValueError("has a negative padding")
    if layer.mode == "reflect" and (max(top, bottom) >= height or max(left, right) >= width):
        raise ValueError(f"mirrors more pixels than {height}x{width} have")
    return (channels, height + top + bottom, width + left + right)


def _resize(layer: Resize, x: Shape) -> Shape:
    return (_map(x)[0], *layer.size)


def _depth_to_space(layer: DepthToSpace, x: Shape) -> Shape:
    channels, height, width = _map(x)
    _positive("block", (layer.block,))
    if channels % layer.block**2:
        raise ValueError(f"moves {channels} channels to blocks of {layer.block}x{layer.block}")
    return (channels // layer.block**2, height * layer.block, width * layer.block)


def _space_to_depth(layer: SpaceToDepth, x: Shape) -> Shape:
    channels, height, width = _map(x)
    _positive("block", (layer.block,))
    if height % layer.block or width % layer.block:
        raise ValueError(f"cuts {height}x{width} into blocks of {layer.block}x{layer.block}")
    return (channels * layer.block**2, height // layer.block, width // layer.block)


def _shuffle(layer: Shuffle, x: Shape) -> Shape:
    if layer.groups < 1 or _map(x)[0] % layer.groups:
        raise ValueError(f"shuffles {x[0]} channels in {layer.groups} groups")
    return x


def _response_norm(layer: LocalResponseNorm, x: Shape) -> Shape:
    if not 1 <= layer.size <= _MOST_NORMALISED:
        raise ValueError(f"normalises across {layer.size} channels")
    return _map(x)


def _normalize(layer: Normalize, x: Shape) -> Shape:
    axes = {_axis(axis, x) for axis in layer.axes}
    if not axes or len(axes) != len(layer.axes):
        raise ValueError(f"normalises {_text(x)} over the axes {layer.axes}")
    if layer.groups != 1 and (layer.groups < 1 or len(axes) < len(x) or x[0] % layer.groups):
        raise ValueError(f"normalises {_text(x)} in {layer.groups} groups")
    for array in (layer.scale, layer.shift):
        pairs = zip(array.shape, x, strict=False)
        if array.ndim != len(x) or any(one not in {1, size} for one, size in pairs):
            raise ValueError(f"scales {_text(x)} by {_text(array.shape)}")
    return x


def _leaky_relu(layer: LeakyRelu, x: Shape) -> Shape:
    if layer.slope.shape not in {(1,), x[:1]}:
        raise ValueError(f"has slopes of {_text(layer.slope.shape)} for {_text(x)}")
    return x


def _reduce(layer: Reduce, x: Shape) -> Shape:
    axes = {_axis(axis, x) for axis in layer.axes}
    if layer.keep:
        return tuple(1 if axis in axes else size for axis, size in enumerate(x))
    return tuple(size for axis, size in enumerate(x) if axis not in axes)


def _reshape(layer: Reshape, x: Shape) -> Shape:
    if any(size < 1 for size in layer.shape) or math.prod(layer.shape) != math.prod(x):
        raise ValueError(f"views {_text(x)} as {_text(layer.shape)}")
    return layer.shape


def _permute(layer: Permute, x: Shape) -> Shape:
    if sorted(layer.order) != list(range(len(x))):
        raise ValueError(f"orders the axes of {_text(x)} as {layer.order}")
    return tuple(x[axis] for axis in layer.order)


def _flatten(_: Flatten, x: Shape) -> Shape:
    return (math.prod(x),)


_RULES: dict[type[Layer], Callable[..., Any]] = {
    Conv: _conv,
    ConvTranspose: _conv_transpose,
    Dense: _dense,
    Pool: _pool,
    AdaptiveAveragePool: _adaptive,
    Add: _same,
    Multiply: _multiply,
    Arithmetic: _arithmetic,
    Concat: _concat,
    Slice: _slice,
    Pad: _pad,
    Resize: _resize,
    DepthToSpace: _depth_to_space,
    SpaceToDepth: _space_to_depth,
    Shuffle: _shuffle,
    LocalResponseNorm: _response_norm,
    Normalize: _normalize,
    Elementwise: _same,
    LeakyRelu: _leaky_relu,
    Reduce: _reduce,
    Reshape: _reshape,
    Permute: _permute,
    Flatten: _flatten,
}
