"""Copies between planar layouts, and between fp32 and fp16 at both ends of a network."""

from __future__ import annotations

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.kernel_calls import (
    Arguments,
    emit_calls,
)
from shufflenet_deploy.codegen.emit.unit import TranslationUnit, strided_runs
from shufflenet_deploy.codegen.ir.ops import Copy
from shufflenet_deploy.codegen.ir.planar import INPUT, OUTPUT


def copy(op: Copy, unit: TranslationUnit) -> None:
    """Emit a copy of planes, row by row."""
    source, target = op.source.layout, op.target.layout
    # The image and the logits are floats, whatever is between.
    given = "float" if op.source.buffer == INPUT else "real"
    made = "float" if op.target.buffer <= OUTPUT else "real"
    head = f"LOOP void @(const {given} *x, {made} *y)"
    rows, width = source.height, source.width
    if source.row_stride == width == target.row_stride:
        rows, width = 1, rows * width
    if (
        source.channel_stride == target.channel_stride == 1
        and op.source.contiguous
        and op.target.contiguous
    ):
        merged = CWriter(depth=1)
        merged(f"for (int p = 0; p < {len(op.source.planes)}; ++p)")
        merged(f"    y[p] = {op.activation.value}(x[p]);")
        name = unit.kernel("copy", head, merged)
        columns: Arguments = [
            (op.source, [op.source.offset()]),
            (op.target, [op.target.offset()]),
        ]
        emit_calls(unit, name, columns, 1, op.name)
        return
    code = CWriter(depth=1)
    with code.block(f"for (int i = 0; i < {rows}; ++i)"):
        code(
            f"const {given} *from = x + i * {source.row_stride};",
            f"{made} *to = y + i * {target.row_stride};",
        )
        code(f"for (int p = 0; p < {width}; ++p)")
        code(f"    to[p] = {op.activation.value}(from[p]);")
    name = unit.kernel("copy", head, code)
    for run in strided_runs(op.target.planes):
        channels = range(run.first, run.first + run.count)
        columns = [
            (op.source, [op.source.offset(channel) for channel in channels]),
            (op.target, [op.target.offset(channel) for channel in channels]),
        ]
        emit_calls(unit, name, columns, run.count, op.name)
