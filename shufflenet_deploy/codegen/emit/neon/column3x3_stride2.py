"""Columns of 3x3 windows with stride 2: depthwise convolutions and pools."""

from __future__ import annotations

import numpy as np

from shufflenet_deploy.codegen.emit.neon.aarch64_asm import VECTOR_BYTES
from shufflenet_deploy.codegen.emit.neon.column3x3 import (
    CARRIED,
    OUTSIDE,
    SCALE,
    ZERO,
    Column,
)
from shufflenet_deploy.codegen.emit.unit import ALIGN_BYTES
from shufflenet_deploy.network.graph import PoolKind


class _Stride2Column(Column):
    """Stride 2: even and odd columns in pairs of registers."""

    def _pixel(self, row: int) -> int:
        """Byte offset of the loads of a row, including the left neighbour if there is one."""
        left = self.first > 0
        return self.size * (2 * self.lanes * self.first + row * self.source.row_stride - left)

    def _load(self, row: int, base: int, carried: int, outside: int) -> None:
        """Load a row in pairs from register ``base`` on; padding is that of ``outside``."""
        start = self._pixel(row)
        self._prefetch(row)
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

    def _prefetch(self, row: int) -> None:
        """Prefetch the lines of a later row, wherever in a line it begins."""
        if not self.prefetched:
            return
        start = self._pixel(row)
        self.x.move(start)
        extent = 2 * VECTOR_BYTES * self.vectors
        ahead = start + self.size * self.source.row_stride * self.prefetched
        for at in (*range(0, extent, ALIGN_BYTES), extent - self.size):
            self.x.prefetch(ahead + at)

    def _shift(self, to: int, base: int, at: int, carried: int) -> None:
        """The left neighbours of the even pixels of a vector."""
        before = base + 2 * at - 1 if at else carried
        registers = map(self.element.name, (to, before, base + 2 * at + 1))
        bytewise = ", ".join(f"v{name}.16b" for name in registers)
        self.text.append(f"ext {bytewise}, #{VECTOR_BYTES - self.size}")


class Stride2Depthwise(_Stride2Column):
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
            self._load(row, self.pairs, CARRIED, ZERO)

    def _sums(self, row: int) -> list[int]:
        first = row % 2 * self.vectors
        return list(range(first, first + self.vectors))

    def _row(self, row: int) -> None:
        """Everything that an input row contributes to; an odd row completes an output row."""
        left = list(range(4 * self.vectors, 5 * self.vectors))
        for at, to in enumerate(left):
            self._shift(to, self.pairs, at, CARRIED if self.first else ZERO)
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


class Stride2Pool(_Stride2Column):
    """Max or average pool 3x3 with stride 2: separable, rows first."""

    def write(self) -> None:
        largest = self.op.kind is PoolKind.MAX
        self._constants()
        self.outside = OUTSIDE if largest else ZERO
        self.both = "fmax" if largest else "fadd"
        if largest:
            least = "#4, lsl #8" if self.size == 2 else "#127, msl #16"
            self.text.append(f"mvni {self.whole(OUTSIDE)}, {least}")
        else:
            kinds = (np.float16, np.uint16) if self.size == 2 else (np.float32, np.uint32)
            bits = int(np.array(self.op.scale, kinds[0]).view(kinds[1]))
            label = self.steps.setdefault(bits, "scale")
            self.text.append(f"dup {self.whole(SCALE)}, %w[{label}]")
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
            self._load(row, self._base(part), CARRIED + part, self.outside)

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
            pairs.append((CARRIED + one, CARRIED + two))
        for a, b in pairs:
            self.text += self._each(self.both, [a], b)

    def _across(self, row: int, part: int) -> None:
        """Reduce columns; each result replaces registers that are no longer needed."""
        base, both = self._base(part), self.both
        for at in range(self.vectors):
            even, odd = base + 2 * at, base + 2 * at + 1
            self.text += self._each(both, [even], odd)
        for at in reversed(range(self.vectors)):
            carried = CARRIED + part if self.first else self.outside
            self._shift(base + 2 * at + 1, base, at, carried)
        sums = list(range(base + self.vectors, base + 2 * self.vectors))
        for at in reversed(range(self.vectors)):
            even, odd = base + 2 * at, base + 2 * at + 1
            total, *parts = map(self.whole, (sums[at], even, odd))
            self.text.append(f"{both} {total}, {', '.join(parts)}")
        if self.op.kind is PoolKind.AVERAGE:
            self.text += self._each("fmul", sums, SCALE)
        self._store(row, sums)
