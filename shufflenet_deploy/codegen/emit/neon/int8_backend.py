"""From the steps of an int8 program to NEON kernels, with and without dot products."""

from __future__ import annotations

from shufflenet_deploy.codegen.emit.int8_unit import Int8Unit, chunk_rows, contiguous_runs
from shufflenet_deploy.codegen.emit.neon import (
    int8_conv,
    int8_data_movement,
    int8_dwconv3x3,
    int8_pooling,
)
from shufflenet_deploy.codegen.emit.pool_spec import pool_spec
from shufflenet_deploy.codegen.ir import int8 as ir
from shufflenet_deploy.codegen.schedule.neon_int8_blocking import Epilogue, NeonConvSpec, TileCut


def quantize_input(step: ir.QuantizeInput, unit: Int8Unit) -> None:
    """The caller's floats as bytes."""
    target = step.target
    name = int8_data_movement.quantize_kernel(
        int8_data_movement.QuantizeSpec(
            channels=step.source.channels,
            height=target.height,
            width=target.width,
            y_row=target.row,
            inverse=step.inverse,
            zero=target.zero,
        ),
        unit,
    )
    y, work = unit.at(target, target.origin), 16 * target.height * target.width
    unit.spread(name, step, "input", y, pieces=target.height, work=work)


def fill_padding(step: ir.FillPadding, unit: Int8Unit) -> None:
    """Pixels around a value."""
    place = step.target
    top, left, bottom, right = place.border
    task = int8_data_movement.PaddingSpec(
        top=top, left=left, bottom=bottom, right=right, height=place.height, width=place.width,
        pixel=place.pixel, row=place.row, value=place.fill,
    )  # fmt: skip
    whole = place.origin - place.first
    unit.call(int8_data_movement.padding_kernel(task, unit), step, unit.at(place, whole))


def convolution(step: ir.Convolution, unit: Int8Unit) -> None:
    """Any convolution but a depthwise one."""
    source, target = step.source, step.target
    weight, rows, run = contiguous_runs(step)
    height, width = target.height, target.width
    down, right = step.stride
    r = step.sources[1] if step.residual is not None else None
    pointwise = step.weight.shape[2:] == (1, 1) and step.stride == (1, 1)
    shuffled = step.shuffle > 1
    places = [source] if shuffled else [source, target] + ([r] if r else [])
    together = 1
    if pointwise and all(place.flat for place in places):
        together = chunk_rows(height, max(place.row for place in places))
    y_pixel, y_row = target.pixel, target.row
    if shuffled:
        y_pixel = ir.padded_channels(target.channels)
        y_row = width * y_pixel
    tiled = NeonConvSpec(
        rows=rows,
        run=run,
        groups=step.groups,
        outputs=len(step.weight) // step.groups,
        group_step=step.weight.shape[1],
        height=height // together,
        width=width * together,
        x_pixel=right * source.pixel,
        x_row=down * source.row * together,
        y_pixel=y_pixel,
        y_row=0 if shuffled else y_row * together,
        r_pixel=r.pixel if r else 0,
        r_row=r.row * together if r else 0,
        epilogue=Epilogue(
            shift=step.shift, residual=step.residual, fraction=step.fraction, real=step.real
        ),
        room=y_pixel - target.channels if shuffled else target.room,
    )
    cut = int8_conv.choose_cut(tiled, unit)
    packed, ends = int8_conv.pack_weights(
        tiled, weight, step.bias, step.factor, cut, dot=unit.machine.dot
    )
    x = unit.at(source, source.start(step.padding))
    w, b = unit.constant(packed), unit.constant(ends, "int32_t")
    if not shuffled:
        name = int8_conv.emit_kernel(tiled, unit, cut)
        others = [unit.at(r, r.origin)] if r else []
        y = "(int8_t *)(void *)output" if step.real else unit.at(target, target.origin)
        pieces, work = int8_conv.work_items(tiled, cut), tiled.work_of_all
        unit.spread(name, step, x, w, b, *others, y, pieces=pieces, work=work)
        return
    _convolution_then_shuffle(step, unit, tiled, cut, together, (x, w, b))


def _convolution_then_shuffle(
    step: ir.Convolution, unit: Int8Unit, tiled: NeonConvSpec, cut: TileCut,
    together: int, given: tuple[str, str, str],
) -> None:  # fmt: skip
    """Some rows at a time to a scratch, and from there to where they belong."""
    target = step.target
    times = tiled.height
    one = int8_conv.single_row(tiled)
    name = int8_conv.emit_kernel(one, unit, cut)
    move = int8_data_movement.shuffle_kernel(
        int8_data_movement.ShuffleSpec(
            channels=target.channels, groups=step.shuffle, height=together, width=target.width,
            x_pixel=tiled.y_pixel, y_pixel=target.pixel, y_row=target.row,
        ),
        unit,
    )  # fmt: skip
    scratch = unit.own(tiled.width * tiled.y_pixel)
    x, w, b = given
    y = unit.at(target, target.origin)
    all_blocks = f"0, {int8_conv.work_items(one, cut)}"
    price = one.work_of_all / (4 * unit.machine.lanes)
    with unit.share(times, price), unit.body.block("for (int i = begin; i < end; ++i)"):
        unit.call(name, step, f"{x} + i * {tiled.x_row}", w, b, scratch, all_blocks)
        unit.call(move, step, scratch, f"{y} + i * {together * target.row}")


def depthwise(step: ir.DepthwiseConvolution, unit: Int8Unit) -> None:
    """A depthwise 3x3."""
    source, target = step.source, step.target
    task = int8_dwconv3x3.DwconvSpec(
        channels=target.channels, height=target.height, width=target.width, stride=step.stride,
        x_pixel=source.pixel, x_row=source.row, y_pixel=target.pixel, y_row=target.row,
        shift=step.shift, room=target.room,
    )  # fmt: skip
    weight = step.weight.reshape(target.channels, 9)
    packed = int8_dwconv3x3.pack_weights(weight, step.bias, step.factor, dot=unit.machine.dot)
    name = int8_dwconv3x3.emit_kernel(task, unit)
    x, y = unit.at(source, source.start(step.padding)), unit.at(target, target.origin)
    work = 40 * target.channels * target.height * target.width
    unit.spread(name, step, x, unit.constant(packed), y, pieces=target.height, work=work)


def pool(step: ir.MaxPool | ir.AveragePool, unit: Int8Unit) -> None:
    """A pool."""
    name = int8_pooling.emit_kernel(pool_spec(step), unit)
    target = step.target
    x, y = unit.at(step.source, step.source.start(step.padding)), unit.at(target, target.origin)
    work = 4 * step.kernel[0] * step.kernel[1] * target.channels * target.height * target.width
    unit.spread(name, step, x, y, pieces=target.height, work=work)


def global_average_pool(step: ir.GlobalAveragePool, unit: Int8Unit) -> None:
    """A global average."""
    source, target = step.source, step.target
    task = int8_pooling.GlobalAverageSpec(
        channels=target.channels, height=source.height, width=source.width,
        x_pixel=source.pixel, x_row=source.row, start=step.start, factor=int(step.factor[0]),
        shift=step.shift,
    )  # fmt: skip
    name = int8_pooling.global_average_kernel(task, unit)
    unit.call(name, step, unit.at(source, source.origin), unit.at(target, target.origin))
