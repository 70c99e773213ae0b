"""Readers of modules: one function for each kind of ``nn.Module`` that a graph can express."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from torch import nn

from shufflenet_deploy.network.frontends.graph_builder import (
    GraphBuilder,
    Padding,
    Value,
    both_sides,
    pair,
)
from shufflenet_deploy.network.graph import (
    Activation,
    AdaptiveAveragePool,
    Conv,
    Dense,
    FloatArray,
    LocalResponseNorm,
    Pair,
    Pool,
    PoolKind,
)
from shufflenet_deploy.network.passes.simplify import ChannelAffine


def _read_conv(builder: GraphBuilder, module: nn.Module, x: Value) -> Value:
    conv = cast("nn.Conv2d", module)
    if conv.dilation != (1, 1) or conv.padding_mode != "zeros":
        builder.fail("is a dilated or non-zero padded convolution, which is not supported")
    if x.shape[0] != conv.in_channels:
        builder.fail(f"expects {conv.in_channels} channels and gets {x.shape[0]}")
    kernel, stride = pair(conv.kernel_size), pair(conv.stride)
    if isinstance(conv.padding, str):
        declared = _same_padding(kernel) if conv.padding == "same" else (0, 0, 0, 0)
    else:
        declared = both_sides(pair(conv.padding))
    padding, size = builder.windows(x, kernel, stride, declared)
    return builder.emit(
        Conv,
        (x,),
        (conv.out_channels, *size),
        weight=_array(conv.weight),
        bias=_bias(conv.bias, conv.out_channels),
        stride=stride,
        padding=padding,
        groups=conv.groups,
    )


def _read_batch_norm(builder: GraphBuilder, module: nn.Module, x: Value) -> Value:
    norm = cast("nn.BatchNorm2d", module)
    if norm.training or norm.running_mean is None or norm.running_var is None:
        builder.fail("normalises with the statistics of the batch: call .eval() before exporting")
    mean = norm.running_mean.detach().double().numpy()
    var = norm.running_var.detach().double().numpy()
    scale = 1.0 / np.sqrt(var + norm.eps)
    shift = -mean * scale
    if norm.affine:
        gain = norm.weight.detach().double().numpy()
        scale, shift = scale * gain, shift * gain + norm.bias.detach().double().numpy()
    return builder.emit(ChannelAffine, (x,), x.shape, scale=scale, shift=shift)


def _read_relu(builder: GraphBuilder, _: nn.Module, x: Value) -> Value:
    return builder.elementwise(x, Activation.RELU)


def _read_relu6(builder: GraphBuilder, _: nn.Module, x: Value) -> Value:
    return builder.elementwise(x, Activation.RELU6)


def _read_sigmoid(builder: GraphBuilder, _: nn.Module, x: Value) -> Value:
    return builder.elementwise(x, Activation.SIGMOID)


def _read_hard_sigmoid(builder: GraphBuilder, _: nn.Module, x: Value) -> Value:
    return builder.elementwise(x, Activation.HARD_SIGMOID)


def _read_hard_swish(builder: GraphBuilder, _: nn.Module, x: Value) -> Value:
    return builder.elementwise(x, Activation.HARD_SWISH)


def _read_dropout(builder: GraphBuilder, module: nn.Module, x: Value) -> Value:
    if module.training and not isinstance(module, nn.Identity):
        builder.fail("drops values at inference: call .eval() before exporting")
    return x


def _read_max_pool(builder: GraphBuilder, module: nn.Module, x: Value) -> Value:
    pool = cast("nn.MaxPool2d", module)
    if pair(pool.dilation) != (1, 1) or pool.return_indices:
        builder.fail("is a dilated or index-returning max pool, which is not supported")
    kernel = pair(pool.kernel_size)
    stride = pair(pool.stride if pool.stride is not None else pool.kernel_size)
    padding, size = builder.windows(
        x, kernel, stride, both_sides(pair(pool.padding)), ceil=pool.ceil_mode
    )
    return builder.emit(
        Pool,
        (x,),
        (x.shape[0], *size),
        kind=PoolKind.MAX,
        kernel=kernel,
        stride=stride,
        padding=padding,
    )


def _read_average_pool(builder: GraphBuilder, module: nn.Module, x: Value) -> Value:
    pool = cast("nn.AvgPool2d", module)
    if pool.divisor_override is not None:
        builder.fail("is an average pool with a divisor of its own, which is not supported")
    kernel = pair(pool.kernel_size)
    stride = pair(pool.stride if pool.stride is not None else pool.kernel_size)
    declared = both_sides(pair(pool.padding))
    padding, size = builder.windows(x, kernel, stride, declared, ceil=pool.ceil_mode)
    count = pool.count_include_pad
    if padding[2] > declared[2] or padding[3] > declared[3]:
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
        stride=stride,
        padding=padding,
        count_padding=count,
    )


def _read_adaptive_pool(builder: GraphBuilder, module: nn.Module, x: Value) -> Value:
    wanted = cast("nn.AdaptiveAvgPool2d", module).output_size
    builder.require_map(x)
    pair = wanted if isinstance(wanted, (tuple, list)) else (wanted, wanted)
    height, width = (
        own if want is None else want for want, own in zip(pair, x.shape[1:], strict=True)
    )
    if (height, width) == x.shape[1:]:
        return x
    return builder.emit(
        AdaptiveAveragePool, (x,), (x.shape[0], height, width), size=(height, width)
    )


def _read_linear(builder: GraphBuilder, module: nn.Module, x: Value) -> Value:
    dense = cast("nn.Linear", module)
    if x.shape != (dense.in_features,):
        builder.fail(
            f"expects a vector of {dense.in_features} features and gets {x.shape}: the input "
            "resolution does not suit this head"
        )
    return builder.emit(
        Dense,
        (x,),
        (dense.out_features,),
        weight=_array(dense.weight),
        bias=_bias(dense.bias, dense.out_features),
    )


def _read_response_norm(builder: GraphBuilder, module: nn.Module, x: Value) -> Value:
    norm = cast("nn.LocalResponseNorm", module)
    if norm.size % 2 == 0:
        builder.fail(f"normalises over {norm.size} channels: only odd sizes are supported")
    builder.require_map(x)
    return builder.emit(
        LocalResponseNorm,
        (x,),
        x.shape,
        size=norm.size,
        alpha=float(norm.alpha),
        beta=float(norm.beta),
        k=float(norm.k),
    )


def _read_flatten(builder: GraphBuilder, module: nn.Module, x: Value) -> Value:
    flatten = cast("nn.Flatten", module)
    return flattened(builder, x, flatten.start_dim, flatten.end_dim)


def flattened(builder: GraphBuilder, x: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    """Read a flatten of everything but the batch."""
    if start_dim != 1 or end_dim not in {-1, len(x.batched) - 1}:
        builder.fail("flattens something other than everything but the batch")
    return builder.flat(x)


_Read = Callable[[GraphBuilder, nn.Module, Value], Value]

#: Readers by kind of module; a subclass goes before its base.
MODULE_READERS: dict[type[nn.Module], _Read] = {
    nn.Conv2d: _read_conv,
    nn.BatchNorm2d: _read_batch_norm,
    nn.ReLU6: _read_relu6,
    nn.ReLU: _read_relu,
    nn.Sigmoid: _read_sigmoid,
    nn.Hardsigmoid: _read_hard_sigmoid,
    nn.Hardswish: _read_hard_swish,
    nn.Dropout: _read_dropout,
    nn.Dropout2d: _read_dropout,
    nn.Identity: _read_dropout,
    nn.MaxPool2d: _read_max_pool,
    nn.AvgPool2d: _read_average_pool,
    nn.AdaptiveAvgPool2d: _read_adaptive_pool,
    nn.Linear: _read_linear,
    nn.LocalResponseNorm: _read_response_norm,
    nn.Flatten: _read_flatten,
}


def _same_padding(kernel: Pair) -> Padding:
    before = ((kernel[0] - 1) // 2, (kernel[1] - 1) // 2)
    return (*before, kernel[0] - 1 - before[0], kernel[1] - 1 - before[1])


def _array(parameter: torch.Tensor) -> FloatArray:
    return np.ascontiguousarray(parameter.detach().float().numpy())


def _bias(parameter: torch.Tensor | None, channels: int) -> FloatArray:
    return np.zeros(channels, np.float32) if parameter is None else _array(parameter)
