"""int8 convolutions on NEON: pointwise, grouped, and with any kernel, by the same tile.

A lane of an accumulator is one output channel of one pixel, so that results come out in the order
in which they are stored. A tile multiplies four inputs of a pixel at a time: by one instruction
where the core has dot products, else by two products of bytes and a pairwise sum.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.export.native.calls import SOME
from shufflenet_deploy.export.native.int8.neon_blocking import Cut, Work, choose
from shufflenet_deploy.export.native.text import Code, Unit

_L1_BYTES = 24 << 10
_PAIR_REACH = 62  # vectors that a load of two reaches from its base
_UNROLLED = 320  # multiply-adds of a tile that are written out


@dataclass(frozen=True, kw_only=True)
class Epilogue:
    """How an accumulator becomes a byte: ``shift`` after the multiplier, and what is added.

    ``residual`` is the multiplier of the value to be added, in units of ``2**-fraction`` of a
    step of the output; None without one. With ``real`` the output is floats: the accumulator
    times a float factor.
    """

    shift: int = 0
    real: bool = False
    residual: int | None = None
    fraction: int = 0


@dataclass(frozen=True, kw_only=True)
class Tiled:
    """A convolution as the tile sees it; all distances are in bytes.

    ``rows`` are where the contiguous runs of ``run`` inputs begin, relative to a pixel. Outputs
    come in ``groups`` of ``outputs``; the inputs of a group begin ``group_step`` behind those of
    the one before. ``room`` is how many bytes behind the last output may be overwritten.
    """

    rows: tuple[int, ...]
    run: int
    groups: int
    outputs: int
    group_step: int
    height: int
    width: int
    x_pixel: int
    x_row: int
    y_pixel: int
    y_row: int
    r_pixel: int = 0
    r_row: int = 0
    epilogue: Epilogue
    room: int = 0

    @property
    def quads(self) -> int:
        """Accumulators of a group and pixel."""
        return ceil(self.outputs / 4)

    @property
    def work_of_all(self) -> int:
        """Multiply-adds of bytes."""
        return self.height * self.width * self.groups * self.quads * 16 * self.lanes

    @property
    def lanes(self) -> int:
        """Multiply-adds of an accumulator."""
        return len(self.rows) * ceil(self.run / 4)

    def work(self, *, dot: bool) -> Work:
        """What the cost model looks at."""
        return Work(
            lanes=self.lanes,
            chunks=len(self.rows) * ceil(self.run / 16),
            dot=dot,
            residual=self.epilogue.residual is not None,
        )


def replaced_height(tiled: Tiled) -> Tiled:
    """The same for one row."""
    return replace(tiled, height=1)


def pack(
    tiled: Tiled,
    weight: NDArray[np.int8],
    bias: NDArray[np.int32],
    factor: NDArray[np.int32 | np.float32],
    cut: Cut,
    *,
    dot: bool,
) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
    """Weights ``(groups * outputs, rows, run)`` in the order in which tiles read them.

    Biases and factors come as one array: those of each block's quads side by side.
    """
    groups, outputs, quads = tiled.groups, tiled.outputs, tiled.quads
    run = ceil(tiled.run / 4) * 4
    whole = np.zeros((groups, quads * 4, len(tiled.rows), run), np.int8)
    whole[:, :outputs, :, : tiled.run] = weight.reshape(groups, outputs, len(tiled.rows), tiled.run)
    # (groups, quads, outputs of a quad, lanes, inputs of a lane)
    whole = whole.reshape(groups, quads, 4, tiled.lanes, 4)
    ends = np.zeros((2, groups, quads * 4), np.int32)
    ends[0, :, :outputs] = bias.reshape(groups, outputs)
    ends[1, :, :outputs] = factor.view(np.int32).reshape(groups, outputs)
    packed, constants = [], []
    for group in range(groups):
        first = 0
        for size in cut.quads:
            block = whole[group, first : first + size].transpose(2, 0, 1, 3)
            if not dot:
                # Pairs of inputs: the low half has the first pair of each output.
                block = block.reshape(tiled.lanes, size, 4, 2, 2).transpose(0, 1, 3, 2, 4)
            packed.append(block.ravel())
            constants.append(ends[:, group, 4 * first : 4 * (first + size)].ravel())
            first += size
    return np.concatenate(packed), np.concatenate(constants)


def emit(tiled: Tiled, unit: Unit, cut: Cut) -> str:
    """The name of a function ``(x, w, b, [r,] y, begin, end)`` that computes some ``pieces``."""
    code = Code(depth=1)
    pixels_outside = tiled.lanes * 16 * tiled.quads * tiled.groups <= _L1_BYTES
    if pixels_outside and tiled.height > 1:
        with code.block("for (int i = begin; i < end; ++i)"):
            _groups(code, unit, tiled, cut, "i", rows=False)
    elif tiled.height > 1:
        _groups(code, unit, tiled, cut, "begin", rows=True)
    elif _blocks_apart(tiled, cut):
        _groups(code, unit, tiled, cut, "", rows=False)
    else:
        with code.block("if (begin < end)"):
            _groups(code, unit, tiled, cut, "", rows=False)
    return unit.kernel("conv", _head("LOOP", tiled, SOME), code)


def pieces(tiled: Tiled, cut: Cut) -> int:
    """What may be done at once: rows, or the blocks of all groups if there is one row."""
    if tiled.height > 1:
        return tiled.height
    return tiled.groups * len(cut.quads) if _blocks_apart(tiled, cut) else 1


def _blocks_apart(tiled: Tiled, cut: Cut) -> bool:
    """Whether blocks are the pieces: there is one row, and none writes what is another's."""
    spills = 4 * tiled.quads > tiled.outputs and min(_with_exact_end(tiled, cut)) > 0
    return tiled.height == 1 and not (spills and tiled.groups > 1)


