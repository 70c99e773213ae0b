"""Readers of ATen operators on values: arithmetic, reductions, softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from shufflenet_deploy.network.frontends.aten_layers import (
    array_of,
    read_response_norm,
)
from shufflenet_deploy.network.frontends.graph_builder import GraphBuilder, Value, with_batch
from shufflenet_deploy.network.frontends.recording import Unreadable
from shufflenet_deploy.network.graph import (
    AdaptiveAveragePool,
    Add,
    Arithmetic,
    ArithmeticKind,
    FloatArray,
    Multiply,
    Pad,
    Power,
    Reduce,
    ReduceKind,
    Reshape,
    Softmax,
)


def _read_add(builder: GraphBuilder, a: Any, *, other: Any, alpha: Any = 1) -> Value:
    return arithmetic(builder, ArithmeticKind.ADD, a, _scaled(builder, other, alpha))


def _read_sub(builder: GraphBuilder, a: Any, *, other: Any, alpha: Any = 1) -> Value:
    return arithmetic(builder, ArithmeticKind.SUBTRACT, a, _scaled(builder, other, alpha))


def _read_rsub(builder: GraphBuilder, a: Any, *, other: Any, alpha: Any = 1) -> Value:
    return arithmetic(builder, ArithmeticKind.SUBTRACT, other, _scaled(builder, a, alpha))


def _scaled(builder: GraphBuilder, x: Any, factor: Any) -> Any:
    if factor == 1:
        return x
    if isinstance(x, Value):
        return arithmetic(builder, ArithmeticKind.MULTIPLY, x, factor)
    return x * factor


def _read_mul(builder: GraphBuilder, a: Any, *, other: Any) -> Value:
    return arithmetic(builder, ArithmeticKind.MULTIPLY, a, other)


def _read_div(builder: GraphBuilder, a: Any, *, other: Any, rounding_mode: Any = None) -> Value:
    if rounding_mode is not None:
        builder.fail("rounds a quotient, which is not supported")
    norm = _response_norm_of(builder, a, other)
    if norm is not None:
        return read_response_norm(builder, a, **norm)
    return arithmetic(builder, ArithmeticKind.DIVIDE, a, other)


def _response_norm_of(builder: GraphBuilder, x: Any, divisor: Any) -> dict[str, float] | None:
    """Size, alpha, beta and k where a divisor is (k + alpha * mean of x squared)^beta."""
    numbers: list[float] = []
    for name in ("pow", "add", "mul"):
        if not isinstance(divisor, Unreadable) or divisor.operator != name:
            return None
        divisor, number = divisor.inputs[:2]
        if not isinstance(number, (int, float)):
            return None
        numbers.append(float(number))
    while isinstance(divisor, Unreadable) and divisor.operator in {"view", "squeeze"}:
        divisor = divisor.inputs[0]
    if not isinstance(divisor, Unreadable) or divisor.operator != "avg_pool3d":
        return None
    pooled, (size, *others), strides = divisor.inputs[:3]
    if others != [1, 1] or list(strides) != [1, 1, 1] or not _squared(builder, x, pooled, size):
        return None
    beta, k, alpha = numbers
    return {"size": size, "alpha": alpha, "beta": beta, "k": k}


def _squared(builder: GraphBuilder, x: Any, pooled: Any, size: int) -> bool:
    """True if a value is x squared with a border for windows of so many channels."""
    producers = {layer.output: layer for layer in builder.layers}
    layer = producers.get(pooled.name) if isinstance(pooled, Value) else None
    borders = []
    while isinstance(layer, (Reshape, Pad)):
        borders += [layer.padding] if isinstance(layer, Pad) else []
        layer = producers.get(layer.inputs[0])
    square = isinstance(layer, Arithmetic) and layer.kind is ArithmeticKind.MULTIPLY
    return (
        square
        and layer is not None
        and isinstance(x, Value)
        and layer.inputs == (x.name, x.name)
        and borders == [(size // 2, 0, (size - 1) // 2, 0)]
    )


def _read_power(builder: GraphBuilder, x: Value, *, exponent: Any) -> Value:
    if exponent == -1:
        return _read_reciprocal(builder, x)
    if exponent == 1:
        return x
    if exponent == 2:
        return arithmetic(builder, ArithmeticKind.MULTIPLY, x, x)
    if not isinstance(exponent, (int, float, torch.Tensor)) or np.size(exponent) != 1:
        builder.fail("raises to a power that differs between elements")
    return root(builder, x, float(exponent))


def root(builder: GraphBuilder, x: Any, exponent: float) -> Value:
    """Append a power of a value."""
    if not isinstance(x, Value):
        builder.fail("raises a constant to a computed power, which no exported graph can express")
    return builder.emit(Power, (x,), x.shape, exponent=exponent)


def _power(exponent: float) -> Callable[..., Value]:
    def read(builder: GraphBuilder, x: Value) -> Value:
        return root(builder, x, exponent)

    return read


def read_absolute(builder: GraphBuilder, x: Value) -> Value:
    """Read the size of each element."""
    return arithmetic(builder, ArithmeticKind.MAXIMUM, x, _read_negative(builder, x))


def read_square(builder: GraphBuilder, x: Value) -> Value:
    """Read the square of each element."""
    return arithmetic(builder, ArithmeticKind.MULTIPLY, x, x)


def _read_addcmul(
    builder: GraphBuilder, x: Any, *, tensor1: Any, tensor2: Any, value: Any = 1
) -> Value:
    product = arithmetic(builder, ArithmeticKind.MULTIPLY, *_computed_first(tensor1, tensor2))
    scaled = _scaled(builder, product, value)
    return arithmetic(builder, ArithmeticKind.ADD, *_computed_first(scaled, x))


def _computed_first(a: Any, b: Any) -> tuple[Any, Any]:
    return (b, a) if isinstance(b, Value) and not isinstance(a, Value) else (a, b)


def _binary(kind: ArithmeticKind) -> Callable[..., Value]:
    def read(builder: GraphBuilder, a: Any, *, other: Any) -> Value:
        return arithmetic(builder, kind, a, other)

    return read


def arithmetic(builder: GraphBuilder, kind: ArithmeticKind, a: Any, b: Any) -> Value:
    """Append an operation of two values, or of a value and a constant."""
    if isinstance(a, Unreadable) or isinstance(b, Unreadable):
        builder.fail("computes with what no exported graph can express")
    if isinstance(a, Value) and isinstance(b, Value):
        return _of_two(builder, kind, a, b)
    x, constant, reverse = (a, b, False) if isinstance(a, Value) else (b, a, True)
    array = _constant_for(builder, x, constant)
    shape = np.broadcast_shapes(x.seen, array.shape)
    layer = builder.emit(
        Arithmetic, (x,), shape, _WORDS[kind], kind=kind, constant=array, reverse=reverse
    )
    return with_batch(layer, x.batch)


def _of_two(builder: GraphBuilder, kind: ArithmeticKind, a: Value, b: Value) -> Value:
    places = [None if one.batch is None else one.batch - one.rank for one in (a, b)]
    known = [place for place in places if place is not None]
    if len(set(known)) > 1 or (len(known) == 1 and _meets_batch(a, b)):
        builder.fail("combines tensors whose batches are different axes")
    shape = np.broadcast_shapes(a.seen, b.seen)
    batch = None if not known else known[0] + max(a.rank, b.rank)
    operands = (a, b)
    if kind is ArithmeticKind.ADD and a.shape == b.shape == shape:
        made = builder.emit(Add, operands, shape, "add")
    elif kind is ArithmeticKind.MULTIPLY and _gates(a, b):
        made = builder.emit(Multiply, operands, shape, "mul")
    elif kind is ArithmeticKind.MULTIPLY and _gates(b, a):
        made = builder.emit(Multiply, (b, a), shape, "mul")
    else:
        if np.broadcast_shapes(a.shape, b.shape) != shape:
            a = builder.whole(a)
        made = builder.emit(Arithmetic, (a, b), shape, _WORDS[kind], kind=kind)
    return with_batch(made, batch)


def _meets_batch(a: Value, b: Value) -> bool:
    """True if an axis of one operand lies on the batch of the other."""
    whole, part = (a, b) if a.batch is not None else (b, a)
    place = (whole.batch or 0) - whole.rank
    return -place <= part.rank


def _gates(x: Value, gate: Value) -> bool:
    return len(x.shape) == 3 and gate.shape == (x.shape[0], 1, 1)


def _constant_for(builder: GraphBuilder, x: Value, constant: Any) -> FloatArray:
    """A constant operand without the batch of the other."""
    array = array_of(torch.as_tensor(constant))
    if array.ndim == 0:
        return array.reshape(1)
    place = None if x.batch is None else x.batch - x.rank
    if place is not None and array.ndim >= -place:
        if array.shape[place] != 1:
            builder.fail("combines its input with a constant that has a batch")
        array = np.squeeze(array, axis=place)
    while array.ndim > len(x.shape) and array.shape[0] == 1:
        array = array[0]
    return np.ascontiguousarray(array)


_WORDS = {
    ArithmeticKind.ADD: "add",
    ArithmeticKind.SUBTRACT: "sub",
    ArithmeticKind.MULTIPLY: "mul",
    ArithmeticKind.DIVIDE: "div",
    ArithmeticKind.MAXIMUM: "maximum",
    ArithmeticKind.MINIMUM: "minimum",
}


def _read_softmax(builder: GraphBuilder, x: Value, *, dim: int, **_: Any) -> Value:
    return builder.emit(Softmax, (x,), x.shape, axis=builder.axis(x, dim))


def _read_log_softmax(builder: GraphBuilder, x: Value, *, dim: int, **_: Any) -> Value:
    return builder.emit(Softmax, (x,), x.shape, axis=builder.axis(x, dim), logarithm=True)


def _reduction(kind: ReduceKind) -> Callable[..., Value]:
    def read(
        builder: GraphBuilder, x: Value, *, dim: Any = None, keepdim: bool = False, **_: Any
    ) -> Value:
        return reduced(builder, kind, x, dim, keep=keepdim)

    return read


def reduced(builder: GraphBuilder, kind: ReduceKind, x: Value, dim: Any, *, keep: bool) -> Value:
    """Append a reduction over some dimensions, or over all."""
    dims = [dim] if isinstance(dim, int) else list(dim or range(x.rank))
    axes = tuple(sorted(builder.axis(x, one) for one in dims))
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
    if keep and kept == x.shape:
        return x  # A reduction of single elements.
    if kind is ReduceKind.MEAN and axes == (1, 2) and len(x.shape) == 3 and x.batch == 0:
        one = kept == x.shape
        pooled = x if one else builder.emit(AdaptiveAveragePool, (x,), kept, size=(1, 1))
        return pooled if keep else builder.reshaped(pooled, (x.shape[0],))
    if keep:
        return builder.emit(Reduce, (x,), kept, kind=kind, axes=axes)
    shape = tuple(size for axis, size in enumerate(x.shape) if axis not in axes)
    made = builder.emit(Reduce, (x,), shape, kind=kind, axes=axes, keep=False)
    gone = sum(one % x.rank < (x.batch or 0) for one in dims)
    return with_batch(made, None if x.batch is None else x.batch - gone)


def _read_max(
    builder: GraphBuilder, x: Value, *, dim: Any, keepdim: bool = False
) -> list[Value | None]:
    return [reduced(builder, ReduceKind.MAX, x, dim, keep=keepdim), None]


def _read_negative(builder: GraphBuilder, x: Value) -> Value:
    return arithmetic(builder, ArithmeticKind.MULTIPLY, x, -1.0)


def _read_reciprocal(builder: GraphBuilder, x: Value) -> Value:
    return arithmetic(builder, ArithmeticKind.DIVIDE, 1.0, x)


#: Readers that understand some tensors that are not expressed by themselves, and broadcast ones.
OPERAND_READERS: dict[str, Callable[..., Any]] = {
    "add": _read_add,
    "sub": _read_sub,
    "rsub": _read_rsub,
    "mul": _read_mul,
    "div": _read_div,
    "addcmul": _read_addcmul,
    "maximum": _binary(ArithmeticKind.MAXIMUM),
    "minimum": _binary(ArithmeticKind.MINIMUM),
}

#: Readers by operator; each gets the operator's arguments, values for what depends on the image.
VALUE_READERS: dict[str, Callable[..., Any]] = {
    "pow": _read_power,
    "sqrt": _power(0.5),
    "rsqrt": _power(-0.5),
    "square": read_square,
    "abs": read_absolute,
    "neg": _read_negative,
    "reciprocal": _read_reciprocal,
    "_softmax": _read_softmax,
    "_safe_softmax": _read_softmax,
    "_log_softmax": _read_log_softmax,
    "mean": _reduction(ReduceKind.MEAN),
    "sum": _reduction(ReduceKind.SUM),
    "amax": _reduction(ReduceKind.MAX),
    "max": _read_max,
}
