"""Windows over planar maps: phase split, depthwise 3x3, pooling."""

from __future__ import annotations

import numpy as np

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.c.activations import activation_constants, activation_expr
from shufflenet_deploy.codegen.emit.kernel_calls import Arguments, emit_calls
from shufflenet_deploy.codegen.emit.unit import TranslationUnit, float_literal, strided_runs
from shufflenet_deploy.codegen.ir.op import Op
from shufflenet_deploy.codegen.ir.ops import FpAdaptivePool, FpGlobalAveragePool, Pool
from shufflenet_deploy.codegen.ir.planar import PlanarView
from shufflenet_deploy.network.graph import PoolKind


def _call_per_channel(op: Op[PlanarView], unit: TranslationUnit, name: str) -> None:
    """Call a kernel for every channel."""
    source, target = op.source, op.target
    channels = range(len(target.planes))
    columns: Arguments = [
        (source, [source.offset(channel) for channel in channels]),
        (target, [target.offset(channel) for channel in channels]),
    ]
    emit_calls(unit, name, columns, len(channels), op.name)


def pool(op: Pool, unit: TranslationUnit) -> None:
    """Emit max or average over the taps of a phase-split map, all pixels as one flat vector."""
    lanes = unit.cpu.lanes
    layout = op.target.layout
    vectors = layout.vectors(lanes)
    code = CWriter(depth=1)
    code(*activation_constants(op.activation))
    scaled = op.scale is not None and op.scale.size > 1
    at = 0
    if op.scale is not None:
        table = np.zeros((layout.height, layout.row_stride), np.float32)
        table[:, : layout.width] = op.scale
        flat = np.zeros(vectors * lanes, np.float32)
        kept = min(flat.size, table.size)
        flat[:kept] = table.ravel()[:kept]
        at = unit.add_weights(flat if scaled else op.scale)
    with code.block(f"for (int p = 0; p < {vectors * lanes}; p += LANES)"):
        code(f"vf a = LOAD(x + p + {op.taps[0]});")
        for tap in op.taps[1:]:
            if op.kind is PoolKind.MAX:
                code(f"a = MAX(a, LOAD(x + p + {tap}));")
            else:
                code(f"a += LOAD(x + p + {tap});")
        if op.scale is not None:
            code("a *= LOAD(w + p);" if scaled else "a *= w[0];")
        code(f"STORE(y + p, {activation_expr(op.activation, 'a')});")
    weights = "const real *w, " if op.scale is not None else ""
    name = unit.kernel("pool", f"LOOP void @(const real *x, {weights}real *y)", code)
    size = op.source.layout.channel_stride * op.planes_per_channel
    for run in strided_runs(op.target.planes):
        channels = range(run.first, run.first + run.count)
        columns: Arguments = [(op.source, [channel * size for channel in channels])]
        if op.scale is not None:
            columns.append((None, [at for _ in channels]))
        columns.append((op.target, [op.target.offset(channel) for channel in channels]))
        emit_calls(unit, name, columns, run.count, op.name, cost=2 * len(op.taps) * vectors)


def global_average_pool(op: FpGlobalAveragePool, unit: TranslationUnit) -> None:
    """Emit the mean of each plane."""
    layout = op.source.layout
    lanes = unit.cpu.lanes
    code = CWriter(depth=1)
    rows, width = layout.height, layout.width
    if layout.row_stride == width:
        rows, width = 1, rows * width
    whole = width // lanes * lanes
    code("vf a = {0};", "float total = 0.0f;")
    with code.block(f"for (int i = 0; i < {rows}; ++i, x += {layout.row_stride})"):
        if whole:
            with code.block(f"for (int p = 0; p < {whole}; p += LANES)"):
                code("a += LOAD(x + p);")
        code(*(f"total += x[{p}];" for p in range(whole, width)))
    code(f"total += {' + '.join(f'a[{i}]' for i in range(lanes))};")
    code(f"*y = total * {float_literal(1 / (rows * width))};")
    name = unit.kernel("gavgpool", "LOOP void @(const real *x, real *y)", code)
    _call_per_channel(op, unit, name)


def adaptive_pool(op: FpAdaptivePool, unit: TranslationUnit) -> None:
    """Emit averages over a grid of windows with PyTorch's bounds."""
    source, target = op.source.layout, op.target.layout
    code = CWriter(depth=1)
    with code.block(f"for (int i = 0; i < {target.height}; ++i)"):
        code(*_area_bounds("i", "top", "bottom", source.height, target.height))
        with code.block(f"for (int j = 0; j < {target.width}; ++j)"):
            code(*_area_bounds("j", "left", "right", source.width, target.width))
            code("float total = 0.0f;")
            with code.block("for (int row = top; row < bottom; ++row)"):
                with code.block("for (int column = left; column < right; ++column)"):
                    code(f"total += x[row * {source.row_stride} + column];")
            code(
                f"y[i * {target.row_stride} + j] = "
                "total / (float)((bottom - top) * (right - left));"
            )
    name = unit.kernel("adaptive_avgpool", "LOOP void @(const real *x, real *y)", code)
    _call_per_channel(op, unit, name)


def _area_bounds(index: str, first: str, last: str, size: int, parts: int) -> list[str]:
    return [
        f"const int {first} = {index} * {size} / {parts};",
        f"const int {last} = (({index} + 1) * {size} + {parts - 1}) / {parts};",
    ]