def _head(kind: str, tiled: Tiled, more: str = "") -> str:
    residual = "const int8_t *r, " if tiled.epilogue.residual is not None else ""
    head = f"const int8_t *x, const int8_t *w, const int32_t *b, {residual}int8_t *y{more}"
    return f"{kind} void @({head})"


def _groups(code: Code, unit: Unit, tiled: Tiled, cut: Cut, row: str, *, rows: bool) -> None:
    """The blocks of all groups, one strip each, from row ``row`` on if there is more than one.

    With ``rows`` a strip is over those from ``begin`` to ``end``.
    """
    residual = tiled.epilogue.residual is not None
    x, y, r = (
        f" + {row} * {size}" if row else "" for size in (tiled.x_row, tiled.y_row, tiled.r_row)
    )
    apart = _blocks_apart(tiled, cut)
    element = 4 if tiled.epilogue.real else 1
    with code.block(f"for (int g = 0; g < {tiled.groups}; ++g)" if tiled.groups > 1 else ""):
        if tiled.groups == 1:
            code("const int g = 0;")
        if apart and tiled.groups > 1:
            each = len(cut.quads)
            code(f"const int first = begin - g * {each}, last = end - g * {each};")
        elif apart:
            code("const int first = begin, last = end;")
        first = done = 0
        for signed, times in _grouped(_with_exact_end(tiled, cut)):
            exact, size = signed < 0, abs(signed)
            name = _strip(tiled, unit, cut, size, rows=rows, exact=exact)
            k = " + k * " if times > 1 else ""
            at = [
                f"x + g * {tiled.group_step}{x}",
                f"w + (g * {tiled.quads} + {first}) * {tiled.lanes * 16}"
                + (f"{k}{size * tiled.lanes * 16}" if k else ""),
                f"b + (g * {tiled.quads} + {first}) * 8" + (f"{k}{8 * size}" if k else ""),
            ]
            places = [f"y + (g * {tiled.outputs} + {4 * first}) * {element}{y}"]
            if residual:
                places.insert(0, f"r + g * {tiled.outputs} + {4 * first}{r}")
            at += [place + (f"{k}{4 * size * element}" if k else "") for place in places]
            if rows:
                at.append("end - begin")
            loop = f"for (int k = 0; k < {times}; ++k)" if k else ""
            if apart and k:
                some = [f"within({end} - {done}, {times})" for end in ("first", "last")]
                loop = f"for (int k = {some[0]}; k < {some[1]}; ++k)"
            elif apart:
                loop = f"if (first <= {done} && {done} < last)"
            with code.block(loop):
                code(f"{name}({', '.join(at)});")
            first += size * times
            done += times


