"""A convolution of a picture and the pool behind it, a few rows at a time.

Between them are the sorted picture, and a map four times as large as what the pool makes of it:
megabytes, of a large picture. In bands of rows both stay in the nearest caches. A band begins with
the last row of the one before, which its first windows reach into; a thread that begins in the
middle computes that band, too.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.c import convolution, pool
from shufflenet_deploy.codegen.emit.c.convolution import KernelCall
from shufflenet_deploy.codegen.emit.unit import ALIGN_BYTES, TranslationUnit
from shufflenet_deploy.codegen.ir.planar import Direct3x3, StripConvPool
from shufflenet_deploy.codegen.schedule.conv_pool_fusion import per_thread_elements


def strip_conv_pool(step: StripConvPool, unit: TranslationUnit) -> None:
    """Write the kernels of a band, and the loop over bands."""
    sorted_, map_ = (
        per_thread_elements(place.layout, unit.machine.lanes) for place in step.sources[1:]
    )
    kernels = convolution.convolution_kernels(step.convolution, unit)
    code = CWriter(depth=1)
    code(
        f"real *s = sorted + begin * {sorted_};",
        f"real *t = map + begin * {map_} + {step.front};",
    )
    with code.block("for (int k = begin ? begin - 1 : 0; k < end; ++k)"):
        _carry_last_row(code, step)
        _convolve(code, step, unit, kernels)
        with code.block("if (k >= begin)"):
            _pool(code, step, unit)
    head = "LOOP void @(const real *x, real *sorted, real *map, real *y, int begin, int end)"
    name = unit.kernel("bands", head, code)
    places = ", ".join(unit.address(place) for place in (*step.sources, step.target))
    price = sum(one.price for one in kernels)
    with unit.share(_strip_count(step), price):
        unit.body("if (begin < end)", f"    {name}({places}, begin, end); /* {step.name} */")


def _strip_count(step: StripConvPool) -> int:
    return ceil(step.target.layout.height / step.rows)


def _carry_last_row(code: CWriter, step: StripConvPool) -> None:
    """The row before the first of a band: there is none before the picture."""
    layout, row = step.convolution.target.layout, step.convolution.target.layout.row
    with code.block(f"for (int c = 0; c < {layout.channels}; ++c)"):
        code(f"real *to = t + c * {layout.plane} - {row};")
        code("if (k == 0)", f"    fill(to, {layout.width}, -INFINITY);", "else")
        code(f"    memcpy(to, to + {layout.height * row}, {layout.width} * sizeof *to);")


def _convolve(
    code: CWriter, step: StripConvPool, unit: TranslationUnit, kernels: list[KernelCall]
) -> None:
    """Sort the rows of the picture that a band needs, and convolve them."""
    picture, map_ = step.source.layout, step.convolution.target.layout
    size = len(step.split.phases) * step.split.target.layout.plane
    split = pool.phase_split_kernel(step.split, unit, band=True)
    first = f"k * {map_.height * step.split.stride[0]}"
    code(f"for (int c = 0; c < {picture.channels}; ++c)")
    code(f"    {split}(x + c * {picture.plane}, s + c * {size}, {first});")
    if unit.machine.fetches:
        _prefetch_next_strip(code, step, unit)
    for one in kernels:
        bases = ("s", "W", "W", "t")
        given = [f"{base} + {at[0]}" for base, (_, at) in zip(bases, one.columns, strict=True)]
        pieces = f", 0, {one.pieces}" if one.pieces > 1 else ""
        code(f"{one.name}({', '.join(given)}{pieces});")
    if _strip_count(step) * map_.height > step.height:
        head = f"for (int row = {step.height} - k * {map_.height}; row < {map_.height}; ++row)"
        with code.block(head):  # below the map
            code(f"for (int c = 0; c < {map_.channels}; ++c)")
            code(f"    fill(t + c * {map_.plane} + row * {map_.row}, {map_.width}, -INFINITY);")


def _prefetch_next_strip(code: CWriter, step: StripConvPool, unit: TranslationUnit) -> None:
    """What the next band adds of the picture comes from memory while this one is convolved."""
    picture = step.source.layout
    added = step.convolution.target.layout.height * step.split.stride[0] * picture.row
    with code.block(f"for (int c = 0; c < {picture.channels} && k + 1 < end; ++c)"):
        code(f"const real *next = x + c * {picture.plane} + (k + 1) * {added};")
        code(f"for (int i = 0; i < {added}; i += {ALIGN_BYTES // unit.machine.element_bytes})")
        code("    __builtin_prefetch(next + i, 0, 2);")


def _pool(code: CWriter, step: StripConvPool, unit: TranslationUnit) -> None:
    """The maxima of a band; the last one may have fewer rows."""
    map_, target = step.convolution.target.layout, step.target.layout
    to = ", ".join(str(step.target.offset(at)) for at in range(map_.channels))
    code(f"static const int to[] = {{{to}}};")
    name = pool.direct_3x3_kernel(step.pool, unit)
    rest = target.height % step.rows
    if rest:
        last = pool.direct_3x3_kernel(_with_rows(step.pool, rest), unit)
        name = f"(k < {_strip_count(step) - 1} ? {name} : {last})"
    code(f"for (int c = 0; c < {map_.channels}; ++c)")
    to = f"y + to[c] + k * {step.rows * target.row}"
    code(f"    {name}(t + c * {map_.plane} - {map_.row}, {to});")


def _with_rows(pool: Direct3x3, rows: int) -> Direct3x3:
    """The same for fewer rows."""
    (source,), target = pool.sources, pool.target
    before = replace(source.layout, height=2 * rows + 1)
    after = replace(target.layout, height=rows, plane=rows * target.layout.row)
    return replace(
        pool, sources=(replace(source, layout=before),), target=replace(target, layout=after)
    )
