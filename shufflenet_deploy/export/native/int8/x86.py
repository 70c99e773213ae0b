"""From the steps of an int8 program to x86 kernels, with and without dot products of bytes."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np

from shufflenet_deploy.export.native.int8 import (
    portable,
    x86_blocking,
    x86_conv,
    x86_depthwise,
    x86_moves,
    x86_windows,
)
from shufflenet_deploy.export.native.int8 import program as steps
from shufflenet_deploy.export.native.int8.bytewise import ByteUnit, chunk_rows, runs_of
from shufflenet_deploy.export.native.int8.windows import windowed

#: Groups whose bytes fit one vector together.
_MOST_GROUPS = 4
#: Weights that stay in the first cache beside some rows.
_NEAR_BYTES = 28 << 10
#: What a float may be to become a word.
_MOST = 2.0**31 - 256
#: Weights that are widened beforehand; more of them would take twice as long to read.
_FEW_WEIGHTS = 64 << 10
#: Bytes behind a value that vectors may read.
_BEHIND = 64


def picture(step: steps.Picture, unit: ByteUnit) -> None:
    """The caller's floats as bytes."""
    target = step.target
    if target.width < unit.machine.lanes:
        portable.picture(step, unit)
        return
    task = x86_moves.Quantise(
        channels=step.source.channels, height=target.height, width=target.width,
        y_row=target.row, inverse=step.inverse, zero=target.zero,
    )  # fmt: skip
    name, y = x86_moves.quantise(task, unit), unit.at(target, target.origin)
    unit.spread(
        name, step, "input", y, pieces=target.height, work=32 * target.height * target.width
    )