def _with_exact_end(tiled: Tiled, cut: Cut) -> tuple[int, ...]:
    """Sizes of blocks; negative is the last one where nothing behind its outputs may be written."""
    spilled = 4 * tiled.quads - tiled.outputs
    beside = tiled.groups > 1 and tiled.epilogue.residual is not None
    if spilled and (tiled.room < spilled or beside):
        return (*cut.quads[:-1], -cut.quads[-1])
    return cut.quads


def _grouped(sizes: tuple[int, ...]) -> list[tuple[int, int]]:
    found: list[list[int]] = []
    for size in sizes:
        if found and found[-1][0] == size:
            found[-1][1] += 1
        else:
            found.append([size, 1])
    return [(size, times) for size, times in found]


def _strip(tiled: Tiled, unit: Unit, cut: Cut, quads: int, *, rows: bool, exact: bool) -> str:
    """One block of channels over all pixels of a row, or of so many rows."""
    code = Code(depth=1)
    residual = tiled.epilogue.residual is not None
    if rows:
        with code.block("for (int i = 0; i < rows; ++i)"):
            code(f"const int8_t *x = x0 + i * {tiled.x_row};")
            code(f"int8_t *y = y0 + i * {tiled.y_row};")
            if residual:
                code(f"const int8_t *r = r0 + i * {tiled.r_row};")
            _pixels(code, tiled, unit, cut, quads, exact=exact)
    else:
        _pixels(code, tiled, unit, cut, quads, exact=exact)
    head = _head("LOOP", tiled, ", int rows" if rows else "")
    if rows:
        head = head.replace("*x,", "*x0,").replace("*y,", "*y0,").replace("*r,", "*r0,")
    return unit.kernel("strip", head, code)


def _pixels(code: Code, tiled: Tiled, unit: Unit, cut: Cut, quads: int, *, exact: bool) -> None:
    residual = tiled.epilogue.residual is not None
    for at, (size, times) in enumerate(cut.pixels):
        name = _tile(tiled, unit, quads, size, exact=exact)
        r = "r, " if residual else ""
        step = f"x += {size * tiled.x_pixel}, y += {size * tiled.y_pixel}"
        if residual:
            step += f", r += {size * tiled.r_pixel}"
        if times > 1:
            code(f"for (int p = 0; p < {times}; ++p, {step})", f"    {name}(x, w, b, {r}y);")
        else:
            code(f"{name}(x, w, b, {r}y);")
            if at + 1 < len(cut.pixels):
                code(f"{step};")


