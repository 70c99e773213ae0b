"""Layer, group and instance norms, in whole vectors along the axis whose elements lie in a row.

That axis is one of a set, whose lanes are added up at the end; or one of the sets, as are the
pixels of a map that is normalised across its channels, and each lane is a set of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.c.loops import indexed, merged_loops, nest, outer_offsets
from shufflenet_deploy.codegen.emit.kernel_calls import Arguments, emit_calls
from shufflenet_deploy.codegen.emit.unit import TranslationUnit, float_literal
from shufflenet_deploy.codegen.ir.element_ops import FpNormalize, Loop

_HEAD = "LOOP void @(const real *x, const real *w, const real *b, real *y)"
#: Passes over the elements: their mean, their deviation, and the results.
_PASSES = 3
_POINTERS = "xwby"

Strides = tuple[int, ...]


@dataclass(frozen=True)
class _Loops:
    """Nested loops: how often, and each pointer's strides, in the order of ``_POINTERS``."""

    extents: tuple[int, ...]
    strides: tuple[Strides, ...]

    @classmethod
    def of(cls, op: FpNormalize, loops: Sequence[Loop]) -> _Loops:
        """The fewest loops over the same elements."""
        return cls(*merged_loops(loops, (op.source, None, None, op.target)))

    @property
    def in_row(self) -> bool:
        """True if the innermost loop goes along elements that lie side by side."""
        return bool(self.extents) and self.strides[0][-1] == self.strides[3][-1] == 1

    def without_last(self) -> _Loops:
        """All loops but the innermost."""
        return _Loops(self.extents[:-1], tuple(one[:-1] for one in self.strides))


def normalize(op: FpNormalize, unit: TranslationUnit) -> None:
    """Emit the norm of every set."""
    unit.require("c/functions.h")
    unit.require("c/powers.h")
    sets, inside = _Loops.of(op, op.walk.loops), _Loops.of(op, op.over)
    # A single loop over sets is one of lanes; its iterations are no work items.
    lanes_are_sets = sets.in_row and not inside.in_row
    shared = sets.without_last() if lanes_are_sets else sets
    code = CWriter(depth=1)
    with nest(code, shared.extents[1:]) as names:
        for at, pointer in enumerate(_POINTERS):
            kind = "real" if pointer == "y" else "const real"
            begin = indexed(pointer, names, shared.strides[at][1:])
            code(f"{kind} *{pointer}_ = &{begin};")
        if lanes_are_sets:
            _sets_in_lanes(code, op, unit.cpu.lanes, sets, inside)
        else:
            _set(code, op, unit.cpu.lanes, inside)
    name = unit.kernel("normalize", _HEAD, code)
    begins = (
        (op.source, op.source.offset()),
        (None, unit.add_weights(op.scale)),
        (None, unit.add_weights(op.shift)),
        (op.target, op.target.offset()),
    )
    columns: Arguments = [
        (view, outer_offsets(shared.extents, strides, begin))
        for (view, begin), strides in zip(begins, shared.strides, strict=True)
    ]
    times = len(columns[0][1])
    elements = op.walk.elements * prod(inside.extents)
    cost = 3 * _PASSES * elements / times / unit.cpu.lanes
    emit_calls(unit, name, columns, times, op.name, cost=max(1.0, cost))


def _sets_in_lanes(
    code: CWriter, op: FpNormalize, lanes: int, sets: _Loops, inside: _Loops
) -> None:
    """Sets side by side, a vector of them at a time; what is beyond them is read only."""
    count, every = sets.extents[-1], prod(inside.extents)
    with code.block(f"for (int e = 0; e < {count}; e += LANES)"):
        load = f"WIDENED(LOAD(&{_at('x', inside, _LAST, 1)}))"
        code("vfloat total = {0}, squares = {0};")
        with nest(code, inside.extents, first=_INNER):
            code(f"total += {load};")
        code(f"const vfloat mean = total * {float_literal(1 / every)};")
        with nest(code, inside.extents, first=_INNER):
            code(f"const vfloat d = {load} - mean;", "squares += d * d;")
        epsilon = float_literal(op.epsilon)
        code(f"vfloat factor = squares * {float_literal(1 / every)} + {epsilon};")
        code("vector_reciprocal_root(&factor);")
        whole = count // lanes * lanes
        with nest(code, inside.extents, first=_INNER):
            w, b = (_lanes_of(name, sets, inside) for name in "wb")
            code(f"const vf v = NARROWED(({load} - mean) * factor * {w} + {b});")
            target = _at("y", inside, _LAST, 1)
            lanes_left = f"for (int l = 0; l < {count} - e; ++l)"
            if whole == count:
                code(f"STORE(&{target}, v);")
            elif whole:
                code(f"if (e < {whole})", f"    STORE(&{target}, v);", "else")
                code(f"    {lanes_left}", f"        (&{target})[l] = v[l];")
            else:
                code(lanes_left, f"    (&{target})[l] = v[l];")


