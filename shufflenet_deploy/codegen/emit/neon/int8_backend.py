"""int8 ops on NEON, with and without dot products (SDOT)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.codegen.emit.int8_unit import Int8Unit, chunk_rows, contiguous_runs
from shufflenet_deploy.codegen.emit.neon import (
    int8_conv,
    int8_data_movement,
    int8_dwconv,
    int8_dwconv3x3,
    int8_dwconv3x3_rows,
    int8_dwconv5x5,
    int8_packing,
    int8_pooling,
)
from shufflenet_deploy.codegen.emit.neon.int8_dwconv_blocks import DwconvSpec
from shufflenet_deploy.codegen.emit.neon.int8_matrix_microkernel import packed_bytes, stored_bytes
from shufflenet_deploy.codegen.emit.pool_spec import pool_spec
from shufflenet_deploy.codegen.ir import ops as ir
from shufflenet_deploy.codegen.ir.int8 import padded_channels
from shufflenet_deploy.codegen.schedule.neon_int8_blocking import Epilogue, NeonConvSpec, Tiling

#: Maps of an odd width up to this are one row to matrix products.
_WHOLE_MAP_BYTES = 24 << 10


def quantize_input(op: ir.QuantizeInput, unit: Int8Unit) -> None:
    """Emit the quantization of the caller's fp32 image."""
    target = op.target
    name = int8_data_movement.quantize_kernel(
        int8_data_movement.QuantizeSpec(
            channels=op.source.channels,
            height=target.height,
            width=target.width,
            y_row=target.row_stride,
            inverse=op.inverse,
            zero_point=target.zero_point,
        ),
        unit,
    )
    y, work = unit.at(target, target.origin), 16 * target.height * target.width
    unit.call_parallel(name, op, "input", y, work_items=target.height, work=work)


def fill_padding(op: ir.FillPadding, unit: Int8Unit) -> None:
    """Emit the fill of the border around a value."""
    view = op.target
    top, left, bottom, right = view.border
    task = int8_data_movement.PaddingSpec(
        top=top,
        left=left,
        bottom=bottom,
        right=right,
        height=view.height,
        width=view.width,
        pixel_stride=view.pixel_stride,
        row_stride=view.row_stride,
        value=view.fill,
    )
    whole = view.origin - view.first
    unit.call(int8_data_movement.padding_kernel(task, unit), op, unit.at(view, whole))


def convolution(op: ir.Int8Convolution, unit: Int8Unit) -> None:
    """Emit any convolution but a depthwise one."""
    source, target = op.source, op.target
    weight, rows, run = contiguous_runs(op)
    height, width = target.height, target.width
    down, right = op.window.stride
    r = op.sources[1] if op.epilogue.residual is not None else None
    pointwise = op.weight.shape[2:] == (1, 1) and op.window.stride == (1, 1)
    shuffled = op.epilogue.shuffle > 1
    views = [source] if shuffled else [source, target] + ([r] if r else [])
    together = 1
    if pointwise and all(view.flat for view in views):
        row_bytes = max(view.row_stride for view in views)
        together = chunk_rows(height, row_bytes)
        odd = unit.cpu.matrix_product and not shuffled and width * together % 2
        if odd and height * row_bytes <= _WHOLE_MAP_BYTES:
            together = height  # One pixel without a second, not one in every row.
    y_pixel, y_row = target.pixel_stride, target.row_stride
    if shuffled:
        y_pixel = padded_channels(target.channels + _room(op, unit))
        y_row = width * y_pixel
    spec = NeonConvSpec(
        rows=rows,
        run=run,
        groups=op.groups,
        outputs=len(op.weight) // op.groups,
        group_step=op.weight.shape[1],
        height=height // together,
        width=width * together,
        x_pixel=right * source.pixel_stride,
        x_row=down * source.row_stride * together,
        y_pixel=y_pixel,
        y_row=0 if shuffled else y_row * together,
        r_pixel=r.pixel_stride if r else 0,
        r_row=r.row_stride * together if r else 0,
        epilogue=Epilogue(
            shift=op.epilogue.shift,
            residual=op.epilogue.residual,
            fraction=op.epilogue.fraction,
            float_output=op.epilogue.float_output,
        ),
        overwrite_slack=y_pixel - target.channels if shuffled else target.overwrite_slack,
    )
    tiling = int8_conv.tiling_for(spec, unit)
    packed, ends = int8_packing.pack_weights(spec, weight, op.bias, op.epilogue.multiplier, tiling)
    x = unit.at(source, source.start(op.window.padding))
    w, b = unit.constant(packed), unit.constant(ends, "int32_t")
    if not shuffled:
        name = int8_conv.emit_kernel(spec, unit, tiling)
        others = [unit.at(r, r.origin)] if r else []
        outputs = [unit.stored_at(target, "int8_t")]
        if tiling.packed:
            outputs.append(unit.thread_scratch(packed_bytes(spec)))
        work_items, work = int8_conv.work_items(spec, tiling), spec.work_of_all
        unit.call_parallel(name, op, x, w, b, *others, *outputs, work_items=work_items, work=work)
        return
    _convolution_then_shuffle(op, unit, spec, tiling, together, (x, w, b))


