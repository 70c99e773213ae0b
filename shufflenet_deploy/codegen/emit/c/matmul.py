"""Products of computed matrices: rows of the result in whole vectors, or sums along rows."""

from __future__ import annotations

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.c.loops import (
    distances,
    indexed,
    merged_loops,
    nest,
    outer_offsets,
)
from shufflenet_deploy.codegen.emit.kernel_calls import Arguments, emit_calls
from shufflenet_deploy.codegen.emit.unit import TranslationUnit
from shufflenet_deploy.codegen.ir.element_ops import FpMatMul

_HEAD = "LOOP void @(const real *a, const real *b, real *y)"
#: Vectors of a row that are summed at a time.
_VECTORS = 4


def matmul(op: FpMatMul, unit: TranslationUnit) -> None:
    """Emit the products of all matrices, a row of the result for each work item."""
    unit.require("c/functions.h")
    views = (*op.sources, op.target)
    *outer, last = op.walk.loops
    count, columns = op.over.count, last.count
    rows, (a, b, y) = merged_loops(outer, views)
    inner = (distances(views, op.over.steps), distances(views, last.steps))
    steps = tuple(zip(*inner, strict=True))
    code = CWriter(depth=1)
    with nest(code, rows[1:]) as names:
        for pointer, strides in zip("aby", (a, b, y), strict=True):
            kind = "real" if pointer == "y" else "const real"
            code(f"{kind} *{pointer}_ = &{indexed(pointer, names, strides[1:])};")
        in_row = steps[1][1] == steps[2][1] == 1
        whole = columns // unit.cpu.lanes * unit.cpu.lanes if in_row else 0
        _vectors(code, unit.cpu.lanes, whole, count, steps)
        if whole < columns:
            with code.block(f"for (int j = {whole}; j < {columns}; ++j)"):
                code("float total = 0.0f;")
                code(f"for (int k = 0; k < {count}; ++k)")
                first = f"a_[k * {steps[0][0]}]"
                code(f"    total += {first} * b_[k * {steps[1][0]} + j * {steps[1][1]}];")
                code(f"y_[j * {steps[2][1]}] = total;")
    name = unit.kernel("matmul", _HEAD, code)
    arguments: Arguments = [
        (view, outer_offsets(rows, strides, view.offset()))
        for view, strides in zip(views, (a, b, y), strict=True)
    ]
    times = len(arguments[0][1])
    cost = 2 * op.walk.elements * count / times / unit.cpu.lanes
    emit_calls(unit, name, arguments, times, op.name, cost=max(1.0, cost))


def _vectors(
    code: CWriter, lanes: int, whole: int, count: int, steps: tuple[tuple[int, ...], ...]
) -> None:
    """The first ``whole`` elements of a row, some vectors at a time."""
    done = 0
    for vectors in (_VECTORS, 1):
        end = done + (whole - done) // (vectors * lanes) * vectors * lanes
        if end == done:
            continue
        with code.block(f"for (int j = {done}; j < {end}; j += {vectors} * LANES)"):
            totals = [f"t{at}" for at in range(vectors)]
            code(f"vfloat {', '.join(f'{one} = {{0}}' for one in totals)};")
            with code.block(f"for (int k = 0; k < {count}; ++k)"):
                code(f"const float f = a_[k * {steps[0][0]}];")
                code(f"const real *row = b_ + k * {steps[1][0]} + j;")
                for at, one in enumerate(totals):
                    code(f"{one} += f * WIDENED(LOAD(row + {at} * LANES));")
            for at, one in enumerate(totals):
                code(f"STORE(y_ + j + {at} * LANES, NARROWED({one}));")
        done = end
