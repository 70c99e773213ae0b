"""int8 lookup tables on NEON: a table of 256 bytes lies in sixteen registers.

Channel shuffles are lookups, too: the vectors of two to four groups are stored interleaved.
"""

from __future__ import annotations

import numpy as np

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.int8_unit import Int8Unit
from shufflenet_deploy.codegen.emit.kernel_calls import RANGE_PARAMS
from shufflenet_deploy.codegen.emit.portable import int8_elementwise
from shufflenet_deploy.codegen.ir import ops as ir

_VECTOR = 16
#: Groups whose channels one instruction interleaves.
_INTERLEAVED = (2, 3, 4)
_TABLE = (
    "const uint8x16x4_t t0 = vld1q_u8_x4(t), t1 = vld1q_u8_x4(t + 64);",
    "const uint8x16x4_t t2 = vld1q_u8_x4(t + 128), t3 = vld1q_u8_x4(t + 192);",
)


def lookup_table(op: ir.LookupTable, unit: Int8Unit) -> None:
    """Emit a table lookup per byte, by vectors where channels share the table."""
    each = op.target.channels // op.shuffle
    if op.table.ndim > 1 or each < _VECTOR or op.shuffle not in {1, *_INTERLEAVED}:
        int8_elementwise.lookup_table(op, unit)
    elif op.shuffle > 1:
        _emit(op, unit, _shuffled(op))
    elif op.target.pixels == 1:
        int8_elementwise.lookup_table(op, unit)
    else:
        _emit(op, unit, _in_order(op))


def _emit(op: ir.LookupTable, unit: Int8Unit, code: CWriter) -> None:
    unit.require("neon/int8_lookup.h")
    head = f"LOOP void @(const byte *restrict x, const uint8_t *t, byte *restrict y{RANGE_PARAMS})"
    name = unit.kernel("lut", head, code)
    source = unit.at(op.source, op.source.origin)
    int8_elementwise.call_by_rows(name, op, unit, source, unit.constant(op.table, "uint8_t"))


def _in_order(op: ir.LookupTable) -> CWriter:
    """Channels that stay in their order."""
    source, target = op.source, op.target
    count, width = target.channels, target.width
    if int8_elementwise.are_whole_rows(source, target):
        count, width = target.pixel_stride * target.width, 1
    code = CWriter(depth=1)
    code(*_TABLE)
    with int8_elementwise.pixels(code, width, to=target, **{"from": source}):
        code("int c = 0;")
        code(f"for (; c + {_VECTOR} <= {count}; c += {_VECTOR})")
        code("    vst1q_s8(to + c, look_up(vld1q_s8(from + c), t0, t1, t2, t3));")
        if count % _VECTOR:
            code(f"for (; c < {count}; ++c)", "    to[c] = (byte)t[(uint8_t)from[c]];")
    return code


def _shuffled(op: ir.LookupTable) -> CWriter:
    """Channels of groups by turns; the last vectors may overlap those before."""
    groups, each = op.shuffle, op.target.channels // op.shuffle
    same = np.array_equal(op.table, np.arange(256).astype(np.uint8).view(op.table.dtype))
    code = CWriter(depth=1)
    code(*(("(void)t;",) if same else _TABLE))
    loads = [f"vld1q_s8(from + {each * group} + c)" for group in range(groups)]
    parts = loads if same else [f"look_up({load}, t0, t1, t2, t3)" for load in loads]
    store = f"vst{groups}q_s8(to + {groups} * c, ((int8x16x{groups}_t){{{{{', '.join(parts)}}}}}));"
    last = each - _VECTOR
    with int8_elementwise.pixels(code, op.target.width, to=op.target, **{"from": op.source}):
        code(f"for (int c = 0; c <= {last}; c += {_VECTOR})", f"    {store}")
        if each % _VECTOR:
            with code.block(""):
                code(f"const int c = {last};", store)
    return code