def _room(op: ir.Int8Convolution, unit: Int8Unit) -> int:
    """Bytes after a pixel in scratch that stores of the last group may overwrite."""
    outputs = len(op.weight) // op.groups
    return stored_bytes(outputs) - outputs if unit.cpu.matrix_product else 0


def _convolution_then_shuffle(
    op: ir.Int8Convolution,
    unit: Int8Unit,
    spec: NeonConvSpec,
    tiling: Tiling,
    together: int,
    given: tuple[str, str, str],
) -> None:
    """Convolve some rows into scratch, then store them with channels shuffled."""
    target = op.target
    times = spec.height
    one = int8_conv.single_row(spec)
    name = int8_conv.emit_kernel(one, unit, tiling)
    move = int8_data_movement.shuffle_kernel(
        int8_data_movement.ShuffleSpec(
            channels=target.channels,
            groups=op.epilogue.shuffle,
            height=together,
            width=target.width,
            x_pixel=spec.y_pixel,
            y_pixel=target.pixel_stride,
            y_row=target.row_stride,
        ),
        unit,
    )
    size = spec.width * spec.y_pixel
    scratch = unit.thread_scratch(size + (packed_bytes(one) if tiling.packed else 0))
    packed = [f"{scratch} + {size}"] if tiling.packed else []
    x, w, b = given
    y = unit.at(target, target.origin)
    all_blocks = f"0, {int8_conv.work_items(one, tiling)}"
    cost = one.work_of_all / (4 * unit.cpu.lanes)
    with unit.parallel(times, cost), unit.body.block("for (int i = begin; i < end; ++i)"):
        unit.call(name, op, f"{x} + i * {spec.x_row}", w, b, scratch, *packed, all_blocks)
        unit.call(move, op, scratch, f"{y} + i * {together * target.row_stride}")


def depthwise(op: ir.DepthwiseConvolution, unit: Int8Unit) -> None:
    """Emit a depthwise convolution."""
    source, target = op.source, op.target
    name, packed, work = _depthwise_kernel(op, unit)
    x, y = unit.at(source, source.start(op.padding)), unit.at(target, target.origin)
    w = unit.constant(packed)
    unit.call_parallel(name, op, x, w, y, work_items=target.height, work=work * target.pixels)


def _depthwise_kernel(
    op: ir.DepthwiseConvolution, unit: Int8Unit
) -> tuple[str, NDArray[np.int8], int]:
    """The kernel for its windows, the constants, and the work of a pixel."""
    channels, dot_product = op.target.channels, unit.cpu.dot_product
    ends = (op.bias, op.epilogue.multiplier)
    if dot_product and _is_plain_5x5(op):
        task, weight = DwconvSpec.of(op), op.weight.reshape(channels, -1)
        packed = int8_dwconv5x5.pack_weights(weight, *ends, task.stride)
        return int8_dwconv5x5.emit_kernel(task, unit), packed, 80 * channels
    if not op.is_plain_3x3:
        name = int8_dwconv.emit_kernel(op, unit)
        return name, int8_dwconv.pack_weights(op), 5 * op.weight.size
    task, weight = DwconvSpec.of(op), op.weight.reshape(channels, 9)
    if dot_product and task.stride == 1 and task.height > 1:
        packed = int8_dwconv3x3_rows.pack_weights(weight, *ends)
        return int8_dwconv3x3_rows.emit_kernel(task, unit), packed, 40 * channels
    packed = int8_dwconv3x3.pack_weights(weight, *ends, dot_product=dot_product)
    return int8_dwconv3x3.emit_kernel(task, unit), packed, 40 * channels


def _is_plain_5x5(op: ir.DepthwiseConvolution) -> bool:
    """True for windows that the dot-product kernel is for."""
    down, right = op.stride
    side = int8_dwconv5x5.SIDE
    return (
        op.weight.shape == (op.target.channels, side, side)
        and op.dilation == (1, 1)
        and down == right
        and down <= 2
    )


def pool(op: ir.MaxPool | ir.AveragePool, unit: Int8Unit) -> None:
    """Emit a max or average pool."""
    name = int8_pooling.emit_kernel(pool_spec(op), unit)
    target = op.target
    x, y = unit.at(op.source, op.source.start(op.padding)), unit.at(target, target.origin)
    work = 4 * op.kernel[0] * op.kernel[1] * target.channels * target.height * target.width
    unit.call_parallel(name, op, x, y, work_items=target.height, work=work)


def global_average_pool(op: ir.Int8GlobalAveragePool, unit: Int8Unit) -> None:
    """Emit a global average pool."""
    source, target = op.source, op.target
    task = int8_pooling.GlobalAverageSpec(
        channels=target.channels,
        height=source.height,
        width=source.width,
        x_pixel=source.pixel_stride,
        x_row=source.row_stride,
        start=op.epilogue.start,
        multiplier=int(op.epilogue.multiplier[0]),
        shift=op.epilogue.shift,
    )
    name = int8_pooling.global_average_kernel(task, unit)
    unit.call(name, op, unit.at(source, source.origin), unit.at(target, target.origin))