def convolution(step: steps.Convolution, unit: ByteUnit) -> None:
    """Any convolution but a depthwise one."""
    if not step.real and _overflows(step):
        portable.convolution(step, unit)
        return
    machine = unit.machine
    source, target = step.source, step.target
    weight, rows, run = runs_of(step)
    down, right = step.stride
    r = step.sources[1] if step.residual is not None else None
    shuffled = step.shuffle > 1
    permutes = machine.dot and machine.lanes == 16
    direct = shuffled and permutes and step.shuffle == step.groups <= _MOST_GROUPS
    places = [source, *([target] if direct or not shuffled else []), *([r] if r else [])]
    pointwise = step.weight.shape[2:] == (1, 1) and step.stride == (1, 1)
    together = 1
    if pointwise and all(place.flat for place in places):
        near = weight.size * machine.lanes // 16 <= _NEAR_BYTES
        together = (
            chunk_rows(target.height, max(place.row for place in places)) if near else target.height
        )
    y_pixel, y_row = target.pixel, target.row
    if shuffled and not direct:
        y_pixel = steps.rounded(target.channels)
        y_row = target.width * y_pixel
    conv = x86_blocking.Conv(
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
        few = weight.size <= _FEW_WEIGHTS and conv.height * conv.width > 1
        conv = x86_blocking.widened(conv, weights=few)
        # Runs and pixels are counted from the first byte of the first window.
        used = source.size - source.start(step.padding) + _BEHIND
        pieces, wide = ceil(used / (2 * machine.lanes)), unit.scratch(2 * used + _BEHIND)
        unit.spread(x86_moves.widen(unit), step, x, wide, pieces=pieces, work=6 * used)
        unit.begin()
        x = wide
    blocks = x86_blocking.cut(conv, machine)
    packed, ends = x86_blocking.pack(conv, weight, step.bias, step.factor, blocks, machine)
    w, b = unit.constant(packed), unit.constant(ends, "int32_t")
    if shuffled and not direct:
        _shuffled(step, unit, conv, blocks, together, (x, w, b))
        return
    name = x86_conv.emit(conv, unit, blocks)
    others = [unit.at(r, r.origin)] if r else []
    y = "(byte *)(void *)output" if step.real else unit.at(target, target.origin)
    pieces = x86_conv.pieces(conv, blocks)
    unit.spread(name, step, x, w, b, *others, y, pieces=pieces, work=_work(conv))


def _work(conv: x86_blocking.Conv) -> float:
    """Multiply-adds."""
    return conv.height * conv.width * conv.groups * conv.outputs * len(conv.rows) * conv.run


def _overflows(step: steps.Convolution | steps.Depthwise) -> bool:
    """Whether an accumulator times its factor may be more than a word holds."""
    most = np.abs(step.weight.astype(np.int64)).reshape(len(step.weight), -1).sum(1) * 255
    return bool(((most + np.abs(step.bias.astype(np.int64))) * step.factor >= _MOST).any())


def _shuffled(
    step: steps.Convolution, unit: ByteUnit, conv: x86_blocking.Conv,
    blocks: tuple[x86_blocking.Block, ...], together: int, given: tuple[str, str, str],
) -> None:  # fmt: skip
    """Some rows at a time to a scratch, and from there to where they belong."""
    target = step.target
    room = steps.rounded(target.channels) - target.channels
    one = replace(conv, height=1, y_row=0, room=room)
    name = x86_conv.emit(one, unit, blocks)
    move = x86_moves.shuffle(
        x86_moves.Shuffle(
            channels=target.channels, groups=step.shuffle, height=together, width=target.width,
            x_pixel=conv.y_pixel, y_pixel=target.pixel, y_row=target.row, room=target.room,
        ),
        unit,
    )  # fmt: skip
    scratch = unit.own(conv.width * conv.y_pixel)
    x, w, b = given
    y = unit.at(target, target.origin)
    all_blocks = f"0, {x86_conv.pieces(one, blocks)}"
    price = _work(one) / (4 * unit.machine.lanes)
    with unit.share(conv.height, price), unit.body.block("for (int i = begin; i < end; ++i)"):
        unit.call(name, step, f"{x} + i * {conv.x_row}", w, b, scratch, all_blocks)
        unit.call(move, step, scratch, f"{y} + i * {together * target.row}")


def depthwise(step: steps.Depthwise, unit: ByteUnit) -> None:
    """A depthwise 3x3."""
    if _overflows(step):
        portable.depthwise(step, unit)
        return
    source, target = step.source, step.target
    task = x86_depthwise.Depthwise(
        channels=target.channels, height=target.height, width=target.width, stride=step.stride,
        x_pixel=source.pixel, x_row=source.row, y_pixel=target.pixel, y_row=target.row,
        room=target.room,
    )  # fmt: skip
    packed = x86_depthwise.pack(task, step.weight, step.bias, step.factor, unit.machine)
    name = x86_depthwise.emit(task, unit)
    x, y = unit.at(source, source.start(step.padding)), unit.at(target, target.origin)
    work = 40 * target.channels * target.height * target.width
    unit.spread(name, step, x, unit.constant(packed), y, pieces=target.height, work=work)


def window(step: steps.Maximum | steps.Average, unit: ByteUnit) -> None:
    """A pool."""
    name, memory = x86_windows.emit(windowed(step), unit)
    target = step.target
    x, y = unit.at(step.source, step.source.start(step.padding)), unit.at(target, target.origin)
    work = 4 * step.kernel[0] * step.kernel[1] * target.channels * target.height * target.width
    unit.spread(name, step, x, y, *memory, pieces=target.height, work=work)


def mean(step: steps.Mean, unit: ByteUnit) -> None:
    """A global average."""
    source, target = step.source, step.target
    pixels = source.height * source.width
    most = (255 * pixels + abs(step.start)) * float(step.factor[0])
    if most >= _MOST:
        portable.mean(step, unit)
        return
    task = x86_windows.GlobalAverage(
        channels=target.channels, height=source.height, width=source.width,
        x_pixel=source.pixel, x_row=source.row, start=step.start, factor=float(step.factor[0]),
        room=target.room,
    )  # fmt: skip
    name = x86_windows.global_average(task, unit)
    unit.call(name, step, unit.at(source, source.origin), unit.at(target, target.origin))
