"""Readers of ATen operators that normalise, and of those that are several layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from shufflenet_deploy.network.frontends.aten_layers import array_of, matrix_product
from shufflenet_deploy.network.frontends.aten_values import (
    arithmetic,
    read_absolute,
    read_square,
    reduced,
    root,
)
from shufflenet_deploy.network.frontends.graph_builder import GraphBuilder, Value, with_batch
from shufflenet_deploy.network.graph import ArithmeticKind, Normalize, ReduceKind, Softmax
from shufflenet_deploy.network.passes.affine import ChannelAffine


def _read_batch_norm(builder: GraphBuilder, x: Value, **given: Any) -> list[Value | None]:
    mean, var = (given.get(key) for key in ("running_mean", "running_var"))
    weight, bias = given["weight"], given["bias"]
    if given["training"] and mean is None and x.batch == 0 and len(x.shape) > 1:
        axes = tuple(range(1, len(x.shape)))
        made = _normalized(builder, x, axes, given["eps"], (weight, bias), grid=_per_channel(x))
        return [made, None, None]
    if given["training"] or mean is None or var is None:
        builder.fail("normalises with the statistics of the batch: call .eval() before exporting")
    scale = 1.0 / np.sqrt(_wide(var) + given["eps"])
    shift = -_wide(mean) * scale
    if weight is not None:
        scale, shift = scale * _wide(weight), shift * _wide(weight)
    if bias is not None:
        shift = shift + _wide(bias)
    shape = x.shape
    if len(shape) not in {1, 3}:
        x = builder.reshaped(x, (shape[0], math.prod(shape[1:]), 1), auxiliary=True)
    made = builder.emit(ChannelAffine, (x,), x.shape, scale=scale, shift=shift)
    return [builder.reshaped(made, shape, auxiliary=True), None, None]


def _normalized(
    builder: GraphBuilder,
    x: Value,
    axes: tuple[int, ...],
    epsilon: float,
    affine: tuple[Any, Any],
    *,
    grid: tuple[int, ...],
    groups: int = 1,
) -> Value:
    """A norm over axes; its weight and bias, if any, have the shape ``grid`` among all axes."""
    if any(isinstance(one, Value) for one in affine):
        builder.fail("scales by computed numbers, which is not supported")
    ones = (1,) * len(x.shape)
    scale, shift = (
        np.full(ones, default, np.float32) if one is None else array_of(one).reshape(grid)
        for one, default in zip(affine, (1.0, 0.0), strict=True)
    )
    fields: dict[str, Any] = {"axes": axes, "epsilon": float(epsilon), "groups": groups}
    return builder.emit(Normalize, (x,), x.shape, scale=scale, shift=shift, **fields)


def _per_channel(x: Value) -> tuple[int, ...]:
    return (x.shape[0], *[1] * (len(x.shape) - 1))


def _read_layer_norm(
    builder: GraphBuilder,
    x: Value,
    *,
    normalized_shape: Sequence[int],
    weight: Any,
    bias: Any,
    eps: float,
) -> list[Value | None]:
    count = len(normalized_shape)
    axes = tuple(sorted(builder.axis(x, -1 - at) for at in range(count)))
    grid = tuple(size if axis in axes else 1 for axis, size in enumerate(x.shape))
    return [_normalized(builder, x, axes, eps, (weight, bias), grid=grid), None, None]


def _read_group_norm(
    builder: GraphBuilder, x: Value, *, weight: Any, bias: Any, group: int, eps: float, **_: Any
) -> list[Value | None]:
    if x.batch != 0:
        builder.fail("normalises groups of a tensor in which the batch is no axis of its own")
    axes = tuple(range(len(x.shape)))
    if group == x.shape[0] and len(axes) > 1:
        axes, group = axes[1:], 1  # Each channel by itself: an instance norm.
    grid = _per_channel(x)
    made = _normalized(builder, x, axes, eps, (weight, bias), grid=grid, groups=group)
    return [made, None, None]


def _read_batch_norm_of_inference(
    builder: GraphBuilder, x: Value, **given: Any
) -> list[Value | None]:
    return _read_batch_norm(builder, x, training=False, **given)


def _wide(tensor: torch.Tensor) -> Any:
    return tensor.detach().double().numpy()


def _read_norm(
    builder: GraphBuilder,
    x: Value,
    *,
    ord: Any = 2,  # noqa: A002 - PyTorch's name
    dim: Any = None,
    keepdim: bool = False,
    **_: Any,
) -> Value:
    if ord == 1:
        sizes = read_absolute(builder, x)
        return reduced(builder, ReduceKind.SUM, sizes, dim, keep=keepdim)
    if ord != 2:
        builder.fail(f"is a norm of the order {ord}: 1 and 2 are supported")
    total = reduced(builder, ReduceKind.SUM, read_square(builder, x), dim, keep=keepdim)
    return root(builder, total, 0.5)


def _read_variance(
    builder: GraphBuilder,
    x: Value,
    *,
    dim: Any = None,
    correction: Any = 1,
    keepdim: bool = False,
    **given: Any,
) -> Value:
    return _moments(builder, x, dim, given.get("unbiased", correction), keep=keepdim)[0]


def _read_variance_and_mean(
    builder: GraphBuilder,
    x: Value,
    *,
    dim: Any = None,
    correction: Any = 1,
    keepdim: bool = False,
    **given: Any,
) -> list[Value | None]:
    return [*_moments(builder, x, dim, given.get("unbiased", correction), keep=keepdim)]


def _read_deviation(builder: GraphBuilder, x: Value, **given: Any) -> Value:
    return root(builder, _read_variance(builder, x, **given), 0.5)


def _moments(
    builder: GraphBuilder, x: Value, dim: Any, correction: Any, *, keep: bool
) -> tuple[Value, Value]:
    """Variance and mean; the sum of squares is divided by ``correction`` less than all elements."""
    mean = reduced(builder, ReduceKind.MEAN, x, dim, keep=True)
    centred = arithmetic(builder, ArithmeticKind.SUBTRACT, x, mean)
    squares = read_square(builder, centred)
    variance = reduced(builder, ReduceKind.MEAN, squares, dim, keep=keep)
    count = np.prod(x.shape) / np.prod(mean.shape)
    less = 1 if correction is None else int(correction)
    if count <= less:
        builder.fail(f"is a variance of {count:.0f} elements with a correction of {less}")
    if less:
        factor = count / (count - less)
        variance = arithmetic(builder, ArithmeticKind.MULTIPLY, variance, float(factor))
    shown = mean if keep else builder.reshaped(mean, variance.shape)
    return variance, with_batch(shown, variance.batch)


def _read_attention(
    builder: GraphBuilder,
    query: Value,
    *,
    key: Value,
    value: Value,
    is_causal: bool = False,
    attn_mask: Any = None,
    scale: Any = None,
    **_: Any,
) -> list[Value | None]:
    if is_causal:
        builder.fail("is causal attention, which is not supported")
    rank = len(key.shape)
    turned = builder.permuted(key, (*range(rank - 2), rank - 1, rank - 2), auxiliary=True)
    found = matrix_product(builder, query, turned)
    factor = query.shape[-1] ** -0.5 if scale is None else float(scale)
    found = arithmetic(builder, ArithmeticKind.MULTIPLY, found, factor)
    if attn_mask is not None:
        found = arithmetic(builder, ArithmeticKind.ADD, found, attn_mask)
    shares = builder.emit(Softmax, (found,), found.shape, "softmax", axis=rank - 1)
    return [matrix_product(builder, shares, value), None]


#: Readers by operator; each gets the operator's arguments, values for what depends on the image.
COMPOSED_READERS: dict[str, Callable[..., Any]] = {
    "native_batch_norm": _read_batch_norm,
    "_native_batch_norm_legit": _read_batch_norm,
    "_native_batch_norm_legit_no_training": _read_batch_norm_of_inference,
    "native_layer_norm": _read_layer_norm,
    "native_group_norm": _read_group_norm,
    "linalg_vector_norm": _read_norm,
    "var": _read_variance,
    "var_mean": _read_variance_and_mean,
    "std": _read_deviation,
    "_scaled_dot_product_flash_attention_for_cpu": _read_attention,
}
