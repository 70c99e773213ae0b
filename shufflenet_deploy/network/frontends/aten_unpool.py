"""Reader of ATen's max unpool: values put where a max pool found its maxima."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from shufflenet_deploy.network.frontends.aten_comparisons import nonzero
from shufflenet_deploy.network.frontends.aten_values import arithmetic, reduced
from shufflenet_deploy.network.frontends.graph_builder import GraphBuilder, Value, pair
from shufflenet_deploy.network.frontends.recording import Unreadable
from shufflenet_deploy.network.graph import (
    ArithmeticKind,
    DepthToSpace,
    ReduceKind,
    SpaceToDepth,
)


def _read_max_unpool(
    builder: GraphBuilder, x: Value, *, indices: Any, output_size: Sequence[int]
) -> Value:
    """Read an unpool of windows that do not overlap, by the map that was pooled.

    Its pixels are compared with the maxima of their windows; of several equal ones PyTorch takes
    the first.
    """
    if not isinstance(indices, Unreadable) or indices.operator != "max_pool2d_with_indices":
        builder.fail("puts values at places that are not those of a max pool")
    pooled, kernel, *others = indices.inputs
    strides, padding = [*others, *((), 0)[len(others) :]][:2]
    block = pair(kernel)[0]
    whole = (block * x.shape[1], block * x.shape[2])
    if (
        not isinstance(pooled, Value)
        or {*pair(kernel), *pair(strides or kernel)} != {block}
        or pair(padding) != (0, 0)
        or pooled.shape != (x.shape[0], *whole)
        or tuple(output_size) != whole
    ):
        builder.fail("unpools windows that overlap, are no squares or leave out pixels")
    channels, height, width = x.shape
    parts = (channels, block**2, height * width)
    made = builder.emit(SpaceToDepth, (pooled,), (channels * block**2, height, width), block=block)
    chosen = _first_maxima(builder, builder.reshaped(made, parts))
    placed = arithmetic(
        builder, ArithmeticKind.MULTIPLY, chosen, builder.reshaped(x, (channels, 1, parts[2]))
    )
    placed = builder.reshaped(placed, made.shape)
    return builder.emit(DepthToSpace, (placed,), pooled.shape, block=block)


def _first_maxima(builder: GraphBuilder, x: Value) -> Value:
    """1 at the first maximum along the second axis, else 0."""
    best = reduced(builder, ReduceKind.MAX, x, 2, keep=True)
    less = arithmetic(builder, ArithmeticKind.SUBTRACT, best, x)
    other = nonzero(builder, less)
    left = builder.cut(other, 1, 0, 1)
    found = [arithmetic(builder, ArithmeticKind.SUBTRACT, 1.0, left)]
    for place in range(1, x.shape[1] - 1):
        further = builder.cut(other, 1, place, place + 1)
        further = arithmetic(builder, ArithmeticKind.MULTIPLY, left, further)
        found.append(arithmetic(builder, ArithmeticKind.SUBTRACT, left, further))
        left = further
    return builder.joined([*found, left], 1)


#: Readers that understand the places of maxima, which are not expressed by themselves.
PLACE_READERS: dict[str, Callable[..., Value]] = {"max_unpool2d": _read_max_unpool}
