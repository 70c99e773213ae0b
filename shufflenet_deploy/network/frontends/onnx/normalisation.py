"""Readers of normalisation, softmax and reductions."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from shufflenet_deploy.network.frontends.onnx.node import Node, Tensor
from shufflenet_deploy.network.graph import (
    AdaptiveAveragePool,
    LocalResponseNorm,
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
    "LRN": _response_norm,
    "Softmax": partial(_softmax, logarithm=False),
    "LogSoftmax": partial(_softmax, logarithm=True),
    "ReduceMean": partial(_reduce, ReduceKind.MEAN),
    "ReduceSum": partial(_reduce, ReduceKind.SUM),
    "ReduceMax": partial(_reduce, ReduceKind.MAX),
}
