"""Readers of ATen operators that have weights or windows: convolutions, pools, norms, resizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from shufflenet_deploy.network.frontends.graph_builder import (
    GraphBuilder,
    Value,
    both_sides,
    pair,
)
from shufflenet_deploy.network.graph import (
    AdaptiveAveragePool,
    Conv,
    ConvTranspose,
    Dense,
    DepthToSpace,
    FloatArray,
    LocalResponseNorm,
    MatMul,
    Pad,
    PadMode,
    Pool,
    PoolKind,
    Reduce,
    ReduceKind,
    Resize,
    ResizeMode,
    Sampling,
    SpaceToDepth,
)
from shufflenet_deploy.network.resampling import TURNED_BACK, cubic_weights, turned_products


def _read_convolution(builder: GraphBuilder, x: Any, *, weight: Any, **given: Any) -> Value:
    if isinstance(weight, Value) or isinstance(given["bias"], Value) or not isinstance(x, Value):
        builder.fail("convolves with computed weights, which no exported graph can express")
    array = array_of(weight)
    if array.ndim == 3 and len(x.shape) == 2:
        # One dimension is two with a height of one.
        wide = {key: [one, *given[key]] for key, one in _HEIGHT_OF_ONE.items()}
        flat = builder.reshaped(x, (x.shape[0], 1, x.shape[1]), auxiliary=True)
        made = _convolved(builder, flat, array[:, :, None], given | wide)
        return builder.reshaped(made, (made.shape[0], made.shape[2]), auxiliary=True)
    if array.ndim == 5 and len(x.shape) == 4 and _along_depth(array, given):
        # A window along the first axis only leaves the two others one axis.
        wide = {key: [given[key][0], one] for key, one in _HEIGHT_OF_ONE.items()}
        flat = builder.reshaped(x, (*x.shape[:2], math.prod(x.shape[2:])), auxiliary=True)
        made = _convolved(builder, flat, array[..., 0], given | wide)
        return builder.reshaped(made, (*made.shape[:2], *x.shape[2:]), auxiliary=True)
    if array.ndim != 4:
        builder.fail(f"is a convolution over {array.ndim - 2} dimensions, which is not supported")
    return _convolved(builder, x, array, given)


def _along_depth(weight: FloatArray, given: dict[str, Any]) -> bool:
    """True if a convolution over three dimensions moves and reaches along the first only."""
    alike = all(list(given[key][1:]) == [one, one] for key, one in _HEIGHT_OF_ONE.items())
    return alike and weight.shape[3:] == (1, 1)


_HEIGHT_OF_ONE = {"stride": 1, "padding": 0, "dilation": 1, "output_padding": 0}


def _convolved(builder: GraphBuilder, x: Value, weight: FloatArray, given: dict[str, Any]) -> Value:
    builder.require_map(x)
    if x.batch is None:
        builder.fail("convolves a tensor in which the batch was merged with another axis")
    stride, dilation, padding = (pair(given[key]) for key in ("stride", "dilation", "padding"))
    groups: int = given["groups"]
    kernel = tuple((k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation, strict=True))
    outputs = weight.shape[1] * groups if given["transposed"] else weight.shape[0]
    bias = np.zeros(outputs, np.float32) if given["bias"] is None else array_of(given["bias"])
    fields: dict[str, Any] = {"weight": weight, "bias": bias, "stride": stride, "groups": groups}
    if not given["transposed"]:
        touched, sizes = builder.windows(x, (kernel[0], kernel[1]), stride, both_sides(padding))
        shape = (outputs, *sizes)
        return builder.emit(Conv, (x,), shape, padding=touched, dilation=dilation, **fields)
    ends = [pad - more for pad, more in zip(padding, pair(given["output_padding"]), strict=True)]
    height, width = (
        (x.shape[1 + axis] - 1) * stride[axis] + kernel[axis] - padding[axis] - ends[axis]
        for axis in (0, 1)
    )
    shape = (outputs, height, width)
    cropping = (*padding, *ends)
    return builder.emit(ConvTranspose, (x,), shape, cropping=cropping, dilation=dilation, **fields)


def _read_addmm(
    builder: GraphBuilder, bias: Any, *, mat1: Any, mat2: Any, beta: Any = 1, alpha: Any = 1
) -> Value:
    if isinstance(bias, Value) or (beta, alpha) != (1, 1):
        builder.fail("adds something computed inside a matrix product, which is not supported")
    return _dense(builder, mat1, mat2, array_of(bias))


def _read_mm(builder: GraphBuilder, x: Any, *, mat2: Any) -> Value:
    return _dense(builder, x, mat2, None)


def _read_matrix_product(builder: GraphBuilder, a: Any, *, mat2: Any) -> Value:
    if not isinstance(a, Value) or not isinstance(mat2, Value):
        builder.fail("multiplies constant and computed matrices one by one: use linear()")
    return matrix_product(builder, a, mat2)


def matrix_product(builder: GraphBuilder, a: Value, b: Value) -> Value:
    """Append the products of two values' last two axes."""
    if a.batch != b.batch or a.batch not in {None, 0} or len(a.shape) < 2:
        builder.fail("multiplies matrices along the batch")
    if a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
        builder.fail(f"multiplies {a.shape} by {b.shape}, which is not supported")
    return builder.emit(MatMul, (a, b), (*a.shape[:-1], b.shape[-1]), "matmul")


