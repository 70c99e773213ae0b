"""int8 depthwise 3x3 of stride 1 by dot products (SDOT): two rows of outputs, eight channels.

Four pixels of a column are interleaved so that each channel's are one lane. With three taps and a
zero they give the upper output, with a zero and three taps the lower one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.neon.int8_dwconv_blocks import (
    DwconvSpec,
    emit_blocks,
    emit_row,
    pack_blocks,
)
from shufflenet_deploy.codegen.emit.neon.int8_lanes import CHANNELS, QUADS, dots, interleave
from shufflenet_deploy.codegen.emit.neon.int8_store import emit_store, narrow_expr
from shufflenet_deploy.codegen.emit.unit import TranslationUnit
from shufflenet_deploy.codegen.ir.int8 import Multipliers

_SIDE = 3
#: Vectors of weights of a block, for the upper output and for the lower one.
_VECTORS = 2 * _SIDE * QUADS
_BLOCK_BYTES = 16 * _VECTORS + 2 * 4 * CHANNELS


def pack_weights(
    weight: NDArray[np.int8], bias: NDArray[np.int32], multiplier: Multipliers
) -> NDArray[np.int8]:
    """Pack ``weight (channels, 9)``, biases and multipliers in blocks of eight channels."""

    def lanes(taps: NDArray[np.int8]) -> NDArray[np.int8]:
        found = np.zeros((2, _SIDE, CHANNELS, 4), np.int8)  # (output, column, channel, row)
        found[0, ..., :_SIDE] = found[1, ..., 1:] = taps.transpose(2, 0, 1)
        return found

    return pack_blocks(weight, bias, multiplier, CHANNELS, lanes)


def emit_kernel(spec: DwconvSpec, unit: TranslationUnit) -> str:
    """Emit ``(x, w, y, begin, end)`` over a range of rows."""
    return emit_blocks(
        spec,
        unit,
        name="dwconv3x3",
        block=CHANNELS,
        block_bytes=_BLOCK_BYTES,
        emit_block=_channel_block,
    )


def _channel_block(spec: DwconvSpec, unit: TranslationUnit, count: int) -> str:
    """Eight channels of so many rows; the first ``count`` are stored."""
    code = CWriter(depth=1)
    code(*(f"const int8x16_t w{i} = vld1q_s8(w + {16 * i});" for i in range(_VECTORS)))
    code(f"const int32_t *b = (const int32_t *)(const void *)(w + {16 * _VECTORS});")
    for quad in range(QUADS):
        code(f"const int32x4_t m{quad} = vld1q_s32(b + {CHANNELS + 4 * quad});")
    code("int i = 0;")
    with code.block(f"for (; i + 1 < rows; i += 2, x += {2 * spec.x_row}, y += {2 * spec.y_row})"):
        _emit_rows(spec, code, count, 2)
    with code.block("if (i < rows)"):
        _emit_rows(spec, code, count, 1)
    head = "const int8_t *restrict x, const int8_t *restrict w, int8_t *restrict y, int rows"
    return unit.kernel("dwconv3x3_c8", f"LOOP void @({head})", code)


def _emit_rows(spec: DwconvSpec, code: CWriter, count: int, rows: int) -> None:
    """One or two rows of outputs, with three columns of pixels in registers."""
    code("const int8_t *from = x;", "int8_t *to = y;")
    code(*(f"int32x4_t c{slot}_0, c{slot}_1;" for slot in range(_SIDE)))
    for column in range(_SIDE - 1):
        _load(spec, code, rows, column)
    emit_row(spec, code, _SIDE, lambda at: _output(spec, code, at, count, rows))


def _load(spec: DwconvSpec, code: CWriter, rows: int, column: int) -> None:
    """Load a column; of one row of outputs, the last pixel twice, since its weight is zero."""
    steps = [min(row, rows + 1) * spec.x_row + column * spec.x_pixel for row in range(4)]
    interleave(code, [f"from + {step}" for step in steps], f"c{column % _SIDE}")


def _output(spec: DwconvSpec, code: CWriter, at: int, count: int, rows: int) -> None:
    """Emit the outputs of a column, ``at`` counted from where ``from`` and ``to`` stand."""
    _load(spec, code, rows, at + _SIDE - 1)
    with code.block(""):
        for row, total in enumerate("ad"[:rows]):
            code(f"int32x4_t {total}0, {total}1;", f"LOAD_PAIR({total}0, {total}1, b, 0);")
            for column in range(_SIDE):
                first = QUADS * (_SIDE * row + column)
                dots(code, total, first, f"c{(at + column) % _SIDE}")
        for row, total in enumerate("ad"[:rows]):
            both = narrow_expr(f"{total}0, m0", f"{total}1, m1", spec.shift)
            code(f"const int16x8_t {total} = {both};")
            code(f"const int8x16_t v{row} = vcombine_s8(vqmovn_s16({total}), vdup_n_s8(0));")
            emit_store(code, "to", f"v{row}", row * spec.y_row + at * spec.y_pixel, count)
