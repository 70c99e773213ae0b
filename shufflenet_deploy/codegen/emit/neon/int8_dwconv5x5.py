"""int8 depthwise 5x5 by dot products (SDOT), eight channels at a time along a row of pixels.

Four pixels of a column are interleaved so that each channel's are one lane, which serves five
outputs; four of the fifth row likewise, which serve two. That is seven SDOT for each four channels
of an output, whose 25 taps would be 6.25.
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

SIDE = 5
#: Vectors of weights of a block: the columns without their last tap, the last row, its last tap.
_VECTORS = (SIDE + 2) * QUADS
#: Of these, those that stay in registers; the others are loaded for every output.
_RESIDENT = 10
_BLOCK_BYTES = 16 * _VECTORS + 2 * 4 * CHANNELS


def pack_weights(
    weight: NDArray[np.int8], bias: NDArray[np.int32], multiplier: Multipliers, stride: int
) -> NDArray[np.int8]:
    """Pack ``weight (channels, 25)``, biases and multipliers in blocks of eight channels."""

    def lanes(taps: NDArray[np.int8]) -> NDArray[np.int8]:
        found = np.zeros((SIDE + 2, CHANNELS, 4), np.int8)
        found[:SIDE] = taps[:, :4].transpose(2, 0, 1)
        found[SIDE] = taps[:, 4, :4]
        # The last tap is among the four pixels of the next output.
        found[SIDE + 1, :, 4 - stride] = taps[:, 4, 4]
        return found

    return pack_blocks(weight, bias, multiplier, CHANNELS, lanes)


def emit_kernel(spec: DwconvSpec, unit: TranslationUnit) -> str:
    """Emit ``(x, w, y, begin, end)`` over a range of rows."""
    return emit_blocks(
        spec,
        unit,
        name="dwconv5x5",
        block=CHANNELS,
        block_bytes=_BLOCK_BYTES,
        emit_block=_channel_block,
    )


def _channel_block(spec: DwconvSpec, unit: TranslationUnit, count: int) -> str:
    """Eight channels of so many rows; the first ``count`` are stored."""
    code = CWriter(depth=1)
    code(*(f"const int8x16_t w{i} = vld1q_s8(w + {16 * i});" for i in range(_RESIDENT)))
    code(f"const int32_t *b = (const int32_t *)(const void *)(w + {16 * _VECTORS});")
    down = f"x += {spec.stride * spec.x_row}, y += {spec.y_row}"
    with code.block(f"for (int i = 0; i < rows; ++i, {down})"):
        code("const int8_t *from = x;", "int8_t *to = y;")
        row = _Row(spec, code, count)
        row.begin()
        emit_row(spec, code, SIDE, row.output)
    head = "const int8_t *restrict x, const int8_t *restrict w, int8_t *restrict y, int rows"
    return unit.kernel("dwconv5x5_c8", f"LOOP void @({head})", code)


class _Row:
    """Columns of pixels in registers along a row of outputs, five of them in turn.

    ``cS_Q`` are the first four pixels of the column in slot S, quad Q of channels; ``k_Q``
    four neighbours of the fifth row, ``n_Q`` those of the next output.
    """

    def __init__(self, spec: DwconvSpec, code: CWriter, count: int) -> None:
        self._spec = spec
        self._code = code
        self._count = count

    def begin(self) -> None:
        """Load the columns that the first output shares with those before it."""
        code = self._code
        code(*(f"int32x4_t c{slot}_0, c{slot}_1;" for slot in range(SIDE)))
        for column in range(SIDE - self._spec.stride):
            self._load(column, column)
        code("int32x4_t k_0, k_1;")
        self._four("k", 0)

    def output(self, at: int) -> None:
        """Emit output ``at``, counted from where ``from`` and ``to`` stand."""
        spec, code = self._spec, self._code
        first = at * spec.stride
        for column in range(first + SIDE - spec.stride, first + SIDE):
            self._load(column % SIDE, column)
        with code.block(""):
            code("int32x4_t n_0, n_1;")
            self._four("n", first + spec.stride)
            code("int32x4_t a0, a1;", "LOAD_PAIR(a0, a1, b, 0);")
            columns = [f"c{(first + column) % SIDE}" for column in range(SIDE)]
            for number, pixels in enumerate([*columns, "k", "n"]):
                self._dots(QUADS * number, pixels)
            code("k_0 = n_0, k_1 = n_1;")
            code("int32x4_t m0, m1;", f"LOAD_PAIR(m0, m1, b, {4 * CHANNELS});")
            code(f"const int16x8_t both = {narrow_expr('a0, m0', 'a1, m1', spec.shift)};")
            code("const int8x16_t v = vcombine_s8(vqmovn_s16(both), vdup_n_s8(0));")
            emit_store(code, "to", "v", at * spec.y_pixel, self._count)

    def _dots(self, first: int, x: str) -> None:
        """Multiply both quads by their weights, of which ``first`` is the number of the first."""
        code = self._code
        if first >= _RESIDENT:
            code(f"int8x16_t w{first}, w{first + 1};")
            code(f"LOAD_PAIR(w{first}, w{first + 1}, w, {16 * first});")
        dots(code, "a", first, x)

    def _load(self, slot: int, column: int) -> None:
        """Load the first four pixels of a column."""
        spec = self._spec
        places = [row * spec.x_row + column * spec.x_pixel for row in range(4)]
        interleave(self._code, [f"from + {place}" for place in places], f"c{slot}")

    def _four(self, name: str, column: int) -> None:
        """Load four pixels of the fifth row."""
        spec = self._spec
        places = [4 * spec.x_row + (column + at) * spec.x_pixel for at in range(4)]
        interleave(self._code, [f"from + {place}" for place in places], name)
