"""int8 convolutions on NEON: pointwise, grouped, and with any kernel, by the same tile.

A block of channels goes over the pixels of a row tile by tile, then the next block where all
weights fit the cache, else the next row.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.kernel_calls import RANGE_PARAMS, run_lengths
from shufflenet_deploy.codegen.emit.neon.int8_microkernel import emit_microkernel, signature
from shufflenet_deploy.codegen.emit.unit import TranslationUnit
from shufflenet_deploy.codegen.schedule.neon_int8_blocking import (
    NeonConvSpec,
    TileCut,
    choose_tiles,
)

_L1_BYTES = 24 << 10


def single_row(tiled: NeonConvSpec) -> NeonConvSpec:
    """The same for one row."""
    return replace(tiled, height=1)


def pack_weights(
    tiled: NeonConvSpec,
    weight: NDArray[np.int8],
    bias: NDArray[np.int32],
    factor: NDArray[np.int32 | np.float32],
    cut: TileCut,
    *,
    dot: bool,
) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
    """Weights ``(groups * outputs, rows, run)`` in the order in which tiles read them.

    Biases and factors come as one array: those of each block's quads side by side.
    """
    groups, outputs, quads = tiled.groups, tiled.outputs, tiled.quads
    run = ceil(tiled.run / 4) * 4
    whole = np.zeros((groups, quads * 4, len(tiled.rows), run), np.int8)
    whole[:, :outputs, :, : tiled.run] = weight.reshape(groups, outputs, len(tiled.rows), tiled.run)
    # (groups, quads, outputs of a quad, lanes, inputs of a lane)
    whole = whole.reshape(groups, quads, 4, tiled.lanes, 4)
    ends = np.zeros((2, groups, quads * 4), np.int32)
    ends[0, :, :outputs] = bias.reshape(groups, outputs)
    ends[1, :, :outputs] = factor.view(np.int32).reshape(groups, outputs)
    packed, constants = [], []
    for group in range(groups):
        first = 0
        for size in cut.quads:
            block = whole[group, first : first + size].transpose(2, 0, 1, 3)
            if not dot:
                # Pairs of inputs: the low half has the first pair of each output.
                block = block.reshape(tiled.lanes, size, 4, 2, 2).transpose(0, 1, 3, 2, 4)
            packed.append(block.ravel())
            constants.append(ends[:, group, 4 * first : 4 * (first + size)].ravel())
            first += size
    return np.concatenate(packed), np.concatenate(constants)


def emit_kernel(tiled: NeonConvSpec, unit: TranslationUnit, cut: TileCut) -> str:
    """The name of a function ``(x, w, b, [r,] y, begin, end)`` that computes some ``pieces``."""
    code = CWriter(depth=1)
    pixels_outside = tiled.lanes * 16 * tiled.quads * tiled.groups <= _L1_BYTES
    if pixels_outside and tiled.height > 1:
        with code.block("for (int i = begin; i < end; ++i)"):
            _groups(code, unit, tiled, cut, "i", rows=False)
    elif tiled.height > 1:
        _groups(code, unit, tiled, cut, "begin", rows=True)
    elif _blocks_are_independent(tiled, cut):
        _groups(code, unit, tiled, cut, "", rows=False)
    else:
        with code.block("if (begin < end)"):
            _groups(code, unit, tiled, cut, "", rows=False)
    return unit.kernel("conv", signature("LOOP", tiled, RANGE_PARAMS), code)


def work_items(tiled: NeonConvSpec, cut: TileCut) -> int:
    """What may be done at once: rows, or the blocks of all groups if there is one row."""
    if tiled.height > 1:
        return tiled.height
    return tiled.groups * len(cut.quads) if _blocks_are_independent(tiled, cut) else 1


def _blocks_are_independent(tiled: NeonConvSpec, cut: TileCut) -> bool:
    """Whether blocks are the pieces: there is one row, and none writes what is another's."""
    spills = 4 * tiled.quads > tiled.outputs and min(_signed_block_sizes(tiled, cut)) > 0
    return tiled.height == 1 and not (spills and tiled.groups > 1)


