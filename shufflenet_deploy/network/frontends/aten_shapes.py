"""Readers of ATen operators that move values without computing: views, cuts, joins, orders."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from shufflenet_deploy.network.frontends.aten_layers import read_constant_pad
from shufflenet_deploy.network.frontends.aten_values import arithmetic
from shufflenet_deploy.network.frontends.graph_builder import GraphBuilder, Value, with_batch
from shufflenet_deploy.network.graph import ArithmeticKind, Clip


def _read_identity(_: GraphBuilder, x: Value, **__: Any) -> Value:
    return x


def _read_conversion(builder: GraphBuilder, x: Value, *, dtype: Any = None, **_: Any) -> Value:
    if dtype not in {None, torch.float32}:
        builder.fail(f"computes in {str(dtype).removeprefix('torch.')}: export it in float32")
    return x


def _read_view(builder: GraphBuilder, x: Value, *, size: Sequence[int]) -> Value:
    elements = math.prod(x.shape)
    known = math.prod(one for one in size if one != -1)
    wanted = tuple(elements // known if one == -1 else one for one in size)
    if (
        x.batch is not None
        and x.batch < len(wanted)
        and wanted[: x.batch + 1] == _seen(x)[: x.batch + 1]
    ):
        batch: int | None = x.batch
    else:
        batch = 0 if wanted[:1] == (1,) else None
    shape = wanted if batch is None else (*wanted[:batch], *wanted[batch + 1 :])
    word = "unflatten" if shape == (*x.shape, 1, 1) else "reshape"
    return with_batch(builder.reshaped(x, shape, word), batch)


def _seen(x: Value) -> tuple[int, ...]:
    if x.batch is None:
        return x.shape
    return (*x.shape[: x.batch], 1, *x.shape[x.batch :])


def _read_unsqueeze(builder: GraphBuilder, x: Value, *, dim: int) -> Value:
    place = dim % (x.rank + 1)
    if x.batch is not None and place <= x.batch:
        moved = (*x.shape[:place], 1, *x.shape[place:])
        return with_batch(builder.reshaped(x, moved), x.batch + 1)
    axis = place - (x.batch is not None)
    return with_batch(builder.reshaped(x, (*x.shape[:axis], 1, *x.shape[axis:])), x.batch)


def _read_squeeze(builder: GraphBuilder, x: Value, *, dim: Any = None) -> Value:
    seen = _seen(x)
    dims = range(x.rank) if dim is None else [dim] if isinstance(dim, int) else dim
    gone = {one % x.rank for one in dims if seen[one] == 1}
    left = [place for place in range(x.rank) if place not in gone]
    batch = left.index(x.batch) if x.batch in left else None
    shape = [seen[place] for place in left if place != x.batch]
    return with_batch(builder.reshaped(x, shape), batch)


def _read_permute(builder: GraphBuilder, x: Value, *, dims: Sequence[int]) -> Value:
    places = [dim % x.rank for dim in dims]
    order = [builder.axis(x, place) for place in places if place != x.batch]
    batch = None if x.batch is None else places.index(x.batch)
    return with_batch(builder.permuted(x, order), batch)


def _read_transpose(builder: GraphBuilder, x: Value, *, dim0: int, dim1: int) -> Value:
    places = list(range(x.rank))
    places[dim0], places[dim1] = places[dim1], places[dim0]
    return _read_permute(builder, x, dims=places)


def _read_t(builder: GraphBuilder, x: Value) -> Value:
    return _read_permute(builder, x, dims=list(reversed(range(x.rank))))


def _read_expand(builder: GraphBuilder, x: Value, *, size: Sequence[int], **_: Any) -> Value:
    if x.spread is not None:
        x = builder.whole(x)
    while x.rank < len(size):
        x = _read_unsqueeze(builder, x, dim=0)
    seen = _seen(x)
    wanted = tuple(old if new == -1 else new for old, new in zip(seen, size, strict=True))
    if x.batch is not None and wanted[x.batch] != 1:
        builder.fail("repeats the batch")
    shape = wanted if x.batch is None else (*wanted[: x.batch], *wanted[x.batch + 1 :])
    return x if shape == x.shape else replace(x, spread=shape)


def _read_repeat(builder: GraphBuilder, x: Value, *, repeats: Sequence[int]) -> Value:
    if len(repeats) != x.rank:
        builder.fail("repeats a tensor along new axes, which is not supported")
    for place, count in enumerate(repeats):
        if count != 1:
            x = builder.joined([x] * count, builder.axis(x, place))
    return x


def _read_slice(
    builder: GraphBuilder, x: Value, *, dim: int = 0, step: int = 1, **ends: Any
) -> Value:
    start, stop, stride = slice(ends.get("start"), ends.get("end"), step).indices(_seen(x)[dim])
    if dim % x.rank == x.batch and (start, stop) == (0, 1):
        return x
    return builder.cut(x, builder.axis(x, dim), start, stop, stride)


def _read_select(builder: GraphBuilder, x: Value, *, dim: int, index: int) -> Value:
    if dim % x.rank == x.batch:
        return with_batch(x, None)
    axis = builder.axis(x, dim)
    at = index % x.shape[axis]
    piece = builder.cut(x, axis, at, at + 1)
    made = builder.reshaped(piece, (*x.shape[:axis], *x.shape[axis + 1 :]))
    before = x.batch is not None and dim % x.rank < x.batch
    return with_batch(made, x.batch - 1 if before and x.batch is not None else x.batch)


def _read_split(builder: GraphBuilder, x: Value, *, split_size: int, dim: int = 0) -> list[Value]:
    whole = _seen(x)[dim]
    sizes = [min(split_size, whole - start) for start in range(0, whole, split_size)]
    return _read_split_with_sizes(builder, x, split_sizes=sizes, dim=dim)


def _read_split_with_sizes(
    builder: GraphBuilder, x: Value, *, split_sizes: Sequence[int], dim: int = 0
) -> list[Value]:
    pieces, start = [], 0
    for size in split_sizes:
        pieces.append(_read_slice(builder, x, dim=dim, start=start, end=start + size))
        start += size
    return pieces


def _read_unbind(builder: GraphBuilder, x: Value, *, dim: int = 0) -> list[Value]:
    return [_read_select(builder, x, dim=dim, index=index) for index in range(_seen(x)[dim])]


def _read_cat(builder: GraphBuilder, values: Sequence[Any], *, dim: int = 0) -> Value:
    if not all(isinstance(value, Value) for value in values):
        return _with_constants(builder, values, dim)
    first = values[0]
    axis = builder.axis(first, dim)
    if len({value.batch for value in values}) != 1:
        builder.fail("joins tensors whose batches are different axes")
    return builder.joined(values, axis)


def _with_constants(builder: GraphBuilder, values: Sequence[Any], dim: int) -> Value:
    """Values joined with constants, such as class tokens; zeros around a value are a border."""
    place = next(index for index, one in enumerate(values) if isinstance(one, Value))
    x = values[place]
    rest = [one for one in values if one is not x]
    if any(isinstance(one, Value) or bool(one.any()) for one in rest):
        made = [
            one if isinstance(one, Value) else _constant(builder, x, one, dim) for one in values
        ]
        return _read_cat(builder, made, dim=dim)
    ends = [sum(one.shape[dim] for one in part) for part in (values[:place], values[place + 1 :])]
    after = x.rank - 1 - dim % x.rank
    return read_constant_pad(builder, x, pad=[*[0] * (2 * after), *ends])


def _constant(builder: GraphBuilder, beside: Value, constant: torch.Tensor, dim: int) -> Value:
    """A constant as a value: numbers added to the zeros that a piece of another value is made."""
    piece = builder.cut(beside, builder.axis(beside, dim), 0, 1)
    zeros = builder.emit(Clip, (piece,), piece.shape, "zeros", auxiliary=True, low=0.0, high=0.0)
    return arithmetic(builder, ArithmeticKind.ADD, zeros, constant)


def _read_stack(builder: GraphBuilder, values: Sequence[Any], *, dim: int = 0) -> Value:
    rank = next(one.rank for one in values if isinstance(one, Value))
    place = dim % (rank + 1)
    parts = [
        _read_unsqueeze(builder, one, dim=place) if isinstance(one, Value) else one.unsqueeze(place)
        for one in values
    ]
    return _read_cat(builder, parts, dim=place)


def _read_index(builder: GraphBuilder, x: Value, *, indices: Sequence[Any]) -> Value:
    given = [(place, index) for place, index in enumerate(indices) if index is not None]
    if len(given) != 1:
        builder.fail("takes elements by several indices at once, which is not supported")
    ((place, index),) = given
    return _read_index_select(builder, x, dim=place, index=index)


def _read_index_select(builder: GraphBuilder, x: Value, *, dim: int, index: Any) -> Value:
    if not isinstance(index, torch.Tensor) or index.dim() != 1 or index.dtype == torch.bool:
        builder.fail("takes elements by computed or many-dimensional indices")
    return builder.gathered(x, builder.axis(x, dim), index.tolist())


def _read_roll(builder: GraphBuilder, x: Value, *, shifts: Any, dims: Any) -> Value:
    moves = zip(*((one,) if isinstance(one, int) else one for one in (shifts, dims)), strict=True)
    for shift, dim in moves:
        axis = builder.axis(x, dim)
        size = x.shape[axis]
        x = builder.gathered(x, axis, [(place - shift) % size for place in range(size)])
    return x


#: Readers by operator; each gets the operator's arguments, values for what depends on the image.
SHAPE_READERS: dict[str, Callable[..., Any]] = {
    "alias": _read_identity,
    "clone": _read_identity,
    "detach": _read_identity,
    "lift_fresh": _read_identity,
    "_to_copy": _read_conversion,
    "view": _read_view,
    "_unsafe_view": _read_view,
    "_reshape_alias": _read_view,
    "reshape": _read_view,
    "unsqueeze": _read_unsqueeze,
    "squeeze": _read_squeeze,
    "permute": _read_permute,
    "transpose": _read_transpose,
    "t": _read_t,
    "expand": _read_expand,
    "repeat": _read_repeat,
    "slice": _read_slice,
    "select": _read_select,
    "split": _read_split,
    "split_with_sizes": _read_split_with_sizes,
    "unbind": _read_unbind,
    "cat": _read_cat,
    "stack": _read_stack,
    "index": _read_index,
    "index_select": _read_index_select,
    "roll": _read_roll,
}
