"""Borders of float segments in plain C: bytes of pixels to planes of floats, and back."""

from __future__ import annotations

from math import prod

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.int8_unit import Int8Unit
from shufflenet_deploy.codegen.emit.kernel_calls import RANGE_PARAMS
from shufflenet_deploy.codegen.emit.unit import float_literal
from shufflenet_deploy.codegen.ir.border_ops import BorderOp, Dequantize, Quantize

_NAMES = "ijklmnopq"
_COST = 8


def dequantize(op: Dequantize, unit: Int8Unit) -> None:
    """Emit a value of bytes as floats."""
    source, target = op.byte_view, op.float_view
    number = f"(float)(x[%s] - {source.zero_point}) * {float_literal(source.scale)}"
    head = f"LOOP void @(const byte *restrict x, float *restrict y{RANGE_PARAMS})"
    name = unit.kernel(
        "to_float", head, _loops(op, f"y[%s] = {number};", bytes_first=False), "scalar"
    )
    x, y = unit.at(source, source.origin), unit.reals.address(target, target.offset())
    _call(name, op, unit, x, y)


def quantize(op: Quantize, unit: Int8Unit) -> None:
    """Emit a value of floats as bytes."""
    source, target = op.float_view, op.byte_view
    near = f"quantize_8(x[%s] * {float_literal(op.inverse)}, {target.zero_point})"
    head = f"LOOP void @(const float *restrict x, byte *restrict y{RANGE_PARAMS})"
    name = unit.kernel("to_bytes", head, _loops(op, f"y[%s] = {near};", bytes_first=True), "scalar")
    x, y = unit.reals.address(source, source.offset()), unit.at(target, target.origin)
    _call(name, op, unit, x, y)


def _loops(op: BorderOp, statement: str, *, bytes_first: bool) -> CWriter:
    """Nested loops around a statement; a map's rows outermost, of which all channels fit a cache.

    ``statement`` has places for the offsets in the target and in the source.
    """
    code = CWriter(depth=1)
    indices = [
        " + ".join(f"{name} * {step}" for name, step in zip(_NAMES, steps, strict=False) if step)
        for steps in ([each[at] for at in _order(op)] for each in (op.byte_steps, op.float_steps))
    ]
    to, given = indices if bytes_first else reversed(indices)
    counts = [op.extents[at] for at in _order(op)]
    for depth, (name, count) in enumerate(zip(_NAMES, counts, strict=False)):
        first, end = (0, count) if depth else ("begin", "end")
        code("    " * depth + f"for (int {name} = {first}; {name} < {end}; ++{name})")
    code("    " * len(counts) + statement % (to or "0", given or "0"))
    return code


def _order(op: BorderOp) -> tuple[int, ...]:
    """The axes, outermost first."""
    return (1, 0, 2) if len(op.extents) == 3 else tuple(range(len(op.extents)))


def _call(name: str, op: BorderOp, unit: Int8Unit, x: str, y: str) -> None:
    work = _COST * prod(op.extents)
    items = op.extents[_order(op)[0]]
    with unit.parallel(items, work / items / (4 * unit.cpu.lanes)):
        unit.body("if (begin < end)", f"    {name}({x}, {y}, begin, end); /* {op.name} */")
