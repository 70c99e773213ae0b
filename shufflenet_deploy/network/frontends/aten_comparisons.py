"""Readers of ATen operators that compare, and that choose by comparisons: 1 is true, 0 is false."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from shufflenet_deploy.network.frontends.aten_layers import array_of
from shufflenet_deploy.network.frontends.aten_values import arithmetic, read_absolute, root
from shufflenet_deploy.network.frontends.graph_builder import GraphBuilder, Value
from shufflenet_deploy.network.graph import Activation, ArithmeticKind

#: To this power 0 is 0, and every other number of fp32 is 1, but for a hundred-thousandth at most;
#: in int8 it is one table.
_NEARLY_NONE = 2.0**-24


def nonzero(builder: GraphBuilder, x: Value) -> Value:
    """Append 1 where a value that is nowhere negative is not 0, and 0 elsewhere."""
    return root(builder, x, _NEARLY_NONE)


def _greater(builder: GraphBuilder, a: Any, b: Any) -> Value:
    more = arithmetic(builder, ArithmeticKind.SUBTRACT, a, b)
    return nonzero(builder, builder.elementwise(more, Activation.RELU))


def _not(builder: GraphBuilder, x: Any) -> Any:
    if not isinstance(x, Value):
        return 1.0 - torch.as_tensor(x).float()
    return arithmetic(builder, ArithmeticKind.SUBTRACT, 1.0, x)


def _read_greater(builder: GraphBuilder, a: Any, *, other: Any) -> Value:
    return _greater(builder, a, other)


def _read_less(builder: GraphBuilder, a: Any, *, other: Any) -> Value:
    return _greater(builder, other, a)


def _read_not_less(builder: GraphBuilder, a: Any, *, other: Any) -> Any:
    return _not(builder, _greater(builder, other, a))


def _read_not_greater(builder: GraphBuilder, a: Any, *, other: Any) -> Any:
    return _not(builder, _greater(builder, a, other))


def _read_unequal(builder: GraphBuilder, a: Any, *, other: Any) -> Value:
    apart = arithmetic(builder, ArithmeticKind.SUBTRACT, a, other)
    return nonzero(builder, read_absolute(builder, apart))


def _read_equal(builder: GraphBuilder, a: Any, *, other: Any) -> Any:
    return _not(builder, _read_unequal(builder, a, other=other))


def _read_where(builder: GraphBuilder, condition: Any, **branches: Any) -> Any:
    return _chosen(builder, condition, branches["self"], branches["other"])


def _read_masked_fill(builder: GraphBuilder, x: Any, *, mask: Any, value: Any) -> Any:
    return _chosen(builder, mask, value, x)


def _chosen(builder: GraphBuilder, condition: Any, a: Any, b: Any) -> Any:
    """``a`` where a condition is 1, else ``b``: products with it, which nothing infinite has."""
    for one in (a, b):
        if not isinstance(one, Value) and not np.isfinite(array_of(torch.as_tensor(one))).all():
            builder.fail("chooses between values and infinite numbers: use large ones")
    return _sum(
        builder, _product(builder, condition, a), _product(builder, _not(builder, condition), b)
    )


def _product(builder: GraphBuilder, a: Any, b: Any) -> Any:
    if isinstance(a, Value) or isinstance(b, Value):
        return arithmetic(builder, ArithmeticKind.MULTIPLY, a, b)
    return torch.as_tensor(a) * torch.as_tensor(b)


def _sum(builder: GraphBuilder, a: Any, b: Any) -> Any:
    return arithmetic(builder, ArithmeticKind.ADD, a, b)


def _of_two(kind: ArithmeticKind) -> Callable[..., Value]:
    def read(builder: GraphBuilder, a: Any, *, other: Any) -> Value:
        return arithmetic(builder, kind, a, other)

    return read


#: Readers by operator; each gets the operator's arguments, values for what depends on the image.
COMPARISON_READERS: dict[str, Callable[..., Any]] = {
    "gt": _read_greater,
    "lt": _read_less,
    "ge": _read_not_less,
    "le": _read_not_greater,
    "eq": _read_equal,
    "ne": _read_unequal,
    "where": _read_where,
    "masked_fill": _read_masked_fill,
    "logical_not": _not,
    "bitwise_not": _not,
    **dict.fromkeys(("logical_and", "bitwise_and"), _of_two(ArithmeticKind.MULTIPLY)),
    **dict.fromkeys(("logical_or", "bitwise_or"), _of_two(ArithmeticKind.MAXIMUM)),
}
