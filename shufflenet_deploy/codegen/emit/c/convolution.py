"""Convolutions: blocks of outputs by vectors of pixels, all accumulators in registers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.c import microkernel, prefetch, tail_over_outputs
from shufflenet_deploy.codegen.emit.c.microkernel import Microkernel
from shufflenet_deploy.codegen.emit.kernel_calls import (
    RANGE_PARAMS,
    Arguments,
    emit_calls,
    run_lengths,
    tile_loops,
)
from shufflenet_deploy.codegen.emit.neon import microkernel as neon_microkernel
from shufflenet_deploy.codegen.emit.neon.aarch64_asm import element_type
from shufflenet_deploy.codegen.emit.unit import StridedRun, TranslationUnit, strided_runs
from shufflenet_deploy.codegen.ir.planar import Convolution
from shufflenet_deploy.codegen.schedule import tail
from shufflenet_deploy.codegen.schedule.register_blocking import (
    ConvShape,
    RegisterBlocking,
    choose_blocking,
)
from shufflenet_deploy.network.graph import FloatArray

_L1_BYTES = 24 << 10
_L2_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class KernelCall:
    """A function, the arguments of its calls, and a call's price and pieces; see ``calls.call``."""

    name: str
    columns: Arguments
    times: int
    price: float
    pieces: int = 1


def convolution(step: Convolution, unit: TranslationUnit) -> None:
    """Write a convolution's kernels, weights and calls."""
    for one in convolution_kernels(step, unit):
        emit_calls(
            unit, one.name, one.columns, one.times, step.name, price=one.price, pieces=one.pieces
        )


def convolution_kernels(step: Convolution, unit: TranslationUnit) -> list[KernelCall]:
    """Write its kernels and weights."""
    per_group = len(step.target.planes) // step.groups
    classes: dict[tuple[int, int], list[tuple[int, StridedRun]]] = defaultdict(list)
    for group in range(step.groups):
        for run in strided_runs(step.target.planes, group * per_group, per_group):
            classes[run.count, run.step].append((group, run))
    found = []
    for (count, stride), members in classes.items():
        found += _run_kernels(step, unit, count, stride, members)
    return found


def _run_kernels(
    step: Convolution,
    unit: TranslationUnit,
    count: int,
    stride: int,
    members: list[tuple[int, StridedRun]],
) -> list[KernelCall]:
    """Those for outputs that come in equal runs: all whole vectors, and the last pixels."""
    lanes = unit.machine.lanes
    depth = step.weight.shape[1] * step.weight.shape[2]
    beside = tail.packed_tail_pixels(unit.machine, step.target.layout.span)
    rest = 0 if beside else tail_over_outputs.tail_pixels(step, lanes, count)
    work = ConvShape(
        outputs=count,
        vectors=step.target.layout.vectors(lanes) - (rest > 0 or beside > 0),
        depth=depth,
        residual=len(step.sources) > 1,
        plane=unit.machine.element_bytes * step.target.layout.plane * stride,
        assembly=_is_assembly(step, unit),
        floors=step.floors is not None,
        tail=beside,
    )
    blocking = choose_blocking(unit.machine, work)
    weights = [step.weight[run.first : run.first + run.count] for _, run in members]
    starts = step.bias if step.floors is None else step.floors
    biases = [starts[run.first : run.first + run.count] for _, run in members]
    packed = [pack_weights(weight, blocking.outputs) for weight in weights]
    columns = _arguments(step, unit, members, (packed, biases), 0)
    if _is_assembly(step, unit):
        name = _asm_kernel(step, unit, count, stride, blocking)
        if _in_place(step):
            del columns[3]  # what is added: the target
    else:
        name = _c_kernel(step, unit, count, stride, blocking, beside)
    price = work.depth * count * work.vectors
    pieces = _work_items(step, unit, count, blocking)
    times = len(members)
    found = [KernelCall(name=name, columns=columns, times=times, price=price, pieces=pieces)]
    if rest:
        packed = [tail_over_outputs.pack_weights(weight, lanes, rest) for weight in weights]
        biases = [tail_over_outputs.pad_bias(bias, lanes) for bias in biases]
        columns = _arguments(step, unit, members, (packed, biases), step.target.layout.span - rest)
        name = tail_over_outputs.emit_kernel(step, unit, count, stride, rest)
        price = work.depth * ceil(count / lanes) * rest
        found.append(KernelCall(name=name, columns=columns, times=times, price=price))
    return found


