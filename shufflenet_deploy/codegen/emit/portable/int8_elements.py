"""int8 ops that walk over elements, as plain loops: copies, arithmetic, reductions, resizing.

Loops are nested in the order of the target's bytes, and the outermost one is shared by threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.int8_unit import Int8Unit
from shufflenet_deploy.codegen.emit.kernel_calls import RANGE_PARAMS
from shufflenet_deploy.codegen.emit.portable.int8_elementwise import call_by_rows, pixels
from shufflenet_deploy.codegen.emit.unit import float_literal
from shufflenet_deploy.codegen.ir import element_ops as ir
from shufflenet_deploy.codegen.ir.int8 import PixelView
from shufflenet_deploy.codegen.ir.op import Op
from shufflenet_deploy.codegen.ir.ops import RequantizeSum
from shufflenet_deploy.network.graph import ArithmeticKind, ReduceKind

_HEADER = "portable/int8_elements.h"
_BYTE = 255


def _ordered(op: Op[PixelView], walk: ir.Walk) -> list[ir.Loop]:
    """The loops from outermost to innermost: the target's bytes in order, at least one loop."""
    loops = [loop for loop in walk.loops if loop.count != 1]
    single = ir.Loop(count=1, steps=(ir.ORIGIN,) * len(walk.starts))
    return sorted(loops or [single], key=lambda loop: -op.target.distance(loop.steps[-1]))


def _address(view: PixelView, loops: Sequence[ir.Loop], at: int, names: str, last: str = "") -> str:
    """The offset of an element in loops ``i``, ``j``, ...; ``last`` names one more."""
    terms = [
        f"{name} * {view.distance(loop.steps[at])}"
        for name, loop in zip(names, loops, strict=False)
        if view.distance(loop.steps[at])
    ]
    return " + ".join(terms + ([last] if last else [])) or "0"


_NAMES = "ijklmnopq"


@contextmanager
def _nested(code: CWriter, loops: Sequence[ir.Loop]) -> Iterator[None]:
    """Nested loops ``i``, ``j``, ...; ``i`` runs over the work items of a call."""
    if not loops:
        yield
        return
    ends = ("begin", "end") if code.depth == 1 else ("0", str(loops[0].count))
    name = _NAMES[code.depth - 1]
    with (
        code.block(f"for (int {name} = {ends[0]}; {name} < {ends[1]}; ++{name})"),
        _nested(code, loops[1:]),
    ):
        yield


def _call_walk(
    name: str, op: Op[PixelView], unit: Int8Unit, walk: ir.Walk, *constants: str, each: int = 1
) -> None:
    """Call a kernel over the outermost loop; ``each`` is how much one of its elements takes."""
    views = (*op.sources, op.target)
    given = [
        unit.at(view, view.origin + view.distance(start))
        for view, start in zip(views, walk.starts, strict=True)
    ]
    unit.call_parallel(
        name,
        op,
        *given[:-1],
        *constants,
        given[-1],
        work_items=_ordered(op, walk)[0].count,
        work=16 * walk.elements * each,
    )


def move(op: ir.Int8Move, unit: Int8Unit) -> None:
    """Emit a copy in another order, by runs of bytes where both sides have some."""
    loops = _ordered(op, op.walk)
    inner = loops[-1]
    steps = [view.distance(inner.steps[at]) for at, view in enumerate((op.source, op.target))]
    whole = len(loops) > 1 and steps == [1, 1] and op.epilogue is None
    code = CWriter(depth=1)
    outer = loops[:-1] if whole else loops
    with _nested(code, outer):
        x, y = (_address(view, outer, at, _NAMES) for at, view in enumerate((op.source, op.target)))
        if whole:
            code(f"memcpy(y + {y}, x + {x}, {inner.count});")
        elif op.epilogue is None:
            code(f"y[{y}] = x[{x}];")
        else:
            code(f"y[{y}] = (byte)t[(uint8_t)x[{x}]];")
    table = "" if op.epilogue is None else "const int8_t *t, "
    head = f"LOOP void @(const byte *restrict x, {table}byte *restrict y{RANGE_PARAMS})"
    name = unit.kernel("copy", head, code, "scalar")
    constants = [] if op.epilogue is None else [unit.constant(op.epilogue)]
    _call_walk(name, op, unit, op.walk, *constants)


