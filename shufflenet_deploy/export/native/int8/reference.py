"""An int8 program in numpy, number by number as the C does: the two are equal bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from shufflenet_deploy.export.graph import FloatArray, Pair
from shufflenet_deploy.export.native.int8 import program as steps
from shufflenet_deploy.export.native.int8.program import Numbers, Padding, Place, Program, Step
from shufflenet_deploy.export.native.program import OUTPUT

_Whole = NDArray[np.int64]


def run(program: Program, picture: FloatArray) -> FloatArray:
    """The scores for one picture ``(C, H, W)``."""
    for step, value in execute(program, picture):
        if step.target.buffer == OUTPUT:
            answer: FloatArray = value.astype(np.float32)
            return answer
    raise AssertionError("a program writes its output")


def execute(program: Program, picture: FloatArray) -> Any:
    """Yield each step and what it writes: ``(H, W, C)`` bytes as whole numbers, or floats."""
    buffers: dict[int, _Whole] = {}
    for step in program.steps:
        value = _compute(program.numbers, step, buffers, picture)
        target = step.target
        if target.buffer >= 0 and not isinstance(step, steps.Border):
            shape = (target.height, target.width, target.pixel)
            whole = buffers.get(target.buffer)
            if whole is None or whole.shape != shape:
                whole = np.zeros(shape, np.int64)
            whole[:, :, target.first : target.first + target.channels] = value
            buffers[target.buffer] = whole
        yield step, value


def _read(buffers: dict[int, _Whole], place: Place) -> _Whole:
    return buffers[place.buffer][:, :, place.first : place.first + place.channels]


def _compute(numbers: Numbers, step: Step, buffers: dict[int, _Whole], picture: FloatArray) -> Any:
    found: Any
    match step:
        case steps.Picture():
            near = np.rint(picture.astype(np.float32) * np.float32(step.inverse))
            whole = np.clip(near, -32768, 32767).astype(np.int64) + step.target.zero
            found = _byte(numbers, whole).transpose(1, 2, 0)
        case steps.Border():
            found = None
        case steps.Convolution() | steps.Depthwise():
            found = _convolution(numbers, step, buffers)
        case steps.Maximum():
            found = _windows(
                _padded(_read(buffers, step.source), step.padding, step.source.fill),
                step.kernel,
                step.stride,
            ).max((-2, -1))
        case steps.Average():
            padded = _padded(_read(buffers, step.source), step.padding, step.source.fill)
            total = _windows(padded, step.kernel, step.stride).sum((-2, -1)) + step.start
            product = (total << step.up) * step.factor
            found = _byte(numbers, (product + (1 << 14)) >> 15)
        case steps.Mean():
            total = _read(buffers, step.source).sum((0, 1), keepdims=True) + step.start
            found = _byte(numbers, _scaled(numbers, total, step.factor, step.shift))
        case steps.Areas():
            found = _areas(numbers, step, _read(buffers, step.source))
        case steps.Table():
            table = step.table if numbers is Numbers.FIXED else step.table.view(np.uint8)
            found = _shuffled(
                table[_read(buffers, step.source) & 255].astype(np.int64), step.shuffle
            )
        case steps.Sum():
            one, two = (
                _part(_read(buffers, source), factor)
                for source, factor in zip(step.sources, step.factors, strict=True)
            )
            found = _byte(numbers, (one + two + step.start) >> step.power)
        case steps.Gate():
            by = _read(buffers, step.sources[1]) & 255
            found = _times(numbers, step, _read(buffers, step.source), step.factors[by])
        case steps.Normalise():
            value = _read(buffers, step.source)
            found = _times(numbers, step, value, _norms(step, value))
        case steps.Real():
            source = step.source
            value = (_read(buffers, source) - source.zero).astype(np.float32)
            found = (value * np.float32(source.scale)).transpose(2, 0, 1).ravel()
        case _:
            raise AssertionError(type(step))
    return found


def _convolution(
    numbers: Numbers, step: steps.Convolution | steps.Depthwise, buffers: dict[int, _Whole]
) -> Any:
    source = step.source
    x = _padded(_read(buffers, source), step.padding, source.fill)
    weight = step.weight
    if isinstance(step, steps.Depthwise):
        weight, groups = weight[:, None], len(weight)
        stride = (step.stride, step.stride)
    else:
        groups, stride = step.groups, step.stride
    given = torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1)[None]).astype(np.float64))
    found = functional.conv2d(
        given, torch.from_numpy(weight.astype(np.float64)), None, stride, groups=groups
    )
    total = found[0].numpy().transpose(1, 2, 0).astype(np.int64) + step.bias
    if isinstance(step, steps.Convolution):
        if step.real:
            return (total.astype(np.float32) * step.factor).ravel()
        if step.residual is not None:
            near = _scaled(numbers, total, step.factor, step.shift - step.fraction)
            other = _read(buffers, step.sources[1]) * step.residual
            both = _sixteen(near + other)
            half = 1 << step.fraction >> 1
            return _byte(numbers, (both + half) >> step.fraction)
    value = _byte(numbers, _scaled(numbers, total, step.factor, step.shift))
    return _shuffled(value, step.shuffle) if isinstance(step, steps.Convolution) else value


def _shuffled(value: _Whole, groups: int) -> _Whole:
    height, width, channels = value.shape
    apart = value.reshape(height, width, groups, channels // groups)
    return apart.swapaxes(2, 3).reshape(height, width, channels)


def _areas(numbers: Numbers, step: steps.Areas, value: _Whole) -> _Whole:
    total = np.array(
        [
            [value[top:bottom, left:right].sum((0, 1)) for left, right in step.columns]
            for top, bottom in step.rows
        ]
    )
    whole = total.astype(np.int64) + step.start[:, :, None].astype(np.int64)
    return _byte(numbers, _scaled(numbers, whole, step.factor[:, :, None], step.shift))


def _times(
    numbers: Numbers, step: steps.Gate | steps.Normalise, value: _Whole, factors: Any
) -> _Whole:
    start = (step.target.zero << step.power) + (1 << step.power >> 1)
    product = _part(value - step.source.zero, factors.astype(np.int64))
    return _byte(numbers, (product + start) >> step.power)


def _part(value: _Whole, factor: Any) -> _Whole:
    part: _Whole = (value * 128 * factor + (1 << 14)) >> 15
    return part


def _norms(step: steps.Normalise, value: _Whole) -> Any:
    """The factor of each element, by the squares of the channels around it."""
    squares = np.pad((value - step.source.zero) ** 2, ((0, 0), (0, 0), (step.size // 2,) * 2))
    total = sum(squares[:, :, at : at + value.shape[2]] for at in range(step.size)) + 1
    halves = np.asarray(total, np.float32).view(np.int32) >> 16
    return step.factors[halves - (np.float32(1.0).view(np.int32) >> 16)]


def _scaled(numbers: Numbers, total: _Whole, factor: Any, shift: int) -> _Whole:
    """An accumulator in steps of the output (or fractions of a step), in 16 bits."""
    if numbers is Numbers.FLOAT:
        near = np.rint(total.astype(np.float32) * np.asarray(factor, np.float32))
        return _sixteen(np.clip(near, -(2.0**31), 2.0**31 - 1).astype(np.int64))
    upper = (2 * total * np.asarray(factor, np.int64) + (1 << 31)) >> 32
    return _sixteen((upper + (1 << shift >> 1)) >> shift)


def _sixteen(value: _Whole) -> _Whole:
    return np.clip(value, -32768, 32767)


def _byte(numbers: Numbers, value: _Whole) -> _Whole:
    return np.clip(value, numbers.lowest, numbers.highest)


def _padded(x: _Whole, padding: Padding, fill: int) -> _Whole:
    top, left, bottom, right = padding
    return np.pad(x, ((top, bottom), (left, right), (0, 0)), constant_values=fill)


def _windows(x: _Whole, kernel: Pair, stride: Pair) -> _Whole:
    """``(H, W, C, kh, kw)``."""
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(0, 1))
    strided: _Whole = windows[:: stride[0], :: stride[1]]
    return strided