def _set(code: CWriter, op: FpNormalize, lanes: int, inside: _Loops) -> None:
    """One set, along whose innermost loop vectors are loaded where its elements lie in a row."""
    every = prod(inside.extents)
    last = inside.extents[-1] if inside.extents else 1
    outer = inside.without_last() if inside.extents else inside
    whole = last // lanes * lanes if inside.in_row else 0
    mean, factor = "total", "factor"
    code("float total = 0.0f, squares = 0.0f;")
    for centred in ("", f" - {mean}"):
        name = "squares" if centred else "total"
        if whole:
            code(f"vfloat {name}_ = {{0}};")
        with nest(code, outer.extents, first=_INNER):
            if whole:
                with code.block(f"for (int e = 0; e < {whole}; e += LANES)"):
                    load = f"WIDENED(LOAD(&{_at('x', inside, _LAST, outer=True)})){centred}"
                    code(f"const vfloat v = {load};")
                    code(f"{name}_ += {'v * v' if centred else 'v'};")
            with code.block(f"for (int e = {whole}; e < {last}; ++e)"):
                code(f"const float v = {_at('x', inside, _LAST, outer=True)}{centred};")
                code(f"{name} += {'v * v' if centred else 'v'};")
        if whole:
            code("for (int l = 0; l < LANES; ++l)", f"    {name} += {name}_[l];")
        code(f"{name} *= {float_literal(1 / every)};")
    code(f"const float {factor} = 1.0f / sqrtf(squares + {float_literal(op.epsilon)});")
    with nest(code, outer.extents, first=_INNER):
        x, w, b, y = (_at(name, inside, _LAST, outer=True) for name in _POINTERS)
        if whole:
            with code.block(f"for (int e = 0; e < {whole}; e += LANES)"):
                wide = [
                    f"WIDENED(LOAD(&{element}))" if inside.strides[at][-1] else f"(float){element}"
                    for at, element in ((1, w), (2, b))
                ]
                code(f"const vfloat v = (WIDENED(LOAD(&{x})) - {mean}) * {factor};")
                code(f"STORE(&{y}, NARROWED(v * {wide[0]} + {wide[1]}));")
        if whole < last:
            code(f"for (int e = {whole}; e < {last}; ++e)")
            code(f"    {y} = ({x} - {mean}) * {factor} * {w} + {b};")


#: The index along which vectors lie.
_LAST = "e"
#: Loops inside of a set take their names after all that may be outside of it.
_INNER = 6


def _at(pointer: str, inside: _Loops, last: str, step: int = 0, *, outer: bool = False) -> str:
    """An element of a set, at the indices of its loops and ``last``, of which ``step`` is one.

    With ``outer`` the innermost loop is ``last`` itself.
    """
    strides = list(inside.strides[_POINTERS.index(pointer)])
    names = [_NAMES[_INNER + at] for at in range(len(strides))]
    if outer and names:
        names[-1] = last
    elif not outer:
        names, strides = [*names, last], [*strides, step]
    return indexed(f"{pointer}_", names, strides)


def _lanes_of(pointer: str, sets: _Loops, inside: _Loops) -> str:
    """Factors of sets side by side: one of all, or a vector."""
    step = sets.strides[_POINTERS.index(pointer)][-1]
    element = _at(pointer, inside, _LAST, step)
    return f"WIDENED(LOAD(&{element}))" if step else f"(float){element}"


_NAMES: Sequence[str] = "ijklmnopqrst"
