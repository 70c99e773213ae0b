"""int8 convolution microkernel by matrix products (SMMLA): two pixels by pairs of output channels.

A vector of inputs has eight of each of two pixels, one of weights eight of each of two outputs; the
accumulator has both outputs of the first pixel, then those of the second. What is requantized stays
in this order until it is bytes, of which one instruction sorts sixteen.
"""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from math import ceil

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.neon.int8_microkernel import (
    LDP_REACH,
    MAX_UNROLLED,
    signature,
)
from shufflenet_deploy.codegen.emit.neon.int8_store import emit_store, narrow_expr
from shufflenet_deploy.codegen.emit.unit import TranslationUnit
from shufflenet_deploy.codegen.schedule.neon_int8_blocking import NeonConvSpec, Product
from shufflenet_deploy.codegen.schedule.neon_matrix_blocking import INPUTS

_ISA = "neonmatrix"
_STEPS_OF_LOOP = 4
_REGISTERS = 32
#: Accumulators whose results fill a vector of bytes, and two such vectors.
_NARROWED, _SORTED = 4, 8


def emit_packing(spec: NeonConvSpec, unit: TranslationUnit) -> str:
    """Emit ``(x, t)``: the inputs of a row, two pixels to a vector as tiles read them."""
    unit.require("neon/int8_matrix.h")
    steps, (twos, alone) = spec.steps(Product.MATRIX), divmod(spec.width, 2)
    code = CWriter(depth=1)
    for times, other in ((twos, spec.x_pixel), (alone, 0)):
        walk = f"x += {2 * spec.x_pixel}, t += {16 * steps}"
        head = f"for (int p = 0; p < {times}; ++p, {walk})" if times > 1 else ""
        with code.block(head) if times else nullcontext():
            for step in range(0, steps if times else 0, 2):
                at = spec.rows[0] + INPUTS * step
                code(f"const int8x16_t p{step} = vld1q_s8(x + {at});")
                code(f"const int8x16_t q{step} = vld1q_s8(x + {at + other});")
                code(f"vst1q_s8(t + {16 * step}, ROWS_LOW(p{step}, q{step}));")
                if step + 1 < steps:
                    code(f"vst1q_s8(t + {16 * step + 16}, ROWS_HIGH(p{step}, q{step}));")
            if times == 1 and alone and other:
                code(f"x += {2 * spec.x_pixel}, t += {16 * steps};")
    head = "LOOP void @(const int8_t *restrict x, int8_t *restrict t)"
    return unit.kernel("pack_rows", head, code, isa=_ISA)


def stored_bytes(channels: int) -> int:
    """Bytes that so many channels of a pixel are stored as where more may be overwritten."""
    whole, rest = divmod(channels, 16)
    return 16 * whole + (next(size for size in (4, 8, 16) if size >= rest) if rest else 0)


def packed_bytes(spec: NeonConvSpec) -> int:
    """Bytes of a row of packed inputs."""
    return 16 * spec.steps(Product.MATRIX) * ceil(spec.width / 2)


def emit_matrix_microkernel(
    spec: NeonConvSpec,
    unit: TranslationUnit,
    block: tuple[int, int],
    pixels: int,
    *,
    packed: bool,
) -> str:
    """Emit one tile of a ``block`` of so many accumulators, which stores so many channels.

    ``packed``: ``x`` is what ``emit_packing`` stores.
    """
    pairs, channels = block
    unit.require("neon/int8_matrix.h")
    code = CWriter(depth=1)
    tile = _Tile(spec, code, pairs, pixels, packed=packed)
    tile.begin()
    tile.multiply()
    tile.finish(channels)
    kind = f"conv_{pixels}x{2 * pairs}"
    return unit.kernel(kind, signature("INLINE", spec), code, isa=_ISA)


