"""Depthwise 3x3 and 3x3 pooling on AVX-512, for planes no wider than a vector.

One vector holds as many whole output rows as fit: one of 14 pixels, two of 7. Padding is masked as
it is loaded. Vectors are stored in order, so that the slack of one is overwritten by the next.
"""

from __future__ import annotations

from math import ceil

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.c.activations import activation_constants, activation_expr
from shufflenet_deploy.codegen.emit.c.dwconv3x3_rows import reduce_expr
from shufflenet_deploy.codegen.emit.unit import TranslationUnit, float_literal
from shufflenet_deploy.codegen.ir.ops import Direct3x3

_LANES = 16
_ALL = (1 << _LANES) - 1
_MAX_VECTORS = 32  # vectors of output in one straight-line block


def is_supported(op: Direct3x3, unit: TranslationUnit) -> bool:
    """True if the planes are dense and small enough for this kernel."""
    source, target = op.source.layout, op.target.layout
    if unit.cpu.lanes != _LANES or target.width > _LANES:
        return False
    if target.row_stride != target.width or source.row_stride != source.width:
        return False
    if (
        _end_of_last_store(op) > target.channel_stride
        or ceil(target.height / _rows_per_vector(op)) > _MAX_VECTORS
    ):
        return False
    if op.stride == 1:
        return source.width == target.width
    behind = 2 * target.width + 1  # columns that the windows of one row reach over
    return behind <= (2 * _LANES if _rows_per_vector(op) == 1 else _LANES)


def _rows_per_vector(op: Direct3x3) -> int:
    """Output rows per vector; a permutation picks from the pixels of at most two."""
    rows = _LANES // op.target.layout.width
    return rows if op.stride == 1 else min(2, rows)


def _end_of_last_store(op: Direct3x3) -> int:
    """Element offset of the end of the last store."""
    layout, rows = op.target.layout, _rows_per_vector(op)
    return (ceil(layout.height / rows) - 1) * rows * layout.width + _LANES


def kernel_body(op: Direct3x3, unit: TranslationUnit) -> CWriter:  # noqa: ARG001 - one width
    """The body of the kernel for one channel: ``x``, weights ``w`` if there are any, ``y``."""
    return _SmallPlaneKernel(op).write()


