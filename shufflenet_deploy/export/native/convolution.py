"""Convolutions: blocks of outputs by vectors of pixels, all accumulators in registers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from shufflenet_deploy.export.graph import Activation, FloatArray
from shufflenet_deploy.export.native import neon
from shufflenet_deploy.export.native.blocking import Blocking, Work, choose
from shufflenet_deploy.export.native.program import Convolution, Place
from shufflenet_deploy.export.native.text import Code, Run, Unit, runs, series

_UNROLL = (5, 4)  # channels in one straight piece of code, the best first
_UNROLLED_TAPS = 800  # multiply-adds in one straight piece of code
_L1_BYTES = 24 << 10

#: Arguments of a kernel: a place (None for the weights) and an offset for each call.
Columns = list[tuple[Place | None, list[int]]]


def activate(activation: Activation, value: str, suffix: str = "") -> str:
    """C for the activation of a vector."""
    if activation is Activation.RELU:
        return f"MAX{suffix}({value}, zero)"
    if activation is Activation.RELU6:
        return f"MIN{suffix}(MAX{suffix}({value}, zero), six)"
    return value


def constants(activation: Activation, kind: str = "vf") -> list[str]:
    """Declarations that ``activate`` needs."""
    lines = []
    if activation in {Activation.RELU, Activation.RELU6}:
        lines.append(f"const {kind} zero = {{0}};")
    if activation is Activation.RELU6:
        lines.append(f"const {kind} six = 6.0f - ({kind}){{0}};")
    return lines


def emit(step: Convolution, unit: Unit) -> None:
    """Write a convolution's kernels, weights and calls."""
    per_group = len(step.target.planes) // step.groups
    classes: dict[tuple[int, int], list[tuple[int, Run]]] = defaultdict(list)
    for group in range(step.groups):
        for run in runs(step.target.planes, group * per_group, per_group):
            classes[run.count, run.step].append((group, run))
    for (count, stride), members in classes.items():
        _emit_class(step, unit, count, stride, members)


def _emit_class(
    step: Convolution, unit: Unit, count: int, stride: int, members: list[tuple[int, Run]]
) -> None:
    depth = step.weight.shape[1] * step.weight.shape[2]
    vectors = step.target.layout.vectors(unit.machine.lanes)
    residual = len(step.sources) > 1
    work = Work(
        outputs=count,
        vectors=vectors,
        depth=depth,
        residual=residual,
        jump=4 * step.source.layout.plane * step.spread,
        plane=4 * step.target.layout.plane * stride,
        pointwise=len(step.taps) == 1,
    )
    blocking = choose(unit.machine, work)
    packed, biases = [], []
    for _, run in members:
        packed.append(_pack(step.weight[run.first : run.first + run.count], blocking))
        biases.append(step.bias[run.first : run.first + run.count])
    at_weights = unit.weights(np.concatenate(packed)) // 4
    at_biases = unit.weights(np.concatenate(biases)) // 4
    name = _kernel(step, unit, count, stride, blocking)
    plane = step.source.layout.plane * step.spread
    channels = step.weight.shape[1]
    columns: Columns = [
        (step.source, [group * channels * plane for group, _ in members]),
        (None, [at_weights + i * packed[0].size for i in range(len(members))]),
        (None, [at_biases + i * count for i in range(len(members))]),
    ]
    if residual and not (unit.machine.by_lane and len(step.taps) == 1 and _in_place(step)):
        other = step.sources[1]
        columns.append((other, [other.offset(run.first) for _, run in members]))
    columns.append((step.target, [run.plane * step.target.layout.plane for _, run in members]))
    call(unit, name, columns, len(members), f"{step.name}")


def call(unit: Unit, name: str, columns: Columns, times: int, comment: str) -> None:
    """Call a kernel ``times`` times; each argument is (place or None for weights, offsets)."""
    bases = [unit.address(place) if place else "W" for place, _ in columns]
    body = unit.body
    if times == 1:
        arguments = [
            f"{base} + {offsets[0]}" if offsets[0] else base
            for base, (_, offsets) in zip(bases, columns, strict=True)
        ]
        body(f"{name}({', '.join(arguments)}); /* {comment} */")
        return
    forms = [series(offsets) for _, offsets in columns]
    with body.block(f"for (int i = 0; i < {times}; ++i)"):
        arguments = []
        for base, form, (_, offsets) in zip(bases, forms, columns, strict=True):
            if form is not None:
                arguments.append(f"{base} + {form}")
                continue
            label = f"t{len(arguments)}"
            body(f"static const int {label}[] = {{{', '.join(map(str, offsets))}}};")
            arguments.append(f"{base} + {label}[i]")
        body(f"{name}({', '.join(arguments)}); /* {comment} */")


