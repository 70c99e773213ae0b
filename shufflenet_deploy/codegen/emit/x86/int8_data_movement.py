"""int8 data movement on x86: input quantization, channel shuffle, widening to 16 bits."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.int8_unit import row_loop
from shufflenet_deploy.codegen.emit.kernel_calls import RANGE_PARAMS
from shufflenet_deploy.codegen.emit.unit import TranslationUnit, float_literal


@dataclass(frozen=True, kw_only=True)
class QuantizeSpec:
    """An fp32 image, channels first, as bytes of ``round(x * inverse) + zero_point``.

    Pixels are four bytes; those of missing channels are undefined. ``width`` is at least the lanes
    of a vector.
    """

    channels: int
    height: int
    width: int
    y_row: int
    inverse: float
    zero_point: int


def quantize_kernel(spec: QuantizeSpec, unit: TranslationUnit) -> str:
    """Emit ``(const float *x, byte *y, begin, end)`` over a range of rows."""
    lanes = unit.cpu.lanes
    code = CWriter(depth=1)
    plane = spec.height * spec.width
    whole = spec.width // lanes * lanes
    code(f"const vec zero = OP(set1_epi16)({spec.zero_point});")
    code(
        f"const reals inverse = OP(set1_ps)({float_literal(spec.inverse)}), "
        "most = OP(set1_ps)(32767.0f);"
    )
    before, rows = row_loop({"x": spec.width, "y": spec.y_row})
    code(before)
    with code.block(rows):
        with code.block(f"for (int j = 0; j < {whole}; j += {lanes})"):
            _pixels(code, spec, plane)
        if spec.width > whole:
            with code.block(""):
                code(f"const int j = {spec.width - lanes};")
                _pixels(code, spec, plane)
    head = f"LOOP void @(const float *restrict x, byte *restrict y{RANGE_PARAMS})"
    return unit.kernel("quantize", head, code)


def _pixels(code: CWriter, spec: QuantizeSpec, plane: int) -> None:
    for c in range(4):
        if c < spec.channels:
            steps = f"OP(mul_ps)(REALS(x + {c * plane} + j), inverse)"
            code(f"const vec q{c} = OP(cvtps_epi32)(OP(min_ps)({steps}, most));")
        else:
            code(f"const vec q{c} = q{spec.channels - 1};")
    halves = [f"OP(adds_epi16)(OP(packs_epi32)(q{c}, q{c + 1}), zero)" for c in (0, 2)]
    code(f"STORE(y + 4 * j, PIXELS(OP(packus_epi16)({halves[0]}, {halves[1]})));")


def widen_kernel(unit: TranslationUnit) -> str:
    """Emit ``(x, y, begin, end)``, which widens bytes to 16 bits.

    A work item is half a vector of them.
    """
    spec = 2 * unit.cpu.lanes
    code = CWriter(depth=1)
    code(f"for (int i = begin * {spec}; i < end * {spec}; i += {spec})")
    code("    STORE(y + 2 * i, WIDE(x + i));")
    head = f"LOOP void @(const byte *restrict x, byte *restrict y{RANGE_PARAMS})"
    return unit.kernel("widen", head, code)


@dataclass(frozen=True, kw_only=True)
class ShuffleSpec:
    """Dense pixels, ``x_pixel`` bytes apart, stored with their channels shuffled.

    ``overwrite_slack`` bytes after a pixel's channels may be overwritten.
    """

    channels: int
    groups: int
    height: int
    width: int
    x_pixel: int
    y_pixel: int
    y_row: int
    overwrite_slack: int = 0


def shuffle_kernel(spec: ShuffleSpec, unit: TranslationUnit) -> str:
    """Emit ``(x, y)``."""
    each = spec.channels // spec.groups
    source = [(o % spec.groups) * each + o // spec.groups for o in range(spec.channels)]
    code = CWriter(depth=1)
    vectors = ceil(spec.channels / 16)
    picked = unit.cpu.lanes > 4 and spec.channels + spec.overwrite_slack >= 16 * vectors
    if not picked:
        code(f"static const short from[] = {{{', '.join(map(str, source))}}};")
    with (
        code.block(f"for (int i = 0; i < {spec.height}; ++i, y += {spec.y_row})"),
        code.block(
            f"for (byte *to = y, *end = y + {spec.width * spec.y_pixel}; to != end; "
            f"to += {spec.y_pixel}, x += {spec.x_pixel})"
        ),
    ):
        if picked:
            for v in range(vectors):
                _gathered(code, source[16 * v : 16 * v + 16], each, v)
        else:
            code(f"for (int c = 0; c < {spec.channels}; ++c)", "    to[c] = x[from[c]];")
    return unit.kernel("shuffle", "LOOP void @(const byte *restrict x, byte *restrict y)", code)


def _gathered(code: CWriter, wanted: list[int], each: int, v: int) -> None:
    """Sixteen outputs by byte permutes of as many loads as groups contribute to them."""
    starts: dict[int, int] = {}
    for s in wanted:
        starts.setdefault(s // each, s)
    with code.block(""):
        for at, (group, start) in enumerate(starts.items()):
            table = [s - start if s // each == group else -1 for s in wanted]
            table += [-1] * (16 - len(table))
            code(f"const __m128i t{at} = _mm_setr_epi8({', '.join(map(str, table))});")
            one = f"PICK(x + {start}, t{at})"
            code(f"__m128i v = {one};" if at == 0 else f"v = _mm_or_si128(v, {one});")
        code(f"_mm_storeu_si128((void *)(to + {16 * v}), v);")
