"""Readers of Caffe's layers: one function per type, from blobs to blobs."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from shufflenet_deploy.network.frontends.caffe.net import NetReader
from shufflenet_deploy.network.frontends.file_builder import Padding, Value
from shufflenet_deploy.network.graph import (
    Activation,
    AdaptiveAveragePool,
    ArithmeticKind,
    Clip,
    Concat,
    Conv,
    ConvTranspose,
    Dense,
    Elu,
    FloatArray,
    LeakyRelu,
    LocalResponseNorm,
    Pair,
    PoolKind,
    Reduce,
    ReduceKind,
    Resize,
    ResizeMode,
    Sampling,
    Softmax,
)

_AVERAGE = 1
_PRODUCT, _SUM, _MAXIMUM = 0, 1, 2


# --- convolutions, products, pools ---------------------------------------------------------------


def _convolution(net: NetReader, x: Value, *, depthwise: bool = False) -> Value:
    parameter = net.parameter("convolution_param")
    groups = parameter.num_output if depthwise else _set(parameter, "group", 1)
    kernel, stride, pad, dilation = _windows(net, parameter)
    _check_groups(net, x, parameter.num_output, groups)
    shape = (parameter.num_output, x.shape[0] // groups, *kernel)
    weight, bias = _weight_and_bias(net, parameter, shape, parameter.num_output)
    window = tuple((size - 1) * step + 1 for size, step in zip(kernel, dilation, strict=True))
    padding, _ = net.builder.windows(x, (window[0], window[1]), stride, (*pad, *pad))
    return net.builder.emit(
        Conv,
        x,
        weight=weight,
        bias=bias,
        stride=stride,
        padding=padding,
        groups=groups,
        dilation=dilation,
    )


def _deconvolution(net: NetReader, x: Value) -> Value:
    parameter = net.parameter("convolution_param")
    groups = _set(parameter, "group", 1)
    kernel, stride, pad, dilation = _windows(net, parameter)
    _check_groups(net, x, parameter.num_output, groups)
    shape = (x.shape[0], parameter.num_output // groups, *kernel)
    weight, bias = _weight_and_bias(net, parameter, shape, parameter.num_output)
    return net.builder.emit(
        ConvTranspose,
        x,
        weight=weight,
        bias=bias,
        stride=stride,
        cropping=(*pad, *pad),
        groups=groups,
        dilation=dilation,
    )


def _check_groups(net: NetReader, x: Value, outputs: int, groups: int) -> None:
    if len(x.shape) != 3:
        net.fail(f"needs a feature map and gets a vector of {math.prod(x.shape)}")
    if groups < 1 or outputs < 1 or outputs % groups or x.shape[0] % groups:
        net.fail(f"makes {outputs} channels of {x.shape[0]} in {groups} groups")


def _weight_and_bias(
    net: NetReader, parameter: Any, shape: tuple[int, ...], outputs: int
) -> tuple[FloatArray, FloatArray]:
    biased = _set(parameter, "bias_term", default=True)
    arrays = net.arrays(2 if biased else 1)
    bias = net.shaped(arrays[1], (outputs,)) if biased else np.zeros(outputs, np.float32)
    return net.shaped(arrays[0], shape), bias


def _windows(net: NetReader, parameter: Any) -> tuple[Pair, Pair, Pair, Pair]:
    """Kernel, stride, padding and dilation, each (height, width)."""
    kernel = _both(net, parameter, "kernel_size", ("kernel_h", "kernel_w"), 0)
    stride = _both(net, parameter, "stride", ("stride_h", "stride_w"), 1)
    pad = _both(net, parameter, "pad", ("pad_h", "pad_w"), 0)
    dilation = (1, 1)
    if "dilation" in parameter.DESCRIPTOR.fields_by_name:
        dilation = _both(net, parameter, "dilation", None, 1)
    if min(*kernel, *stride, *dilation) < 1 or min(pad) < 0 or max(*kernel, *pad) > 1 << 14:
        net.fail(f"has windows of {kernel[0]}x{kernel[1]}, stride {stride}, padding {pad}")
    return kernel, stride, pad, dilation


def _both(
    net: NetReader, parameter: Any, name: str, apart: tuple[str, str] | None, default: int
) -> Pair:
    """Height and width, given together or apart."""
    if apart is not None and any(parameter.HasField(one) for one in apart):
        height, width = (getattr(parameter, one) for one in apart)
        return height, width
    found = getattr(parameter, name)
    if isinstance(found, int):
        one = _set(parameter, name, default)
        return one, one
    if len(found) > 2:
        net.fail(f"has {len(found)} numbers as '{name}', and maps have two axes")
    sizes = list(found) or [default]
    return sizes[0], sizes[-1]


def _set(parameter: Any, name: str, default: Any) -> Any:
    """A field of a message, or Caffe's default where the text does not give it."""
    return getattr(parameter, name) if parameter.HasField(name) else default


