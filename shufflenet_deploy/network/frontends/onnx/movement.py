"""Readers of what moves elements and computes none: shapes, slices, pads, pixel shuffles."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from shufflenet_deploy.network.frontends.file_builder import Value
from shufflenet_deploy.network.frontends.onnx.joins import READERS as JOIN_READERS
from shufflenet_deploy.network.frontends.onnx.node import Node, Tensor, settled
from shufflenet_deploy.network.frontends.onnx.resize import READERS as RESIZE_READERS
from shufflenet_deploy.network.graph import (
    ArithmeticKind,
    Concat,
    Conv,
    DepthToSpace,
    Pad,
    PadMode,
    SpaceToDepth,
)
from shufflenet_deploy.network.shapes import MOST_ELEMENTS, Shape

#: Parts that a Gather or Tile may be made of.
_MOST_PARTS = 64


def _along(node: Node, tensor: Tensor, axis: int) -> tuple[Value, int]:
    """The value in which ``axis`` of the file's tensor exists, and where it is there."""
    if not tensor.batched:
        return tensor.value, axis
    if axis > 0:
        return tensor.value, axis - 1
    return node.builder.reshaped(tensor.value, tensor.shape), 0


def _identity(node: Node) -> Tensor:
    return node.tensor()


def _cast(node: Node) -> Tensor:
    if node.attribute("to", 0) not in {1, 10, 11, 16}:
        node.fail("makes other numbers of floating-point ones, which no layer here does")
    return node.tensor()


def _dropout(node: Node) -> Tensor:
    if node.number(2, 0.0):
        node.fail("is in training mode: export the network for inference")
    if node.outputs > 1 and node.proto.output[1]:
        node.fail("has a mask as a second output, which no layer here computes")
    return node.tensor()


