"""Functions of every element of a map or vector, in whole vectors; see ``functions.h``."""

from __future__ import annotations

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.kernel_calls import Arguments, emit_calls
from shufflenet_deploy.codegen.emit.unit import StridedRun, TranslationUnit, strided_runs
from shufflenet_deploy.codegen.ir.element_ops import Apply, FunctionKind
from shufflenet_deploy.network.graph import Pair

#: Vector instructions that an element-wise function takes, about.
_COST = 20


_POWERS = {FunctionKind.SQUARE_ROOT, FunctionKind.RECIPROCAL_ROOT, FunctionKind.POWER}


def apply(op: Apply, unit: TranslationUnit) -> None:
    """Emit a function of each plane, or of a whole vector."""
    unit.require("c/functions.h")
    if op.function in _POWERS:
        unit.require("c/powers.h")
    single = op.target.layout.channel_stride == 1
    shared = op.numbers is None or len(op.numbers) == 1
    at = 0 if op.numbers is None else unit.add_weights(op.numbers)
    for run in strided_runs(op.target.planes):
        if single and shared and run.step == 1:
            _calls(op, unit, run, at, (1, run.count), times=1)
        elif single:
            _calls(op, unit, run, at, (1, 1), times=run.count)
        else:
            layout = op.target.layout
            rows, width = layout.height, layout.width
            if layout.row_stride == op.source.layout.row_stride:
                lanes = unit.cpu.lanes
                rows, width = 1, layout.vectors(lanes) * lanes
            _calls(op, unit, run, at, (rows, width), times=run.count)


def _calls(
    op: Apply, unit: TranslationUnit, run: StridedRun, at: int, size: Pair, *, times: int
) -> None:
    """Calls for ``times`` channels of a run, each of ``size`` rows and columns.

    ``at`` is where the parameters are among the weights.
    """
    channels = range(run.first, run.first + times)
    columns: Arguments = [(op.source, [op.source.offset(channel) for channel in channels])]
    if op.numbers is not None:
        told, size_of_each = op.numbers.shape
        step = size_of_each if told > 1 else 0
        columns.append((None, [at + step * channel for channel in channels]))
    columns.append((op.target, [op.target.offset(channel) for channel in channels]))
    rows, width = size
    name = _kernel(op, unit, rows, width)
    cost = _COST * rows * -(-width // unit.cpu.lanes)
    emit_calls(unit, name, columns, times, op.name, cost=cost)


def _kernel(op: Apply, unit: TranslationUnit, rows: int, width: int) -> str:
    code = CWriter(depth=1)
    if rows > 1:
        head = f"for (int i = 0; i < {rows}; ++i"
        steps = f", x += {op.source.layout.row_stride}, y += {op.target.layout.row_stride})"
        with code.block(head + steps):
            _row(code, op, unit.cpu.lanes, width)
    else:
        _row(code, op, unit.cpu.lanes, width)
    weights = "const real *w, " if op.numbers is not None else ""
    head = f"LOOP void @(const real *x, {weights}real *y)"
    return unit.kernel(op.function.replace("-", "_"), head, code)


def _row(code: CWriter, op: Apply, lanes: int, width: int) -> None:
    """The elements of a row; what is beyond it is read, but not written."""
    whole, call = width // lanes * lanes, _call(op)
    if whole:
        with code.block(f"for (int p = 0; p < {whole}; p += LANES)"):
            code("vfloat v = WIDENED(LOAD(x + p));", f"{call};", "STORE(y + p, NARROWED(v));")
    if whole < width:
        with code.block(""):
            code(f"vfloat v = WIDENED(LOAD(x + {whole}));", f"{call};")
            code("const vf last = NARROWED(v);")
            code(f"for (int p = 0; p < {width - whole}; ++p)", f"    y[{whole} + p] = last[p];")


def _call(op: Apply) -> str:
    """The call that replaces the vector ``v``."""
    if op.function is FunctionKind.CLIP:
        return "bound(&v, w[0], w[1])"
    name = op.function.replace("-", "_")
    if op.numbers is not None:
        return f"vector_{name}(&v, w[0])"
    return f"vector_{name}(&v)"
