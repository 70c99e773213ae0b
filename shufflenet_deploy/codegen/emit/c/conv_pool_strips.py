"""Convolution and max pool strip-mined together: a few output rows at a time.

Between the two lie the phase-split input and a feature map four times as large as the pooled one,
megabytes for a large image; in strips both stay in L1 and L2. A strip begins with the last row of
the strip before, which its first windows reach into; a thread that starts in the middle recomputes
that strip.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.c import convolution, dwconv, phase_split
from shufflenet_deploy.codegen.emit.c.convolution import KernelCall
from shufflenet_deploy.codegen.emit.unit import ALIGN_BYTES, TranslationUnit
from shufflenet_deploy.codegen.ir.ops import Direct3x3, StripConvPool
from shufflenet_deploy.codegen.schedule.conv_pool_fusion import per_thread_elements


def strip_conv_pool(op: StripConvPool, unit: TranslationUnit) -> None:
    """Emit the kernels of a strip, and the loop over strips."""
    sorted_, map_ = (per_thread_elements(view.layout, unit.cpu.lanes) for view in op.sources[1:])
    kernels = convolution.convolution_kernels(op.convolution, unit)
    code = CWriter(depth=1)
    code(
        f"real *s = sorted + begin * {sorted_};",
        f"real *t = map + begin * {map_} + {op.carried_row_offset};",
    )
    with code.block("for (int k = begin ? begin - 1 : 0; k < end; ++k)"):
        _carry_last_row(code, op)
        _convolve(code, op, unit, kernels)
        with code.block("if (k >= begin)"):
            _pool(code, op, unit)
    head = "LOOP void @(const real *x, real *sorted, real *map, real *y, int begin, int end)"
    name = unit.kernel("conv_maxpool_strips", head, code)
    image = unit.address(op.source, op.source.offset())
    views = ", ".join((image, *(unit.address(view) for view in (*op.sources[1:], op.target))))
    cost = sum(one.cost for one in kernels)
    with unit.parallel(_strip_count(op), cost):
        unit.body("if (begin < end)", f"    {name}({views}, begin, end); /* {op.name} */")


def _strip_count(op: StripConvPool) -> int:
    return ceil(op.target.layout.height / op.rows)


def _carry_last_row(code: CWriter, op: StripConvPool) -> None:
    """Copy the last row of the strip before in front of this one; minus infinity at the top."""
    layout, row = op.convolution.target.layout, op.convolution.target.layout.row_stride
    with code.block(f"for (int c = 0; c < {layout.channels}; ++c)"):
        code(f"real *to = t + c * {layout.channel_stride} - {row};")
        code("if (k == 0)", f"    fill(to, {layout.width}, -INFINITY);", "else")
        code(f"    memcpy(to, to + {layout.height * row}, {layout.width} * sizeof *to);")


def _convolve(
    code: CWriter, op: StripConvPool, unit: TranslationUnit, kernels: list[KernelCall]
) -> None:
    """Phase-split the input rows of a strip, and convolve them."""
    image, map_ = op.source.layout, op.convolution.target.layout
    size = len(op.split.phases) * op.split.target.layout.channel_stride
    split = phase_split.phase_split_kernel(op.split, unit, in_strip=True)
    first = f"k * {map_.height * op.split.stride[0]}"
    code(f"for (int c = 0; c < {image.channels}; ++c)")
    code(f"    {split}(x + c * {image.channel_stride}, s + c * {size}, {first});")
    if unit.cpu.software_prefetch:
        _prefetch_next_strip(code, op, unit)
    for one in kernels:
        bases = ("s", unit.weights, unit.weights, "t")
        given = [f"{base} + {at[0]}" for base, (_, at) in zip(bases, one.arguments, strict=True)]
        work_items = f", 0, {one.work_items}" if one.work_items > 1 else ""
        code(f"{one.name}({', '.join(given)}{work_items});")
    if _strip_count(op) * map_.height > op.height:
        head = f"for (int row = {op.height} - k * {map_.height}; row < {map_.height}; ++row)"
        with code.block(head):  # below the map
            code(f"for (int c = 0; c < {map_.channels}; ++c)")
            code(
                f"    fill(t + c * {map_.channel_stride} + row * {map_.row_stride}, "
                f"{map_.width}, -INFINITY);"
            )


def _prefetch_next_strip(code: CWriter, op: StripConvPool, unit: TranslationUnit) -> None:
    """Prefetch the input rows of the next strip while this one is convolved."""
    image = op.source.layout
    added = op.convolution.target.layout.height * op.split.stride[0] * image.row_stride
    with code.block(f"for (int c = 0; c < {image.channels} && k + 1 < end; ++c)"):
        code(f"const real *next = x + c * {image.channel_stride} + (k + 1) * {added};")
        code(f"for (int i = 0; i < {added}; i += {ALIGN_BYTES // unit.cpu.element_bytes})")
        code("    __builtin_prefetch(next + i, 0, 2);")


def _pool(code: CWriter, op: StripConvPool, unit: TranslationUnit) -> None:
    """Pool a strip; the last one may have fewer rows."""
    map_, target = op.convolution.target.layout, op.target.layout
    to = ", ".join(str(op.target.offset(at)) for at in range(map_.channels))
    code(f"static const int to[] = {{{to}}};")
    name = dwconv.direct_3x3_kernel(op.pool, unit)
    rest = target.height % op.rows
    if rest:
        last = dwconv.direct_3x3_kernel(_with_rows(op.pool, rest), unit)
        name = f"(k < {_strip_count(op) - 1} ? {name} : {last})"
    code(f"for (int c = 0; c < {map_.channels}; ++c)")
    to = f"y + to[c] + k * {op.rows * target.row_stride}"
    code(f"    {name}(t + c * {map_.channel_stride} - {map_.row_stride}, {to});")


def _with_rows(pool: Direct3x3, rows: int) -> Direct3x3:
    """The same pool over fewer rows."""
    (source,), target = pool.sources, pool.target
    before = replace(source.layout, height=2 * rows + 1)
    after = replace(target.layout, height=rows, channel_stride=rows * target.layout.row_stride)
    return replace(
        pool, sources=(replace(source, layout=before),), target=replace(target, layout=after)
    )
