"""Blocks of channels of int8 depthwise kernels: their task, their constants, the walk over them.

A kernel computes a block of channels along rows of pixels; of the last block's channels those that
there are get stored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.kernel_calls import RANGE_PARAMS
from shufflenet_deploy.codegen.emit.unit import TranslationUnit
from shufflenet_deploy.codegen.ir import ops as ir
from shufflenet_deploy.codegen.ir.int8 import Multipliers


@dataclass(frozen=True, kw_only=True)
class DwconvSpec:
    """A depthwise convolution over padded pixels; all distances are in bytes.

    ``x`` is the first pixel of the first window, border included.
    """

    channels: int
    height: int
    width: int
    stride: int
    x_pixel: int
    x_row: int
    y_pixel: int
    y_row: int
    shift: int
    overwrite_slack: int = 0

    @classmethod
    def of(cls, op: ir.DepthwiseConvolution) -> DwconvSpec:
        """The task of an operation with one stride."""
        source, target = op.source, op.target
        return cls(
            channels=target.channels,
            height=target.height,
            width=target.width,
            stride=op.stride[0],
            x_pixel=source.pixel_stride,
            x_row=source.row_stride,
            y_pixel=target.pixel_stride,
            y_row=target.row_stride,
            shift=op.epilogue.shift,
            overwrite_slack=target.overwrite_slack,
        )


def pack_blocks(
    weight: NDArray[np.int8],
    bias: NDArray[np.int32],
    multiplier: Multipliers,
    block: int,
    lanes: Callable[[NDArray[np.int8]], NDArray[np.int8]],
) -> NDArray[np.int8]:
    """Constants of all blocks: weights, then biases and multipliers.

    ``weight (channels, side * side)`` is filled up with zeros to blocks of so many channels;
    ``lanes`` arranges the ``(block, side, side)`` of one for its kernel.
    """
    channels, area = weight.shape
    side = round(area**0.5)
    whole = ceil(channels / block) * block
    taps = np.zeros((whole, side, side), np.int8)  # (channel, row, column)
    taps[:channels] = weight.reshape(channels, side, side)
    ends = np.zeros((2, whole), np.int32)
    ends[0, :channels], ends[1, :channels] = bias, multiplier
    packed = []
    for first in range(0, whole, block):
        own = slice(first, first + block)
        packed += [lanes(taps[own]).ravel(), ends[:, own].ravel().view(np.int8)]
    return np.concatenate(packed)


def emit_blocks(
    spec: DwconvSpec,
    unit: TranslationUnit,
    *,
    name: str,
    block: int,
    block_bytes: int,
    emit_block: Callable[[DwconvSpec, TranslationUnit, int], str],
) -> str:
    """Emit ``(x, w, y, begin, end)`` over a range of rows, block by block.

    ``block_bytes`` are the constants of one; ``emit_block`` emits its kernel, which stores so many
    channels.
    """
    blocks = ceil(spec.channels / block)
    exact = spec.channels - (blocks - 1) * block
    if spec.overwrite_slack >= block - exact:
        exact = block
    whole = blocks if exact == block else blocks - 1
    code = CWriter(depth=1)
    code(f"x += begin * {spec.stride * spec.x_row}, y += begin * {spec.y_row};")
    if whole:
        walk = f"x += {block}, w += {block_bytes}, y += {block}"
        code(f"for (int c = 0; c < {whole}; ++c, {walk})")
        code(f"    {emit_block(spec, unit, block)}(x, w, y, end - begin);")
    if whole < blocks:
        code(f"{emit_block(spec, unit, exact)}(x, w, y, end - begin);")
    head = f"LOOP void @(const int8_t *x, const int8_t *w, int8_t *y{RANGE_PARAMS})"
    return unit.kernel(name, head, code)


def emit_row(
    spec: DwconvSpec, code: CWriter, period: int, emit_output: Callable[[int], None]
) -> None:
    """Emit a row of outputs, ``period`` at a time: then columns are in their registers again.

    ``emit_output`` emits one, counted from where ``from`` and ``to`` stand.
    """
    times, rest = divmod(spec.width, period)
    walk = f"from += {period * spec.stride * spec.x_pixel}, to += {period * spec.y_pixel}"
    if times:
        with code.block(f"for (int j = 0; j < {times}; ++j, {walk})" if times > 1 else ""):
            for at in range(period):
                emit_output(at)
    if rest and times == 1:
        code(f"{walk};")
    for at in range(rest):
        emit_output(at)