def _groups(
    code: CWriter, unit: TranslationUnit, tiled: NeonConvSpec, cut: TileCut, row: str, *, rows: bool
) -> None:
    """The blocks of all groups, one strip each, from row ``row`` on if there is more than one.

    With ``rows`` a strip is over those from ``begin`` to ``end``.
    """
    residual = tiled.epilogue.residual is not None
    x, y, r = (
        f" + {row} * {size}" if row else "" for size in (tiled.x_row, tiled.y_row, tiled.r_row)
    )
    apart = _blocks_are_independent(tiled, cut)
    element = 4 if tiled.epilogue.real else 1
    with code.block(f"for (int g = 0; g < {tiled.groups}; ++g)" if tiled.groups > 1 else ""):
        if tiled.groups == 1:
            code("const int g = 0;")
        if apart and tiled.groups > 1:
            each = len(cut.quads)
            code(f"const int first = begin - g * {each}, last = end - g * {each};")
        elif apart:
            code("const int first = begin, last = end;")
        first = done = 0
        for signed, times in run_lengths(_signed_block_sizes(tiled, cut)):
            exact, size = signed < 0, abs(signed)
            name = _channel_block(tiled, unit, cut, size, rows=rows, exact=exact)
            k = " + k * " if times > 1 else ""
            at = [
                f"x + g * {tiled.group_step}{x}",
                f"w + (g * {tiled.quads} + {first}) * {tiled.lanes * 16}"
                + (f"{k}{size * tiled.lanes * 16}" if k else ""),
                f"b + (g * {tiled.quads} + {first}) * 8" + (f"{k}{8 * size}" if k else ""),
            ]
            places = [f"y + (g * {tiled.outputs} + {4 * first}) * {element}{y}"]
            if residual:
                places.insert(0, f"r + g * {tiled.outputs} + {4 * first}{r}")
            at += [place + (f"{k}{4 * size * element}" if k else "") for place in places]
            if rows:
                at.append("end - begin")
            loop = f"for (int k = 0; k < {times}; ++k)" if k else ""
            if apart and k:
                some = [f"within({end} - {done}, {times})" for end in ("first", "last")]
                loop = f"for (int k = {some[0]}; k < {some[1]}; ++k)"
            elif apart:
                loop = f"if (first <= {done} && {done} < last)"
            with code.block(loop):
                code(f"{name}({', '.join(at)});")
            first += size * times
            done += times


def _signed_block_sizes(tiled: NeonConvSpec, cut: TileCut) -> tuple[int, ...]:
    """Sizes of blocks; negative is the last one where nothing behind its outputs may be written."""
    spilled = 4 * tiled.quads - tiled.outputs
    beside = tiled.groups > 1 and tiled.epilogue.residual is not None
    if spilled and (tiled.room < spilled or beside):
        return (*cut.quads[:-1], -cut.quads[-1])
    return cut.quads


def _channel_block(
    tiled: NeonConvSpec, unit: TranslationUnit, cut: TileCut, quads: int, *, rows: bool, exact: bool
) -> str:
    """One block of channels over all pixels of a row, or of so many rows."""
    code = CWriter(depth=1)
    residual = tiled.epilogue.residual is not None
    if rows:
        with code.block("for (int i = 0; i < rows; ++i)"):
            code(f"const int8_t *x = x0 + i * {tiled.x_row};")
            code(f"int8_t *y = y0 + i * {tiled.y_row};")
            if residual:
                code(f"const int8_t *r = r0 + i * {tiled.r_row};")
            _pixel_loop(code, tiled, unit, cut, quads, exact=exact)
    else:
        _pixel_loop(code, tiled, unit, cut, quads, exact=exact)
    declared = signature("LOOP", tiled, ", int rows" if rows else "")
    if rows:
        declared = declared.replace("*x,", "*x0,").replace("*y,", "*y0,").replace("*r,", "*r0,")
    return unit.kernel("strip", declared, code)


def _pixel_loop(
    code: CWriter,
    tiled: NeonConvSpec,
    unit: TranslationUnit,
    cut: TileCut,
    quads: int,
    *,
    exact: bool,
) -> None:
    residual = tiled.epilogue.residual is not None
    for at, (size, times) in enumerate(cut.pixels):
        name = emit_microkernel(tiled, unit, quads, size, exact=exact)
        r = "r, " if residual else ""
        step = f"x += {size * tiled.x_pixel}, y += {size * tiled.y_pixel}"
        if residual:
            step += f", r += {size * tiled.r_pixel}"
        if times > 1:
            code(f"for (int p = 0; p < {times}; ++p, {step})", f"    {name}(x, w, b, {r}y);")
        else:
            code(f"{name}(x, w, b, {r}y);")
            if at + 1 < len(cut.pixels):
                code(f"{step};")


def choose_cut(tiled: NeonConvSpec, unit: TranslationUnit) -> TileCut:
    """The cut of this convolution on the unit's machine."""
    return choose_tiles(tiled.work(dot=unit.machine.dot), tiled.quads, tiled.width)