def sample(op: ir.Int8Sample, unit: Int8Unit) -> None:
    """Emit padding or resizing: pixels as they were, or means of four."""
    emit = _gather if op.rows.blend is None else _blend
    emit(op, unit)


def _gather(op: ir.Int8Sample, unit: Int8Unit) -> None:
    """Emit a map of pixels that are each one of the old ones, or filled."""
    source, target = op.source, op.target
    count = target.channels
    code = CWriter(depth=1)
    code(f"static const int rows[] = {{{_listed(op.rows.first)}}};")
    code(f"static const int columns[] = {{{_listed(op.columns.first)}}};")
    fills = min(*op.rows.first, *op.columns.first) < 0
    with pixels(code, target.width, to=target):
        old = f"x + rows[i] * {source.row_stride} + columns[j] * {source.pixel_stride}"
        if fills:
            code(
                "if (rows[i] < 0 || columns[j] < 0)", f"    memset(to, {int(op.outside)}, {count});"
            )
            code("else", f"    memcpy(to, {old}, {count});")
        else:
            code(f"memcpy(to, {old}, {count});")
    head = f"LOOP void @(const byte *restrict x, byte *restrict y{RANGE_PARAMS})"
    name = unit.kernel("gather", head, code, "scalar")
    call_by_rows(name, op, unit, unit.at(source, source.origin))


def _blend(op: ir.Int8Sample, unit: Int8Unit) -> None:
    """Emit weighted means of four pixels, channel by channel."""
    source, target = op.source, op.target
    code = CWriter(depth=1)
    for name, axis in (("row", op.rows), ("column", op.columns)):
        code(f"static const int {name}_a[] = {{{_listed(axis.first)}}};")
        if axis.blend is not None:
            code(f"static const int {name}_b[] = {{{_listed(axis.blend.second)}}};")
            code(f"static const int {name}_w[] = {{{_listed(axis.blend.weight)}}};")
    whole, bits = 1 << ir.WEIGHT_BITS, 2 * ir.WEIGHT_BITS
    with pixels(code, target.width, to=target):
        code("const int down = row_w[i], right = column_w[j];")
        for row in "ab":
            for column in "ab":
                at = f"row_{row}[i] * {source.row_stride} + column_{column}[j]"
                code(f"const byte *{row}{column} = x + {at} * {source.pixel_stride};")
        with code.block(f"for (int c = 0; c < {target.channels}; ++c)"):
            for row in "ab":
                code(f"const int {row} = {row}a[c] * ({whole} - right) + {row}b[c] * right;")
            total = f"a * ({whole} - down) + b * down + {1 << bits >> 1}"
            code(f"to[c] = (byte)(({total}) >> {bits});")
    head = f"LOOP void @(const byte *restrict x, byte *restrict y{RANGE_PARAMS})"
    name = unit.kernel("resize_bilinear", head, code, "scalar")
    call_by_rows(name, op, unit, unit.at(source, source.origin))


def store_constant(op: ir.StoreConstant, unit: Int8Unit) -> None:
    """Emit the copy of a constant into its buffer."""
    target, (_, width, channels) = op.target, op.data.shape
    code = CWriter(depth=1)
    with pixels(code, target.width, to=target):
        code(f"memcpy(to, c + (i * {width} + j) * {channels}, {channels});")
    head = f"LOOP void @(const int8_t *restrict c, byte *restrict y{RANGE_PARAMS})"
    name = unit.kernel("constant", head, code, "scalar")
    call_by_rows(name, op, unit, unit.constant(op.data))


def arithmetic(op: ir.Int8Arithmetic, unit: Int8Unit) -> None:
    """Emit an operation of two values, either of which may be repeated along axes."""
    unit.require(_HEADER)
    loops = _ordered(op, op.walk)
    one, two = op.sources
    code = CWriter(depth=1)
    with _nested(code, loops):
        x, r, y = (
            _address(view, loops, at, _NAMES) for at, view in enumerate((one, two, op.target))
        )
        code(f"const int a = x[{x}], b = r[{r}];")
        code(f"y[{y}] = saturate_8({_combined(op)});")
    head = f"LOOP void @(const byte *x, const byte *r, byte *restrict y{RANGE_PARAMS})"
    name = unit.kernel(str(op.kind), head, code, "scalar")
    _call_walk(name, op, unit, op.walk)