def _split(node: Node) -> tuple[Tensor, ...]:
    tensor = node.tensor()
    axis = node.axis(node.attribute("axis", 0), len(tensor.shape))
    size = tensor.shape[axis]
    sizes = node.integers(1) if node.opset >= 13 else node.optional_integers("split")
    if sizes is None:
        count = node.outputs
        each = -(-size // count)
        sizes = tuple(max(0, min(each, size - each * index)) for index in range(count))
    if sum(sizes) != size or len(sizes) != node.outputs or min(sizes) < 0:
        node.fail(f"splits {size} into {', '.join(map(str, sizes))}")
    found, start = [], 0
    for part, name in zip(sizes, node.proto.output, strict=True):
        if name:
            found.append(_part(node, tensor, axis, start, start + part))
        start += part
    if len(found) != len(sizes):
        node.fail("leaves out some of its outputs")
    return tuple(found)


def _part(node: Node, tensor: Tensor, axis: int, start: int, stop: int, *, step: int = 1) -> Tensor:
    value, inner = _along(node, tensor, axis)
    made = node.builder.sliced(value, inner, start, stop, step)
    count = len(range(start, stop, step))
    return settled(node.builder, made, (*tensor.shape[:axis], count, *tensor.shape[axis + 1 :]))


def _slice(node: Node) -> Tensor:
    tensor = node.tensor()
    if node.opset < 10:
        starts, ends = node.optional_integers("starts"), node.optional_integers("ends")
        axes, steps = node.optional_integers("axes"), None
    else:
        starts, ends, axes, steps = (node.integers(index) for index in (1, 2, 3, 4))
    if starts is None or ends is None:
        node.fail("does not say what it takes")
    axes = axes or tuple(range(len(starts)))
    steps = steps or (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        node.fail("does not say what it takes of every axis")
    for start, end, named, step in zip(starts, ends, axes, steps, strict=True):
        axis = node.axis(named, len(tensor.shape))
        size = tensor.shape[axis]
        if step < 1:
            node.fail("takes elements in reverse order, which no layer here does")
        first, stop, _ = slice(start, end, step).indices(size)
        if first >= stop:
            node.fail("takes nothing")
        tensor = _part(node, tensor, axis, first, stop, step=step)
    return tensor


def _gather(node: Node) -> Tensor:
    tensor, indices = node.tensor(), node.constant(1)
    axis = node.axis(node.attribute("axis", 0), len(tensor.shape))
    size = tensor.shape[axis]
    if indices.dtype.kind not in "iu" or not indices.size or indices.size > MOST_ELEMENTS >> 8:
        node.fail("takes elements by something other than a few integers")
    order = indices.reshape(-1).astype(np.int64)
    order = np.where(order < 0, order + size, order)
    if (order < 0).any() or (order >= size).any():
        node.fail(f"takes elements that are not among the {size} of its axis")
    gathered = _taken(node, tensor, axis, [int(one) for one in order])
    shape = (*tensor.shape[:axis], *indices.shape, *tensor.shape[axis + 1 :])
    value = node.builder.reshaped(gathered.value, shape)
    return Tensor(value, shape)


def _taken(node: Node, tensor: Tensor, axis: int, order: list[int]) -> Tensor:
    """Elements in any order: a slice, a shuffle, several slices joined, or a convolution.

    A convolution with one 1 in each row is what channels without any order become: its products
    cost less than joining hundreds of slices.
    """
    value, inner = _along(node, tensor, axis)
    shape = (*tensor.shape[:axis], len(order), *tensor.shape[axis + 1 :])
    groups = _shuffle_groups(order)
    if groups and inner == 0 and len(value.shape) == 3:
        return Tensor(node.builder.shuffled(value, groups), shape)
    runs = _runs(order)
    if len(runs) > _MOST_PARTS and inner == 0 and len(value.shape) == 3:
        picks = np.eye(value.shape[0], dtype=np.float32)[order][:, :, None, None]
        bias = np.zeros(len(order), np.float32)
        return Tensor(node.builder.emit(Conv, value, weight=picks, bias=bias), shape)
    if len(runs) > _MOST_PARTS:
        node.fail(f"takes elements in an order of {len(runs)} runs, {_MOST_PARTS} at most are cut")
    parts = [node.builder.sliced(value, inner, start, stop, step) for start, stop, step in runs]
    made = parts[0] if len(parts) == 1 else node.builder.emit(Concat, *parts, axis=inner)
    return Tensor(made, shape)


def _shuffle_groups(order: Sequence[int]) -> int:
    """The groups of the channel shuffle that an order is, or 0."""
    count = len(order)
    if count < 2 or order[0] != 0 or order[1] < 1 or count % order[1]:
        return 0
    groups = count // order[1]
    expected = np.arange(count).reshape(groups, -1).T.reshape(-1)
    return groups if list(order) == expected.tolist() else 0


def _runs(order: Sequence[int]) -> list[tuple[int, int, int]]:
    """An order as slices (start, stop, step), the longest from the front."""
    runs, at = [], 0
    while at < len(order):
        step = order[at + 1] - order[at] if at + 1 < len(order) else 1
        end = at + 1
        if step >= 1:
            while end < len(order) and order[end] - order[end - 1] == step:
                end += 1
        runs.append((order[at], order[end - 1] + 1, max(step, 1)))
        at = end
    return runs


def _viewed(node: Node, shape: Sequence[int]) -> Tensor:
    tensor = node.tensor()
    if math.prod(shape) != math.prod(tensor.shape) or min(shape, default=1) < 1:
        node.fail(f"views {tensor.shape} as {tuple(shape)}")
    return Tensor(node.builder.reshaped(tensor.value, tuple(shape)), tuple(shape))


def _reshape(node: Node) -> Tensor:
    tensor = node.tensor()
    wanted = node.integers(1) if node.has(1) else node.optional_integers("shape")
    if wanted is None:
        node.fail("does not say the shape")
    kept = [
        tensor.shape[index]
        if size == 0 and index < len(tensor.shape) and not node.attribute("allowzero", 0)
        else size
        for index, size in enumerate(wanted)
    ]
    if kept.count(-1) == 1:
        known = math.prod(size for size in kept if size != -1)
        total = math.prod(tensor.shape)
        kept[kept.index(-1)] = total // known if known > 0 else 0
    return _viewed(node, kept)


def _flatten(node: Node) -> Tensor:
    shape = node.tensor().shape
    axis = node.attribute("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        node.fail(f"works along axis {axis} of {len(shape)}")
    axis += len(shape) if axis < 0 else 0
    return _viewed(node, (math.prod(shape[:axis]), math.prod(shape[axis:])))


def _axes(node: Node, rank: int) -> tuple[int, ...] | None:
    """Axes as an attribute (before opset 13) or an input."""
    found = node.integers(1) if node.has(1) else node.optional_integers("axes")
    return None if found is None else tuple(node.axis(axis, rank) for axis in found)


def _squeeze(node: Node) -> Tensor:
    shape = node.tensor().shape
    axes = _axes(node, len(shape))
    if axes is None:
        axes = tuple(axis for axis, size in enumerate(shape) if size == 1)
    if any(shape[axis] != 1 for axis in axes):
        node.fail(f"removes axes of {shape} that are not one")
    return _viewed(node, [size for axis, size in enumerate(shape) if axis not in axes])


def _unsqueeze(node: Node) -> Tensor:
    shape = node.tensor().shape
    named = node.integers(1) if node.has(1) else node.optional_integers("axes")
    if named is None or len(shape) + len(named) > 8:
        node.fail("does not say which axes it adds")
    rank = len(shape) + len(named)
    axes = {node.axis(axis, rank) for axis in named}
    old = iter(shape)
    return _viewed(node, [1 if axis in axes else next(old, 0) for axis in range(rank)])


def _transpose(node: Node) -> Tensor:
    tensor = node.tensor()
    rank = len(tensor.shape)
    order = node.attribute("perm", tuple(reversed(range(rank))))
    if sorted(order) != list(range(rank)):
        node.fail(f"orders the axes of {tensor.shape} as {order}")
    shape = tuple(tensor.shape[axis] for axis in order)
    inner = [axis - 1 for axis in order if axis > 0] if tensor.batched else order
    made = node.builder.permuted(tensor.value, inner)
    return Tensor(node.builder.reshaped(made, shape), shape)


def _expand(node: Node) -> Tensor:
    tensor, wanted = node.tensor(), node.integers(1)
    try:
        shape = tuple(map(int, np.broadcast_shapes(tensor.shape, wanted or ())))
    except ValueError:
        node.fail(f"expands {tensor.shape} to {wanted}")
    if shape == tensor.shape:
        return tensor
    if math.prod(shape) > MOST_ELEMENTS >> 5:
        node.fail(f"expands {tensor.shape} to {wanted}, more than any map")
    inner = shape[1:] if tensor.batched and len(shape) == len(tensor.shape) else shape
    zeros = np.zeros(inner, np.float32)
    return Tensor(node.builder.with_constant(tensor.value, ArithmeticKind.ADD, zeros), shape)


def _pad(node: Node) -> Tensor:
    tensor = node.tensor()
    rank = len(tensor.shape)
    amounts = _amounts(node, rank)
    name = node.attribute("mode", "constant")
    modes = {
        "constant": PadMode.CONSTANT,
        "reflect": PadMode.REFLECT,
        "edge": PadMode.REPLICATE,
    }
    if name not in modes:
        node.fail(f"pads by the mode '{name}', which no layer here does")
    constant = node.attribute("value", 0.0) if node.opset < 11 else node.number(2, 0.0)
    for axis in range(rank):
        before, after = amounts[axis], amounts[rank + axis]
        if before < 0 or after < 0:
            size = tensor.shape[axis]
            start, stop = max(0, -before), size + min(0, after)
            if start >= stop:
                node.fail("cuts off more than there is")
            tensor = _part(node, tensor, axis, start, stop)
    around = tuple(max(0, one) for one in amounts)
    if not any(around):
        return tensor
    if not tensor.batched or rank != 4 or around[0] or around[4]:
        node.fail(f"pads {tensor.shape}, and (1, C, H, W) is padded here")
    value = tensor.value
    if any(around[axis] for axis in (2, 3, 6, 7)):
        sides = (around[2], around[3], around[6], around[7])
        value = node.builder.emit(Pad, value, padding=sides, mode=modes[name], value=constant)
    if around[1] or around[5]:
        turned = node.builder.permuted(value, (1, 0, 2))
        sides = (around[1], 0, around[5], 0)
        padded = node.builder.emit(Pad, turned, padding=sides, mode=modes[name], value=constant)
        value = node.builder.permuted(padded, (1, 0, 2))
    return Tensor(value, (1, *value.shape))


def _amounts(node: Node, rank: int) -> list[int]:
    """The padding before and after every axis."""
    found = node.optional_integers("pads") if node.opset < 11 else node.integers(1)
    axes = node.integers(3) if node.opset >= 18 else None
    axes = tuple(range(rank)) if axes is None else tuple(node.axis(one, rank) for one in axes)
    if found is None or len(found) != 2 * len(axes):
        node.fail(f"does not say how much it adds to each of {rank} axes")
    amounts = [0] * (2 * rank)
    for index, axis in enumerate(axes):
        amounts[axis], amounts[rank + axis] = found[index], found[len(axes) + index]
    return amounts


def _depth_to_space(node: Node) -> Tensor:
    x, block = node.map(), node.attribute("blocksize", 0)
    if block < 1 or x.shape[0] % block**2:
        node.fail(f"moves {x.shape[0]} channels to blocks of {block}x{block}")
    if node.attribute("mode", "DCR") == "DCR":
        x = node.builder.shuffled(x, block**2)
    return _whole(node.builder.emit(DepthToSpace, x, block=block))


def _space_to_depth(node: Node) -> Tensor:
    x, block = node.map(), node.attribute("blocksize", 0)
    made = node.builder.emit(SpaceToDepth, x, block=block)
    if node.attribute("mode", "DCR") == "DCR":
        made = node.builder.shuffled(made, x.shape[0])
    return _whole(made)


def _tile(node: Node) -> Tensor:
    tensor, repeats = node.tensor(), node.integers(1)
    if repeats is None or len(repeats) != len(tensor.shape) or min(repeats) < 1:
        node.fail(f"repeats {tensor.shape} {repeats} times")
    if math.prod(repeats) > _MOST_PARTS:
        node.fail(f"repeats its input {math.prod(repeats)} times, {_MOST_PARTS} at most are joined")
    for axis, count in enumerate(repeats):
        if count > 1:
            value, inner = _along(node, tensor, axis)
            made = node.builder.emit(Concat, *[value] * count, axis=inner)
            size = tensor.shape[axis] * count
            shape = (*tensor.shape[:axis], size, *tensor.shape[axis + 1 :])
            tensor = settled(node.builder, made, shape)
    return tensor


def _whole(value: Value) -> Tensor:
    shape: Shape = (1, *value.shape)
    return Tensor(value, shape)


READERS: dict[str, Callable[[Node], Any]] = {
    "Identity": _identity,
    "Dropout": _dropout,
    "Cast": _cast,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Expand": _expand,
    "Pad": _pad,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Tile": _tile,
    **JOIN_READERS,
    **RESIZE_READERS,
}
