"""Kernels that look at neighbouring pixels: depthwise 3x3, windows, means, padding."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.c.activations import activation_constants, activation_expr
from shufflenet_deploy.codegen.emit.c.dwconv3x3_rows import BIAS_INDEX, PACKED_WEIGHTS, RowKernel
from shufflenet_deploy.codegen.emit.kernel_calls import Arguments, emit_calls
from shufflenet_deploy.codegen.emit.neon import dwconv3x3
from shufflenet_deploy.codegen.emit.unit import TranslationUnit, float_literal, strided_runs
from shufflenet_deploy.codegen.emit.x86 import dwconv3x3_s2_avx512, dwconv3x3_small_avx512
from shufflenet_deploy.codegen.ir.planar import (
    AdaptivePool,
    Direct3x3,
    GlobalAveragePool,
    PhaseSplit,
    PlanarOp,
    Pool,
)
from shufflenet_deploy.network.graph import PoolKind


def phase_split(op: PhaseSplit, unit: TranslationUnit) -> None:
    """Pad a picture and sort its pixels by phase."""
    _call_per_channel(
        op, unit, phase_split_kernel(op, unit), op.target.layout.channel_stride * len(op.phases)
    )


def phase_split_kernel(op: PhaseSplit, unit: TranslationUnit, *, band: bool = False) -> str:
    """The function for one channel; of a ``band``, it is told the first row of the picture."""
    source, target = op.source.layout, op.target.layout
    down = op.stride[0]
    code = CWriter(depth=1)
    phases = deque(enumerate(op.phases))
    while phases:
        at, (row_phase, phase) = phases.popleft()
        parts = [_PhaseColumns.of(op, at, phase)]
        if phases and phases[0][1][0] == row_phase:
            other = _PhaseColumns.of(op, phases[0][0], phases[0][1][1])
            if other.beside(parts[0]):
                parts.append(other)
                phases.popleft()
        with code.block(f"for (int i = 0; i < {target.height}; ++i)"):
            first = "first + " if band else ""
            code(f"const int row = {first}i * {down} + {row_phase - op.top};")
            for name, part in zip(("one", "two"), parts, strict=False):
                code(
                    f"real *{name} = y + {part.at * target.channel_stride} + i * {target.row_stride};"
                )
            with code.block(f"if (row < 0 || row >= {source.height})"):
                for name, _ in zip(("one", "two"), parts, strict=False):
                    code(f"fill({name}, {target.width}, {_fill_literal(op.outside)});")
                code("continue;")
            for name, part in zip(("one", "two"), parts, strict=False):
                if part.first:
                    code(f"fill({name}, {part.first}, {_fill_literal(op.outside)});")
                if part.after:
                    begin = part.first + part.count
                    code(f"fill({name} + {begin}, {part.after}, {_fill_literal(op.outside)});")
            _copy_phases(code, parts, f"x + row * {source.row_stride}", op.stride[1])
    told = ", int first" if band else ""
    head = f"LOOP void @(const real *restrict x, real *restrict y{told})"
    return unit.kernel("split", head, code)


@dataclass(frozen=True)
class _PhaseColumns:
    """What a row of phase ``at`` has.

    ``first`` pixels of padding, ``count`` of the picture from column ``start`` on, ``behind`` of
    padding.
    """

    at: int
    first: int
    count: int
    after: int
    start: int

    @classmethod
    def of(cls, op: PhaseSplit, at: int, phase: int) -> _PhaseColumns:
        right, columns = op.stride[1], op.target.layout.width
        start = phase - op.left
        first = min(max(0, -(start // right)), columns)
        last = (op.source.layout.width - 1 - start) // right + 1
        count = max(0, min(columns, last) - first)
        return cls(at, first, count, columns - first - count, first * right + start)

    def beside(self, other: _PhaseColumns) -> bool:
        """Whether every second pixel is this one's and the others are the other's."""
        return self.count == other.count > 0 and abs(self.start - other.start) == 1


def _copy_phases(code: CWriter, parts: list[_PhaseColumns], row: str, stride: int) -> None:
    to = [f"{name} + {part.first}" for name, part in zip(("one", "two"), parts, strict=False)]
    if len(parts) == 2 and stride == 2:
        if parts[0].start > parts[1].start:
            to.reverse()
        start = min(part.start for part in parts)
        code(f"deal({row} + {start}, {to[0]}, {to[1]}, {parts[0].count});")
        return
    for name, part in zip(to, parts, strict=True):
        if part.count:
            code(f"gather({row} + {part.start}, {name}, {part.count}, {stride});")


def _call_per_channel(op: PlanarOp, unit: TranslationUnit, name: str, target_size: int = 0) -> None:
    """Call a kernel for every channel."""
    source, target = op.source, op.target
    channels = range(source.layout.channels if target_size else len(target.planes))
    columns: Arguments = [
        (source, [source.offset(channel) for channel in channels]),
        (
            target,
            [
                channel * target_size if target_size else target.offset(channel)
                for channel in channels
            ],
        ),
    ]
    emit_calls(unit, name, columns, len(channels), op.name)


def _fill_literal(value: float) -> str:
    return "-INFINITY" if value == float("-inf") else float_literal(value)


def direct_3x3_kernel(op: Direct3x3, unit: TranslationUnit) -> str:
    """The function for one plane, by rows: one that is loaded serves all windows that need it."""
    if dwconv3x3.is_supported(op, unit):
        code = dwconv3x3.kernel_body(op, unit)
    elif dwconv3x3_small_avx512.is_supported(op, unit):
        code = dwconv3x3_small_avx512.kernel_body(op)
    elif dwconv3x3_s2_avx512.is_supported(op, unit):
        code = dwconv3x3_s2_avx512.DeinterleavedRows(op, unit).write()
    else:
        code = RowKernel(op, unit).write()
    weights = "const real *w, " if op.weight is not None else ""
    head = f"LOOP void @(const real *restrict x, {weights}real *restrict y)"
    return unit.kernel("window", head, code)


def direct_3x3(op: Direct3x3, unit: TranslationUnit) -> None:
    """3x3 windows of every plane."""
    name, at = direct_3x3_kernel(op, unit), 0
    if op.weight is not None and op.bias is not None:
        packed = np.zeros((op.source.layout.channels, PACKED_WEIGHTS), np.float32)
        packed[:, :BIAS_INDEX] = op.weight
        packed[:, BIAS_INDEX] = op.bias
        at = unit.add_weights(packed)
    for run in strided_runs(op.target.planes):
        channels = range(run.first, run.first + run.count)
        columns: Arguments = [(op.source, [op.source.offset(channel) for channel in channels])]
        if op.weight is not None:
            columns.append((None, [at + channel * PACKED_WEIGHTS for channel in channels]))
        columns.append((op.target, [op.target.offset(channel) for channel in channels]))
        cost = 12 * op.target.layout.vectors(unit.cpu.lanes)
        emit_calls(unit, name, columns, run.count, op.name, cost=cost)


def pool(op: Pool, unit: TranslationUnit) -> None:
    """Max or mean over the taps of a split picture, all pixels as one flat vector."""
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
    name = unit.kernel("window", f"LOOP void @(const real *x, {weights}real *y)", code)
    size = op.source.layout.channel_stride * op.planes_per_channel
    for run in strided_runs(op.target.planes):
        channels = range(run.first, run.first + run.count)
        columns: Arguments = [(op.source, [channel * size for channel in channels])]
        if op.scale is not None:
            columns.append((None, [at for _ in channels]))
        columns.append((op.target, [op.target.offset(channel) for channel in channels]))
        emit_calls(unit, name, columns, run.count, op.name, cost=2 * len(op.taps) * vectors)


def global_average_pool(op: GlobalAveragePool, unit: TranslationUnit) -> None:
    """The mean of a plane."""
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
    name = unit.kernel("mean", "LOOP void @(const real *x, real *y)", code)
    _call_per_channel(op, unit, name)


def adaptive_pool(op: AdaptivePool, unit: TranslationUnit) -> None:
    """Means over a grid of windows whose borders are PyTorch's."""
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
                f"y[i * {target.row_stride} + j] = total / (float)((bottom - top) * (right - left));"
            )
    name = unit.kernel("grid", "LOOP void @(const real *x, real *y)", code)
    _call_per_channel(op, unit, name)


def _area_bounds(index: str, first: str, last: str, size: int, parts: int) -> list[str]:
    return [
        f"const int {first} = {index} * {size} / {parts};",
        f"const int {last} = (({index} + 1) * {size} + {parts - 1}) / {parts};",
    ]