def _dense(builder: GraphBuilder, x: Any, weight: Any, bias: FloatArray | None) -> Value:
    if isinstance(weight, Value) or not isinstance(x, Value):
        if isinstance(weight, Value) and isinstance(x, Value) and bias is None:
            return matrix_product(builder, x, weight)
        builder.fail("multiplies two computed matrices, which no exported graph can express")
    matrix = np.ascontiguousarray(array_of(weight).T)
    outputs, features = matrix.shape
    whole = np.zeros(outputs, np.float32)
    if bias is not None:
        whole += bias.reshape(-1)
    if x.batch == 0:
        return builder.emit(Dense, (x,), (outputs,), weight=matrix, bias=whole)
    if x.batch is not None:
        builder.fail("multiplies a matrix along its batch")
    # Rows of features are pixels of channels.
    rows = x.shape[0]
    turned = builder.permuted(x, (1, 0), auxiliary=True)
    columns = builder.reshaped(turned, (features, rows, 1), auxiliary=True)
    kernel = matrix[:, :, None, None]
    made = builder.emit(Conv, (columns,), (outputs, rows, 1), weight=kernel, bias=whole)
    pixels = builder.reshaped(made, (outputs, rows), auxiliary=True)
    return builder.permuted(pixels, (1, 0), auxiliary=True)


