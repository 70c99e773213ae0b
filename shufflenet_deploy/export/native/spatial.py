"""Kernels that look at neighbouring pixels: depthwise 3x3, windows, means, padding."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import ceil

import numpy as np

from shufflenet_deploy.export.graph import PoolKind
from shufflenet_deploy.export.native import neon_windows
from shufflenet_deploy.export.native.activations import activate, constants
from shufflenet_deploy.export.native.convolution import Columns, call
from shufflenet_deploy.export.native.program import (
    AdaptiveAverage,
    GlobalAverage,
    Split,
    Step,
    Window,
    Window3x3,
)
from shufflenet_deploy.export.native.text import Code, Unit, runs

_PACKED = 12  # nine weights, a bias, and two to make whole vectors


def split(step: Split, unit: Unit) -> None:
    """Pad a picture and sort its pixels by phase."""
    source, target = step.source.layout, step.target.layout
    down = step.stride[0]
    code = Code(depth=1)
    phases = deque(enumerate(step.phases))
    while phases:
        at, (row_phase, phase) = phases.popleft()
        parts = [_Columns.of(step, at, phase)]
        if phases and phases[0][1][0] == row_phase:
            other = _Columns.of(step, phases[0][0], phases[0][1][1])
            if other.beside(parts[0]):
                parts.append(other)
                phases.popleft()
        with code.block(f"for (int i = 0; i < {target.height}; ++i)"):
            code(f"const int row = i * {down} + {row_phase - step.top};")
            for name, part in zip(("one", "two"), parts, strict=False):
                code(f"float *{name} = y + {part.at * target.plane} + i * {target.row};")
            with code.block(f"if (row < 0 || row >= {source.height})"):
                for name, _ in zip(("one", "two"), parts, strict=False):
                    code(f"fill({name}, {target.width}, {_number(step.outside)});")
                code("continue;")
            for name, part in zip(("one", "two"), parts, strict=False):
                if part.first:
                    code(f"fill({name}, {part.first}, {_number(step.outside)});")
                if part.behind:
                    begin = part.first + part.count
                    code(f"fill({name} + {begin}, {part.behind}, {_number(step.outside)});")
            _rows_sorted(code, parts, f"x + row * {source.row}", step.stride[1])
    name = unit.kernel("split", "LOOP void @(const float *restrict x, float *restrict y)", code)
    size = target.plane * len(step.phases)
    _each(step, unit, name, size)


@dataclass(frozen=True)
class _Columns:
    """What a row of phase ``at`` has.

    ``first`` pixels of padding, ``count`` of the picture from column ``start`` on, ``behind`` of
    padding.
    """

    at: int
    first: int
    count: int
    behind: int
    start: int

    @classmethod
    def of(cls, step: Split, at: int, phase: int) -> _Columns:
        right, columns = step.stride[1], step.target.layout.width
        start = phase - step.left
        first = min(max(0, -(start // right)), columns)
        last = (step.source.layout.width - 1 - start) // right + 1
        count = max(0, min(columns, last) - first)
        return cls(at, first, count, columns - first - count, first * right + start)

    def beside(self, other: _Columns) -> bool:
        """Whether every second pixel is this one's and the others are the other's."""
        return self.count == other.count > 0 and abs(self.start - other.start) == 1


def _rows_sorted(code: Code, parts: list[_Columns], row: str, stride: int) -> None:
    to = [f"{name} + {part.first}" for name, part in zip(("one", "two"), parts, strict=False)]
    if len(parts) == 2 and stride == 2:
        if parts[0].start > parts[1].start:
            to.reverse()
        start = min(part.start for part in parts)
        code(f"deal({row} + {start}, {to[0]}, {to[1]}, {parts[0].count});")
        return
    for name, part in zip(to, parts, strict=True):
        if part.count:
            code(f"gather({row} + {part.start}, {name}, {part.count}, {stride});")


def _each(step: Step, unit: Unit, name: str, target_size: int = 0) -> None:
    """Call a kernel for every channel."""
    source, target = step.source, step.target
    channels = range(source.layout.channels if target_size else len(target.planes))
    columns: Columns = [
        (source, [source.offset(channel) for channel in channels]),
        (
            target,
            [
                channel * target_size if target_size else target.offset(channel)
                for channel in channels
            ],
        ),
    ]
    call(unit, name, columns, len(channels), step.name)


def _number(value: float) -> str:
    return "-INFINITY" if value == float("-inf") else f"{value:.9g}f" if value else "0.0f"


def window3x3(step: Window3x3, unit: Unit) -> None:
    """3x3 windows by rows: a row that is loaded serves all rows of output that need it."""
    if neon_windows.suits(step, unit):
        code = neon_windows.write(step, unit)
    else:
        code = _Rows(step, unit).write()
    weights = "const float *w, " if step.weight is not None else ""
    head = f"LOOP void @(const float *restrict x, {weights}float *restrict y)"
    name = unit.kernel("window", head, code)
    at = 0
    if step.weight is not None and step.bias is not None:
        packed = np.zeros((step.source.layout.channels, _PACKED), np.float32)
        packed[:, :9] = step.weight
        packed[:, 9] = step.bias
        at = unit.weights(packed) // 4
    for run in runs(step.target.planes):
        channels = range(run.first, run.first + run.count)
        columns: Columns = [(step.source, [step.source.offset(channel) for channel in channels])]
        if weights:
            columns.append((None, [at + channel * _PACKED for channel in channels]))
        columns.append((step.target, [step.target.offset(channel) for channel in channels]))
        call(unit, name, columns, run.count, step.name)


def _rows_at_once(height: int) -> int:
    """Rows of a block: few blocks, evenly filled."""
    return min(range(4, 9), key=lambda rows: (ceil(height / rows) * (rows + 2), rows))


class _Rows:
    """The kernel of one ``Window3x3``: everything but the plane is known now."""

    def __init__(self, step: Window3x3, unit: Unit) -> None:
        self.step = step
        self.source, self.target = step.source.layout, step.target.layout
        narrow = min(unit.machine.lanes, self.target.width)
        self.lanes = max(size for size in (16, 8, 4) if size <= narrow)
        self.by_lane = unit.machine.by_lane
        self.kind = f"v{self.lanes}"
        self.biased = step.bias is not None and bool(step.bias.any())
        self.at_once = 2
        if unit.machine.registers > 16:
            self.at_once = _rows_at_once(self.target.height) if step.stride == 1 else 2
        self.code = Code(depth=1)

    def write(self) -> Code:
        step, n, kind, code = self.step, self.lanes, self.kind, self.code
        if step.weight is not None:
            if self.by_lane:
                code("const v4 w0 = LOAD4(w), w1 = LOAD4(w + 4), w2 = LOAD4(w + 8);")
            else:
                # On a picture of one row some weights meet padding only.
                weight = f"const {kind} w%d __attribute__((unused)) = SPLAT{n}(w[%d]);"
                code(*(weight % (i, i) for i in range(9 + self.biased)))
        code(*constants(step.activation, kind))
        row = 0
        while row < self.target.height:
            rows = min(self.at_once, self.target.height - row)
            pattern = self._valid_rows(row, rows)
            times = 1
            while (
                row + rows * (times + 1) <= self.target.height
                and self._valid_rows(row + rows * times, rows) == pattern
            ):
                times += 1
            with code.block(f"for (int i = {row}; i < {row + rows * times}; i += {rows})"):
                begin = f"(i * {step.stride} - {step.top}) * {self.source.row} - {step.left}"
                code(f"const float *from = x + ({begin});")
                code(f"float *to = y + i * {self.target.row};")
                self._columns(rows, pattern)
            row += rows * times
        return code

    def _valid_rows(self, row: int, rows: int) -> tuple[bool, ...]:
        first = row * self.step.stride - self.step.top
        count = (rows - 1) * self.step.stride + 3
        return tuple(0 <= first + i < self.source.height for i in range(count))

    def _valid_lanes(self, column: int) -> tuple[tuple[bool, ...], ...]:
        first = column * self.step.stride - self.step.left
        return tuple(
            tuple(
                0 <= first + tap + lane * self.step.stride < self.source.width
                for lane in range(self.lanes)
            )
            for tap in range(3)
        )

    def _columns(self, rows: int, pattern: tuple[bool, ...]) -> None:
        """Every vector of a few rows; the last may overlap the one before."""
        starts = list(range(0, self.target.width - self.lanes + 1, self.lanes))
        if starts[-1] + self.lanes < self.target.width:
            starts.append(self.target.width - self.lanes)
        whole = ((True,) * self.lanes,) * 3
        inner = [at for at in starts if at % self.lanes == 0 and self._valid_lanes(at) == whole]
        looped = inner if len(inner) > 2 else []
        for at in starts:
            if at in looped:
                if at == looped[0]:
                    head = f"for (int j = {at}; j <= {looped[-1]}; j += {self.lanes})"
                    with self.code.block(head):
                        self._vector("j", rows, pattern, whole)
            else:
                with self.code.block(""):
                    self._vector(str(at), rows, pattern, self._valid_lanes(at))

    def _vector(
        self, at: str, rows: int, pattern: tuple[bool, ...], lanes: tuple[tuple[bool, ...], ...]
    ) -> None:
        """One vector of output in each of ``rows`` rows."""
        step, code = self.step, self.code
        started: set[int] = set()
        for i, valid in enumerate(pattern):
            if not valid:
                continue
            self._load(f"from + {i * self.source.row} + {at} * {step.stride}", i, lanes)
            uses = [(i - out * step.stride, out) for out in range(rows)]
            uses = [(tap, out) for tap, out in uses if 0 <= tap < 3]
            if step.weight is None:
                code(f"const {self.kind} h{i} = {self._reduced(i)};")
            for tap, out in uses:
                self._accumulate(i, tap, out, first=out not in started)
                started.add(out)
        for out in range(rows):
            value = f"a{out}"
            if step.weight is None and step.kind is PoolKind.AVERAGE:
                value = f"a{out} * {np.float32(step.scale):.9g}f"
            value = activate(step.activation, f"({value})", str(self.lanes))
            code(f"STORE{self.lanes}(to + {out * self.target.row} + {at}, {value});")

    def _reduced(self, i: int) -> str:
        if self.step.kind is PoolKind.MAX:
            return f"MAX{self.lanes}(MAX{self.lanes}(x{i}_0, x{i}_1), x{i}_2)"
        return f"x{i}_0 + x{i}_1 + x{i}_2"

    def _accumulate(self, i: int, tap: int, out: int, *, first: bool) -> None:
        code = self.code
        if self.step.weight is None:
            if first:
                code(f"{self.kind} a{out} = h{i};")
            elif self.step.kind is PoolKind.MAX:
                code(f"a{out} = MAX{self.lanes}(a{out}, h{i});")
            else:
                code(f"a{out} += h{i};")
            return
        if first and self.biased:
            code(f"{self.kind} a{out} = {'SPLAT_LANE(w2, 1)' if self.by_lane else 'w9'};")
        for column in range(3):
            k = 3 * tap + column
            if first and not self.biased and column == 0:
                weight = f"w{k // 4}[{k % 4}]" if self.by_lane else f"w{k}"
                code(f"{self.kind} a{out} = x{i}_0 * {weight};")
            elif self.by_lane:
                code(f"a{out} = FMA_LANE(a{out}, x{i}_{column}, w{k // 4}, {k % 4});")
            else:
                code(f"a{out} += x{i}_{column} * w{k};")

    def _load(self, start: str, i: int, lanes: tuple[tuple[bool, ...], ...]) -> None:
        """The pixels under the three columns of the window; those outside become padding."""
        n, kind, code = self.lanes, self.kind, self.code
        if self.step.stride == 1:
            loads = [f"LOAD{n}({start} + {tap})" for tap in range(3)]
        else:
            code(f"const {kind} p{i} = LOAD{n}({start}), q{i} = LOAD{n}({start} + {n});")
            code(f"const {kind} s{i} = LOAD{n}({start} + 2), t{i} = LOAD{n}({start} + {n + 2});")
            loads = [f"EVEN{n}(p{i}, q{i})", f"ODD{n}(p{i}, q{i})", f"EVEN{n}(s{i}, t{i})"]
        outside = "0.0f"
        if self.step.weight is None and self.step.kind is PoolKind.MAX:
            outside = "-INFINITY"
        for tap, load in enumerate(loads):
            code(f"{kind} x{i}_{tap} = {load};")
            code(
                *(
                    f"x{i}_{tap}[{lane}] = {outside};"
                    for lane, valid in enumerate(lanes[tap])
                    if not valid
                )
            )


def window(step: Window, unit: Unit) -> None:
    """Max or mean over the taps of a split picture, all pixels as one flat vector."""
    lanes = unit.machine.lanes
    layout = step.target.layout
    vectors = layout.vectors(lanes)
    code = Code(depth=1)
    code(*constants(step.activation))
    scaled = step.scale is not None and step.scale.size > 1
    at = 0
    if step.scale is not None:
        table = np.zeros((layout.height, layout.row), np.float32)
        table[:, : layout.width] = step.scale
        flat = np.zeros(vectors * lanes, np.float32)
        kept = min(flat.size, table.size)
        flat[:kept] = table.ravel()[:kept]
        at = unit.weights(flat if scaled else step.scale.astype(np.float32)) // 4
    with code.block(f"for (int p = 0; p < {vectors * lanes}; p += LANES)"):
        code(f"vf a = LOAD(x + p + {step.taps[0]});")
        for tap in step.taps[1:]:
            if step.kind is PoolKind.MAX:
                code(f"a = MAX(a, LOAD(x + p + {tap}));")
            else:
                code(f"a += LOAD(x + p + {tap});")
        if step.scale is not None:
            code("a *= LOAD(w + p);" if scaled else "a *= w[0];")
        code(f"STORE(y + p, {activate(step.activation, 'a')});")
    weights = "const float *w, " if step.scale is not None else ""
    name = unit.kernel("window", f"LOOP void @(const float *x, {weights}float *y)", code)
    size = step.source.layout.plane * step.spread
    for run in runs(step.target.planes):
        channels = range(run.first, run.first + run.count)
        columns: Columns = [(step.source, [channel * size for channel in channels])]
        if step.scale is not None:
            columns.append((None, [at for _ in channels]))
        columns.append((step.target, [step.target.offset(channel) for channel in channels]))
        call(unit, name, columns, run.count, step.name)


def global_average(step: GlobalAverage, unit: Unit) -> None:
    """The mean of a plane."""
    layout = step.source.layout
    lanes = unit.machine.lanes
    code = Code(depth=1)
    rows, width = layout.height, layout.width
    if layout.row == width:
        rows, width = 1, rows * width
    whole = width // lanes * lanes
    code("vf a = {0};", "float total = 0.0f;")
    with code.block(f"for (int i = 0; i < {rows}; ++i, x += {layout.row})"):
        if whole:
            with code.block(f"for (int p = 0; p < {whole}; p += LANES)"):
                code("a += LOAD(x + p);")
        code(*(f"total += x[{p}];" for p in range(whole, width)))
    code(f"total += {' + '.join(f'a[{i}]' for i in range(lanes))};")
    code(f"*y = total * {np.float32(1 / (rows * width)):.9g}f;")
    name = unit.kernel("mean", "LOOP void @(const float *x, float *y)", code)
    _each(step, unit, name)


def adaptive_average(step: AdaptiveAverage, unit: Unit) -> None:
    """Means over a grid of windows whose borders are PyTorch's."""
    source, target = step.source.layout, step.target.layout
    code = Code(depth=1)
    with code.block(f"for (int i = 0; i < {target.height}; ++i)"):
        code(*_borders("i", "top", "bottom", source.height, target.height))
        with code.block(f"for (int j = 0; j < {target.width}; ++j)"):
            code(*_borders("j", "left", "right", source.width, target.width))
            code("float total = 0.0f;")
            with code.block("for (int row = top; row < bottom; ++row)"):
                with code.block("for (int column = left; column < right; ++column)"):
                    code(f"total += x[row * {source.row} + column];")
            code(f"y[i * {target.row} + j] = total / (float)((bottom - top) * (right - left));")
    name = unit.kernel("grid", "LOOP void @(const float *x, float *y)", code)
    _each(step, unit, name)


def _borders(index: str, first: str, last: str, size: int, parts: int) -> list[str]:
    return [
        f"const int {first} = {index} * {size} / {parts};",
        f"const int {last} = (({index} + 1) * {size} + {parts - 1}) / {parts};",
    ]
