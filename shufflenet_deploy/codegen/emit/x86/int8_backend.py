"""From the steps of an int8 program to x86 kernels, with and without dot products of bytes."""

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
    int8_pooling,
)
from shufflenet_deploy.codegen.ir import int8 as ir
from shufflenet_deploy.codegen.schedule import x86_int8_blocking

#: Groups whose bytes fit one vector together.
_MAX_INTERLEAVED_GROUPS = 4
#: Weights that stay in the first cache beside some rows.
_L1_WEIGHT_BYTES = 28 << 10
#: What a float may be to become a word.
_MAX_FLOAT_TO_INT32 = 2.0**31 - 256
#: Weights that are widened beforehand; more of them would take twice as long to read.
_MAX_WIDENED_WEIGHTS = 64 << 10
#: Bytes behind a value that vectors may read.
_READ_SLACK_BYTES = 64


def quantize_input(step: ir.QuantizeInput, unit: Int8Unit) -> None:
    """The caller's floats as bytes."""
    target = step.target
    if target.width < unit.machine.lanes:
        int8_backend.quantize_input(step, unit)
        return
    task = int8_data_movement.QuantizeSpec(
        channels=step.source.channels, height=target.height, width=target.width,
        y_row=target.row, inverse=step.inverse, zero=target.zero,
    )  # fmt: skip
    name, y = int8_data_movement.quantize_kernel(task, unit), unit.at(target, target.origin)
    unit.spread(
        name, step, "input", y, pieces=target.height, work=32 * target.height * target.width
    )


def convolution(step: ir.Convolution, unit: Int8Unit) -> None:
    """Any convolution but a depthwise one."""
    if not step.real and _may_overflow(step):
        int8_backend.convolution(step, unit)
        return
    machine = unit.machine
    source, target = step.source, step.target
    weight, rows, run = contiguous_runs(step)
    down, right = step.stride
    r = step.sources[1] if step.residual is not None else None
    shuffled = step.shuffle > 1
    permutes = machine.dot and machine.lanes == 16
    direct = shuffled and permutes and step.shuffle == step.groups <= _MAX_INTERLEAVED_GROUPS
    places = [source, *([target] if direct or not shuffled else []), *([r] if r else [])]
    pointwise = step.weight.shape[2:] == (1, 1) and step.stride == (1, 1)
    together = 1
    if pointwise and all(place.flat for place in places):
        near = weight.size * machine.lanes // 16 <= _L1_WEIGHT_BYTES
        together = (
            chunk_rows(target.height, max(place.row for place in places)) if near else target.height
        )
    y_pixel, y_row = target.pixel, target.row
    if shuffled and not direct:
        y_pixel = ir.padded_channels(target.channels)
        y_row = target.width * y_pixel
    conv = x86_int8_blocking.X86ConvSpec(
        rows=rows,
        run=run,
        groups=step.groups,
        outputs=len(step.weight) // step.groups,
        group_step=step.weight.shape[1],
        height=target.height // together,
        width=target.width * together,
        x_pixel=right * source.pixel,
        x_row=down * source.row * together,
        y_pixel=y_pixel,
        y_row=y_row * together,
        r_pixel=r.pixel if r else 0,
        r_row=r.row * together if r else 0,
        residual=step.residual,
        fraction=step.fraction,
        real=step.real,
        shuffled=direct,
        room=target.room,
    )
    x = unit.at(source, source.start(step.padding))
    if not machine.dot:
        few = weight.size <= _MAX_WIDENED_WEIGHTS and conv.height * conv.width > 1
        conv = x86_int8_blocking.with_int16_inputs(conv, weights=few)
        # Runs and pixels are counted from the first byte of the first window.
        used = source.size - source.start(step.padding) + _READ_SLACK_BYTES
        pieces, wide = ceil(used / (2 * machine.lanes)), unit.scratch(2 * used + _READ_SLACK_BYTES)
        unit.spread(
            int8_data_movement.widen_kernel(unit), step, x, wide, pieces=pieces, work=6 * used
        )
        unit.begin()
        x = wide
    blocks = x86_int8_blocking.choose_blocks(conv, machine)
    packed, ends = x86_int8_blocking.pack_weights(
        conv, weight, step.bias, step.factor, blocks, machine
    )
    w, b = unit.constant(packed), unit.constant(ends, "int32_t")
    if shuffled and not direct:
        _convolution_then_shuffle(step, unit, conv, blocks, together, (x, w, b))
        return
    name = int8_conv.emit_kernel(conv, unit, blocks)
    others = [unit.at(r, r.origin)] if r else []
    y = "(byte *)(void *)output" if step.real else unit.at(target, target.origin)
    pieces = int8_conv.work_items(conv, blocks)
    unit.spread(name, step, x, w, b, *others, y, pieces=pieces, work=_multiply_adds(conv))


