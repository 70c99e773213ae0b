"""int8 depthwise 3x3 on NEON, sixteen channels at a time along a row of pixels.

With SDOT the three pixels of a column are interleaved so that each channel's taps are one lane; a
column serves three outputs. Without it pairs of taps are: two pairs of products fit 16 bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.neon.int8_dwconv_blocks import (
    DwconvSpec,
    emit_blocks,
    pack_blocks,
)
from shufflenet_deploy.codegen.emit.neon.int8_store import emit_store, narrow_expr
from shufflenet_deploy.codegen.emit.unit import TranslationUnit
from shufflenet_deploy.codegen.ir.int8 import Multipliers

_CHANNELS = 16
#: Vectors of a block before its biases: (columns x quads) with dot products, pairs x halves else.
_DOT_VECTORS, _PAIR_VECTORS = 12, 10


def pack_weights(
    weight: NDArray[np.int8], bias: NDArray[np.int32], multiplier: Multipliers, *, dot_product: bool
) -> NDArray[np.int8]:
    """Pack ``weight (channels, 9)``, biases and multipliers in blocks of sixteen channels."""

    def lanes(taps: NDArray[np.int8]) -> NDArray[np.int8]:
        if dot_product:
            found = np.zeros((3, _CHANNELS, 4), np.int8)
            found[:, :, :3] = taps.transpose(2, 0, 1)
            return found
        found = np.zeros((5, _CHANNELS, 2), np.int8)
        found[:3] = taps[:, :2].transpose(2, 0, 1)
        found[3] = taps[:, 2, :2]
        found[4, :, 0] = taps[:, 2, 2]
        return found

    return pack_blocks(weight, bias, multiplier, _CHANNELS, lanes)


def emit_kernel(spec: DwconvSpec, unit: TranslationUnit) -> str:
    """Emit ``(x, w, y, begin, end)`` over a range of rows."""
    vectors = _DOT_VECTORS if unit.cpu.dot_product else _PAIR_VECTORS
    return emit_blocks(
        spec,
        unit,
        name="dwconv3x3",
        block=_CHANNELS,
        block_bytes=16 * vectors + 2 * 4 * _CHANNELS,
        emit_block=_channel_block,
    )


def _channel_block(spec: DwconvSpec, unit: TranslationUnit, count: int) -> str:
    """Sixteen channels of so many rows; the first ``count`` are stored."""
    dot_product = unit.cpu.dot_product
    vectors = _DOT_VECTORS if dot_product else _PAIR_VECTORS
    code = CWriter(depth=1)
    code(*(f"const int8x16_t w{i} = vld1q_s8(w + {16 * i});" for i in range(vectors)))
    code(f"const int32_t *b = (const int32_t *)(const void *)(w + {16 * vectors});")
    period = 3 if spec.stride == 1 else 2
    down = f"x += {spec.stride * spec.x_row}, y += {spec.y_row}"
    with code.block(f"for (int i = 0; i < rows; ++i, {down})"):
        code("const int8_t *from = x;", "int8_t *to = y;")
        columns = _ColumnRegisters(spec, code, dot_product=dot_product)
        columns.begin()
        times, rest = divmod(spec.width, period)
        if times > 1:
            walk = f"from += {period * spec.stride * spec.x_pixel}, to += {period * spec.y_pixel}"
            head = f"for (int j = 0; j < {times}; ++j, {walk})"
        else:
            head = ""
            if not times:
                period, rest = rest, 0
        with code.block(head):
            for at in range(period):
                columns.output(at, count)
        if rest and times == 1:
            code(f"from += {period * spec.stride * spec.x_pixel}, to += {period * spec.y_pixel};")
        for at in range(rest):
            columns.output(at, count)
    head = "const int8_t *restrict x, const int8_t *restrict w, int8_t *restrict y, int rows"
    return unit.kernel("dwconv3x3_c16", f"LOOP void @({head})", code)


class _ColumnRegisters:
    """Register rotation of pixel columns along a row of outputs."""

    def __init__(self, spec: DwconvSpec, code: CWriter, *, dot_product: bool) -> None:
        self.spec = spec
        self.code = code
        self.dot_product = dot_product

    def begin(self) -> None:
        """Load the columns that the first output shares with the padding before it."""
        kind, parts = ("int32x4_t", 4) if self.dot_product else ("int8x16_t", 3)
        self.code(*(f"{kind} c{slot}_{q};" for slot in range(3) for q in range(parts)))
        for column in range(2 if self.spec.stride == 1 else 1):
            self._load(column, column)

    def output(self, at: int, count: int) -> None:
        """Emit output ``at``, counted from where ``from`` and ``to`` stand."""
        if self.spec.stride == 1:
            slots = [(at + column) % 3 for column in range(3)]
            self._load(slots[2], at + 2)
        else:
            slots = [0, 1, 2] if at % 2 == 0 else [2, 1, 0]
            self._load(slots[1], 2 * at + 1)
            self._load(slots[2], 2 * at + 2)
        code = self.code
        with code.block(""):
            code(
                "int32x4_t a0, a1, a2, a3;", "LOAD_PAIR(a0, a1, b, 0);", "LOAD_PAIR(a2, a3, b, 32);"
            )
            if self.dot_product:
                for column in range(3):
                    for quad in range(4):
                        x = f"vreinterpretq_s8_s32(c{slots[column]}_{quad})"
                        code(f"a{quad} = vdotq_s32(a{quad}, w{4 * column + quad}, {x});")
            else:
                self._pairs(slots)
            code(
                "int32x4_t m0, m1, m2, m3;",
                "LOAD_PAIR(m0, m1, b, 64);",
                "LOAD_PAIR(m2, m3, b, 96);",
            )
            shift = self.spec.shift
            one, two = (
                narrow_expr("a0, m0", "a1, m1", shift),
                narrow_expr("a2, m2", "a3, m3", shift),
            )
            code(f"const int16x8_t one = {one}, two = {two};")
            code("const int8x16_t v = vqmovn_high_s16(vqmovn_s16(one), two);")
            emit_store(code, "to", "v", at * self.spec.y_pixel, count)

    def _load(self, slot: int, column: int) -> None:
        spec = self.spec
        with self.code.block(""):
            for row in range(3):
                at = row * spec.x_row + column * spec.x_pixel
                self.code(f"const int8x16_t x{row} = vld1q_s8(from + {at});")
            if self.dot_product:
                self.code(f"SORT(c{slot}_0, c{slot}_1, c{slot}_2, c{slot}_3, x0, x1, x2);")
            else:
                self.code(
                    f"c{slot}_0 = vzip1q_s8(x0, x1), c{slot}_1 = vzip2q_s8(x0, x1), c{slot}_2 = x2;"
                )

    def _pairs(self, slots: list[int]) -> None:
        one, two, three = (f"c{slot}" for slot in slots)
        code = self.code
        code(f"const int8x16_t d0 = vzip1q_s8({one}_2, {two}_2), d1 = vzip2q_s8({one}_2, {two}_2);")
        twice = f"{three}_2, {three}_2"
        code(f"const int8x16_t e0 = vzip1q_s8({twice}), e1 = vzip2q_s8({twice});")
        for half in range(2):
            for part, (mul, mla, get) in enumerate(
                (
                    ("vmull_s8", "vmlal_s8", "vget_low_s8(@)"),
                    ("vmull_high_s8", "vmlal_high_s8", "@"),
                )
            ):
                a = f"a{2 * half + part}"
                pairs = [
                    f"{one}_{half}",
                    f"{two}_{half}",
                    f"{three}_{half}",
                    f"d{half}",
                    f"e{half}",
                ]
                both = [
                    f"{get.replace('@', x)}, {get.replace('@', f'w{2 * i + half}')}"
                    for i, x in enumerate(pairs)
                ]
                code(f"ADD_PAIRS({a}, {mla}({mul}({both[0]}), {both[1]}));")
                code(f"ADD_PAIRS({a}, {mla}({mul}({both[2]}), {both[3]}));")
                code(f"ADD_PAIRS({a}, {mul}({both[4]}));")