class _Weights:
    """The next ``count`` vectors of weights, loaded in order and two at a time."""

    def __init__(self, code: CWriter, count: int) -> None:
        self._code = code
        self._count = count
        self._base = 0

    def load(self, index: int) -> str:
        """Load a vector where it was not loaded with the one before; returns its name."""
        if index % 2 == 0:
            if index - self._base > LDP_REACH:
                self._code(f"w += {16 * (index - self._base)};")
                self._base = index
            near = 16 * (index - self._base)
            if index + 1 < self._count:
                self._code(f"int8x16_t w{index}, w{index + 1};")
                self._code(f"LOAD_PAIR(w{index}, w{index + 1}, w, {near});")
            else:
                self._code(f"int8x16_t w{index};", f"LOAD_ONE(w{index}, w, {near});")
        return f"w{index}"

    def end(self) -> None:
        """Advance past all of them."""
        self._code(f"w += {16 * (self._count - self._base)};")


class _Tile:
    """The code of one tile; ``twos`` are its pairs of pixels, of which the last may be half."""

    def __init__(
        self, spec: NeonConvSpec, code: CWriter, pairs: int, pixels: int, *, packed: bool
    ) -> None:
        self.spec = spec
        self.code = code
        self.pairs = pairs
        self.pixels = pixels
        self.twos = ceil(pixels / 2)
        self.packed = packed
        self.inputs = spec.matrix_inputs

    def begin(self) -> None:
        """Accumulators start as biases."""
        code = self.code
        for two in range(self.twos):
            for pair in range(0, self.pairs - 1, 2):
                code(f"int32x4_t a{two}_{pair}, a{two}_{pair + 1};")
                code(f"LOAD_PAIR(a{two}_{pair}, a{two}_{pair + 1}, b, {16 * pair});")
            if self.pairs % 2:
                last = self.pairs - 1
                code(f"int32x4_t a{two}_{last};", f"LOAD_ONE(a{two}_{last}, b, {16 * last});")

    def multiply(self) -> None:
        """All multiply-adds, in loops where they are many."""
        rows = (0,) if self.packed else self.spec.rows
        steps = self.inputs.steps_of_run
        work = steps * self.pairs * self.twos
        if len(rows) * work <= MAX_UNROLLED:
            for offset in rows if steps else ():
                self._steps("x", offset, steps)
        else:
            self._rows_in_loop(rows, steps)
        if self.inputs.shares_rests:
            self._shared_rests(rows, INPUTS * steps)

    def _rows_in_loop(self, rows: tuple[int, ...], steps: int) -> None:
        """The steps of rows one after another, where more than one in a loop."""
        code, with_rows = self.code, len(rows) > 1
        apart = {two - one for one, two in itertools.pairwise(rows)}
        walk = "from" if with_rows else "x"
        if len(apart) > 1:
            code(f"static const int rows[] = {{{', '.join(map(str, rows))}}};")
        elif with_rows:
            code(f"const int8_t *from = x + {rows[0]};")
        head = f"for (int t = 0; t < {len(rows)}; ++t"
        head += f", from += {next(iter(apart))})" if len(apart) == 1 else ")"
        with code.block(head if with_rows else ""):
            if len(apart) > 1:
                code("const int8_t *from = x + rows[t];")
            offset = 0 if with_rows else rows[0]
            if steps * self.pairs * self.twos <= MAX_UNROLLED:
                self._steps(walk, offset, steps)
            else:
                self._steps_in_loop(walk, offset, steps)

    def _steps_in_loop(self, x: str, offset: int, steps: int) -> None:
        """The steps of a row, some to a turn of a loop."""
        times, rest = divmod(steps, _STEPS_OF_LOOP)
        self.code(f"const int8_t *at = {x};")
        bytes_of_turn = _STEPS_OF_LOOP * (16 if self.packed else INPUTS)
        with self.code.block(f"for (int c = 0; c < {times}; ++c, at += {bytes_of_turn})"):
            self._steps("at", offset, _STEPS_OF_LOOP)
        if rest:
            self._steps("at", offset, rest)

    def _shared_rests(self, rows: tuple[int, ...], offset: int) -> None:
        """The ends of rows, two to a step."""
        steps = ceil(len(rows) / 2)
        with self.code.block(""):
            weights = _Weights(self.code, steps * self.pairs)
            for step in range(steps):
                for half, row in enumerate(rows[2 * step : 2 * step + 2]):
                    for two in range(self.twos):
                        self._load_two("x", two, row + offset, f"h{step}_{two}_{half}")
                for two in range(self.twos):
                    name = f"h{step}_{two}_"
                    other = 1 if 2 * step + 1 < len(rows) else 0
                    code = f"EVEN_HALVES({name}0, {name}1)" if other else f"{name}0"
                    self.code(f"const int8x16_t x{step}_{two} = {code};")
                self._products(step, weights)
            weights.end()

    def _steps(self, x: str, offset: int, steps: int) -> None:
        """Multiply ``steps`` groups of eight inputs by the next weights, and advance past those."""
        with self.code.block(""):
            weights = _Weights(self.code, steps * self.pairs)
            for step in range(steps):
                if self.packed:
                    self._load_packed(x, step, steps)
                elif self.inputs.adjacent:
                    for two in range(self.twos):
                        self._load_two(x, two, offset + INPUTS * step, f"x{step}_{two}")
                elif step % 2 == 0:
                    for two in range(self.twos):
                        self._load_apart(x, two, offset, step, steps)
                self._products(step, weights)
            weights.end()

    def _products(self, step: int, weights: _Weights) -> None:
        """All products of a step."""
        for pair in range(self.pairs):
            name = weights.load(step * self.pairs + pair)
            for two in range(self.twos):
                self.code(f"MATRIX(a{two}_{pair}, x{step}_{two}, {name});")

    def _load_packed(self, x: str, step: int, steps: int) -> None:
        """Declare packed inputs, with an even step those of the next as well if a pair is near."""
        code, every = self.code, self.inputs.steps
        for two in range(self.twos):
            at, even = two * every + step, step - step % 2
            paired = two * every + even <= LDP_REACH and even + 1 < steps
            if not paired:
                code(f"const int8x16_t x{step}_{two} = vld1q_s8({x} + {16 * at});")
            elif step == even:
                one, other = f"x{step}_{two}", f"x{step + 1}_{two}"
                code(f"int8x16_t {one}, {other};", f"LOAD_PAIR({one}, {other}, {x}, {16 * at});")

    def _load_two(self, x: str, two: int, offset: int, name: str) -> None:
        """Declare eight inputs of two pixels from an offset on."""
        code, pixel = self.code, self.spec.x_pixel
        at = 2 * two * pixel + offset
        if self.inputs.adjacent or 2 * two + 1 == self.pixels:
            code(f"const int8x16_t {name} = vld1q_s8({x} + {at});")
        else:
            both = f"vld1q_s8({x} + {at}), vld1q_s8({x} + {at + pixel})"
            code(f"const int8x16_t {name} = ROWS_LOW({both});")

    def _load_apart(self, x: str, two: int, offset: int, step: int, steps: int) -> None:
        """Declare the inputs of a step, and unless it is the last those of the next."""
        code = self.code
        at = 2 * two * self.spec.x_pixel + offset + INPUTS * step
        one = f"p{step}_{two}"
        self._load_sixteen(x, at, one, step, steps)
        if 2 * two + 1 == self.pixels:
            # Whatever is beside the last pixel: its sums are not stored.
            low, high = one, f"vextq_s8({one}, {one}, 8)"
        else:
            other = f"q{step}_{two}"
            self._load_sixteen(x, at + self.spec.x_pixel, other, step, steps)
            low, high = f"ROWS_LOW({one}, {other})", f"ROWS_HIGH({one}, {other})"
        code(f"const int8x16_t x{step}_{two} = {low};")
        if step + 1 < steps:
            code(f"const int8x16_t x{step + 1}_{two} = {high};")

    def _load_sixteen(self, x: str, at: int, name: str, step: int, steps: int) -> None:
        """Declare sixteen inputs of a pixel, with the next sixteen where both can be one load."""
        code, first = self.code, step % 4 == 0
        begin = at if first else at - 16
        reached = begin % 16 == 0 and begin <= 16 * LDP_REACH
        whole = step - step % 4 + 2 < steps
        held = self.twos * (self.pairs + 4)  # accumulators, and inputs of four steps
        if not (reached and whole and held + 2 <= _REGISTERS):
            code(f"const int8x16_t {name} = vld1q_s8({x} + {at});")
        elif first:
            other = f"{name[0]}{step + 2}_{name.partition('_')[2]}"
            code(f"int8x16_t {name}, {other};", f"LOAD_PAIR({name}, {other}, {x}, {begin});")

    def finish(self, channels: int) -> None:
        """Requantize the accumulators, sort and store the bytes."""
        spec, code = self.spec, self.code
        if spec.epilogue.residual is not None:
            code(f"const int8x8_t m = vdup_n_s8({spec.epilogue.residual});")
        for first in range(0, self.pairs, _SORTED):
            some = min(_SORTED, self.pairs - first)
            for pair in range(first, first + some):
                code(f"const int32x4_t m{pair} = vld1q_s32(b + {4 * (self.pairs + pair)});")
            count = min(2 * _SORTED, channels - 2 * first)
            for two in range(self.twos):
                self._store(two, first, some, count)

    def _store(self, two: int, first: int, some: int, count: int) -> None:
        """Store ``count`` bytes of two pixels, from ``some`` accumulators from ``first`` on."""
        spec, code = self.spec, self.code
        both = 2 * two + 1 < self.pixels
        if spec.epilogue.residual is not None:
            self._load_residual(two, first, some)
        names = [
            self._narrowed(two, at, min(_NARROWED, first + some - at))
            for at in range(first, first + some, _NARROWED)
        ]
        pair = f"{names[0]}, {names[-1]}"
        for at, kind in enumerate(("FIRST_PIXEL", "SECOND_PIXEL")[: 1 + both]):
            name = f"y{2 * two + at}_{first}"
            code(f"const int8x16_t {name} = {kind}({pair});")
            emit_store(code, "y", name, (2 * two + at) * spec.y_pixel + 2 * first, count)

    def _load_residual(self, two: int, first: int, some: int) -> None:
        """Declare the residual of two pixels in the order of the accumulators."""
        spec, code = self.spec, self.code
        load = "vld1q_s8(@)" if some > _NARROWED else "vcombine_s8(vld1_s8(@), vdup_n_s8(0))"
        names = []
        for pixel in range(2 * two, min(2 * two + 2, self.pixels)):
            at = f"r + {pixel * spec.r_pixel + 2 * first}"
            names.append(f"r{pixel}_{first}")
            code(f"const int8x16_t {names[-1]} = {load.replace('@', at)};")
        pair = f"{names[0]}, {names[-1]}"
        code(f"const int8x16_t s{two}_{first} = TURNS_LOW({pair});")
        if some > _NARROWED:
            code(f"const int8x16_t s{two}_{first + _NARROWED} = TURNS_HIGH({pair});")

    def _narrowed(self, two: int, first: int, some: int) -> str:
        """Declare the bytes of up to four accumulators, and return their name."""
        spec, code = self.spec, self.code
        epilogue = spec.epilogue
        before = epilogue.shift - epilogue.fraction
        residual = epilogue.residual is not None
        names = []
        for pair in range(first, first + some, 2):
            one, other = (f"a{two}_{at}, m{at}" for at in (pair, min(pair + 1, first + some - 1)))
            alone = f"HALF({one}, {before})" if before else f"HALF0({one})"
            names.append(f"t{two}_{pair}")
            halves = alone if one == other else narrow_expr(one, other, before)
            code(f"int16x8_t {names[-1]} = {halves};")
        if residual:
            for name, half in zip(names, ("low", "high"), strict=False):
                product = f"vmull_s8(vget_{half}_s8(s{two}_{first}), m)"
                code(f"{name} = vqaddq_s16({name}, {product});")
        shift = f", {epilogue.fraction}" if residual else ""
        kind = "vqrshrn" if residual else "vqmovn"
        infix = "_n" if residual else ""
        low = f"{kind}{infix}_s16({names[0]}{shift})"
        whole = (
            f"{kind}_high{infix}_s16({low}, {names[1]}{shift})"
            if len(names) > 1
            else f"vcombine_s8({low}, vdup_n_s8(0))"
        )
        code(f"const int8x16_t v{two}_{first} = {whole};")
        return f"v{two}_{first}"