def _combined(op: ir.Int8Arithmetic) -> str:
    """The combination of the bytes ``a`` and ``b``."""
    a, b = (f"{name} - ({view.zero_point})" for name, view in zip("ab", op.sources, strict=True))
    zero_point = op.target.zero_point
    match op.epilogue:
        case ir.RequantizeProduct(multiplier=multiplier, shift=shift):
            factor = _factor(multiplier)
            return f"requantize(({a}) * ({b}), {factor}, {shift}) + ({zero_point})"
        case ir.RequantizeQuotient(factor=factor):
            return f"quotient({a}, {b}, {factor}, {ir.QUOTIENT_BITS}) + ({zero_point})"
        case RequantizeSum(multipliers=(first, second), start=start, shift=shift):
            if op.kind in (ArithmeticKind.ADD, ArithmeticKind.SUBTRACT):
                total = f"scale_to_16(a, {first}) + scale_to_16(b, {second})"
            else:
                name = "greater" if op.kind is ArithmeticKind.MAXIMUM else "lesser"
                total = f"{name}(scale_to_16({a}, {first}), scale_to_16({b}, {second}))"
            return f"({total} + ({start})) >> {shift}"


def matmul(op: ir.Int8MatMul, unit: Int8Unit) -> None:
    """Emit a sum of products of two sources for each of the target's elements."""
    loops = _ordered(op, op.walk)
    every = [*loops, op.over]
    code = CWriter(depth=1)
    with _nested(code, loops):
        code("int32_t total = 0;")
        with _nested(code, [op.over]):
            a, b = (
                f"{name}[{_address(view, every, at, _NAMES)}] - ({view.zero_point})"
                for at, (name, view) in enumerate(zip("xr", op.sources, strict=True))
            )
            code(f"total += ({a}) * ({b});")
        near = f"requantize(total, {_factor(op.epilogue.multiplier)}, {op.epilogue.shift})"
        value = f"saturate_8({near} + ({op.target.zero_point}))"
        code(f"y[{_address(op.target, loops, -1, _NAMES)}] = (byte){value};")
    head = "LOOP void @(const byte *restrict x, const byte *restrict r, "
    name = unit.kernel("matmul", f"{head}byte *restrict y{RANGE_PARAMS})", code, "scalar")
    _call_walk(name, op, unit, op.walk, each=2 * op.over.count)


def reduce(op: ir.Int8Reduce, unit: Int8Unit) -> None:
    """Emit a sum or maximum of many elements for each of the target's."""
    loops = _ordered(op, op.walk)
    every = [*loops, *op.over]
    is_maximum, epilogue = op.kind is ReduceKind.MAX, op.epilogue
    code = CWriter(depth=1)
    with _nested(code, loops):
        code(f"int32_t a = {epilogue.start if epilogue else 'LOWEST'};")
        with _nested(code, op.over):
            code(f"const int v = x[{_address(op.source, every, 0, _NAMES)}];")
            code("a = a > v ? a : v;" if is_maximum else "a += v;")
        value = "a"
        if epilogue is not None:
            factor = _factor(epilogue.multiplier)
            value = f"saturate_8(requantize(a, {factor}, {epilogue.shift}))"
        code(f"y[{_address(op.target, loops, -1, _NAMES)}] = (byte){value};")
    head = f"LOOP void @(const byte *restrict x, byte *restrict y{RANGE_PARAMS})"
    name = unit.kernel(f"reduce_{op.kind.value}", head, code, "scalar")
    each = int(np.prod([loop.count for loop in op.over]))
    _call_walk(name, op, unit, op.walk, each=each)


