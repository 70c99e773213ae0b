"""int8 pooling on x86, a vector of channels at a time."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.int8_unit import Int8Unit, row_loop
from shufflenet_deploy.codegen.emit.kernel_calls import RANGE_PARAMS
from shufflenet_deploy.codegen.emit.pool_spec import PoolSpec
from shufflenet_deploy.codegen.emit.unit import TranslationUnit, float_literal
from shufflenet_deploy.codegen.emit.x86.int8_store import emit_store

_UNROLL = 4  # outputs that share their columns
#: Loading, maximum and storing of pixels of so many bytes.
_INTRINSICS_BY_PIXEL_BYTES = {
    16: ("_mm_loadu_si128", "_mm_max_epu8", "_mm_storeu_si128"),
    32: ("_mm256_loadu_si256", "_mm256_max_epu8", "_mm256_storeu_si256"),
}
_MAX_UNROLLED_WINDOW = 40  # pixels of a window above which nothing is shared
_MAX_INT16_PIXELS = 256  # whose sums fit 16 bits


def emit_kernel(spec: PoolSpec, unit: Int8Unit) -> tuple[str, tuple[str, ...]]:
    """Emit ``(x, y, begin, end)`` over a range of rows; returns its name and scratch arguments."""
    size = 4 * unit.cpu.lanes
    small = 16 <= spec.x_pixel < size and spec.channels + spec.overwrite_slack >= spec.x_pixel
    if small and spec.average is None and spec.x_pixel in _INTRINSICS_BY_PIXEL_BYTES:
        return _small_pixel_max(spec, unit)
    whole, rest = divmod(spec.channels, size)
    code = CWriter(depth=1)
    before, rows = row_loop({"x": spec.stride[0] * spec.x_row, "y": spec.y_row})
    code(before)
    with code.block(rows):
        if whole:
            code(f"for (int c = 0; c < {whole}; ++c)")
            code(f"    {_row(spec, unit, size)}(x + {size} * c, y + {size} * c);")
        if rest:
            code(f"{_row(spec, unit, rest)}(x + {size * whole}, y + {size * whole});")
    head = f"LOOP void @(const byte *restrict x, byte *restrict y{RANGE_PARAMS})"
    return unit.kernel("maxpool" if spec.average is None else "avgpool", head, code), ()


def _small_pixel_max(spec: PoolSpec, unit: Int8Unit) -> tuple[str, tuple[str, ...]]:
    """Max pool of narrow pixels, several to a vector: separable, rows first."""
    size, pixel = 4 * unit.cpu.lanes, spec.x_pixel
    span = ((spec.width - 1) * spec.stride[1] + spec.kernel[1]) * pixel
    memory = unit.thread_scratch(ceil(span / size) * size)
    load, most, stored = _INTRINSICS_BY_PIXEL_BYTES[pixel]
    code = CWriter(depth=1)
    before, rows = row_loop({"x": spec.stride[0] * spec.x_row, "y": spec.y_row})
    code(before)
    with code.block(rows):
        with code.block(f"for (int k = 0; k < {span}; k += {size})"):
            code("vec v = LOAD(x + k);")
            for row in range(1, spec.kernel[0]):
                code(f"v = OP(max_epu8)(v, LOAD(x + k + {row * spec.x_row}));")
            code("STORE(line + k, v);")
        with code.block(f"for (int j = 0; j < {spec.width}; ++j)"):
            code(f"const byte *from = line + j * {spec.stride[1] * pixel};")
            value = f"{load}((const void *)from)"
            for column in range(1, spec.kernel[1]):
                value = f"{most}({value}, {load}((const void *)(from + {column * pixel})))"
            code(f"{stored}((void *)(y + j * {spec.y_pixel}), {value});")
    head = (
        f"LOOP void @(const byte *restrict x, byte *restrict y, byte *restrict line{RANGE_PARAMS})"
    )
    return unit.kernel("maxpool_narrow", head, code), (memory,)


def _row(spec: PoolSpec, unit: TranslationUnit, count: int) -> str:
    """A vector of channels of an output row."""
    code = CWriter(depth=1)
    rows, columns = spec.kernel
    if spec.average is not None:
        start, multiplier = (
            f"OP(set1_epi16)({x})" for x in (spec.average.start, spec.average.multiplier)
        )
        code(f"const vec start = {start}, factor = {multiplier};")
    at_once = min(_UNROLL if rows * columns <= _MAX_UNROLLED_WINDOW else 1, spec.width)
    times, rest = divmod(spec.width, at_once)
    walk = f"x += {at_once * spec.stride[1] * spec.x_pixel}, y += {at_once * spec.y_pixel}"
    with code.block(f"for (int j = 0; j < {times}; ++j, {walk})" if times > 1 else ""):
        _outputs(code, spec, unit.cpu.lanes, at_once, count)
    if rest:
        if times == 1:
            code(f"{walk};")
        _outputs(code, spec, unit.cpu.lanes, rest, count)
    head = "LOOP void @(const byte *restrict x, byte *restrict y)"
    return unit.kernel("pool_row", head, code)


def _outputs(code: CWriter, spec: PoolSpec, lanes: int, outputs: int, count: int) -> None:
    """Neighbouring outputs, sharing the columns of pixels that they have in common."""
    width = spec.kernel[1]
    used: set[int] = set()
    with code.block(""):
        for at in range(outputs):
            first = at * spec.stride[1]
            own = range(first, first + width)
            for column in own:
                if column not in used:
                    used.add(column)
                    _column(code, spec, column)
            if spec.average is None:
                code(f"vec v{at} = c{own[0]};")
                code(*(f"v{at} = OP(max_epu8)(v{at}, c{column});" for column in own[1:]))
            else:
                _mean(code, spec.average.left_shift, at, own)
            emit_store(
                code,
                lanes,
                f"y + {at * spec.y_pixel}",
                f"v{at}",
                count,
                most=count + spec.overwrite_slack,
            )


def _column(code: CWriter, spec: PoolSpec, column: int) -> None:
    at = [f"LOAD(x + {row * spec.x_row + column * spec.x_pixel})" for row in range(spec.kernel[0])]
    if spec.average is None:
        code(f"vec c{column} = {at[0]};")
        code(*(f"c{column} = OP(max_epu8)(c{column}, {one});" for one in at[1:]))
        return
    code(f"vec l{column} = ZERO, h{column} = ZERO;")
    for load in at:
        with code.block(""):
            code(f"const vec x0 = {load};")
            for half, part in (("l", "lo"), ("h", "hi")):
                words = f"OP(unpack{part}_epi8)(x0, ZERO)"
                code(f"{half}{column} = OP(add_epi16)({half}{column}, {words});")


def _mean(code: CWriter, up: int, at: int, columns: range) -> None:
    halves = []
    for half in "lh":
        total = "start"
        for column in columns:
            total = f"OP(add_epi16)({total}, {half}{column})"
        if up:
            total = f"OP(slli_epi16)({total}, {up})"
        halves.append(f"ROUNDED({total}, factor)")
    code(f"const vec v{at} = OP(packus_epi16)({halves[0]}, {halves[1]});")


@dataclass(frozen=True, kw_only=True)
class GlobalAverageSpec:
    """The mean of each channel over all pixels."""

    channels: int
    height: int
    width: int
    x_pixel: int
    x_row: int
    start: int
    multiplier: float
    overwrite_slack: int = 0


def global_average_kernel(spec: GlobalAverageSpec, unit: TranslationUnit) -> str:
    """Emit ``(x, y)``."""
    lanes = unit.cpu.lanes
    size = 4 * lanes
    code = CWriter(depth=1)
    merged = spec.x_row == spec.width * spec.x_pixel
    rows, width = (1, spec.height * spec.width) if merged else (spec.height, spec.width)
    whole, rest = divmod(spec.channels, size)
    for count, times in ((size, whole), (rest, 1 if rest else 0)):
        if not times:
            continue
        with code.block(f"for (int c = 0; c < {times}; ++c, x += {size}, y += {size})"):
            code(f"vec {', '.join(f'a{at} = OP(set1_epi32)({spec.start})' for at in range(4))};")
            with code.block(f"for (int i = 0; i < {rows}; ++i)"):
                code(f"const byte *from = x + i * {spec.x_row};")
                with code.block(f"for (int j = 0; j < {width}; j += {_MAX_INT16_PIXELS})"):
                    _some_pixels(code, spec, width)
            code(f"const reals m = OP(set1_ps)({float_literal(spec.multiplier)});")
            scaled = ", ".join(f"SCALE(a{at}, m)" for at in range(4))
            code(f"const vec bytes = PACK({scaled});")
            emit_store(code, lanes, "y", "bytes", count, most=count + spec.overwrite_slack)
    head = "LOOP void @(const byte *restrict x, byte *restrict y)"
    return unit.kernel("gavgpool", head, code)


def _some_pixels(code: CWriter, spec: GlobalAverageSpec, width: int) -> None:
    """Add pixels from ``j`` on to four vectors of int32."""
    code(
        f"const int count = {width} - j < {_MAX_INT16_PIXELS} ? {width} - j : {_MAX_INT16_PIXELS};"
    )
    code("vec l = ZERO, h = ZERO;")
    with code.block(f"for (int p = 0; p < count; ++p, from += {spec.x_pixel})"):
        code("const vec v = LOAD(from);")
        code("l = OP(add_epi16)(l, OP(unpacklo_epi8)(v, ZERO));")
        code("h = OP(add_epi16)(h, OP(unpackhi_epi8)(v, ZERO));")
    for at in range(4):
        words = f"OP(unpack{('lo', 'hi')[at % 2]}_epi16)({'lh'[at // 2]}, ZERO)"
        code(f"a{at} = OP(add_epi32)(a{at}, {words});")
