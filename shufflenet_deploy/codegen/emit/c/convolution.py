"""Convolutions by register blocking: output channels by vectors of pixels.

All accumulators of a block stay in registers over the whole reduction; ``schedule`` chooses the
blocks. Blocks are C with vector extensions, or assembly on AArch64.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from shufflenet_deploy.codegen.emit.neon.microkernel_registers import (
    NO_PREFETCH,
    MicrokernelSpec,
    Prefetch,
    pointer_names,
)
from shufflenet_deploy.codegen.emit.unit import StridedRun, TranslationUnit, strided_runs
from shufflenet_deploy.codegen.ir.ops import FpConvolution
from shufflenet_deploy.codegen.ir.planar import PlanarView
from shufflenet_deploy.codegen.schedule import tail
from shufflenet_deploy.codegen.schedule.partition import Blocking
from shufflenet_deploy.codegen.schedule.register_blocking import (
    ConvShape,
    choose_blocking,
)
from shufflenet_deploy.cores import SMALLEST_L1_SHARE_BYTES
from shufflenet_deploy.network.graph import Activation, FloatArray

#: Channels between a pixel that is prefetched and those in use.
_CHANNELS_AHEAD = 8
_L2_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class KernelCall:
    """A kernel with the arguments and the cost of its calls; see ``kernel_calls.emit_calls``."""

    name: str
    arguments: Arguments
    times: int
    cost: float
    work_items: int = 1


def convolution(op: FpConvolution, unit: TranslationUnit) -> None:
    """Emit a convolution: kernels, packed weights and calls."""
    for one in convolution_kernels(op, unit):
        emit_calls(
            unit,
            one.name,
            one.arguments,
            one.times,
            op.name,
            cost=one.cost,
            work_items=one.work_items,
        )


def convolution_kernels(op: FpConvolution, unit: TranslationUnit) -> list[KernelCall]:
    """Emit a convolution's kernels and packed weights; the caller emits the calls."""
    per_group = len(op.target.planes) // op.groups
    classes: dict[tuple[int, int], list[tuple[int, StridedRun]]] = defaultdict(list)
    for group in range(op.groups):
        for run in strided_runs(op.target.planes, group * per_group, per_group):
            classes[run.count, run.step].append((group, run))
    found = []
    for (count, stride), members in classes.items():
        found += _run_kernels(op, unit, count, stride, members)
    return found


def _run_kernels(
    op: FpConvolution,
    unit: TranslationUnit,
    count: int,
    stride: int,
    members: list[tuple[int, StridedRun]],
) -> list[KernelCall]:
    """Kernels for output channels in equally strided runs: whole vectors, then the tail."""
    lanes = unit.cpu.lanes
    depth = op.weight.shape[1] * op.weight.shape[2]
    tail_pixels = tail.packed_tail_pixels(unit.cpu, op.target.layout.span)
    rest = 0 if tail_pixels else tail_over_outputs.tail_pixels(op, lanes, count)
    shape = ConvShape(
        outputs=count,
        vectors=op.target.layout.vectors(lanes) - (rest > 0 or tail_pixels > 0),
        depth=depth,
        residual=len(op.sources) > 1,
        channel_stride=unit.cpu.element_bytes * op.target.layout.channel_stride * stride,
        assembly=_is_assembly(op, unit),
        clamp_min=op.epilogue.clamp_min is not None,
        tail=tail_pixels,
        scratch=4 if op.epilogue.activation is Activation.HARD_SWISH else 0,
    )
    blocking = choose_blocking(unit.cpu, shape)
    weights = [op.weight[run.first : run.first + run.count] for _, run in members]
    starts = op.bias if op.epilogue.clamp_min is None else op.epilogue.clamp_min
    biases = [starts[run.first : run.first + run.count] for _, run in members]
    packed = [pack_weights(weight, blocking.outputs) for weight in weights]
    arguments = _arguments(op, unit, members, (packed, biases), 0)
    if _is_assembly(op, unit):
        name = _asm_kernel(op, unit, count, stride, blocking)
        if _in_place(op):
            del arguments[3]  # what is added: the target
    else:
        name = _c_kernel(op, unit, count, stride, blocking, tail_pixels)
    cost = shape.depth * count * shape.vectors
    work_items = _work_items(op, unit, count, blocking)
    times = len(members)
    found = [
        KernelCall(name=name, arguments=arguments, times=times, cost=cost, work_items=work_items)
    ]
    if rest:
        packed = [tail_over_outputs.pack_weights(weight, lanes, rest) for weight in weights]
        biases = [tail_over_outputs.pad_bias(bias, lanes) for bias in biases]
        arguments = _arguments(op, unit, members, (packed, biases), op.target.layout.span - rest)
        name = tail_over_outputs.emit_kernel(op, unit, count, stride, rest)
        cost = shape.depth * ceil(count / lanes) * rest
        found.append(KernelCall(name=name, arguments=arguments, times=times, cost=cost))
    return found


