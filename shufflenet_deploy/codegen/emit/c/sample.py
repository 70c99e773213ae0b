"""Padding and resizing of planes: rows and columns are looked up in constant tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.kernel_calls import Arguments, emit_calls
from shufflenet_deploy.codegen.emit.unit import TranslationUnit, float_literal, strided_runs
from shufflenet_deploy.codegen.ir.element_ops import AxisSamples, FpSample

#: Vector instructions for a vector of results that are gathered one by one, about.
_COST_PER_ELEMENT = 2
#: Pixels in a row that are copied by a loop of their own.
_MIN_COPY = 4


def sample(op: FpSample, unit: TranslationUnit) -> None:
    """Emit the rows of each plane from those of the source."""
    blends = op.rows.blend is not None or op.columns.blend is not None
    code = _blended(op) if blends else _gathered(op)
    head = "LOOP void @(const real *restrict x, real *restrict y)"
    name = unit.kernel("resize" if blends else "gather", head, code, "scalar")
    cost = _COST_PER_ELEMENT * op.target.pixels
    for run in strided_runs(op.target.planes):
        channels = range(run.first, run.first + run.count)
        columns: Arguments = [
            (op.source, [op.source.offset(channel) for channel in channels]),
            (op.target, [op.target.offset(channel) for channel in channels]),
        ]
        emit_calls(unit, name, columns, run.count, op.name, cost=cost)


def _gathered(op: FpSample) -> CWriter:
    """Each pixel is one of the source's, or outside."""
    source, target = op.source.layout, op.target.layout
    outside = float_literal(op.outside)
    code = CWriter(depth=1)
    code(_table("rows", op.rows.first))
    segments = _segments(op.columns)
    if any(one.kind == "table" for one in segments):
        code(_table("columns", op.columns.first))
    with code.block(f"for (int i = 0; i < {target.height}; ++i, y += {target.row_stride})"):
        if (op.rows.first < 0).any():
            with code.block("if (rows[i] < 0)"):
                code(f"fill(y, {target.width}, {outside});", "continue;")
        code(f"const real *from = x + rows[i] * {source.row_stride};")
        for one in segments:
            if one.kind == "outside":
                code(f"fill(y + {one.first}, {one.count}, {outside});")
            elif one.kind == "copy":
                code(f"strided_copy(from + {one.begin}, y + {one.first}, {one.count}, 1);")
            else:
                code(f"for (int j = {one.first}; j < {one.first + one.count}; ++j)")
                code("    y[j] = from[columns[j]];")
    return code


@dataclass(frozen=True)
class _Segment:
    """Columns of one ``kind``: outside, copied from column ``begin`` on, or from a table."""

    kind: str
    first: int
    count: int
    begin: int = 0


def _segments(columns: AxisSamples) -> list[_Segment]:
    """The runs of columns that are filled, copied or looked up alike."""
    found: list[_Segment] = []
    at = 0
    keys = ((-1, 0) if old < 0 else (0, old - new) for new, old in enumerate(columns.first))
    for (outside, shift), some in groupby(keys):
        count = len(list(some))
        if outside:
            found.append(_Segment("outside", at, count))
        elif count >= _MIN_COPY:
            found.append(_Segment("copy", at, count, int(at + shift)))
        elif found and found[-1].kind == "table":
            before = found.pop()
            found.append(_Segment("table", before.first, before.count + count))
        else:
            found.append(_Segment("table", at, count))
        at += count
    return found


def _blended(op: FpSample) -> CWriter:
    """Each pixel lies between two rows, which are blended first, and two columns."""
    source, target = op.source.layout, op.target.layout
    code = CWriter(depth=1)
    for name, axis in (("row", op.rows), ("column", op.columns)):
        code(_table(f"{name}s", axis.first))
        if axis.blend is not None:
            code(_table(f"next_{name}s", axis.blend.second))
            shares = ", ".join(map(float_literal, axis.blend.weight))
            code(f"static const float {name}_shares[] = {{{shares}}};")
    code(f"float blend[{source.width}];")
    with code.block(f"for (int i = 0; i < {target.height}; ++i, y += {target.row_stride})"):
        code(f"const real *one = x + rows[i] * {source.row_stride};")
        value = "one[j]"
        if op.rows.blend is not None:
            code(f"const real *two = x + next_rows[i] * {source.row_stride};")
            code("const float share = row_shares[i];")
            value = "one[j] * (1.0f - share) + two[j] * share"
        code(f"for (int j = 0; j < {source.width}; ++j)", f"    blend[j] = {value};")
        value = "blend[columns[j]]"
        if op.columns.blend is not None:
            value += " * (1.0f - column_shares[j]) + blend[next_columns[j]] * column_shares[j]"
        code(f"for (int j = 0; j < {target.width}; ++j)", f"    y[j] = {value};")
    return code


def _table(name: str, numbers: Iterable[int]) -> str:
    return f"static const int {name}[] = {{{', '.join(str(int(one)) for one in numbers)}}};"