def normalize(op: ir.Int8Normalize, unit: Int8Unit) -> None:
    """Emit a norm: sums and products of integers, and one root in double precision for each set."""
    unit.require(_HEADER)
    loops = _ordered(op, op.walk)
    inside = sorted(op.over, key=lambda loop: -op.source.distance(loop.steps[0]))
    every = [*loops, *inside]
    count = int(np.prod([loop.count for loop in inside]))
    sums = "int32_t" if count * _BYTE**2 < 2**31 else "int64_t"
    code = CWriter(depth=1)
    with _nested(code, loops):
        code(f"{sums} total = 0, squares = 0;")
        with _nested(code, inside):
            code(f"const int v = x[{_address(op.source, every, 0, _NAMES)}];")
            code("total += v;", "squares += v * v;")
        code(
            f"const int64_t factor = reciprocal_root((int64_t){count} * squares - "
            f"(int64_t)total * total, {float(op.epsilon).hex()}, {ir.ROOT_BITS});"
        )
        with _nested(code, inside):
            x, y = (_address(view, every, at, _NAMES) for view, at in _sides(op))
            at = " + ".join(
                f"{name} * {loop.steps[1][0]}"
                for name, loop in zip(_NAMES, every, strict=False)
                if loop.steps[1][0]
            )
            code(
                f"const int64_t d = (int64_t)({count} * x[{x}] - total) * factor;",
                f"y[{y}] = normal_byte(d, {ir.ROOT_BITS - ir.NORMAL_BITS}, "
                f"w[{at or 0}], b[{at or 0}], {op.epilogue});",
            )
    head = "LOOP void @(const byte *restrict x, const int64_t *w, const int64_t *b, "
    name = unit.kernel("normalize", f"{head}byte *restrict y{RANGE_PARAMS})", code, "scalar")
    constants = (unit.constant(one, "int64_t") for one in (op.scale, op.shift))
    source, target = (unit.at(view, view.origin) for view in (op.source, op.target))
    work = 16 * 4 * op.walk.elements * count
    unit.call_parallel(name, op, source, *constants, target, work_items=loops[0].count, work=work)


def _sides(op: Op[PixelView]) -> tuple[tuple[PixelView, int], tuple[PixelView, int]]:
    """The source and the target, with the place of their steps in a loop."""
    return (op.source, 0), (op.target, -1)


def softmax(op: ir.Int8Softmax, unit: Int8Unit) -> None:
    """Emit a softmax, or its logarithm, in integers."""
    unit.require(_HEADER)
    loops = _ordered(op, op.walk)
    x_step, y_step = (
        view.distance(op.over.steps[at]) for at, view in enumerate((op.source, op.target))
    )
    count, zero_point, tables = op.over.count, op.target.zero_point, op.epilogue
    code = CWriter(depth=1)
    with _nested(code, loops):
        x, y = (_address(view, loops, at, _NAMES) for at, view in enumerate((op.source, op.target)))
        code(f"const byte *from = x + {x};", f"byte *to = y + {y};")
        given = f"from, {x_step}, to, {y_step}, {count}, e, {tables.factor}LL, {zero_point}"
        if tables.thresholds is None:
            code(f"softmax_bytes({given}, {ir.SHARE_BITS});")
        else:
            bits = f"{ir.LOGARITHM_BITS}, {ir.LOGARITHM_BITS - ir.SUM_LOGARITHM_BITS}"
            code(f"log_softmax_bytes({given}, t, {len(tables.thresholds)}, {bits});")
    taken = "const int32_t *e" + ("" if tables.thresholds is None else ", const int64_t *t")
    head = f"LOOP void @(const byte *restrict x, {taken}, byte *restrict y{RANGE_PARAMS})"
    name = unit.kernel(
        "softmax" if tables.thresholds is None else "log_softmax", head, code, "scalar"
    )
    constants = [unit.constant(tables.exponentials, "int32_t")]
    if tables.thresholds is not None:
        constants.append(unit.constant(tables.thresholds, "int64_t"))
    _call_walk(name, op, unit, op.walk, *constants, each=2 * count)


def _factor(multiplier: np.ndarray) -> str:
    """A requantization factor as a literal of the arithmetic's type."""
    factor = multiplier[0]
    return float_literal(float(factor)) if multiplier.dtype == np.float32 else str(factor)


def _listed(values: Iterable[int]) -> str:
    return ", ".join(map(str, values))
