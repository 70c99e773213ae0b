"""Arithmetic with broadcasting, moves, softmax and reductions: plain loops over strided operands.

A kernel does one iteration of the outermost loop; compilers vectorize the innermost one where its
strides are one.
"""

from __future__ import annotations

from math import prod

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.c.activations import scalar_expr
from shufflenet_deploy.codegen.emit.c.loops import indexed, merged, nest, outer_offsets
from shufflenet_deploy.codegen.emit.kernel_calls import Arguments, emit_calls
from shufflenet_deploy.codegen.emit.unit import TranslationUnit
from shufflenet_deploy.codegen.ir.map_ops import Arithmetic, Move, Reduce, Softmax
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


def arithmetic(op: Arithmetic, unit: TranslationUnit) -> None:
    """Emit two operands combined element by element."""
    one, two = op.operands
    extents, strides = merged(op.extents, one.strides, two.strides, op.target_strides)
    code, inner = CWriter(depth=1), extents[1:]
    with nest(code, inner) as names:
        for name, pointer, steps in zip("ab", "xr", strides, strict=False):
            code(f"const real {name} = {indexed(pointer, names, steps[1:])};")
        value = _EXPRESSIONS[op.kind]
        if op.activation is not Activation.NONE:
            value = scalar_expr(op.activation, value)
        code(f"{indexed('y', names, strides[2][1:])} = {value};")
    head = "LOOP void @(const real *restrict x, const real *restrict r, real *restrict y)"
    name = unit.kernel(op.kind.value if op.kind else "leaky_relu", head, code, "scalar")
    columns: Arguments = []
    for operand, steps in zip(op.operands, strides, strict=False):
        begin = operand.offset
        if operand.constant is not None:
            begin += unit.add_weights(operand.constant)
        columns.append((operand.view, outer_offsets(extents, steps, begin)))
    columns.append((op.target, outer_offsets(extents, strides[2], op.target.offset())))
    _emit(unit, name, columns, op.name, 3 * prod(inner))


def move(op: Move, unit: TranslationUnit) -> None:
    """Emit a copy from one set of strides to another."""
    extents, strides = merged(op.extents, op.source_strides, op.target_strides)
    code, inner = CWriter(depth=1), extents[1:]
    with nest(code, inner) as names:
        source, target = (
            indexed(pointer, names, steps[1:]) for pointer, steps in zip("xy", strides, strict=True)
        )
        code(f"{target} = {source};")
    name = unit.kernel(
        "move", "LOOP void @(const real *restrict x, real *restrict y)", code, "scalar"
    )
    begins = (op.source.offset() + op.source_offset, op.target.offset() + op.target_offset)
    columns: Arguments = [
        (view, outer_offsets(extents, steps, begin))
        for view, steps, begin in zip((op.source, op.target), strides, begins, strict=True)
    ]
    _emit(unit, name, columns, op.name, 2 * prod(inner))


def softmax(op: Softmax, unit: TranslationUnit) -> None:
    """Emit a softmax of every line along an axis."""
    length = op.extents[-1]
    x_step, y_step = op.source_strides[-1], op.target_strides[-1]
    extents, strides = merged(op.extents[:-1], op.source_strides[:-1], op.target_strides[:-1])
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
    begins = (op.source.offset(), op.target.offset())
    columns: Arguments = [
        (view, outer_offsets(extents, steps, begin))
        for view, steps, begin in zip((op.source, op.target), strides, begins, strict=True)
    ]
    _emit(unit, name, columns, op.name, _SOFTMAX_COST * length * prod(inner) * unit.cpu.lanes)


def reduce(op: Reduce, unit: TranslationUnit) -> None:
    """Emit sums, means or maxima over some axes."""
    kept = len(op.extents) - op.reduced
    extents, strides = merged(op.extents[:kept], op.source_strides[:kept], op.target_strides)
    inside, (steps,) = merged(op.extents[kept:], op.source_strides[kept:])
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
    begins = (op.source.offset(), op.target.offset())
    columns: Arguments = [
        (view, outer_offsets(extents, one, begin))
        for view, one, begin in zip((op.source, op.target), strides, begins, strict=True)
    ]
    _emit(unit, name, columns, op.name, unit.cpu.lanes * prod(inner) * prod(inside))


def _begin(names: list[str], strides: tuple[int, ...]) -> str:
    """The index of a line's first element, to be added to."""
    return "".join(f"{name} * {step} + " for name, step in zip(names, strides, strict=True))


def _emit(
    unit: TranslationUnit, name: str, columns: Arguments, comment: str, elements: int
) -> None:
    """Calls for each iteration of the outermost loop, of about so many ``elements``."""
    times = len(columns[0][1])
    emit_calls(unit, name, columns, times, comment, cost=max(1, elements // unit.cpu.lanes))
