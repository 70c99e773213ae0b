"""Arithmetic with broadcasting, moves, softmax and reductions: plain loops over strided operands.

A kernel does one iteration of the outermost loop; compilers vectorize the innermost one where its
strides are one.
"""

from __future__ import annotations

from math import prod

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.c.activations import scalar_expr
from shufflenet_deploy.codegen.emit.c.loops import (
    distances,
    indexed,
    merged_loops,
    nest,
    outer_offsets,
)
from shufflenet_deploy.codegen.emit.kernel_calls import Arguments, emit_calls
from shufflenet_deploy.codegen.emit.unit import TranslationUnit
from shufflenet_deploy.codegen.ir.element_ops import (
    FpArithmetic,
    FpMove,
    FpReduce,
    FpSoftmax,
    Walk,
)
from shufflenet_deploy.codegen.ir.op import Op
from shufflenet_deploy.codegen.ir.planar import PlanarView
from shufflenet_deploy.network.graph import Activation, ArithmeticKind, ReduceKind

_EXPRESSIONS = {
    ArithmeticKind.ADD: "a + b",
    ArithmeticKind.SUBTRACT: "a - b",
    ArithmeticKind.MULTIPLY: "a * b",
    ArithmeticKind.DIVIDE: "a / b",
    ArithmeticKind.MAXIMUM: "a > b ? a : b",
    ArithmeticKind.MINIMUM: "a < b ? a : b",
    None: "a > 0 ? a : a * b",
}
#: Instructions for an element of a softmax, most of them those of its exponential.
_SOFTMAX_COST = 40


def arithmetic(op: FpArithmetic, unit: TranslationUnit) -> None:
    """Emit two operands combined element by element."""
    sources = iter(op.sources)
    views = [next(sources) if one is None else None for one in op.constants]
    extents, strides = merged_loops(op.walk.loops, (*views, op.target))
    code, inner = CWriter(depth=1), extents[1:]
    with nest(code, inner) as names:
        for name, pointer, steps in zip("ab", "xr", strides, strict=False):
            code(f"const real {name} = {indexed(pointer, names, steps[1:])};")
        value = _EXPRESSIONS[op.kind]
        if op.epilogue is not Activation.NONE:
            value = scalar_expr(op.epilogue, value)
        code(f"{indexed('y', names, strides[2][1:])} = {value};")
    head = "LOOP void @(const real *restrict x, const real *restrict r, real *restrict y)"
    name = unit.kernel(op.kind.value if op.kind else "leaky_relu", head, code, "scalar")
    columns: Arguments = []
    for view, constant, steps in zip(views, op.constants, strides, strict=False):
        begin = view.offset() if view else 0
        if constant is not None:
            begin = unit.add_weights(constant)
        columns.append((view, outer_offsets(extents, steps, begin)))
    columns.append((op.target, outer_offsets(extents, strides[2], op.target.offset())))
    _emit(unit, name, columns, op.name, 3 * prod(inner))


def move(op: FpMove, unit: TranslationUnit) -> None:
    """Emit a copy from one set of strides to another."""
    extents, strides = merged_loops(op.walk.loops, (op.source, op.target))
    code, inner = CWriter(depth=1), extents[1:]
    with nest(code, inner) as names:
        source, target = (
            indexed(pointer, names, steps[1:]) for pointer, steps in zip("xy", strides, strict=True)
        )
        code(f"{target} = {source};")
    name = unit.kernel(
        "move", "LOOP void @(const real *restrict x, real *restrict y)", code, "scalar"
    )
    columns = _columns(op, op.walk, extents, strides)
    _emit(unit, name, columns, op.name, 2 * prod(inner))


def softmax(op: FpSoftmax, unit: TranslationUnit) -> None:
    """Emit a softmax of every line along an axis."""
    length, views = op.over.count, (op.source, op.target)
    x_step, y_step = distances(views, op.over.steps)
    extents, strides = merged_loops(op.walk.loops, views)
    code, inner = CWriter(depth=1), extents[1:]
    with nest(code, inner) as names:
        source = f"x[{_begin(names, strides[0][1:])}c * {x_step}]"
        target = f"y[{_begin(names, strides[1][1:])}c * {y_step}]"
        loop = f"for (int c = 0; c < {length}; ++c)"
        code("float most = -INFINITY, total = 0.0f;")
        with code.block(loop):
            code(f"most = {source} > most ? {source} : most;")
        with code.block(loop):
            code(f"total += expf({source} - most);")
        if op.logarithm:
            code("most += logf(total);", loop, f"    {target} = {source} - most;")
        else:
            code("total = 1.0f / total;", loop, f"    {target} = expf({source} - most) * total;")
    name = unit.kernel(
        "softmax", "LOOP void @(const real *restrict x, real *restrict y)", code, "scalar"
    )
    columns = _columns(op, op.walk, extents, strides)
    _emit(unit, name, columns, op.name, _SOFTMAX_COST * length * prod(inner) * unit.cpu.lanes)


def reduce(op: FpReduce, unit: TranslationUnit) -> None:
    """Emit sums, means or maxima over some axes."""
    views = (op.source, op.target)
    extents, strides = merged_loops(op.walk.loops, views)
    inside, (steps, _) = merged_loops(op.over, views)
    code, inner = CWriter(depth=1), extents[1:]
    maximum = op.kind is ReduceKind.MAX
    with nest(code, inner) as names:
        code(f"float total = {'-INFINITY' if maximum else '0.0f'};")
        with nest(code, inside, first=len(inner)) as more:
            value = indexed("x", [*names, *more], [*strides[0][1:], *steps])
            if maximum:
                code(f"total = {value} > total ? {value} : total;")
            else:
                code(f"total += {value};")
        result = f"total / {prod(inside)}.0f" if op.kind is ReduceKind.MEAN else "total"
        code(f"{indexed('y', names, strides[1][1:])} = {result};")
    head = "LOOP void @(const real *restrict x, real *restrict y)"
    name = unit.kernel(f"reduce_{op.kind.value}", head, code, "scalar")
    columns = _columns(op, op.walk, extents, strides)
    _emit(unit, name, columns, op.name, unit.cpu.lanes * prod(inner) * prod(inside))


def _begin(names: list[str], strides: tuple[int, ...]) -> str:
    """The index of a line's first element, to be added to."""
    return "".join(f"{name} * {step} + " for name, step in zip(names, strides, strict=True))


def _columns(
    op: Op[PlanarView], walk: Walk, extents: tuple[int, ...], strides: tuple[tuple[int, ...], ...]
) -> Arguments:
    """The source and the target at each iteration of the outermost loop."""
    views = (op.source, op.target)
    begins = distances(views, walk.starts)
    return [
        (view, outer_offsets(extents, steps, view.offset() + begin))
        for view, steps, begin in zip(views, strides, begins, strict=True)
    ]


def _emit(
    unit: TranslationUnit, name: str, columns: Arguments, comment: str, elements: int
) -> None:
    """Calls for each iteration of the outermost loop, of about so many ``elements``."""
    times = len(columns[0][1])
    emit_calls(unit, name, columns, times, comment, cost=max(1, elements // unit.cpu.lanes))
