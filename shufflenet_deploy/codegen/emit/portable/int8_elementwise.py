"""int8 ops without weights on every instruction set: tables, addition, scaling, LRN, areas.

Compilers vectorize the loops over channels; ``int8_elementwise.h`` has those that they would not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.int8_unit import Int8Unit
from shufflenet_deploy.codegen.emit.kernel_calls import RANGE_PARAMS
from shufflenet_deploy.codegen.ir import ops as ir
from shufflenet_deploy.codegen.ir.int8 import PixelView
from shufflenet_deploy.codegen.ir.op import Op
from shufflenet_deploy.network.graph import Pair

_BLOCK = 64


def are_whole_rows(*views: PixelView) -> bool:
    """True if rows of all views are contiguous bytes that may all be written."""
    return all(
        view.first == 0
        and view.channels + view.overwrite_slack == view.pixel_stride
        and view.pixel_stride == views[0].pixel_stride
        for view in views
    )


@contextmanager
def pixels(code: CWriter, width: int, **views: PixelView) -> Iterator[None]:
    """A loop over the pixels of a range of rows; each name points to its view's pixel."""
    with code.block("for (int i = begin; i < end; ++i)"):
        with code.block(f"for (int j = 0; j < {width}; ++j)"):
            for name, view in views.items():
                kind = "byte *" if name == "to" else "const byte *"
                variable = {"to": "y", "other": "r"}.get(name, "x")
                code(
                    f"{kind}{name} = {variable} + i * {view.row_stride} + j * {view.pixel_stride};"
                )
            yield


def call_by_rows(name: str, op: Op[PixelView], unit: Int8Unit, *given: str) -> None:
    """Call a kernel whose work items are rows of the target."""
    target = op.target
    work = 16 * target.channels * target.height * target.width
    y = unit.at(target, target.origin)
    unit.call_parallel(name, op, *given, y, work_items=target.height, work=work)


def lookup_table(op: ir.LookupTable, unit: Int8Unit) -> None:
    """Emit a table lookup per byte."""
    source, target = op.source, op.target
    each = target.channels // op.shuffle
    row = "" if op.table.ndim == 1 else "256 * c + "
    at = "c" if op.shuffle == 1 else f"c % {each} * {op.shuffle} + c / {each}"
    code = CWriter(depth=1)
    with pixels(code, target.width, to=target, **{"from": source}):
        code(f"for (int c = 0; c < {target.channels}; ++c)")
        code(f"    to[{at}] = (byte)t[{row}(uint8_t)from[c]];")
    head = f"LOOP void @(const byte *restrict x, const int8_t *t, byte *restrict y{RANGE_PARAMS})"
    name = unit.kernel("lut", head, code, "scalar")
    t = unit.constant(op.table)
    call_by_rows(name, op, unit, unit.at(source, source.origin), t)


def add(op: ir.Int8Add, unit: Int8Unit) -> None:
    """Emit the addition of two values with scales of their own."""
    one, two = op.sources
    target, (first, second) = op.target, op.epilogue.multipliers
    count, width = target.channels, target.width
    if are_whole_rows(one, two, target):
        count, width = target.pixel_stride * target.width, 1
    code = CWriter(depth=1)
    with pixels(code, width, to=target, other=two, **{"from": one}):
        numbers = f"{first}, {second}, {op.epilogue.start}, {op.epilogue.shift}"
        code(f"add_bytes(from, other, to, {count}, {numbers});")
    head = f"LOOP void @(const byte *x, const byte *r, byte *restrict y{RANGE_PARAMS})"
    name = unit.kernel("add", head, code, "scalar")
    x, r = (unit.at(view, view.origin) for view in op.sources)
    call_by_rows(name, op, unit, x, r)


def _channel_scale_call(op: ir.Int8ChannelScale | ir.Int8LocalResponseNorm) -> str:
    """Scale the channels of the pixel ``from`` by ``by``, and the slack after them."""
    start = op.target.zero_point * (1 << op.epilogue.shift) + (1 << op.epilogue.shift >> 1)
    count = op.target.channels + op.target.overwrite_slack
    zero_point, shift = op.source.zero_point, op.epilogue.shift
    return f"scale_bytes(from, by, to, {count}, {zero_point}, {start}, {shift});"