def _arguments(
    op: FpConvolution,
    unit: TranslationUnit,
    members: list[tuple[int, StridedRun]],
    arrays: tuple[list[FloatArray], list[FloatArray]],
    pixel: int,
) -> Arguments:
    """A kernel's arguments from ``pixel`` on: source, weights, biases, residual, target."""
    size = op.weight.shape[1] * op.window.planes_per_channel
    arguments: Arguments = [
        (op.source, [op.source.offset(group * size) + pixel for group, _ in members])
    ]
    for array in arrays:
        at = unit.add_weights(np.concatenate(array))
        arguments.append((None, [at + i * array[0].size for i in range(len(members))]))
    for other in op.sources[1:]:
        arguments.append((other, [other.offset(run.first) + pixel for _, run in members]))
    plane = op.target.layout.channel_stride
    arguments.append((op.target, [run.first_plane * plane + pixel for _, run in members]))
    return arguments


def pack_weights(weight: FloatArray, sizes: Sequence[int]) -> FloatArray:
    """Pack weights ``(out, in, taps)`` in the order in which blocks read: block, in, tap, out."""
    parts, first = [], 0
    for size in sizes:
        parts.append(weight[first : first + size].transpose(1, 2, 0).ravel())
        first += size
    return np.concatenate(parts).astype(np.float32)


def _work_items(op: FpConvolution, unit: TranslationUnit, count: int, blocking: Blocking) -> int:
    """Iterations of a kernel's outer loop, which threads share."""
    if _pixel_loop_outside(op, unit, count, blocking):
        return sum(times for _, times in blocking.pixels)
    return len(blocking.outputs)


def _c_kernel(
    op: FpConvolution,
    unit: TranslationUnit,
    count: int,
    stride: int,
    blocking: Blocking,
    tail_pixels: int,
) -> str:
    """Loop nest over blocks; the operand that is dearer to stream again is in the outer loop.

    The last block of pixels computes ``tail_pixels`` more, after its vectors.
    """
    residual = len(op.sources) > 1
    depth = op.weight.shape[1] * op.weight.shape[2]
    other = op.sources[1].layout.channel_stride if residual else 0
    plane = op.target.layout.channel_stride * stride
    outputs, pixels = run_lengths(blocking.outputs), _with_tail(blocking.pixels, tail_pixels)
    work_items = _work_items(op, unit, count, blocking)
    code = CWriter(depth=1)

    def block(across: tuple[int, ...], down: tuple[int, ...], *, prefetches: bool = False) -> None:
        """Call the microkernel for output channels from ``o`` and pixels from ``p`` on."""
        given = [f"x + p, w + o * {depth}, b + o", f"y + o * {plane} + p"]
        if residual:
            given.insert(1, f"r + o * {other} + p")
        name = microkernel.emit_microkernel(
            op, unit, Microkernel(down[0], across[0], across[2], prefetches), plane, other
        )
        code(f"{name}({', '.join(given)});")

    lanes = unit.cpu.lanes
    if _pixel_loop_outside(op, unit, count, blocking):
        far = len(op.window.taps) == 1 and prefetch.exceeds_l2(op.source.layout, unit.cpu)
        for across in tile_loops(code, "p", pixels, lanes, work_items=work_items):
            for down in tile_loops(code, "o", _peel_first(outputs) if far else outputs):
                block(across, down, prefetches=len(down) > 2)
    else:
        for down in tile_loops(code, "o", outputs, work_items=work_items):
            for across in tile_loops(code, "p", pixels, lanes):
                block(across, down)
    head = "const real *x, const real *w, const real *b, "
    head += ("const real *r, " if residual else "") + "real *y"
    return unit.kernel("conv", f"LOOP void @({head}{RANGE_PARAMS if work_items > 1 else ''})", code)


