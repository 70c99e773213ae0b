"""Readers of Caffe's layers that move elements: joins, slices, views, shuffles, resizes."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from shufflenet_deploy.network.frontends.caffe.net import NetReader, given
from shufflenet_deploy.network.frontends.file_builder import Value
from shufflenet_deploy.network.graph import Concat, Resize, ResizeMode, Sampling


def _same(net: NetReader, x: Value) -> Any:
    return x if len(net.layer.tops) == 1 else (x,) * len(net.layer.tops)


def _nothing(_: NetReader, *__: Value) -> tuple[Value, ...]:
    return ()


def _concat(net: NetReader, *values: Value) -> Value:
    parameter = net.parameter("concat_param")
    axis = given(parameter, "axis", given(parameter, "concat_dim", 1))
    if len(values) == 1:
        return values[0]
    return net.builder.emit(Concat, *values, axis=net.axis(axis, values[0]))


def _slice(net: NetReader, x: Value) -> tuple[Value, ...]:
    parameter = net.parameter("slice_param")
    axis = net.axis(given(parameter, "axis", given(parameter, "slice_dim", 1)), x)
    size, parts = x.shape[axis], len(net.layer.tops)
    points = list(parameter.slice_point)
    if not points and parts and size % parts == 0:
        points = [size // parts * index for index in range(1, parts)]
    bounds = [0, *points, size]
    if len(bounds) != parts + 1 or sorted(set(bounds)) != bounds:
        net.fail(f"cuts {size} at {points} into {parts} parts")
    return tuple(net.builder.sliced(x, axis, start, stop) for start, stop in pairwise(bounds))


def _flatten(net: NetReader, x: Value) -> Value:
    parameter = net.parameter("flatten_param")
    first = net.axis(given(parameter, "axis", 1), x)
    last = net.axis(given(parameter, "end_axis", -1), x)
    if first > last:
        net.fail("ends before it begins")
    inner = math.prod(x.shape[first : last + 1])
    return net.builder.reshaped(x, (*x.shape[:first], inner, *x.shape[last + 1 :]))


def _reshape(net: NetReader, x: Value) -> Value:
    parameter = net.parameter("reshape_param")
    if given(parameter, "axis", 0) != 0 or given(parameter, "num_axes", -1) != -1:
        net.fail("views a part of the axes, and all of them are known")
    whole = (1, *x.shape)
    sizes = [
        whole[index] if size == 0 and index < len(whole) else size
        for index, size in enumerate(parameter.shape.dim)
    ]
    if sizes.count(-1) == 1:
        known = math.prod(size for size in sizes if size != -1)
        sizes[sizes.index(-1)] = math.prod(whole) // known if known > 0 else 0
    if len(sizes) < 2 or sizes[0] != 1:
        net.fail(f"views {whole} as {tuple(sizes)}, another batch")
    return net.builder.reshaped(x, tuple(sizes[1:]))


def _permute(net: NetReader, x: Value) -> Value:
    order = list(net.parameter("permute_param").order)
    order += [axis for axis in range(len(x.shape) + 1) if axis not in order]
    if order[0] != 0:
        net.fail("moves the batch")
    return net.builder.permuted(x, [axis - 1 for axis in order[1:]])


def _shuffle_channel(net: NetReader, x: Value) -> Value:
    return net.builder.shuffled(x, given(net.parameter("shuffle_channel_param"), "group", 1))


def _interp(net: NetReader, x: Value) -> Value:
    parameter = net.parameter("interp_param")
    if parameter.pad_beg or parameter.pad_end or len(x.shape) != 3:
        net.fail("pads or crops what it resizes, which no layer here does")
    size = [parameter.height, parameter.width]
    if not all(size):
        shrink, zoom = given(parameter, "shrink_factor", 1), given(parameter, "zoom_factor", 1)
        if min(shrink, zoom) < 1:
            net.fail(f"resizes by {zoom}/{shrink}")
        small = [(one - 1) // shrink + 1 for one in x.shape[1:]]
        size = [one + (one - 1) * (zoom - 1) for one in small]
    return net.builder.emit(
        Resize,
        x,
        size=(size[0], size[1]),
        mode=ResizeMode.BILINEAR,
        sampling=Sampling.ALIGN_CORNERS,
    )


def _upsample(net: NetReader, x: Value, *more: Value) -> Value:
    if more or len(x.shape) != 3:
        net.fail("puts maxima back to where they were, which no layer here does")
    scale = given(net.parameter("upsample_param"), "scale", 2)
    size = (x.shape[1] * scale, x.shape[2] * scale)
    return net.builder.emit(
        Resize, x, size=size, mode=ResizeMode.NEAREST, sampling=Sampling.ASYMMETRIC
    )


READERS: dict[str, Callable[..., Any]] = {
    "Concat": _concat,
    "Dropout": _same,
    "Flatten": _flatten,
    "Interp": _interp,
    "Permute": _permute,
    "Reshape": _reshape,
    "ShuffleChannel": _shuffle_channel,
    "Silence": _nothing,
    "Slice": _slice,
    "Split": _same,
    "Upsample": _upsample,
}
