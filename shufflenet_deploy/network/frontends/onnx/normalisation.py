"""Readers of normalisation, softmax and reductions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from shufflenet_deploy.network.frontends.file_builder import float_array
from shufflenet_deploy.network.frontends.onnx.node import Node, Tensor
from shufflenet_deploy.network.graph import (
    AdaptiveAveragePool,
    ArithmeticKind,
    LocalResponseNorm,
    Normalize,
    Power,
    Reduce,
    ReduceKind,
    Softmax,
)


def _batch_norm(node: Node) -> Tensor:
    tensor = node.tensor()
    if node.attribute("training_mode", 0) or node.attribute("spatial", 1) != 1:
        node.fail("normalises with the statistics of the batch: export the network for inference")
    if not tensor.batched:
        node.fail(f"normalises {tensor.shape}, and (1, C, ...) is normalised here")
    gain, shift, mean, variance = (
        np.asarray(node.constant(index), np.float64).reshape(-1) for index in (1, 2, 3, 4)
    )
    channels = tensor.value.shape[0]
    if {gain.size, shift.size, mean.size, variance.size} != {channels}:
        node.fail(f"has statistics of other sizes than its {channels} channels")
    epsilon = node.attribute("epsilon", 1e-5)
    if (variance + epsilon <= 0).any():
        node.fail("has a negative variance")
    scale = gain / np.sqrt(variance + epsilon)
    made = node.builder.affine(tensor.value, scale, shift - mean * scale)
    return Tensor(made, tensor.shape)


def _layer_norm(node: Node) -> Any:
    tensor = node.tensor()
    rank = len(tensor.shape)
    first = node.axis(node.attribute("axis", -1), rank)
    axes = tuple(axis - tensor.batched for axis in range(first, rank))
    if axes[0] < 0:
        node.fail("normalises along the batch")
    affine = [node.constant(1), node.constant(2) if node.has(2) else 0.0]
    made = _normalized(node, axes, affine)
    return (made, *_statistics(node, axes)) if node.outputs > 1 else made


def _statistics(node: Node, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The mean and the reciprocal deviation that a layer norm may give as well."""
    tensor, builder = node.tensor(), node.builder
    x = tensor.value
    mean = builder.emit(Reduce, x, kind=ReduceKind.MEAN, axes=axes)
    centred = builder.of_two(x, mean, ArithmeticKind.SUBTRACT)
    square = builder.of_two(centred, centred, ArithmeticKind.MULTIPLY)
    variance = builder.emit(Reduce, square, kind=ReduceKind.MEAN, axes=axes)
    epsilon = node.attribute("epsilon", 1e-5)
    raised = builder.with_constant(variance, ArithmeticKind.ADD, epsilon)
    factor = builder.emit(Power, raised, exponent=-0.5)
    shape = (*tensor.shape[: len(tensor.shape) - len(axes)], *[1] * len(axes))
    return Tensor(mean, shape), Tensor(factor, shape)


def _instance_norm(node: Node) -> Tensor:
    axes = tuple(range(1, len(node.tensor().value.shape)))
    return _normalized(node, axes, _channel_arrays(node))