def _pack(weight: FloatArray, blocking: Blocking) -> FloatArray:
    """``(outputs, in, taps)`` in the order in which the blocks read: block, in, tap, output."""
    parts, first = [], 0
    for size in blocking.outputs:
        parts.append(weight[first : first + size].transpose(1, 2, 0).ravel())
        first += size
    return np.concatenate(parts).astype(np.float32)


def _kernel(step: Convolution, unit: Unit, count: int, stride: int, blocking: Blocking) -> str:
    """The loops over blocks; whichever of weights and pixels is dearer to read again is outside."""
    residual = len(step.sources) > 1
    depth = step.weight.shape[1] * step.weight.shape[2]
    other = step.sources[1].layout.plane if residual else 0
    plane = step.target.layout.plane * stride
    blocks = _grouped(blocking.outputs)
    code = Code(depth=1)
    in_place = _in_place(step)
    assembly = unit.machine.by_lane and len(step.taps) == 1

    def strip(vectors: int, at: str, outputs: int, first: str, times: int, *, down: bool) -> str:
        made = neon.Strip(
            outputs=outputs,
            vectors=vectors,
            channels=depth,
            jump=4 * step.source.layout.plane,
            plane=4 * plane,
            other=4 * other,
            in_place=in_place,
            activation=step.activation,
            times=times,
            down=down,
        )
        begins = {
            "x": f"x + {at}",
            "w": f"w + {first} * {depth}",
            "b": f"b + {first}",
            "r": f"r + {first} * {other} + {at}",
            "y": f"y + {first} * {plane} + {at}",
        }
        names = neon.arguments(made)
        kinds = ["float *" if name == "y" else "const float *" for name in names]
        pairs = zip(kinds, names, strict=True)
        head = f"INLINE void @({', '.join(kind + name for kind, name in pairs)})"
        text = Code(depth=1)
        text(*neon.write(made))
        called = unit.kernel(f"strip{outputs}x{vectors}", head, text)
        return f"{called}({', '.join(begins[name] for name in names)});"

    def tile(size: int, at: str, outputs: int, times: int, first: int) -> str:
        moving = [("w", depth), ("b", 1), *([("r", other)] if residual else []), ("y", plane)]
        arguments = [f"x + {at}"]
        for label, each in moving:
            text = f"{label} + {first * each}"
            if times > 1:
                text += f" + o * {outputs * each}"
            arguments.append(f"{text} + {at}" if label in {"r", "y"} else text)
        return f"{_tile(step, unit, outputs, size, plane, other)}({', '.join(arguments)});"

    def pixels() -> Iterator[tuple[int, str]]:
        done = 0
        lanes = unit.machine.lanes
        for size, times in blocking.pixels:
            begin, end = done * lanes, (done + size * times) * lanes
            if times > 1:
                with code.block(f"for (int p = {begin}; p < {end}; p += {size * lanes})"):
                    yield size, "p"
            else:
                yield size, str(begin)
            done += size * times

    def outputs() -> Iterator[tuple[int, int, int]]:
        first = 0
        for size, times in blocks:
            if times > 1:
                with code.block(f"for (int o = 0; o < {times}; ++o)"):
                    yield size, times, first
            else:
                yield size, times, first
            first += size * times

    if assembly and _pixels_outside(step, count, blocking):
        for vectors, at in pixels():
            first = 0
            for size, times in blocks:
                code(strip(vectors, at, size, str(first), times, down=True))
                first += size * times
    elif assembly:
        for size, times, first in outputs():
            at = 0
            channel = f"({first} + o * {size})" if times > 1 else str(first)
            for vectors, many in blocking.pixels:
                code(strip(vectors, str(at), size, channel, many, down=False))
                at += vectors * many * unit.machine.lanes
    elif _pixels_outside(step, count, blocking):
        for vectors, at in pixels():
            for size, times, first in outputs():
                code(tile(vectors, at, size, times, first))
    else:
        for size, times, first in outputs():
            for vectors, at in pixels():
                code(tile(vectors, at, size, times, first))
    head = "LOOP void @(const float *x, const float *w, const float *b, "
    head += ("const float *r, " if residual and not (assembly and in_place) else "") + "float *y)"
    return unit.kernel("conv", head, code)


def _in_place(step: Convolution) -> bool:
    """Whether the result replaces what is added to it."""
    return len(step.sources) > 1 and step.sources[1] == step.target


def _pixels_outside(step: Convolution, count: int, blocking: Blocking) -> bool:
    x_bytes = 4 * step.weight.shape[1] * step.spread * step.source.layout.plane
    w_bytes = 4 * count * step.weight.shape[1] * step.weight.shape[2]
    blocks_of_pixels = sum(times for _, times in blocking.pixels)
    weights_again = w_bytes * blocks_of_pixels if w_bytes > _L1_BYTES else 0
    pixels_again = x_bytes * len(blocking.outputs) if x_bytes > _L1_BYTES else 0
    return weights_again <= pixels_again