def _multiply_adds(conv: x86_int8_blocking.X86ConvSpec) -> float:
    """Multiply-adds."""
    return conv.height * conv.width * conv.groups * conv.outputs * len(conv.rows) * conv.run


def _may_overflow(step: ir.Convolution | ir.DepthwiseConvolution) -> bool:
    """Whether an accumulator times its factor may be more than a word holds."""
    most = np.abs(step.weight.astype(np.int64)).reshape(len(step.weight), -1).sum(1) * 255
    return bool(
        ((most + np.abs(step.bias.astype(np.int64))) * step.factor >= _MAX_FLOAT_TO_INT32).any()
    )


def _convolution_then_shuffle(
    step: ir.Convolution, unit: Int8Unit, conv: x86_int8_blocking.X86ConvSpec,
    blocks: tuple[x86_int8_blocking.OutputBlock, ...], together: int, given: tuple[str, str, str],
) -> None:  # fmt: skip
    """Some rows at a time to a scratch, and from there to where they belong."""
    target = step.target
    room = ir.padded_channels(target.channels) - target.channels
    one = replace(conv, height=1, y_row=0, room=room)
    name = int8_conv.emit_kernel(one, unit, blocks)
    move = int8_data_movement.shuffle_kernel(
        int8_data_movement.ShuffleSpec(
            channels=target.channels, groups=step.shuffle, height=together, width=target.width,
            x_pixel=conv.y_pixel, y_pixel=target.pixel, y_row=target.row, room=target.room,
        ),
        unit,
    )  # fmt: skip
    scratch = unit.own(conv.width * conv.y_pixel)
    x, w, b = given
    y = unit.at(target, target.origin)
    all_blocks = f"0, {int8_conv.work_items(one, blocks)}"
    price = _multiply_adds(one) / (4 * unit.machine.lanes)
    with unit.share(conv.height, price), unit.body.block("for (int i = begin; i < end; ++i)"):
        unit.call(name, step, f"{x} + i * {conv.x_row}", w, b, scratch, all_blocks)
        unit.call(move, step, scratch, f"{y} + i * {together * target.row}")


def depthwise(step: ir.DepthwiseConvolution, unit: Int8Unit) -> None:
    """A depthwise 3x3."""
    if _may_overflow(step):
        int8_backend.depthwise(step, unit)
        return
    source, target = step.source, step.target
    task = int8_dwconv3x3.DwconvSpec(
        channels=target.channels, height=target.height, width=target.width, stride=step.stride,
        x_pixel=source.pixel, x_row=source.row, y_pixel=target.pixel, y_row=target.row,
        room=target.room,
    )  # fmt: skip
    packed = int8_dwconv3x3.pack_weights(task, step.weight, step.bias, step.factor, unit.machine)
    name = int8_dwconv3x3.emit_kernel(task, unit)
    x, y = unit.at(source, source.start(step.padding)), unit.at(target, target.origin)
    work = 40 * target.channels * target.height * target.width
    unit.spread(name, step, x, unit.constant(packed), y, pieces=target.height, work=work)


def pool(step: ir.MaxPool | ir.AveragePool, unit: Int8Unit) -> None:
    """A pool."""
    name, memory = int8_pooling.emit_kernel(pool_spec(step), unit)
    target = step.target
    x, y = unit.at(step.source, step.source.start(step.padding)), unit.at(target, target.origin)
    work = 4 * step.kernel[0] * step.kernel[1] * target.channels * target.height * target.width
    unit.spread(name, step, x, y, *memory, pieces=target.height, work=work)


def global_average_pool(step: ir.GlobalAveragePool, unit: Int8Unit) -> None:
    """A global average."""
    source, target = step.source, step.target
    pixels = source.height * source.width
    most = (255 * pixels + abs(step.start)) * float(step.factor[0])
    if most >= _MAX_FLOAT_TO_INT32:
        int8_backend.global_average_pool(step, unit)
        return
    task = int8_pooling.GlobalAverageSpec(
        channels=target.channels, height=source.height, width=source.width,
        x_pixel=source.pixel, x_row=source.row, start=step.start, factor=float(step.factor[0]),
        room=target.room,
    )  # fmt: skip
    name = int8_pooling.global_average_kernel(task, unit)
    unit.call(name, step, unit.at(source, source.origin), unit.at(target, target.origin))