def channel_scale(op: ir.Int8ChannelScale, unit: Int8Unit) -> None:
    """Emit a feature map times one factor per channel."""
    source, by = op.sources
    target, channels = op.target, op.target.channels
    code = CWriter(depth=1)
    code(f"int16_t by[{channels + target.overwrite_slack}];")
    code(
        f"for (int c = 0; c < {channels + target.overwrite_slack}; ++c)",
        "    by[c] = t[(uint8_t)r[c]];",
    )
    with pixels(code, target.width, to=target, **{"from": source}):
        code(_channel_scale_call(op))
    head = "LOOP void @(const byte *restrict x, const byte *r, const int16_t *t, "
    name = unit.kernel("scale", f"{head}byte *restrict y{RANGE_PARAMS})", code, "scalar")
    x, r = unit.at(source, source.origin), unit.at(by, by.origin)
    t = unit.constant(op.epilogue.multipliers, "int16_t")
    call_by_rows(name, op, unit, x, r, t)


def local_response_norm(op: ir.Int8LocalResponseNorm, unit: Int8Unit) -> None:
    """Emit the normalization of every channel by the squares of its neighbours."""
    source, target, channels = op.source, op.target, op.target.channels
    before, size = op.size // 2, op.size
    code = CWriter(depth=1)
    code(f"uint16_t squares[{channels + size - 1}] = {{0}};")
    code(f"int16_t chosen[{channels}], by[{channels + target.overwrite_slack}] = {{0}};")
    with pixels(code, target.width, to=target, **{"from": source}):
        above = f"(from[c] - {source.zero_point})"
        code(f"for (int c = 0; c < {channels}; ++c)")
        code(f"    squares[c + {before}] = (uint16_t)({above} * {above});")
        total = " + ".join(f"squares[c + {at}]" for at in range(size))
        code(f"for (int c = 0; c < {channels}; ++c)", f"    chosen[c] = norm_index({total} + 1);")
        code(f"for (int c = 0; c < {channels}; ++c)", "    by[c] = t[chosen[c]];")
        code(_channel_scale_call(op))
    head = f"LOOP void @(const byte *restrict x, const int16_t *t, byte *restrict y{RANGE_PARAMS})"
    name = unit.kernel("lrn", head, code, "scalar")
    t = unit.constant(op.epilogue.multipliers, "int16_t")
    call_by_rows(name, op, unit, unit.at(source, source.origin), t)


def adaptive_pool(op: ir.Int8AdaptivePool, unit: Int8Unit) -> None:
    """Emit averages over unequal windows, some channels at a time."""
    source, target, channels = op.source, op.target, op.target.channels
    code = CWriter(depth=1)
    code(f"static const int rows[][2] = {{{_ends(op.epilogue.rows)}}};")
    code(f"static const int columns[][2] = {{{_ends(op.epilogue.columns)}}};")
    with pixels(code, target.width, to=target):
        with code.block(f"for (int c = 0; c < {channels}; c += {_BLOCK})"):
            code(f"const int count = {channels} - c < {_BLOCK} ? {channels} - c : {_BLOCK};")
            code(f"int32_t a[{_BLOCK}];")
            at = f"[i * {target.width} + j]"
            code("for (int k = 0; k < count; ++k)", f"    a[k] = b{at};")
            code("for (int row = rows[i][0]; row < rows[i][1]; ++row)")
            with code.block(
                "    for (int column = columns[j][0]; column < columns[j][1]; ++column)"
            ):
                code(
                    f"const byte *from = x + row * {source.row_stride} "
                    f"+ column * {source.pixel_stride} + c;"
                )
                code("for (int k = 0; k < count; ++k)", "    a[k] += from[k];")
            code("for (int k = 0; k < count; ++k)")
            code(f"    to[c + k] = saturate_8(requantize(a[k], m{at}, {op.epilogue.shift}));")
    head = "LOOP void @(const byte *restrict x, const int32_t *b, const factor *m, "
    name = unit.kernel("adaptive_avgpool", f"{head}byte *restrict y{RANGE_PARAMS})", code, "scalar")
    b, m = (
        unit.constant(op.epilogue.start, "int32_t"),
        unit.constant(op.epilogue.multiplier, "factor"),
    )
    call_by_rows(name, op, unit, unit.at(source, source.origin), b, m)


def _ends(ranges: Sequence[Pair]) -> str:
    return ", ".join(f"{{{start}, {stop}}}" for start, stop in ranges)
