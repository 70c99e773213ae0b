"""Reference of the int8 ops that walk over elements; see ``int8_interpreter`` for all others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.codegen.ir import element_ops as ir
from shufflenet_deploy.codegen.ir.int8 import PixelView, Requantization
from shufflenet_deploy.codegen.ir.op import Op, Step
from shufflenet_deploy.codegen.ir.ops import RequantizeSum
from shufflenet_deploy.codegen.requantization import as_byte, part, saturated_16, scaled
from shufflenet_deploy.network.graph import ArithmeticKind

_Whole = NDArray[np.int64]
#: From a view to its bytes, ``(H, W, C)``.
Read = Callable[[PixelView], _Whole]


def compute(arithmetic: Requantization, op: Op[PixelView], read: Read, before: _Whole) -> Any:
    """The target of an op, ``(H, W, C)``; ``before`` is what it held."""
    found: _Whole
    match op:
        case ir.Move():
            value = _gathered(op.walk, 0, read(op.source))
            if op.epilogue is not None:
                value = _as_numbers(arithmetic, op.epilogue)[value & 255]
            found = _scattered(op.walk, value, before)
        case ir.Sample():
            found = _sampled(arithmetic, op, read(op.source))
        case ir.StoreConstant():
            found = _as_numbers(arithmetic, op.data)
        case ir.Arithmetic():
            one, two = (_gathered(op.walk, at, read(op.sources[at])) for at in (0, 1))
            found = _scattered(op.walk, _combined(arithmetic, op, one, two), before)
        case ir.MatMul():
            one, two = (_gathered(op.walk, at, read(op.sources[at]), [op.over]) for at in (0, 1))
            zeros = [view.zero_point for view in op.sources]
            total = ((one - zeros[0]) * (two - zeros[1])).sum(-1)
            by = op.epilogue
            near = scaled(arithmetic, total, by.multiplier[0], by.shift) + op.target.zero_point
            found = _scattered(op.walk, as_byte(arithmetic, near), before)
        case ir.Reduce():
            found = _scattered(op.walk, _reduced(arithmetic, op, read(op.source)), before)
        case ir.Normalize():
            found = _normalized(arithmetic, op, read(op.source), before)
        case ir.Softmax():
            found = _softmax(arithmetic, op, read(op.source), before)
        case _:
            raise AssertionError(type(op))
    return found


def _as_numbers(arithmetic: Requantization, stored: NDArray[np.int8]) -> _Whole:
    """Stored bytes as the numbers that they are in an arithmetic."""
    kind = np.int8 if arithmetic is Requantization.FIXED else np.uint8
    return stored.view(kind).astype(np.int64)


def _indices(start: Step, loops: Sequence[ir.Loop], view: int) -> tuple[_Whole, ...]:
    """Rows, columns and channels of a view's elements, as arrays with an axis for each loop."""
    counts = [loop.count for loop in loops]
    grids = np.indices(counts) if counts else np.zeros((0,), np.int64)
    channel, row, column = (
        start[axis] + sum((loops[at].steps[view][axis] * grids[at] for at in range(len(loops))), 0)
        for axis in range(3)
    )
    return row, column, channel


def _gathered(walk: ir.Walk, source: int, value: _Whole, over: Sequence[ir.Loop] = ()) -> _Whole:
    """The elements of a source, with an axis for each loop, those of ``over`` last."""
    found: _Whole = value[_indices(walk.starts[source], (*walk.loops, *over), source)]
    return found


def _scattered(
    walk: ir.Walk, value: _Whole, before: _Whole, over: Sequence[ir.Loop] = ()
) -> _Whole:
    """The content of a target after its elements, the last view's, are stored."""
    after = before.copy()
    after[_indices(walk.starts[-1], (*walk.loops, *over), -1)] = value
    return after


def _sampled(arithmetic: Requantization, op: ir.Int8Sample, value: _Whole) -> _Whole:
    """Pixels as they were, or means of four of them, rounded half up."""
    rows, columns = op.rows, op.columns
    if rows.blend is None or columns.blend is None:
        down, right = rows.first[:, None], columns.first
        outside = int(op.outside) & (-1 if arithmetic is Requantization.FIXED else 255)
        inside = value[np.maximum(down, 0), np.maximum(right, 0)]
        return np.where(((down < 0) | (right < 0))[..., None], outside, inside)
    whole, bits = 1 << ir.WEIGHT_BITS, 2 * ir.WEIGHT_BITS
    shares = [
        ((axis.first, whole - blend.weight), (blend.second, blend.weight))
        for axis, blend in ((rows, rows.blend), (columns, columns.blend))
    ]
    total = sum(
        value[row[:, None], column] * (by_row[:, None] * by_column)[..., None]
        for row, by_row in shares[0]
        for column, by_column in shares[1]
    )
    return np.asarray((total + (1 << bits >> 1)) >> bits)


