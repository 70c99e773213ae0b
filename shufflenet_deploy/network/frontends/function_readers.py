"""Readers of functions and tensor methods: one function for each that a graph can express."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from shufflenet_deploy.network.frontends.graph_builder import GraphBuilder, Value
from shufflenet_deploy.network.frontends.module_readers import flattened
from shufflenet_deploy.network.graph import AdaptiveAveragePool, Add, Concat, Multiply, Slice
from shufflenet_deploy.network.passes.simplify import Unflatten


def _read_mean(builder: GraphBuilder, x: Value, dim: Any = None, keepdim: bool = False) -> Value:  # noqa: FBT001, FBT002 - the signature of torch.mean
    axes = {axis % 4 for axis in dim} if isinstance(dim, (tuple, list)) else None
    if axes != {2, 3}:
        builder.fail("takes a mean over something other than height and width")
    builder.require_map(x)
    pooled = builder.emit(AdaptiveAveragePool, (x,), (x.shape[0], 1, 1), size=(1, 1))
    return pooled if keepdim else builder.flat(pooled)


def _read_add(builder: GraphBuilder, a: Any, b: Any, alpha: Any = 1) -> Value:
    if not isinstance(a, Value) or not isinstance(b, Value) or alpha != 1:
        builder.fail("adds a constant, which is not supported")
    a, b = builder.finished(a), builder.finished(b)
    if a.shape != b.shape:
        builder.fail(f"adds values of shapes {a.shape} and {b.shape}")
    return builder.emit(Add, (a, b), a.shape)


def _read_multiply(builder: GraphBuilder, a: Any, b: Any) -> Value:
    if not isinstance(a, Value) or not isinstance(b, Value):
        builder.fail("multiplies by a constant, which is not supported")
    a, b = builder.finished(a), builder.finished(b)
    if a.shape[1:] == (1, 1) and b.shape[1:] != (1, 1):
        a, b = b, a
    if len(a.shape) != 3 or b.shape != (a.shape[0], 1, 1):
        builder.fail(f"multiplies shapes {a.shape} and {b.shape}: only channel gates are known")
    return builder.emit(Multiply, (a, b), a.shape)


def _read_concat(builder: GraphBuilder, values: Any, dim: int = 0) -> Value:
    parts = tuple(builder.finished(value) for value in values)
    for part in parts:
        builder.require_map(part)
    if dim not in {1, -3} or len({part.shape[1:] for part in parts}) != 1:
        builder.fail("joins values along something other than channels")
    channels = sum(part.shape[0] for part in parts)
    return builder.emit(Concat, parts, (channels, *parts[0].shape[1:]), word="concat")


def _read_chunk(builder: GraphBuilder, x: Value, chunks: int, dim: int = 0) -> tuple[Value, ...]:
    builder.require_map(x)
    if dim not in {1, -3} or x.shape[0] % chunks:
        builder.fail("cuts a map into unequal parts, or along something other than channels")
    size = x.shape[0] // chunks
    return tuple(
        builder.emit(
            Slice,
            (x,),
            (size, *x.shape[1:]),
            word="chunk",
            axis=0,
            start=start,
            stop=start + size,
        )
        for start in range(0, x.shape[0], size)
    )


def _read_identity(_: GraphBuilder, x: Value, *__: Any, **___: Any) -> Value:
    return x


def _read_size(_: GraphBuilder, x: Value, dim: int | None = None) -> Any:
    return x.batched if dim is None else x.batched[dim]


def _read_attribute(builder: GraphBuilder, x: Value, what: str) -> Any:
    if what != "shape":
        builder.fail(f"reads '{what}' of a tensor")
    return x.batched


def _read_getitem(builder: GraphBuilder, sizes: Any, index: Any) -> Any:
    if isinstance(sizes, Value):
        builder.fail("cuts a tensor into pieces, which is not supported")
    return sizes[index]


def _read_transpose(builder: GraphBuilder, x: Value, first: int, second: int) -> Value:
    if not x.split or {first % 5, second % 5} != {1, 2}:
        builder.fail("exchanges dimensions other than the two of a channel shuffle")
    return Value(x.name, x.shape, x.split, not x.transposed)


def _read_permute(builder: GraphBuilder, x: Value, *dims: Any) -> Value:
    order = dims[0] if len(dims) == 1 else dims
    if tuple(order) != (0, 2, 1, 3, 4):
        builder.fail("permutes dimensions other than the two of a channel shuffle")
    return _read_transpose(builder, x, 1, 2)


def _read_view(builder: GraphBuilder, x: Value, *sizes: Any) -> Value:
    given = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
    wanted = _resolve_sizes(builder, given, math.prod(x.shape))
    if wanted == x.batched:
        return x
    if x.split:
        if wanted != (1, *x.shape):
            builder.fail(f"views {x.batched} as {wanted} in the middle of a channel shuffle")
        whole = Value(x.name, x.shape)
        # Transposing (g, n) and flattening is a shuffle of g groups.
        return builder.shuffle(whole, x.split) if x.transposed else whole
    if len(wanted) == 2 and wanted[0] == 1:
        return builder.flat(x)
    if len(x.shape) == 1 and wanted == (1, *x.shape, 1, 1):
        return builder.emit(Unflatten, (x,), (*x.shape, 1, 1), word="unflatten")
    channels = wanted[1] * wanted[2] if len(wanted) == 5 else 0
    if len(x.shape) != 3 or (channels, *wanted[3:]) != x.shape:
        builder.fail(f"views {x.batched} as {wanted}, which is no channel shuffle")
    return Value(x.name, x.shape, wanted[1])


def _resolve_sizes(builder: GraphBuilder, sizes: Any, elements: int) -> tuple[int, ...]:
    known = math.prod(size for size in sizes if size != -1)
    unknown = elements // known if known and elements % known == 0 else 0
    wanted = tuple(unknown if size == -1 else size for size in sizes)
    if math.prod(wanted) != elements:
        builder.fail(f"views {elements} values as {tuple(sizes)}")
    return wanted


def _dropout(p: float = 0.5, training: bool = True, inplace: bool = False) -> nn.Module:  # noqa: FBT001, FBT002 - the signature of torch's
    return nn.Dropout(p, inplace).train(training)


#: Functional forms of modules, read as the module.
FUNCTIONS_AS_MODULES: dict[Any, Callable[..., nn.Module]] = {
    functional.relu: nn.ReLU,
    functional.relu6: nn.ReLU6,
    functional.hardsigmoid: nn.Hardsigmoid,
    functional.sigmoid: nn.Sigmoid,
    torch.relu: nn.ReLU,
    torch.relu_: nn.ReLU,
    torch.sigmoid: nn.Sigmoid,
    ".relu": nn.ReLU,
    ".relu_": nn.ReLU,
    ".sigmoid": nn.Sigmoid,
    ".sigmoid_": nn.Sigmoid,
    functional.max_pool2d: nn.MaxPool2d,
    functional.avg_pool2d: nn.AvgPool2d,
    functional.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    functional.local_response_norm: nn.LocalResponseNorm,
    functional.dropout: _dropout,
}

#: Readers by function, or by the name of a method after a dot.
FUNCTION_READERS: dict[Any, Callable[..., Any]] = {
    torch.flatten: flattened,
    ".flatten": flattened,
    torch.cat: _read_concat,
    torch.concat: _read_concat,
    torch.add: _read_add,
    ".add": _read_add,
    ".add_": _read_add,
    operator.add: _read_add,
    operator.iadd: _read_add,
    torch.mul: _read_multiply,
    ".mul": _read_multiply,
    ".mul_": _read_multiply,
    operator.mul: _read_multiply,
    operator.imul: _read_multiply,
    torch.chunk: _read_chunk,
    ".chunk": _read_chunk,
    torch.mean: _read_mean,
    ".mean": _read_mean,
    ".contiguous": _read_identity,
    ".size": _read_size,
    getattr: _read_attribute,
    operator.getitem: _read_getitem,
    torch.transpose: _read_transpose,
    ".transpose": _read_transpose,
    torch.permute: _read_permute,
    ".permute": _read_permute,
    torch.reshape: _read_view,
    ".reshape": _read_view,
    ".view": _read_view,
}
