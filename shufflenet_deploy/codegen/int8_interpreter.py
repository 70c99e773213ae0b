"""Reference interpreter of int8 programs in numpy; the generated C equals it bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.codegen import int8_element_interpreter
from shufflenet_deploy.codegen.ir import ops as ir
from shufflenet_deploy.codegen.ir.border_ops import BorderOp, Dequantize, Quantize
from shufflenet_deploy.codegen.ir.int8 import (
    Int8Program,
    Padding,
    PixelView,
    Requantization,
)
from shufflenet_deploy.codegen.ir.op import Op
from shufflenet_deploy.codegen.ir.planar import OUTPUT, is_planar
from shufflenet_deploy.codegen.requantization import Whole, as_byte, part, saturated_16, scaled
from shufflenet_deploy.network.graph import FloatArray, Pair


class FloatSegments(Protocol):
    """What computes the layers of a program that are in float; see ``lower.mixed``."""

    def enter(self, value: str, numbers: FloatArray) -> None:
        """Take a value of bytes, as floats in its own shape."""

    def computed(self, value: str) -> FloatArray:
        """A value of floats in its own shape; the caller's image as well."""

    def output(self, number: int) -> FloatArray:
        """One of the network's outputs."""


def run(
    program: Int8Program, image: FloatArray, segments: FloatSegments | None = None
) -> FloatArray:
    """The logits for one image ``(C, H, W)``; several outputs one after the other.

    ``segments`` computes the layers in float.
    """
    found: dict[int, FloatArray] = {}
    for op, value in execute(program, image, segments):
        if op.target.buffer <= OUTPUT:
            found[OUTPUT - op.target.buffer] = value.astype(np.float32)
    return np.concatenate([found[at] for at in sorted(found)])


def execute(program: Int8Program, image: FloatArray, segments: FloatSegments | None = None) -> Any:
    """Yield each op and its result: ``(H, W, C)`` bytes as integers, or floats.

    The ops of float segments are left out, but for those that store an output.
    """
    yield from _executed(program, image, segments, {}, lambda _: None)


def _executed(
    program: Int8Program,
    image: FloatArray,
    segments: FloatSegments | None,
    buffers: dict[int, Whole],
    before: Callable[[Op[Any]], None],
) -> Any:
    for op in program.ops:
        before(op)
        if is_planar(op) or isinstance(op, BorderOp):
            assert segments is not None
            value = _crossed(program.arithmetic, op, buffers, segments)
            if value is None:
                continue
        else:
            value = _compute(program.arithmetic, op, buffers, image)
        target = op.target
        if target.buffer >= 0 and not isinstance(op, ir.FillPadding):
            shape = (target.height, target.width, target.pixel_stride)
            whole = buffers.get(target.buffer)
            if whole is None or whole.shape != shape:
                whole = np.zeros(shape, np.int64)
            whole[:, :, target.first : target.first + target.channels] = value
            buffers[target.buffer] = whole
        yield op, value


def values(
    program: Int8Program, image: FloatArray, segments: FloatSegments | None = None
) -> dict[str, FloatArray]:
    """The values that are bytes in memory, as real numbers ``(C, H, W)``, by their names."""
    buffers: dict[int, Whole] = {}
    found: dict[str, FloatArray] = {}
    left = dict(program.places)

    def take(names: list[str]) -> None:
        found.update((name, _numbers(buffers, left.pop(name))) for name in names)

    def before(op: Op[Any]) -> None:
        """Take what a sum is stored over."""
        over = [view for view in op.sources if view.buffer == op.target.buffer in buffers]
        if over and not isinstance(op, ir.FillPadding):
            steps = {(view.buffer, view.scale, view.zero_point) for view in over}
            take([n for n, v in left.items() if (v.buffer, v.scale, v.zero_point) in steps])

    for _ in _executed(program, image, segments, buffers, before):
        pass
    take([name for name, view in left.items() if view.buffer in buffers])
    return found


def _numbers(buffers: dict[int, Whole], view: PixelView) -> FloatArray:
    """The real numbers that bytes stand for, channels first."""
    above = (_read(buffers, view) - view.zero_point).astype(np.float32)
    numbers: FloatArray = (above * np.float32(view.scale)).transpose(2, 0, 1)
    return numbers