def _combined(
    arithmetic: Requantization, op: ir.Int8Arithmetic, one: _Whole, two: _Whole
) -> _Whole:
    zeros = [view.zero_point for view in op.sources]
    a, b = one - zeros[0], two - zeros[1]
    match op.epilogue:
        case ir.RequantizeProduct(multiplier=multiplier, shift=shift):
            found = scaled(arithmetic, a * b, multiplier[0], shift) + op.target.zero_point
        case ir.RequantizeQuotient(factor=factor):
            found = _quotient(a, b, factor) + op.target.zero_point
        case RequantizeSum(multipliers=(first, second), start=start, shift=shift):
            if op.kind in (ArithmeticKind.ADD, ArithmeticKind.SUBTRACT):
                total = part(one, first) + part(two, second)
            else:
                choose = np.maximum if op.kind is ArithmeticKind.MAXIMUM else np.minimum
                total = choose(part(a, first), part(b, second))
            found = (total + start) >> shift
    return as_byte(arithmetic, found)


def _quotient(a: _Whole, b: _Whole, factor: int) -> _Whole:
    """``factor * a / b``, rounded half up, in 16 bits."""
    number = np.where(b < 0, -a, a) * factor
    by = np.abs(b) << ir.QUOTIENT_BITS
    near = (2 * number + by) // np.where(by == 0, 1, 2 * by)
    return saturated_16(np.where(b == 0, np.sign(a) * 32768, near))


def _reduced(arithmetic: Requantization, op: ir.Int8Reduce, value: _Whole) -> _Whole:
    elements = _gathered(op.walk, 0, value, op.over)
    axes = tuple(range(-len(op.over), 0))
    if op.epilogue is None:
        return np.asarray(elements.max(axes))
    total = elements.sum(axes) + op.epilogue.start
    return as_byte(
        arithmetic, scaled(arithmetic, total, op.epilogue.multiplier[0], op.epilogue.shift)
    )


def _normalized(
    arithmetic: Requantization, op: ir.Int8Normalize, value: _Whole, before: _Whole
) -> _Whole:
    elements = _gathered(op.walk, 0, value, op.over)
    axes = tuple(range(-len(op.over), 0))
    count = int(np.prod(elements.shape[-len(op.over) :]))
    total = elements.sum(axes, keepdims=True)
    spread = count * (elements**2).sum(axes, keepdims=True) - total**2
    root = np.sqrt(spread.astype(np.float64) + op.epsilon)
    factor = np.floor(2.0**ir.ROOT_BITS / root + 0.5).astype(np.int64)
    less = ir.ROOT_BITS - ir.NORMAL_BITS
    normal = ((count * elements - total) * factor + (1 << less >> 1)) >> less
    at = _indices(op.walk.starts[1], (*op.walk.loops, *op.over), 1)[2]
    found = (normal * op.scale[at] + op.shift[at]) >> op.epilogue
    return _scattered(op.walk, as_byte(arithmetic, saturated_16(found)), before, op.over)


def _softmax(
    arithmetic: Requantization, op: ir.Int8Softmax, value: _Whole, before: _Whole
) -> _Whole:
    tables = op.epilogue
    elements = _gathered(op.walk, 0, value, [op.over])
    below = elements.max(-1, keepdims=True) - elements
    shares = tables.exponentials.astype(np.int64)[below]
    total = shares.sum(-1, keepdims=True)
    if tables.thresholds is None:
        near = (2 * shares * tables.factor + (total << ir.SHARE_BITS)) // (
            total << ir.SHARE_BITS + 1
        )
    else:
        steps = np.searchsorted(tables.thresholds, total, side="right")
        fractions = ir.LOGARITHM_BITS - ir.SUM_LOGARITHM_BITS
        half = 1 << ir.LOGARITHM_BITS >> 1
        near = (half - below * tables.factor - (steps << fractions)) >> ir.LOGARITHM_BITS
    found = as_byte(arithmetic, saturated_16(near) + op.target.zero_point)
    return _scattered(op.walk, found, before, [op.over])