def _grouped(sizes: tuple[int, ...]) -> list[tuple[int, int]]:
    found: list[list[int]] = []
    for size in sizes:
        if found and found[-1][0] == size:
            found[-1][1] += 1
        else:
            found.append([size, 1])
    return [(size, times) for size, times in found]


def _tile(step: Convolution, unit: Unit, outputs: int, vectors: int, plane: int, other: int) -> str:
    """One block: ``outputs`` channels of ``vectors`` vectors of pixels."""
    residual = len(step.sources) > 1
    channels, taps = step.weight.shape[1], step.taps
    jump = step.source.layout.plane * step.spread
    code = Code(depth=1)
    _start(code, unit, outputs, vectors, other if residual else None)
    if len(taps) == 1:
        at_once = channels
        if channels > 10:
            at_once = next((size for size in _UNROLL if channels % size == 0), _UNROLL[-1])
        times, rest = divmod(channels, at_once)
        positions = [k * jump for k in range(at_once)]
        _repeat(code, unit, times, positions, outputs, vectors, at_once * jump)
        _multiply(code, unit, [k * jump for k in range(rest)], outputs, vectors)
    elif len(taps) * outputs * vectors <= _UNROLLED_TAPS:
        _repeat(code, unit, channels, list(taps), outputs, vectors, jump)
    else:
        rows, columns = step.kernel
        starts = taps[::columns]
        first = [tap - taps[0] for tap in taps[:columns]]
        same = all(
            [tap - taps[row * columns] for tap in taps[row * columns : (row + 1) * columns]]
            == first
            for row in range(rows)
        )
        assert same, "columns of a kernel are the same in every row"
        code(f"static const int rows[] = {{{', '.join(map(str, starts))}}};")
        code("const float *plane = x;")
        with code.block(f"for (int k = 0; k < {channels}; ++k, plane += {jump})"):
            with code.block(f"for (int t = 0; t < {rows}; ++t, w += {columns * outputs})"):
                code("x = plane + rows[t];")
                _multiply(code, unit, first, outputs, vectors)
    code(*constants(step.activation))
    for output in range(outputs):
        for at in range(vectors):
            value = activate(step.activation, f"a{output}_{at}")
            code(f"STORE(y + {output * plane} + {at} * LANES, {value});")
    head = "INLINE void @(const float *x, const float *w, const float *b, "
    head += ("const float *r, " if residual else "") + "float *y)"
    return unit.kernel(f"tile{outputs}x{vectors}", head, code)


def _start(code: Code, unit: Unit, outputs: int, vectors: int, other: int | None) -> None:
    """Accumulators begin as the bias, or as what is to be added plus the bias."""
    by_lane = unit.machine.by_lane
    if by_lane:
        code(*(f"const v4 b{i} = LOAD4(b + {4 * i});" for i in range((outputs + 3) // 4)))
        if other is not None:
            code("const vf one = SPLAT(1.0f);")
    for output in range(outputs):
        lane = f"b{output // 4}, {output % 4}"
        for at in range(vectors):
            if other is None:
                start = f"SPLAT_LANE({lane})" if by_lane else f"SPLAT(b[{output}])"
                if at and not by_lane:
                    start = f"a{output}_0"
            else:
                load = f"LOAD(r + {output * other} + {at} * LANES)"
                start = f"FMA_LANE({load}, one, {lane})" if by_lane else f"{load} + b[{output}]"
            code(f"vf a{output}_{at} = {start};")


def _repeat(
    code: Code, unit: Unit, times: int, positions: list[int], outputs: int, vectors: int, jump: int
) -> None:
    if not times:
        return
    if times == 1:
        _multiply(code, unit, positions, outputs, vectors)
        return
    with code.block(f"for (int k = 0; k < {times}; ++k)"):
        _multiply(code, unit, positions, outputs, vectors)
        code(f"x += {jump}, w += {len(positions) * outputs};")


def _multiply(code: Code, unit: Unit, positions: list[int], outputs: int, vectors: int) -> None:
    """One multiply-add per accumulator for each position of the source."""
    if not positions:
        return
    with code.block(""):
        loaded = -1
        for at, position in enumerate(positions):
            for vector in range(vectors):
                code(f"const vf x{at}_{vector} = LOAD(x + {position} + {vector} * LANES);")
            for output in range(outputs):
                index = at * outputs + output
                if unit.machine.by_lane and index // 4 > loaded:
                    loaded = index // 4
                    code(f"const v4 w{loaded} = LOAD4(w + {4 * loaded});")
                for vector in range(vectors):
                    a, x = f"a{output}_{vector}", f"x{at}_{vector}"
                    if unit.machine.by_lane:
                        code(f"{a} = FMA_LANE({a}, {x}, w{index // 4}, {index % 4});")
                    else:
                        code(f"{a} += {x} * w[{index}];")
