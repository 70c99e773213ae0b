"""int8 convolution microkernel by matrix products (SMMLA): two pixels by pairs of output channels.

A vector of inputs has eight of each of two pixels, one of weights eight of each of two outputs; the
accumulator has both outputs of the first pixel, then those of the second. What is requantized stays
in this order until it is bytes, of which one instruction sorts sixteen.
"""

from __future__ import annotations

import itertools
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
from shufflenet_deploy.codegen.schedule.neon_matrix_blocking import is_adjacent

_ISA = "neonmatrix"
_STEPS_OF_LOOP = 4
#: Accumulators whose results fill a vector of bytes, and two such vectors.
_NARROWED, _SORTED = 4, 8


def emit_matrix_microkernel(
    spec: NeonConvSpec, unit: TranslationUnit, pairs: int, pixels: int, *, exact: bool
) -> str:
    """Emit one tile; if ``exact``, nothing after its outputs is written."""
    unit.require("neon/int8_matrix.h")
    code = CWriter(depth=1)
    tile = _Tile(spec, code, pairs, pixels)
    tile.begin()
    tile.multiply()
    tile.finish(exact=exact)
    kind = f"conv_{pixels}x{2 * pairs}"
    return unit.kernel(kind, signature("INLINE", spec), code, isa=_ISA)


class _Tile:
    """The code of one tile; ``twos`` are its pairs of pixels, of which the last may be half."""

    def __init__(self, spec: NeonConvSpec, code: CWriter, pairs: int, pixels: int) -> None:
        self.spec = spec
        self.code = code
        self.pairs = pairs
        self.pixels = pixels
        self.twos = ceil(pixels / 2)

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
        code, rows = self.code, self.spec.rows
        steps = ceil(self.spec.run / Product.MATRIX.inputs)
        work = steps * self.pairs * self.twos
        if len(rows) * work <= MAX_UNROLLED:
            for offset in rows:
                self._steps("x", offset, steps)
            return
        with_rows = len(rows) > 1
        apart = {two - one for one, two in itertools.pairwise(rows)}
        if len(apart) > 1:
            code(f"static const int rows[] = {{{', '.join(map(str, rows))}}};")
            code("const int8_t *x0 = x;")
        with code.block(f"for (int t = 0; t < {len(rows)}; ++t)" if with_rows else ""):
            if len(apart) > 1:
                code("x = x0 + rows[t];")
            first = 0 if with_rows else rows[0]
            if work <= MAX_UNROLLED:
                self._steps("x", first, steps)
            else:
                self._steps_in_loop(first, steps)
            if len(apart) == 1:
                code(f"x += {apart.pop()};")

    def _steps_in_loop(self, offset: int, steps: int) -> None:
        """The steps of a row, some to a turn of a loop."""
        times, rest = divmod(steps, _STEPS_OF_LOOP)
        self.code("const int8_t *from = x;")
        bytes_of_turn = _STEPS_OF_LOOP * Product.MATRIX.inputs
        with self.code.block(f"for (int c = 0; c < {times}; ++c, from += {bytes_of_turn})"):
            self._steps("from", offset, _STEPS_OF_LOOP)
        if rest:
            self._steps("from", offset, rest)

    def _steps(self, x: str, offset: int, steps: int) -> None:
        """Multiply ``steps`` groups of eight inputs by the next weights, and advance past those."""
        code, pairs = self.code, self.pairs
        count = steps * pairs
        with code.block(""):
            base = 0
            for step in range(steps):
                self._load_inputs(x, offset, step, steps)
                for pair in range(pairs):
                    index = step * pairs + pair
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
                    for two in range(self.twos):
                        code(f"MATRIX(a{two}_{pair}, x{step}_{two}, w{index});")
            code(f"w += {16 * (count - base)};")

    def _load_inputs(self, x: str, offset: int, step: int, steps: int) -> None:
        """Declare the inputs of a step, and with an even one those of the next as well."""
        code, spec = self.code, self.spec
        if is_adjacent(spec.x_pixel):
            for two in range(self.twos):
                at = 2 * two * spec.x_pixel + offset + 8 * step
                code(f"const int8x16_t x{step}_{two} = vld1q_s8({x} + {at});")
            return
        if step % 2:
            return
        for two in range(self.twos):
            at = 2 * two * spec.x_pixel + offset + 8 * step
            one = f"p{step}_{two}"
            code(f"const int8x16_t {one} = vld1q_s8({x} + {at});")
            if 2 * two + 1 == self.pixels:
                # Whatever is beside the last pixel: its sums are not stored.
                low, high = one, f"vextq_s8({one}, {one}, 8)"
            else:
                other = f"q{step}_{two}"
                code(f"const int8x16_t {other} = vld1q_s8({x} + {at + spec.x_pixel});")
                low, high = f"ROWS_LOW({one}, {other})", f"ROWS_HIGH({one}, {other})"
            code(f"const int8x16_t x{step}_{two} = {low};")
            if step + 1 < steps:
                code(f"const int8x16_t x{step + 1}_{two} = {high};")

    def finish(self, *, exact: bool) -> None:
        """Requantize the accumulators, sort and store the bytes."""
        spec, code = self.spec, self.code
        spilled = 2 * spec.accumulators(Product.MATRIX) - spec.outputs if exact else 0
        if spec.epilogue.residual is not None:
            code(f"const int8x8_t m = vdup_n_s8({spec.epilogue.residual});")
        for first in range(0, self.pairs, _SORTED):
            some = min(_SORTED, self.pairs - first)
            for pair in range(first, first + some):
                code(f"const int32x4_t m{pair} = vld1q_s32(b + {4 * (self.pairs + pair)});")
            last = first + some == self.pairs
            count = 2 * some - (spilled if last else 0)
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
