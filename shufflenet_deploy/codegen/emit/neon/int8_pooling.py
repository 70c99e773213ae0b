"""int8 pooling on NEON, sixteen channels at a time."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.int8_unit import row_loop
from shufflenet_deploy.codegen.emit.kernel_calls import RANGE_PARAMS
from shufflenet_deploy.codegen.emit.neon.int8_store import emit_store, narrow_expr
from shufflenet_deploy.codegen.emit.pool_spec import AverageConstants, PoolSpec
from shufflenet_deploy.codegen.emit.unit import TranslationUnit

_CHANNELS = 16
_UNROLL = 4  # outputs that share their columns
_MAX_UNROLLED_WINDOW = 40  # pixels of a window above which nothing is written out


def emit_kernel(spec: PoolSpec, unit: TranslationUnit) -> str:
    """Emit ``(x, y, begin, end)`` over a range of rows."""
    blocks = ceil(spec.channels / _CHANNELS)
    exact = spec.channels - (blocks - 1) * _CHANNELS
    if spec.overwrite_slack >= blocks * _CHANNELS - spec.channels:
        exact = _CHANNELS
    whole = blocks if exact == _CHANNELS else blocks - 1
    code = CWriter(depth=1)
    before, rows = row_loop({"x": spec.stride[0] * spec.x_row, "y": spec.y_row})
    code(before)
    with code.block(rows):
        if whole:
            code(f"for (int c = 0; c < {whole}; ++c)")
            code(f"    {_row(spec, unit, _CHANNELS)}(x + 16 * c, y + 16 * c);")
        if whole < blocks:
            code(f"{_row(spec, unit, exact)}(x + {16 * whole}, y + {16 * whole});")
    head = f"LOOP void @(const int8_t *restrict x, int8_t *restrict y{RANGE_PARAMS})"
    return unit.kernel("maxpool" if spec.average is None else "avgpool", head, code)


def _row(spec: PoolSpec, unit: TranslationUnit, count: int) -> str:
    """Sixteen channels of an output row."""
    code = CWriter(depth=1)
    rows, columns = spec.kernel
    if spec.average is not None:
        code(f"const int16x8_t start = vdupq_n_s16({spec.average.start});")
    at_once = min(_UNROLL if rows * columns <= _MAX_UNROLLED_WINDOW else 1, spec.width)
    times, rest = divmod(spec.width, at_once)
    walk = f"x += {at_once * spec.stride[1] * spec.x_pixel}, y += {at_once * spec.y_pixel}"
    with code.block(f"for (int j = 0; j < {times}; ++j, {walk})" if times > 1 else ""):
        _outputs(code, spec, at_once, count)
    if rest:
        if times == 1:
            code(f"{walk};")
        _outputs(code, spec, rest, count)
    head = "LOOP void @(const int8_t *restrict x, int8_t *restrict y)"
    return unit.kernel("pool_row", head, code)


def _outputs(code: CWriter, spec: PoolSpec, outputs: int, count: int) -> None:
    """Neighbouring outputs, sharing the columns of pixels that they have in common."""
    width = spec.kernel[1]
    used: set[int] = set()
    with code.block(""):
        for at in range(outputs):
            first = at * spec.stride[1]
            for column in range(first, first + width):
                if column not in used:
                    used.add(column)
                    _column(code, spec, column)
            own = range(first, first + width)
            if spec.average is None:
                code(f"int8x16_t v{at} = c{own[0]};")
                code(*(f"v{at} = vmaxq_s8(v{at}, c{column});" for column in own[1:]))
            else:
                _mean(code, spec.average, at, own)
            emit_store(code, "y", f"v{at}", at * spec.y_pixel, count)


def _column(code: CWriter, spec: PoolSpec, column: int) -> None:
    rows = spec.kernel[0]
    at = [f"vld1q_s8(x + {row * spec.x_row + column * spec.x_pixel})" for row in range(rows)]
    if spec.average is None:
        code(f"int8x16_t c{column} = {at[0]};")
        code(*(f"c{column} = vmaxq_s8(c{column}, {one});" for one in at[1:]))
        return
    code(f"int16x8_t l{column}, h{column};")
    with code.block(""):
        code(*(f"const int8x16_t x{row} = {one};" for row, one in enumerate(at)))
        low, high = f"l{column}", f"h{column}"
        if rows == 1:
            code(f"{low} = vmovl_s8(vget_low_s8(x0)), {high} = vmovl_high_s8(x0);")
        else:
            both = "vaddl_s8(vget_low_s8(x0), vget_low_s8(x1))"
            code(f"{low} = {both}, {high} = vaddl_high_s8(x0, x1);")
        for row in range(2, rows):
            sums = f"{low} = vaddw_s8({low}, vget_low_s8(x{row}))"
            code(f"{sums}, {high} = vaddw_high_s8({high}, x{row});")


def _mean(code: CWriter, average: AverageConstants, at: int, columns: range) -> None:
    halves = []
    for half in "lh":
        total = "start"
        for column in columns:
            total = f"vaddq_s16({total}, {half}{column})"
        if average.left_shift:
            total = f"vshlq_n_s16({total}, {average.left_shift})"
        halves.append(f"vqrdmulhq_n_s16({total}, {average.multiplier})")
    code(f"const int8x16_t v{at} = vqmovn_high_s16(vqmovn_s16({halves[0]}), {halves[1]});")


@dataclass(frozen=True, kw_only=True)
class GlobalAverageSpec:
    """The mean of each channel: ``sat8(sat16(round(sqrdmulh(start + sum, m), shift)))``."""

    channels: int
    height: int
    width: int
    x_pixel: int
    x_row: int
    start: int
    multiplier: int
    shift: int


def global_average_kernel(spec: GlobalAverageSpec, unit: TranslationUnit) -> str:
    """Emit ``(x, y)``; whole blocks of sixteen channels are stored."""
    code = CWriter(depth=1)
    merged = spec.x_row == spec.width * spec.x_pixel
    rows, width = (1, spec.height * spec.width) if merged else (spec.height, spec.width)
    with code.block(
        f"for (int c = 0; c < {ceil(spec.channels / _CHANNELS)}; ++c, x += 16, y += 16)"
    ):
        code(*(f"int32x4_t a{i} = vdupq_n_s32({spec.start});" for i in range(4)))
        # A hundred and twenty-eight pixels fit 16 bits.
        with code.block(f"for (int i = 0; i < {rows}; ++i)"):
            with code.block(f"for (int j = 0; j < {width}; j += 128)"):
                code(f"const int8_t *from = x + i * {spec.x_row} + j * {spec.x_pixel};")
                code(f"const int count = {width} - j < 128 ? {width} - j : 128;")
                code("int16x8_t l = vdupq_n_s16(0), h = l;")
                with code.block(f"for (int p = 0; p < count; ++p, from += {spec.x_pixel})"):
                    code("const int8x16_t v = vld1q_s8(from);")
                    code("l = vaddw_s8(l, vget_low_s8(v)), h = vaddw_high_s8(h, v);")
                code("a0 = vaddw_s16(a0, vget_low_s16(l)), a1 = vaddw_high_s16(a1, l);")
                code("a2 = vaddw_s16(a2, vget_low_s16(h)), a3 = vaddw_high_s16(a3, h);")
        code(f"const int32x4_t m = vdupq_n_s32({spec.multiplier});")
        code(f"const int16x8_t one = {narrow_expr('a0, m', 'a1, m', spec.shift)};")
        code(f"const int16x8_t two = {narrow_expr('a2, m', 'a3, m', spec.shift)};")
        code("vst1q_s8(y, vqmovn_high_s16(vqmovn_s16(one), two));")
    head = "LOOP void @(const int8_t *restrict x, int8_t *restrict y)"
    return unit.kernel("gavgpool", head, code)
