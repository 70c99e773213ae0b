"""int8 convolution microkernel on x86: pixels by vectors of output channels.

Four bytes of a pixel are broadcast to all lanes and multiplied by four weights of each output;
without VNNI two 16-bit numbers, to which the inputs are widened beforehand.
"""

from __future__ import annotations

from math import ceil

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.emit.unit import TranslationUnit
from shufflenet_deploy.codegen.emit.x86.int8_store import emit_store
from shufflenet_deploy.codegen.schedule.x86_int8_blocking import OutputBlock, X86ConvSpec

_MAX_UNROLLED = 60  # multiply-adds of a tile that are written out
_UNROLL = 4  # steps per loop iteration


def signature(kind: str, spec: X86ConvSpec) -> str:
    """The signature of a function, with ``@`` for its name."""
    residual = "const byte *r, " if spec.residual is not None else ""
    return f"{kind} void @(const byte *x, const int8_t *w, const int32_t *b, {residual}byte *y)"


class MicrokernelWriter:
    """Emitter for one block of some pixels; of all groups at once where they are interleaved."""

    def __init__(
        self,
        spec: X86ConvSpec,
        cpu: CpuTarget,
        block: OutputBlock,
        pixels: int,
        group: tuple[int, int],
    ) -> None:
        self.conv = spec
        self.group = group  # how far on the next group's weights and ends are
        self.lanes = cpu.lanes
        self.weights = spec.vector(cpu)
        self.load = "LOAD" if cpu.dot_product or spec.wide else "WIDE_SIGNED"
        self.first = block.first
        self.split = block.split
        self.vectors = block.vectors
        self.pixels = pixels
        self.groups = spec.groups if spec.shuffled else 1
        self.code = CWriter(depth=1)

    def emit(self, unit: TranslationUnit) -> str:
        """Emit the tile; returns its name."""
        groups = range(self.groups)
        for group in groups:
            names = (f"a{group}_{p}_{v}" for p in range(self.pixels) for v in range(self.vectors))
            self.code(f"vec {', '.join(names)};")
        with self.code.block(""):
            self._sums()
        for group in groups:
            with self.code.block(""):
                if self.split > 1:
                    self._added(group)
                if not self.conv.float_output:
                    self._scale(group)
        if self.conv.float_output:
            self._reals()
        elif self.split > 1:
            self._few()
        elif self.conv.shuffled:
            self._interleaved()
        else:
            self._bytes()
        kind = f"conv_{self.pixels}x{self.vectors}v"
        return unit.kernel(kind, signature("INLINE", self.conv), self.code)

    def _sums(self) -> None:
        """Accumulate all products from the biases on; weights are streamed."""
        code, spec = self.code, self.conv
        for group in range(self.groups):
            for v in range(self.vectors):
                bias = group * self.group[1] + v * self.lanes
                code(f"const vec b{group}_{v} = LOAD(b + {bias});")
                code(*(f"a{group}_{p}_{v} = b{group}_{v};" for p in range(self.pixels)))
        steps = ceil(spec.run / 4 / self.split)
        work = self.pixels * self.vectors * self.groups
        code("const int8_t *v = w;")
        if len(spec.rows) * steps * work <= _MAX_UNROLLED:
            for index, row in enumerate(spec.rows):
                self._products("x", row, steps, index * steps)
            return
        even = {two - one for one, two in zip(spec.rows, spec.rows[1:], strict=False)}
        if len(spec.rows) > 1:
            if len(even) > 1:
                code(f"static const int rows[] = {{{', '.join(map(str, spec.rows))}}};")
            at = "rows[t]" if len(even) > 1 else f"{spec.rows[0]} + t * {even.pop()}"
            with code.block(f"for (int t = 0; t < {len(spec.rows)}; ++t)"):
                code(f"const byte *from = x + {at};")
                self._run(steps, work)
        else:
            code(f"const byte *from = x + {spec.rows[0]};")
            self._run(steps, work)

    def _run(self, steps: int, work: int) -> None:
        """The products of one run from ``from`` on."""
        code, size = self.code, self.weights * self.vectors
        if steps * work <= _MAX_UNROLLED:
            self._products("from", 0, steps, 0)
            code(f"v += {steps * size};")
            return
        turn = next((n for n in (_UNROLL, 3, 2, 5) if steps % n == 0), _UNROLL)
        times, rest = divmod(steps, turn)
        walk = f"from += {4 * turn * self.split}, v += {turn * size}"
        with code.block(f"for (int k = 0; k < {times}; ++k, {walk})"):
            self._products("from", 0, turn, 0)
        if rest:
            self._products("from", 0, rest, 0)
            code(f"v += {rest * size};")

    def _products(self, x: str, offset: int, steps: int, done: int) -> None:
        """Steps of all groups, whose independent chains hide latency."""
        code, size = self.code, self.weights
        spread = {1: "SPREAD", 2: "SPREAD_8", 4: "SPREAD_16"}[self.split]
        for step in range(steps):
            for group in range(self.groups):
                with code.block(""):
                    first = group * self.group[0] + (done + step) * self.vectors * size
                    for v in range(self.vectors):
                        code(f"const vec w{v} = {self.load}(v + {first + v * size});")
                    there = group * self.conv.group_step + offset + 4 * step * self.split
                    for p in range(self.pixels):
                        code(f"const vec s{p} = {spread}({x} + {there + p * self.conv.x_pixel});")
                        for v in range(self.vectors):
                            a = f"a{group}_{p}_{v}"
                            code(f"{a} = DOT({a}, s{p}, w{v});")

    def _added(self, group: int) -> None:
        """Add the split lanes of an output; results of several pixels end up in one vector."""
        for p in range(0, self.pixels, self.split):
            here = [f"a{group}_{min(p + q, self.pixels - 1)}_0" for q in range(self.split)]
            self.code(f"{here[0]} = ADDED_{self.split}({', '.join(here)});")

    def _scale(self, group: int) -> None:
        code = self.code
        for v in range(self.vectors):
            at = group * self.group[1] + (self.vectors + v) * self.lanes
            code(f"const reals m{v} = REALS(b + {at});")
            for p in range(0, self.pixels, self.split):
                code(f"a{group}_{p}_{v} = SCALE(a{group}_{p}_{v}, m{v});")

    def _reals(self) -> None:
        code, lanes = self.code, self.lanes
        for v in range(self.vectors):
            code(f"const reals m{v} = REALS(b + {(self.vectors + v) * lanes});")
            count = min(lanes, self.conv.outputs - self.first - v * lanes)
            for p in range(self.pixels):
                to = f"(float *)(void *)(y + {p * self.conv.y_pixel + 4 * v * lanes})"
                value = f"REAL(a0_{p}_{v}, m{v})"
                if count == lanes:
                    code(f"OP(storeu_ps)({to}, {value});")
                else:
                    code(f"STORE_REALS({to}, {value}, {count});")

    def _counted(self, v: int, vectors: int) -> tuple[int, int]:
        """Bytes of these vectors that are outputs, and bytes that may be written."""
        spec = self.conv
        remaining = spec.outputs - self.first - v * self.lanes
        count = min(vectors * self.lanes, remaining)
        return (
            count,
            count + spec.overwrite_slack if spec.groups == 1 and count == remaining else count,
        )

    def _bytes(self) -> None:
        """Store pixels one by one, or several packed into a vector where they are narrow."""
        for v in range(0, self.vectors, 4):
            some = min(4, self.vectors - v)
            if self.conv.residual is not None:
                self._sum(v, some)
            elif some == 1 and self.lanes == 16:
                count, _ = self._counted(v, 1)
                for p in range(self.pixels):
                    y = f"y + {p * self.conv.y_pixel + v * self.lanes}"
                    self.code(f"STORE_WORDS({y}, a0_{p}_{v}, {count});")
            else:
                self._together(v, some)

    def _together(self, v: int, some: int) -> None:
        per_vector = 4 // some
        count, most = self._counted(v, some)
        for p in range(0, self.pixels, per_vector):
            here = [
                f"a0_{q}_{w}"
                for q in range(p, min(p + per_vector, self.pixels))
                for w in range(v, v + some)
            ]
            with self.code.block(""):
                self.code(f"const vec bytes = TURN(PACK({', '.join(_repeat_to_four(here))}));")
                for at, q in enumerate(range(p, min(p + per_vector, self.pixels))):
                    y = f"y + {q * self.conv.y_pixel + v * self.lanes}"
                    from_, may = at * some * self.lanes, 0 if at else most
                    emit_store(self.code, self.lanes, y, "bytes", count, at=from_, most=may)

    def _sum(self, v: int, some: int) -> None:
        """Add the residual; it is read before anything at the same address is written."""
        spec, code = self.conv, self.code
        per_vector = {1: 4, 2: 2}.get(some, 1) if self.lanes == 16 else 1
        count, _ = self._counted(v, some)
        code(f"const vec times{v} = TIMES({spec.residual});")
        code(f"const vec round{v} = OP(set1_epi16)({1 << 15 - spec.fraction});")
        for p in range(0, self.pixels, per_vector):
            pixels = range(p, min(p + per_vector, self.pixels))
            here = _repeat_to_four([f"a0_{q}_{w}" for q in pixels for w in range(v, v + some)])
            with code.block(""):
                parts = [f"r + {q * spec.r_pixel + v * self.lanes}" for q in pixels]
                parts += parts[-1:] * (per_vector - len(parts))
                load = {1: "LOAD", 2: "TWO_HALVES", 4: "FOUR_QUARTERS"}[per_vector]
                code(f"const vec other = OTHER({load}({', '.join(parts)}));")
                given = f"{', '.join(here)}, other, times{v}, round{v}"
                code(f"const vec bytes = TURN(SUM_OF({given}));")
                for at, q in enumerate(pixels):
                    y = f"y + {q * spec.y_pixel + v * self.lanes}"
                    emit_store(code, self.lanes, y, "bytes", count, at=at * some * self.lanes)

    def _interleaved(self) -> None:
        """Interleave the groups' channels (shuffle) by one byte permutation per vector."""
        code, groups = self.code, self.groups
        table = [0] * (4 * self.lanes)
        for output in range(self.lanes):
            for group in range(groups):
                table[output * groups + group] = 16 * (output // 4) + 4 * group + output % 4
        self._order(table)
        for v in range(self.vectors):
            remaining = self.conv.outputs - self.first - v * self.lanes
            count = groups * min(self.lanes, remaining)
            for p in range(self.pixels):
                here = _repeat_to_four([f"a{group}_{p}_{v}" for group in range(groups)])
                y = f"y + {p * self.conv.y_pixel + v * self.lanes * groups}"
                value = f"_mm512_permutexvar_epi8(order, PACK({', '.join(here)}))"
                most = count + self.conv.overwrite_slack if remaining <= self.lanes else 0
                emit_store(code, self.lanes, y, value, count, most=most)

    def _few(self) -> None:
        """Store the last few outputs of each group: those of several pixels in one vector."""
        code, groups, split = self.code, self.groups, self.split
        outputs = self.lanes // split
        table = [0] * (4 * self.lanes)
        for pixel in range(split):
            for output in range(outputs):
                for group in range(groups):
                    quarter, within = divmod(output, 4 // split)
                    at = 16 * quarter + 4 * group + pixel * (4 // split) + within
                    table[4 * outputs * pixel + output * groups + group] = at
        self._order(table)
        remaining = self.conv.outputs - self.first
        count = groups * min(outputs, remaining)
        most = count + self.conv.overwrite_slack if remaining <= outputs else 0
        for p in range(0, self.pixels, split):
            here = _repeat_to_four([f"a{group}_{p}_0" for group in range(groups)])
            with code.block(""):
                code(f"const vec bytes = _mm512_permutexvar_epi8(order, PACK({', '.join(here)}));")
                for q in range(p, min(p + split, self.pixels)):
                    y = f"y + {q * self.conv.y_pixel}"
                    at = 4 * outputs * (q - p)
                    emit_store(code, self.lanes, y, "bytes", count, at=at, most=most)

    def _order(self, table: list[int]) -> None:
        """Declare a byte permutation."""
        whole = (
            sum(byte << 8 * k for k, byte in enumerate(table[i : i + 8])) for i in range(0, 64, 8)
        )
        numbers = ", ".join(f"{number:#x}" for number in whole)
        self.code(f"const vec order = _mm512_setr_epi64({numbers});")


def _repeat_to_four(names: list[str]) -> list[str]:
    return names + names[-1:] * (4 - len(names))