def _group_norm(node: Node) -> Tensor:
    tensor, groups = node.tensor(), node.attribute("num_groups", 1)
    channels = tensor.value.shape[0]
    if groups < 1 or channels % groups:
        node.fail(f"normalises {channels} channels in {groups} groups")
    arrays = [np.asarray(node.constant(index), np.float64).reshape(-1) for index in (1, 2)]
    if node.opset < 21 and groups != channels:
        # Until opset 21 there was a number for each group.
        if any(array.size != groups for array in arrays):
            node.fail(f"has other numbers of scales and shifts than its {groups} groups")
        arrays = [np.repeat(array, channels // groups) for array in arrays]
    axes = tuple(range(len(tensor.value.shape)))
    if groups == channels and len(axes) > 1:
        return _normalized(node, axes[1:], _channel_arrays(node, arrays))
    return _normalized(node, axes, _channel_arrays(node, arrays), groups)


def _channel_arrays(node: Node, arrays: Sequence[Any] | None = None) -> list[Any]:
    """Scale and shift of each channel, with the axes of the value."""
    tensor = node.tensor()
    if not tensor.batched:
        node.fail(f"normalises {tensor.shape}, and (1, C, ...) is normalised here")
    channels, *rest = tensor.value.shape
    found = arrays or [np.asarray(node.constant(index)).reshape(-1) for index in (1, 2)]
    if any(array.size != channels for array in found):
        node.fail(f"has other numbers of scales and shifts than its {channels} channels")
    return [array.reshape(-1, *[1] * len(rest)) for array in found]


def _normalized(
    node: Node, axes: tuple[int, ...], affine: Sequence[Any], groups: int = 1
) -> Tensor:
    """A norm of the first input over axes; scale and shift are aligned at the last axis."""
    tensor = node.tensor()
    rank = len(tensor.value.shape)
    arrays = []
    for one in affine:
        array = np.asarray(one, np.float32)
        surplus = max(0, array.ndim - rank)
        array = array.reshape((1,) * (rank - array.ndim) + array.shape[surplus:])
        arrays.append(float_array(array))
    made = node.builder.emit(
        Normalize,
        tensor.value,
        axes=axes,
        epsilon=node.attribute("epsilon", 1e-5),
        scale=arrays[0],
        shift=arrays[1],
        groups=groups,
    )
    return Tensor(made, tensor.shape)


def _response_norm(node: Node) -> Tensor:
    x, size = node.map(), node.attribute("size", 0)
    if size < 1 or size % 2 == 0:
        node.fail(f"normalises across {size} channels, and odd numbers are known")
    made = node.builder.emit(
        LocalResponseNorm,
        x,
        size=size,
        alpha=node.attribute("alpha", 1e-4),
        beta=node.attribute("beta", 0.75),
        k=node.attribute("bias", 1.0),
    )
    return Tensor(made, (1, *made.shape))


def _softmax(node: Node, *, logarithm: bool) -> Tensor:
    tensor, builder = node.tensor(), node.builder
    rank = len(tensor.shape)
    axis = node.axis(node.attribute("axis", -1 if node.opset >= 13 else 1), rank)
    if node.opset < 13 and axis < rank - 1:
        # As if the tensor were a matrix: all axes from this one on together.
        matrix = (math.prod(tensor.shape[:axis]), math.prod(tensor.shape[axis:]))
        inner = matrix[1:] if matrix[0] == 1 else matrix
        flat = builder.reshaped(tensor.value, inner)
        made = builder.emit(Softmax, flat, axis=len(inner) - 1, logarithm=logarithm)
        return Tensor(builder.reshaped(made, tensor.value.shape), tensor.shape)
    if tensor.batched and axis == 0:
        node.fail("works along the batch")
    inner_axis = axis - 1 if tensor.batched else axis
    made = builder.emit(Softmax, tensor.value, axis=inner_axis, logarithm=logarithm)
    return Tensor(made, tensor.shape)


def _reduce(kind: ReduceKind, node: Node) -> Tensor:
    tensor = node.tensor()
    rank, keep = len(tensor.shape), bool(node.attribute("keepdims", 1))
    found = node.integers(1) if node.has(1) else node.optional_integers("axes")
    if not found and node.attribute("noop_with_empty_axes", 0):
        return tensor
    axes = tuple(sorted({node.axis(axis, rank) for axis in found or range(rank)}))
    shape = tuple(
        1 if axis in axes else size
        for axis, size in enumerate(tensor.shape)
        if keep or axis not in axes
    )
    inner = tuple(axis - 1 for axis in axes if axis > 0) if tensor.batched else axes
    if not inner:
        return Tensor(node.builder.reshaped(tensor.value, shape), shape)
    if kind is ReduceKind.MEAN and len(tensor.value.shape) == 3 and inner == (1, 2):
        made = node.builder.emit(AdaptiveAveragePool, tensor.value, size=(1, 1))
    else:
        made = node.builder.emit(Reduce, tensor.value, kind=kind, axes=inner, keep=keep)
    return Tensor(made, shape)


READERS: dict[str, Callable[[Node], Any]] = {
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "InstanceNormalization": _instance_norm,
    "GroupNormalization": _group_norm,
    "LRN": _response_norm,
    "Softmax": partial(_softmax, logarithm=False),
    "LogSoftmax": partial(_softmax, logarithm=True),
    "ReduceMean": partial(_reduce, ReduceKind.MEAN),
    "ReduceSum": partial(_reduce, ReduceKind.SUM),
    "ReduceMax": partial(_reduce, ReduceKind.MAX),
}
