"""Readers of ATen operators that are several layers: norms, variances, attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from shufflenet_deploy.network.frontends.aten_layers import matrix_product
from shufflenet_deploy.network.frontends.aten_values import (
    arithmetic,
    read_absolute,
    read_square,
    reduced,
    root,
)
from shufflenet_deploy.network.frontends.graph_builder import GraphBuilder, Value, with_batch
from shufflenet_deploy.network.graph import ArithmeticKind, ReduceKind, Softmax


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
    turned = builder.permuted(key, (*range(rank - 2), rank - 1, rank - 2), aside=True)
    found = matrix_product(builder, query, turned)
    factor = query.shape[-1] ** -0.5 if scale is None else float(scale)
    found = arithmetic(builder, ArithmeticKind.MULTIPLY, found, factor)
    if attn_mask is not None:
        found = arithmetic(builder, ArithmeticKind.ADD, found, attn_mask)
    shares = builder.emit(Softmax, (found,), found.shape, "softmax", axis=rank - 1)
    return [matrix_product(builder, shares, value), None]


#: Readers by operator; each gets the operator's arguments, values for what depends on the image.
COMPOSED_READERS: dict[str, Callable[..., Any]] = {
    "linalg_vector_norm": _read_norm,
    "var": _read_variance,
    "var_mean": _read_variance_and_mean,
    "std": _read_deviation,
    "_scaled_dot_product_flash_attention_for_cpu": _read_attention,
}
