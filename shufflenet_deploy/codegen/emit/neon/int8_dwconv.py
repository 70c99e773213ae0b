"""int8 depthwise convolutions with any window on NEON, sixteen channels of a pixel at a time.

Taps are multiplied in pairs, since the products of two fit 16 bits.
"""

from __future__ import annotations

from math import ceil

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.kernel_calls import RANGE_PARAMS
from shufflenet_deploy.codegen.emit.neon.int8_store import emit_store, narrow_expr
from shufflenet_deploy.codegen.emit.unit import TranslationUnit
from shufflenet_deploy.codegen.ir import ops as ir

_CHANNELS = 16
#: Bytes of the biases and multipliers of a block.
_ENDS = 2 * 4 * _CHANNELS


def pack_weights(op: ir.DepthwiseConvolution) -> NDArray[np.int8]:
    """Taps, biases and multipliers in blocks of sixteen channels."""
    channels, *kernel = op.weight.shape
    blocks = ceil(channels / _CHANNELS)
    taps = np.zeros((blocks * _CHANNELS, int(np.prod(kernel))), np.int8)
    taps[:channels] = op.weight.reshape(channels, -1)
    ends = np.zeros((2, blocks * _CHANNELS), np.int32)
    ends[0, :channels], ends[1, :channels] = op.bias, op.epilogue.multiplier
    packed = []
    for block in range(blocks):
        own = slice(block * _CHANNELS, (block + 1) * _CHANNELS)
        packed += [taps[own].T.ravel(), ends[:, own].ravel().view(np.int8)]
    return np.concatenate(packed)


def emit_kernel(op: ir.DepthwiseConvolution, unit: TranslationUnit) -> str:
    """Emit ``(x, w, y, begin, end)`` over a range of rows."""
    source, target, channels = op.source, op.target, op.target.channels
    size = _CHANNELS * int(np.prod(op.weight.shape[1:])) + _ENDS
    blocks = ceil(channels / _CHANNELS)
    exact = channels - (blocks - 1) * _CHANNELS
    if target.overwrite_slack >= blocks * _CHANNELS - channels:
        exact = _CHANNELS
    whole = blocks if exact == _CHANNELS else blocks - 1
    code = CWriter(depth=1)
    down = op.stride[0] * source.row_stride
    code(f"x += begin * {down}, y += begin * {target.row_stride};")
    if whole:
        code(f"for (int c = 0; c < {whole}; ++c, x += 16, w += {size}, y += 16)")
        code(f"    {_channel_block(op, unit, _CHANNELS)}(x, w, y, end - begin);")
    if whole < blocks:
        code(f"{_channel_block(op, unit, exact)}(x, w, y, end - begin);")
    head = f"LOOP void @(const int8_t *x, const int8_t *w, int8_t *y{RANGE_PARAMS})"
    return unit.kernel("dwconv", head, code)


def _channel_block(op: ir.DepthwiseConvolution, unit: TranslationUnit, count: int) -> str:
    """Sixteen channels of so many rows; the first ``count`` are stored."""
    source, target = op.source, op.target
    height, width = op.weight.shape[1:]
    taps = [
        row * op.dilation[0] * source.row_stride + column * op.dilation[1] * source.pixel_stride
        for row in range(height)
        for column in range(width)
    ]
    code = CWriter(depth=1)
    code(f"const int32_t *b = (const int32_t *)(const void *)(w + {_CHANNELS * len(taps)});")
    down = f"x += {op.stride[0] * source.row_stride}, y += {target.row_stride}"
    across = f"from += {op.stride[1] * source.pixel_stride}, to += {target.pixel_stride}"
    with code.block(f"for (int i = 0; i < rows; ++i, {down})"):
        code("const int8_t *from = x;", "int8_t *to = y;")
        with code.block(f"for (int j = 0; j < {target.width}; ++j, {across})"):
            code("int32x4_t a0 = vld1q_s32(b), a1 = vld1q_s32(b + 4);")
            code("int32x4_t a2 = vld1q_s32(b + 8), a3 = vld1q_s32(b + 12);")
            for first in range(0, len(taps), 2):
                _pair(code, first, taps[first : first + 2])
            factors = [f"vld1q_s32(b + {16 + 4 * quad})" for quad in range(4)]
            one, two = (
                narrow_expr(f"a{at}, {factors[at]}", f"a{at + 1}, {factors[at + 1]}", shift)
                for at, shift in ((0, op.epilogue.shift), (2, op.epilogue.shift))
            )
            code(f"const int16x8_t one = {one}, two = {two};")
            code("const int8x16_t v = vqmovn_high_s16(vqmovn_s16(one), two);")
            emit_store(code, "to", "v", 0, count)
    head = "const int8_t *restrict x, const int8_t *restrict w, int8_t *restrict y, int rows"
    return unit.kernel("dwconv_c16", f"LOOP void @({head})", code)


def _pair(code: CWriter, first: int, offsets: list[int]) -> None:
    """Add the products of one or two taps, of which ``first`` is the number of the first."""
    with code.block(""):
        for at, offset in enumerate(offsets):
            code(f"const int8x16_t x{at} = vld1q_s8(from + {offset});")
            code(f"const int8x16_t w{at} = vld1q_s8(w + {_CHANNELS * (first + at)});")
        code("int16x8_t p = vmull_s8(vget_low_s8(x0), vget_low_s8(w0));")
        code("int16x8_t q = vmull_high_s8(x0, w0);")
        if len(offsets) > 1:
            code("p = vmlal_s8(p, vget_low_s8(x1), vget_low_s8(w1));")
            code("q = vmlal_high_s8(q, x1, w1);")
        code("a0 = vaddw_s16(a0, vget_low_s16(p)), a1 = vaddw_high_s16(a1, p);")
        code("a2 = vaddw_s16(a2, vget_low_s16(q)), a3 = vaddw_high_s16(a3, q);")