def _peel_first(runs: Sequence[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Peel the first block of output channels, marked by a third element: it prefetches."""
    (size, times), *rest = runs
    return [(size, 1, True), *([(size, times - 1)] if times > 1 else []), *rest]


def _with_tail(runs: tuple[tuple[int, int], ...], tail_pixels: int) -> list[tuple[int, int, int]]:
    """Runs of pixel blocks as (vectors, times, tail pixels); only the last block has a tail."""
    (size, times), before = runs[-1], [(size, times, 0) for size, times in runs[:-1]]
    if tail_pixels and times > 1:
        before.append((size, times - 1, 0))
        times = 1
    return [*before, (size, times, tail_pixels)]


def _is_assembly(op: FpConvolution, unit: TranslationUnit) -> bool:
    if not unit.cpu.fma_by_lane:
        return False
    return len(op.window.taps) == 1 or neon_microkernel.is_supported(*_tap_offsets(op, unit))


def _tap_offsets(op: FpConvolution, unit: TranslationUnit) -> tuple[tuple[int, ...], int]:
    """Byte offsets of a channel's taps, and the byte distance to the next channel."""
    size = unit.cpu.element_bytes
    jump = size * op.source.layout.channel_stride * op.window.planes_per_channel
    return tuple(size * tap for tap in op.window.taps), jump


def _in_place(op: FpConvolution) -> bool:
    """True if the result overwrites the residual."""
    return len(op.sources) > 1 and op.sources[1] == op.target


def _asm_kernel(
    op: FpConvolution, unit: TranslationUnit, count: int, stride: int, blocking: Blocking
) -> str:
    """The same loop nest for assembly microkernels, which have the inner loop in them.

    What the inner loop reads again is prefetched once, or always if L1 does not keep it.
    """
    lanes, code = unit.cpu.lanes, CWriter(depth=1)
    outputs, pixels = run_lengths(blocking.outputs), list(blocking.pixels)
    work_items = _work_items(op, unit, count, blocking)
    ahead, kept_bytes = _prefetch(op, unit, blocking), unit.cpu.prefetch_beyond_bytes
    x_bytes, w_bytes = _bytes_read(op, unit, count)
    if _pixel_loop_outside(op, unit, count, blocking):
        downs = _peel_first(outputs) if ahead.pixels else outputs
        acrosses = _peel_first(pixels) if ahead.weights and w_bytes <= kept_bytes else pixels
        keeps_little = unit.cpu.in_order and ahead.pixels and len(op.window.taps) == 1
        for vectors, _, *again in tile_loops(code, "p", acrosses, lanes, work_items=work_items):
            first = 0
            for size, times, *fetches in downs:
                strip = _asm_spec(op, unit, stride, (size, vectors, times), advances_outputs=True)
                weights = ahead.weights if again or acrosses is pixels else 0
                again_read = _CHANNELS_AHEAD if keeps_little and not fetches else 0
                some = replace(ahead, pixels=bool(fetches), channels=again_read, weights=weights)
                code(_asm_call(replace(strip, prefetch=some), unit, "p", str(first)))
                first += size * times
    else:
        downs = _peel_first(outputs) if ahead.pixels and x_bytes <= kept_bytes else outputs
        acrosses = _peel_first(pixels) if ahead.weights and kept_bytes else pixels
        for size, _, *again in tile_loops(code, "o", downs, work_items=work_items):
            pixel = 0
            for vectors, times, *fetches in acrosses:
                strip = _asm_spec(op, unit, stride, (size, vectors, times), advances_outputs=False)
                fetched = ahead.pixels and (bool(again) or downs is outputs)
                weights = ahead.weights if fetches or acrosses is pixels else 0
                some = replace(ahead, pixels=fetched, weights=weights)
                code(_asm_call(replace(strip, prefetch=some), unit, str(pixel), "o"))
                pixel += vectors * times * lanes
    head = ", ".join(
        neon_microkernel.c_parameters(_asm_spec(op, unit, stride, (1, 1, 1), advances_outputs=True))
    )
    return unit.kernel("conv", f"LOOP void @({head}{RANGE_PARAMS if work_items > 1 else ''})", code)


def _prefetch(op: FpConvolution, unit: TranslationUnit, blocking: Blocking) -> Prefetch:
    """The prefetches of assembly microkernels: maps that L1 does not keep, and weights.

    The caller's input is not prefetched, for nothing is known of what lies behind it.
    """
    cpu = unit.cpu
    if not cpu.weight_prefetch_bytes:
        return NO_PREFETCH
    source, residuals = op.source, op.sources[1:]
    tiles = sum(times for _, times in blocking.pixels)

    def far(view: PlanarView) -> bool:
        size = cpu.element_bytes * len(view.planes) * view.layout.channel_stride
        return view.buffer >= 0 and size > cpu.prefetch_beyond_bytes

    return Prefetch(
        pixels=tiles > 1 and far(source),
        residual=tiles > 1 and any(map(far, residuals)),
        weights=cpu.weight_prefetch_bytes,
    )


def _asm_spec(
    op: FpConvolution,
    unit: TranslationUnit,
    stride: int,
    shape: tuple[int, int, int],
    *,
    advances_outputs: bool,
) -> MicrokernelSpec:
    outputs, vectors, times = shape
    taps, jump = _tap_offsets(op, unit)
    size = unit.cpu.element_bytes
    return MicrokernelSpec(
        element=element_type(size),
        outputs=outputs,
        vectors=vectors,
        channels=op.weight.shape[1],
        taps=taps,
        source_channel_stride=jump,
        channel_stride=size * op.target.layout.channel_stride * stride,
        residual_channel_stride=size * op.sources[1].layout.channel_stride
        if len(op.sources) > 1
        else 0,
        in_place=_in_place(op),
        activation=op.epilogue.activation,
        times=times,
        advances_outputs=advances_outputs,
        clamp_min=op.epilogue.clamp_min is not None,
        load_wait=unit.cpu.load_wait,
        split_loads=unit.cpu.split_loads,
    )


def _asm_call(strip: MicrokernelSpec, unit: TranslationUnit, pixel: str, output: str) -> str:
    text = CWriter(depth=1)
    text(*neon_microkernel.asm_lines(strip))
    head = f"INLINE void @({', '.join(neon_microkernel.c_parameters(strip))})"
    name = unit.kernel(f"conv_{strip.outputs}x{strip.vectors}v", head, text, "asm")
    begins = {
        "x": f"x + {pixel}",
        "w": f"w + {output} * {strip.depth}",
        "b": f"b + {output}",
        "r": f"r + {output} * {strip.residual_channel_stride // strip.element.size} + {pixel}",
        "y": f"y + {output} * {strip.channel_stride // strip.element.size} + {pixel}",
    }
    return f"{name}({', '.join(begins[each] for each in pointer_names(strip))});"


def _pixel_loop_outside(
    op: FpConvolution, unit: TranslationUnit, count: int, blocking: Blocking
) -> bool:
    if len(blocking.outputs) > 1 == sum(times for _, times in blocking.pixels):
        return False  # nothing is streamed twice, and there are work items to share
    x_bytes, w_bytes = _bytes_read(op, unit, count)
    if w_bytes > _L2_BYTES:
        return False  # from memory once is enough
    blocks_of_pixels = sum(times for _, times in blocking.pixels)
    weights_again = w_bytes * blocks_of_pixels if w_bytes > SMALLEST_L1_SHARE_BYTES else 0
    pixels_again = x_bytes * len(blocking.outputs) if x_bytes > SMALLEST_L1_SHARE_BYTES else 0
    return weights_again <= pixels_again


def _bytes_read(op: FpConvolution, unit: TranslationUnit, count: int) -> tuple[int, int]:
    """Bytes of the pixels and of the weights that ``count`` output channels read."""
    size, (_, channels, taps) = unit.cpu.element_bytes, op.weight.shape
    x_bytes = size * channels * op.window.planes_per_channel * op.source.layout.channel_stride
    return x_bytes, size * count * channels * taps
