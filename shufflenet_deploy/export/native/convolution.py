"""Convolutions: blocks of outputs by vectors of pixels, all accumulators in registers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from shufflenet_deploy.export.graph import FloatArray
from shufflenet_deploy.export.native import ahead, edge, neon, tail, tile
from shufflenet_deploy.export.native.assembly import element
from shufflenet_deploy.export.native.blocking import Blocking, Work, choose
from shufflenet_deploy.export.native.calls import SOME, Columns, blocks, call, grouped
from shufflenet_deploy.export.native.program import Convolution
from shufflenet_deploy.export.native.text import Code, Run, Unit, runs
from shufflenet_deploy.export.native.tile import Block

_L1_BYTES = 24 << 10
_L2_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A function, the arguments of its calls, and a call's price and pieces; see ``calls.call``."""

    name: str
    columns: Columns
    times: int
    price: float
    pieces: int = 1


def emit(step: Convolution, unit: Unit) -> None:
    """Write a convolution's kernels, weights and calls."""
    for one in kernels(step, unit):
        call(unit, one.name, one.columns, one.times, step.name, price=one.price, pieces=one.pieces)


def kernels(step: Convolution, unit: Unit) -> list[Kernel]:
    """Write its kernels and weights."""
    per_group = len(step.target.planes) // step.groups
    classes: dict[tuple[int, int], list[tuple[int, Run]]] = defaultdict(list)
    for group in range(step.groups):
        for run in runs(step.target.planes, group * per_group, per_group):
            classes[run.count, run.step].append((group, run))
    found = []
    for (count, stride), members in classes.items():
        found += _kernels(step, unit, count, stride, members)
    return found


def _kernels(
    step: Convolution, unit: Unit, count: int, stride: int, members: list[tuple[int, Run]]
) -> list[Kernel]:
    """Those for outputs that come in equal runs: all whole vectors, and the last pixels."""
    lanes = unit.machine.lanes
    depth = step.weight.shape[1] * step.weight.shape[2]
    beside = tail.pixels(unit.machine, step.target.layout.span)
    rest = 0 if beside else edge.pixels(step, lanes, count)
    work = Work(
        outputs=count,
        vectors=step.target.layout.vectors(lanes) - (rest > 0 or beside > 0),
        depth=depth,
        residual=len(step.sources) > 1,
        plane=unit.machine.element_bytes * step.target.layout.plane * stride,
        assembly=_in_assembly(step, unit),
        floors=step.floors is not None,
        tail=beside,
    )
    blocking = choose(unit.machine, work)
    weights = [step.weight[run.first : run.first + run.count] for _, run in members]
    starts = step.bias if step.floors is None else step.floors
    biases = [starts[run.first : run.first + run.count] for _, run in members]
    packed = [pack(weight, blocking.outputs) for weight in weights]
    columns = _columns(step, unit, members, (packed, biases), 0)
    if _in_assembly(step, unit):
        name = _strips(step, unit, count, stride, blocking)
        if _in_place(step):
            del columns[3]  # what is added: the target
    else:
        name = _kernel(step, unit, count, stride, blocking, beside)
    price = work.depth * count * work.vectors
    pieces = _pieces(step, unit, count, blocking)
    times = len(members)
    found = [Kernel(name=name, columns=columns, times=times, price=price, pieces=pieces)]
    if rest:
        packed = [edge.pack(weight, lanes, rest) for weight in weights]
        biases = [edge.padded(bias, lanes) for bias in biases]
        columns = _columns(step, unit, members, (packed, biases), step.target.layout.span - rest)
        name = edge.kernel(step, unit, count, stride, rest)
        price = work.depth * ceil(count / lanes) * rest
        found.append(Kernel(name=name, columns=columns, times=times, price=price))
    return found


