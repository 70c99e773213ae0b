"""int8 convolution microkernel on NEON: pixels by quads of output channels.

A lane of an accumulator is one output channel of one pixel, so results come out in storage order.
Four inputs of a pixel are multiplied at a time: by one SDOT, or by two widening products and a
pairwise sum.
"""

from __future__ import annotations

import itertools
from math import ceil

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.neon.int8_store import emit_store, narrow_expr
from shufflenet_deploy.codegen.emit.unit import TranslationUnit
from shufflenet_deploy.codegen.schedule.neon_int8_blocking import NeonConvSpec

LDP_REACH = 62  # vectors that a load of two reaches from its base
MAX_UNROLLED = 320  # multiply-adds of a tile that are written out


def signature(kind: str, spec: NeonConvSpec, more: str = "") -> str:
    """The signature of a function, with ``@`` for its name."""
    residual = "const int8_t *r, " if spec.epilogue.residual is not None else ""
    given = f"const int8_t *x, const int8_t *w, const int32_t *b, {residual}int8_t *y{more}"
    return f"{kind} void @({given})"


def emit_microkernel(
    spec: NeonConvSpec, unit: TranslationUnit, block: tuple[int, int], pixels: int
) -> str:
    """Emit one tile of a ``block`` of so many accumulators, which stores so many channels."""
    quads, channels = block
    code = CWriter(depth=1)
    for pixel in range(pixels):
        for quad in range(0, quads - 1, 2):
            code(f"int32x4_t a{pixel}_{quad}, a{pixel}_{quad + 1};")
            code(f"LOAD_PAIR(a{pixel}_{quad}, a{pixel}_{quad + 1}, b, {16 * quad});")
        if quads % 2:
            code(
                f"int32x4_t a{pixel}_{quads - 1};",
                f"LOAD_ONE(a{pixel}_{quads - 1}, b, {16 * (quads - 1)});",
            )
    dot_product = unit.cpu.dot_product
    if not dot_product:
        code("const int8x16_t pick = SPREAD;")
    lanes = ceil(spec.run / 4)
    run_work = lanes * quads * pixels
    if len(spec.rows) * run_work <= MAX_UNROLLED:
        for offset in spec.rows:
            _multiply_lanes(code, spec, quads, pixels, offset, lanes, dot_product=dot_product)
    else:
        rows = spec.rows
        steps = {two - one for one, two in itertools.pairwise(rows)}
        with_rows = len(rows) > 1
        first = 0 if with_rows else rows[0]
        if with_rows and len(steps) > 1:
            code(f"static const int rows[] = {{{', '.join(map(str, rows))}}};")
            code("const int8_t *x0 = x;")
        with code.block(f"for (int t = 0; t < {len(rows)}; ++t)" if with_rows else ""):
            if with_rows and len(steps) > 1:
                code("x = x0 + rows[t];")
            if run_work <= MAX_UNROLLED:
                _multiply_lanes(code, spec, quads, pixels, first, lanes, dot_product=dot_product)
            else:
                times, rest = divmod(lanes, 4)
                walk = "from" if with_rows else "x"
                if with_rows:
                    code("const int8_t *from = x;")
                with code.block(f"for (int c = 0; c < {times}; ++c, {walk} += 16)"):
                    _multiply_lanes(
                        code, spec, quads, pixels, first, 4, dot_product=dot_product, x=walk
                    )
                if rest:
                    _multiply_lanes(
                        code, spec, quads, pixels, first, rest, dot_product=dot_product, x=walk
                    )
            if with_rows and len(steps) == 1:
                code(f"x += {steps.pop()};")
    _emit_epilogue(code, spec, quads, pixels, channels)
    return unit.kernel(f"conv_{pixels}x{4 * quads}", signature("INLINE", spec), code)


def _multiply_lanes(
    code: CWriter,
    spec: NeonConvSpec,
    quads: int,
    pixels: int,
    offset: int,
    lanes: int,
    *,
    dot_product: bool,
    x: str = "x",
) -> None:
    """Multiply ``lanes`` groups of four inputs by the next weights, and advance past those."""
    count = lanes * quads
    with code.block(""):
        base = 0
        for lane in range(lanes):
            chunk, within = divmod(lane, 4)
            if within == 0:
                for pixel in range(pixels):
                    view = pixel * spec.x_pixel + offset + 16 * chunk
                    code(f"const int8x16_t x{chunk}_{pixel} = vld1q_s8({x} + {view});")
            if not dot_product:
                for pixel in range(pixels):
                    code(
                        f"const int8x16_t s{lane}_{pixel} = PICK(x{chunk}_{pixel}, pick, {within});"
                    )
            for quad in range(quads):
                index = lane * quads + quad
                if index % 2 == 0:
                    if index - base > LDP_REACH:
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
                    if dot_product:
                        code(f"DOT({a}, w{index}, x{chunk}_{pixel}, {within});")
                    else:
                        code(f"MAC({a}, w{index}, s{lane}_{pixel});")
        code(f"w += {16 * (count - base)};")


def _emit_epilogue(
    code: CWriter, spec: NeonConvSpec, quads: int, pixels: int, channels: int
) -> None:
    """Requantize the accumulators and store them."""
    epilogue = spec.epilogue
    if epilogue.float_output:
        for pixel in range(pixels):
            code(f"float *const to{pixel} = (float *)(void *)(y + {pixel * spec.y_pixel});")
            for quad in range(quads):
                name = f"f{pixel}_{quad}"
                code(
                    f"const float32x4_t {name} = vmulq_f32(vcvtq_f32_s32(a{pixel}_{quad}), "
                    f"vreinterpretq_f32_s32(vld1q_s32(b + {4 * (quads + quad)})));"
                )
                if channels - 4 * quad >= 4:
                    code(f"vst1q_f32(to{pixel} + {4 * quad}, {name});")
                else:
                    for lane in range(channels - 4 * quad):
                        code(f"vst1q_lane_f32(to{pixel} + {4 * quad + lane}, {name}, {lane});")
        return
    for quad in range(quads):
        code(f"const int32x4_t m{quad} = vld1q_s32(b + {4 * (quads + quad)});")
    if epilogue.residual is not None:
        code(f"const int8x8_t m = vdup_n_s8({epilogue.residual});")
    for pixel in range(pixels):
        _store_pixel(code, spec, quads, pixel, channels)


def _store_pixel(code: CWriter, spec: NeonConvSpec, quads: int, pixel: int, channels: int) -> None:
    epilogue = spec.epilogue
    before = epilogue.shift - epilogue.fraction
    y = pixel * spec.y_pixel
    for first in range(0, quads, 4):
        some = min(4, quads - first)
        bytes_here = min(4 * some, channels - 4 * first)
        names = []
        for pair in range(first, first + some, 2):
            one, two = pair, min(pair + 1, first + some - 1)
            a, b = f"a{pixel}_{one}, m{one}", f"a{pixel}_{two}, m{two}"
            names.append(f"t{pixel}_{pair}")
            alone = f"HALF({a}, {before})" if before else f"HALF0({a})"
            code(f"int16x8_t {names[-1]} = {alone if two == one else narrow_expr(a, b, before)};")
        if epilogue.residual is not None:
            r = f"r + {pixel * spec.r_pixel + 4 * first}"
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
        emit_store(code, "y", f"y{pixel}_{first}", y + 4 * first, bytes_here)