class _SmallPlaneKernel:
    def __init__(self, op: Direct3x3) -> None:
        self.op = op
        self.source, self.target = op.source.layout, op.target.layout
        self.rows = _rows_per_vector(op)
        self.code = CWriter(depth=1)
        self.done: set[str] = set()

    def write(self) -> CWriter:
        op, code = self.op, self.code
        if op.weight is not None:
            code(*(f"const v16 w{i} __attribute__((unused)) = SPLAT16(w[{i}]);" for i in range(10)))
        if self.op.is_maximum:
            code("const v16 outside __attribute__((unused)) = SPLAT16(-INFINITY);")
        if op.stride == 2:
            code(*(self._picked(column) for column in range(3)))
        code(*activation_constants(op.activation, "v16"))
        for at in range(ceil(self.target.height / self.rows)):
            value = self._vector(at)
            if op.is_average:
                value = f"{value} * {float_literal(op.scale)}"
            value = activation_expr(op.activation, f"({value})", "16")
            code(f"STORE16(y + {at * self.rows * self.target.width}, {value});")
        return code

    def _vector(self, at: int) -> str:
        """The name of the reduction of vector ``at``."""
        op = self.op
        first = at * self.rows * op.stride - op.top
        rows = [first + tap for tap in range(3)]
        if op.weight is not None:
            return self._convolved(at, rows)
        if op.stride == 1:
            there = [row for row in rows if self._any(row)]
            across = [self._combined(f"h{row + 1}", self._taps(row)) for row in there]
            return self._combined(f"a{at}", across)
        # Down the columns first: then there is one row to pick every second pixel from.
        sums: list[str] = []
        for half in range(2):
            parts = [part for part in (self._half(row, half) for row in rows) if part]
            sums.append(self._combined(f"s{at}_{half}", parts) if parts else sums[0])
        taps = [self._pick(f"p{at}_{tap}", sums, None, tap) for tap in range(3)]
        return self._combined(f"a{at}", taps)

    def _convolved(self, at: int, rows: list[int]) -> str:
        self.code(f"v16 a{at} = w9;")
        for tap, row in enumerate(rows):
            if self._any(row):
                for column, name in enumerate(self._taps(row)):
                    self.code(f"a{at} += {name} * w{3 * tap + column};")
        return f"a{at}"

    def _combined(self, name: str, values: list[str]) -> str:
        """A new vector, declared once: the sum or the maximum of others."""
        if len(values) == 1:
            return values[0]
        if name not in self.done:
            self.done.add(name)
            self.code(f"const v16 {name} = {reduce_expr(self.op, values, _LANES)};")
        return name

    def _any(self, row: int) -> bool:
        """True if a vector that starts at input row ``row`` has any row inside the map."""
        return any(self._inside(row + at * self.op.stride) for at in range(self.rows))

    def _inside(self, row: int) -> bool:
        return 0 <= row < self.source.height

    def _mask(self, row: int | None, column: int) -> int:
        """Lanes of a tap that are inside the map; without a row only columns count."""
        op, width = self.op, self.target.width
        mask = 0
        for lane in range(self.rows * width):
            there = (lane % width) * op.stride + column - op.left
            inside = row is None or self._inside(row + lane // width * op.stride)
            mask |= (inside and 0 <= there < self.source.width) << lane
        behind = _ALL & ~((1 << self.rows * width) - 1)  # of no concern
        return mask | behind if mask | behind == _ALL else mask

    def _taps(self, row: int) -> list[str]:
        """Vectors of the three kernel columns from input row ``row``."""
        names = [f"x{row + 1}_{column}" for column in range(3)]
        if names[0] in self.done:
            return names
        self.done.update(names)
        if self.op.stride == 1:
            for column, name in enumerate(names):
                self.code(f"const v16 {name} = {self._load(row, column)};")
            return names
        halves = [self._half(row, half) for half in range(2)]
        there = [half for half in halves if half]
        for column, name in enumerate(names):
            self._pick(name, [there[0], there[-1]], row, column)
        return names

    def _load(self, row: int, column: int) -> str:
        start = f"x + {row * self.source.row_stride + column - self.op.left}"
        mask = self._mask(row, column)
        if mask == _ALL:
            return f"LOAD16({start})"
        if self.op.is_maximum:
            return f"(v16)_mm512_mask_loadu_ps((__m512)outside, {mask:#x}, {start})"
        return f"(v16)_mm512_maskz_loadu_ps({mask:#x}, {start})"

    def _half(self, row: int, half: int) -> str:
        """Pixels to permute: half of a row, or one of two rows; "" in the padding."""
        op = self.op
        at = row if self.rows == 1 else row + half * op.stride
        if not self._inside(at):
            return ""
        begin = at * self.source.row_stride - op.left + (half * _LANES if self.rows == 1 else 0)
        name = f"r{at}_{half if self.rows == 1 else 0}"
        if name not in self.done:
            self.done.add(name)
            self.code(f"const v16 {name} = LOAD16(x + {begin});")
        return name

    def _picked(self, column: int) -> str:
        """The permutation that selects a kernel column from 32 pixels."""
        width = self.target.width
        picked = []
        for lane in range(_LANES):
            at = lane % width * 2 + column + (lane // width) * _LANES
            picked.append(at if lane < self.rows * width else 0)
        lanes = ", ".join(map(str, picked))
        return f"const __m512i every{column} __attribute__((unused)) = _mm512_setr_epi32({lanes});"

    def _pick(self, name: str, halves: list[str], row: int | None, column: int) -> str:
        mask = self._mask(row, column)
        one, two = (f"(__m512){half}" for half in halves)
        pixels = f"{one}, every{column}, {two}"
        if mask == _ALL:
            value = f"_mm512_permutex2var_ps({pixels})"
        elif self.op.is_maximum:
            picked = f"_mm512_permutex2var_ps({pixels})"
            value = f"_mm512_mask_blend_ps({mask:#x}, (__m512)outside, {picked})"
        else:
            value = f"_mm512_maskz_permutex2var_ps({mask:#x}, {pixels})"
        self.code(f"const v16 {name} = (v16){value};")
        return name