def _crossed(
    arithmetic: Requantization, op: Any, buffers: dict[int, Whole], segments: FloatSegments
) -> Any:
    """What a segment stores in bytes, or in the caller's array; None inside of it."""
    match op:
        case Dequantize():
            segments.enter(op.value, _numbers(buffers, op.byte_view).reshape(op.extents))
            return None
        case Quantize():
            to = op.byte_view
            steps = segments.computed(op.value).astype(np.float32) * np.float32(op.inverse)
            whole = np.clip(np.rint(steps), -32768, 32767).astype(np.int64) + to.zero_point
            shaped = whole.reshape(to.channels, to.height, to.width).transpose(1, 2, 0)
            return as_byte(arithmetic, shaped)
        case _ if op.target.buffer <= OUTPUT:
            return segments.output(OUTPUT - op.target.buffer).ravel()
        case _:
            return None


def _read(buffers: dict[int, Whole], view: PixelView) -> Whole:
    return buffers[view.buffer][:, :, view.first : view.first + view.channels]


def _compute(
    arithmetic: Requantization, op: Op[PixelView], buffers: dict[int, Whole], image: FloatArray
) -> Any:
    found: Any
    match op:
        case ir.QuantizeInput():
            near = np.rint(image.astype(np.float32) * np.float32(op.inverse))
            whole = np.clip(near, -32768, 32767).astype(np.int64) + op.target.zero_point
            found = as_byte(arithmetic, whole).transpose(1, 2, 0)
        case ir.FillPadding():
            found = None
        case ir.Convolution() | ir.DepthwiseConvolution():
            found = _convolution(arithmetic, op, buffers)
        case ir.MaxPool():
            found = _windows(
                _padded(_read(buffers, op.source), op.padding, op.source.fill),
                op.kernel,
                op.stride,
            ).max((-2, -1))
        case ir.AveragePool():
            padded = _padded(_read(buffers, op.source), op.padding, op.source.fill)
            total = _windows(padded, op.kernel, op.stride).sum((-2, -1)) + op.start
            product = (total << op.left_shift) * op.multiplier
            found = as_byte(arithmetic, (product + (1 << 14)) >> 15)
        case ir.GlobalAveragePool():
            total = _read(buffers, op.source).sum((0, 1), keepdims=True) + op.epilogue.start
            found = as_byte(
                arithmetic, scaled(arithmetic, total, op.epilogue.multiplier, op.epilogue.shift)
            )
        case ir.AdaptivePool():
            found = _areas(arithmetic, op, _read(buffers, op.source))
        case ir.LookupTable():
            table = op.table if arithmetic is Requantization.FIXED else op.table.view(np.uint8)
            chosen = _read(buffers, op.source) & 255
            found = table[chosen] if table.ndim == 1 else table[np.arange(len(table)), chosen]
            found = _shuffled(found.astype(np.int64), op.shuffle)
        case ir.Add():
            one, two = (
                part(_read(buffers, source), factor)
                for source, factor in zip(op.sources, op.epilogue.multipliers, strict=True)
            )
            found = as_byte(arithmetic, (one + two + op.epilogue.start) >> op.epilogue.shift)
        case ir.ChannelScale():
            by = _read(buffers, op.sources[1]) & 255
            found = _times(arithmetic, op, _read(buffers, op.source), op.epilogue.multipliers[by])
        case ir.LocalResponseNorm():
            value = _read(buffers, op.source)
            found = _times(arithmetic, op, value, _norms(op, value))
        case ir.DequantizeOutput():
            source = op.source
            value = (_read(buffers, source) - source.zero_point).astype(np.float32)
            found = (value * np.float32(source.scale)).transpose(2, 0, 1).ravel()
        case _:
            before = _before(buffers, op.target)
            found = int8_element_interpreter.compute(
                arithmetic, op, lambda view: _read(buffers, view), before
            )
    return found


def _before(buffers: dict[int, Whole], view: PixelView) -> Whole:
    """The content of a view, zeros if nothing has been stored."""
    whole = buffers.get(view.buffer)
    if whole is None or whole.shape != (view.height, view.width, view.pixel_stride):
        return np.zeros((view.height, view.width, view.channels), np.int64)
    return _read(buffers, view)