def _tile(tiled: Tiled, unit: Unit, quads: int, pixels: int, *, exact: bool) -> str:
    code = Code(depth=1)
    for pixel in range(pixels):
        for quad in range(0, quads - 1, 2):
            code(f"int32x4_t a{pixel}_{quad}, a{pixel}_{quad + 1};")
            code(f"LOAD_PAIR(a{pixel}_{quad}, a{pixel}_{quad + 1}, b, {16 * quad});")
        if quads % 2:
            code(
                f"int32x4_t a{pixel}_{quads - 1};",
                f"LOAD_ONE(a{pixel}_{quads - 1}, b, {16 * (quads - 1)});",
            )
    dot = unit.machine.dot
    if not dot:
        code("const int8x16_t pick = SPREAD;")
    lanes = ceil(tiled.run / 4)
    run_work = lanes * quads * pixels
    if len(tiled.rows) * run_work <= _UNROLLED:
        for offset in tiled.rows:
            _chunks(code, tiled, quads, pixels, offset, lanes, dot=dot)
    else:
        rows = tiled.rows
        steps = {two - one for one, two in itertools.pairwise(rows)}
        with_rows = len(rows) > 1
        first = 0 if with_rows else rows[0]
        if with_rows and len(steps) > 1:
            code(f"static const int rows[] = {{{', '.join(map(str, rows))}}};")
            code("const int8_t *x0 = x;")
            head = f"for (int t = 0; t < {len(rows)}; ++t)"
        else:
            head = f"for (int t = 0; t < {len(rows)}; ++t)" if with_rows else ""
        with code.block(head):
            if with_rows and len(steps) > 1:
                code("x = x0 + rows[t];")
            if run_work <= _UNROLLED:
                _chunks(code, tiled, quads, pixels, first, lanes, dot=dot)
            else:
                times, rest = divmod(lanes, 4)
                walk = "from" if with_rows else "x"
                if with_rows:
                    code("const int8_t *from = x;")
                with code.block(f"for (int c = 0; c < {times}; ++c, {walk} += 16)"):
                    _chunks(code, tiled, quads, pixels, first, 4, dot=dot, x=walk)
                if rest:
                    _chunks(code, tiled, quads, pixels, first, rest, dot=dot, x=walk)
            if with_rows and len(steps) == 1:
                code(f"x += {steps.pop()};")
    _finish(code, tiled, quads, pixels, exact=exact)
    return unit.kernel(f"tile{pixels}x{quads}", _head("INLINE", tiled), code)


def _chunks(
    code: Code,
    tiled: Tiled,
    quads: int,
    pixels: int,
    offset: int,
    lanes: int,
    *,
    dot: bool,
    x: str = "x",
) -> None:
    """Multiply ``lanes`` lanes of every pixel by the next weights, and go on behind those."""
    count = lanes * quads
    with code.block(""):
        base = 0
        for lane in range(lanes):
            chunk, within = divmod(lane, 4)
            if within == 0:
                for pixel in range(pixels):
                    place = pixel * tiled.x_pixel + offset + 16 * chunk
                    code(f"const int8x16_t x{chunk}_{pixel} = vld1q_s8({x} + {place});")
            if not dot:
                for pixel in range(pixels):
                    code(
                        f"const int8x16_t s{lane}_{pixel} = PICK(x{chunk}_{pixel}, pick, {within});"
                    )
            for quad in range(quads):
                index = lane * quads + quad
                if index % 2 == 0:
                    if index - base > _PAIR_REACH:
                        code(f"w += {16 * (index - base)};")
                        base = index
                    near = 16 * (index - base)
                    if index + 1 < count:
                        code(f"int8x16_t w{index}, w{index + 1};")
                        code(f"LOAD_PAIR(w{index}, w{index + 1}, w, {near});")
                    else:
                        code(f"int8x16_t w{index};", f"LOAD_ONE(w{index}, w, {near});")
                for pixel in range(pixels):
                    a = f"a{pixel}_{quad}"
                    if dot:
                        code(f"DOT({a}, w{index}, x{chunk}_{pixel}, {within});")
                    else:
                        code(f"MAC({a}, w{index}, s{lane}_{pixel});")
        code(f"w += {16 * (count - base)};")


def _finish(code: Code, tiled: Tiled, quads: int, pixels: int, *, exact: bool) -> None:
    """Accumulators become bytes."""
    epilogue = tiled.epilogue
    if epilogue.real:
        outputs = tiled.outputs - 4 * (tiled.quads - quads) if exact else 4 * quads
        for pixel in range(pixels):
            code(f"float *const to{pixel} = (float *)(void *)(y + {pixel * tiled.y_pixel});")
            for quad in range(quads):
                name = f"f{pixel}_{quad}"
                code(
                    f"const float32x4_t {name} = vmulq_f32(vcvtq_f32_s32(a{pixel}_{quad}), "
                    f"vreinterpretq_f32_s32(vld1q_s32(b + {4 * (quads + quad)})));"
                )
                if outputs - 4 * quad >= 4:
                    code(f"vst1q_f32(to{pixel} + {4 * quad}, {name});")
                else:
                    for lane in range(outputs - 4 * quad):
                        code(f"vst1q_lane_f32(to{pixel} + {4 * quad + lane}, {name}, {lane});")
        return
    for quad in range(quads):
        code(f"const int32x4_t m{quad} = vld1q_s32(b + {4 * (quads + quad)});")
    if epilogue.residual is not None:
        code(f"const int8x8_t m = vdup_n_s8({epilogue.residual});")
    for pixel in range(pixels):
        _pixel(code, tiled, quads, pixel, exact=exact)


