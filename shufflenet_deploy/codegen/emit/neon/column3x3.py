"""A column of 3x3 windows in AArch64 assembly: its constants, rows and stores."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from typing import ClassVar

from shufflenet_deploy.codegen.emit.c.dwconv3x3_rows import BIAS_INDEX, PACKED_WEIGHTS, SIXTH_INDEX
from shufflenet_deploy.codegen.emit.neon.aarch64_asm import (
    VECTOR_BYTES,
    ElementType,
    Pointer,
)
from shufflenet_deploy.codegen.ir.ops import Direct3x3
from shufflenet_deploy.network.graph import Activation

# Registers of constants; the others are for sums and pixels.
CARRIED = 24  # the pixel left of a column, in every lane: one for each set of pixels
THREE = 25
WEIGHTS = 27
ZERO, SIX = 30, 31
OUTSIDE, SCALE = 27, 28  # a pool has no weights


@dataclass
class Column:
    """``vectors`` vectors of each output row, from vector ``first`` on.

    ``times`` is the trip count of the loop in ``text``, 0 if there is none. ``prefetched`` is how
    many rows before their use pixels are prefetched, 0 for none.
    """

    op: Direct3x3
    element: ElementType
    first: int
    vectors: int
    prefetched: int = 0
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
            registers = range(WEIGHTS, WEIGHTS + ceil(PACKED_WEIGHTS / self.lanes))
            self.text.append(f"ld1 {self.element.register_list(registers)}, [%[w]]")
        self.text.append(f"movi {self.whole(ZERO)}, #0")
        if self.op.activation in {Activation.RELU6, Activation.HARD_SWISH}:
            self.text.append(f"fmov {self.whole(SIX)}, #6.0")
        if self.op.activation is Activation.HARD_SWISH:
            self.text.append(f"fmov {self.whole(THREE)}, #3.0")

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
        return self.lane_of(WEIGHTS + register, lane)

    def _to(self, row: int) -> int:
        """Byte offset of an output row."""
        return self.size * (self.lanes * self.first + row * self.target.row_stride)

    def _store(self, row: int, sums: list[int]) -> None:
        if self.op.activation in {Activation.RELU, Activation.RELU6}:
            self.text += self._each("fmax", sums, ZERO)
        if self.op.activation is Activation.RELU6:
            self.text += self._each("fmin", sums, SIX)
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
            self.text += [f"fadd {self.whole(t)}, {a}, {self.whole(THREE)}" for a, t in pairs]
            self.text += self._each("fmax", kept, ZERO)
            self.text += self._each("fmin", kept, SIX)
            self.text += [f"fmul {self.whole(t)}, {self.whole(t)}, {sixth}" for t in kept]
            self.text += [f"fmul {a}, {a}, {self.whole(t)}" for a, t in pairs]

    def _each(self, kind: str, registers: list[int], other: int) -> list[str]:
        """Instructions that combine registers with another one."""
        names = map(self.whole, registers)
        return [f"{kind} {name}, {name}, {self.whole(other)}" for name in names]