def _convolution(
    arithmetic: Requantization,
    op: ir.Int8Convolution | ir.DepthwiseConvolution,
    buffers: dict[int, Whole],
) -> Any:
    source, weight = op.source, op.weight
    if isinstance(op, ir.DepthwiseConvolution):
        weight, groups = weight[:, None], len(weight)
        stride, padding, dilation = op.stride, op.padding, op.dilation
    else:
        groups, stride, padding = op.groups, op.window.stride, op.window.padding
        dilation = op.window.dilation
    x = _padded(_read(buffers, source), padding, source.fill)
    total = _grouped_sums(x, weight, groups, stride, dilation) + op.bias
    if isinstance(op, ir.Convolution):
        if op.epilogue.float_output:
            return (total.astype(np.float32) * op.epilogue.multiplier).ravel()
        if op.epilogue.residual is not None:
            near = scaled(
                arithmetic,
                total,
                op.epilogue.multiplier,
                op.epilogue.shift - op.epilogue.fraction,
            )
            other = _read(buffers, op.sources[1]) * op.epilogue.residual
            both = saturated_16(near + other)
            half = 1 << op.epilogue.fraction >> 1
            return as_byte(arithmetic, (both + half) >> op.epilogue.fraction)
    value = as_byte(
        arithmetic, scaled(arithmetic, total, op.epilogue.multiplier, op.epilogue.shift)
    )
    return _shuffled(value, op.epilogue.shuffle) if isinstance(op, ir.Convolution) else value


def _grouped_sums(
    x: Whole, weight: NDArray[np.int8], groups: int, stride: Pair, dilation: Pair
) -> Whole:
    """Sums of products ``(H, W, out)``, tap by tap; float64 holds these integers exactly."""
    out, per_group, *kernel = weight.shape
    height, width = (
        (x.shape[i] - (kernel[i] - 1) * dilation[i] - 1) // stride[i] + 1 for i in (0, 1)
    )
    total = np.zeros((groups, height * width, out // groups))
    taps = weight.astype(np.float64).reshape(groups, -1, per_group, *kernel)
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            top, left = row * dilation[0], column * dilation[1]
            rows = slice(top, top + height * stride[0], stride[0])
            columns = slice(left, left + width * stride[1], stride[1])
            pixels = x[rows, columns].astype(np.float64).reshape(-1, groups, per_group)
            total += pixels.swapaxes(0, 1) @ taps[..., row, column].swapaxes(1, 2)
    whole: Whole = total.swapaxes(0, 1).reshape(height, width, out).astype(np.int64)
    return whole


def _shuffled(value: Whole, groups: int) -> Whole:
    height, width, channels = value.shape
    apart = value.reshape(height, width, groups, channels // groups)
    return apart.swapaxes(2, 3).reshape(height, width, channels)


def _areas(arithmetic: Requantization, op: ir.Int8AdaptivePool, value: Whole) -> Whole:
    total = np.array(
        [
            [value[top:bottom, left:right].sum((0, 1)) for left, right in op.epilogue.columns]
            for top, bottom in op.epilogue.rows
        ]
    )
    whole = total.astype(np.int64) + op.epilogue.start[:, :, None].astype(np.int64)
    return as_byte(
        arithmetic,
        scaled(arithmetic, whole, op.epilogue.multiplier[:, :, None], op.epilogue.shift),
    )


def _times(
    arithmetic: Requantization,
    op: ir.Int8ChannelScale | ir.Int8LocalResponseNorm,
    value: Whole,
    factors: Any,
) -> Whole:
    start = (op.target.zero_point << op.epilogue.shift) + (1 << op.epilogue.shift >> 1)
    product = part(value - op.source.zero_point, factors.astype(np.int64))
    return as_byte(arithmetic, (product + start) >> op.epilogue.shift)


def _norms(op: ir.Int8LocalResponseNorm, value: Whole) -> Any:
    """The multiplier of each element, by the squares of the channels around it."""
    squares = np.pad((value - op.source.zero_point) ** 2, ((0, 0), (0, 0), (op.size // 2,) * 2))
    total = sum(squares[:, :, at : at + value.shape[2]] for at in range(op.size)) + 1
    upper = np.asarray(total, np.float32).view(np.int32) >> 16
    return op.epilogue.multipliers[upper - (np.float32(1.0).view(np.int32) >> 16)]


def _padded(x: Whole, padding: Padding, fill: int) -> Whole:
    top, left, bottom, right = padding
    return np.pad(x, ((top, bottom), (left, right), (0, 0)), constant_values=fill)


def _windows(x: Whole, kernel: Pair, stride: Pair) -> Whole:
    """``(H, W, C, kh, kw)``."""
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(0, 1))
    strided: Whole = windows[:: stride[0], :: stride[1]]
    return strided
