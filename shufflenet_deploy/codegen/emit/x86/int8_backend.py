"""int8 ops on x86, with and without VNNI dot products."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np

from shufflenet_deploy.codegen.emit.int8_unit import Int8Unit, chunk_rows, contiguous_runs
from shufflenet_deploy.codegen.emit.pool_spec import pool_spec
from shufflenet_deploy.codegen.emit.portable import int8_backend
from shufflenet_deploy.codegen.emit.x86 import (
    int8_conv,
    int8_data_movement,
    int8_dwconv3x3,
    int8_packing,
    int8_pooling,
)
from shufflenet_deploy.codegen.ir import ops as ir
from shufflenet_deploy.codegen.ir.int8 import padded_channels
from shufflenet_deploy.codegen.schedule import x86_int8_blocking

#: Groups whose bytes fit one vector together.
_MAX_INTERLEAVED_GROUPS = 4
#: Weights that stay in the first cache next to some rows.
_L1_WEIGHT_BYTES = 28 << 10
#: What a float may be to become a word.
_MAX_FLOAT_TO_INT32 = 2.0**31 - 256
#: Weights that are widened beforehand; more of them would take twice as long to read.
_MAX_WIDENED_WEIGHTS = 64 << 10
#: Bytes after a value that vectors may read.
_READ_SLACK_BYTES = 64


def quantize_input(op: ir.QuantizeInput, unit: Int8Unit) -> None:
    """Emit the quantization of the caller's fp32 image."""
    target = op.target
    if target.width < unit.cpu.lanes:
        int8_backend.quantize_input(op, unit)
        return
    task = int8_data_movement.QuantizeSpec(
        channels=op.source.channels,
        height=target.height,
        width=target.width,
        y_row=target.row_stride,
        inverse=op.inverse,
        zero_point=target.zero_point,
    )
    name, y = int8_data_movement.quantize_kernel(task, unit), unit.at(target, target.origin)
    unit.call_parallel(
        name, op, "input", y, work_items=target.height, work=32 * target.height * target.width
    )


def convolution(op: ir.Int8Convolution, unit: Int8Unit) -> None:
    """Emit any convolution but a depthwise one."""
    if not op.epilogue.float_output and _may_overflow(op):
        int8_backend.convolution(op, unit)
        return
    cpu = unit.cpu
    source, target = op.source, op.target
    weight, rows, run = contiguous_runs(op)
    down, right = op.window.stride
    r = op.sources[1] if op.epilogue.residual is not None else None
    shuffled = op.epilogue.shuffle > 1
    permutes = cpu.dot_product and cpu.lanes == 16
    direct = shuffled and permutes and op.epilogue.shuffle == op.groups <= _MAX_INTERLEAVED_GROUPS
    views = [source, *([target] if direct or not shuffled else []), *([r] if r else [])]
    pointwise = op.weight.shape[2:] == (1, 1) and op.window.stride == (1, 1)
    together = 1
    if pointwise and all(view.flat for view in views):
        near = weight.size * cpu.lanes // 16 <= _L1_WEIGHT_BYTES
        together = (
            chunk_rows(target.height, max(view.row_stride for view in views))
            if near
            else target.height
        )
    y_pixel, y_row = target.pixel_stride, target.row_stride
    if shuffled and not direct:
        y_pixel = padded_channels(target.channels)
        y_row = target.width * y_pixel
    spec = x86_int8_blocking.X86ConvSpec(
        rows=rows,
        run=run,
        groups=op.groups,
        outputs=len(op.weight) // op.groups,
        group_step=op.weight.shape[1],
        height=target.height // together,
        width=target.width * together,
        x_pixel=right * source.pixel_stride,
        x_row=down * source.row_stride * together,
        y_pixel=y_pixel,
        y_row=y_row * together,
        r_pixel=r.pixel_stride if r else 0,
        r_row=r.row_stride * together if r else 0,
        residual=op.epilogue.residual,
        fraction=op.epilogue.fraction,
        float_output=op.epilogue.float_output,
        shuffled=direct,
        overwrite_slack=target.overwrite_slack,
    )
    x = unit.at(source, source.start(op.window.padding))
    if not cpu.dot_product:
        few = weight.size <= _MAX_WIDENED_WEIGHTS and spec.height * spec.width > 1
        spec = x86_int8_blocking.with_int16_inputs(spec, weights=few)
        # Runs and pixels are counted from the first byte of the first window.
        used = source.size - source.start(op.window.padding) + _READ_SLACK_BYTES
        work_items, wide = ceil(used / (2 * cpu.lanes)), unit.scratch(2 * used + _READ_SLACK_BYTES)
        unit.call_parallel(
            int8_data_movement.widen_kernel(unit), op, x, wide, work_items=work_items, work=6 * used
        )
        unit.begin()
        x = wide
    blocks = x86_int8_blocking.choose_blocks(spec, cpu)
    packed, ends = int8_packing.pack_weights(
        spec, weight, op.bias, op.epilogue.multiplier, blocks, cpu
    )
    w, b = unit.constant(packed), unit.constant(ends, "int32_t")
    if shuffled and not direct:
        _convolution_then_shuffle(op, unit, spec, blocks, together, (x, w, b))
        return
    name = int8_conv.emit_kernel(spec, unit, blocks)
    others = [unit.at(r, r.origin)] if r else []
    y = unit.stored_at(target, "byte")
    work_items = int8_conv.work_items(spec, blocks)
    unit.call_parallel(
        name, op, x, w, b, *others, y, work_items=work_items, work=_multiply_adds(spec)
    )