def _arguments(
    step: Convolution,
    unit: TranslationUnit,
    members: list[tuple[int, StridedRun]],
    arrays: tuple[list[FloatArray], list[FloatArray]],
    pixel: int,
) -> Arguments:
    """A kernel's arguments from ``pixel`` on: source, weights, biases, what is added, target."""
    size = step.weight.shape[1] * step.spread
    columns: Arguments = [
        (step.source, [step.source.offset(group * size) + pixel for group, _ in members])
    ]
    for array in arrays:
        at = unit.numbers(np.concatenate(array))
        columns.append((None, [at + i * array[0].size for i in range(len(members))]))
    for other in step.sources[1:]:
        columns.append((other, [other.offset(run.first) + pixel for _, run in members]))
    plane = step.target.layout.plane
    columns.append((step.target, [run.plane * plane + pixel for _, run in members]))
    return columns


def pack_weights(weight: FloatArray, sizes: Sequence[int]) -> FloatArray:
    """``(outputs, in, taps)`` in the order in which the blocks read: block, in, tap, output."""
    parts, first = [], 0
    for size in sizes:
        parts.append(weight[first : first + size].transpose(1, 2, 0).ravel())
        first += size
    return np.concatenate(parts).astype(np.float32)


def _work_items(
    step: Convolution, unit: TranslationUnit, count: int, blocking: RegisterBlocking
) -> int:
    """How many pieces a kernel's outer loop is over."""
    if _pixel_loop_outside(step, unit, count, blocking):
        return sum(times for _, times in blocking.pixels)
    return len(blocking.outputs)


def _c_kernel(
    step: Convolution,
    unit: TranslationUnit,
    count: int,
    stride: int,
    blocking: RegisterBlocking,
    beside: int,
) -> str:
    """The loops over blocks; whichever of weights and pixels is dearer to read again is outside.

    The last block of pixels has ``beside`` more, behind its vectors.
    """
    residual = len(step.sources) > 1
    depth = step.weight.shape[1] * step.weight.shape[2]
    other = step.sources[1].layout.plane if residual else 0
    plane = step.target.layout.plane * stride
    outputs, pixels = run_lengths(blocking.outputs), _with_tail(blocking.pixels, beside)
    pieces = _work_items(step, unit, count, blocking)
    code = CWriter(depth=1)

    def block(across: tuple[int, ...], down: tuple[int, ...], *, asks: bool = False) -> None:
        """That of the outputs from ``o`` on, and the pixels from ``p`` on."""
        given = [f"x + p, w + o * {depth}, b + o", f"y + o * {plane} + p"]
        if residual:
            given.insert(1, f"r + o * {other} + p")
        name = microkernel.emit_microkernel(
            step, unit, Microkernel(down[0], across[0], across[2], asks), plane, other
        )
        code(f"{name}({', '.join(given)});")

    lanes = unit.machine.lanes
    if _pixel_loop_outside(step, unit, count, blocking):
        far = len(step.taps) == 1 and prefetch.exceeds_l2(step.source.layout, unit.machine)
        for across in tile_loops(code, "p", pixels, lanes, pieces=pieces):
            for down in tile_loops(code, "o", _peel_first(outputs) if far else outputs):
                block(across, down, asks=len(down) > 2)
    else:
        for down in tile_loops(code, "o", outputs, pieces=pieces):
            for across in tile_loops(code, "p", pixels, lanes):
                block(across, down)
    head = "const real *x, const real *w, const real *b, "
    head += ("const real *r, " if residual else "") + "real *y"
    return unit.kernel("conv", f"LOOP void @({head}{RANGE_PARAMS if pieces > 1 else ''})", code)