def _pooling(net: NetReader, x: Value) -> Value:
    parameter = net.parameter("pooling_param")
    if parameter.pool not in {0, _AVERAGE}:
        net.fail("pools at random, which no layer here does")
    average = parameter.pool == _AVERAGE
    if parameter.global_pooling:
        if average:
            return net.builder.emit(AdaptiveAveragePool, x, size=(1, 1))
        return net.builder.emit(Reduce, x, kind=ReduceKind.MAX, axes=(1, 2), keep=True)
    kernel, stride, pad, _ = _windows(net, parameter)
    floor = parameter.round_mode == 1 or not _set(parameter, "ceil_mode", default=True)
    padding: Padding = (*pad, *pad)
    kind = PoolKind.AVERAGE if average else PoolKind.MAX
    return net.builder.pool(x, kind, kernel, stride, padding, ceil=not floor)


def _inner_product(net: NetReader, x: Value) -> Value:
    parameter = net.parameter("inner_product_param")
    if net.axis(_set(parameter, "axis", 1), x) != 0:
        net.fail("works along an axis other than the channels'")
    features, outputs = math.prod(x.shape), parameter.num_output
    shape = (features, outputs) if parameter.transpose else (outputs, features)
    weight, bias = _weight_and_bias(net, parameter, shape, outputs)
    if parameter.transpose:
        weight = np.ascontiguousarray(weight.T)
    flat = net.builder.reshaped(x, (features,))
    return net.builder.emit(Dense, flat, weight=weight, bias=bias)


# --- normalisation -------------------------------------------------------------------------------


def _batch_norm(net: NetReader, x: Value) -> Value:
    mean, variance, factor = (np.asarray(one, np.float64) for one in net.arrays(3))
    if factor.size != 1 or mean.size != x.shape[0] or variance.size != x.shape[0]:
        net.fail(f"has statistics of other sizes than its {x.shape[0]} channels")
    count = float(factor.reshape(-1)[0])
    share = 1 / count if count else 0.0
    epsilon = _set(net.parameter("batch_norm_param"), "eps", 1e-5)
    spread = variance.reshape(-1) * share + epsilon
    if (spread <= 0).any():
        net.fail("has a negative variance")
    scale = 1 / np.sqrt(spread)
    return net.builder.affine(x, scale, -mean.reshape(-1) * share * scale)


def _scale(net: NetReader, x: Value, gate: Value | None = None) -> Value:
    parameter = net.parameter("scale_param")
    if gate is not None:
        if net.arrays(0, 1) or parameter.bias_term:
            net.fail("adds a bias to a product of two blobs, which no layer here does")
        return _times(net, x, gate)
    biased = parameter.bias_term
    arrays = net.arrays(2 if biased else 1)
    channels = _channels(net, x, parameter)
    gain = net.shaped(arrays[0], (channels,)).astype(np.float64)
    shift = net.shaped(arrays[1], (channels,)).astype(np.float64) if biased else gain * 0
    return net.builder.affine(x, gain, shift)


