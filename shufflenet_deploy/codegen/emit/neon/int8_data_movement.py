"""int8 data movement on NEON: input quantization, channel shuffle, padding."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import ceil

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.int8_unit import row_loop
from shufflenet_deploy.codegen.emit.kernel_calls import RANGE_PARAMS
from shufflenet_deploy.codegen.emit.unit import TranslationUnit, float_literal

_REGISTERS_OF_A_TABLE = 4
#: Groups whose channels one instruction stores by turns.
_STRUCTURES = (2, 3, 4)


@dataclass(frozen=True, kw_only=True)
class QuantizeSpec:
    """An fp32 image, channels first, as ``sat8(sat16(round(x * inverse)) + zero_point)``.

    Pixels are four bytes; bytes of missing channels are 0.
    """

    channels: int
    height: int
    width: int
    y_row: int
    inverse: float
    zero_point: int


def quantize_kernel(spec: QuantizeSpec, unit: TranslationUnit) -> str:
    """Emit ``(const float *x, int8_t *y, begin, end)`` over a range of rows."""
    code = CWriter(depth=1)
    plane = spec.height * spec.width
    whole = spec.width // 16 * 16
    if whole:
        code(f"const int16x8_t zero = vdupq_n_s16({spec.zero_point});")
    before, rows = row_loop({"x": spec.width, "y": spec.y_row})
    code(before)
    with code.block(rows):
        if whole:
            with code.block(f"for (int j = 0; j < {whole}; j += 16)"):
                _quantize_16(code, spec, plane)
        if spec.width > whole and whole:
            with code.block(""):
                code(f"const int j = {spec.width - 16};")
                _quantize_16(code, spec, plane)
        elif spec.width > whole:
            with code.block(f"for (int j = 0; j < {spec.width}; ++j)"):
                inverse = float_literal(spec.inverse)
                for c in range(4):
                    value = f"quantize_8(x[{c * plane} + j] * {inverse}, {spec.zero_point})"
                    code(f"y[4 * j + {c}] = {value if c < spec.channels else 0};")
    head = f"LOOP void @(const float *restrict x, int8_t *restrict y{RANGE_PARAMS})"
    return unit.kernel("quantize", head, code)


def _quantize_16(code: CWriter, spec: QuantizeSpec, plane: int) -> None:
    code("int8x16x4_t v;")
    for c in range(4):
        if c >= spec.channels:
            code(f"v.val[{c}] = vdupq_n_s8(0);")
            continue
        with code.block(""):
            code(f"const float *p = x + {c * plane} + j;")
            for k in range(4):
                code(
                    f"const int32x4_t q{k} = vcvtnq_s32_f32("
                    f"vmulq_n_f32(vld1q_f32(p + {4 * k}), {float_literal(spec.inverse)}));"
                )
            for k in range(2):
                code(
                    f"const int16x8_t h{k} = vqaddq_s16("
                    f"vqmovn_high_s32(vqmovn_s32(q{2 * k}), q{2 * k + 1}), zero);"
                )
            code(f"v.val[{c}] = vqmovn_high_s16(vqmovn_s16(h0), h1);")
    code("vst4q_s8(y + 4 * j, v);")


@dataclass(frozen=True, kw_only=True)
class ShuffleSpec:
    """Dense pixels, ``x_pixel`` bytes apart, stored with their channels shuffled."""

    channels: int
    groups: int
    height: int
    width: int
    x_pixel: int
    y_pixel: int
    y_row: int


def shuffle_kernel(spec: ShuffleSpec, unit: TranslationUnit) -> str:
    """Emit ``(x, y)``; bytes up to the end of a pixel's last vector may be stored."""
    each = spec.channels // spec.groups
    source = [(o % spec.groups) * each + o // spec.groups for o in range(spec.channels)]
    vectors = ceil(spec.channels / 16)
    code = CWriter(depth=1)
    if vectors <= _REGISTERS_OF_A_TABLE:
        for v in range(vectors):
            code(f"const uint8x16_t t{v} = {_table(source[16 * v : 16 * v + 16])};")
        with _pixels(code, spec):
            loads = [f"vld1q_s8(x + {16 * v})" for v in range(vectors)]
            kind = f"int8x16x{vectors}_t" if vectors > 1 else "int8x16_t"
            code(
                f"const {kind} p = {{{{{', '.join(loads)}}}}};"
                if vectors > 1
                else f"const {kind} p = {loads[0]};"
            )
            for v in range(vectors):
                code(f"vst1q_s8(to + {16 * v}, vqtbl{vectors}q_s8(p, t{v}));")
            code(f"x += {spec.x_pixel};")
    elif spec.groups in _STRUCTURES:
        _interleaved(code, spec, each)
    else:
        code("const int8_t *const first = x;")
        for v in range(vectors):
            _gathered(code, spec, source, v, each)
    return unit.kernel("shuffle", "LOOP void @(const int8_t *restrict x, int8_t *restrict y)", code)


def _pixels(code: CWriter, spec: ShuffleSpec) -> AbstractContextManager[None]:
    code(f"for (int i = 0; i < {spec.height}; ++i)")
    return code.block(
        f"    for (int8_t *to = y + i * {spec.y_row}, *end = to + {spec.width * spec.y_pixel}; "
        f"to != end; to += {spec.y_pixel})"
    )


def _interleaved(code: CWriter, spec: ShuffleSpec, each: int) -> None:
    """Sixteen channels of every group at a time, by structure stores; the last may overlap."""
    kind = f"int8x16x{spec.groups}_t"
    with _pixels(code, spec):
        for start in dict.fromkeys([*range(0, each - 15, 16), each - 16]):
            loads = [f"vld1q_s8(x + {group * each + start})" for group in range(spec.groups)]
            code(f"const {kind} p{start} = {{{{{', '.join(loads)}}}}};")
            code(f"vst{spec.groups}q_s8(to + {spec.groups * start}, p{start});")
        code(f"x += {spec.x_pixel};")


def _gathered(code: CWriter, spec: ShuffleSpec, source: list[int], v: int, each: int) -> None:
    """One output vector by table lookups in as many loads as groups contribute to it."""
    wanted = source[16 * v : 16 * v + 16]
    starts = sorted(
        {min(s for s in wanted if s // each == group) for group in {s // each for s in wanted}}
    )
    parts = [
        starts[k : k + _REGISTERS_OF_A_TABLE] for k in range(0, len(starts), _REGISTERS_OF_A_TABLE)
    ]
    with code.block(""):
        code("x = first;")
        for k, part in enumerate(parts):
            table = [255] * 16
            for lane, s in enumerate(wanted):
                for n, start in enumerate(part):
                    if s // each == start // each:
                        table[lane] = 16 * n + s - start
            code(f"const uint8x16_t t{k} = {_table(table)};")
        with _pixels(code, spec):
            for k, part in enumerate(parts):
                loads = [f"vld1q_s8(x + {start})" for start in part]
                n = len(part)
                kind = f"int8x16x{n}_t" if n > 1 else "int8x16_t"
                code(
                    f"const {kind} p{k} = {{{{{', '.join(loads)}}}}};"
                    if n > 1
                    else f"const {kind} p{k} = {loads[0]};"
                )
                if k == 0:
                    code(f"int8x16_t v = vqtbl{n}q_s8(p0, t0);")
                else:
                    code(f"v = vqtbx{n}q_s8(v, p{k}, t{k});")
            code(f"vst1q_s8(to + {16 * v}, v);", f"x += {spec.x_pixel};")


def _table(lanes: list[int]) -> str:
    lanes = lanes + [0] * (16 - len(lanes))
    return f"(uint8x16_t){{{', '.join(map(str, lanes))}}}"


@dataclass(frozen=True, kw_only=True)
class PaddingSpec:
    """A border that gets ``value``; ``y`` is the first pixel inside."""

    top: int
    left: int
    bottom: int
    right: int
    height: int
    width: int
    pixel_stride: int
    row_stride: int
    value: int


def padding_kernel(spec: PaddingSpec, unit: TranslationUnit) -> str:
    """Emit ``(y)``. Rows follow each other, border included."""
    code = CWriter(depth=1)
    before = spec.top * spec.row_stride + spec.left * spec.pixel_stride
    between = spec.row_stride - spec.width * spec.pixel_stride
    if before:
        code(f"memset(y - {before}, {spec.value}, {before});")
    if between and spec.height > 1:
        with code.block(f"for (int i = 1; i < {spec.height}; ++i)"):
            code(f"memset(y + i * {spec.row_stride} - {between}, {spec.value}, {between});")
    after = spec.bottom * spec.row_stride + spec.right * spec.pixel_stride
    if after:
        end = (spec.height - 1) * spec.row_stride + spec.width * spec.pixel_stride
        code(f"memset(y + {end}, {spec.value}, {after});")
    return unit.kernel("pad", "LOOP void @(int8_t *y)", code)