def _pixel(code: Code, tiled: Tiled, quads: int, pixel: int, *, exact: bool) -> None:
    epilogue = tiled.epilogue
    before = epilogue.shift - epilogue.fraction
    outputs = tiled.outputs - 4 * (tiled.quads - quads) if exact else 4 * quads
    y = pixel * tiled.y_pixel
    for first in range(0, quads, 4):
        some = min(4, quads - first)
        bytes_here = min(4 * some, outputs - 4 * first)
        names = []
        for pair in range(first, first + some, 2):
            one, two = pair, min(pair + 1, first + some - 1)
            a, b = f"a{pixel}_{one}, m{one}", f"a{pixel}_{two}, m{two}"
            names.append(f"t{pixel}_{pair}")
            alone = f"HALF({a}, {before})" if before else f"HALF0({a})"
            code(f"int16x8_t {names[-1]} = {alone if two == one else narrowed(a, b, before)};")
        if epilogue.residual is not None:
            r = f"r + {pixel * tiled.r_pixel + 4 * first}"
            load = {
                4: "vld1q_s8(@)",
                3: "vld1q_s8(@)",
                2: "vcombine_s8(vld1_s8(@), vdup_n_s8(0))",
                1: "LOAD_4(@)",
            }[some].replace("@", r)
            code(f"const int8x16_t r{pixel}_{first} = {load};")
            for name, half in zip(names, ("low", "high"), strict=False):
                product = f"vmull_s8(vget_{half}_s8(r{pixel}_{first}), m)"
                code(f"{name} = vqaddq_s16({name}, {product});")
        other = names[1] if len(names) > 1 else None
        narrow = (
            f"vqrshrn_n_s16({names[0]}, {epilogue.fraction})"
            if epilogue.residual is not None
            else f"vqmovn_s16({names[0]})"
        )
        if other:
            high = (
                f"vqrshrn_high_n_s16({narrow}, {other}, {epilogue.fraction})"
                if epilogue.residual is not None
                else f"vqmovn_high_s16({narrow}, {other})"
            )
            code(f"const int8x16_t y{pixel}_{first} = {high};")
        else:
            code(f"const int8x16_t y{pixel}_{first} = vcombine_s8({narrow}, vdup_n_s8(0));")
        store(code, "y", f"y{pixel}_{first}", y + 4 * first, bytes_here)


def narrowed(first: str, second: str, shift: int) -> str:
    """Two accumulators as 16-bit numbers, each given with its factor: ``a0, m0``."""
    return f"BOTH({first}, {second}, {shift})" if shift else f"BOTH0({first}, {second})"


def store(code: Code, y: str, value: str, at: int, count: int) -> None:
    """The first ``count`` bytes of a vector."""
    if count == 16:
        code(f"vst1q_s8({y} + {at}, {value});")
        return
    done = 0
    if count & 8:
        code(f"vst1_s8({y} + {at}, vget_low_s8({value}));")
        done = 8
    for size, kind in ((4, "s32"), (2, "s16"), (1, "s8")):
        if count & size:
            code(f"STORE_LANE({y} + {at + done}, {value}, {kind}, {done // size});")
            done += size


def conv_cut(tiled: Tiled, unit: Unit) -> Cut:
    """The cut of this convolution on the unit's machine."""
    return choose(tiled.work(dot=unit.machine.dot), tiled.quads, tiled.width)
