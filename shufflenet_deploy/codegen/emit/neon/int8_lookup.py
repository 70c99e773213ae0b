"""int8 lookup tables on NEON: a table of 256 bytes lies in sixteen registers."""

from __future__ import annotations

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.int8_unit import Int8Unit
from shufflenet_deploy.codegen.emit.kernel_calls import RANGE_PARAMS
from shufflenet_deploy.codegen.emit.portable import int8_elementwise
from shufflenet_deploy.codegen.ir import ops as ir

_VECTOR = 16


def lookup_table(op: ir.LookupTable, unit: Int8Unit) -> None:
    """Emit a table lookup per byte, by vectors where channels stay in order and share the table."""
    source, target = op.source, op.target
    whole = int8_elementwise.are_whole_rows(source, target)
    count, width = target.channels, target.width
    if whole:
        count, width = target.pixel_stride * target.width, 1
    if op.shuffle > 1 or op.table.ndim > 1 or target.pixels == 1 or count < _VECTOR:
        int8_elementwise.lookup_table(op, unit)
        return
    unit.require("neon/int8_lookup.h")
    code = CWriter(depth=1)
    code("const uint8x16x4_t t0 = vld1q_u8_x4(t), t1 = vld1q_u8_x4(t + 64);")
    code("const uint8x16x4_t t2 = vld1q_u8_x4(t + 128), t3 = vld1q_u8_x4(t + 192);")
    with int8_elementwise.pixels(code, width, to=target, **{"from": source}):
        code("int c = 0;")
        code(f"for (; c + {_VECTOR} <= {count}; c += {_VECTOR})")
        code("    vst1q_s8(to + c, look_up(vld1q_s8(from + c), t0, t1, t2, t3));")
        if count % _VECTOR:
            code(f"for (; c < {count}; ++c)", "    to[c] = (byte)t[(uint8_t)from[c]];")
    head = f"LOOP void @(const byte *restrict x, const uint8_t *t, byte *restrict y{RANGE_PARAMS})"
    name = unit.kernel("lut", head, code)
    table = unit.constant(op.table, "uint8_t")
    int8_elementwise.call_by_rows(name, op, unit, unit.at(source, source.origin), table)
