"""A convolution of a picture and the pool behind it, a few rows at a time.

Between them are the sorted picture, and a map four times as large as what the pool makes of it:
megabytes, of a large picture. In bands of rows both stay in the nearest caches. A band begins with
the last row of the one before, which its first windows reach into; a thread that begins in the
middle computes that band, too.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from shufflenet_deploy.export.native import convolution, spatial
from shufflenet_deploy.export.native.banding import apiece
from shufflenet_deploy.export.native.convolution import Kernel
from shufflenet_deploy.export.native.program import Banded, Window3x3
from shufflenet_deploy.export.native.text import ALIGN, Code, Unit


def emit(step: Banded, unit: Unit) -> None:
    """Write the kernels of a band, and the loop over bands."""
    sorted_, map_ = (apiece(place.layout, unit.machine.lanes) for place in step.sources[1:])
    kernels = convolution.kernels(step.convolution, unit)
    code = Code(depth=1)
    code(
        f"real *s = sorted + begin * {sorted_};",
        f"real *t = map + begin * {map_} + {step.front};",
    )
    with code.block("for (int k = begin ? begin - 1 : 0; k < end; ++k)"):
        _before(code, step)
        _convolve(code, step, unit, kernels)
        with code.block("if (k >= begin)"):
            _pool(code, step, unit)
    head = "LOOP void @(const real *x, real *sorted, real *map, real *y, int begin, int end)"
    name = unit.kernel("bands", head, code)
    places = ", ".join(unit.address(place) for place in (*step.sources, step.target))
    price = sum(one.price for one in kernels)
    with unit.share(_bands(step), price):
        unit.body("if (begin < end)", f"    {name}({places}, begin, end); /* {step.name} */")


def _bands(step: Banded) -> int:
    return ceil(step.target.layout.height / step.rows)


def _before(code: Code, step: Banded) -> None:
    """The row before the first of a band: there is none before the picture."""
    layout, row = step.convolution.target.layout, step.convolution.target.layout.row
    with code.block(f"for (int c = 0; c < {layout.channels}; ++c)"):
        code(f"real *to = t + c * {layout.plane} - {row};")
        code("if (k == 0)", f"    fill(to, {layout.width}, -INFINITY);", "else")
        code(f"    memcpy(to, to + {layout.height * row}, {layout.width} * sizeof *to);")


def _convolve(code: Code, step: Banded, unit: Unit, kernels: list[Kernel]) -> None:
    """Sort the rows of the picture that a band needs, and convolve them."""
    picture, map_ = step.source.layout, step.convolution.target.layout
    size = len(step.split.phases) * step.split.target.layout.plane
    split = spatial.split_kernel(step.split, unit, band=True)
    first = f"k * {map_.height * step.split.stride[0]}"
    code(f"for (int c = 0; c < {picture.channels}; ++c)")
    code(f"    {split}(x + c * {picture.plane}, s + c * {size}, {first});")
    if unit.machine.fetches:
        _fetch_next(code, step, unit)
    for one in kernels:
        bases = ("s", "W", "W", "t")
        given = [f"{base} + {at[0]}" for base, (_, at) in zip(bases, one.columns, strict=True)]
        pieces = f", 0, {one.pieces}" if one.pieces > 1 else ""
        code(f"{one.name}({', '.join(given)}{pieces});")
    if _bands(step) * map_.height > step.height:
        head = f"for (int row = {step.height} - k * {map_.height}; row < {map_.height}; ++row)"
        with code.block(head):  # below the map
            code(f"for (int c = 0; c < {map_.channels}; ++c)")
            code(f"    fill(t + c * {map_.plane} + row * {map_.row}, {map_.width}, -INFINITY);")


def _fetch_next(code: Code, step: Banded, unit: Unit) -> None:
    """What the next band adds of the picture comes from memory while this one is convolved."""
    picture = step.source.layout
    added = step.convolution.target.layout.height * step.split.stride[0] * picture.row
    with code.block(f"for (int c = 0; c < {picture.channels} && k + 1 < end; ++c)"):
        code(f"const real *next = x + c * {picture.plane} + (k + 1) * {added};")
        code(f"for (int i = 0; i < {added}; i += {ALIGN // unit.machine.element_bytes})")
        code("    __builtin_prefetch(next + i, 0, 2);")


def _pool(code: Code, step: Banded, unit: Unit) -> None:
    """The maxima of a band; the last one may have fewer rows."""
    map_, target = step.convolution.target.layout, step.target.layout
    to = ", ".join(str(step.target.offset(at)) for at in range(map_.channels))
    code(f"static const int to[] = {{{to}}};")
    name = spatial.window3x3_kernel(step.pool, unit)
    rest = target.height % step.rows
    if rest:
        last = spatial.window3x3_kernel(_shorter(step.pool, rest), unit)
        name = f"(k < {_bands(step) - 1} ? {name} : {last})"
    code(f"for (int c = 0; c < {map_.channels}; ++c)")
    to = f"y + to[c] + k * {step.rows * target.row}"
    code(f"    {name}(t + c * {map_.plane} - {map_.row}, {to});")


def _shorter(pool: Window3x3, rows: int) -> Window3x3:
    """The same for fewer rows."""
    (source,), target = pool.sources, pool.target
    before = replace(source.layout, height=2 * rows + 1)
    after = replace(target.layout, height=rows, plane=rows * target.layout.row)
    return replace(
        pool, sources=(replace(source, layout=before),), target=replace(target, layout=after)
    )
