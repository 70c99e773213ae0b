"""Padding and space-to-depth (phase split) of planar maps."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.kernel_calls import Arguments, emit_calls
from shufflenet_deploy.codegen.emit.unit import TranslationUnit, float_literal
from shufflenet_deploy.codegen.ir.ops import PhaseSplit


def phase_split(op: PhaseSplit, unit: TranslationUnit) -> None:
    """Emit padding and space-to-depth (phase split) of a feature map."""
    source, target, name = op.source, op.target, phase_split_kernel(op, unit)
    size = target.layout.channel_stride * len(op.phases)
    channels = range(source.layout.channels)
    columns: Arguments = [
        (source, [source.offset(channel) for channel in channels]),
        (target, [channel * size for channel in channels]),
    ]
    emit_calls(unit, name, columns, len(channels), op.name)


def phase_split_kernel(op: PhaseSplit, unit: TranslationUnit, *, in_strip: bool = False) -> str:
    """The function for one channel; in a strip (``in_strip``) it is given its first input row."""
    source, target = op.source.layout, op.target.layout
    down = op.stride[0]
    code = CWriter(depth=1)
    phases = deque(enumerate(op.phases))
    while phases:
        at, (row_phase, phase) = phases.popleft()
        parts = [_PhaseColumns.of(op, at, phase)]
        if phases and phases[0][1][0] == row_phase:
            other = _PhaseColumns.of(op, phases[0][0], phases[0][1][1])
            if other.interleaves(parts[0]):
                parts.append(other)
                phases.popleft()
        with code.block(f"for (int i = 0; i < {target.height}; ++i)"):
            first = "first + " if in_strip else ""
            code(f"const int row = {first}i * {down} + {row_phase - op.top};")
            for name, part in zip(("one", "two"), parts, strict=False):
                code(
                    f"real *{name} = y + {part.at * target.channel_stride} "
                    f"+ i * {target.row_stride};"
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
    told = ", int first" if in_strip else ""
    head = f"LOOP void @(const real *restrict x, real *restrict y{told})"
    return unit.kernel("phase_split", head, code)


@dataclass(frozen=True)
class _PhaseColumns:
    """Composition of a row of phase ``at``.

    ``first`` pixels of padding, ``count`` input pixels from column ``start`` on, ``after`` pixels
    of padding.
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

    def interleaves(self, other: _PhaseColumns) -> bool:
        """True if the two phases take alternating pixels of one stretch of the row."""
        return self.count == other.count > 0 and abs(self.start - other.start) == 1


def _copy_phases(code: CWriter, parts: list[_PhaseColumns], row: str, stride: int) -> None:
    to = [f"{name} + {part.first}" for name, part in zip(("one", "two"), parts, strict=False)]
    if len(parts) == 2 and stride == 2:
        if parts[0].start > parts[1].start:
            to.reverse()
        start = min(part.start for part in parts)
        code(f"deinterleave({row} + {start}, {to[0]}, {to[1]}, {parts[0].count});")
        return
    for name, part in zip(to, parts, strict=True):
        if part.count:
            code(f"strided_copy({row} + {part.start}, {name}, {part.count}, {stride});")


def _fill_literal(value: float) -> str:
    return "-INFINITY" if value == float("-inf") else float_literal(value)
