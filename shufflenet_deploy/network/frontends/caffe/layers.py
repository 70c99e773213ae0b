"""Readers of Caffe's layers: one function per type, from blobs to blobs; those that compute."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from shufflenet_deploy.network.frontends.caffe.movement import READERS as MOVEMENT_READERS
from shufflenet_deploy.network.frontends.caffe.net import NetReader, given
from shufflenet_deploy.network.frontends.file_builder import Padding, Value
from shufflenet_deploy.network.graph import (
    Activation,
    AdaptiveAveragePool,
    ArithmeticKind,
    Clip,
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
    Softmax,
)

_AVERAGE = 1
_PRODUCT, _SUM, _MAXIMUM = 0, 1, 2


# --- convolutions, products, pools ---------------------------------------------------------------


def _convolution(net: NetReader, x: Value, *, depthwise: bool = False) -> Value:
    parameter = net.parameter("convolution_param")
    groups = parameter.num_output if depthwise else given(parameter, "group", 1)
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
    groups = given(parameter, "group", 1)
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
    biased = given(parameter, "bias_term", default=True)
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
        one = given(parameter, name, default)
        return one, one
    if len(found) > 2:
        net.fail(f"has {len(found)} numbers as '{name}', and maps have two axes")
    sizes = list(found) or [default]
    return sizes[0], sizes[-1]


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
    floor = parameter.round_mode == 1 or not given(parameter, "ceil_mode", default=True)
    padding: Padding = (*pad, *pad)
    kind = PoolKind.AVERAGE if average else PoolKind.MAX
    return net.builder.pool(x, kind, kernel, stride, padding, ceil=not floor)


def _inner_product(net: NetReader, x: Value) -> Value:
    parameter = net.parameter("inner_product_param")
    if net.axis(given(parameter, "axis", 1), x) != 0:
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
    epsilon = given(net.parameter("batch_norm_param"), "eps", 1e-5)
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
    if net.axis(given(parameter, "axis", 1), x) != 0 or given(parameter, "num_axes", 1) != 1:
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
    size = given(parameter, "local_size", 5)
    if size % 2 == 0:
        net.fail(f"normalises across {size} channels, and odd numbers are known")
    return net.builder.emit(
        LocalResponseNorm,
        x,
        size=size,
        alpha=given(parameter, "alpha", 1.0),
        beta=given(parameter, "beta", 0.75),
        k=given(parameter, "k", 1.0),
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
    return net.builder.emit(Elu, x, alpha=given(net.parameter("elu_param"), "alpha", 1.0))


def _clip(net: NetReader, x: Value) -> Value:
    parameter = net.parameter("clip_param")
    if not parameter.HasField("min") or not parameter.HasField("max"):
        net.fail("does not say its bounds")
    return net.builder.emit(Clip, x, low=parameter.min, high=parameter.max)


def _power(net: NetReader, x: Value) -> Value:
    parameter = net.parameter("power_param")
    if given(parameter, "power", 1.0) != 1:
        net.fail(f"takes the power {parameter.power:g}, and 1 is known")
    scaled = net.builder.with_constant(x, ArithmeticKind.MULTIPLY, given(parameter, "scale", 1.0))
    return net.builder.with_constant(scaled, ArithmeticKind.ADD, parameter.shift)


def _eltwise(net: NetReader, *values: Value) -> Value:
    parameter = net.parameter("eltwise_param")
    operation = given(parameter, "operation", _SUM)
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
    axis = net.axis(given(net.parameter("softmax_param"), "axis", 1), x)
    return net.builder.emit(Softmax, x, axis=axis)


READERS: dict[str, Callable[..., Any]] = {
    "Axpy": _axpy,
    "BatchNorm": _batch_norm,
    "Bias": _bias,
    "Clip": _clip,
    "Convolution": _convolution,
    "ConvolutionDepthwise": partial(_convolution, depthwise=True),
    "Deconvolution": _deconvolution,
    "DepthwiseConvolution": partial(_convolution, depthwise=True),
    "ELU": _elu,
    "Eltwise": _eltwise,
    "InnerProduct": _inner_product,
    "LRN": _response_norm,
    "PReLU": _prelu,
    "Pooling": _pooling,
    "Power": _power,
    "ReLU": _relu,
    "ReLU6": partial(_activation, Activation.RELU6),
    "Scale": _scale,
    "Sigmoid": partial(_activation, Activation.SIGMOID),
    "Softmax": _softmax,
    "Swish": partial(_activation, Activation.SILU),
    "TanH": partial(_activation, Activation.TANH),
    **MOVEMENT_READERS,
}
