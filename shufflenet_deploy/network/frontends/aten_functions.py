"""Readers of ATen operators that are functions of each element: activations, clips."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from shufflenet_deploy.network.frontends.aten_layers import (
    array_of,
)
from shufflenet_deploy.network.frontends.aten_values import arithmetic
from shufflenet_deploy.network.frontends.graph_builder import GraphBuilder, Value
from shufflenet_deploy.network.graph import (
    Activation,
    ArithmeticKind,
    Clip,
    Elu,
    LeakyRelu,
)
from shufflenet_deploy.network.passes.recognise import Erf, Softplus


def _activation(activation: Activation) -> Callable[..., Value]:
    def read(builder: GraphBuilder, x: Value) -> Value:
        return builder.elementwise(x, activation)

    return read


def _read_erf(builder: GraphBuilder, x: Value) -> Value:
    return builder.emit(Erf, (x,), x.shape)


def _read_softplus(builder: GraphBuilder, x: Value, *, beta: Any = 1, **_: Any) -> Value:
    if beta != 1:
        builder.fail("is a softplus with a beta of its own, which is not supported")
    return builder.emit(Softplus, (x,), x.shape)


def _read_gelu(builder: GraphBuilder, x: Value, *, approximate: str = "none") -> Value:
    tanh = approximate == "tanh"
    return builder.elementwise(x, Activation.GELU_TANH if tanh else Activation.GELU)


def _read_clip(builder: GraphBuilder, x: Value, **bounds: Any) -> Value:
    ends = [bounds.get(key) for key in ("min", "max")]
    if any(isinstance(end, (torch.Tensor, Value)) for end in ends):
        builder.fail("clips to a range that differs between elements")
    return _clipped(builder, x, *ends)


def _read_hardtanh(
    builder: GraphBuilder, x: Value, *, min_val: Any = -1, max_val: Any = 1
) -> Value:
    return _clipped(builder, x, min_val, max_val)


def _clipped(builder: GraphBuilder, x: Value, low: Any, high: Any) -> Value:
    ends = (-np.inf if low is None else float(low), np.inf if high is None else float(high))
    if ends in _RELUS:
        return builder.elementwise(x, _RELUS[ends])
    return builder.emit(Clip, (x,), x.shape, low=ends[0], high=ends[1])


_RELUS = {(0.0, np.inf): Activation.RELU, (0.0, 6.0): Activation.RELU6}


def _read_leaky_relu(builder: GraphBuilder, x: Value, *, negative_slope: float = 0.01) -> Value:
    array = np.array([negative_slope], np.float32)
    return builder.emit(LeakyRelu, (x,), x.shape, slope=array)


def _read_prelu(builder: GraphBuilder, x: Value, *, weight: Any) -> Value:
    if isinstance(weight, Value):
        builder.fail("has computed slopes, which no exported graph can express")
    return builder.emit(LeakyRelu, (x,), x.shape, slope=array_of(weight).reshape(-1))


def _read_elu(
    builder: GraphBuilder, x: Value, *, alpha: Any = 1, scale: Any = 1, input_scale: Any = 1
) -> Value:
    if input_scale != 1:
        x = arithmetic(builder, ArithmeticKind.MULTIPLY, x, input_scale)
        scale = scale / input_scale
        alpha = alpha * input_scale
    made = builder.emit(Elu, (x,), x.shape, alpha=float(alpha))
    return made if scale == 1 else arithmetic(builder, ArithmeticKind.MULTIPLY, made, scale)


def _read_celu(builder: GraphBuilder, x: Value, *, alpha: Any = 1) -> Value:
    return _read_elu(builder, x, alpha=alpha, input_scale=1 / alpha)


#: Readers by operator; each gets the operator's arguments.
FUNCTION_READERS: dict[str, Callable[..., Value]] = {
    "relu": _activation(Activation.RELU),
    "sigmoid": _activation(Activation.SIGMOID),
    "hardsigmoid": _activation(Activation.HARD_SIGMOID),
    "tanh": _activation(Activation.TANH),
    "hardswish": _activation(Activation.HARD_SWISH),
    "silu": _activation(Activation.SILU),
    "mish": _activation(Activation.MISH),
    "gelu": _read_gelu,
    "erf": _read_erf,
    "softplus": _read_softplus,
    "clamp": _read_clip,
    "clamp_min": _read_clip,
    "clamp_max": _read_clip,
    "hardtanh": _read_hardtanh,
    "leaky_relu": _read_leaky_relu,
    "_prelu_kernel": _read_prelu,
    "elu": _read_elu,
    "celu": _read_celu,
}
