"""Readers of what slides over a map or multiplies by a matrix: convolutions, pools, products."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from shufflenet_deploy.network.frontends.file_builder import Padding, Value, float_array
from shufflenet_deploy.network.frontends.onnx.node import Node, Tensor
from shufflenet_deploy.network.graph import (
    AdaptiveAveragePool,
    ArithmeticKind,
    Conv,
    ConvTranspose,
    Dense,
    FloatArray,
    MatMul,
    Pair,
    PoolKind,
    Reduce,
    ReduceKind,
)


def _conv(node: Node) -> Tensor:
    x, weight = node.map(), _kernel(node)
    stride, dilation = _pair(node, "strides"), _pair(node, "dilations")
    window = _covered(weight, dilation)
    declared = _padding(node, x, window, stride)
    padding, _ = node.builder.windows(x, window, stride, declared)
    made = node.builder.emit(
        Conv,
        x,
        weight=weight,
        bias=_bias(node, 2, weight.shape[0]),
        stride=stride,
        padding=padding,
        groups=node.attribute("group", 1),
        dilation=dilation,
    )
    return Tensor(made, (1, *made.shape))


def _conv_transpose(node: Node) -> Tensor:
    x, weight = node.map(), _kernel(node)
    stride, dilation = _pair(node, "strides"), _pair(node, "dilations")
    extra = node.sizes("output_padding", (0, 0))
    groups = node.attribute("group", 1)
    wanted = _output_shape(node, x, stride)
    window = _covered(weight, dilation)
    if wanted is None:
        top, left, bottom, right = node.sizes("pads", (0, 0, 0, 0))
    else:
        begins, ends = [], []
        for axis in (0, 1):
            full = stride[axis] * (x.shape[1 + axis] - 1) + window[axis]
            total = max(0, full + extra[axis] - wanted[axis])
            upper = node.attribute("auto_pad", "NOTSET") == "SAME_UPPER"
            begins.append(total // 2 if upper else total - total // 2)
            # What is missing to the wanted size is an output padding.
            ends.append(full + extra[axis] - wanted[axis] - begins[axis])
        (top, left), (bottom, right) = begins, ends
    made = node.builder.emit(
        ConvTranspose,
        x,
        weight=weight,
        bias=_bias(node, 2, weight.shape[1] * groups),
        stride=stride,
        cropping=(top, left, bottom - extra[0], right - extra[1]),
        groups=groups,
        dilation=dilation,
    )
    return Tensor(made, (1, *made.shape))


def _output_shape(node: Node, x: Value, stride: Pair) -> tuple[int, ...] | None:
    """Height and width that a transposed convolution states itself."""
    stated = node.optional_integers("output_shape")
    if stated is not None:
        if len(stated) < 2:
            node.fail("has an 'output_shape' of one number")
        return stated[-2:]
    if node.attribute("auto_pad", "NOTSET") in {"SAME_UPPER", "SAME_LOWER"}:
        return (x.shape[1] * stride[0], x.shape[2] * stride[1])
    return None


def _kernel(node: Node) -> FloatArray:
    weight = float_array(node.constant(1))
    if weight.ndim != 4:
        node.fail(f"has a kernel of {weight.ndim - 2} dimensions, and maps have two")
    if (stated := node.optional_integers("kernel_shape")) not in {None, weight.shape[2:]}:
        node.fail(f"states a kernel of {stated} and holds one of {weight.shape[2:]}")
    return weight


def _bias(node: Node, index: int, channels: int) -> FloatArray:
    found = node.optional(index)
    return np.zeros(channels, np.float32) if found is None else float_array(found)


def _covered(weight: FloatArray, dilation: Pair) -> Pair:
    height, width = weight.shape[2:]
    return (height - 1) * dilation[0] + 1, (width - 1) * dilation[1] + 1


def _pair(node: Node, name: str) -> Pair:
    height, width = node.sizes(name, (1, 1))
    return height, width


def _padding(node: Node, x: Value, window: Pair, stride: Pair) -> Padding:
    """(top, left, bottom, right) from ``pads``, or from ``auto_pad``."""
    rule = node.attribute("auto_pad", "NOTSET")
    if rule == "VALID":
        return 0, 0, 0, 0
    if rule in {"SAME_UPPER", "SAME_LOWER"}:
        if min(stride) < 1:
            node.fail("has a stride below 1")
        before, after = [], []
        for axis in (0, 1):
            size = x.shape[1 + axis]
            total = max(0, (-(-size // stride[axis]) - 1) * stride[axis] + window[axis] - size)
            less, more = total // 2, total - total // 2
            before.append(less if rule == "SAME_UPPER" else more)
            after.append(more if rule == "SAME_UPPER" else less)
        return before[0], before[1], after[0], after[1]
    if rule != "NOTSET":
        node.fail(f"has the padding rule '{rule}', which ONNX does not know")
    top, left, bottom, right = node.sizes("pads", (0, 0, 0, 0))
    return top, left, bottom, right


def _pool(node: Node) -> Tensor:
    x = node.map()
    kind = PoolKind.MAX if node.op == "MaxPool" else PoolKind.AVERAGE
    if node.outputs > 1 and node.proto.output[1]:
        node.fail("has indices as a second output, which no layer here computes")
    if node.sizes("dilations", (1, 1)) != (1, 1):
        node.fail("is dilated, which no pool here is: export it without")
    kernel = node.sizes("kernel_shape", (0, 0))
    stride = _pair(node, "strides")
    rule = node.attribute("auto_pad", "NOTSET")
    made = node.builder.pool(
        x,
        kind,
        (kernel[0], kernel[1]),
        stride,
        _padding(node, x, (kernel[0], kernel[1]), stride),
        ceil=bool(node.attribute("ceil_mode", 0)) and rule == "NOTSET",
        count_padding=kind is PoolKind.MAX or bool(node.attribute("count_include_pad", 0)),
    )
    return Tensor(made, (1, *made.shape))


def _global_average(node: Node) -> Tensor:
    made = node.builder.emit(AdaptiveAveragePool, node.map(), size=(1, 1))
    return Tensor(made, (1, *made.shape))


def _global_maximum(node: Node) -> Tensor:
    made = node.builder.emit(Reduce, node.map(), kind=ReduceKind.MAX, axes=(1, 2), keep=True)
    return Tensor(made, (1, *made.shape))


def _gemm(node: Node) -> Tensor:
    tensor, weight = node.tensor(), float_array(node.constant(1))
    if len(tensor.shape) != 2 or weight.ndim != 2:
        node.fail("multiplies something other than two matrices")
    if node.attribute("transA", 0):
        node.fail("transposes its first operand: export it with transA=0")
    if not node.attribute("transB", 0):
        weight = weight.T
    weight = float_array(weight * np.float32(node.attribute("alpha", 1.0)))
    made, beta = _product(node, tensor, weight), node.attribute("beta", 1.0)
    if not node.has(2):
        return made
    if isinstance(node.inputs[2], Tensor):
        addend = node.inputs[2].value
        if beta != 1:
            addend = node.builder.with_constant(addend, ArithmeticKind.MULTIPLY, beta)
        value = node.builder.of_two(made.value, addend, ArithmeticKind.ADD)
        return Tensor(value, made.shape)
    bias = float_array(node.constant(2)) * np.float32(beta)
    row = without_leading_ones(bias)
    if made.batched and row.ndim <= 1 and row.size in {1, weight.shape[0]}:
        bias = float_array(np.broadcast_to(row.reshape(-1), (weight.shape[0],)))
        return _product(node, tensor, weight, bias)
    return Tensor(node.builder.with_constant(made.value, ArithmeticKind.ADD, row), made.shape)


def _matmul(node: Node) -> Tensor:
    left, right = node.inputs[0], node.inputs[1]
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return _of_matrices(node, left, right)
    if isinstance(left, Tensor):
        weight = without_leading_ones(node.constant(1))
        if weight.ndim != 2:
            node.fail(f"multiplies by a constant of {weight.ndim} dimensions")
        return _product(node, left, float_array(weight.T))
    tensor, weight = node.tensor(1), without_leading_ones(node.constant(0))
    if weight.ndim != 2 or len(tensor.shape) < 3:
        node.fail(f"multiplies a constant of {weight.ndim} dimensions")
    axis = len(tensor.value.shape) - 2
    made = _contracted(node, tensor.value, axis, float_array(weight), None)
    return Tensor(made, (*tensor.shape[:-2], weight.shape[0], tensor.shape[-1]))


def _of_matrices(node: Node, left: Tensor, right: Tensor) -> Tensor:
    """The product of two computed tensors, which must have the same axes before the last two."""
    a, b = left.shape, right.shape
    if len(a) < 2 or len(a) != len(b) or a[:-2] != b[:-2] or a[-1] != b[-2]:
        node.fail(f"multiplies {a} by {b}, which do not fit")
    shape, values = (*a[:-1], b[-1]), [left.value, right.value]
    if len(a) == 2:
        # The first axis of a matrix is no batch, even if it is one.
        pairs = zip(values, (a, b), strict=True)
        values = [node.builder.reshaped(value, whole) for value, whole in pairs]
    return Tensor(node.builder.emit(MatMul, *values), shape)


def without_leading_ones(array: Any) -> FloatArray:
    """A constant as it is broadcast: without the axes of one in front."""
    found = float_array(array)
    while found.ndim > 1 and found.shape[0] == 1:
        found = found[0]
    return found


def _product(
    node: Node, tensor: Tensor, weight: FloatArray, bias: FloatArray | None = None
) -> Tensor:
    """``weight`` (out, in) along the last axis."""
    shape = (*tensor.shape[:-1], weight.shape[0])
    if len(tensor.value.shape) == 1 and tensor.shape[-1] == tensor.value.shape[0]:
        zeros = np.zeros(weight.shape[0], np.float32)
        made = node.builder.emit(
            Dense, tensor.value, weight=weight, bias=zeros if bias is None else bias
        )
        return Tensor(made, shape)
    made = _contracted(node, tensor.value, len(tensor.value.shape) - 1, weight, bias)
    return Tensor(made, shape)


def _contracted(
    node: Node, x: Value, axis: int, weight: FloatArray, bias: FloatArray | None
) -> Value:
    """``weight`` (out, in) along one axis of several: a 1x1 convolution with it as channels."""
    rest = [other for other in range(len(x.shape)) if other != axis]
    if not rest:
        node.fail(f"multiplies {x.shape} by a matrix of {weight.shape}")
    builder, sizes = node.builder, [x.shape[other] for other in rest]
    plane = (sizes[0], math.prod(sizes[1:]))
    turned = builder.reshaped(builder.permuted(x, [axis, *rest]), (x.shape[axis], *plane))
    made = builder.emit(
        Conv,
        turned,
        weight=weight[:, :, None, None],
        bias=np.zeros(weight.shape[0], np.float32) if bias is None else bias,
    )
    whole = builder.reshaped(made, (weight.shape[0], *sizes))
    return builder.permuted(whole, [*range(1, axis + 1), 0, *range(axis + 1, len(x.shape))])


READERS: dict[str, Callable[[Node], Any]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_maximum,
    "Gemm": _gemm,
    "MatMul": _matmul,
}