def _bias(net: NetReader, x: Value) -> Value:
    channels = _channels(net, x, net.parameter("bias_param"))
    shift = net.shaped(net.arrays(1)[0], (channels,)).astype(np.float64)
    return net.builder.affine(x, np.ones(channels), shift)


def _channels(net: NetReader, x: Value, parameter: Any) -> int:
    if net.axis(_set(parameter, "axis", 1), x) != 0 or _set(parameter, "num_axes", 1) != 1:
        net.fail("works along an axis other than the channels'")
    return x.shape[0]


def _times(net: NetReader, x: Value, gate: Value) -> Value:
    """``x`` times a number per channel, which Caffe has as (C) or (C, 1, 1)."""
    whole = gate.shape + (1,) * (len(x.shape) - len(gate.shape))
    return net.builder.of_two(x, net.builder.reshaped(gate, whole), ArithmeticKind.MULTIPLY)


def _axpy(net: NetReader, gate: Value, x: Value, y: Value) -> Value:
    return net.builder.of_two(_times(net, x, gate), y, ArithmeticKind.ADD)


def _response_norm(net: NetReader, x: Value) -> Value:
    parameter = net.parameter("lrn_param")
    if parameter.norm_region != 0:
        net.fail("normalises within channels, and across channels is known")
    size = _set(parameter, "local_size", 5)
    if size % 2 == 0:
        net.fail(f"normalises across {size} channels, and odd numbers are known")
    return net.builder.emit(
        LocalResponseNorm,
        x,
        size=size,
        alpha=_set(parameter, "alpha", 1.0),
        beta=_set(parameter, "beta", 0.75),
        k=_set(parameter, "k", 1.0),
    )


# --- element by element --------------------------------------------------------------------------


def _activation(activation: Activation, net: NetReader, x: Value) -> Value:
    return net.builder.elementwise(x, activation)


def _relu(net: NetReader, x: Value) -> Value:
    slope = net.parameter("relu_param").negative_slope
    if slope:
        return net.builder.emit(LeakyRelu, x, slope=np.asarray([slope], np.float32))
    return net.builder.elementwise(x, Activation.RELU)


def _prelu(net: NetReader, x: Value) -> Value:
    shared = net.parameter("prelu_param").channel_shared
    slope = net.shaped(net.arrays(1)[0], (1 if shared else x.shape[0],))
    return net.builder.emit(LeakyRelu, x, slope=slope)


def _elu(net: NetReader, x: Value) -> Value:
    return net.builder.emit(Elu, x, alpha=_set(net.parameter("elu_param"), "alpha", 1.0))


def _clip(net: NetReader, x: Value) -> Value:
    parameter = net.parameter("clip_param")
    if not parameter.HasField("min") or not parameter.HasField("max"):
        net.fail("does not say its bounds")
    return net.builder.emit(Clip, x, low=parameter.min, high=parameter.max)


def _power(net: NetReader, x: Value) -> Value:
    parameter = net.parameter("power_param")
    if _set(parameter, "power", 1.0) != 1:
        net.fail(f"takes the power {parameter.power:g}, and 1 is known")
    scaled = net.builder.with_constant(x, ArithmeticKind.MULTIPLY, _set(parameter, "scale", 1.0))
    return net.builder.with_constant(scaled, ArithmeticKind.ADD, parameter.shift)


def _eltwise(net: NetReader, *values: Value) -> Value:
    parameter = net.parameter("eltwise_param")
    operation = _set(parameter, "operation", _SUM)
    factors = list(parameter.coeff) or [1.0] * len(values)
    if len(values) < 2 or len(factors) != len(values) or len({v.shape for v in values}) != 1:
        net.fail(f"combines {len(values)} blobs of several shapes or with {len(factors)} factors")
    if operation != _SUM and any(one != 1 for one in factors):
        net.fail("has factors that only a sum takes")
    result: Value | None = None
    for value, factor in zip(values, factors, strict=True):
        term = value
        if factor != 1:
            term = net.builder.with_constant(value, ArithmeticKind.MULTIPLY, factor)
        result = term if result is None else net.builder.of_two(result, term, _KINDS[operation])
    assert result is not None
    return result


