"""int8 convolutions on NEON: pointwise, grouped and with any kernel, by microkernels of one form.

A block of output channels covers the pixels of a row tile by tile; then the next block where all
weights fit L1, else the next row.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from math import ceil

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.kernel_calls import RANGE_PARAMS
from shufflenet_deploy.codegen.emit.neon.int8_matrix_microkernel import (
    emit_matrix_microkernel,
    emit_packing,
    stored_bytes,
)
from shufflenet_deploy.codegen.emit.neon.int8_microkernel import emit_microkernel, signature
from shufflenet_deploy.codegen.emit.unit import TranslationUnit
from shufflenet_deploy.codegen.schedule.neon_int8_blocking import (
    NeonConvSpec,
    Product,
    Tiling,
    choose_tiling,
)
from shufflenet_deploy.cores import SMALLEST_L1_SHARE_BYTES


def single_row(spec: NeonConvSpec) -> NeonConvSpec:
    """The same convolution over one row."""
    return replace(spec, height=1)


def emit_kernel(spec: NeonConvSpec, unit: TranslationUnit, tiling: Tiling) -> str:
    """Emit ``(x, w, b, [r,] y, [t,] begin, end)``, which computes a range of ``work_items``.

    ``t`` is scratch of ``packed_bytes`` where inputs are packed.
    """
    code = CWriter(depth=1)
    pixels_outside = _weight_bytes(spec, tiling) * spec.groups <= SMALLEST_L1_SHARE_BYTES
    if pixels_outside and spec.height > 1:
        with code.block("for (int i = begin; i < end; ++i)"):
            _groups(code, unit, spec, tiling, "i", rows=False)
    elif spec.height > 1:
        _groups(code, unit, spec, tiling, "begin", rows=True)
    elif _blocks_are_independent(spec, tiling):
        _groups(code, unit, spec, tiling, "", rows=False)
    else:
        with code.block("if (begin < end)"):
            _groups(code, unit, spec, tiling, "", rows=False)
    more = f", int8_t *t{RANGE_PARAMS}" if tiling.packed else RANGE_PARAMS
    return unit.kernel("conv", signature("LOOP", spec, more), code)


def _weight_bytes(spec: NeonConvSpec, tiling: Tiling) -> int:
    """Bytes of a group's weights."""
    return 16 * spec.steps(tiling.product) * spec.accumulators(tiling.product)


def work_items(spec: NeonConvSpec, tiling: Tiling) -> int:
    """Independent work items: rows, or with a single row the blocks of all groups."""
    if spec.height > 1:
        return spec.height
    return spec.groups * len(tiling.cut.outputs) if _blocks_are_independent(spec, tiling) else 1


def _blocks_are_independent(spec: NeonConvSpec, tiling: Tiling) -> bool:
    """True if blocks are the work items: one row, and no block writes into another's outputs."""
    spills = sum(stored for _, stored in _blocks(spec, tiling)) > spec.outputs
    return spec.height == 1 and not (spills and spec.groups > 1)


def _groups(
    code: CWriter,
    unit: TranslationUnit,
    spec: NeonConvSpec,
    tiling: Tiling,
    row: str,
    *,
    rows: bool,
) -> None:
    """The blocks of all groups, one strip each, from row ``row`` on if there is more than one.

    With ``rows`` a strip covers those from ``begin`` to ``end``.
    """
    residual = spec.epilogue.residual is not None
    x, y, r = (f" + {row} * {size}" if row else "" for size in (spec.x_row, spec.y_row, spec.r_row))
    apart = _blocks_are_independent(spec, tiling)
    element = 4 if spec.epilogue.float_output else 1
    product = tiling.product
    each, bytes_each = product.outputs, 16 * spec.steps(product)
    before = f"g * {spec.accumulators(product)}"
    with code.block(f"for (int g = 0; g < {spec.groups}; ++g)" if spec.groups > 1 else ""):
        if spec.groups == 1:
            code("const int g = 0;")
        if apart and spec.groups > 1:
            blocks = len(tiling.cut.outputs)
            code(f"const int first = begin - g * {blocks}, last = end - g * {blocks};")
        elif apart:
            code("const int first = begin, last = end;")
        inputs = f"x + g * {spec.group_step}{x}"
        if tiling.packed:
            wanted = f"if (first < {len(tiling.cut.outputs)} && last > 0)" if apart else ""
            with code.block(wanted):
                code(f"{emit_packing(spec, unit)}({inputs}, t);")
            inputs = "t"
        first = done = 0
        for block, run in groupby(_blocks(spec, tiling)):
            size, times = block[0], len(list(run))
            name = _channel_block(spec, unit, tiling, block, rows=rows)
            k = " + k * " if times > 1 else ""
            at = [
                inputs,
                f"w + ({before} + {first}) * {bytes_each}"
                + (f"{k}{size * bytes_each}" if k else ""),
                f"b + ({before} + {first}) * 8" + (f"{k}{8 * size}" if k else ""),
            ]
            views = [f"y + (g * {spec.outputs} + {each * first}) * {element}{y}"]
            if residual:
                views.insert(0, f"r + g * {spec.outputs} + {each * first}{r}")
            at += [view + (f"{k}{each * size * element}" if k else "") for view in views]
            if rows:
                at.append("end - begin")
            loop = f"for (int k = 0; k < {times}; ++k)" if k else ""
            if apart and k:
                some = [f"clamp_index({end} - {done}, {times})" for end in ("first", "last")]
                loop = f"for (int k = {some[0]}; k < {some[1]}; ++k)"
            elif apart:
                loop = f"if (first <= {done} && {done} < last)"
            with code.block(loop):
                code(f"{name}({', '.join(at)});")
            first += size * times
            done += times