def _peel_first(runs: list[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Runs of blocks of outputs, of which the first block, marked by a third number, is apart."""
    (size, times), *rest = runs
    return [(size, 1, True), *([(size, times - 1)] if times > 1 else []), *rest]


def _with_tail(runs: tuple[tuple[int, int], ...], beside: int) -> list[tuple[int, int, int]]:
    """Runs of blocks of pixels as (vectors, times, pixels behind); only the last block has any."""
    (size, times), before = runs[-1], [(size, times, 0) for size, times in runs[:-1]]
    if beside and times > 1:
        before.append((size, times - 1, 0))
        times = 1
    return [*before, (size, times, beside)]


def _is_assembly(step: Convolution, unit: TranslationUnit) -> bool:
    if not unit.machine.by_lane:
        return False
    return len(step.taps) == 1 or neon_microkernel.is_supported(*_tap_offsets(step, unit))


def _tap_offsets(step: Convolution, unit: TranslationUnit) -> tuple[tuple[int, ...], int]:
    """Where the pixels of a channel are, and the next channel's, in bytes."""
    size = unit.machine.element_bytes
    jump = size * step.source.layout.plane * step.spread
    return tuple(size * tap for tap in step.taps), jump


def _in_place(step: Convolution) -> bool:
    """Whether the result replaces what is added to it."""
    return len(step.sources) > 1 and step.sources[1] == step.target


def _asm_kernel(
    step: Convolution, unit: TranslationUnit, count: int, stride: int, blocking: RegisterBlocking
) -> str:
    """The same loops for strips in assembly, which have the inner loop in them."""
    lanes, code = unit.machine.lanes, CWriter(depth=1)
    outputs = run_lengths(blocking.outputs)
    pieces = _work_items(step, unit, count, blocking)
    if _pixel_loop_outside(step, unit, count, blocking):
        for vectors, *_ in tile_loops(code, "p", blocking.pixels, lanes, pieces=pieces):
            first = 0
            for size, times in outputs:
                strip = _asm_spec(step, unit, stride, (size, vectors, times), down=True)
                code(_asm_call(strip, unit, "p", str(first)))
                first += size * times
    else:
        for size, *_ in tile_loops(code, "o", outputs, pieces=pieces):
            pixel = 0
            for vectors, times in blocking.pixels:
                strip = _asm_spec(step, unit, stride, (size, vectors, times), down=False)
                code(_asm_call(strip, unit, str(pixel), "o"))
                pixel += vectors * times * lanes
    head = ", ".join(
        neon_microkernel.c_parameters(_asm_spec(step, unit, stride, (1, 1, 1), down=True))
    )
    return unit.kernel("conv", f"LOOP void @({head}{RANGE_PARAMS if pieces > 1 else ''})", code)


def _asm_spec(
    step: Convolution,
    unit: TranslationUnit,
    stride: int,
    shape: tuple[int, int, int],
    *,
    down: bool,
) -> neon_microkernel.MicrokernelSpec:
    outputs, vectors, times = shape
    taps, jump = _tap_offsets(step, unit)
    size = unit.machine.element_bytes
    return neon_microkernel.MicrokernelSpec(
        element=element_type(size),
        outputs=outputs,
        vectors=vectors,
        channels=step.weight.shape[1],
        taps=taps,
        jump=jump,
        plane=size * step.target.layout.plane * stride,
        other=size * step.sources[1].layout.plane if len(step.sources) > 1 else 0,
        in_place=_in_place(step),
        activation=step.activation,
        times=times,
        down=down,
        floors=step.floors is not None,
        ordered=unit.machine.ordered,
    )


def _asm_call(
    strip: neon_microkernel.MicrokernelSpec, unit: TranslationUnit, pixel: str, output: str
) -> str:
    text = CWriter(depth=1)
    text(*neon_microkernel.asm_lines(strip))
    head = f"INLINE void @({', '.join(neon_microkernel.c_parameters(strip))})"
    name = unit.kernel(f"strip{strip.outputs}x{strip.vectors}", head, text)
    begins = {
        "x": f"x + {pixel}",
        "w": f"w + {output} * {strip.depth}",
        "b": f"b + {output}",
        "r": f"r + {output} * {strip.other // strip.element.size} + {pixel}",
        "y": f"y + {output} * {strip.plane // strip.element.size} + {pixel}",
    }
    return f"{name}({', '.join(begins[each] for each in neon_microkernel.pointer_names(strip))});"


def _pixel_loop_outside(
    step: Convolution, unit: TranslationUnit, count: int, blocking: RegisterBlocking
) -> bool:
    if len(blocking.outputs) > 1 == sum(times for _, times in blocking.pixels):
        return False  # nothing is read again, and there are pieces to share
    size = unit.machine.element_bytes
    x_bytes = size * step.weight.shape[1] * step.spread * step.source.layout.plane
    w_bytes = size * count * step.weight.shape[1] * step.weight.shape[2]
    if w_bytes > _L2_BYTES:
        return False  # from memory once is enough
    blocks_of_pixels = sum(times for _, times in blocking.pixels)
    weights_again = w_bytes * blocks_of_pixels if w_bytes > _L1_BYTES else 0
    pixels_again = x_bytes * len(blocking.outputs) if x_bytes > _L1_BYTES else 0
    return weights_again <= pixels_again