def _read_max_pool(
    builder: GraphBuilder,
    x: Value,
    *,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> list[Value | None]:
    if pair(dilation) != (1, 1):
        builder.fail("is a dilated max pool, which is not supported")
    kernel = pair(kernel_size)
    strides = pair(stride) if stride else kernel
    windows, size = builder.windows(x, kernel, strides, both_sides(pair(padding)), ceil=ceil_mode)
    made = builder.emit(
        Pool,
        (x,),
        (x.shape[0], *size),
        kind=PoolKind.MAX,
        kernel=kernel,
        stride=strides,
        padding=windows,
    )
    return [made, None]


def _read_average_pool(
    builder: GraphBuilder,
    x: Value,
    *,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Value:
    if divisor_override is not None:
        builder.fail("is an average pool with a divisor of its own, which is not supported")
    kernel = pair(kernel_size)
    strides = pair(stride) if stride else kernel
    declared = both_sides(pair(padding))
    windows, size = builder.windows(x, kernel, strides, declared, ceil=ceil_mode)
    count = count_include_pad
    if windows[2] > declared[2] or windows[3] > declared[3]:
        # PyTorch never counts what ceil_mode adds beyond the declared padding.
        if count and any(declared):
            builder.fail("is an average pool that counts only a part of its padding")
        count = False
    return builder.emit(
        Pool,
        (x,),
        (x.shape[0], *size),
        kind=PoolKind.AVERAGE,
        kernel=kernel,
        stride=strides,
        padding=windows,
        count_padding=count,
    )


def _read_adaptive_average_pool(builder: GraphBuilder, x: Value, *, output_size: Any) -> Value:
    builder.require_map(x)
    size = pair(output_size)
    if size == x.shape[1:]:
        return x
    return builder.emit(AdaptiveAveragePool, (x,), (x.shape[0], *size), size=size)


def _read_adaptive_max_pool(
    builder: GraphBuilder, x: Value, *, output_size: Any
) -> list[Value | None]:
    builder.require_map(x)
    size = pair(output_size)
    if size == (1, 1):
        shape = (x.shape[0], 1, 1)
        return [builder.emit(Reduce, (x,), shape, kind=ReduceKind.MAX, axes=(1, 2)), None]
    if x.shape[1] % size[0] or x.shape[2] % size[1]:
        builder.fail(f"is an adaptive max pool of {x.shape[1:]} to {size}: windows are unequal")
    kernel = (x.shape[1] // size[0], x.shape[2] // size[1])
    return _read_max_pool(builder, x, kernel_size=kernel)


def read_response_norm(builder: GraphBuilder, x: Value, **given: Any) -> Value:
    """Read AlexNet's normalisation, given the arguments of PyTorch's function."""
    size = int(given["size"])
    if size % 2 == 0:
        builder.fail(f"normalises over {size} channels: only odd sizes are supported")
    builder.require_map(x)
    return builder.emit(
        LocalResponseNorm,
        (x,),
        x.shape,
        size=size,
        alpha=float(given["alpha"]),
        beta=float(given["beta"]),
        k=float(given["k"]),
    )


def _resizer(mode: ResizeMode, sampling: Sampling) -> Callable[..., Value]:
    def read(
        builder: GraphBuilder,
        x: Value,
        *,
        output_size: Any,
        align_corners: bool = False,
        scales_h: Any = None,
        scales_w: Any = None,
    ) -> Value:
        builder.require_map(x)
        size = pair(output_size)
        for old, new, scale in zip(x.shape[1:], size, (scales_h, scales_w), strict=True):
            if not align_corners and scale is not None and scale * old != new:
                builder.fail(f"scales {old} pixels by {scale}, which is no whole number of pixels")
        if size == x.shape[1:]:
            return x
        rule = Sampling.ALIGN_CORNERS if align_corners else sampling
        shape = (x.shape[0], *size)
        return builder.emit(Resize, (x,), shape, size=size, mode=mode, sampling=rule)

    return read


def _read_cubic(
    builder: GraphBuilder,
    x: Value,
    *,
    output_size: Any,
    align_corners: bool = False,
    scales_h: Any = None,
    scales_w: Any = None,
) -> Value:
    """Read a bicubic resize: two products with the shares of old pixels in new ones."""
    builder.require_map(x)
    size = pair(output_size)
    weights = []
    for old, new, scale in zip(x.shape[1:], size, (scales_h, scales_w), strict=True):
        at = np.arange(new, dtype=np.float64)
        ratio = old / new if scale is None else 1 / scale
        places = (at + 0.5) * ratio - 0.5
        if align_corners:
            places = at * (old - 1) / max(new - 1, 1)
        weights.append(cubic_weights(old, places))
    if size == x.shape[1:] and all(np.array_equal(one, np.eye(len(one))) for one in weights):
        return x
    for turn, weight in turned_products(*weights):
        x = builder.permuted(x, turn, auxiliary=True)
        shape = (len(weight), *x.shape[1:])
        bias = np.zeros(len(weight), np.float32)
        x = builder.emit(Conv, (x,), shape, "resize", weight=weight, bias=bias)
    return builder.permuted(x, TURNED_BACK, auxiliary=True)


def read_constant_pad(
    builder: GraphBuilder, x: Value, *, pad: Sequence[int], value: float = 0.0
) -> Value:
    """Read a border of (before, after) along the last axis, the one before it, and so on."""
    border = [0, 0, 0, 0]
    for place in range(len(pad) // 2):
        ends = (pad[2 * place], pad[2 * place + 1])
        if ends == (0, 0):
            continue
        axis = builder.axis(x, -1 - place)
        stop = x.shape[axis] + min(ends[1], 0)
        x = builder.cut(x, axis, max(-ends[0], 0), stop)  # A negative border is a cut.
        ends = (max(ends[0], 0), max(ends[1], 0))
        if len(x.shape) == 3 and axis > 0:
            border[axis - 1], border[axis + 1] = ends
        elif any(ends):
            x = _bordered(builder, x, axis, ends, float(value))
    if not any(border):
        return x
    return _padded(builder, x, border, value=float(value))


def _bordered(
    builder: GraphBuilder, x: Value, axis: int, ends: tuple[int, int], value: float
) -> Value:
    """A border along any axis: the height of a map of (what is before it, it, what is after)."""
    before, after = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    as_map = builder.reshaped(x, (before, x.shape[axis], after), auxiliary=True)
    made = _padded(builder, as_map, (ends[0], 0, ends[1], 0), value=value)
    return builder.reshaped(
        made, (*x.shape[:axis], made.shape[1], *x.shape[axis + 1 :]), auxiliary=True
    )


def _padded(builder: GraphBuilder, x: Value, border: Sequence[int], **fields: Any) -> Value:
    top, left, bottom, right = border
    shape = (x.shape[0], x.shape[1] + top + bottom, x.shape[2] + left + right)
    padding = (top, left, bottom, right)
    return builder.emit(Pad, (x,), shape, "pad", auxiliary=True, padding=padding, **fields)


def _padder(mode: PadMode) -> Callable[..., Value]:
    def read(builder: GraphBuilder, x: Value, *, padding: Sequence[int]) -> Value:
        builder.require_map(x)
        left, right, top, bottom = padding
        return _padded(builder, x, (top, left, bottom, right), mode=mode)

    return read


def _read_pixel_shuffle(builder: GraphBuilder, x: Value, *, upscale_factor: int) -> Value:
    block = upscale_factor
    builder.require_map(x)
    channels, height, width = x.shape
    shape = (channels // block**2, height * block, width * block)
    return builder.emit(DepthToSpace, (x,), shape, block=block)


def _read_pixel_unshuffle(builder: GraphBuilder, x: Value, *, downscale_factor: int) -> Value:
    block = downscale_factor
    builder.require_map(x)
    channels, height, width = x.shape
    shape = (channels * block**2, height // block, width // block)
    return builder.emit(SpaceToDepth, (x,), shape, block=block)


def _read_channel_shuffle(builder: GraphBuilder, x: Value, *, groups: int) -> Value:
    return builder.shuffle(x, groups)


def array_of(tensor: torch.Tensor) -> FloatArray:
    """A constant in fp32, contiguous."""
    return np.ascontiguousarray(tensor.detach().float().numpy())


_NEAREST, _BILINEAR = ResizeMode.NEAREST, ResizeMode.BILINEAR

#: Readers by operator; each gets the operator's arguments, values for what depends on the image.
LAYER_READERS: dict[str, Callable[..., Any]] = {
    "convolution": _read_convolution,
    "addmm": _read_addmm,
    "mm": _read_mm,
    "bmm": _read_matrix_product,
    "max_pool2d_with_indices": _read_max_pool,
    "avg_pool2d": _read_average_pool,
    "_adaptive_avg_pool2d": _read_adaptive_average_pool,
    "adaptive_max_pool2d": _read_adaptive_max_pool,
    "upsample_nearest2d": _resizer(_NEAREST, Sampling.ASYMMETRIC),
    "_upsample_nearest_exact2d": _resizer(_NEAREST, Sampling.HALF_PIXEL),
    "upsample_bilinear2d": _resizer(_BILINEAR, Sampling.HALF_PIXEL),
    "upsample_bicubic2d": _read_cubic,
    "constant_pad_nd": read_constant_pad,
    "reflection_pad2d": _padder(PadMode.REFLECT),
    "replication_pad2d": _padder(PadMode.REPLICATE),
    "pixel_shuffle": _read_pixel_shuffle,
    "pixel_unshuffle": _read_pixel_unshuffle,
    "local_response_norm": read_response_norm,
    "channel_shuffle": _read_channel_shuffle,
    "native_channel_shuffle": _read_channel_shuffle,
}