def _columns(
    step: Convolution,
    unit: Unit,
    members: list[tuple[int, Run]],
    arrays: tuple[list[FloatArray], list[FloatArray]],
    pixel: int,
) -> Columns:
    """A kernel's arguments from ``pixel`` on: source, weights, biases, what is added, target."""
    size = step.weight.shape[1] * step.spread
    columns: Columns = [
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


def pack(weight: FloatArray, sizes: Sequence[int]) -> FloatArray:
    """``(outputs, in, taps)`` in the order in which the blocks read: block, in, tap, output."""
    parts, first = [], 0
    for size in sizes:
        parts.append(weight[first : first + size].transpose(1, 2, 0).ravel())
        first += size
    return np.concatenate(parts).astype(np.float32)


def _pieces(step: Convolution, unit: Unit, count: int, blocking: Blocking) -> int:
    """How many pieces a kernel's outer loop is over."""
    if _pixels_outside(step, unit, count, blocking):
        return sum(times for _, times in blocking.pixels)
    return len(blocking.outputs)


def _kernel(
    step: Convolution, unit: Unit, count: int, stride: int, blocking: Blocking, beside: int
) -> str:
    """The loops over blocks; whichever of weights and pixels is dearer to read again is outside.

    The last block of pixels has ``beside`` more, behind its vectors.
    """
    residual = len(step.sources) > 1
    depth = step.weight.shape[1] * step.weight.shape[2]
    other = step.sources[1].layout.plane if residual else 0
    plane = step.target.layout.plane * stride
    outputs, pixels = grouped(blocking.outputs), _with_tail(blocking.pixels, beside)
    pieces = _pieces(step, unit, count, blocking)
    code = Code(depth=1)

    def block(across: tuple[int, ...], down: tuple[int, ...], *, asks: bool = False) -> None:
        """That of the outputs from ``o`` on, and the pixels from ``p`` on."""
        given = [f"x + p, w + o * {depth}, b + o", f"y + o * {plane} + p"]
        if residual:
            given.insert(1, f"r + o * {other} + p")
        name = tile.write(step, unit, Block(down[0], across[0], across[2], asks), plane, other)
        code(f"{name}({', '.join(given)});")

    lanes = unit.machine.lanes
    if _pixels_outside(step, unit, count, blocking):
        far = len(step.taps) == 1 and ahead.beyond_own(step.source.layout, unit.machine)
        for across in blocks(code, "p", pixels, lanes, pieces=pieces):
            for down in blocks(code, "o", _first_apart(outputs) if far else outputs):
                block(across, down, asks=len(down) > 2)
    else:
        for down in blocks(code, "o", outputs, pieces=pieces):
            for across in blocks(code, "p", pixels, lanes):
                block(across, down)
    head = "const real *x, const real *w, const real *b, "
    head += ("const real *r, " if residual else "") + "real *y"
    return unit.kernel("conv", f"LOOP void @({head}{SOME if pieces > 1 else ''})", code)


def _first_apart(runs: list[tuple[int, int]]) -> list[tuple[int, ...]]:
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


def _in_assembly(step: Convolution, unit: Unit) -> bool:
    if not unit.machine.by_lane:
        return False
    return len(step.taps) == 1 or neon.suits(*_reach(step, unit))


def _reach(step: Convolution, unit: Unit) -> tuple[tuple[int, ...], int]:
    """Where the pixels of a channel are, and the next channel's, in bytes."""
    size = unit.machine.element_bytes
    jump = size * step.source.layout.plane * step.spread
    return tuple(size * tap for tap in step.taps), jump


def _in_place(step: Convolution) -> bool:
    """Whether the result replaces what is added to it."""
    return len(step.sources) > 1 and step.sources[1] == step.target


def _strips(step: Convolution, unit: Unit, count: int, stride: int, blocking: Blocking) -> str:
    """The same loops for strips in assembly, which have the inner loop in them."""
    lanes, code = unit.machine.lanes, Code(depth=1)
    outputs = grouped(blocking.outputs)
    pieces = _pieces(step, unit, count, blocking)
    if _pixels_outside(step, unit, count, blocking):
        for vectors, *_ in blocks(code, "p", blocking.pixels, lanes, pieces=pieces):
            first = 0
            for size, times in outputs:
                strip = _strip(step, unit, stride, (size, vectors, times), down=True)
                code(_strip_call(strip, unit, "p", str(first)))
                first += size * times
    else:
        for size, *_ in blocks(code, "o", outputs, pieces=pieces):
            pixel = 0
            for vectors, times in blocking.pixels:
                strip = _strip(step, unit, stride, (size, vectors, times), down=False)
                code(_strip_call(strip, unit, str(pixel), "o"))
                pixel += vectors * times * lanes
    head = ", ".join(neon.declared(_strip(step, unit, stride, (1, 1, 1), down=True)))
    return unit.kernel("conv", f"LOOP void @({head}{SOME if pieces > 1 else ''})", code)


def _strip(
    step: Convolution, unit: Unit, stride: int, shape: tuple[int, int, int], *, down: bool
) -> neon.Strip:
    outputs, vectors, times = shape
    taps, jump = _reach(step, unit)
    size = unit.machine.element_bytes
    return neon.Strip(
        element=element(size),
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


def _strip_call(strip: neon.Strip, unit: Unit, pixel: str, output: str) -> str:
    text = Code(depth=1)
    text(*neon.write(strip))
    head = f"INLINE void @({', '.join(neon.declared(strip))})"
    name = unit.kernel(f"strip{strip.outputs}x{strip.vectors}", head, text)
    begins = {
        "x": f"x + {pixel}",
        "w": f"w + {output} * {strip.depth}",
        "b": f"b + {output}",
        "r": f"r + {output} * {strip.other // strip.element.size} + {pixel}",
        "y": f"y + {output} * {strip.plane // strip.element.size} + {pixel}",
    }
    return f"{name}({', '.join(begins[each] for each in neon.arguments(strip))});"


def _pixels_outside(step: Convolution, unit: Unit, count: int, blocking: Blocking) -> bool:
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
