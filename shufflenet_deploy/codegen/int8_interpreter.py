"""An int8 program in numpy, number by number as the C does: the two are equal bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.codegen.ir import int8 as ir
from shufflenet_deploy.codegen.ir.int8 import (
    Int8Program,
    Padding,
    PixelOp,
    PixelView,
    Requantization,
)
from shufflenet_deploy.codegen.ir.planar import OUTPUT
from shufflenet_deploy.network.graph import FloatArray, Pair

_Whole = NDArray[np.int64]


def run(program: Int8Program, picture: FloatArray) -> FloatArray:
    """The scores for one picture ``(C, H, W)``."""
    for step, value in execute(program, picture):
        if step.target.buffer == OUTPUT:
            answer: FloatArray = value.astype(np.float32)
            return answer
    raise AssertionError("a program writes its output")


def execute(program: Int8Program, picture: FloatArray) -> Any:
    """Yield each step and what it writes: ``(H, W, C)`` bytes as whole numbers, or floats."""
    buffers: dict[int, _Whole] = {}
    for step in program.steps:
        value = _compute(program.numbers, step, buffers, picture)
        target = step.target
        if target.buffer >= 0 and not isinstance(step, ir.FillPadding):
            shape = (target.height, target.width, target.pixel)
            whole = buffers.get(target.buffer)
            if whole is None or whole.shape != shape:
                whole = np.zeros(shape, np.int64)
            whole[:, :, target.first : target.first + target.channels] = value
            buffers[target.buffer] = whole
        yield step, value


def _read(buffers: dict[int, _Whole], place: PixelView) -> _Whole:
    return buffers[place.buffer][:, :, place.first : place.first + place.channels]


def _compute(
    numbers: Requantization, step: PixelOp, buffers: dict[int, _Whole], picture: FloatArray
) -> Any:
    found: Any
    match step:
        case ir.QuantizeInput():
            near = np.rint(picture.astype(np.float32) * np.float32(step.inverse))
            whole = np.clip(near, -32768, 32767).astype(np.int64) + step.target.zero
            found = _byte(numbers, whole).transpose(1, 2, 0)
        case ir.FillPadding():
            found = None
        case ir.Convolution() | ir.DepthwiseConvolution():
            found = _convolution(numbers, step, buffers)
        case ir.MaxPool():
            found = _windows(
                _padded(_read(buffers, step.source), step.padding, step.source.fill),
                step.kernel,
                step.stride,
            ).max((-2, -1))
        case ir.AveragePool():
            padded = _padded(_read(buffers, step.source), step.padding, step.source.fill)
            total = _windows(padded, step.kernel, step.stride).sum((-2, -1)) + step.start
            product = (total << step.up) * step.factor
            found = _byte(numbers, (product + (1 << 14)) >> 15)
        case ir.GlobalAveragePool():
            total = _read(buffers, step.source).sum((0, 1), keepdims=True) + step.start
            found = _byte(numbers, _scaled(numbers, total, step.factor, step.shift))
        case ir.AdaptivePool():
            found = _areas(numbers, step, _read(buffers, step.source))
        case ir.LookupTable():
            table = step.table if numbers is Requantization.FIXED else step.table.view(np.uint8)
            found = _shuffled(
                table[_read(buffers, step.source) & 255].astype(np.int64), step.shuffle
            )
        case ir.Add():
            one, two = (
                _part(_read(buffers, source), factor)
                for source, factor in zip(step.sources, step.factors, strict=True)
            )
            found = _byte(numbers, (one + two + step.start) >> step.power)
        case ir.ChannelScale():
            by = _read(buffers, step.sources[1]) & 255
            found = _times(numbers, step, _read(buffers, step.source), step.factors[by])
        case ir.LocalResponseNorm():
            value = _read(buffers, step.source)
            found = _times(numbers, step, value, _norms(step, value))
        case ir.DequantizeOutput():
            source = step.source
            value = (_read(buffers, source) - source.zero).astype(np.float32)
            found = (value * np.float32(source.scale)).transpose(2, 0, 1).ravel()
        case _:
            raise AssertionError(type(step))
    return found


def _convolution(
    numbers: Requantization,
    step: ir.Convolution | ir.DepthwiseConvolution,
    buffers: dict[int, _Whole],
) -> Any:
    source = step.source
    x = _padded(_read(buffers, source), step.padding, source.fill)
    weight = step.weight
    if isinstance(step, ir.DepthwiseConvolution):
        weight, groups = weight[:, None], len(weight)
        stride = (step.stride, step.stride)
    else:
        groups, stride = step.groups, step.stride
    total = _grouped_sums(x, weight, groups, stride) + step.bias
    if isinstance(step, ir.Convolution):
        if step.real:
            return (total.astype(np.float32) * step.factor).ravel()
        if step.residual is not None:
            near = _scaled(numbers, total, step.factor, step.shift - step.fraction)
            other = _read(buffers, step.sources[1]) * step.residual
            both = _sixteen(near + other)
            half = 1 << step.fraction >> 1
            return _byte(numbers, (both + half) >> step.fraction)
    value = _byte(numbers, _scaled(numbers, total, step.factor, step.shift))
    return _shuffled(value, step.shuffle) if isinstance(step, ir.Convolution) else value


def _grouped_sums(x: _Whole, weight: NDArray[np.int8], groups: int, stride: Pair) -> _Whole:
    """Sums of products ``(H, W, out)``, tap by tap; float64 holds these integers exactly."""
    out, per_group, *kernel = weight.shape
    height, width = ((x.shape[i] - kernel[i]) // stride[i] + 1 for i in (0, 1))
    total = np.zeros((groups, height * width, out // groups))
    taps = weight.astype(np.float64).reshape(groups, -1, per_group, *kernel)
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            rows = slice(row, row + height * stride[0], stride[0])
            columns = slice(column, column + width * stride[1], stride[1])
            pixels = x[rows, columns].astype(np.float64).reshape(-1, groups, per_group)
            total += pixels.swapaxes(0, 1) @ taps[..., row, column].swapaxes(1, 2)
    whole: _Whole = total.swapaxes(0, 1).reshape(height, width, out).astype(np.int64)
    return whole


def _shuffled(value: _Whole, groups: int) -> _Whole:
    height, width, channels = value.shape
    apart = value.reshape(height, width, groups, channels // groups)
    return apart.swapaxes(2, 3).reshape(height, width, channels)


def _areas(numbers: Requantization, step: ir.AdaptivePool, value: _Whole) -> _Whole:
    total = np.array(
        [
            [value[top:bottom, left:right].sum((0, 1)) for left, right in step.columns]
            for top, bottom in step.rows
        ]
    )
    whole = total.astype(np.int64) + step.start[:, :, None].astype(np.int64)
    return _byte(numbers, _scaled(numbers, whole, step.factor[:, :, None], step.shift))


def _times(
    numbers: Requantization,
    step: ir.ChannelScale | ir.LocalResponseNorm,
    value: _Whole,
    factors: Any,
) -> _Whole:
    start = (step.target.zero << step.power) + (1 << step.power >> 1)
    product = _part(value - step.source.zero, factors.astype(np.int64))
    return _byte(numbers, (product + start) >> step.power)


def _part(value: _Whole, factor: Any) -> _Whole:
    part: _Whole = (value * 128 * factor + (1 << 14)) >> 15
    return part


def _norms(step: ir.LocalResponseNorm, value: _Whole) -> Any:
    """The factor of each element, by the squares of the channels around it."""
    squares = np.pad((value - step.source.zero) ** 2, ((0, 0), (0, 0), (step.size // 2,) * 2))
    total = sum(squares[:, :, at : at + value.shape[2]] for at in range(step.size)) + 1
    halves = np.asarray(total, np.float32).view(np.int32) >> 16
    return step.factors[halves - (np.float32(1.0).view(np.int32) >> 16)]


def _scaled(numbers: Requantization, total: _Whole, factor: Any, shift: int) -> _Whole:
    """An accumulator in steps of the output (or fractions of a step), in 16 bits."""
    if numbers is Requantization.FLOAT:
        near = np.rint(total.astype(np.float32) * np.asarray(factor, np.float32))
        return _sixteen(np.clip(near, -(2.0**31), 2.0**31 - 1).astype(np.int64))
    upper = (2 * total * np.asarray(factor, np.int64) + (1 << 31)) >> 32
    return _sixteen((upper + (1 << shift >> 1)) >> shift)


def _sixteen(value: _Whole) -> _Whole:
    return np.clip(value, -32768, 32767)


def _byte(numbers: Requantization, value: _Whole) -> _Whole:
    return np.clip(value, numbers.lowest, numbers.highest)


def _padded(x: _Whole, padding: Padding, fill: int) -> _Whole:
    top, left, bottom, right = padding
    return np.pad(x, ((top, bottom), (left, right), (0, 0)), constant_values=fill)


def _windows(x: _Whole, kernel: Pair, stride: Pair) -> _Whole:
    """``(H, W, C, kh, kw)``."""
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(0, 1))
    strided: _Whole = windows[:: stride[0], :: stride[1]]
    return strided
