"""Depthwise convolutions 3x3 for 64-bit ARM in assembly.

Columns of up to four vectors are walked from top to bottom. A row of the source is loaded three
times, one column apart, by one instruction for each, and is used up at once for the three rows of
the target that it is part of. The registers of a load are filled again as soon as its row is done.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil

from shufflenet_deploy.export.graph import Activation
from shufflenet_deploy.export.native.neon import Pointer, many, statement
from shufflenet_deploy.export.native.program import Window3x3
from shufflenet_deploy.export.native.text import Code, Unit

_LANES = 4
_VECTOR = 16  # bytes
_QUAD = 4  # vectors in a column
_WEIGHTS, _ZERO, _SIX = 24, 27, 28  # registers behind the sums and the pixels


def suits(step: Window3x3, unit: Unit) -> bool:
    """Whether this is how to write a step: stride 1 and a border of one pixel."""
    source, target = step.source.layout, step.target.layout
    return (
        unit.machine.by_lane
        and step.weight is not None
        and (step.stride, step.top, step.left) == (1, 1, 1)
        and (source.height, source.width) == (target.height, target.width)
        and source.height > 1
    )


def write(step: Window3x3, unit: Unit) -> Code:
    """The body of a kernel for one plane."""
    code = Code(depth=1)
    vectors = ceil(step.target.layout.width / _LANES)
    columns = ceil(vectors / _QUAD)
    sizes = [vectors // columns + (at < vectors % columns) for at in range(columns)]
    # What the last column writes behind a row is the beginning of the next one: it is the first.
    for at in reversed(range(columns)):
        text = Code(depth=1)
        column = _Column(step, sum(sizes[:at]), sizes[at])
        text(*column.write())
        head = "INLINE void @(const float *x, const float *w, float *y)"
        name = unit.kernel(f"column{sizes[at]}", head, text)
        code(f"{name}(x, w, y);")
    return code


@dataclass
class _Column:
    """``vectors`` vectors of each row, from vector ``first`` on."""

    step: Window3x3
    first: int
    vectors: int
    text: list[str] = field(default_factory=list)
    steps: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.x = Pointer("x", self.text, self.steps)
        self.y = Pointer("y", self.text, self.steps)
        bias = self.step.bias
        self.biased = bias is not None and bool(bias.any())
        self.height = self.step.source.layout.height
        self.begin = 4 * _LANES * self.first

    def write(self) -> list[str]:
        many_weights = many(range(_WEIGHTS, _WEIGHTS + 3))
        self.text += [f"ld1 {many_weights}, [%[w]]", f"movi v{_ZERO}.4s, #0"]
        if self.step.activation is Activation.RELU6:
            self.text.append(f"fmov v{_SIX}.4s, #6.0")
        for column in range(3):
            self._load(0, column)
        self._row(0)
        row = 1
        times = (self.height - 2) // 3
        if times > 1:
            self._at_row(1)
            self.text.append("1:")
            for at in range(3):
                self._row(1 + at)
            self._at_row(4)
            self.text += ["subs %w[n], %w[n], #1", "b.ne 1b"]
            row += 3 * times
            self.x.fence(self._pixel(row + 1, 0))
            self.y.fence(self._target(row - 1))
        for at in range(row, self.height):
            self._row(at)
        return statement(["x", "w", "y"], self.text, self.steps, looped=times if times > 1 else 0)

    def _at_row(self, row: int) -> None:
        """Pointers where row ``row`` uses them first."""
        self.x.move(self._pixel(row + 1, 0))
        self.y.move(self._target(row - 1))
        self.x.fence(self.x.at)
        self.y.fence(self.y.at)

    def _pixel(self, row: int, column: int) -> int:
        """Where a load of a row begins; ``column`` is that of the window."""
        return self.begin + 4 * (row * self.step.source.layout.row + column - 1)

    def _target(self, row: int) -> int:
        return self.begin + 4 * row * self.step.target.layout.row

    def _load(self, row: int, column: int) -> None:
        """The pixels under a column of the window; those outside are zero."""
        registers = [self._source(column, at) for at in range(self.vectors)]
        self.x.use(self._pixel(row, column), f"ld1 {many(registers)}", _VECTOR * self.vectors)
        width = self.step.source.layout.width
        for at, register in enumerate(registers):
            for lane in range(_LANES):
                if _LANES * (self.first + at) + lane + column - 1 in {-1, width}:
                    self.text.append(f"mov v{register}.s[{lane}], v{_ZERO}.s[0]")

    def _source(self, column: int, at: int) -> int:
        return 3 * self.vectors + column * self.vectors + at

    def _sum(self, row: int, at: int) -> int:
        return row % 3 * self.vectors + at

    def _row(self, row: int) -> None:
        """All that a row of the source is for; the row before is then complete, and stored."""
        # The one to be stored is the first, so that the others hide how long its last sum takes.
        uses = [(2, row - 1), (1, row), (0, row + 1)]
        uses = [(tap, out) for tap, out in uses if 0 <= out < self.height]
        for column in range(3):
            for tap, out in uses:
                begins = column == 0 and (tap == 0 or out == row == 0)
                self._multiply(tap, column, out, begins=begins)
            if row + 1 < self.height:
                self._load(row + 1, column)
        if row:
            self._store(row - 1)
        if row == self.height - 1:
            self._store(row)

    def _multiply(self, tap: int, column: int, out: int, *, begins: bool) -> None:
        register, lane = divmod(3 * tap + column, _LANES)
        weight = f"v{_WEIGHTS + register}.s[{lane}]"
        sums = [self._sum(out, at) for at in range(self.vectors)]
        if begins and self.biased:
            self.text += [f"dup v{a}.4s, v{_WEIGHTS + 2}.s[1]" for a in sums]
        kind = "fmul" if begins and not self.biased else "fmla"
        for at, a in enumerate(sums):
            self.text.append(f"{kind} v{a}.4s, v{self._source(column, at)}.4s, {weight}")

    def _store(self, row: int) -> None:
        sums = [self._sum(row, at) for at in range(self.vectors)]
        if self.step.activation in {Activation.RELU, Activation.RELU6}:
            self.text += [f"fmax v{a}.4s, v{a}.4s, v{_ZERO}.4s" for a in sums]
        if self.step.activation is Activation.RELU6:
            self.text += [f"fmin v{a}.4s, v{a}.4s, v{_SIX}.4s" for a in sums]
        start, layout = self._target(row), self.step.target.layout
        beyond = start // 4 + _LANES * self.vectors - layout.plane
        if beyond <= 0:
            self.y.use(start, f"st1 {many(sums)}", _VECTOR * self.vectors)
            return
        if sums[:-1]:
            self.y.use(start, f"st1 {many(sums[:-1])}", _VECTOR * (self.vectors - 1))
        start += _VECTOR * (self.vectors - 1)
        if beyond <= 2:
            self.y.use(start, f"st1 {{v{sums[-1]}.2s}}", 8)
        if beyond % 2:
            lane = 2 if beyond == 1 else 0
            self.y.use(start + 4 * lane, f"st1 {{v{sums[-1]}.s}}[{lane}]", 4)
