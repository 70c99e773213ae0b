"""Readers of what joins tensors, and constants such as class tokens, along an axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shufflenet_deploy.network.frontends.file_builder import Value, float_array
from shufflenet_deploy.network.frontends.onnx.node import Array, Node, Tensor
from shufflenet_deploy.network.graph import ArithmeticKind, Clip, Concat


def _concat(node: Node) -> Tensor:
    joined = [one for one in node.inputs if one is not None]
    first = next((one for one in joined if isinstance(one, Tensor)), None)
    if first is None or len(joined) < len(node.inputs):
        node.fail("joins an input that is left out")
    axis = node.axis(node.attribute("axis", 1), len(first.shape))
    if len({len(one.shape) for one in joined}) != 1:
        node.fail("joins tensors of several ranks")
    if len(joined) == 1:
        return first
    whole = axis == 0 or any(one.shape[0] != 1 for one in joined)
    inner = axis if whole else axis - 1
    beside = _value(node, first, whole=whole)
    parts = [
        _value(node, one, whole=whole)
        if isinstance(one, Tensor)
        else _constant(node, beside, one if whole else one[0], inner)
        for one in joined
    ]
    made = node.builder.emit(Concat, *parts, axis=inner)
    return Tensor(made, made.shape if whole else (1, *made.shape))


def _value(node: Node, tensor: Tensor, *, whole: bool) -> Value:
    return node.builder.reshaped(tensor.value, tensor.shape) if whole else tensor.value


def _constant(node: Node, beside: Value, constant: Array, axis: int) -> Value:
    """A constant as a value: numbers added to the zeros that a piece of another value is made."""
    piece = node.builder.sliced(beside, axis, 0, 1)
    zeros = node.builder.emit(Clip, piece, low=0.0, high=0.0)
    return node.builder.with_constant(zeros, ArithmeticKind.ADD, float_array(constant))


READERS: dict[str, Callable[[Node], Any]] = {"Concat": _concat}
