"""Depthwise 3x3 and 3x3 pooling in AArch64 assembly, fp32 and fp16.

Columns of up to four vectors are walked from top to bottom, and each input row is used at once for
every output row that it is part of. With stride 1 a row is loaded three times, one column apart.
With stride 2 ``ld2`` deinterleaves even and odd columns, and the odd ones moved by one lane are the
left neighbours of the even ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from typing import ClassVar

import numpy as np

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.c.dwconv3x3_rows import BIAS_INDEX, PACKED_WEIGHTS, SIXTH_INDEX
from shufflenet_deploy.codegen.emit.neon.aarch64_asm import (
    VECTOR_BYTES,
    ElementType,
    Pointer,
    asm_statement,
    element_type,
)
from shufflenet_deploy.codegen.emit.unit import TranslationUnit
from shufflenet_deploy.codegen.ir.ops import Direct3x3
from shufflenet_deploy.codegen.schedule.partition import even_sizes
from shufflenet_deploy.network.graph import Activation, PoolKind

_MAX_COLUMN_VECTORS = 4  # vectors in a column
# Registers of constants; the others are for sums and pixels.
_CARRIED = 24  # the pixel left of a column, in every lane: one for each set of pixels
_THREE = 25
_WEIGHTS = 27
_ZERO, _SIX = 30, 31
_OUTSIDE, _SCALE = 27, 28  # a pool has no weights


def is_supported(op: Direct3x3, unit: TranslationUnit) -> bool:
    """True if the op has a padding of at most one pixel, as this kernel assumes."""
    source, target = op.source.layout, op.target.layout
    if not unit.cpu.fma_by_lane or op.left != 1 or source.height < 2:
        return False
    if op.weight is None and op.activation is Activation.HARD_SWISH:
        return False
    if op.top == 0:  # a pool's first row may be there
        return (
            op.weight is None
            and op.stride == 2
            and source.height == 2 * target.height + 1
            and 2 * target.width - 1 <= source.width
        )
    if op.stride == 1:
        same = (source.height, source.width) == (target.height, target.width)
        return op.weight is not None and same
    return 2 * target.height - 1 <= source.height and 2 * target.width - 1 <= source.width


def kernel_body(op: Direct3x3, unit: TranslationUnit) -> CWriter:
    """The body of the kernel for one channel."""
    code = CWriter(depth=1)
    numbers = element_type(unit.cpu.element_bytes)
    vectors = ceil(op.target.layout.width / numbers.lanes)
    columns = ceil(vectors / _MAX_COLUMN_VECTORS)
    sizes = even_sizes(vectors, columns)
    arguments = ["x", *(["w"] if op.weight is not None else []), "y"]
    head = ", ".join(f"{'' if name == 'y' else 'const '}real *{name}" for name in arguments)
    kind = (
        _Stride2Pool
        if op.weight is None
        else _Stride1Depthwise
        if op.stride == 1
        else _Stride2Depthwise
    )
    # What the last column writes after a row is the beginning of the next one: it is the first.
    for at in reversed(range(columns)):
        column = kind(op, numbers, sum(sizes[:at]), sizes[at])
        column.write()
        text = CWriter(depth=1)
        text(*asm_statement(arguments, column.text, column.steps, looped=column.times))
        name = unit.kernel(f"dwconv3x3_{sizes[at]}v", f"INLINE void @({head})", text, "asm")
        code(f"{name}({', '.join(arguments)});")
    return code


@dataclass
class _Column:
    """``vectors`` vectors of each output row, from vector ``first`` on.

    ``times`` is the trip count of the loop in ``text``, 0 if there is none.
    """

    op: Direct3x3
    element: ElementType
    first: int
    vectors: int
    text: list[str] = field(default_factory=list)
    steps: dict[int, str] = field(default_factory=dict)
    times: int = 0
    temporaries: ClassVar[tuple[int, ...]] = ()
    """Registers that are free while a row is stored."""

    def __post_init__(self) -> None:
        self.x = Pointer("x", self.text, self.steps)
        self.y = Pointer("y", self.text, self.steps)
        self.lanes, self.size = self.element.lanes, self.element.size
        self.whole, self.lane_of = self.element.whole, self.element.lane_of
        self.source, self.target = self.op.source.layout, self.op.target.layout
        bias = self.op.bias
        self.biased = bias is not None and bool(bias.any())

    def _constants(self) -> None:
        if self.op.weight is not None:
            registers = range(_WEIGHTS, _WEIGHTS + ceil(PACKED_WEIGHTS / self.lanes))
            self.text.append(f"ld1 {self.element.register_list(registers)}, [%[w]]")
        self.text.append(f"movi {self.whole(_ZERO)}, #0")
        if self.op.activation in {Activation.RELU6, Activation.HARD_SWISH}:
            self.text.append(f"fmov {self.whole(_SIX)}, #6.0")
        if self.op.activation is Activation.HARD_SWISH:
            self.text.append(f"fmov {self.whole(_THREE)}, #3.0")

    def _rows(self, first: int, last: int, size: int) -> None:
        """Emit rows ``first`` to ``last``; groups of ``size`` alike become a loop."""
        times = (last - first) // size
        if times > 1:
            self.times = times
            self._begin(first)
            self.text.append("1:")
            for at in range(size):
                self._row(first + at)
            self._begin(first + size)
            self.text += ["subs %w[n], %w[n], #1", "b.ne 1b"]
            first += size * times
            self.x.fence(self._at(first)[0])
            self.y.fence(self._at(first)[1])
        for row in range(first, last + 1):
            self._row(row)

    def _begin(self, row: int) -> None:
        """Advance the pointers to the first uses of ``row``."""
        x, y = self._at(row)
        self.x.move(x)
        self.y.move(y)
        self.x.fence(x)
        self.y.fence(y)

    def _at(self, row: int) -> tuple[int, int]:
        raise NotImplementedError

    def _row(self, row: int) -> None:
        raise NotImplementedError

    def _multiply(self, pixels: list[int], sums: list[int], weight: int, *, begins: bool) -> None:
        """Accumulate products; the first ones start from the bias, or from nothing."""
        if begins and self.biased:
            bias = self._constant(BIAS_INDEX)
            self.text += [f"dup {self.whole(a)}, {bias}" for a in sums]
        kind = "fmul" if begins and not self.biased else "fmla"
        for a, pixel in zip(sums, pixels, strict=True):
            factor = self._constant(weight)
            self.text.append(f"{kind} {self.whole(a)}, {self.whole(pixel)}, {factor}")

    def _constant(self, at: int) -> str:
        """The lane of a weight, or of the bias after them."""
        register, lane = divmod(at, self.lanes)
        return self.lane_of(_WEIGHTS + register, lane)

    def _to(self, row: int) -> int:
        """Byte offset of an output row."""
        return self.size * (self.lanes * self.first + row * self.target.row_stride)

    def _store(self, row: int, sums: list[int]) -> None:
        if self.op.activation in {Activation.RELU, Activation.RELU6}:
            self.text += self._each("fmax", sums, _ZERO)
        if self.op.activation is Activation.RELU6:
            self.text += self._each("fmin", sums, _SIX)
        if self.op.activation is Activation.HARD_SWISH:
            self._hard_swish(sums)
        start = self._to(row)
        beyond = start + VECTOR_BYTES * self.vectors - self.size * self.target.channel_stride
        if beyond <= 0:
            self.y.use(
                start, f"st1 {self.element.register_list(sums)}", VECTOR_BYTES * self.vectors
            )
            return
        if sums[:-1]:
            self.y.use(
                start,
                f"st1 {self.element.register_list(sums[:-1])}",
                VECTOR_BYTES * (self.vectors - 1),
            )
        start += VECTOR_BYTES * (self.vectors - 1)
        last, at = self.element.name(sums[-1]), 0
        for part, lane in ((8, "d"), (4, "s"), (2, "h")):
            if (VECTOR_BYTES - beyond) & part:
                self.y.use(start + at, f"st1 {{v{last}.{lane}}}[{at // part}]", part)
                at += part

    def _hard_swish(self, sums: list[int]) -> None:
        """Hard-swish of some sums, as many at a time as there are temporaries."""
        sixth = self._constant(SIXTH_INDEX)
        for first in range(0, len(sums), len(self.temporaries)):
            some = sums[first : first + len(self.temporaries)]
            pairs = list(zip(map(self.whole, some), self.temporaries, strict=False))
            kept = [temporary for _, temporary in pairs]
            self.text += [f"fadd {self.whole(t)}, {a}, {self.whole(_THREE)}" for a, t in pairs]
            self.text += self._each("fmax", kept, _ZERO)
            self.text += self._each("fmin", kept, _SIX)
            self.text += [f"fmul {self.whole(t)}, {self.whole(t)}, {sixth}" for t in kept]
            self.text += [f"fmul {a}, {a}, {self.whole(t)}" for a, t in pairs]

    def _each(self, kind: str, registers: list[int], other: int) -> list[str]:
        """Instructions that combine registers with another one."""
        names = map(self.whole, registers)
        return [f"{kind} {name}, {name}, {self.whole(other)}" for name in names]


class _Stride1Depthwise(_Column):
    """Depthwise 3x3 with stride 1."""

    temporaries = (24, 26)

    def write(self) -> None:
        self._constants()
        for column in range(3):
            self._load(0, column)
        self._row(0)
        self._rows(1, self.source.height - 1, 3)

    def _at(self, row: int) -> tuple[int, int]:
        return self._pixel(row + 1, 0), self._to(row - 1)

    def _pixel(self, row: int, column: int) -> int:
        """Byte offset of the load of a row; ``column`` is that of the kernel."""
        return self.size * (self.lanes * self.first + row * self.source.row_stride + column - 1)

    def _load(self, row: int, column: int) -> None:
        """Load the pixels under a kernel column; lanes in the padding become zero."""
        registers = self._under(column)
        some = self.element.register_list(registers)
        self.x.use(self._pixel(row, column), f"ld1 {some}", VECTOR_BYTES * self.vectors)
        for at, register in enumerate(registers):
            for lane in range(self.lanes):
                where = self.lanes * (self.first + at) + lane + column - 1
                if where in {-1, self.source.width}:
                    self.text.append(
                        f"mov {self.lane_of(register, lane)}, {self.lane_of(_ZERO, 0)}"
                    )

    def _under(self, column: int) -> list[int]:
        first = (3 + column) * self.vectors
        return list(range(first, first + self.vectors))

    def _sums(self, row: int) -> list[int]:
        first = row % 3 * self.vectors
        return list(range(first, first + self.vectors))

    def _row(self, row: int) -> None:
        """Everything that an input row contributes to; completes and stores an output row."""
        # The one to be stored is the first, so that the others hide how long its last sum takes.
        uses = [(2, row - 1), (1, row), (0, row + 1)]
        uses = [(tap, out) for tap, out in uses if 0 <= out < self.target.height]
        for column in range(3):
            for tap, out in uses:
                begins = column == 0 and (tap == 0 or out == row == 0)
                weight = 3 * tap + column
                self._multiply(self._under(column), self._sums(out), weight, begins=begins)
            if row + 1 < self.source.height:
                self._load(row + 1, column)
        if row:
            self._store(row - 1, self._sums(row - 1))
        if row == self.source.height - 1:
            self._store(row, self._sums(row))


class _Stride2Column(_Column):
    """Stride 2: even and odd columns in pairs of registers."""

    def _pixel(self, row: int) -> int:
        """Byte offset of the loads of a row, including the left neighbour if there is one."""
        left = self.first > 0
        return self.size * (2 * self.lanes * self.first + row * self.source.row_stride - left)

    def _load(self, row: int, base: int, carried: int, outside: int) -> None:
        """Load a row in pairs from register ``base`` on; padding is that of ``outside``."""
        start = self._pixel(row)
        if self.first:
            self.x.use(start, f"ld1r {self.element.register_list([carried])}", self.size)
            start += self.size
        for at in range(self.vectors):
            pair = range(base + 2 * at, base + 2 * at + 2)
            self.x.use(
                start + 2 * VECTOR_BYTES * at,
                f"ld2 {self.element.register_list(pair)}",
                2 * VECTOR_BYTES,
            )
            lane = self.source.width // 2 - self.lanes * (self.first + at)
            if self.source.width % 2 and 0 <= lane < self.lanes:
                self.text.append(f"mov {self.lane_of(pair[1], lane)}, {self.lane_of(outside, 0)}")

    def _shift(self, to: int, base: int, at: int, carried: int) -> None:
        """The left neighbours of the even pixels of a vector."""
        before = base + 2 * at - 1 if at else carried
        registers = map(self.element.name, (to, before, base + 2 * at + 1))
        bytewise = ", ".join(f"v{name}.16b" for name in registers)
        self.text.append(f"ext {bytewise}, #{VECTOR_BYTES - self.size}")


class _Stride2Depthwise(_Stride2Column):
    """Depthwise 3x3 with stride 2."""

    temporaries = (20, 21, 22, 23)

    def write(self) -> None:
        self._constants()
        last = min(self.source.height, 2 * self.target.height) - 1
        self.last = last
        self.pairs = 2 * self.vectors
        self._next(0)
        self._row(0)
        self._rows(1, last, 4)

    def _at(self, row: int) -> tuple[int, int]:
        return self._pixel(row + 1), self._to((row - 1) // 2)

    def _next(self, row: int) -> None:
        if row <= self.last:
            self._load(row, self.pairs, _CARRIED, _ZERO)

    def _sums(self, row: int) -> list[int]:
        first = row % 2 * self.vectors
        return list(range(first, first + self.vectors))

    def _row(self, row: int) -> None:
        """Everything that an input row contributes to; an odd row completes an output row."""
        left = list(range(4 * self.vectors, 5 * self.vectors))
        for at, to in enumerate(left):
            self._shift(to, self.pairs, at, _CARRIED if self.first else _ZERO)
        uses = [(1, row // 2)]
        if row % 2:
            uses = [(2, row // 2), (0, row // 2 + 1)]
        uses = [(tap, out) for tap, out in uses if out < self.target.height]
        for column in (1, 2, 0):
            pixels = left
            if column:
                pixels = list(range(self.pairs + column - 1, 4 * self.vectors, 2))
            else:
                self._next(row + 1)
            for tap, out in uses:
                begins = column == 1 and (tap == 0 or row == 0)
                self._multiply(pixels, self._sums(out), 3 * tap + column, begins=begins)
        if row % 2 or row == self.last:
            self._store(row // 2, self._sums(row // 2))


class _Stride2Pool(_Stride2Column):
    """Max or average pool 3x3 with stride 2: separable, rows first."""

    def write(self) -> None:
        largest = self.op.kind is PoolKind.MAX
        self._constants()
        self.outside = _OUTSIDE if largest else _ZERO
        self.both = "fmax" if largest else "fadd"
        if largest:
            least = "#4, lsl #8" if self.size == 2 else "#127, msl #16"
            self.text.append(f"mvni {self.whole(_OUTSIDE)}, {least}")
        else:
            kinds = (np.float16, np.uint16) if self.size == 2 else (np.float32, np.uint32)
            bits = int(np.array(self.op.scale, kinds[0]).view(kinds[1]))
            label = self.steps.setdefault(bits, "scale")
            self.text.append(f"dup {self.whole(_SCALE)}, %w[{label}]")
        #: Of the source, the row that the first of the target lies on.
        self.begins = 1 - self.op.top
        if self.begins:
            self._fetch(-1, 0)
        self._row(0)
        self._rows(1, self.target.height - 1, 2)

    def _at(self, row: int) -> tuple[int, int]:
        return self._pixel(2 * row + 1 + self.begins), self._to(row)

    def _fetch(self, row: int, part: int) -> None:
        row += self.begins
        if row < self.source.height:
            self._load(row, self._base(part), _CARRIED + part, self.outside)

    def _base(self, part: int) -> int:
        return 2 * self.vectors * part

    def _row(self, row: int) -> None:
        """An output row: from the odd row before it, an even one, and an odd one."""
        before, after = row % 2, 1 - row % 2  # by turns; the third is for even rows
        if row == 0:
            self._fetch(0, 2 if self.begins else before)
        self._fetch(2 * row + 1, after)
        if row or self.begins:
            self._join(before, 2)
        if row + 1 < self.target.height:
            self._fetch(2 * row + 2, 2)
        if 2 * row + 1 + self.begins < self.source.height:
            self._join(before, after)
        self._across(row, before)

    def _join(self, one: int, two: int) -> None:
        """Reduce two rows to one."""
        pairs = [(self._base(one) + at, self._base(two) + at) for at in range(2 * self.vectors)]
        if self.first:
            pairs.append((_CARRIED + one, _CARRIED + two))
        for a, b in pairs:
            self.text += self._each(self.both, [a], b)

    def _across(self, row: int, part: int) -> None:
        """Reduce columns; each result replaces registers that are no longer needed."""
        base, both = self._base(part), self.both
        for at in range(self.vectors):
            even, odd = base + 2 * at, base + 2 * at + 1
            self.text += self._each(both, [even], odd)
        for at in reversed(range(self.vectors)):
            carried = _CARRIED + part if self.first else self.outside
            self._shift(base + 2 * at + 1, base, at, carried)
        sums = list(range(base + self.vectors, base + 2 * self.vectors))
        for at in reversed(range(self.vectors)):
            even, odd = base + 2 * at, base + 2 * at + 1
            total, *parts = map(self.whole, (sums[at], even, odd))
            self.text.append(f"{both} {total}, {', '.join(parts)}")
        if self.op.kind is PoolKind.AVERAGE:
            self.text += self._each("fmul", sums, _SCALE)
        self._store(row, sums)