_KINDS = {
    _PRODUCT: ArithmeticKind.MULTIPLY,
    _SUM: ArithmeticKind.ADD,
    _MAXIMUM: ArithmeticKind.MAXIMUM,
}


def _softmax(net: NetReader, x: Value) -> Value:
    axis = net.axis(_set(net.parameter("softmax_param"), "axis", 1), x)
    return net.builder.emit(Softmax, x, axis=axis)


# --- what moves elements -------------------------------------------------------------------------


def _same(net: NetReader, x: Value) -> Any:
    return x if len(net.layer.tops) == 1 else (x,) * len(net.layer.tops)


def _nothing(_: NetReader, *__: Value) -> tuple[Value, ...]:
    return ()


def _concat(net: NetReader, *values: Value) -> Value:
    parameter = net.parameter("concat_param")
    axis = _set(parameter, "axis", _set(parameter, "concat_dim", 1))
    if len(values) == 1:
        return values[0]
    return net.builder.emit(Concat, *values, axis=net.axis(axis, values[0]))


def _slice(net: NetReader, x: Value) -> tuple[Value, ...]:
    parameter = net.parameter("slice_param")
    axis = net.axis(_set(parameter, "axis", _set(parameter, "slice_dim", 1)), x)
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
    first = net.axis(_set(parameter, "axis", 1), x)
    last = net.axis(_set(parameter, "end_axis", -1), x)
    if first > last:
        net.fail("ends before it begins")
    inner = math.prod(x.shape[first : last + 1])
    return net.builder.reshaped(x, (*x.shape[:first], inner, *x.shape[last + 1 :]))


def _reshape(net: NetReader, x: Value) -> Value:
    parameter = net.parameter("reshape_param")
    if _set(parameter, "axis", 0) != 0 or _set(parameter, "num_axes", -1) != -1:
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
    return net.builder.shuffled(x, _set(net.parameter("shuffle_channel_param"), "group", 1))


def _interp(net: NetReader, x: Value) -> Value:
    parameter = net.parameter("interp_param")
    if parameter.pad_beg or parameter.pad_end or len(x.shape) != 3:
        net.fail("pads or crops what it resizes, which no layer here does")
    size = [parameter.height, parameter.width]
    if not all(size):
        shrink, zoom = _set(parameter, "shrink_factor", 1), _set(parameter, "zoom_factor", 1)
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
    scale = _set(net.parameter("upsample_param"), "scale", 2)
    size = (x.shape[1] * scale, x.shape[2] * scale)
    return net.builder.emit(
        Resize, x, size=size, mode=ResizeMode.NEAREST, sampling=Sampling.ASYMMETRIC
    )


READERS: dict[str, Callable[..., Any]] = {
    "Axpy": _axpy,
    "BatchNorm": _batch_norm,
    "Bias": _bias,
    "Clip": _clip,
    "Concat": _concat,
    "Convolution": _convolution,
    "ConvolutionDepthwise": partial(_convolution, depthwise=True),
    "Deconvolution": _deconvolution,
    "DepthwiseConvolution": partial(_convolution, depthwise=True),
    "Dropout": _same,
    "ELU": _elu,
    "Eltwise": _eltwise,
    "Flatten": _flatten,
    "InnerProduct": _inner_product,
    "Interp": _interp,
    "LRN": _response_norm,
    "PReLU": _prelu,
    "Permute": _permute,
    "Pooling": _pooling,
    "Power": _power,
    "ReLU": _relu,
    "ReLU6": partial(_activation, Activation.RELU6),
    "Reshape": _reshape,
    "Scale": _scale,
    "ShuffleChannel": _shuffle_channel,
    "Sigmoid": partial(_activation, Activation.SIGMOID),
    "Silence": _nothing,
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _same,
    "Swish": partial(_activation, Activation.SILU),
    "TanH": partial(_activation, Activation.TANH),
    "Upsample": _upsample,
}