def _blocks(spec: NeonConvSpec, tiling: Tiling) -> list[tuple[int, int]]:
    """Each block's accumulators and the channels that it stores: of the last maybe more than exist.

    Matrix products store the last channels in as few instructions as they can, others all of their
    accumulators; nothing more than there is where that may not be overwritten.
    """
    product, sizes = tiling.product, tiling.cut.outputs
    blocks = [(size, product.outputs * size) for size in sizes]
    channels = spec.outputs - product.outputs * sum(sizes[:-1])
    matrix = product is Product.MATRIX
    stored = stored_bytes(channels) if matrix else product.outputs * sizes[-1]
    beside = spec.groups > 1 and spec.epilogue.residual is not None
    # Threads share the blocks of what is one row, unless it is a part of a row's work.
    shared = matrix and spec.groups > 1 and spec.height == 1 and spec.y_row > 0
    if spec.overwrite_slack < stored - channels or beside or shared:
        stored = channels
    return [*blocks[:-1], (sizes[-1], stored)]


def _channel_block(
    spec: NeonConvSpec,
    unit: TranslationUnit,
    tiling: Tiling,
    block: tuple[int, int],
    *,
    rows: bool,
) -> str:
    """One block of output channels over all pixels of a row, or of so many rows."""
    code = CWriter(depth=1)
    residual = spec.epilogue.residual is not None
    if rows:
        with code.block("for (int i = 0; i < rows; ++i)"):
            code(f"const int8_t *x = x0 + i * {spec.x_row};")
            code(f"int8_t *y = y0 + i * {spec.y_row};")
            if residual:
                code(f"const int8_t *r = r0 + i * {spec.r_row};")
            _pixel_loop(code, spec, unit, tiling, block)
    else:
        _pixel_loop(code, spec, unit, tiling, block)
    declared = signature("LOOP", spec, ", int rows" if rows else "")
    if rows:
        declared = declared.replace("*x,", "*x0,").replace("*y,", "*y0,").replace("*r,", "*r0,")
    return unit.kernel("conv_block", declared, code)


def _pixel_loop(
    code: CWriter,
    spec: NeonConvSpec,
    unit: TranslationUnit,
    tiling: Tiling,
    block: tuple[int, int],
) -> None:
    residual = spec.epilogue.residual is not None
    for at, (size, times) in enumerate(tiling.cut.pixels):
        if tiling.product is Product.MATRIX:
            name = emit_matrix_microkernel(spec, unit, block, size, packed=tiling.packed)
        else:
            name = emit_microkernel(spec, unit, block, size)
        r = "r, " if residual else ""
        x_step = (
            16 * spec.steps(tiling.product) * ceil(size / 2)
            if tiling.packed
            else size * spec.x_pixel
        )
        step = f"x += {x_step}, y += {size * spec.y_pixel}"
        if residual:
            step += f", r += {size * spec.r_pixel}"
        if times > 1:
            code(f"for (int p = 0; p < {times}; ++p, {step})", f"    {name}(x, w, b, {r}y);")
        else:
            code(f"{name}(x, w, b, {r}y);")
            if at + 1 < len(tiling.cut.pixels):
                code(f"{step};")


def tiling_for(spec: NeonConvSpec, unit: TranslationUnit) -> Tiling:
    """The tiles of this convolution on the unit's target."""
    cpu = unit.cpu
    return choose_tiling(spec, dot_product=cpu.dot_product, matrix_product=cpu.matrix_product)