def _multiply_adds(spec: x86_int8_blocking.X86ConvSpec) -> float:
    """Multiply-adds of a convolution."""
    return spec.height * spec.width * spec.groups * spec.outputs * len(spec.rows) * spec.run


def _may_overflow(op: ir.Int8Convolution | ir.DepthwiseConvolution) -> bool:
    """True if a scaled accumulator may exceed int32."""
    most = np.abs(op.weight.astype(np.int64)).reshape(len(op.weight), -1).sum(1) * 255
    return bool(
        (
            (most + np.abs(op.bias.astype(np.int64))) * op.epilogue.multiplier
            >= _MAX_FLOAT_TO_INT32
        ).any()
    )


def _convolution_then_shuffle(
    op: ir.Int8Convolution,
    unit: Int8Unit,
    spec: x86_int8_blocking.X86ConvSpec,
    blocks: tuple[x86_int8_blocking.OutputBlock, ...],
    together: int,
    given: tuple[str, str, str],
) -> None:
    """Convolve some rows into scratch, then store them with channels shuffled."""
    target = op.target
    room = padded_channels(target.channels) - target.channels
    one = replace(spec, height=1, y_row=0, overwrite_slack=room)
    name = int8_conv.emit_kernel(one, unit, blocks)
    move = int8_data_movement.shuffle_kernel(
        int8_data_movement.ShuffleSpec(
            channels=target.channels,
            groups=op.epilogue.shuffle,
            height=together,
            width=target.width,
            x_pixel=spec.y_pixel,
            y_pixel=target.pixel_stride,
            y_row=target.row_stride,
            overwrite_slack=target.overwrite_slack,
        ),
        unit,
    )
    scratch = unit.thread_scratch(spec.width * spec.y_pixel)
    x, w, b = given
    y = unit.at(target, target.origin)
    all_blocks = f"0, {int8_conv.work_items(one, blocks)}"
    cost = _multiply_adds(one) / (4 * unit.cpu.lanes)
    with unit.parallel(spec.height, cost), unit.body.block("for (int i = begin; i < end; ++i)"):
        unit.call(name, op, f"{x} + i * {spec.x_row}", w, b, scratch, all_blocks)
        unit.call(move, op, scratch, f"{y} + i * {together * target.row_stride}")


def depthwise(op: ir.DepthwiseConvolution, unit: Int8Unit) -> None:
    """Emit a depthwise convolution."""
    if _may_overflow(op) or not op.is_plain_3x3:
        int8_backend.depthwise(op, unit)
        return
    source, target = op.source, op.target
    task = int8_dwconv3x3.DwconvSpec(
        channels=target.channels,
        height=target.height,
        width=target.width,
        stride=op.stride[0],
        x_pixel=source.pixel_stride,
        x_row=source.row_stride,
        y_pixel=target.pixel_stride,
        y_row=target.row_stride,
        overwrite_slack=target.overwrite_slack,
    )
    packed = int8_dwconv3x3.pack_weights(task, op.weight, op.bias, op.epilogue.multiplier, unit.cpu)
    name = int8_dwconv3x3.emit_kernel(task, unit)
    x, y = unit.at(source, source.start(op.padding)), unit.at(target, target.origin)
    work = 40 * target.channels * target.height * target.width
    unit.call_parallel(name, op, x, unit.constant(packed), y, work_items=target.height, work=work)


def pool(op: ir.MaxPool | ir.AveragePool, unit: Int8Unit) -> None:
    """Emit a max or average pool."""
    name, memory = int8_pooling.emit_kernel(pool_spec(op), unit)
    target = op.target
    x, y = unit.at(op.source, op.source.start(op.padding)), unit.at(target, target.origin)
    work = 4 * op.kernel[0] * op.kernel[1] * target.channels * target.height * target.width
    unit.call_parallel(name, op, x, y, *memory, work_items=target.height, work=work)


def global_average_pool(op: ir.Int8GlobalAveragePool, unit: Int8Unit) -> None:
    """Emit a global average pool."""
    source, target = op.source, op.target
    pixels = source.height * source.width
    most = (255 * pixels + abs(op.epilogue.start)) * float(op.epilogue.multiplier[0])
    if most >= _MAX_FLOAT_TO_INT32:
        int8_backend.global_average_pool(op, unit)
        return
    task = int8_pooling.GlobalAverageSpec(
        channels=target.channels,
        height=source.height,
        width=source.width,
        x_pixel=source.pixel_stride,
        x_row=source.row_stride,
        start=op.epilogue.start,
        multiplier=float(op.epilogue.multiplier[0]),
        overwrite_slack=target.overwrite_slack,
    )
    name = int8_pooling.global_average_kernel(task, unit)
    unit.call(name, op, unit.at(source, source.origin), unit.at(target, target.origin))
