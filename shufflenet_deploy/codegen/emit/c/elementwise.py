"""Element-wise ops on planar maps: addition and per-channel scaling."""

from __future__ import annotations

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.c.activations import (
    activation_constants,
    activation_expr,
    scalar_expr,
)
from shufflenet_deploy.codegen.emit.kernel_calls import (
    Arguments,
    emit_calls,
)
from shufflenet_deploy.codegen.emit.unit import TranslationUnit, strided_runs
from shufflenet_deploy.codegen.ir.ops import FpAdd, FpChannelScale
from shufflenet_deploy.codegen.ir.planar import Layout


def add(op: FpAdd, unit: TranslationUnit) -> None:
    """Emit the addition of two values."""
    one, two = op.sources
    code = CWriter(depth=1)
    _flat_loop(code, op.target.layout, unit, "LOAD(x + p) + LOAD(r + p)", "x[p] + r[p]", op)
    name = unit.kernel("add", "LOOP void @(const real *x, const real *r, real *y)", code)
    for run in strided_runs(op.target.planes):
        channels = range(run.first, run.first + run.count)
        columns: Arguments = [
            (one, [one.offset(channel) for channel in channels]),
            (two, [two.offset(channel) for channel in channels]),
            (op.target, [op.target.offset(channel) for channel in channels]),
        ]
        emit_calls(unit, name, columns, run.count, op.name)


def _flat_loop(
    code: CWriter,
    layout: Layout,
    unit: TranslationUnit,
    vectors: str,
    scalar: str,
    op: FpAdd | FpChannelScale,
) -> None:
    """A loop over one plane in whole vectors, or a scalar where a plane is one element."""
    if layout.channel_stride == 1:
        value = scalar.replace("[p]", "[0]")
        code(f"*y = {scalar_expr(op.epilogue, value)};")
        return
    code(*activation_constants(op.epilogue))
    end = layout.vectors(unit.cpu.lanes) * unit.cpu.lanes
    with code.block(f"for (int p = 0; p < {end}; p += LANES)"):
        code(f"const vf a = {vectors};")
        code(f"STORE(y + p, {activation_expr(op.epilogue, 'a')});")


def channel_scale(op: FpChannelScale, unit: TranslationUnit) -> None:
    """Emit a feature map times one factor per channel, plus a residual if there is one."""
    value, factor, *others = op.sources
    code = CWriter(depth=1)
    vectors, scalar = "LOAD(x + p) * w[0]", "x[p] * w[0]"
    if others:
        vectors, scalar = f"LOAD(r + p) + {vectors}", f"r[p] + {scalar}"
    _flat_loop(code, op.target.layout, unit, vectors, scalar, op)
    residual = "const real *r, " if others else ""
    head = f"LOOP void @(const real *x, const real *w, {residual}real *y)"
    name = unit.kernel("scale", head, code)
    for run in strided_runs(op.target.planes):
        channels = range(run.first, run.first + run.count)
        columns: Arguments = [
            (view, [view.offset(channel) for channel in channels])
            for view in (value, factor, *others, op.target)
        ]
        emit_calls(unit, name, columns, run.count, op.name)
